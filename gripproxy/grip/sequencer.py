"""The order of items on each channel, and which of them were seen before.

An item whose ``prev_id`` is not the last id of its channel waits for its predecessor, a while. Every table has a bound;
what a bound costs is counted in an attribute. Keys name channels, as the caller likes (realm and channel, say). There
is no clock: ``now`` is an argument, in seconds, and must not run backwards.

    push ──> seen before? ──> follows the last id, or either is unknown ──> due at once, then those that follow it
                         └──> no-seq, or others went out without it ──────> due at once
                         └──> else it waits: for its predecessor, or `wait` seconds

What went out is kept for a while in a history, for those who come late.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable

from gripproxy.grip import history
from gripproxy.grip.history import History, size_of
from gripproxy.grip.item import Item

WAIT = 5.0  # seconds for a predecessor; Pushpin's message_wait
PENDING_MAX = 100  # waiting items of a channel; Pushpin's
PENDING_TOTAL = 64 << 20  # bytes of waiting items of all channels
DUPLICATE_TTL = 60.0  # seconds; Pushpin's id_cache_ttl
DUPLICATES_MAX = 100_000  # ids: 1,600 a second for 60 s, some 30 MB
LAST_IDS_MAX = 1_000_000  # channels; Pushpin's


class Sequencer:
    """Decides what is due, and remembers a little of what was.

    The public integers count: ``duplicates`` dropped; ``overtakers`` that went out late and without their predecessor;
    ``overflowed``, how often a channel's items went out early, because too many waited or two for the same predecessor;
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
        history_ttl: float = history.TTL,
        history_items: int = history.ITEMS_MAX,
        history_bytes: int = history.BYTES_MAX,
        history_total: int = history.TOTAL,
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

    def configure(
        self, *, wait: float, duplicate_ttl: float, history_ttl: float, history_items: int, history_bytes: int
    ) -> None:
        """Go on with other bounds, as if they had always been so."""
        # The times of a table move together, so that they stay in order.
        if later := wait - self._wait:
            for key, deadline in self._deadlines.items():
                self._deadlines[key] = deadline + later
        if later := duplicate_ttl - self._duplicate_ttl:
            for one, until in self._seen.items():
                self._seen[one] = until + later
        self._wait, self._duplicate_ttl = wait, duplicate_ttl
        self._history.configure(history_ttl, history_items, history_bytes)

    @property
    def forgotten_history(self) -> int:
        """Items that the total bound of the history pushed out before their time."""
        return self._history.forgotten

    @property
    def deadline(self) -> float | None:
        """When to call `due`, on the clock of ``now``; None while nothing waits."""
        return next(iter(self._deadlines.values()), None)

    @property
    def serial(self) -> int:
        """The number of the newest item that went out, of whatever channel."""
        return self._history.serial

    @property
    def expired(self) -> int:
        """The number of the newest item that is not remembered any more: its time is over, or there was no room."""
        return self._history.expired

    def await_all(self, change: int) -> None:
        """Note that one more (1), or one less (-1), will want all that comes from now on, however much that is."""
        self._history.awaited += change

    def push(self, key: Hashable, item: Item, now: float, has_subscribers: bool) -> list[Item]:
        """Take an item; return those of its channel that are due now, in order."""
        self._history.expire(now)
        if item.id is not None and self._is_duplicate(key, item.id, now):
            return []
        if item.prev_id is None:
            if item.no_seq:
                self._history.add(key, item, now)
                return [item]
            return self._send(key, item, now, has_subscribers)
        last_id = self._last_id(key, now, has_subscribers)
        if last_id is None or item.prev_id == last_id:
            return self._send(key, item, now, has_subscribers)
        if item.no_seq or self._history.is_late(key, item):
            self._history.add(key, item, now)
            return [item]
        return self._hold_back(key, item.prev_id, item, now, has_subscribers)

    def _last_id(self, key: Hashable, now: float, has_subscribers: bool) -> str | None:
        """The id that the next item's prev-id is compared with.

        When nobody listens the order is restored for the history only, and only among items that come together.
        """
        if has_subscribers and key in self._last_ids:
            return self._last_ids[key]
        newest = self._history.newest(key)
        if newest is None:
            return None
        last_id, came_at, is_ended = newest
        return None if is_ended or (not has_subscribers and now - came_at > self._wait) else last_id

    def due(self, now: float) -> list[tuple[Hashable, Item]]:
        """The items whose wait is over, each behind those that it waits for and before those that waited for it."""
        items: list[tuple[Hashable, Item]] = []
        while self._deadlines:
            (key, prev_id), deadline = next(iter(self._deadlines.items()))
            if deadline > now:
                break
            self.overtakers += 1
            first = self._take(key, self._first_before(key, prev_id))
            items += [(key, item) for item in self._send(key, first, now, key in self._last_ids)]
        return items

    def last_id(self, key: Hashable) -> str | None:
        """The id of the channel's newest item, if that is known."""
        last_id = self._last_ids.get(key)
        if last_id is None:
            newest = self._history.newest(key)
            last_id = newest[0] if newest is not None else None
        return last_id

    def since(self, key: Hashable, last_id: str) -> list[Item] | None:
        """The items that came after this id, in order; [] if it is the newest, None if it is not (or no more) known.

        None also if an item that overtook its predecessor, or named none, came in between: then only the backend can
        tell what the client lacks. Items that have no place in the order (no id, or no-seq without prev-id) are not
        among them.
        """
        items = self._history.since(key, last_id)
        if items is None and self._history.newest(key) is None and self._last_ids.get(key) == last_id:
            return []
        return items

    def arrived(self, key: Hashable, serial: int) -> list[Item]:
        """All items of the channel that went out after this moment, as far as they are kept."""
        return self._history.arrived(key, serial)

    def forget(self, key: Hashable) -> None:
        """Forget a channel's last id, because its last subscriber has left; the history stays until its time is over.

        Otherwise the next subscriber would wait for the predecessor of the first item that comes, perhaps hours later.
        """
        self._last_ids.pop(key, None)

    def clear(self, concerns: Callable[[Hashable], bool] | None = None) -> None:
        """Forget the last ids of channels (None: of all), and what follows what there.

        What waits still goes out, and duplicates stay known.
        """
        if concerns is None:
            self._last_ids.clear()
        else:
            for key in list(filter(concerns, self._last_ids)):
                del self._last_ids[key]
        self._history.break_chains(concerns)

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

    def _hold_back(self, key: Hashable, prev_id: str, item: Item, now: float, has_subscribers: bool) -> list[Item]:
        """Have the item wait; where no more can, return it behind all that waited on its channel."""
        waiting = self._pending.get(key, {})
        size = size_of(item)
        if prev_id in waiting or len(waiting) >= self._pending_max or self._pending_size + size > self._pending_total:
            self.overflowed += 1
            items: list[Item] = []
            while key in self._pending:
                first = self._take(key, self._first_before(key, next(iter(self._pending[key]))))
                items += self._send(key, first, now, has_subscribers)
            return items + self._send(key, item, now, has_subscribers)
        self._pending_size += size
        self._pending.setdefault(key, waiting)[prev_id] = item
        self._deadlines[key, prev_id] = now + self._wait
        return []

    def _first_before(self, key: Hashable, prev_id: str) -> str:
        """Go back from the item that waits for this id to the first it waits for; return what that one waits for."""
        waits_for = {item.id: waited for waited, item in self._pending[key].items()}
        while (earlier := waits_for.pop(prev_id, None)) is not None:  # taken out, since ids may lead round in a circle
            prev_id = earlier
        return prev_id

    def _take(self, key: Hashable, prev_id: str) -> Item:
        del self._deadlines[key, prev_id]
        waiting = self._pending[key]
        item = waiting.pop(prev_id)
        self._pending_size -= size_of(item)
        if not waiting:
            del self._pending[key]
        return item

    def _send(self, key: Hashable, item: Item, now: float, has_subscribers: bool) -> list[Item]:
        """Note that the item goes out; return it and those that waited for it."""
        items = [item]
        self._history.add(key, item, now)
        while item.id is not None and key in self._pending and item.id in self._pending[key]:
            item = self._take(key, item.id)
            items.append(item)
            self._history.add(key, item, now)
        if item.id is None or not has_subscribers:  # the history knows the last id long enough for who comes next
            self._last_ids.pop(key, None)
        else:
            self._last_ids[key] = item.id
            self._last_ids.move_to_end(key)
            if len(self._last_ids) > self._last_ids_max:
                self._last_ids.popitem(last=False)
                self.forgotten_last_ids += 1
        return items
