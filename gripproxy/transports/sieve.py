"""The filters of a WebSocket client's subscriptions: what they know of it, and the messages on their way through them.

Most clients have no filters, and no `Sieve`. With the first filter of a client all its subscriptions become known to
them, for filters may look at every channel.
"""

import logging
from collections.abc import Callable

from gripproxy.errors import FilterError
from gripproxy.grip.instruct import Channel
from gripproxy.grip.item import Item, WsMessage
from gripproxy.grip.reception import Reception
from gripproxy.routes import Route
from gripproxy.transports.line import Line, Then

log = logging.getLogger("gripproxy.websocket")


# Names that a client's meta may have; a backend that names something else each time would fill the memory.
META_MAX = 64


class Sieve:
    """One client's filters. Messages leave it in the order in which they were put in."""

    __slots__ = ("_line", "_meta", "_reception", "_route")

    def __init__(self, route: Route) -> None:
        self._route = route
        self._meta: dict[str, str] = {}
        self._reception: Reception | None = None
        # For messages that wait for a filter's answer
        self._line: Line | None = None

    def set_meta(self, name: str, value: str | None) -> bool:
        """Let filters know a value of the client, or (None) forget it; those at work still go by what was.

        Return whether there was room for it.
        """
        if value is not None and len(self._meta) >= META_MAX and name not in self._meta:
            return False
        self._meta = {key: old for key, old in self._meta.items() if key != name}
        if value is not None:
            self._meta[name] = value
        if self._reception is not None:
            self._reception.meta = self._meta
        return True

    def set_filters(self, channels: tuple[str, ...], name: str, filters: tuple[str, ...]) -> None:
        """Set the filters of one of the client's channels; names of channels have the route's prefix."""
        if self._reception is None:
            if not filters:
                return
            self._reception = Reception([Channel(one) for one in channels], self._meta, self._route.prefix)
        self._reception.add(Channel(name, filters=filters))

    def remove(self, channel: str) -> None:
        """Forget a channel."""
        if self._reception is not None:
            self._reception.remove(channel)

    def has_filters(self, channel: str) -> bool:
        """Whether a channel has filters."""
        return self._reception is not None and bool(self._reception.filters(channel))

    def drops(self, channel: str, item: Item) -> bool:
        """Whether a filter keeps an item back, whatever is to be done with it."""
        reception = self._reception
        return reception is not None and reception.filters(channel).drops(item, reception.scope())

    def put(self, channel: str, item: Item, message: WsMessage, then: Then, make_line: Callable[[], Line]) -> None:
        """Give a message's content to the channel's filters, and what becomes of it to ``then``, in turn.

        ``make_line`` is called when the first message has to wait.
        """
        content: bytes | None = message.content
        if self._reception is not None:
            conversation = self._reception.conversation(channel, item, message.content, message.content_filters)
            if conversation is not None:
                if self._line is None:
                    self._line = make_line()
                self._line.put(conversation, then)
                return
            try:
                content = self._reception.content(channel, item, message.content, message.content_filters)
            except FilterError as error:
                log.debug("%s: channel %r: skipped an item: %s", self._route.id, channel, error)
                content = None
        self.in_turn(lambda: then(content))

    def in_turn(self, do: Callable[[], None]) -> None:
        """Do something behind all that waits for a filter."""
        if self._line is None:
            do()
        else:
            self._line.put(None, lambda _: do())

    def clear(self) -> None:
        """Forget what waits: the client is gone."""
        if self._line is not None:
            self._line.clear()
