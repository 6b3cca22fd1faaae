"""A client's connection without a socket: the transport is a fake, everything above it aiohttp's and ours."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from gripproxy.transports.connections import Connections
from gripproxy.transports.takeover import KEPT

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
HALF = (GET % 2)[:5]
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Transport(asyncio.Transport):
    """A transport that keeps what is written, and is told what was received."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.protocol: Any = None
        self.is_paused = False
        self.ending = ""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 5) if name == "peername" else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return bool(self.ending)

    def close(self) -> None:
        self._end("closed")

    def abort(self) -> None:
        self._end("aborted")

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False

    def _end(self, how: str) -> None:
        if not self.ending:
            self.ending = how
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)


async def turn() -> None:
    """Let everything that is ready happen."""
    for _ in range(10):
        await asyncio.sleep(0)


def connect(handler: Handler, **settings: Any) -> tuple[Connections, Transport]:
    """Accept a connection of a server with this handler."""
    server = Connections(
        handler, handler_cancellation=True, access_log=None, auto_decompress=False, tcp_keepalive=False, **settings
    )
    transport = Transport()
    transport.protocol = server.accept()
    transport.protocol.connection_made(transport)
    return server, transport


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    """Answer as the proxy does: past aiohttp, on the transport."""
    request.protocol.transport.write(OK)  # type: ignore[union-attr]
    return KEPT


def run(test: Awaitable[None]) -> None:
    async def all_of_it() -> None:
        await test

    asyncio.run(all_of_it())
