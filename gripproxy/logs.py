"""How log records are written: one line each to standard error, as text or as JSON.

A record about a request has its id, as ``extra={"request_id": ...}``.
"""

import json
import logging
import sys
import time
import traceback

from gripproxy.config import Log


class TextFormatter(logging.Formatter):
    """One line for each record, and its traceback; the id of a request stands at the end of the line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the record's line."""
        request_id = getattr(record, "request_id", "")
        return super().formatMessage(record) + (f" request={request_id}" if request_id else "")


class JsonFormatter(logging.Formatter):
    """One JSON object for each record: time (RFC 3339, UTC), level, logger, message, request_id, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line."""
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := getattr(record, "request_id", ""):
            entry["request_id"] = request_id
        if record.exc_info:
            entry["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


def configure(settings: Log) -> None:
    """Set up the process's logging."""
    handler = logging.StreamHandler(sys.stderr)
    if settings.json:
        formatter: logging.Formatter = JsonFormatter()
        formatter.converter = _utc
    else:
        formatter = TextFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(formatter)
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    logging.getLogger("gripproxy.access").setLevel(logging.INFO if settings.access else logging.WARNING)
    # What these say at INFO is said better by us.
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    logging.raiseExceptions = False


def _utc(seconds: float | None) -> time.struct_time:
    return time.gmtime(seconds)
