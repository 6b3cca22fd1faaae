"""The log of what goes wrong at the sockets, where nobody is told otherwise."""

import logging
from collections.abc import Callable

log = logging.getLogger("gripproxy.zeromq")

# Seconds between two log lines about the same.
LOG_EVERY = 60.0

# Characters of a log line that may quote a publisher.
REASON_MAX = 300


class Faults:
    """Logs what went wrong: the first of each input at once, then a line a minute with the number of the others.

    A publisher that is wrong once is wrong with each of its messages.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._logged_at: dict[str, float] = {}
        self._unlogged: dict[str, int] = {}

    def add(self, name: str, reason: str) -> None:
        """Log or count one; ``reason`` may quote what a stranger sent, so it is escaped and cut."""
        now = self._clock()
        unlogged = self._unlogged.get(name, 0)
        if name in self._logged_at and now - self._logged_at[name] < LOG_EVERY:
            self._unlogged[name] = unlogged + 1
            return
        self._logged_at[name], self._unlogged[name] = now, 0
        more = f" ({unlogged} more before it)" if unlogged else ""
        log.warning("zeromq.%s: %s%s", name, reason[:REASON_MAX].encode("unicode_escape").decode(), more)
