"""The headline, and the rule that makes its ETag trustworthy: no two of its revisions have the same date."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import models
from django.utils import timezone

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)


class Headline(models.Model):
    """A headline; `date` is when it was last changed."""

    type = models.CharField(max_length=64)
    title = models.CharField(max_length=200, blank=True)
    text = models.TextField(max_length=10_000, blank=True)
    date = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.type}: {self.title or self.text[:100]}"

    @property
    def revision(self) -> str:
        """The date in microseconds since 1970: whole seconds would give two quick updates one ETag."""
        return str((self.date - EPOCH) // TICK)

    @property
    def etag(self) -> str:
        """The entity tag of the representation (RFC 9110 8.8.3), strong, with its quotes."""
        return f'"{self.revision}"'

    def revise(self, fields: Mapping[str, str]) -> None:
        """Takes the fields over and saves, with a date later than the last one even if the clock went back.

        Call it in a transaction that has read the headline for update.
        """
        for name, value in fields.items():
            setattr(self, name, value)
        now = timezone.now()
        self.date = max(now, self.date + TICK) if self.date else now
        self.save()

    def to_data(self) -> dict[str, Any]:
        """The headline as JSON shows it: the identifier is text, an empty title is left out."""
        title = {"title": self.title} if self.title else {}
        return {"id": str(self.pk), "type": self.type, **title, "date": self.date.isoformat(), "text": self.text}
