"""The stream hold: a response whose body goes on with what is published (HTTP streaming, Server-Sent Events).

The head and the initial body are out before the hold begins; the subscriptions are made first, in the same turn of the
loop. From then on the hub writes published content straight to the transport. The hold itself acts only when its timer
is due, when an item asks for something else than to be sent, or when the client leaves.
"""

import asyncio

from gripproxy.grip import wire
from gripproxy.grip.history import Moments
from gripproxy.grip.instruct import Instruct, KeepAlive
from gripproxy.grip.item import Item
from gripproxy.hub import GONE
from gripproxy.routes import Route
from gripproxy.transports import Done, Outcome
from gripproxy.transports.holds import Hold, Holds
from gripproxy.transports.wheel import TICK


class StreamHold(Hold):
    """A client that is being streamed to: every item that is published goes to it as it is."""

    transport_name = "stream"

    __slots__ = (
        "framing",
        "gone_link",
        "holds",
        "is_kept",
        "keep_alive",
        "origin",
        "road",
        "written_at",
    )

    def __init__(
        self,
        holds: Holds,
        route: Route,
        instruct: Instruct,
        connection: asyncio.Transport,
        received: bytes,
        *,
        is_chunked: bool,
        is_kept: bool,
        road: str | None = None,
    ) -> None:
        """``road`` is the group of each channel to subscribe to, None for the one of the framing."""
        super().__init__(holds.server, connection, received)
        self.holds = holds
        self.route = route
        self.framing = wire.CHUNK if is_chunked else wire.PLAIN
        self.road = road or self.framing
        self.is_kept = is_kept and is_chunked
        self.keep_alive: KeepAlive | None = holds.share(instruct.keep_alive)
        self.channels = tuple(channel.name for channel in instruct.channels)
        # Absolute, to be posted to when the hold is over; None for most.
        self.gone_link: str | None = None
        self.origin = ""
        # The tick of what the hold wrote itself; what the hub writes is known by the group's own.
        self.written_at = holds.hub.tick

    def begin(self, moments: Moments) -> list[tuple[str, Item]]:
        """Subscribe, and set the timer. The caller writes the head in the same turn, then gives the result to `resume`.

        ``moments`` are those of the request. Returned are channels and items that came since the answer.
        """
        holds, connection = self.holds, self.connection
        assert connection is not None
        connection.set_write_buffer_limits(high=holds.limits.unsent)
        channels, self.channels = self.channels, ()
        missed = self.subscribe(channels, moments)
        if self.keep_alive is not None:
            holds.wheel.set(self, holds.spread(self.keep_alive.timeout))
        holds.begin(self)
        return missed

    def subscribe(self, channels: tuple[str, ...], moments: Moments) -> list[tuple[str, Item]]:
        """Change the subscriptions to these channels; return what came on new ones since a request's ``moments``."""
        holds, realm = self.holds, self.route.realm
        missed: list[tuple[str, Item]] = []
        for channel in self.channels:
            if channel not in channels:
                holds.hub.unsubscribe(self, realm, channel, self.road)
        for channel in channels:
            if channel not in self.channels:
                group = holds.hub.subscribe(self, realm, channel, self.road)
                moment = self.moment(channel, moments)
                missed += [(channel, item) for item in holds.missed(group, realm, channel, moment, self.is_carried)]
        self.channels = channels
        return missed

    def resume(self, missed: list[tuple[str, Item]]) -> None:
        """Write what the subscriptions came too late for."""
        for channel, item in missed:
            if item.stream is not None and item.stream.action == "send":
                self.write(item.stream.content)
                self.holds.sessions.reach(self, channel, item.id, self.holds.wheel.now())
            else:
                self.receive(channel, item)

    def moment(self, channel: str, moments: Moments) -> int:
        """Since when items of a channel matter."""
        return moments.answered

    def is_carried(self, item: Item) -> bool:
        """Whether the hub would have brought this item."""
        stream = item.stream
        return stream is not None and (stream.action != "send" or bool(stream.content and not stream.content_filters))

    def write(self, content: bytes) -> None:
        """Write more of the body."""
        if content and not self.transport.is_closing():
            self.transport.write(wire.chunk(content) if self.framing == wire.CHUNK else content)
            self.written_at = self.holds.hub.tick

    def receive(self, channel: str, item: Item) -> None:
        """Act on an item that is not simply sent: close the stream."""
        if self.transport is not GONE and item.stream is not None and item.stream.action == "close":
            self.end("closed")

    def refresh(self) -> None:
        """Do nothing: there is no link to ask."""

    def on_due(self) -> None:
        """Send the keep-alive, unless something else was sent since."""
        if self.keep_alive is not None:
            self.holds.wheel.set(self, self.send_keep_alive(self.keep_alive))

    def send_keep_alive(self, keep_alive: KeepAlive) -> float:
        """Send a keep-alive that is due, and return the seconds until the next one is."""
        holds = self.holds
        if keep_alive.mode == "idle":
            hub, realm = holds.hub, self.route.realm
            if self.road == self.framing:
                passed = [hub.passed_at(realm, channel, self.road) for channel in self.channels]
                self.written_at = max([self.written_at, *passed])
            waited = (hub.tick - self.written_at) * TICK
            if waited < keep_alive.timeout * 0.9:
                return holds.spread(keep_alive.timeout - waited)
        self.write(keep_alive.content)
        return holds.spread(keep_alive.timeout)

    def end(self, reason: str) -> None:
        """End the body, and with it the hold; the connection goes on where HTTP allows it."""
        connection = self.connection
        self.leave()
        if connection is not None and not connection.is_closing():
            if self.framing == wire.CHUNK:
                connection.write(wire.LAST_CHUNK)
            if not self.is_kept or reason == "shutdown":
                connection.close()
        self._tell(Done(reason))

    def leave(self) -> None:
        """Unsubscribe and drop the timer; nothing is written from now on."""
        holds = self.holds
        self.transport = GONE
        holds.wheel.drop(self)
        if holds.sessions.members:
            holds.sessions.leave(self, holds.wheel.now())
        for channel in self.channels:
            holds.hub.unsubscribe(self, self.route.realm, channel, self.road)
        holds.leave(self)

    def on_lost(self) -> None:
        """The client left: unsubscribe."""
        if self in self.holds.open:
            self.leave()
            self._tell(Done("left"))

    def on_overflow(self) -> None:
        """Cut the client without ending the body, so that it can tell."""
        connection = self.connection
        if self.transport is GONE or connection is None:
            return
        self.holds.cut(self, "stream")
        self.leave()
        connection.abort()
        self._tell(Done("slow"))

    def _tell(self, outcome: Outcome) -> None:
        self.holds.on_end(self, outcome)
