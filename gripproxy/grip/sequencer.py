"""The order of items on each channel, and which of them were seen before.

An item whose ``prev_id`` is not the last id of its channel waits for its predecessor, a while. Every table has a bound;
what a bound costs is counted in an attribute. Keys name channels, as the caller likes (realm and channel, say). There
is no clock: ``now`` is an argument, in seconds, and must not run backwards.

    push ──> seen before? ──> no-seq, or nobody listens ──────────────────────> due at once
                         └──> follows the last id, or either is unknown ──────> due at once, then those that follow it
                         └──> else it waits: for its predecessor, or `wait` seconds
"""

from collections import OrderedDict, deque
from collections.abc import Hashable

from msgspec import json

from gripproxy.grip.item import Item

WAIT = 5.0  # seconds for a predecessor; Pushpin's message_wait
PENDING_MAX = 100  # waiting items of a channel; Pushpin's
PENDING_TOTAL = 64 << 20  # bytes of waiting items of all channels
DUPLICATE_TTL = 60.0  # seconds; Pushpin's id_cache_ttl
DUPLICATES_MAX = 100_000  # ids: 1,600 a second for 60 s, some 30 MB
LAST_IDS_MAX = 1_000_000  # channels; Pushpin's
HISTORY_TTL = 60.0  # seconds: longer than a client takes to come back
HISTORY_ITEMS = 100  # of a channel
HISTORY_BYTES = 1 << 20  # of a channel
HISTORY_TOTAL = 64 << 20  # bytes of all channels
ITEM_OVERHEAD = 1000  # bytes that an item takes beside its content, roughly


class Sequencer:
    """Decides what is due, and remembers a little of what was.

    The public integers count: ``duplicates`` dropped; ``overtakers`` that went out late and without their predecessor;
    ``overflowed`` items dropped because too many waited, or another one waited for the same predecessor;
    ``forgotten_duplicates``, ``forgotten_last_ids`` and ``forgotten_history``: entries pushed out by a bound before
    their time.
    """

    def __init__(
        self,
        *,
        wait: float = WAIT,
        pending_max: int = PENDING_MAX,
        pending_total: int = PENDING_TOTAL,
        duplicate_ttl: float = DUPLICATE_TTL,
        duplicates_max: int = DUPLICATES_MAX,
        last_ids_max: int = LAST_IDS_MAX,
        history_ttl: float = HISTORY_TTL,
        history_items: int = HISTORY_ITEMS,
        history_bytes: int = HISTORY_BYTES,
        history_total: int = HISTORY_TOTAL,
    ) -> None:
        self._wait = wait
        self._pending_max = pending_max
        self._pending_total = pending_total
        self._duplicate_ttl = duplicate_ttl
        self._duplicates_max = duplicates_max
        self._last_ids_max = last_ids_max
        # In the order of their times, so that what is over is always in front.
        self._seen: OrderedDict[tuple[Hashable, str], float] = OrderedDict()
        self._deadlines: OrderedDict[tuple[Hashable, str], float] = OrderedDict()
        self._pending: dict[Hashable, dict[str, Item]] = {}  # by key and prev_id; the same ones as in _deadlines
        self._pending_size = 0
        self._last_ids: OrderedDict[Hashable, str] = OrderedDict()
        self._history = History(history_ttl, history_items, history_bytes, history_total)
        self.duplicates = 0
        self.overtakers = 0
        self.overflowed = 0
        self.forgotten_duplicates = 0
        self.forgotten_last_ids = 0

    @property
    def forgotten_history(self) -> int:
        """Items that the total bound of the history pushed out before their time."""
        return self._history.forgotten

    @property
    def deadline(self) -> float | None:
        """When to call `due`, on the clock of ``now``; None while nothing waits."""
        return next(iter(self._deadlines.values()), None)

    def push(self, key: Hashable, item: Item, now: float, has_subscribers: bool) -> list[Item]:
        """Take an item; return those of its channel that are due now, in order."""
        self._history.expire(now)
        if item.id is not None and self._is_duplicate(key, item.id, now):
            return []
        if item.no_seq:
            return [item]
        if not has_subscribers:  # a last id from before the next subscriber would be none to compare its prev-id with
            self._history.add(key, item, now)
            return [item]
        last_id = self._last_ids.get(key)
        if last_id is not None and item.prev_id is not None and item.prev_id != last_id:
            self._hold_back(key, item.prev_id, item, now)
            return []
        return self._send(key, item, now)

    def due(self, now: float) -> list[tuple[Hashable, Item]]:
        """The items whose wait is over, each followed by those that waited for it."""
        items: list[tuple[Hashable, Item]] = []
        while self._deadlines:
            (key, prev_id), deadline = next(iter(self._deadlines.items()))
            if deadline > now:
                break
            self.overtakers += 1
            items += [(key, item) for item in self._send(key, self._take(key, prev_id), now)]
        return items

    def last_id(self, key: Hashable) -> str | None:
        """The id of the channel's newest item, if that is known."""
        return self._last_ids.get(key)

    def since(self, key: Hashable, last_id: str) -> list[Item] | None:
        """The items that came after this id, in order; [] if it is the newest, None if it is not (or no more) known.

        None also if an item without id, or one that overtook its predecessor, came in between: then only the backend
        can tell what the client lacks. Items with ``no_seq`` have no place in the order and are not kept.
        """
        items = self._history.since(key, last_id)
        if items is None and not self._history.has(key) and self._last_ids.get(key) == last_id:
            return []
        return items

    def forget_last_id(self, key: Hashable) -> None:
        """Forget a channel's last id, because a hold's prev-id or a subscriber's state contradicts it."""
        self._last_ids.pop(key, None)

    def forget(self, key: Hashable) -> None:
        """Forget a channel's last id and what waits on it, because its last subscriber has left.

        The history stays until its time is over: the subscriber may come back and ask for what it missed.
        """
        self._last_ids.pop(key, None)
        for prev_id in list(self._pending.get(key, ())):
            self._take(key, prev_id)

    def clear(self) -> None:
        """Forget all last ids and the history (to recover); what waits still goes out, and duplicates stay known."""
        self._last_ids.clear()
        self._history.clear()

    def _is_duplicate(self, key: Hashable, identifier: str, now: float) -> bool:
        seen = self._seen
        while seen and next(iter(seen.values())) <= now:
            seen.popitem(last=False)
        if (key, identifier) in seen:
            self.duplicates += 1
            return True
        if self._duplicate_ttl > 0:
            seen[key, identifier] = now + self._duplicate_ttl
            if len(seen) > self._duplicates_max:
                seen.popitem(last=False)
                self.forgotten_duplicates += 1
        return False

    def _hold_back(self, key: Hashable, prev_id: str, item: Item, now: float) -> None:
        waiting = self._pending.get(key, {})
        size = size_of(item)
        if prev_id in waiting or len(waiting) >= self._pending_max or self._pending_size + size > self._pending_total:
            self.overflowed += 1
            if item.id is not None:
                self._seen.pop((key, item.id), None)  # the publisher may try again
            return
        self._pending_size += size
        self._pending.setdefault(key, waiting)[prev_id] = item
        self._deadlines[key, prev_id] = now + self._wait

    def _take(self, key: Hashable, prev_id: str) -> Item:
        del self._deadlines[key, prev_id]
        waiting = self._pending[key]
        item = waiting.pop(prev_id)
        self._pending_size -= size_of(item)
        if not waiting:
            del self._pending[key]
        return item

    def _send(self, key: Hashable, item: Item, now: float) -> list[Item]:
        """Note that the item goes out; return it and those that waited for it."""
        items = [item]
        self._history.add(key, item, now)
        while item.id is not None and key in self._pending and item.id in self._pending[key]:
            item = self._take(key, item.id)
            items.append(item)
            self._history.add(key, item, now)
        if item.id is None:
            self._last_ids.pop(key, None)
        else:
            self._last_ids[key] = item.id
            self._last_ids.move_to_end(key)
            if len(self._last_ids) > self._last_ids_max:
                self._last_ids.popitem(last=False)
                self.forgotten_last_ids += 1
        return items


