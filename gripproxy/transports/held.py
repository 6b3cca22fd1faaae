"""A client's connection while aiohttp does not serve it: held, or between two requests.

`takeover.py` lets go of a connection and serves it again; in between, it has one of the small protocols of this file.

Invariant: what the client sends meanwhile is the beginning of its next request, and not a byte of it is lost.
"""

import asyncio
from typing import Any

from gripproxy.hub import GONE, Transport
from gripproxy.transports.connections import Connections

# Bytes that a client may send while it is held, kept for the next request; beyond this its socket is not read.
RECEIVED_MAX = 65_536

# The buffer mark at which a body that is streamed to a client waits for it (asyncio's own default).
FLOW_HIGH = 65_536


def peer_of(transport: asyncio.Transport | None) -> str:
    """Return the address of a client for the log, "unix" where it has none, "" when it is gone."""
    if transport is None:
        return ""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else "unix"


class Held:
    """The protocol of a client's connection while it is held, and after, until the client sends its next request.

    Subclasses say what a hold does with items and timers. All of them obey: `transport` is GONE once nothing may be
    written any more; `due` belongs to the wheel.
    """

    __slots__ = ("_drain", "_received", "connection", "due", "server", "transport")

    def __init__(self, server: Connections, connection: asyncio.Transport, received: bytes = b"") -> None:
        self.server = server
        self.connection: asyncio.Transport | None = connection
        self.transport: Transport = connection
        self.due = 0
        self._received = received
        self._drain: asyncio.Future[None] | None = None
        connection.set_protocol(self)  # type: ignore[arg-type]  # a protocol by its methods

    # The protocol's side, called by the transport

    def data_received(self, data: bytes) -> None:
        """Keep what the client sends; it is its next request."""
        self._received += data
        if len(self._received) > RECEIVED_MAX and self.connection is not None:
            self.connection.pause_reading()

    def eof_received(self) -> bool | None:
        """Close: a client that shuts its side down is not waiting any more. (True would keep the connection.)"""

    def connection_lost(self, error: Exception | None) -> None:
        """Note that the client is gone."""
        self.server.open -= 1
        self.transport = GONE
        self.connection = None
        if self._drain is not None and not self._drain.done():
            self._drain.set_exception(ConnectionResetError("the client left"))
        self.on_lost()

    def pause_writing(self) -> None:
        """The client holds more unsent bytes than the mark of the moment."""
        if self._drain is None:
            self.on_overflow()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)

    # For the holds

    def on_lost(self) -> None:
        """Undo what the hold did: the client is gone."""

    def on_overflow(self) -> None:
        """Cut the client: it has more unsent bytes than the limit."""

    async def drain(self) -> None:
        """Wait until the client has taken what was written, when it is more than FLOW_HIGH.

        Raises: ConnectionResetError when the client leaves.
        """
        connection = self.connection
        if connection is None:
            raise ConnectionResetError("the client left")
        if connection.get_write_buffer_size() <= FLOW_HIGH:
            return
        self._drain = asyncio.get_running_loop().create_future()
        try:
            connection.set_write_buffer_limits(high=FLOW_HIGH)
            if connection.get_write_buffer_size() > FLOW_HIGH // 4:
                await self._drain
        finally:
            self._drain = None

    @property
    def has_received(self) -> bool:
        """Whether the client has sent something behind the request that is held."""
        return bool(self._received)

    def take_received(self) -> bytes:
        """Return what the client has sent meanwhile, and forget it."""
        received, self._received = self._received, b""
        return received

    def rest(self, wheel: Any, seconds: float) -> None:
        """Wait for the client's next request, and close the connection when none comes in time."""
        if self.connection is not None:
            Idle(self.server, self.connection, wheel, seconds)

    def give_back(self) -> None:
        """Let aiohttp serve the connection's next request."""
        connection, self.connection, self.transport = self.connection, None, GONE
        received, self._received = self._received, b""
        if connection is None or connection.is_closing():
            return
        if len(received) > RECEIVED_MAX:
            connection.resume_reading()
        self.server.give(connection, received)


class Idle(Held):
    """A connection between two requests: given back to aiohttp with the first bytes that the client sends.

    Most clients never send another request after a hold, so nothing of aiohttp is made before.
    """

    __slots__ = ("_wheel",)

    def __init__(self, server: Connections, connection: asyncio.Transport, wheel: Any, seconds: float) -> None:
        self._wheel = wheel
        super().__init__(server, connection)
        wheel.set(self, seconds)

    def data_received(self, data: bytes) -> None:
        """Give the connection back."""
        self._wheel.drop(self)
        self._received = data
        self.give_back()

    def on_due(self) -> None:
        """Close the connection: the client has sent nothing for the keep-alive time."""
        if self.connection is not None:
            self.connection.close()

    def on_lost(self) -> None:
        """Drop the timer."""
        self._wheel.drop(self)
