"""The one table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Headline",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("type", models.CharField(max_length=64)),
                ("title", models.CharField(blank=True, max_length=200)),
                ("text", models.TextField(blank=True, max_length=10000)),
                ("date", models.DateTimeField()),
            ],
        ),
    ]
