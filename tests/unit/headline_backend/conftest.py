"""Django for these tests: the real settings with a database of their own, and a fake in place of the control port.

Nothing leaves the process: what the backend publishes is kept in `published`.
"""

# ruff: noqa: E402 - Django has to be set up before what uses it is imported
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDER = tempfile.TemporaryDirectory(prefix="headline-")

sys.path.insert(0, str(ROOT / "headline_backend"))

import django

# Before any test module imports django_grip: it reads the settings at import. Other tests keep their environment.
with pytest.MonkeyPatch.context() as environment:
    environment.setenv("DJANGO_SETTINGS_MODULE", "headline.settings")
    environment.setenv("HEADLINE_DATABASE", str(Path(FOLDER.name) / "db.sqlite3"))
    environment.setenv("GRIP_URL", "http://127.0.0.1:9")  # the discard port: never reached
    for name in ("HEADLINE_DEBUG", "HEADLINE_ALLOWED_HOSTS", "HEADLINE_SECRET_KEY"):
        environment.delenv(name, raising=False)
    django.setup()

from django.core.management import call_command
from django.test import Client
from django.test.utils import setup_test_environment
from django_grip import get_pubcontrol
from headlines.models import Headline


class Recorder:
    """Stands where the library's HTTP client stands; keeps the items as they would be sent."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.error = ""

    def publish(self, channel: str, item: Any, blocking: bool = False, callback: Any = None) -> None:
        self.items.append({**item.export(), "channel": channel})
        callback(not self.error, self.error)

    def close(self) -> None: ...

    def on(self, channel: str) -> list[dict[str, Any]]:
        return [item for item in self.items if item["channel"] == channel]


@pytest.fixture(scope="session")
def _database() -> Iterator[None]:
    setup_test_environment()
    call_command("migrate", verbosity=0)
    yield
    FOLDER.cleanup()


@pytest.fixture(autouse=True)
def published(_database: None) -> Recorder:
    """What the test's requests publish; the database starts empty."""
    Headline.objects.all().delete()
    recorder = Recorder()
    get_pubcontrol().clients[:] = [recorder]
    return recorder


@pytest.fixture
def client() -> Client:
    """A client that comes through a proxy, as every real one should; errors become answers, as in a server."""
    return Client(raise_request_exception=False, headers={"Grip-Sig": "signed"})
