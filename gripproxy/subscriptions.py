"""Which channels have subscribers, for publishers who publish to those alone.

They are told of a channel's first subscriber at once, and of its last some time later: a long-poller who got an item
is back a moment after it, and what is published in between must not be thought to be for nobody. What they are told
is numbered, and the latest numbers are kept, so that whoever was away can ask what was missed.

A realm costs nothing until somebody watches it.
"""

import asyncio
import base64
from collections.abc import Callable, Mapping
from typing import NamedTuple

# Changes that a realm keeps. Who is further behind has to ask for all channels again.
CHANGES_KEPT = 10_000


# Seconds between two looks at the channels whose time may have come: with many that come and go, a timer for each would
# cost more than all else.
LEAVE_EVERY = 0.5


class Change(NamedTuple):
    """A channel now has subscribers, or has none any more."""

    channel: str
    is_subscribed: bool


# Takes a realm, a channel, and whether that has subscribers now.
Listener = Callable[[str, str, bool], None]


class Subscriptions:
    """The realms that are watched; ``on_channel`` is for the hub to call."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, channels: Mapping[tuple[str, str], int], linger: float, instance: str
    ) -> None:
        """``channels`` are those of the hub; ``linger`` is in seconds; ``instance`` tells this process from others."""
        self._loop = loop
        self._channels = channels
        self._linger = linger
        self._instance = instance
        self._watches: dict[str, Watch] = {}
        self.is_closed = False

    def on_channel(self, realm: str, channel: str, has_subscribers: bool) -> None:
        """Note that a channel has its first subscriber, or has lost its last."""
        watch = self._watches.get(realm)
        if watch is not None:
            watch.on_channel(channel, has_subscribers)

    def configure(self, linger: float) -> None:
        """Tell of the last subscriber's leaving after another time from now on."""
        self._linger = linger
        for watch in self._watches.values():
            watch.set_linger(linger)

    def watch(self, realm: str) -> "Watch":
        """Watch a realm from now on, for the rest of the process's life."""
        watch = self._watches.get(realm)
        if watch is None:
            channels = [channel for name, channel in self._channels if name == realm]
            watch = self._watches[realm] = Watch(self._loop, realm, channels, self._linger, self._instance)
            if self.is_closed:
                watch.close()
        return watch

    def close(self) -> None:
        """End all waiting."""
        self.is_closed = True
        for watch in self._watches.values():
            watch.close()


class Watch:
    """One realm: the channels that count as subscribed, and the latest changes of them.

    Positions are numbers of changes: ``end`` is the number of all changes so far.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, realm: str, channels: list[str], linger: float, instance: str
    ) -> None:
        self._loop = loop
        self._realm = realm
        self._linger = linger
        self._instance = instance
        self._listener: Listener | None = None
        self.channels = dict.fromkeys(channels)
        # Channel without subscribers -> time when it stops counting as subscribed, the earliest first.
        self._leaving: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        # Change number n stands at n % CHANGES_KEPT.
        self._changes: list[Change] = []
        self._news = asyncio.Event()
        self.end = 0
        self.is_closed = False
        # Connections of the clients that follow the changes; kept by whoever serves them.
        self.followers: list[asyncio.BaseTransport] = []

    def tell(self, listener: Listener) -> None:
        """Tell a listener of every channel and of each change from now on. There is one listener."""
        assert self._listener is None
        self._listener = listener
        for channel in self.channels:
            listener(self._realm, channel, True)

    def on_channel(self, channel: str, has_subscribers: bool) -> None:
        """Note that a channel has its first subscriber, or has lost its last."""
        if has_subscribers:
            if self._leaving.pop(channel, None) is None:
                self.channels[channel] = None
                self._add(Change(channel, True))
        elif self._linger:
            self._leaving[channel] = self._loop.time() + self._linger
            if self._timer is None:
                self._timer = self._loop.call_later(self._linger, self._leave)
        else:
            self._drop(channel)

    def set_linger(self, seconds: float) -> None:
        """Have channels linger for another time, those that do already included."""
        later = seconds - self._linger  # for all, so that the earliest stay first
        self._linger = seconds
        self._leaving = {channel: due + later for channel, due in self._leaving.items()}
        if self._timer is not None:
            self._timer.cancel()
            self._leave()

    def _leave(self) -> None:
        """Drop the channels whose time has come, and wait for the next."""
        self._timer = None
        now = self._loop.time()
        gone = []
        for channel, due in self._leaving.items():
            if due > now:
                self._timer = self._loop.call_at(max(due, now + LEAVE_EVERY), self._leave)
                break
            gone.append(channel)
        for channel in gone:
            del self._leaving[channel]
            self._drop(channel)

    def _drop(self, channel: str) -> None:
        del self.channels[channel]
        self._add(Change(channel, False))

    def _add(self, change: Change) -> None:
        if len(self._changes) < CHANGES_KEPT:
            self._changes.append(change)
        else:
            self._changes[self.end % CHANGES_KEPT] = change
        self.end += 1
        self._news.set()
        if self._listener is not None:
            self._listener(self._realm, change.channel, change.is_subscribed)

    def changes(self, start: int, count: int) -> list[Change] | None:
        """Return at most ``count`` changes from a position on; None when they are not known (any more)."""
        if not max(0, self.end - CHANGES_KEPT) <= start <= self.end:
            return None
        return [self._changes[number % CHANGES_KEPT] for number in range(start, min(start + count, self.end))]

    async def wait(self, position: int) -> None:
        """Wait until there are changes from this position on, or all ends."""
        while self.end == position and not self.is_closed:
            self._news.clear()
            await self._news.wait()

    def cursor(self, position: int) -> str:
        """Return a position as clients keep it: Fanout Cloud's form, base64 of ``instance_number``."""
        return base64.b64encode(f"{self._instance}_{position}".encode()).decode()

    def position(self, cursor: str) -> int | None:
        """Return the position that a cursor means; None when it is none, or of another process."""
        try:
            instance, _, number = base64.b64decode(cursor, validate=True).decode("ascii").rpartition("_")
        except ValueError:
            return None
        if instance != self._instance or not number.isdecimal() or len(number) > 18:
            return None
        return int(number)

    def close(self) -> None:
        """End all waiting."""
        self.is_closed = True
        self._news.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
