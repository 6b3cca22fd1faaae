"""A WebSocket client: its frames, subscriptions, keep-alive and closing handshake.

Who is on the other side is the business of a `leg.Leg`, which is given what the client sends and calls `send`, `obey`,
`close` and `cut` here; published messages come from the hub straight to the transport.

Invariant: once a Close frame is out nothing else is written, and the connection is over within CLOSE_LINGER seconds.
An idle client costs neither task, timer nor parser.
"""

import asyncio
import logging
from collections.abc import Callable

from gripproxy.errors import EventError, InstructError
from gripproxy.grip import events as ev
from gripproxy.grip import wire
from gripproxy.grip.events import Event
from gripproxy.grip.instruct import FILTERS_MAX, Channel
from gripproxy.grip.item import Item, WsMessage
from gripproxy.hub import EACH, GONE
from gripproxy.routes import Route
from gripproxy.sessions import MESSAGE
from gripproxy.transports import Done
from gripproxy.transports.frames import FrameError, Frames
from gripproxy.transports.holds import Hold, Holds
from gripproxy.transports.leg import Leg
from gripproxy.transports.line import Line
from gripproxy.transports.sieve import META_MAX, Sieve
from gripproxy.transports.timers import Timers

log = logging.getLogger("gripproxy.websocket")

# Seconds that a client has to answer a Close frame, and a backend to answer a client's.
CLOSE_LINGER = 5.0

# Seconds that a client which broke the protocol has to read why, over TLS, where there is no half-closing.
FAILED_LINGER = 1.0

# Bytes of a frame before its content, at the most (RFC 6455 5.2, without a mask).
FRAME_HEAD_MAX = 10


