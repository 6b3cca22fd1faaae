"""WebSocket passthrough: the backend speaks WebSocket itself, and may speak GRIP on it.

Messages are joined, then handed on whole. With GRIP (`Sec-WebSocket-Extensions: grip` in the backend's 101), what comes
from the backend is either a control message (``c:``) or content behind a prefix (``m:`` unless the backend names
another); anything else is dropped. Messages to the backend have no prefix.
"""

import asyncio
import logging

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError

from gripproxy.backend import Upgraded
from gripproxy.errors import EventError
from gripproxy.grip.answer import message_prefix, public_fields
from gripproxy.grip.events import Event, parse_close, parse_control
from gripproxy.grip.fields import Fields
from gripproxy.transports.frames import FrameError, Frames, release
from gripproxy.transports.websocket import CLOSE_LINGER, FRAME_HEAD_MAX, WebSocketHold

log = logging.getLogger("gripproxy.websocket")

CONTROL_PREFIX = b"c:"

# Bytes not yet taken by one side above which the other is not read.
UNSENT_MAX = 200_000

# Seconds until a client that has not taken enough is looked at again.
UNSENT_WAIT = 0.1

_KINDS = {"TEXT": "text", "BINARY": "binary"}


class Passthrough:
    """A backend's WebSocket: the protocol of its connection, and the leg of a client's hold."""

    __slots__ = (
        "_frames",
        "_is_going_on",
        "_is_paused",
        "_pings",
        "_prefix",
        "_server",
        "_target",
        "_transport",
        "_writer",
        "fields",
        "hold",
        "uri",
    )

    def __init__(self, upgraded: Upgraded, message_size: int, uri: str, *, is_grip: bool) -> None:
        """``uri`` is the absolute one that the client asked for."""
        self.uri = uri
        self._transport: asyncio.Transport | None = upgraded.transport
        self._server = upgraded.server
        self._target = upgraded.target
        self._frames = Frames(message_size, is_backend=True)
        self._writer = Connection(ConnectionType.CLIENT)
        self._prefix = message_prefix(upgraded.fields) if is_grip else None
        self._pings = 0
        self._is_paused = False
        self._is_going_on = False  # in the next turn, with frames that have come already
        self.fields: Fields = public_fields(upgraded.fields)
        self.hold: WebSocketHold | None = None
        upgraded.transport.set_write_buffer_limits(high=UNSENT_MAX)
        upgraded.transport.set_protocol(self)  # type: ignore[arg-type]  # a protocol by its methods
        upgraded.transport.pause_reading()

    @property
    def answered(self) -> None:
        """Nothing: what the backend says is done in the turn in which it is read."""

    def begin(self, hold: WebSocketHold, received: bytes) -> None:
        """Start relaying, beginning with what the backend has sent already."""
        self.hold = hold
        self._read(received)

    # The backend's connection

    def data_received(self, data: bytes) -> None:
        """Hand on what the backend sends."""
        self._read(data)

    def _read(self, data: bytes = b"") -> None:
        """Read some frames, and go on in the next turn, or when the client has taken enough."""
        hold, frames = self.hold, self._frames
        if hold is None:
            return
        try:
            for event in frames.feed(data):
                if hold.is_detached:
                    return
                hold.widen(len(event.content) + FRAME_HEAD_MAX)
                self._relay(hold, event)
        except FrameError as error:
            extra = {**hold.log_extra, "backend": str(self._target)}
            log.warning(
                "%s: %s broke the WebSocket protocol: %s", hold.route.id, self._target, error.reason, extra=extra
            )
            self._drop()
            hold.fail("backend failed")
        transport = self._transport
        if transport is None or transport.is_closing():
            hold.narrow()
        elif hold.unsent > UNSENT_MAX:
            transport.pause_reading()
            hold.wake_at(hold.holds.wheel.now() + UNSENT_WAIT)
        elif frames.has_more:
            transport.pause_reading()
            self._go_on_later()
        else:
            hold.narrow()
            if not transport.is_reading():
                transport.resume_reading()

    def _go_on_later(self) -> None:
        if not self._is_going_on:
            self._is_going_on = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._is_going_on = False
        if self._transport is not None and self._frames.has_more:
            self._read()

    def eof_received(self) -> None:
        """Close."""

    def connection_lost(self, error: Exception | None) -> None:
        """Close the client's side: there is nobody to talk to."""
        if self._server is not None:
            self._server.leave()
        hold = self.hold
        if self._transport is not None and hold is not None and not hold.is_detached:
            self._transport = None
            extra = {**hold.log_extra, "backend": str(self._target)}
            log.warning("%s: %s left a WebSocket without closing it", hold.route.id, self._target, extra=extra)
            hold.fail("backend lost")
        self._transport = None

    def pause_writing(self) -> None:
        """The backend does not take what the client sends."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """The backend has caught up."""
        self._is_paused = False
        if self.hold is not None:
            self.hold.resume()

    def _relay(self, hold: WebSocketHold, event: Event) -> None:
        if event.type == "PONG" and self._pings:
            self._pings -= 1  # the client has its pong already
        elif event.type in ("PING", "PONG"):
            hold.send(event.type.lower(), event.content)
        elif event.type == "CLOSE":
            code, reason = parse_close(event.content)
            self._write(CloseConnection(code=code or 1000, reason=reason))
            self._drop()
            hold.close(code, reason)
        else:
            self._relay_message(hold, event)

    def _relay_message(self, hold: WebSocketHold, event: Event) -> None:
        content = event.content
        if self._prefix is None:
            hold.send(_KINDS[event.type], content)
        elif event.type == "TEXT" and content.startswith(CONTROL_PREFIX):
            try:
                hold.obey(parse_control(content[len(CONTROL_PREFIX) :]))
            except EventError as error:
                log.debug("%s: ignored from the backend: %s", hold.route.id, error)
            if hold.is_detached:
                self._write(CloseConnection(code=1000))
                self._drop()
                hold.resume()  # the backend may have been slow
        elif content.startswith(self._prefix):
            hold.send(_KINDS[event.type], content[len(self._prefix) :])
        else:
            log.debug("%s: ignored from the backend: a message without the prefix", hold.route.id)

    # The leg

    @property
    def is_full(self) -> bool:
        """Whether the backend has not taken what the client sent; one that has been let go has nothing to take."""
        return self._is_paused and self._transport is not None

    def receive(self, event: Event) -> None:
        """Hand on what the client sends."""
        if event.type == "TEXT":
            self._write(TextMessage(data=event.content.decode("utf-8", "replace")))
        elif event.type == "BINARY":
            self._write(BytesMessage(data=event.content))
        elif event.type == "PING":
            self._pings += 1
            self._write(Ping(payload=event.content))
        elif event.type == "PONG":
            self._write(Pong(payload=event.content))
        elif event.type == "CLOSE":
            code, reason = parse_close(event.content)
            self._write(CloseConnection(code=code or 1000, reason=reason))
            if self.hold is not None and self.hold.has_closed:
                self._drop()
        else:
            self._drop()

    def refresh(self) -> None:
        """Do nothing: a backend with a WebSocket says what it has to say by itself."""

    def release(self) -> None:
        """Forget the client, who is gone."""
        self._drop()
        self._frames.release()
        release(self._writer)
        self.hold = None

    def on_due(self) -> None:
        """Read the backend again once the client has taken enough."""
        hold, transport = self.hold, self._transport
        if hold is None or transport is None or transport.is_closing():
            return
        if hold.unsent > UNSENT_MAX // 4:
            hold.wake_at(hold.holds.wheel.now() + UNSENT_WAIT)
        else:
            self._read()

    def _write(self, event: TextMessage | BytesMessage | Ping | Pong | CloseConnection) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        try:
            transport.write(self._writer.send(event))
        except LocalProtocolError:
            pass  # a Close is out already

    def _drop(self) -> None:
        """Let the backend go once it has taken what there is for it; one that takes nothing is not waited for."""
        transport, self._transport = self._transport, None
        if transport is not None:
            has_more = transport.get_write_buffer_size() > 0
            transport.close()
            if has_more:
                asyncio.get_running_loop().call_later(CLOSE_LINGER, transport.abort)
