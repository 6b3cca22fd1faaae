"""One timer wheel for all held connections, instead of a timer each.

A wheel turns every TICK seconds and looks at one slot: the holds that are due. Setting, moving and dropping a timer is
a set operation; nothing is allocated in the loop, and an empty wheel does not turn at all. A slot with many holds is
worked off in slices, so that the loop stays free between them.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

# Seconds for each slot: how late a timer can be. Keep-alives and hold timeouts are whole seconds.
TICK = 0.1

# Slots: a timer further away than SLOTS * TICK (6.8 minutes) stays in its slot for another round.
SLOTS = 4096

# Holds looked at in one turn of the loop (about a millisecond's work).
SLICE = 256


class Timed(Protocol):
    """Something with a timer. ``due`` is the tick at which `on_due` is called, 0 when there is none."""

    due: int

    def on_due(self) -> None: ...


class Wheel:
    """The timers of all holds; ``on_tick`` is told each new tick (a whole number that only grows)."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_tick: Callable[[int], None],
        on_error: Callable[[Timed, Exception], None],
    ) -> None:
        self._loop = loop
        self._on_tick = on_tick
        self._on_error = on_error
        self._slots: list[set[Timed] | None] = [None] * SLOTS
        self._origin = loop.time()
        self._handle: asyncio.TimerHandle | None = None
        self.tick = 0
        self.size = 0

    def set(self, timed: Timed, seconds: float) -> None:
        """Have ``timed.on_due`` called in ``seconds``, at the earliest; replaces its earlier timer."""
        if timed.due:
            self.drop(timed)
        if self._handle is None:
            # The wheel stood still: nothing was due, so the ticks that were not counted matter to nobody.
            self.tick = max(self.tick + 1, self._now())
            self._on_tick(self.tick)
            self._arm()
        # No tick comes early, so the one after the moment.
        timed.due = max(self.tick, int((self._loop.time() - self._origin + seconds) / TICK)) + 1
        index = timed.due % SLOTS
        slot = self._slots[index]
        if slot is None:
            slot = self._slots[index] = set()
        slot.add(timed)
        self.size += 1

    def drop(self, timed: Timed) -> None:
        """Forget the timer of ``timed``, if it has one."""
        if timed.due:
            index = timed.due % SLOTS
            slot = self._slots[index]
            if slot is not None and timed in slot:
                slot.remove(timed)
                self.size -= 1
                if not slot:
                    self._slots[index] = None
            timed.due = 0

    def now(self) -> float:
        """Return the loop's time, in seconds."""
        return self._loop.time()

    def _now(self) -> int:
        return int((self._loop.time() - self._origin) / TICK)

    def _arm(self) -> None:
        self._handle = self._loop.call_at(self._origin + (self.tick + 1) * TICK, self._turn)

    def _turn(self) -> None:
        due: list[Timed] = []
        # After a stalled loop several ticks are due at once; none may be jumped over.
        for tick in range(self.tick + 1, self._now() + 1):
            slot = self._slots[tick % SLOTS]
            if slot:
                due += [timed for timed in slot if timed.due <= tick]
            self.tick = tick
        self._on_tick(self.tick)
        if due:
            self._work(due, self.tick)
        if self.size or due:
            self._arm()
        else:
            self._handle = None

    def _work(self, due: list[Timed], tick: int) -> None:
        for timed in due[:SLICE]:
            # It may have been moved or dropped since the slot was read.
            if timed.due and timed.due <= tick:
                self.drop(timed)
                try:
                    timed.on_due()
                except Exception as error:  # one hold's fault must not stop the others' timers
                    self._on_error(timed, error)
        if len(due) > SLICE:
            self._loop.call_soon(self._work, due[SLICE:], tick)

    def close(self) -> None:
        """Stop turning."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