class WebSocketHold(Hold):
    """A WebSocket client."""

    transport_name = "websocket"

    __slots__ = (
        "_close_code",
        "_ended_by",
        "_frames",
        "_is_at_work",
        "_sieve",
        "_timers",
        "framing",
        "has_closed",
        "holds",
        "is_client_closing",
        "is_detached",
        "is_failed",
        "is_wide",
        "leg",
        "written_at",
    )

    def __init__(
        self, holds: Holds, route: Route, leg: Leg, connection: asyncio.Transport, *, is_deflated: bool
    ) -> None:
        super().__init__(holds.server, connection)
        self.holds = holds
        self.route = route
        self.leg = leg
        self.framing = wire.DEFLATED if is_deflated else wire.FRAME
        self.has_closed = False  # our Close frame is out
        self.is_client_closing = False  # the client's Close frame is in
        self.is_detached = False
        self.is_failed = False  # the client broke the protocol: what it still sends means nothing
        self.is_wide = False  # more than limits.unsent may be unsent for now
        self.written_at = holds.hub.tick
        self._close_code: int | None = None
        # The word of the metric of ended holds; the first cause counts
        self._ended_by = ""
        # Names, with the route's prefix
        self.channels = ()
        # For subscriptions with filters, whose items take the slow road
        self._sieve: Sieve | None = None
        self._frames: Frames | None = None
        self._is_at_work = False  # with frames that have come, now or in the next turn
        self._timers: Timers | None = None
        connection.set_write_buffer_limits(high=holds.limits.unsent)
        holds.begin(self)
        for channel in route.subscribe:
            self.subscribe(channel)  # as it is: the route's prefix is for the backend's names

    # From the client

    def data_received(self, data: bytes) -> None:
        """Read frames; whole messages go to the leg."""
        if self.is_failed:
            return
        if self._frames is None:
            self._frames = Frames(self.holds.limits.websocket_message, is_deflated=self.framing == wire.DEFLATED)
        self._read(self._frames, data)

    def _read(self, frames: Frames, data: bytes = b"") -> None:
        """Read some frames, and go on in the next turn; not while the leg is full, before it calls `resume`."""
        self._is_at_work = True
        try:
            for event in frames.feed(data):
                self._receive(event)
                if self._is_stopped:
                    break
        except FrameError as error:
            self._is_at_work = False
            self._break_off(error)
            return
        self._is_at_work = False
        if frames.is_between:
            self._drop_frames()
        connection = self.connection
        if connection is None or connection.is_closing():
            return
        if self._is_stopped:
            connection.pause_reading()
        elif frames.has_more:
            connection.pause_reading()
            self._is_at_work = True
            asyncio.get_running_loop().call_soon(self._go_on)
        elif not connection.is_reading():
            connection.resume_reading()

    @property
    def _is_stopped(self) -> bool:
        # After our Close frame there is only the client's own to read.
        return self.leg.is_full and not self.has_closed

    def _go_on(self) -> None:
        if self._frames is not None:
            self._read(self._frames)

    def _drop_frames(self) -> None:
        if self._frames is not None:
            self._frames.release()
            self._frames = None

    def _break_off(self, error: FrameError) -> None:
        """Fail the connection (RFC 6455 7.1.7): the client is told why, and not listened to any more."""
        log.info("%s: closed a client with %d: %s", self.route.id, error.code, error.reason, extra=self.log_extra)
        self.is_failed = True
        self._drop_frames()
        self._end_by("protocol")
        self._lose_leg()
        self.close(error.code, error.reason)
        connection = self.connection
        # Closing at once would make the kernel answer what the client still sends with a reset, which can overtake
        # the Close frame.
        if connection is None or connection.is_closing():
            return
        if connection.can_write_eof():
            connection.write_eof()
        else:
            self._linger(FAILED_LINGER)

    def _receive(self, event: Event) -> None:
        if event.type == "CLOSE":
            self._receive_close(event)
        elif self.is_client_closing:
            return  # nothing may follow a Close frame
        elif event.type == "PING":
            self.write(wire.frame(wire.PONG, event.content))
            if self.route.pings == "forward" and not self.is_detached:
                self.leg.receive(event)
        elif event.type == "PONG" and self._timers is not None and self._timers.pings:
            self._timers.pings -= 1
        elif not self.is_detached:
            self.leg.receive(event)

    def _receive_close(self, event: Event) -> None:
        if self.is_client_closing:
            return
        self.is_client_closing = True
        code, reason = ev.parse_close(event.content)
        self._close_code = code
        if self.has_closed:
            self.leg.receive(event)
            self._close_transport()
        elif self.is_detached:
            self.close(code, reason)
        else:
            self._linger()
            self.leg.receive(event)

    def eof_received(self) -> bool:
        """Let a client that has closed and sends no more have its answer; one that has not closed is gone."""
        connection = self.connection
        waits = self.is_client_closing and not self.has_closed
        return waits and connection is not None and connection.can_write_eof()  # there is no half of TLS

    def on_lost(self) -> None:
        """The client's connection is gone."""
        self._drop_frames()
        if self in self.holds.open:
            self._leave()
            if not (self.has_closed and self.is_client_closing):
                self._lose_leg()
            self.leg.release()
            self._end_by("closed" if self.has_closed or self.is_client_closing else "left")
            self.holds.on_end(self, Done(self._ended_by))

    def on_overflow(self) -> None:
        """Cut a client that does not read, with a Close frame behind what it has not read yet."""
        if self.transport is GONE:
            return
        self.holds.cut(self, "websocket")
        self._end_by("slow")
        self._lose_leg()
        self.close(1013, "too slow")

    def _end_by(self, reason: str) -> None:
        self._ended_by = self._ended_by or reason

    def _lose_leg(self) -> None:
        if not self.is_detached:
            self.leg.receive(Event("DISCONNECT"))

    # From the hub

    def receive(self, channel: str, item: Item) -> None:
        """Act on a published item that is not simply sent."""
        message = item.message
        if message is None or self.transport is GONE:
            return
        if self._sieve is not None and self._sieve.drops(channel, item):
            self.holds.metrics.filtered += 1
            return
        _ACTIONS[message.action](self, channel, item, message)

    def _publish_send(self, channel: str, item: Item, message: WsMessage) -> None:
        if self._sieve is None:
            self.send(message.type, message.content)
        else:
            self._sieve.put(channel, item, message, lambda content: self._send_filtered(message, content), self._line)

    def _line(self) -> Line:
        return self.holds.line(self, self.leg.uri, self._give_up)

    def _send_filtered(self, message: WsMessage, content: bytes | None) -> None:
        if content is not None and content is not message.content:
            try:
                ev.check_frame(message.type, content)
            except EventError as error:
                log.info("%s: skipped an item: made by filters: %s", self.route.id, error, extra=self.log_extra)
                content = None
        if content is None:
            self.holds.metrics.filtered += 1
        else:
            self.send(message.type, content)

    def _in_turn(self, do: Callable[[], None]) -> None:
        """Do something behind all that waits for a filter."""
        if self._sieve is None:
            do()
        else:
            self._sieve.in_turn(do)

    def _give_up(self) -> None:
        extra = {**self.log_extra, "channels": self.channels[:5]}
        log.warning("%s: too much waits for a filter of %s", self.route.id, ", ".join(self.channels[:5]), extra=extra)
        self._end_by("filter")
        self._lose_leg()
        self.close(1013, "too slow")

    def _publish_close(self, channel: str, item: Item, message: WsMessage) -> None:
        self._in_turn(lambda: self._close_published(message))

    def _close_published(self, message: WsMessage) -> None:
        if not self.is_detached:
            self.leg.receive(Event("CLOSE"))
        self.close(message.code if message.code is not None else 1000, message.reason)

    def _publish_refresh(self, channel: str, item: Item, message: WsMessage) -> None:
        self.leg.refresh()

    def _publish_hint(self, channel: str, item: Item, message: WsMessage) -> None:
        """Nothing: a WebSocket has no state that the backend could be asked for again."""

    # From the leg

    def send(self, kind: str, content: bytes) -> None:
        """Send one message."""
        opcode = wire.OPCODES[kind]
        encode = wire.deflated_frame if self.framing == wire.DEFLATED else wire.frame
        self.write(encode(opcode, content))

    def widen(self, size: int) -> None:
        """Let so many bytes of the backend's be unsent beside limits.unsent.

        A large answer is no sign of a slow client, and the leg asks for no more while it waits.
        """
        connection, limit = self.connection, self.holds.limits.unsent
        if connection is not None and not connection.is_closing() and self.unsent + size > limit // 4:
            connection.set_write_buffer_limits(high=self.unsent + size + limit)
            self.is_wide = True

    def narrow(self) -> None:
        """Undo `widen` where the client has caught up."""
        connection, limit = self.connection, self.holds.limits.unsent
        if self.is_wide and connection is not None and not connection.is_closing() and self.unsent <= limit:
            connection.set_write_buffer_limits(high=limit)
            self.is_wide = False

    def obey(self, message: ev.Control) -> None:
        """Do what a control message says."""
        _CONTROLS[type(message)](self, message)
        self.holds.sessions.change(self, self.channels, self.holds.wheel.now())

    def close(self, code: int | None, reason: str = "") -> None:
        """Send a Close frame, and let the connection end with the closing handshake."""
        if self.has_closed or self.connection is None:
            return
        if code is None:
            code = self._close_code if self._close_code is not None else 1000
        if not self.connection.is_closing():
            self.connection.write(wire.close_frame(code, reason))
        self.has_closed = True
        self._unsubscribe_all()
        self.transport = GONE
        if self.is_client_closing:
            self._close_transport()
        else:
            self._linger()
            self.resume()  # for the client's Close

    def cut(self, reason: str) -> None:
        """Cut the connection without a Close frame; a client that is waiting for ours gets it all the same."""
        if self.is_client_closing and not self.has_closed:
            self.close(self._close_code)
            return
        log.info("%s: disconnected a client: %s", self.route.id, reason, extra=self.log_extra)
        self._end_by("backend")
        if self.connection is not None:
            self.connection.abort()

    def fail(self, reason: str) -> None:
        """Close with 1011: the backend failed."""
        log.info("%s: closed a client with 1011: %s", self.route.id, reason, extra=self.log_extra)
        self._end_by("backend")
        self.close(1011, reason)

    def end(self, reason: str) -> None:
        """Close with 1012, Service Restart: after 1001 some libraries do not connect again."""
        self._end_by(reason)
        self._lose_leg()
        self.close(1012, reason)

    def resume(self) -> None:
        """Read the client again, if it is not read."""
        connection, frames = self.connection, self._frames
        if connection is None or connection.is_closing() or connection.is_reading() or self._is_at_work:
            return
        if frames is not None and frames.has_more:
            self._read(frames)
        else:
            connection.resume_reading()

    def wake_at(self, at: float | None) -> None:
        """Have the leg's `on_due` called at a time of the loop; None: not at all."""
        if at is not None:
            self._need_timers().wake_leg(self, at)
        elif self._timers is not None:
            self._timers.wake_leg(self, 0.0)

    def refresh(self) -> None:
        """Ask the backend whether it has something to say."""
        self.leg.refresh()

    @property
    def is_over(self) -> bool:
        """Whether nothing that the backend says reaches the client any more."""
        return self.has_closed or self.connection is None

    @property
    def unsent(self) -> int:
        """Bytes that the client has not taken yet."""
        return self.connection.get_write_buffer_size() if self.connection is not None else 0

    # Control messages

    def subscribe(self, name: str, filters: tuple[str, ...] = ()) -> None:
        """Subscribe to a channel; ``name`` has the route's prefix, if it is to have it."""
        if self.transport is GONE:
            return
        try:
            Channel(name)
        except InstructError as error:
            log.info("%s: ignored a subscription: %s", self.route.id, error, extra=self.log_extra)
            return
        if len(filters) > FILTERS_MAX:
            log.info("%s: channel %r: more than %d filters", self.route.id, name, FILTERS_MAX, extra=self.log_extra)
            self._lose_leg()
            self.fail(f"too many filters for channel {name[:60]!r}")
            return
        if name in self.channels:
            self._change_filters(name, filters)
            return
        if len(self.channels) >= self.holds.limits.channels_per_connection:
            self.holds.metrics.channels_left_out += 1
            text = "%s: a WebSocket asks for more channels than limits.channels_per_connection"
            log.warning(text, self.route.id, extra=self.log_extra)
            return
        self.channels += (name,)
        self._filter(name, filters)
        group = self.holds.hub.subscribe(self, self.route.realm, name, self._road(name))
        # The one text that all subscribers of a channel can share
        self.channels = (*self.channels[:-1], group.key[2])
        for item in self.holds.missed_messages(group, self.leg.answered):
            self.receive(group.key[2], item)

    def _filter(self, name: str, filters: tuple[str, ...]) -> None:
        """Set a subscription's filters, where there are any or were."""
        if filters or self._sieve is not None:
            self._need_sieve().set_filters(self.channels, name, filters)

    def _change_filters(self, name: str, filters: tuple[str, ...]) -> None:
        """Have other filters for what is published from now on; what was before goes by those it had."""
        hub, realm, before = self.holds.hub, self.route.realm, self._road(name)
        hub.hand_over(self, realm, name, before)
        if name not in self.channels:
            return  # it was an end
        self._filter(name, filters)
        after = self._road(name)
        if before != after:
            # In this order, so that the channel is never without subscribers: what is known of it would be forgotten.
            hub.subscribe(self, realm, name, after, is_ahead=True)
            hub.unsubscribe(self, realm, name, before)

    def _road(self, name: str) -> str:
        return EACH if self._sieve is not None and self._sieve.has_filters(name) else self.framing

    def _subscribe(self, message: ev.Subscribe) -> None:
        self.subscribe(self.route.prefix + message.channel, message.filters)

    def _unsubscribe(self, message: ev.Unsubscribe) -> None:
        name = self.route.prefix + message.channel
        if name in self.channels and name not in self.route.subscribe:
            self.holds.hub.unsubscribe(self, self.route.realm, name, self._road(name))
            self.channels = tuple(one for one in self.channels if one != name)
            if self._sieve is not None:
                self._sieve.remove(name)

    def _detach(self, message: ev.Detach) -> None:
        self.is_detached = True

    def _set_session(self, message: ev.SetSession) -> None:
        sid = message.id if self.transport is not GONE else None
        self.holds.sessions.join(self, self.route.realm, sid, MESSAGE, self.channels, self.holds.wheel.now())

    def _set_meta(self, message: ev.SetMeta) -> None:
        if not self._need_sieve().set_meta(message.name, message.value):
            self.holds.metrics.meta_left_out += 1
            text = "%s: a WebSocket is given more names of meta than %d"
            log.warning(text, self.route.id, META_MAX, extra=self.log_extra)

    def _need_sieve(self) -> Sieve:
        if self._sieve is None:
            self._sieve = Sieve(self.route)
        return self._sieve

    def _set_keep_alive(self, message: ev.SetKeepAlive) -> None:
        self._need_timers().set_keep_alive(self, message)

    def _send_delayed(self, message: ev.SendDelayed) -> None:
        self._need_timers().send_delayed(self, message)

    def _flush_delayed(self, message: ev.FlushDelayed) -> None:
        if self._timers is not None:
            self._timers.flush_delayed(self)

    # Timers

    def on_due(self) -> None:
        """Do what is due."""
        if self._timers is not None:
            self._timers.on_due(self)

    def on_leg_due(self) -> None:
        """Let the backend's side go on."""
        self.leg.on_due()

    def on_linger_end(self) -> None:
        """End a closing handshake that the other side does not complete."""
        if self.has_closed:
            if self.connection is not None:
                self.connection.abort()
        else:
            # The backend did not answer the client's Close.
            self._lose_leg()
            self.close(self._close_code)

    def _linger(self, seconds: float = CLOSE_LINGER) -> None:
        """Wait for the closing handshake's next step, but not for ever."""
        if self.connection is not None:
            self._need_timers().linger(self, seconds)

    def _need_timers(self) -> Timers:
        if self._timers is None:
            self._timers = Timers()
        return self._timers

    # Ends

    def write(self, data: bytes) -> None:
        """Write frames, where that is still allowed."""
        if not self.transport.is_closing():
            self.transport.write(data)
            self.written_at = self.holds.hub.tick

    def _close_transport(self) -> None:
        self._linger()
        if self.connection is not None:
            self.connection.close()

    def _unsubscribe_all(self) -> None:
        self.holds.sessions.leave(self, self.holds.wheel.now())
        for name in self.channels:
            self.holds.hub.unsubscribe(self, self.route.realm, name, self._road(name))
        self.channels = ()
        if self._sieve is not None:
            self._sieve.clear()

    def _leave(self) -> None:
        self.transport = GONE
        self._unsubscribe_all()
        if self._timers is not None:
            self._timers.leave(self)
        self.holds.leave(self)


_ACTIONS: dict[str, Callable[[WebSocketHold, str, Item, WsMessage], None]] = {
    "send": WebSocketHold._publish_send,
    "close": WebSocketHold._publish_close,
    "refresh": WebSocketHold._publish_refresh,
    "hint": WebSocketHold._publish_hint,
}

_CONTROLS: dict[type, Callable[[WebSocketHold, "ev.Control"], None]] = {
    ev.Subscribe: WebSocketHold._subscribe,  # type: ignore[dict-item]  # the key says which
    ev.Unsubscribe: WebSocketHold._unsubscribe,  # type: ignore[dict-item]
    ev.Detach: WebSocketHold._detach,  # type: ignore[dict-item]
    ev.SetSession: WebSocketHold._set_session,  # type: ignore[dict-item]
    ev.SetMeta: WebSocketHold._set_meta,  # type: ignore[dict-item]
    ev.SetKeepAlive: WebSocketHold._set_keep_alive,  # type: ignore[dict-item]
    ev.SendDelayed: WebSocketHold._send_delayed,  # type: ignore[dict-item]
    ev.FlushDelayed: WebSocketHold._flush_delayed,  # type: ignore[dict-item]
}
