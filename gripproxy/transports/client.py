"""A client's connection as the door sees it while it answers one request.

The same whether aiohttp serves the connection or a hold has taken it over: bytes are written to the transport, a body
that streams waits for the client, and the connection is kept, closed, or taken for a hold.
"""

import asyncio
import socket
import struct
from collections.abc import Mapping

from aiohttp import web

from gripproxy.grip import wire
from gripproxy.grip.cors import Cors
from gripproxy.grip.fields import HOP_BY_HOP, Fields, connection_options
from gripproxy.routes import log_extra
from gripproxy.transports.connections import Connections
from gripproxy.transports.held import FLOW_HIGH, Held, Idle
from gripproxy.transports.takeover import CLOSED, KEPT, ClientConnection, Sent
from gripproxy.transports.wheel import Wheel

# SO_LINGER on, for no time: closing resets.
RESET = struct.pack("ii", 1, 0)


class Client:
    """One request's way back to the client.

    ``is_head``: the request's method is HEAD. ``is_chunkable``: HTTP/1.1 or later.
    """

    __slots__ = (
        "_connection",
        "_held",
        "_is_kept",
        "_server",
        "asked",
        "cors",
        "ends_with_connection",
        "has_begun",
        "id_fields",
        "is_chunkable",
        "is_head",
        "is_taken",
        "peer",
        "route_id",
        "status",
    )

    def __init__(
        self,
        server: Connections,
        connection: ClientConnection | None,
        held: Held | None,
        *,
        peer: str,
        is_head: bool,
        is_chunkable: bool,
        is_kept: bool,
    ) -> None:
        self._server = server
        self._connection = connection
        self._held = held
        self.peer = peer
        self.is_head = is_head
        self.is_chunkable = is_chunkable
        self._is_kept = is_kept
        # Whether the end of the connection is what tells the end of the response.
        self.ends_with_connection = False
        # Whether any byte of the response is out, after which no other status can be sent.
        self.has_begun = False
        # Of the response, 0 before there is one (and for a long-poll, whose response is not the door's).
        self.status = 0
        self.is_taken = False
        # For a request that is asked again: see `Replay.asked`.
        self.asked: Mapping[tuple[str, str], int] = {}
        # What completes the responses to pages of other origins; None on routes that say nothing of them.
        self.cors: Cors | None = None
        # The field with the request's id, for what the proxy answers itself; empty where requests have none.
        self.id_fields: Fields = ()
        # Of the route that the request has, once that is known.
        self.route_id = ""

    @property
    def log_extra(self) -> dict[str, str]:
        """What log records about the request have beside their message."""
        return {"route": self.route_id, "peer": self.peer, **log_extra(self.id_fields)}

    @property
    def is_kept(self) -> bool:
        """Whether the connection can serve another request after this one."""
        return self._is_kept and (self._connection is None or not self._connection.is_last)

    @is_kept.setter
    def is_kept(self, is_kept: bool) -> None:
        self._is_kept = is_kept

    @property
    def server(self) -> Connections:
        return self._server

    @property
    def transport(self) -> asyncio.Transport:
        """The connection's transport.

        Raises: ConnectionResetError when the client has left.
        """
        transport: asyncio.Transport | None = None
        if self._connection is not None:
            transport = self._connection.transport
        elif self._held is not None:
            transport = self._held.connection
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client left")
        return transport

    def check(self) -> None:
        """Do nothing where the client is there still.

        Raises: ConnectionResetError when it has left.
        """
        _ = self.transport

    def begin(self) -> None:
        """Note that a response is to come and nothing of it is out."""
        if self._connection is not None:
            self._connection.has_written = False

    def write(self, data: bytes) -> None:
        """Write bytes of the response.

        Raises: ConnectionResetError when the client has left.
        """
        self.has_begun = True
        if self._connection is not None:
            self._connection.has_written = True
        self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has taken what was written.

        Raises: ConnectionResetError when the client leaves.
        """
        if self._held is not None:
            await self._held.drain()
        elif self.transport.get_write_buffer_size() > FLOW_HIGH:
            assert self._connection is not None
            await self._connection._drain_helper()

    def write_continue(self) -> None:
        """Tell a client that expects it that its body is wanted (RFC 9110 10.1.1)."""
        self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def write_informational(self, status: int, reason: str, fields: Fields) -> None:
        """Pass an informational response on (RFC 9110 15.2); a client that has left does not matter yet."""
        named = connection_options(fields) | HOP_BY_HOP | {b"content-length"}  # RFC 9110 8.6
        kept = [field for field in fields if field[0].lower() not in named]
        connection = self._connection.transport if self._connection is not None else None
        if connection is not None and not connection.is_closing() and not self.has_begun:
            connection.write(wire.encode_status_line(status, reason) + wire.encode_fields(kept) + b"\r\n")

    def respond(self, status: int, reason: str, fields: Fields, body: bytes) -> None:
        """Write a whole response."""
        if self.cors is not None:
            fields = self.cors.complete(fields)
        self.status = status
        self.write(wire.encode_response(status, reason, fields, body, head_only=self.is_head, is_last=not self.is_kept))

    def abort(self) -> None:
        """Cut the connection: the response can't be completed, and the client has to learn that.

        A reset says so where the end of the connection is the end of the body; elsewhere it would only take from the
        client what it has not read yet.
        """
        self.is_kept = False
        try:
            transport = self.transport
        except ConnectionResetError:
            return
        connected = transport.get_extra_info("socket")
        if self.ends_with_connection and connected is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        transport.abort()

    def finish(self, wheel: Wheel, keepalive_timeout: float) -> Sent:
        """End the exchange: keep the connection for the next request, or close it."""
        if self._held is None:
            assert self._connection is not None
            self._connection.has_written = False
            return KEPT if self.is_kept else CLOSED
        held, connection = self._held, self._held.connection
        if connection is not None and not connection.is_closing():
            if not self.is_kept:
                connection.close()
            elif held.has_received:
                held.give_back()
            else:
                Idle(self._server, connection, wheel, keepalive_timeout)
        return CLOSED

    @property
    def is_alone(self) -> bool:
        """Whether nothing of the request, or behind it, is still to be parsed, so that a hold can give it back."""
        return self._connection is None or self._connection.is_alone

    def take(self) -> tuple[asyncio.Transport, bytes]:
        """Take the connection for a hold; return its transport and what the client sent behind its request.

        Raises: ConnectionResetError when the client has left.
        """
        self.is_taken = True
        if self._connection is not None:
            received = self._connection.take_behind()
            transport = self._connection.detach()
            self._connection = None
            return transport, received
        transport = self.transport
        assert self._held is not None
        return transport, self._held.take_received()


def client_of(request: web.BaseRequest, server: Connections) -> Client:
    """Return the client of a request that aiohttp serves."""
    connection = request.protocol
    assert isinstance(connection, ClientConnection)
    peer = connection.peername
    return Client(
        server,
        connection,
        None,
        peer=peer[0] if isinstance(peer, tuple) else "unix",
        is_head=request.method == "HEAD",
        is_chunkable=request.version >= (1, 1),
        is_kept=request.keep_alive,
    )
