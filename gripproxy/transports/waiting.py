"""The items of a stream that wait for a link, in the order in which they came."""

from collections.abc import Mapping, Set

from gripproxy.grip.history import has_no_place
from gripproxy.grip.item import Item

# Items that wait; Pushpin's. What to do with one more is for the stream to say.
WAITING_MAX = 100

# Channel, item, and the moment at which it had come.
Entry = tuple[str, Item, int]


class Waiting:
    """One stream's items. While there are none, as mostly, there is no list."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: list[Entry] | None = None

    def __len__(self) -> int:
        return len(self._entries or ())

    def put(self, channel: str, item: Item, moment: int) -> None:
        """Add an item behind all others."""
        if self._entries is None:
            self._entries = []
        self._entries.append((channel, item, moment))

    def take(self) -> list[Entry]:
        """Return all of them, and forget them."""
        entries, self._entries = self._entries, None
        return entries or []

    def drop_oldest(self) -> tuple[str, Item]:
        """Drop the first, and return it with its channel; there must be one."""
        assert self._entries
        channel, item, _ = self._entries.pop(0)
        return channel, item

    def settle(self, asked: int, ids: Mapping[str, str], believed: Set[str], *, has_link: bool) -> None:
        """Drop what had come before an answer was asked for, as far as the answer settles it.

        ``asked`` is that moment, ``ids`` where the client is on reliable channels, ``believed`` those of them of which
        the answer is taken at its word. With a link, a hint is settled by any answer.
        """
        kept: list[Entry] = []
        for channel, item, moment in self.take():
            is_settled = has_link and item.stream is not None and item.stream.action == "hint"
            if channel in ids and not has_no_place(item):
                is_settled = is_settled or item.id is None or (channel in believed and item.prev_id != ids[channel])
            if moment > asked or not is_settled:
                kept.append((channel, item, moment))
        self._entries = kept or None
