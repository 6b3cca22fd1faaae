"""The newest items of each channel: what a client that comes a moment late has missed.

Every item that goes out gets the next **serial**, and stays a while. Two questions are answered from that:

    since(id)        what follows the item that a client is at?   only the **chain** can tell: the newest items that
                                                                  name each other by prev_id, without a gap
    arrived(serial)  what came after a moment?                    all of them, whether they have ids or not

Every table has a bound. There is no clock: ``now`` is an argument, in seconds, and must not run backwards.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from msgspec import json

from gripproxy.grip.item import Item

TTL = 60.0  # seconds: longer than a client takes to come back
ITEMS_MAX = 100  # of a channel
BYTES_MAX = 1 << 20  # of a channel
TOTAL = 64 << 20  # bytes of all channels
ITEM_OVERHEAD = 1000  # bytes that an item takes beside its content, roughly


@dataclass(frozen=True, slots=True)
class Moments:
    """When a backend was asked and when it answered, each as the number of items that had gone out by then.

    What went out before ``asked`` is in the answer, if the backend stores before it publishes; what came after
    ``answered`` is not.
    """

    asked: int
    answered: int


class _Channel:
    """What is known of one channel: serials of all its items, and of those in the chain, each in rising order."""

    __slots__ = ("chain", "front", "is_broken", "is_ended", "serials", "size")

    def __init__(self) -> None:
        self.serials: deque[int] = deque()
        self.chain: deque[int] = deque()
        self.front: str | None = None  # the id of the item that should have come before the chain
        self.is_ended = False  # an item without id came: whatever follows need not name its predecessor
        # The chain was forgotten once: items behind its beginning may have gone out before that, out of their turn.
        self.is_broken = False
        self.size = 0


class History:
    """The items of all channels that went out lately.

    ``serial`` is that of the newest item, ``expired`` that of the newest whose time is over, or that the total bound
    pushed out before; ``forgotten`` counts those. While ``awaited`` is not 0, so many may ask for all that has come
    since now: the bounds of single channels wait.
    """

    __slots__ = (
        "_bytes_max",
        "_channels",
        "_entries",
        "_items_max",
        "_size",
        "_total",
        "_ttl",
        "awaited",
        "expired",
        "forgotten",
        "serial",
    )

    def __init__(
        self, ttl: float = TTL, items_max: int = ITEMS_MAX, bytes_max: int = BYTES_MAX, total: int = TOTAL
    ) -> None:
        self._ttl = ttl
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._total = total
        self._size = 0
        # By serial: expiry, key, item and size; in the order of their times.
        self._entries: OrderedDict[int, tuple[float, Hashable, Item, int]] = OrderedDict()
        self._channels: dict[Hashable, _Channel] = {}
        self.serial = 0
        self.expired = 0
        self.forgotten = 0
        self.awaited = 0

    def configure(self, ttl: float, items_max: int, bytes_max: int) -> None:
        """Go on with other bounds: at once for the time, for each channel with its next item for the others."""
        if later := ttl - self._ttl:
            for serial, (expiry, key, item, size) in self._entries.items():
                self._entries[serial] = (expiry + later, key, item, size)
        self._ttl, self._items_max, self._bytes_max = ttl, items_max, bytes_max
        while self._entries and not items_max:  # or what is not added any more would seem never to have come
            self.expired = self._drop_oldest(next(iter(self._entries.values()))[1])

    def add(self, key: Hashable, item: Item, now: float) -> None:
        """Keep an item that goes out."""
        self.serial += 1
        if not self._items_max:
            return
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = _Channel()
        size = size_of(item)
        self._entries[self.serial] = (now + self._ttl, key, item, size)
        channel.serials.append(self.serial)
        channel.size += size
        self._size += size
        self._link(channel, item)
        while (
            not self.awaited
            and channel.serials
            and (len(channel.serials) > self._items_max or channel.size > self._bytes_max)
        ):
            self._drop_oldest(key)
        while self._size > self._total:
            # As if its time were over: of its channel perhaps nothing is left by which a client could tell.
            self.expired = self._drop_oldest(next(iter(self._entries.values()))[1])
            self.forgotten += 1

    def _link(self, channel: _Channel, item: Item) -> None:
        """Put the newest item into the chain, if that is its place."""
        if item.id is None:
            channel.is_ended = channel.is_ended or not item.no_seq
        elif channel.chain and item.prev_id == self._entries[channel.chain[-1]][2].id:
            channel.chain.append(self.serial)
            channel.is_ended = False
        elif channel.chain and item.id == channel.front:
            channel.front = item.prev_id  # it comes late, so it is no news for those behind the chain
        elif not has_no_place(item):
            channel.chain.clear()
            channel.chain.append(self.serial)
            channel.front = item.prev_id
            channel.is_ended = False

    def is_late(self, key: Hashable, item: Item) -> bool:
        """Whether the item should have come before the oldest one of the chain, which went out without it."""
        channel = self._channels.get(key)
        return channel is not None and bool(channel.chain) and item.id is not None and item.id == channel.front

    def newest(self, key: Hashable) -> tuple[str, float, bool] | None:
        """The id of the chain's newest item, when it came, and whether an item without id came behind it."""
        channel = self._channels.get(key)
        if channel is None or not channel.chain:
            return None
        expiry, _, item, _ = self._entries[channel.chain[-1]]
        assert item.id is not None
        return item.id, expiry - self._ttl, channel.is_ended

    def since(self, key: Hashable, last_id: str) -> list[Item] | None:
        """The items of the chain after the one with this id; None if it does not reach back to that."""
        channel = self._channels.get(key)
        if channel is None or not channel.chain:
            return None
        items = [self._entries[serial][2] for serial in channel.chain]
        for index in range(len(items) - 1, -1, -1):
            if items[index].id == last_id:
                return items[index + 1 :]
        return items if items[0].prev_id == last_id and not channel.is_broken else None

    def arrived(self, key: Hashable, serial: int) -> list[Item]:
        """The channel's items that came after this serial, in their order."""
        channel = self._channels.get(key)
        if channel is None or channel.serials[-1] <= serial:
            return []
        return [self._entries[one][2] for one in channel.serials if one > serial]

    def expire(self, now: float) -> None:
        """Drop the items whose time is over."""
        while self._entries:
            expiry, key, _, _ = next(iter(self._entries.values()))
            if expiry > now:
                break
            self.expired = self._drop_oldest(key)

    def break_chains(self, concerns: Callable[[Hashable], bool] | None = None) -> None:
        """Forget what follows what on channels (None: on all); this is a moment of its own."""
        self.serial += 1
        for key, channel in self._channels.items():
            if concerns is None or concerns(key):
                channel.chain.clear()
                channel.front = None
                channel.is_broken = True

    def _drop_oldest(self, key: Hashable) -> int:
        channel = self._channels[key]
        serial = channel.serials.popleft()
        if channel.chain and channel.chain[0] == serial:
            channel.chain.popleft()
        size = self._entries.pop(serial)[3]
        self._size -= size
        channel.size -= size
        if not channel.serials:
            del self._channels[key]
        return serial


def has_no_place(item: Item) -> bool:
    """Whether an item says that it has no place in the order of its channel: no-seq, and it follows none."""
    return item.no_seq and item.prev_id is None


def size_of(item: Item) -> int:
    """The bytes that an item takes, roughly."""
    size = ITEM_OVERHEAD
    if item.stream is not None:
        size += len(item.stream.content)
    if item.message is not None:
        size += len(item.message.content)
    if item.response is not None:
        size += len(item.response.body or b"") + sum(len(name) + len(value) for name, value in item.response.fields)
        if item.response.patch:
            size += len(json.encode(item.response.patch))
    return size + sum(len(name) + len(value) for name, value in item.meta.items())
