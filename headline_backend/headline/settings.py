"""Settings of the headline example.

Everything a deployment may want to change comes from the environment, and without any of it the example runs safely:
DEBUG is off, and the only file it writes is its SQLite database.
"""

import os
import secrets
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("HEADLINE_DEBUG", "").lower() in {"1", "true", "yes", "on"}
# Nothing here is signed or encrypted (no sessions, no cookies), so a key that lives as long as the process will do.
SECRET_KEY = os.environ.get("HEADLINE_SECRET_KEY") or secrets.token_urlsafe(50)
ALLOWED_HOSTS = os.environ.get("HEADLINE_ALLOWED_HOSTS", "*").replace(",", " ").split()

# Where and how to publish: the control URL of any GRIP proxy or service, with its parameters, for example
# http://proxy:5561/realm/headline?iss=headline&key=base64:...
GRIP_URL = os.environ.get("GRIP_URL", "http://127.0.0.1:5561")
# A hold means something only to a proxy. Asked for one without a proxy in between, django-grip answers 501.
GRIP_PROXY_REQUIRED = True

INSTALLED_APPS = ["django.contrib.staticfiles", "headlines"]
MIDDLEWARE = [
    "django_grip.GripMiddleware",  # first: it turns the finished response into GRIP instructions
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.common.CommonMiddleware",  # gives every response its Content-Length
    # No CsrfViewMiddleware: it protects requests that a browser authenticates by itself, with cookies. This API
    # knows no cookies and no logins, so a forged request could do nothing that its author cannot do directly.
]
ROOT_URLCONF = "headline.urls"
WSGI_APPLICATION = "headline.wsgi.application"
# A redirect would lose the body of a PUT; a 404 says what is wrong.
APPEND_SLASH = False
# Bytes of a request body; above it the answer is 413.
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024

TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
STATIC_URL = "static/"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("HEADLINE_DATABASE", BASE_DIR / "db.sqlite3"),
        "OPTIONS": {
            "timeout": 20,  # seconds to wait for another writer
            # Read-then-write transactions take the write lock at once: upgrading it later fails when two do so.
            "transaction_mode": "IMMEDIATE",
            # WAL: readers never wait for the writer. NORMAL is durable against a crash of the process.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    # Django's own set-up would mail errors to nobody; let them go to stderr like the rest.
    # A publish that fails is logged by headlines.realtime; each attempt at it need not be.
    "loggers": {
        "django": {"handlers": [], "propagate": True},
        "headlines": {"level": "INFO"},
        "urllib3": {"level": "ERROR"},
    },
}