class History:
    """The newest items of each channel, as far as they follow one another without a gap."""

    __slots__ = (
        "_bytes",
        "_bytes_max",
        "_channels",
        "_entries",
        "_items_max",
        "_serial",
        "_size",
        "_total",
        "_ttl",
        "forgotten",
    )

    def __init__(self, ttl: float, items_max: int, bytes_max: int, total: int) -> None:
        self._ttl = ttl
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._total = total
        self._size = 0
        self._serial = 0
        # All entries in the order of their times, and each channel's share of them in the same order.
        self._entries: OrderedDict[int, tuple[float, Hashable, Item, int]] = OrderedDict()
        self._channels: dict[Hashable, deque[int]] = {}
        self._bytes: dict[Hashable, int] = {}
        self.forgotten = 0

    def has(self, key: Hashable) -> bool:
        """Whether there is any item of this channel."""
        return key in self._channels

    def add(self, key: Hashable, item: Item, now: float) -> None:
        """Keep an item; one that does not follow the channel's newest begins anew, one without id only ends."""
        serials = self._channels.get(key)
        if serials is not None and (
            item.id is None or (item.prev_id is not None and item.prev_id != self._entries[serials[-1]][2].id)
        ):
            while key in self._channels:
                self._drop_oldest(key)
        if item.id is None or not self._items_max:
            return
        size = size_of(item)
        self._serial += 1
        self._entries[self._serial] = (now + self._ttl, key, item, size)
        serials = self._channels.setdefault(key, deque())
        serials.append(self._serial)
        self._bytes[key] = self._bytes.get(key, 0) + size
        self._size += size
        while key in self._channels and (len(serials) > self._items_max or self._bytes[key] > self._bytes_max):
            self._drop_oldest(key)
        while self._size > self._total:
            self._drop_oldest(next(iter(self._entries.values()))[1])
            self.forgotten += 1

    def since(self, key: Hashable, last_id: str) -> list[Item] | None:
        """The items after that id; None if it is neither the id of one nor the oldest one's prev_id."""
        items = [self._entries[serial][2] for serial in self._channels.get(key, ())]
        for index in range(len(items) - 1, -1, -1):
            if items[index].id == last_id:
                return items[index + 1 :]
        return items if items and items[0].prev_id == last_id else None

    def expire(self, now: float) -> None:
        """Drop the items whose time is over."""
        while self._entries:
            expiry, key, _, _ = next(iter(self._entries.values()))
            if expiry > now:
                break
            self._drop_oldest(key)

    def clear(self) -> None:
        """Drop all items."""
        self._entries.clear()
        self._channels.clear()
        self._bytes.clear()
        self._size = 0

    def _drop_oldest(self, key: Hashable) -> None:
        serials = self._channels[key]
        size = self._entries.pop(serials.popleft())[3]
        self._size -= size
        self._bytes[key] -= size
        if not serials:
            del self._channels[key], self._bytes[key]


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
