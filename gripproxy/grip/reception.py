"""What one subscriber makes of an item that is not simply written to it: reliable order, then filters.

Order: a hold may say for a channel at which item its client is (``prev-id``). From then on each item either follows,
is one that the client has already, or shows a gap; a gap is closed from the channel's history where that reaches back
far enough, else only the backend can. An item that does not say what it follows is a gap, too.

Filters: those of the channel's subscription decide whether the client gets an item, and what its content becomes.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from gripproxy.grip.filters import Conversation, Filters, Scope, compile_filters
from gripproxy.grip.history import has_no_place
from gripproxy.grip.instruct import Channel
from gripproxy.grip.item import Item

# (channel, id) -> the items after that one, [] if it is the newest, None if it is not known.
Since = Callable[[str, str], list[Item] | None]

_NO_FILTERS = Filters()

_compile = lru_cache(maxsize=1024)(compile_filters)


class Reception:
    """One subscriber's state: where it is on each reliable channel, its meta and its filters.

    ``ids`` has the reliable channels only, and for each the id of the item that the client got last.
    """

    __slots__ = ("_filters", "_prefix", "channels", "ids", "meta")

    def __init__(self, channels: Iterable[Channel], meta: Mapping[str, str], prefix: str = "") -> None:
        """``prefix`` is the route's: names that the backend gave have it, filters do not see it."""
        self.ids: dict[str, str] = {}
        self._filters: dict[str, Filters] = {}
        self._prefix = prefix
        self.meta = meta
        self.channels: frozenset[str] = frozenset()
        for channel in channels:
            self.add(channel)

    @property
    def is_plain(self) -> bool:
        """Whether items need no reception at all: neither order nor filters."""
        return not self.ids and not self._filters

    def add(self, channel: Channel) -> None:
        """Add a channel, or what is now said of it."""
        self.channels |= {channel.name.removeprefix(self._prefix)}
        if channel.prev_id is not None:
            self.ids[channel.name] = channel.prev_id
        filters = _compile(channel.filters) if channel.filters else _NO_FILTERS
        if filters:
            self._filters[channel.name] = filters
        else:
            self._filters.pop(channel.name, None)

    def remove(self, channel: str) -> None:
        """Forget a channel."""
        self.channels -= {channel.removeprefix(self._prefix)}
        self.ids.pop(channel, None)
        self._filters.pop(channel, None)

    def last_ids(self) -> dict[str, str]:
        """Return where the client is, by channel names as the backend knows them (for Grip-Last)."""
        return {channel.removeprefix(self._prefix): last for channel, last in self.ids.items()}

    # Order

    def admit(self, channel: str, item: Item, since: Since) -> list[Item] | None:
        """Return the items that the client is to get now, in order; None when there is a gap.

        Each of them is to be reported by `reach` as it is passed on.
        """
        at = self.ids.get(channel)
        if at is None or has_no_place(item) or item.prev_id == at:
            return [item]
        if item.id is None:
            return None
        if self.has(channel, item.id, since):
            return []  # published before the state that the backend gave the client
        return since(channel, at)

    def has(self, channel: str, last_id: str, since: Since) -> bool:
        """Whether the client has all of a reliable channel up to an id, as far as its history tells."""
        at = self.ids.get(channel)
        if at is None or last_id == at:
            return at is not None
        later = since(channel, last_id)
        return later is not None and any(one.id == at for one in later)

    def has_all(self, channels: Iterable[Channel], since: Since, knows: Callable[[str, str], bool]) -> bool:
        """Whether the client has all up to the ids of these channels, which are all that it is subscribed to.

        ``knows(channel, id)`` tells of some ids that it has come past them.
        """
        told = {channel.name: channel.prev_id for channel in channels}
        return {name.removeprefix(self._prefix) for name in told} == self.channels and all(
            last_id is not None and (knows(name, last_id) or self.has(name, last_id, since))
            for name, last_id in told.items()
        )

    def catch_up(self, channel: str, since: Since) -> list[Item] | None:
        """Return what the client lacks on a reliable channel according to its history; None when that can't tell."""
        at = self.ids.get(channel)
        return [] if at is None else since(channel, at)

    def reach(self, channel: str, item: Item) -> bool:
        """Note that the client gets an item now; return whether that moves it on in a reliable channel's order."""
        if item.id is None or item.prev_id is None or self.ids.get(channel) != item.prev_id:
            return False
        self.ids[channel] = item.id
        return True

    # Filters

    def filters(self, channel: str) -> Filters:
        """Return the filters of a channel's subscription."""
        return self._filters.get(channel, _NO_FILTERS)

    def scope(self) -> Scope:
        """Return what filters may know of this subscriber."""
        return Scope(self.meta, self.channels, self.last_ids())

    def content(self, channel: str, item: Item, content: bytes, names: tuple[str, ...] | None) -> bytes | None:
        """Return the content of an item's format as this client gets it, None when it does not get it.

        ``names`` are the format's ``content-filters``. Raises: FilterError.
        """
        filters = self._filters.get(channel, _NO_FILTERS)
        if not filters.accepts(names):
            return None
        if not filters:
            return content
        scope = self.scope()
        if filters.drops(item, scope):
            return None
        return filters.content(content, scope)

    def conversation(
        self, channel: str, item: Item, content: bytes, names: tuple[str, ...] | None
    ) -> Conversation | None:
        """Return an item's way through filters that ask; None where the channel has no such filters.

        ``names`` are the format's ``content-filters``.
        """
        filters = self._filters.get(channel, _NO_FILTERS)
        if not filters.http_names or not filters.accepts(names):
            return None
        return filters.conversation(content, item, self.scope())

    def response(self, channels: Iterable[Channel], body: bytes) -> bytes:
        """Return the body that a hold begins with, after the channels' filters. Raises: FilterError."""
        names = tuple(dict.fromkeys(name for channel in channels for name in channel.filters))
        filters = _compile(names)
        return filters.response(body, self.scope()) if filters.response_functions else body
