"""Takes a client's connection over from aiohttp for the time of a hold, and gives it back.

aiohttp spends some 14 KiB on a connection whose handler waits: request, response, parser, task. A held connection
needs none of that, so its transport gets a small protocol of its own (`held.Held`, about 1 KiB with the transport), and
aiohttp's `RequestHandler` is detached and freed. When the hold is over and the client sends another request, a fresh
`RequestHandler` is made and gets the transport and those bytes, as if the connection had just been accepted.

So that no byte of that request is lost in aiohttp, it gets one request at a time; `pieces.py` has where they end.

Some of it is public names of aiohttp (`web.Server`, `web.RequestHandler`, `connection_made`, `connection_lost`,
`data_received`) in a use that is not documented, some is private. All of it is in this file; pyproject.toml lets in no
other minor version, and `tests/unit/transports/test_takeover.py` fails loudly when a new one behaves differently.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import web
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import BadHttpMethod, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE, _ErrInfo

from gripproxy.grip.wire import encode_response
from gripproxy.transports.pieces import LongMethodError, Pieces

log = logging.getLogger("gripproxy.client")

# Bytes that a client may send behind a request before its socket is not read until that is answered.
BEHIND_MAX = 65_536

# Characters of what is wrong with a request.
FAULT_MAX = 300

# What a request that the parser refuses is answered with (RFC 9110 15.5 and 15.6, RFC 6585 5).
MALFORMED = b"Malformed request.\n"
UNKNOWN_METHOD = b"Method unknown.\n"
TOO_LARGE = b"The header is too large.\n"

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


class Door(Protocol):
    """Where a connection came in, as far as it tells there what becomes of it; see `connections.Connections`."""

    open: int
    on_malformed: Callable[[int], None] | None


class ClientConnection(web.RequestHandler):
    """aiohttp's side of a client's connection.

    It gets one request at a time: what the client sends behind one that is not answered yet stays as it came, so that
    a hold can take it, and the parser never has parts of two requests.
    """

    __slots__ = (
        "_behind",
        "_body",
        "_door",
        "_end",
        "_is_broken",
        "_is_busy",
        "_is_chunked",
        "_pieces",
        "has_written",
        "is_last",
    )

    def __init__(self, manager: web.Server, *, door: Door, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._door = door
        self._pieces = Pieces()
        # What came behind the request in hand.
        self._behind = b""
        # Whether there is a request that has no answer yet.
        self._is_busy = False
        # The latest request's body while it is not all here.
        self._body: StreamReader | None = None
        # Whether that is in chunks, whose end only the parser knows, and the last bytes that came of it.
        self._is_chunked = False
        self._end = b""
        # Whether what came can't be parsed, so that nothing behind it can.
        self._is_broken = False
        # Whether there must be no next request: the proxy stops, or the parser may have taken in, or lost, parts of it.
        self.is_last = False
        # Whether the response to the request in hand has begun, which aiohttp can't know.
        self.has_written = False

    def data_received(self, data: bytes) -> None:
        """Parse what the client sends, up to the end of a request that is not answered yet."""
        if not data and self._body is not None and not self._is_broken:
            self._parse(b"")  # the body's reader has caught up
        if self._behind:
            data, self._behind = self._behind + data, b""
        while data and not self._is_broken:
            if self._upgraded:
                super().data_received(data)
                return
            if self._is_chunked:
                piece, data = data, b""
            elif self._pieces.left:
                piece, data = self._pieces.body(data)
            elif self.is_last:
                return
            elif self._is_busy or self._body is not None:
                self._keep(data)
                return
            else:
                piece, data = self._head(data)
                if not piece:
                    self._behind = data
                    return
            self._parse(piece)

    def _head(self, data: bytes) -> tuple[bytes, bytes]:
        """Cut a head, or a part of one, and refuse it when it is too large: aiohttp looks at each line alone."""
        try:
            piece, behind = self._pieces.head(data)
        except LongMethodError as error:
            self._refuse(error, str(error))
            return b"", b""
        if self._pieces.size > self.max_line_size:
            self._refuse(LineTooLong(b"", self.max_line_size), "its header is too large")
            return b"", b""
        return piece, behind

    def _keep(self, data: bytes) -> None:
        """Keep what came behind a request; aiohttp reads on when it takes up the next one."""
        self._behind = data
        if len(data) > BEHIND_MAX and not self._buffer_paused:
            self._pause_reading_for_buffer()

    def _parse(self, piece: bytes) -> None:
        """Have a piece parsed, and take note of what it begins or ends."""
        before = len(self._messages)
        super().data_received(piece)
        if self._is_chunked:
            self._end = (self._end + piece)[-4:]
        if len(self._messages) > before:
            if self._messages[-1][0].__class__ is not RawRequestMessage:
                self._break()
            elif self._is_chunked:
                self.is_last = True
            else:
                self._begin()
        if self._body is not None and self._body.is_eof():
            self._body = None
            if self._is_chunked:
                self._is_chunked = False
                self._renew_parser()

    def _begin(self) -> None:
        """Take note of a request whose head is here."""
        message, body = self._messages[-1]
        assert isinstance(message, RawRequestMessage)
        self._is_busy = True
        if self._pieces.method:
            self._messages[-1] = message._replace(method=self._pieces.method), body
        if body is EMPTY_PAYLOAD:
            return
        self._body = body
        self._is_chunked, self._end = message.chunked, b""
        if not message.chunked:
            self._pieces.left = int(message.headers.get("Content-Length", "0"))
        elif message.upgrade:
            self.is_last = True  # the parser drops what comes with the last chunk

    def _renew_parser(self) -> None:
        """Renew the parser behind a body in chunks: it takes the last field of a trailer for one of the next request.

        Where the next request has begun already, it is too late for that, and the connection is to be closed instead.
        """
        if self._end != b"\r\n\r\n":
            self.is_last = True
        if self.is_last:
            return
        self._parser = HttpRequestParser(
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

    def _refuse(self, error: Exception, message: str) -> None:
        """Have the request that begins here answered with an error, and read no more."""
        self._is_broken = True
        self._messages.append((_ErrInfo(400, error, message), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _break(self) -> None:
        """Read nothing behind what can't be parsed, and tell whoever reads a body that it turned out malformed.

        aiohttp would let them wait for ever, and keep an error with a copy of them for all bytes that still come.
        """
        self._is_broken = True
        info, nothing = self._messages[-1]
        assert isinstance(info, _ErrInfo)
        fault: Any = info.exc
        fault.message = fault.message[:FAULT_MAX]
        fault.args, fault.__traceback__ = (), None
        self._messages[-1] = (_ErrInfo(400, fault, fault.message), nothing)
        body = self._body
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(web.RequestPayloadError("malformed"))
            # Waiting for its end would raise the error once more.
            self._lingering_time = 0.0

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Go on with what came behind a request, once that is answered."""
        behind, self._message_tail = self._message_tail, b""
        result = await super().finish_response(request, resp, start_time)
        self._is_busy = False
        if self._parser is not None and resp.keep_alive:
            self._behind += behind  # of a WebSocket that was refused
            self.data_received(b"")
            if self._buffer_paused and not self._behind:
                self._resume_reading_for_buffer()
        return result

    def close(self) -> None:
        """Close the connection, once the request in hand is answered; aiohttp would read no more of its body."""
        if self._is_busy:
            self.is_last = True
        else:
            super().close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109  # aiohttp's
        """End the connection, and wait for the answer to the request in hand first; the same goes for its body."""
        if self._is_busy:
            self._handler_waiter = self._loop.create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._handler_waiter
            except TimeoutError:
                pass
            finally:
                self._handler_waiter = None
        await super().shutdown(timeout)

    @property
    def is_alone(self) -> bool:
        """Whether the request in hand is all here, and the parser has nothing else."""
        return not self.is_last and not self._is_broken and self._body is None

    def take_behind(self) -> bytes:
        """Return what came behind the request in hand, and forget it."""
        behind, self._behind, self._message_tail = self._behind + self._message_tail, b"", b""
        return behind

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note that the client is gone; aiohttp has let go of the transport already where it closed it itself."""
        if self._manager is not None:
            self._door.open -= 1
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
        if self._manager is not None:
            self._door.open += 1  # it is aiohttp that loses it, not the proxy
        self.connection_lost(None)
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
            if self._door.on_malformed is not None:
                self._door.on_malformed(status)
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
        if isinstance(error, LongMethodError):
            return 501, UNKNOWN_METHOD
        return 400, MALFORMED

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """Log what escaped aiohttp's own handling."""
        log.error(*args, **kwargs)


def _peer(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else "unix"
