"""The application's registration with Django."""

from django.apps import AppConfig


class HeadlinesConfig(AppConfig):
    name = "headlines"
