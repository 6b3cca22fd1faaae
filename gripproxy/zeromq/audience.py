"""How many subscribe to what: the `sub` messages of the statistics, and the receivers of an item.

Counted by channel, kind of hold and route, where a subscription begins and ends. A first subscriber and the end of the
last are told at once (long-polls: after the linger, since their clients are back soon), other numbers with the next
tick, and every channel again and again, so that who came late learns of it, too.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

# Changes of numbers that are told in one tick at the most; the others wait.
CHANGES_PER_TICK = 2500

Key = tuple[str, str]
Tell = Callable[[str, dict[str, Any]], None]
_NOBODY: Mapping[str, int] = {}


class Audiences:
    """The subscribers of each mode (``response``, ``stream``, ``ws``) and channel."""

    def __init__(self, tell: Tell, ttl: int, linger: float) -> None:
        """``ttl`` is how many seconds subscribers believe what they were told, ``linger`` those of long-polls."""
        self._tell = tell
        self._ttl = ttl
        self.linger = linger
        # Route -> subscriptions; empty while it lingers.
        self._counts: OrderedDict[Key, dict[str, int]] = OrderedDict()
        # Those whose number is to be told.
        self._changed: dict[Key, None] = {}
        # Without subscribers -> the time that it is told, in the order of their leaving.
        self._leaving: dict[Key, float] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def counts(self, mode: str, channel: str) -> Mapping[str, int]:
        """Return how many subscribe, by route."""
        return self._counts.get((mode, channel), _NOBODY)

    def add(self, mode: str, channel: str, route: str) -> None:
        """Count a subscription."""
        key = (mode, channel)
        counts = self._counts.get(key)
        is_new = not counts
        if counts is None:
            counts = self._counts[key] = {}
        counts[route] = counts.get(route, 0) + 1
        if is_new:
            self._leaving.pop(key, None)
            self._tell_count(key)
        else:
            self._changed[key] = None

    def remove(self, mode: str, channel: str, route: str, now: float) -> None:
        """Count a subscription less."""
        key = (mode, channel)
        counts = self._counts[key]
        counts[route] -= 1
        if not counts[route]:
            del counts[route]
        if counts:
            self._changed[key] = None
            return
        self._changed.pop(key, None)
        if mode == "response" and self.linger:
            self._leaving[key] = now + self.linger
        else:
            self._drop(key)

    def tick(self, now: float, share: float) -> None:
        """Tell what has changed, what is over, and this share of all channels again."""
        for key in list(self._changed)[:CHANGES_PER_TICK]:
            del self._changed[key]
            self._tell_count(key)
        while self._leaving:
            key, due = next(iter(self._leaving.items()))
            if due > now:
                break
            del self._leaving[key]
            self._drop(key)
        for _ in range(min(len(self._counts), 1 + int(len(self._counts) * share))):
            key = next(iter(self._counts))
            self._counts.move_to_end(key)
            if self._counts[key]:
                self._tell_count(key)

    def _tell_count(self, key: Key) -> None:
        mode, channel = key
        count = sum(self._counts[key].values())
        self._tell("sub", {"mode": mode, "channel": channel, "ttl": self._ttl, "subscribers": count})

    def _drop(self, key: Key) -> None:
        del self._counts[key]
        mode, channel = key
        self._tell("sub", {"mode": mode, "channel": channel, "unavailable": True})
