"""Takes a client's connection over from aiohttp for the time of a hold, and gives it back.

aiohttp spends some 14 KiB on a connection whose handler waits: request, response, parser, task. A held connection
needs none of that, so its transport gets a small protocol of its own (`held.Held`, about 1 KiB with the transport), and
aiohttp's `RequestHandler` is detached and freed. When the hold is over and the client sends another request, a fresh
`RequestHandler` is made and gets the transport and those bytes, as if the connection had just been accepted.

These are public names of aiohttp (`web.Server`, `web.RequestHandler`, `connection_made`, `connection_lost`,
`data_received`), but not their documented use: the whole of it is in this file, and
`tests/unit/transports/test_takeover.py` fails loudly when a new aiohttp behaves differently.
"""

import asyncio
import logging
import re
from typing import Any

from aiohttp import web
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import BadHttpMethod, LineTooLong
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE

from gripproxy.grip.wire import encode_response
from gripproxy.transports.refusal import Refusal

log = logging.getLogger("gripproxy.client")

# Bytes kept of what a client has sent last, and characters of what is wrong with it.
KEPT_MAX = 4096
FAULT_MAX = 300

# What a request that the parser refuses is answered with (RFC 9110 15.5 and 15.6, RFC 6585 5).
MALFORMED = b"Malformed request.\n"
UNKNOWN_METHOD = b"Method unknown.\n"
TOO_LARGE = b"The header is too large.\n"

# A request line whose method is well-formed, though the parser does not know it (RFC 9110 9.1).
_has_method = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} \S+ HTTP/1\.[01]\r\n").match

TEXT = ((b"Content-Type", b"text/plain; charset=utf-8"),)


class Sent(web.StreamResponse):
    """What a handler returns to aiohttp when it has written the response to the transport itself."""

    def __init__(self, keep_alive: bool) -> None:
        super().__init__()
        self._is_kept = keep_alive

    @property
    def keep_alive(self) -> bool | None:
        return self._is_kept

    async def prepare(self, request: web.BaseRequest) -> None:
        """Do nothing: the head is out."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: the body is out."""


KEPT = Sent(keep_alive=True)
CLOSED = Sent(keep_alive=False)


class Connections(web.Server):
    """An aiohttp server whose connections can be taken over; ``limit`` is how many it has at a time, 0 for any number.

    ``accepted`` and ``refused`` count connections; ``open`` is how many there are, whoever serves them.
    """

    def __init__(self, handler: Any, *, limit: int = 0, **kwargs: Any) -> None:
        super().__init__(handler, **kwargs)
        self._limit = limit
        self._is_full = False
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
        """Return the protocol of a connection that has come in: one that refuses it, where there is no room."""
        if self._limit and self.open >= self._limit:
            if not self._is_full:
                log.warning("clients are refused: there are %d, as many as may be (limits.connections)", self.open)
            self._is_full = True
            self.refused += 1
            return Refusal(self._loop, self._refusals)
        if self.open < 0.9 * self._limit:
            self._is_full = False  # worth another line when it happens again
        self.accepted += 1
        self.open += 1
        return self()

    def __call__(self) -> "ClientConnection":
        return ClientConnection(self, loop=self._loop, **self._kwargs)

    def give(self, transport: asyncio.Transport, received: bytes) -> None:
        """Have aiohttp serve a connection (again), beginning with the bytes that the client sent meanwhile."""
        connection = self()
        transport.set_write_buffer_limits()
        transport.set_protocol(connection)
        connection.connection_made(transport)
        connection.data_received(received)


