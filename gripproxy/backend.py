"""Requests to the backends: targets, pool, retries, Grip-Sig.

The connections, their pool, DNS and TLS are aiohttp's (`TCPConnector`), and so is the parser. The request itself is
written here, byte for byte as the proxy wants it: `ClientSession.request` re-quotes the target, adds fields of its own
and costs twice as much as everything else that a proxied request needs.

Invariant: a connection goes back to the pool only when its response was read to the end; in any other case it is
closed, which is also how a backend learns that its client has left.
"""

import asyncio
import base64
import hashlib
import logging
import os
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from gripproxy.errors import BackendError
from gripproxy.grip import wire
from gripproxy.grip.fields import Fields, field
from gripproxy.routes import Route, Target

log = logging.getLogger("gripproxy.backend")

# RFC 9110 9.2.2: asking again is harmless.
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

# What the proxy can do with instructions; libraries split the value at ", ".
GRIP_FEATURES = (
    b"Grip-Feature: status, link:next, link:gone, filter:skip-self, filter:skip-users, filter:require-sub, "
    b"filter:build-id, filter:var-subst\r\n"
)

# Seconds that a pooled connection may be idle. Shorter than most backends' own limit would avoid every stale
# connection, but gunicorn's is 2 s: a stale one is noticed by its FIN, and asked again where that is safe.
POOL_IDLE = 15.0

# Seconds for which a target that could not be connected to is tried last.
TARGET_REST = 5.0

# RFC 6455 1.3.
ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# One line of a response's head, and fields in it. Backends set large cookies and Grip-Set-Meta.
LINE_MAX = 65_536
FIELDS_MAX = 256


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a backend.

    ``target`` is the path and query as the client sent them; ``fields`` are without framing and hop-by-hop fields, and
    with Host. ``body`` is whole, or a reader with ``length`` bytes (None: unknown, sent in chunks).
    """

    method: str
    target: bytes
    fields: Fields
    body: bytes | aiohttp.StreamReader = b""
    length: int | None = None


class Response:
    """A backend's response: its head, and a body that is still coming.

    ``length`` is what Content-Length says, None where it says nothing. Close it in any case.
    """

    __slots__ = ("_connection", "_payload", "_upload", "fields", "length", "reason", "status", "target")

    def __init__(
        self,
        message: aiohttp.http.RawResponseMessage,
        payload: aiohttp.StreamReader,
        connection: aiohttp.connector.Connection,
        upload: asyncio.Task[None] | None,
        target: Target,
    ) -> None:
        self.status = message.code
        self.reason = message.reason
        self.fields: Fields = message.raw_headers
        self.target = target
        self._payload = payload
        self._connection = connection
        self._upload = upload

    @property
    def is_early(self) -> bool:
        """Whether the backend answered before the request's body was sent."""
        return self._upload is not None and not self._upload.done()

    @property
    def is_whole(self) -> bool:
        """Whether the whole body is here, so that reading it does not wait."""
        return self._payload.is_eof()

    async def read_some(self) -> bytes:
        """Return the next bytes of the body as they come, b"" at its end.

        Raises: BackendError when the backend breaks off.
        """
        try:
            return await self._payload.readany()
        except (TimeoutError, aiohttp.ClientError, HttpProcessingError, OSError) as error:
            raise BackendError(f"{self.target} broke off its response: {_describe(error)}") from error

    async def read(self, limit: int) -> tuple[bytes, bool]:
        """Return the body up to a little over ``limit`` bytes, and whether that is all of it."""
        if self._payload.is_eof():
            return self._payload.read_nowait(), True
        parts: list[bytes] = []
        size = 0
        while size <= limit:
            part = await self.read_some()
            if not part:
                return b"".join(parts), True
            parts.append(part)
            size += len(part)
        return b"".join(parts), False

    def close(self) -> None:
        """Give the connection back to the pool when the body was read to its end, or close it."""
        if self._upload is not None and not self._upload.done():
            self._upload.cancel()
            self._connection.close()
        elif self._payload.is_eof() and not self._payload.exception():
            self._connection.release()
        else:
            self._connection.close()


