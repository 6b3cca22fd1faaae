"""The connections that a door has: those that come in are counted, and served or refused.

While one is held, `held.Held` has it; it counts all the same.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

from aiohttp import web

from gripproxy.transports.refusal import Refusal
from gripproxy.transports.takeover import ClientConnection

log = logging.getLogger("gripproxy.client")


class Arrival(asyncio.Protocol):
    """The protocol of a socket until it is a connection.

    Over TLS a handshake comes first, and one that fails is told to nobody. So nothing is counted or made before.
    """

    __slots__ = ("_server",)

    def __init__(self, server: "Connections") -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the connection a protocol of its own."""
        self._server.admit(cast("asyncio.Transport", transport))


class Connections(web.Server):
    """An aiohttp server whose connections can be taken over; ``limit`` is how many it has at a time, 0 for any number.

    ``accepted`` and ``refused`` count connections; ``open`` is how many there are, whoever serves them.
    ``on_malformed`` is told the status of each answer to what is no request for the handler.
    """

    def __init__(
        self, handler: Any, *, limit: int = 0, on_malformed: Callable[[int], None] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(handler, **kwargs)
        self.on_malformed = on_malformed
        self._limit = limit
        self._is_full = False
        self._is_stopping = False
        self._refusals: set[Refusal] = set()
        self.accepted = 0
        self.refused = 0
        self.open = 0

    def configure(self, limit: int, keepalive_timeout: float, header_max: int) -> None:
        """Take other settings for the connections that come from now on."""
        self._limit = limit
        self._is_full = False
        self._kwargs |= {
            "keepalive_timeout": keepalive_timeout,
            "max_line_size": header_max,
            "max_field_size": header_max,
        }

    def accept(self) -> asyncio.Protocol:
        """Return the protocol of a socket that was accepted."""
        return Arrival(self)

    def admit(self, transport: asyncio.Transport) -> None:
        """Serve a connection that has come about, or refuse it, where there is no room."""
        protocol: ClientConnection | Refusal
        if self._has_room():
            if self.open < 0.9 * self._limit:
                self._is_full = False  # worth another line when it happens again
            self.accepted += 1
            self.open += 1
            protocol = self()
        else:
            protocol = Refusal(self._loop, self._refusals)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    def _has_room(self) -> bool:
        if not self._limit or self.open < self._limit:
            return True
        if not self._is_full:
            log.warning("clients are refused: there are %d, as many as may be (limits.connections)", self.open)
        self._is_full = True
        self.refused += 1
        return False

    def __call__(self) -> ClientConnection:
        return ClientConnection(self, door=self, loop=self._loop, **self._kwargs)

    def give(self, transport: asyncio.Transport, received: bytes) -> None:
        """Have aiohttp serve a connection (again), beginning with the bytes that the client sent meanwhile."""
        connection = self()
        transport.set_write_buffer_limits()
        transport.set_protocol(connection)
        connection.connection_made(transport)
        connection.data_received(received)
        if self._is_stopping:
            connection.close()

    def pre_shutdown(self) -> None:
        """Close the connections that wait for a request, and each of the others behind the answer to its own."""
        self._is_stopping = True
        super().pre_shutdown()
