"""How log records are written: one line each to standard error, as text or as JSON.

What a record is about stands in its message, for people, and beside it for programs: ``extra={"route": ...}``, with the
names in MEMBERS. Of records that are alike only some are written, see `repeats`.
"""

import asyncio
import json
import logging
import sys
import time
import traceback
from contextlib import nullcontext
from typing import TextIO

from gripproxy.config import Log
from gripproxy.repeats import Repeats

# Members of a JSON line beside time, level, logger, message and traceback, each where it is known; see
# docs/configuration.md. `status` is a number, `repeats` that of the records that a line stands for beside itself.
MEMBERS = ("request_id", "route", "realm", "peer", "channels", "backend", "method", "status", "repeats")

# Seconds between two looks for sums that are due.
SUM_UP_EVERY = 5.0


class TextFormatter(logging.Formatter):
    """One line for each record, and its traceback; behind the message stands what no message has.

    Whatever a message quotes, its line has only characters that can be shown; the others are escaped.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the record's line."""
        line = super().formatMessage(record)
        if not line.isprintable():
            # It quotes somebody: a line end would begin a line of theirs, an escape would be the terminal's to obey.
            line = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)
        if request_id := getattr(record, "request_id", ""):
            line += f" request={request_id}"
        if repeats := getattr(record, "repeats", 0):
            line += f" (and {repeats} more like it)"
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object for each record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line."""
        entry: dict[str, object] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in MEMBERS:
            if (value := getattr(record, name, "")) not in ("", ()):
                entry[name] = value
        if record.exc_info:
            entry["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


class Handler(logging.StreamHandler[TextIO]):
    """Writes to standard error, and sums up what is alike."""

    def __init__(self, repeats: int) -> None:
        """``repeats`` records of a kind are written in a minute, 0 for all."""
        super().__init__(sys.stderr)
        self._repeats = Repeats(repeats, time.monotonic)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless enough like it were written."""
        if self._repeats.admit(record):
            super().emit(record)

    def sum_up(self, *, is_last: bool = False) -> None:
        """Write the sums that are due, or (``is_last``) all there are."""
        with self.lock or nullcontext():
            for record in self._repeats.sum_up(is_last=is_last):
                super().emit(record)

    def close(self) -> None:
        """Write what is left."""
        self.sum_up(is_last=True)
        super().close()


def configure(settings: Log) -> None:
    """Set up the process's logging."""
    handler = Handler(settings.repeats)
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


async def sum_up() -> None:
    """Write the sums of records that are alike when they are due, until cancelled."""
    while True:
        await asyncio.sleep(SUM_UP_EVERY)
        for handler in logging.getLogger().handlers:
            if isinstance(handler, Handler):
                handler.sum_up()


def _utc(seconds: float | None) -> time.struct_time:
    return time.gmtime(seconds)
