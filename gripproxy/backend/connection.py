"""Connections to backends: aiohttp's pool and client protocol, with what a proxy needs of them beyond a client.

A client may be lenient or give up; a proxy has to give its own client exactly what the backend said, or cut it. What
aiohttp's protocol does otherwise is corrected here: bytes behind a response don't make it worthless, a reset doesn't
end a body well, and what a backend says unasked is never taken for the next answer.
"""

import asyncio
import socket
import ssl
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http import HttpResponseParser, RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD
from yarl import URL

from gripproxy.config.addresses import is_public, parse_ip
from gripproxy.grip.fields import field
from gripproxy.routes import Route
from gripproxy.targets import Target

# Seconds that a pooled connection may be idle. Shorter than most backends' own limit would avoid every stale
# connection, but gunicorn's is 2 s: a stale one is noticed by its FIN, and asked again where that is safe.
POOL_IDLE = 15.0

# One line of a response's head, and fields in it. Backends set large cookies and Grip-Set-Meta.
LINE_MAX = 65_536
FIELDS_MAX = 256

# Ways that are remembered. Links lead anywhere, so the memory has an end; it is emptied when full.
WAYS_MAX = 4096

# RFC 9112 6.3: whatever their fields say.
BODILESS = frozenset({204, 304})


class BackendConnection(ResponseHandler):
    """aiohttp's side of a connection to a backend."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        # The bytes that a response begins with, while they are being parsed.
        self._beginning: bytes | None = None
        self._is_waiting = False

    @property
    def was_used(self) -> bool:
        """Whether a request was sent on it before, so that the backend may be about to close it."""
        return self._parser is not None

    def expect(self, method: str) -> None:
        """Get ready for the response to a request."""
        self._is_waiting = True
        self.set_response_params(
            skip_payload=method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=LINE_MAX,
            max_field_size=LINE_MAX,
            max_headers=FIELDS_MAX,
        )

    def watch(self, seconds: float) -> None:
        """Fail the body when no byte of it comes for so long; a client that does not take it does not count."""
        self.read_timeout = seconds
        self.start_timeout()

    @property
    def has_begun(self) -> bool:
        """Whether any byte of the response has come."""
        return not self._is_waiting

    async def wait_for(self, sending: "asyncio.Task[None]") -> None:
        """Wait until a request's body is sent, or a response (or its failure) is there to be read."""
        if self._buffer or self._eof:
            return
        begun = self._waiter = self._loop.create_future()
        try:
            await asyncio.wait((begun, sending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiter = None
            if begun.done() and not begun.cancelled():
                begun.exception()  # `read` raises it

    def expire(self) -> None:
        """Fail the response: it did not begin in time."""
        self._on_read_timeout()

    def fail(self, error: BaseException) -> None:
        """Cut the connection; whoever reads from it gets the error."""
        if self._payload is not None:
            self._payload.set_exception(error)
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse what the backend says."""
        if self._is_waiting:
            self._is_waiting = False
            self._beginning = data
            super().data_received(data)
            self._beginning = None
        else:
            super().data_received(data)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Fail, unless a whole response stands before what could not be parsed: then the response stands."""
        if self._beginning is not None and isinstance(exc, HttpProcessingError):
            answer = self._first_response(self._beginning)
            if answer is not None:
                self.force_close()
                self.feed_data(answer, 0)
                return
        # aiohttp would let whoever reads a body wait for ever when it turns out malformed.
        payload = self._payload
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(exc)
        super().set_exception(exc, *cause)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Fail a body that the end of the connection ends, where that end is a reset."""
        payload = self._payload
        if exc is not None and payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(aiohttp.ClientPayloadError(f"Connection lost: {exc}"))
        super().connection_lost(exc)

    def _first_response(self, data: bytes) -> tuple[RawResponseMessage, aiohttp.StreamReader] | None:
        """Return the response that the data begin with: one with a length or without a body, and all of it here."""
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            return None
        parser = HttpResponseParser(
            self,
            self._loop,
            2**16,
            response_with_body=not self._skip_payload,
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=LINE_MAX,
            max_field_size=LINE_MAX,
            max_headers=FIELDS_MAX,
        )
        try:
            messages = parser.feed_data(data[:end])[0]
            if len(messages) != 1 or messages[0][0].code < 200:
                return None
            message, payload = messages[0]
            if self._skip_payload or message.code in BODILESS:
                return message, EMPTY_PAYLOAD
            length = field(message.raw_headers, b"content-length")
            if length is not None:
                parser.feed_data(data[end : end + int(length)])
        except HttpProcessingError:
            return None
        return (message, payload) if payload.is_eof() else None


class Way(aiohttp.ClientRequest):
    """What the pool wants to know of a connection: scheme, host, port and TLS."""

    def __init__(self, target: Target, connect_timeout: float, loop: asyncio.AbstractEventLoop) -> None:
        host = f"[{target.host}]" if ":" in target.host else target.host
        is_secure = target.scheme == "https"
        super().__init__(
            "GET",
            URL(f"{target.scheme}://{host}:{target.port}/"),
            loop=loop,
            ssl=_tls_context(target) if is_secure else True,
            server_hostname=_certificate_name(target) if is_secure else None,
        )
        self._key = super().connection_key
        self.timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout, ceil_threshold=3600)

    @property
    def connection_key(self) -> ConnectionKey:
        """What connections are pooled by."""
        return self._key


def public_socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket for an address as `getaddrinfo` has it, which is the one that it is about to be connected to.

    Raises: OSError, before anything is sent to an address that is not public.
    """
    family, kind, protocol, _, (host, *_) = address
    parsed = parse_ip(host)
    if parsed is None or not is_public(parsed):
        raise OSError(f"{host} is not a public address")
    return socket.socket(family, kind, protocol)


class Pool(aiohttp.TCPConnector):
    """Connections to backends, or to those of public addresses only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, public_only: bool = False) -> None:
        super().__init__(
            limit=0,
            keepalive_timeout=POOL_IDLE,
            ttl_dns_cache=30,
            enable_cleanup_closed=False,
            socket_factory=public_socket if public_only else None,
        )
        self._factory = partial(BackendConnection, loop)  # type: ignore[assignment]  # a ResponseHandler
        self._ways: dict[tuple[Target, float], Way] = {}

    async def take(self, route: Route, target: Target) -> aiohttp.connector.Connection:
        """Return a connection, pooled or new.

        Raises: TimeoutError, aiohttp.ClientError, OSError, ssl.SSLError.
        """
        way = self.way(route, target)
        while True:
            connection = await self.connect(way, [], way.timeout)
            if not connection.protocol.should_close:  # type: ignore[union-attr]  # of a connection in hand
                return connection
            # It has said something since its last answer, which nobody asked for.
            connection.close()

    def way(self, route: Route, target: Target) -> Way:
        """Return the way to a target, one for all routes that go there alike."""
        key = (target, route.connect_timeout)
        way = self._ways.get(key)
        if way is None:
            if len(self._ways) >= WAYS_MAX:
                self._ways.clear()
            way = self._ways[key] = Way(*key, self._loop)
        return way

    def renew(self) -> None:
        """Connect with what the files of TLS hold now.

        A pooled connection is found by its TLS context, so those of old contexts are not used again, and closed when
        their idle time is over; all others are pooled as before.
        """
        self._ways.clear()


def _tls_context(target: Target) -> ssl.SSLContext | bool:
    if target.verify and not target.ca and not target.client_cert:
        return True
    context = ssl.create_default_context(cafile=target.ca or None)
    context.set_alpn_protocols(["http/1.1"])
    if not target.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if target.client_cert:
        context.load_cert_chain(target.client_cert, target.client_key or None)
    return context


def _certificate_name(target: Target) -> str | None:
    """The name to verify the certificate against, and to say in SNI; None for the one in the URL."""
    if target.verify_host or not target.host_header:
        return target.verify_host or None
    return URL(f"//{target.host_header}").host or target.host_header
