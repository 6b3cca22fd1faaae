"""The Django app of test_eventstream.py: django-eventstream with its storage, and nothing else.

Command line: the port, and the file of its database. GRIP_URL is in the environment.

    GET /events/?channel=NAME…                           the stream, as the library has it
    GET /send/?channel=NAME&data=TEXT[&skip=USER]        an event, stored and published
    GET /lose/?channel=NAME&data=TEXT                    an event, stored and not published
    GET /forbid/?channel=NAME                            anonymous users may not read the channel any more
"""

import logging
import os
import sys

import django
from django.conf import settings
from django.core.management import call_command
from django.core.servers.basehttp import run
from django.http import HttpRequest, HttpResponse

ROUTES = {"events": "events/", "send": "send/", "lose": "lose/", "forbid": "forbid/"}

if not settings.configured:
    settings.configure(
        SECRET_KEY="a key that is long enough for HS256 to be content",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="tests.integration.eventstream_app",
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django_eventstream",
        ],
        MIDDLEWARE=["django_grip.GripMiddleware"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": sys.argv[-1],
                "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        USE_TZ=True,
        GRIP_URL=os.environ.get("GRIP_URL", ""),
        EVENTSTREAM_STORAGE_CLASS="django_eventstream.storage.DjangoModelStorage",
        EVENTSTREAM_CHANNELMANAGER_CLASS="tests.integration.eventstream_app.Channels",
    )
    django.setup()

from django.urls import path  # noqa: E402 - after the settings
from django_eventstream import channel_permission_changed, send_event  # noqa: E402 - after the settings
from django_eventstream.channelmanager import DefaultChannelManager  # noqa: E402 - after the settings
from django_eventstream.storage import DjangoModelStorage  # noqa: E402 - after the settings
from django_eventstream.views import events  # noqa: E402 - after the settings

FORBIDDEN: set[str] = set()


class Channels(DefaultChannelManager):  # type: ignore[misc]
    """Which channels a request is for, and who may read them."""

    def get_channels_for_request(self, request: HttpRequest, view_kwargs: object) -> set[str]:
        return set(request.GET.getlist("channel"))

    def can_read_channel(self, user: object, channel: str) -> bool:
        return channel not in FORBIDDEN


def send(request: HttpRequest) -> HttpResponse:
    skipped = request.GET.getlist("skip")
    send_event(request.GET["channel"], "message", request.GET["data"], skip_user_ids=skipped, json_encode=False)
    return HttpResponse("sent\n")


def lose(request: HttpRequest) -> HttpResponse:
    DjangoModelStorage().append_event(request.GET["channel"], "message", request.GET["data"])
    return HttpResponse("lost\n")


def forbid(request: HttpRequest) -> HttpResponse:
    FORBIDDEN.add(request.GET["channel"])
    channel_permission_changed(None, request.GET["channel"])
    return HttpResponse("forbidden\n")


VIEWS = {"events": events, "send": send, "lose": lose, "forbid": forbid}
urlpatterns = [path(route, VIEWS[name]) for name, route in ROUTES.items()]

if __name__ == "__main__":
    from django.core.wsgi import get_wsgi_application

    logging.disable(logging.INFO)
    call_command("migrate", verbosity=0)
    run("127.0.0.1", int(sys.argv[1]), get_wsgi_application(), threading=True)