@dataclass(frozen=True, slots=True)
class Upgraded:
    """A connection to a backend that has become a WebSocket; ``received`` came behind the 101 response."""

    transport: asyncio.Transport
    fields: Fields
    received: bytes
    target: Target


class Backend:
    """The backends of all routes, asked from one pool of connections."""

    def __init__(self, now: Callable[[], float] = time.time, on_request: Callable[[str, float], None] | None = None):
        """``now`` gives the wall clock for Grip-Sig; ``on_request(result, seconds)`` is told each request's outcome."""
        self._connector = aiohttp.TCPConnector(
            limit=0, keepalive_timeout=POOL_IDLE, ttl_dns_cache=30, enable_cleanup_closed=False
        )
        self._now = now
        self._on_request = on_request
        self._loop = asyncio.get_running_loop()
        self._templates: dict[tuple[Route, Target], aiohttp.ClientRequest] = {}
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}
        # Target -> when it may be tried first again
        self._resting: dict[Target, float] = {}
        self._turn = 0

    async def close(self) -> None:
        """Close the pool."""
        await self._connector.close()

    async def fetch(self, route: Route, request: Request, before_body: Callable[[], None] | None = None) -> Response:
        """Ask a backend of the route, the next one where the first can't be reached.

        ``before_body`` is called once, when a backend is there to take a body that is still to come.
        Raises: BackendError (502, or 504 after the route's response_timeout).
        """
        started = self._loop.time()
        result = "error"
        try:
            response = await self._fetch(route, request, before_body)
            result = f"{response.status // 100}xx"
            return response
        except BackendError as error:
            result = "timeout" if error.status == 504 else "unreachable" if error.is_repeatable else "error"
            raise
        finally:
            if self._on_request is not None:
                self._on_request(result, self._loop.time() - started)

    async def _fetch(self, route: Route, request: Request, before_body: Callable[[], None] | None) -> Response:
        targets = self._targets(route)
        failures = []
        for target in targets:
            try:
                connection = await self._connect(route, target)
            except BackendError as error:
                failures.append(str(error))
                self._resting[target] = self._loop.time() + TARGET_REST
                last = error
                continue
            try:
                return await self._ask(route, target, connection, request, before_body)
            except BackendError as error:
                if not error.is_repeatable or request.method not in IDEMPOTENT or not isinstance(request.body, bytes):
                    raise
                # A pooled connection that the backend had just closed: ask once more, on a new one where need be.
                log.debug("%s; asking again", error)
                connection = await self._connect(route, target)
                return await self._ask(route, target, connection, request, before_body)
        raise BackendError("; ".join(failures), last.status, is_repeatable=True)

    async def upgrade(self, route: Route, request: Request) -> Upgraded | Response:
        """Ask a backend of the route to switch to WebSocket; a Response is its refusal.

        The caller gives its protocol to the transport in the same turn of the loop.
        Raises: BackendError.
        """
        key = base64.b64encode(os.urandom(16))
        fields = (
            *request.fields,
            (b"Connection", b"Upgrade"),
            (b"Upgrade", b"websocket"),
            (b"Sec-WebSocket-Version", b"13"),
            (b"Sec-WebSocket-Key", key),
        )
        request = replace(request, fields=fields)
        failures = []
        for target in self._targets(route):
            try:
                connection = await self._connect(route, target)
            except BackendError as error:
                failures.append(str(error))
                continue
            response = await self._ask(route, target, connection, request, None, may_switch=True)
            if response.status != 101:
                return response
            protocol = connection.protocol
            assert protocol is not None
            transport, protocol.transport = protocol.transport, None
            received = protocol._tail
            connection.close()
            if transport is None:
                raise BackendError(f"{target} closed the connection behind its 101 response")
            accept = base64.b64encode(hashlib.sha1(key + ACCEPT_GUID, usedforsecurity=False).digest())
            if field(response.fields, b"sec-websocket-accept") != accept:
                transport.abort()
                raise BackendError(f"{target} answered with a wrong Sec-WebSocket-Accept")
            return Upgraded(transport, response.fields, received, target)
        raise BackendError("; ".join(failures), is_repeatable=True)

    def _targets(self, route: Route) -> list[Target]:
        """Return the route's targets in the order to try them; those that failed a moment ago come last."""
        targets = list(route.targets)
        if len(targets) == 1:
            return targets
        if route.balance == "round-robin":
            self._turn = (self._turn + 1) % len(targets)
            targets = targets[self._turn :] + targets[: self._turn]
        now = self._loop.time()
        return sorted(targets, key=lambda target: self._resting.get(target, 0.0) > now)

    async def _connect(self, route: Route, target: Target) -> aiohttp.connector.Connection:
        template = self._templates.get((route, target))
        if template is None:
            template = self._templates[route, target] = self._template(route, target)
        timeout = self._timeouts.get(route.connect_timeout)
        if timeout is None:
            timeout = self._timeouts[route.connect_timeout] = aiohttp.ClientTimeout(
                total=None, connect=route.connect_timeout, ceil_threshold=3600
            )
        try:
            return await self._connector.connect(template, [], timeout)
        except TimeoutError as error:
            message = f"{target} did not accept a connection within {route.connect_timeout:g} s"
            raise BackendError(message, 504, is_repeatable=True) from error
        except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
            raise BackendError(f"{target} can't be reached: {_describe(error)}", is_repeatable=True) from error

    def _template(self, route: Route, target: Target) -> aiohttp.ClientRequest:
        """Return what the connector wants to know of a connection: scheme, host, port and TLS."""
        host = f"[{target.host}]" if ":" in target.host else target.host
        context: ssl.SSLContext | bool = True
        if target.scheme == "https":
            context = _tls_context(route)
        url = URL(f"{target.scheme}://{host}:{target.port}/")
        server_hostname = _host_name(route.host_header) if target.scheme == "https" and route.host_header else None
        return aiohttp.ClientRequest("GET", url, loop=self._loop, ssl=context, server_hostname=server_hostname)

    async def _ask(
        self,
        route: Route,
        target: Target,
        connection: aiohttp.connector.Connection,
        request: Request,
        before_body: Callable[[], None] | None,
        *,
        may_switch: bool = False,
    ) -> Response:
        upload: asyncio.Task[None] | None = None
        try:
            protocol = connection.protocol
            assert protocol is not None
            protocol.set_response_params(
                skip_payload=request.method == "HEAD",
                read_until_eof=True,
                auto_decompress=False,
                max_line_size=LINE_MAX,
                max_field_size=LINE_MAX,
                max_headers=FIELDS_MAX,
            )
            body = request.body
            head = self._encode_head(route, target, request)
            if isinstance(body, bytes):
                _write(protocol, target, head + body)
            else:
                if before_body is not None:
                    before_body()
                _write(protocol, target, head)
                upload = self._loop.create_task(_upload(protocol, body, is_chunked=request.length is None))
            message, payload = await self._head(route, target, protocol, upload, may_switch)
            return Response(message, payload, connection, upload, target)
        except BaseException:
            if upload is not None:
                upload.cancel()
            connection.close()
            raise

    async def _head(
        self,
        route: Route,
        target: Target,
        protocol: ResponseHandler,
        upload: asyncio.Task[None] | None,
        may_switch: bool,
    ) -> tuple[aiohttp.http.RawResponseMessage, aiohttp.StreamReader]:
        """Wait for the final response's head."""
        reading: Awaitable[tuple[aiohttp.http.RawResponseMessage, aiohttp.StreamReader]]
        try:
            while True:
                reading = protocol.read()
                if upload is not None and not upload.done():
                    # The clock for the response starts when the body is sent; an early answer ends the wait.
                    reading = await _first(reading, upload)
                async with asyncio.timeout(route.response_timeout or None):
                    message, payload = await reading
                if message.code >= 200 or (message.code == 101 and may_switch):
                    return message, payload
                if message.code == 101:
                    raise BackendError(f"{target} switched protocols though it was not asked to")
        except TimeoutError as error:
            raise BackendError(f"{target} did not answer within {route.response_timeout:g} s", 504) from error
        except aiohttp.ServerDisconnectedError as error:
            has_begun = error.message not in (None, "Server disconnected")
            raise BackendError(
                f"{target} closed the connection without an answer", is_repeatable=not has_begun
            ) from error
        except (aiohttp.ClientOSError, ConnectionError) as error:
            raise BackendError(f"{target} broke the connection: {_describe(error)}", is_repeatable=True) from error
        except HttpProcessingError as error:
            raise BackendError(f"{target} did not answer with HTTP: {_describe(error)}") from error
        except aiohttp.ClientError as error:
            raise BackendError(f"{target} failed: {_describe(error)}") from error

    def _encode_head(self, route: Route, target: Target, request: Request) -> bytes:
        parts = [b"%b %b HTTP/1.1\r\n" % (request.method.encode(), request.target)]
        if route.host_header:
            parts.append(b"Host: %b\r\n" % route.host_header.encode())
            fields = tuple(field for field in request.fields if field[0].lower() != b"host")
            parts.append(wire.encode_fields(fields))
        else:
            parts.append(wire.encode_fields(request.fields))
        if route.grip and route.signer is not None:
            parts.append(b"Grip-Sig: %b\r\n" % route.signer.token(self._now()).encode())
            parts.append(GRIP_FEATURES)
        body = request.body
        if not isinstance(body, bytes):
            if request.length is None:
                parts.append(b"Transfer-Encoding: chunked\r\n")
            else:
                parts.append(b"Content-Length: %d\r\n" % request.length)
        elif body or request.method not in ("GET", "HEAD", "OPTIONS", "TRACE", "DELETE"):
            parts.append(b"Content-Length: %d\r\n" % len(body))
        parts.append(b"\r\n")
        return b"".join(parts)


