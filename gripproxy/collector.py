"""Keeps the garbage collector's pauses short, however many connections are held.

A full collection looks at every object: some 0.3 us each, 40 ms for 15,000 WebSockets, in which nobody is served. So
the collector runs by itself only for what is young. Once a second what has survived is collected and then frozen, out
of its sight: a pass over one second's objects. What becomes garbage after that is freed by reference counts, as holds
undo their cycles when they end; a full collection for the rest waits for a moment in which the process is idle.
"""

import asyncio
import gc
from collections.abc import Callable

# Net new objects until the youngest are looked at (default: 700): a request makes some hundred and frees them again.
YOUNG_MAX = 10_000
MIDDLE_EVERY = 10

# So many collections of the middle generation do not happen within a second: full ones are left to `Collector`.
NEVER = 1_000_000

# Seconds between two rounds, and rounds without anything to do after which the process counts as idle.
ROUND = 1.0
IDLE_ROUNDS = 5

# Rounds between two full collections, at least.
FULL_EVERY = 60


class Collector:
    """Collects garbage on the loop's time; ``activity`` is a count that changes whenever there is work."""

    def __init__(self, loop: asyncio.AbstractEventLoop, activity: Callable[[], int]) -> None:
        self._loop = loop
        self._activity = activity
        self._seen = activity()
        self._at_full = self._seen
        self._idle = 0
        self._since_full = 0
        self._handle: asyncio.TimerHandle | None = None
        self._thresholds = gc.get_threshold()

    def start(self) -> None:
        """Take over from the collector's own rules."""
        gc.set_threshold(YOUNG_MAX, MIDDLE_EVERY, NEVER)
        gc.collect()
        gc.freeze()
        self._handle = self._loop.call_later(ROUND, self.round)

    def round(self) -> None:
        """Collect what a second has left, or everything when nobody would notice."""
        activity = self._activity()
        self._idle = self._idle + 1 if activity == self._seen else 0
        self._seen = activity
        self._since_full += 1
        if self._idle >= IDLE_ROUNDS and self._since_full >= FULL_EVERY and activity != self._at_full:
            self._since_full = 0
            self._at_full = activity
            gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._handle = self._loop.call_later(ROUND, self.round)

    def stop(self) -> None:
        """Give the rules back."""
        if self._handle is not None:
            self._handle.cancel()
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()
