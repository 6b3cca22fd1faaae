"""A stream hold that looks at each item before it writes it: through filters, and whether the client can take it.

What becomes of an item may be asked of a backend (`http-check`). Until that has answered, everything behind it waits in
line, so that the order stays. A client that has too much unsent is written nothing until it has caught up, if there is
a link by which it can learn the rest.
"""

from collections.abc import Callable

from gripproxy.errors import FilterError
from gripproxy.grip.instruct import Link
from gripproxy.grip.item import Item
from gripproxy.grip.reception import Reception
from gripproxy.hub import GONE
from gripproxy.transports import Done
from gripproxy.transports.holds import log
from gripproxy.transports.lag import LOOK, UNSENT_TIMES, Lag
from gripproxy.transports.line import Line
from gripproxy.transports.stream import StreamHold


class FilteredStream(StreamHold):
    """A stream with a reception; ``uri`` is the absolute one that its link and filters are relative to."""

    __slots__ = ("_line", "is_begun", "lag", "link", "reception", "uri")

    reception: Reception
    uri: str
    # For items that wait for a filter's answer; most streams have none.
    _line: Line | None
    # Whether the body that the hold begins with is out; until then the client may take its time.
    is_begun: bool
    # Where to ask for what the client lacks, and what is known of it while it has too much unsent.
    link: Link | None
    lag: Lag | None

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
        text, names = "%s: too much waits for a filter of %s; the stream is cut", self.channels[:5]
        log.warning(text, self.route.id, ", ".join(names), extra={**self.log_extra, "channels": names})
        self.break_off("filter")

    # Slow clients

    def on_overflow(self) -> None:
        """Write nothing until the client has caught up, where a link can tell it the rest; cut any other."""
        if not self.is_begun:
            return
        if self.link is None or self.transport is GONE:
            super().on_overflow()
        elif self.lag is None:
            names = ", ".join(self.channels[:5])
            log.debug("%s: a client is slow: %d bytes unsent, channels %s", self.route.id, self.unsent, names)
            self.lag = Lag(self.unsent, self.holds.wheel.now())
            self.holds.wheel.set(self, LOOK)

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        lag, self.lag = self.lag, None
        if lag is not None and self.transport is not GONE:
            self.holds.metrics.recoveries["slow"] += 1
            self.catch_up(lag)

    def catch_up(self, lag: Lag) -> None:
        """Write what the client was not sent meanwhile."""

    def write(self, content: bytes) -> None:
        """Write more of the body. What was under way already when a client began to lag has an end, too."""
        lag = self.lag
        super().write(content)
        if lag is not None and self.unsent > UNSENT_TIMES * self.holds.limits.unsent:
            super().on_overflow()

    @property
    def unsent(self) -> int:
        """The bytes that the client has not taken yet."""
        return self.connection.get_write_buffer_size() if self.connection is not None else 0

    def look_at_lag(self, lag: Lag) -> None:
        """Cut a client that takes nothing any more."""
        if lag.is_dead(self.unsent, self.holds.wheel.now()):
            super().on_overflow()

    def end(self, reason: str) -> None:
        """End the body; not as if it were whole where the client was not sent all of it."""
        if self.lag is not None:
            self.break_off(reason)
        else:
            super().end(reason)

    def break_off(self, reason: str) -> None:
        """Cut the connection without ending the body, so that the client knows to come again."""
        connection = self.connection
        if self.transport is GONE:
            return
        self.leave()
        if connection is not None:
            # One that takes nothing might keep for ever what is to be sent before the end.
            if self.lag is None:
                connection.close()
            else:
                connection.abort()
        self._tell(Done(reason))

    def leave(self) -> None:
        """Unsubscribe and drop the timer; nothing is written from now on."""
        super().leave()
        if self._line is not None:
            self._line.clear()