def _write(protocol: ResponseHandler, target: Target, data: bytes) -> None:
    transport = protocol.transport
    if transport is None or transport.is_closing():
        raise BackendError(f"{target} had closed its connection", is_repeatable=True)
    transport.write(data)


async def _first(
    reading: Awaitable[tuple[aiohttp.http.RawResponseMessage, aiohttp.StreamReader]], upload: asyncio.Task[None]
) -> Awaitable[tuple[aiohttp.http.RawResponseMessage, aiohttp.StreamReader]]:
    """Wait until the body is sent or the response begins; return what then gives the response."""
    response = asyncio.ensure_future(reading)
    try:
        await asyncio.wait((response, upload), return_when=asyncio.FIRST_COMPLETED)
    except BaseException:
        response.cancel()
        raise
    if upload.done() and not response.done() and (error := upload.exception()) is not None:
        response.cancel()
        raise error
    return response


async def _upload(protocol: ResponseHandler, body: aiohttp.StreamReader, *, is_chunked: bool) -> None:
    """Send a body as it comes, at the pace at which the backend takes it."""
    while data := await body.readany():
        if protocol.transport is None:
            return  # the response, or its absence, tells why
        protocol.transport.write(wire.chunk(data) if is_chunked else data)
        await protocol._drain_helper()
    if is_chunked and protocol.transport is not None:
        protocol.transport.write(wire.LAST_CHUNK)


def _tls_context(route: Route) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=route.ca or None)
    if not route.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if route.client_cert:
        context.load_cert_chain(route.client_cert, route.client_key or None)
    return context


def _host_name(authority: str) -> str:
    return URL(f"//{authority}").host or authority


def _describe(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__
