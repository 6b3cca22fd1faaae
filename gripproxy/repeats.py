"""Log records that are alike: the first of a minute are written, the others are counted and summed up in one line.

A backend that is down for a minute, or a publisher with a wrong key, can cause a thousand records in a second that say
the same. Alike are records from one line of the code, about one route and status. What they quote of strangers does not
tell them apart, or a stranger could fill the log.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

# Seconds of which records are summed up.
PERIOD = 60.0

# Kinds that are told apart; those behind them are told apart by the line of the code alone.
KINDS_MAX = 1000

# Members of a record that a line with a sum has too.
KEPT = ("route", "realm", "backend", "status")

# Every request is a line there, if that is wanted.
EXEMPT = "gripproxy.access"

Kind = tuple[str, int, str, object, object]


@dataclass(slots=True)
class _Count:
    """What came of one kind since ``began``."""

    began: float
    written: int = 0
    left_out: int = 0
    # The first that was left out, for the line with the sum.
    message: str = ""
    members: dict[str, object] = field(default_factory=dict)


class Repeats:
    """Decides about each record."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        """``most`` records of a kind are written in PERIOD seconds, 0 for all; ``clock`` gives seconds."""
        self._most = most
        self._clock = clock
        self._counts: dict[Kind, _Count] = {}

    def admit(self, record: logging.LogRecord) -> bool:
        """Whether to write a record; if not, it is counted."""
        if not self._most or record.levelno < logging.INFO or record.name == EXEMPT:
            return True
        kind = kind_of(record)
        count = self._counts.get(kind)
        if count is None and len(self._counts) >= KINDS_MAX:
            kind = (record.name, record.levelno, str(record.msg), None, None)
            count = self._counts.get(kind)
        if count is None:
            count = self._counts[kind] = _Count(self._clock())
        if count.written < self._most:
            count.written += 1
            return True
        if not count.left_out:
            count.message = record.getMessage()
            count.members = {name: getattr(record, name) for name in KEPT if hasattr(record, name)}
        count.left_out += 1
        return False

    def sum_up(self, *, is_last: bool = False) -> list[logging.LogRecord]:
        """Return records with the sums of the kinds whose time is over, or (``is_last``) of all; they begin anew."""
        now = self._clock()
        over = [kind for kind, count in self._counts.items() if is_last or now - count.began >= PERIOD]
        counts = [(kind, self._counts.pop(kind)) for kind in over]
        return [_sum_of(kind, count) for kind, count in counts if count.left_out]


def kind_of(record: logging.LogRecord) -> Kind:
    """Return what records that are alike have in common."""
    # A text from elsewhere is what it says; all others are what their line of the code makes of them.
    template = record.getMessage() if record.msg == "%s" else str(record.msg)
    return record.name, record.levelno, template, getattr(record, "route", None), getattr(record, "status", None)


def _sum_of(kind: Kind, count: _Count) -> logging.LogRecord:
    name, level, *_ = kind
    record = logging.LogRecord(name, level, "", 0, count.message, None, None)
    record.__dict__.update(count.members, repeats=count.left_out)
    return record