class ClientConnection(web.RequestHandler):
    """aiohttp's side of a client's connection."""

    __slots__ = ("_chunked", "_end", "_is_broken", "_latest", "_latest_size", "_partial", "has_written", "is_tainted")

    def __init__(self, manager: web.Server, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        # Beginning and end of what came last, and how much that was.
        self._latest = b""
        self._latest_size = 0
        # Whether what came can't be parsed, so that nothing behind it can.
        self._is_broken = False
        # Bytes of a head that is not complete yet.
        self._partial = 0
        # The body in chunks that came last, and the last bytes that came while it did.
        self._chunked: StreamReader | None = None
        self._end = b""
        # Whether the parser may have taken a trailer for a field of the next request, so that there must be none.
        self.is_tainted = False
        # Whether the response to the request in hand has begun, which aiohttp can't know.
        self.has_written = False

    def data_received(self, data: bytes) -> None:
        """Parse what the client sends.

        The latest bytes are kept: they tell whether another request came behind the one that is held.
        """
        if self._is_broken:
            return
        if data:
            self._latest_size = len(data)
            self._latest = data if self._latest_size <= KEPT_MAX else data[:KEPT_MAX] + data[-4:]
        super().data_received(data)
        messages = self._messages
        if messages:
            message = messages[-1][0]
            if message.__class__ is not RawRequestMessage:
                self._break()
            elif message.chunked or len(messages) > 1 or self._chunked is not None:
                self._look_for_trailers()
        elif self._chunked is not None:
            self._look_for_trailers()
        elif self._waiter is not None and not self._waiter.done():
            self._partial += len(data)
            if self._partial > self.max_line_size:
                self._refuse_head()

    def _look_for_trailers(self) -> None:
        """Renew the parser behind a body in chunks: it takes the last field of a trailer for one of the next request.

        Where the next request has begun already, it is too late for that, and the connection is to be closed instead.
        """
        self._end = (self._end + self._latest)[-4:]
        bodies = [(message.chunked, body) for message, body in self._messages if isinstance(message, RawRequestMessage)]
        if self._chunked is not None and all(body is not self._chunked for _, body in bodies):
            bodies.insert(0, (True, self._chunked))
        *earlier, (is_chunked, body) = bodies
        if any(was_chunked for was_chunked, _ in earlier):
            self.is_tainted = True
        self._chunked = body if is_chunked and not body.is_eof() else None
        if is_chunked and body.is_eof():
            if self._end == b"\r\n\r\n":
                self._parser = self._new_parser()
            else:
                self.is_tainted = True

    def _new_parser(self) -> HttpRequestParser:
        return HttpRequestParser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=MAX_MSG_QUEUE_SIZE,
        )

    def has_large_head(self, request: web.BaseRequest) -> bool:
        """Whether a request's line and fields have more bytes than `max_line_size` in all; aiohttp counts each."""
        if self._partial + self._latest_size <= self.max_line_size:
            return False
        self._partial = 0
        size = len(request.method) + len(request.raw_path) + 12
        return size + sum(len(name) + len(value) + 4 for name, value in request.raw_headers) > self.max_line_size

    def _refuse_head(self) -> None:
        """Refuse a head that is too large before its end has come."""
        transport = self.transport
        if transport is not None and not transport.is_closing():
            log.info(
                "%s: refused a request: its header is too large", _peer(transport), extra={"peer": _peer(transport)}
            )
            transport.write(encode_response(431, b"", TEXT, TOO_LARGE, is_last=True))
            transport.close()

    def _break(self) -> None:
        """Read nothing behind what can't be parsed, and tell whoever reads a body that it turned out malformed.

        aiohttp would let them wait for ever, and keep an error with a copy of them for all bytes that still come.
        """
        self._is_broken = True
        info: Any
        info, nothing = self._messages[-1]
        fault = info.exc
        fault.message = fault.message[:FAULT_MAX]
        fault.args, fault.__traceback__ = (), None
        self._messages[-1] = (type(info)(400, fault, fault.message), nothing)
        queued = [payload for message, payload in self._messages if message.__class__ is RawRequestMessage]
        request = self._current_request
        payload = queued[-1] if queued else request.content if request is not None else None
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(web.RequestPayloadError("malformed"))
            # Waiting for its end would raise the error once more.
            self._lingering_time = 0.0

    @property
    def is_alone(self) -> bool:
        """Whether nothing came behind the request that is being handled.

        What came behind sits in aiohttp's queue or half-read in its parser, where it would be lost by a takeover. A
        request without a body ends with an empty line; whatever ends otherwise has something behind it, or a body.
        """
        return not self._messages and self._latest.endswith(b"\r\n\r\n")

    @property
    def tail(self) -> bytes:
        """The bytes behind a request to upgrade, which aiohttp does not parse."""
        return bytes(self._message_tail)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note that the client is gone; aiohttp has let go of the transport already where it closed it itself."""
        if isinstance(self._manager, Connections):
            self._manager.open -= 1
        super().connection_lost(exc)

    def detach(self) -> asyncio.Transport:
        """Let go of the connection without closing it, and free everything that aiohttp kept for it."""
        transport = self.transport
        if transport is None:
            raise ConnectionResetError("the client left")
        if self._buffer_paused or self._reading_paused:
            transport.resume_reading()
        self.transport = None
        # The task is running this very code and ends by itself; without this, aiohttp would cancel it.
        self._task_handler = None
        if isinstance(self._manager, Connections):
            self._manager.open += 1  # it is aiohttp that loses it, not the proxy
        self.connection_lost(None)
        self._latest = b""
        return transport

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that could not be parsed (400), or a fault of ours (500), with one line in the log."""
        transport = self.transport
        if status < 500:
            status, text = self._reason_to_refuse(exc)
            kind = "not HTTP" if isinstance(exc, BadHttpMethod) else str(message or exc).partition("\n")[0]
            extra = {"peer": request.remote or "unix"}
            log.info("%s: refused a malformed request: %s", request.remote, kind[:200], extra=extra)
        else:
            log.error("%s: a fault of the proxy", request.remote, exc_info=exc)
            text = b"Internal error.\n"
        if transport is None:
            raise ConnectionResetError("the client left")
        if request.writer.output_size == 0 and not self.has_written:
            transport.write(encode_response(status, b"", TEXT, text, is_last=True))
        return CLOSED

    def _reason_to_refuse(self, error: BaseException | None) -> tuple[int, bytes]:
        if isinstance(error, LineTooLong) or "Too many headers" in str(error):
            return 431, TOO_LARGE
        if isinstance(error, BadHttpMethod) and _has_method(self._latest):
            return 501, UNKNOWN_METHOD
        return 400, MALFORMED

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """Log what escaped aiohttp's own handling."""
        log.error(*args, **kwargs)


def _peer(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else "unix"
