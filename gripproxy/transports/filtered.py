"""A stream hold that looks at each item before it writes it: the filters of its channels, and who is cut for them.

What becomes of an item may be asked of a backend (`http-check`). Until that has answered, everything behind it waits in
line, so that the order stays.
"""

from collections.abc import Callable

from gripproxy.errors import FilterError
from gripproxy.grip.item import Item
from gripproxy.grip.reception import Reception
from gripproxy.hub import GONE
from gripproxy.transports import Done
from gripproxy.transports.holds import log
from gripproxy.transports.line import Line
from gripproxy.transports.stream import StreamHold


class FilteredStream(StreamHold):
    """A stream with a reception; ``uri`` is the absolute one that its links and filters are relative to."""

    __slots__ = ("_line", "reception", "uri")

    reception: Reception
    uri: str
    # For items that wait for a filter's answer; most streams have none.
    _line: Line | None

    def is_carried(self, item: Item) -> bool:
        """Whether the hub brings this item: any."""
        return True

    def pass_on(self, channel: str, item: Item) -> None:
        """Do with an item what it asks for, once its turn has come."""
        stream = item.stream
        if stream is None or self.transport is GONE:
            return
        if stream.action == "close":
            if not self.reception.filters(channel).drops(item, self.reception.scope()):
                self.in_turn(lambda: self.end("closed"))
        elif stream.action == "send":
            if self.holds.sessions.members:
                self.holds.sessions.reach(self, channel, item.id, self.holds.wheel.now())
            conversation = self.reception.conversation(channel, item, stream.content, stream.content_filters)
            if conversation is not None:
                if self._line is None:
                    self._line = self.holds.line(self, self.uri, self._give_up)
                self._line.put(conversation, self._write_filtered)
                return
            try:
                content = self.reception.content(channel, item, stream.content, stream.content_filters)
            except FilterError as error:
                log.debug("%s: channel %r: skipped an item: %s", self.route.id, channel, error)
                content = None
            self.in_turn(lambda: self._write_filtered(content))

    def _write_filtered(self, content: bytes | None) -> None:
        if content is None:
            self.holds.metrics.filtered += 1
        else:
            self.write(content)

    def in_turn(self, do: Callable[[], None]) -> None:
        """Do something behind all that waits for a filter."""
        if self._line is None:
            do()
        else:
            self._line.put(None, lambda _: do())

    def _give_up(self) -> None:
        log.warning("%s: too much waits for a filter of %s; the stream is cut", self.route.id, ", ".join(self.channels))
        self.break_off("filter")

    def break_off(self, reason: str) -> None:
        """Cut the connection without ending the body, so that the client knows to come again."""
        connection = self.connection
        if self.transport is GONE:
            return
        self.leave()
        if connection is not None:
            connection.close()
        self._tell(Done(reason))

    def leave(self) -> None:
        """Unsubscribe and drop the timer; nothing is written from now on."""
        super().leave()
        if self._line is not None:
            self._line.clear()
