"""How log records are written: one line each to standard error, as text or as JSON."""

import json
import logging
import sys
import time
import traceback

from gripproxy.config import Log


class JsonFormatter(logging.Formatter):
    """One JSON object for each record: time (RFC 3339, UTC), level, logger, message, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line."""
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
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
        formatter = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(formatter)
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    logging.getLogger("gripproxy.access").setLevel(logging.INFO if settings.access else logging.WARNING)
    # What these say at INFO is said better by us.
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    logging.raiseExceptions = False


def _utc(seconds: float | None) -> time.struct_time:
    return time.gmtime(seconds)
