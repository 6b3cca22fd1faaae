"""Requests to the backends: targets, pool, retries, Grip-Sig.

The connections, their pool, DNS and TLS are aiohttp's (`TCPConnector`), and so is the parser. The request itself is
written here, byte for byte as the proxy wants it: `ClientSession.request` re-quotes the target, adds fields of its own
and costs twice as much as everything else that a proxied request needs.

Invariant: a connection goes back to the pool only when its request was sent and its response was read to the end; in
any other case it is closed, which is also how a backend learns that its client has left.
"""

import asyncio
import base64
import hashlib
import logging
import os
import ssl
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from gripproxy.backend.balance import FAILED, Balance, Server
from gripproxy.backend.connection import BackendConnection, Pool
from gripproxy.backend.messages import Request, Response, Upgraded, codings_of, describe, fields_of, reason_of
from gripproxy.backend.upload import Upload
from gripproxy.errors import BackendError
from gripproxy.grip import wire
from gripproxy.grip.fields import Fields, field, text
from gripproxy.routes import Route
from gripproxy.targets import Health, Target

__all__ = ["ACCEPT_GUID", "GRIP_FEATURES", "IDEMPOTENT", "Backend", "Request", "Response", "Upgraded"]

log = logging.getLogger("gripproxy.backend")

# RFC 9110 9.2.2: asking again is harmless.
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

# Methods whose requests have no body as a rule: without one they say no Content-Length (RFC 9110 8.6).
BODILESS_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "DELETE"})

# What the proxy can do with instructions; libraries split the value at ", ".
GRIP_FEATURES = (
    b"Grip-Feature: status, session, link:next, link:gone, filter:skip-self, filter:skip-users, "
    b"filter:require-sub, filter:build-id, filter:var-subst, filter:http-check, filter:http-modify\r\n"
)

# RFC 6455 1.3.
ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# Told an informational response (RFC 9110 15.2): its status, reason and fields.
OnInformational = Callable[[int, str, Fields], None]

# A connection in hand, whose it is, and where its request counts as under way.
Taken = tuple[aiohttp.connector.Connection, Target, Server | None]


class Backend:
    """The backends of all routes."""

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        on_request: Callable[[Route, str, float], None] | None = None,
        on_retry: Callable[[], None] | None = None,
        current: Callable[[Route], Route] = lambda route: route,
    ) -> None:
        """``now`` gives the wall clock for Grip-Sig.

        ``on_request(route, result, seconds)`` is told each request's outcome, ``on_retry()`` that one is sent again.
        ``current(route)`` tells the route that is now what one of an earlier configuration was.
        """
        self._loop = asyncio.get_running_loop()
        # By `public_only`, so that a connection is never used by who must not have it.
        self._pools = {public_only: Pool(self._loop, public_only=public_only) for public_only in (False, True)}
        self._now = now
        self.current = current
        self._on_request = on_request
        self._on_retry = on_retry
        self._balance = Balance(self._loop.time)

    async def close(self) -> None:
        """Close the pools."""
        for pool in self._pools.values():
            await pool.close()

    def renew(self) -> None:
        """Load the files of TLS again for the next connections; requests under way are not disturbed."""
        for pool in self._pools.values():
            pool.renew()
        self._balance.renew()

    async def fetch(
        self,
        route: Route,
        request: Request,
        before_body: Callable[[], None] | None = None,
        on_informational: OnInformational | None = None,
        keep: int = 0,
    ) -> Response:
        """Ask a backend of the route, the next one where the first can't be reached.

        ``before_body`` is called once, when a backend is there to take a body that is still to come; up to ``keep``
        bytes of such a body are kept for `Response.request_body`.
        Raises: BackendError (502, or 504 after the route's response_timeout; 400 or 408 when it is the client's body
        that is at fault), ConnectionResetError when the client leaves in the middle of its body.
        """
        return await self._observe(route, self._exchange(route, request, before_body, on_informational, keep))

    async def reach(self, route: Route) -> Target:
        """Return the first target that can be connected to; the connection waits in the pool.

        Raises: BackendError.
        """
        connection, target, server = await self._connect(route)
        connection.release()
        if server is not None:
            server.leave()
            self._balance.is_reached(server)
        return target

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
        response = await self._observe(route, self._exchange(route, request, may_switch=True))
        if response.status != 101:
            return response
        target, server = response.target, response.server
        transport, received = response.take()
        if transport is None:
            response.close()
            raise BackendError(f"{target} closed the connection behind its 101 response", backend=target)
        accept = base64.b64encode(hashlib.sha1(key + ACCEPT_GUID, usedforsecurity=False).digest())
        if field(response.fields, b"sec-websocket-accept") != accept:
            transport.abort()
            response.close()
            raise BackendError(f"{target} answered with a wrong Sec-WebSocket-Accept", backend=target)
        return Upgraded(transport, response.fields, received, target, server)

    async def check(self, route: Route, target: Target, request: Request) -> Response:
        """Ask one target, which is not counted as a request of a client.

        Raises: BackendError.
        """
        while True:
            connection = await self._connect_to(route, target)
            protocol = connection.protocol
            assert isinstance(protocol, BackendConnection)
            was_used = protocol.was_used
            try:
                self._send(route, target, protocol, request, None, 0)
                return await self._answer(route, target, connection, None, None, may_switch=False)
            except BaseException as error:
                connection.close()
                if not was_used or not isinstance(error, BackendError) or not error.is_repeatable:
                    raise

    def set_health(self, target: Target, health: Health, *, is_up: bool) -> None:
        """Tell whether a target's latest health check succeeded."""
        self._balance.set_health(target, health, is_up=is_up)

    # Connections

    async def _connect(self, route: Route) -> Taken:
        """Return a connection to the first target that can be reached, where the request counts as under way."""
        failures = []
        for target in self._balance.order(route):
            server = self._balance.enter(target)  # before anything else is asked whose turn it is
            try:
                return await self._connect_to(route, target), target, server
            except BaseException as error:
                if server is not None:
                    server.leave()
                if not isinstance(error, BackendError):
                    raise
                failures.append(str(error))
                self._balance.rest(target)
                last = error
        raise BackendError("; ".join(failures), last.status, is_repeatable=True, backend=last.backend) from last

    def pass_over(self, target: Target) -> None:
        """Try a target last for a while, where there are others."""
        self._balance.rest(target)

    async def _connect_to(self, route: Route, target: Target) -> aiohttp.connector.Connection:
        try:
            return await self._pools[target.public_only].take(route, target)
        except TimeoutError as error:
            message = f"{target} did not accept a connection within {route.connect_timeout:g} s"
            raise BackendError(message, 504, is_repeatable=True, backend=target) from error
        except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
            cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
            message = f"{target} can't be reached: {describe(cause)}"
            raise BackendError(message, is_repeatable=True, backend=target) from error

    # One request

    async def _observe(self, route: Route, exchange: Coroutine[Any, Any, Response]) -> Response:
        """Tell how a request went, and how long it took."""
        started = self._loop.time()
        result = "error"
        try:
            response = await exchange
            result = f"{response.status // 100}xx"
            return response
        except BackendError as error:
            result = error.kind
            raise
        except (asyncio.CancelledError, ConnectionResetError):
            result = "left"  # the client, which ends what is done for it
            raise
        finally:
            if self._on_request is not None:
                self._on_request(route, result, self._loop.time() - started)

    async def _exchange(
        self,
        route: Route,
        request: Request,
        before_body: Callable[[], None] | None = None,
        on_informational: OnInformational | None = None,
        keep: int = 0,
        *,
        may_switch: bool = False,
    ) -> Response:
        """Ask, and ask once more when it was a pooled connection that the backend had just closed."""
        may_repeat = request.method in IDEMPOTENT and isinstance(request.body, bytes)
        while True:
            connection, target, server = await self._connect(route)
            protocol = connection.protocol
            assert isinstance(protocol, BackendConnection)
            was_used = protocol.was_used
            try:
                upload = self._send(route, target, protocol, request, before_body, keep)
                response = await self._answer(route, target, connection, upload, on_informational, may_switch)
            except BaseException as error:
                connection.close()
                if server is not None:
                    self._blame(server, target, error, was_used=was_used)
                if not may_repeat or not was_used or not isinstance(error, BackendError) or not error.is_repeatable:
                    raise
                may_repeat = False
                log.debug("%s; asking again", error)
                if self._on_retry is not None:
                    self._on_retry()
                continue
            if server is not None:
                response.server = server
                (self._balance.fail if response.status in FAILED else self._balance.succeed)(server, target)
            return response

    def _blame(self, server: Server, target: Target, error: BaseException, *, was_used: bool) -> None:
        """Take note that a request is over without a response, where that is the backend's fault."""
        server.leave()
        if not isinstance(error, BackendError) or error.status < 500:
            return
        if not error.is_repeatable:
            self._balance.fail(server, target)
        elif not was_used:
            self._balance.rest(target)  # nobody but its own end has broken a fresh connection

    def _send(
        self,
        route: Route,
        target: Target,
        protocol: BackendConnection,
        request: Request,
        before_body: Callable[[], None] | None,
        keep: int,
    ) -> Upload | None:
        """Send the head, and the body or its beginning."""
        protocol.expect(request.method)
        transport = protocol.transport
        if transport is None or transport.is_closing():
            raise BackendError(f"{target} had closed its connection", is_repeatable=True, backend=target)
        head = self._encode_head(route, target, request)
        body = request.body
        if isinstance(body, bytes):
            transport.write(head + body)
            return None
        if before_body is not None:
            before_body()
        transport.write(head)
        upload = Upload(protocol, route, target, body, keep)
        upload.begin(is_chunked=request.length is None)
        return upload

    async def _answer(
        self,
        route: Route,
        target: Target,
        connection: aiohttp.connector.Connection,
        upload: Upload | None,
        on_informational: OnInformational | None,
        may_switch: bool,
    ) -> Response:
        """Wait for the final response's head."""
        protocol = connection.protocol
        assert isinstance(protocol, BackendConnection)
        deadline: asyncio.TimerHandle | None = None
        try:
            while True:
                if upload is not None and not upload.task.done():
                    # The clock for the response starts when the body is sent; an early answer ends the wait.
                    await protocol.wait_for(upload.task)
                if deadline is None and route.response_timeout:
                    deadline = self._loop.call_later(route.response_timeout, protocol.expire)
                message, payload = await protocol.read()
                status = message.code
                if status >= 200 or (status == 101 and may_switch):
                    break
                if status == 101:
                    raise BackendError(f"{target} switched protocols though it was not asked to")
                if status < 100:
                    raise BackendError(f"{target} answered with the status {status}")
                if on_informational is not None and status != 100:
                    on_informational(status, reason_of(message), fields_of(message))
        except BaseException as error:
            if isinstance(error, BackendError):
                error.backend = str(target)
            if upload is not None:
                upload.cancel()
                if upload.error is not None:
                    raise upload.error from error
            fault = _fault(route, target, protocol, error)
            if fault is None:
                raise
            fault.backend = str(target)
            raise fault from error
        finally:
            if deadline is not None:
                deadline.cancel()
        codings = codings_of(message)
        if codings and codings != [b"chunked"]:
            shown = text(b", ".join(codings))[:40]
            raise BackendError(f"{target} answered with the transfer coding {shown!r}", backend=target)
        if route.idle_timeout and not payload.is_eof():
            protocol.watch(route.idle_timeout)
        return Response(message, payload, connection, upload, target)

    def _encode_head(self, route: Route, target: Target, request: Request) -> bytes:
        parts = [b"%b %b HTTP/1.1\r\n" % (request.method.encode(), request.target)]
        if target.host_header:
            parts.append(b"Host: %b\r\n" % target.host_header.encode())
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
        elif body or request.method not in BODILESS_METHODS:
            parts.append(b"Content-Length: %d\r\n" % len(body))
        parts.append(b"\r\n")
        return b"".join(parts)


def _fault(route: Route, target: Target, protocol: BackendConnection, error: BaseException) -> BackendError | None:
    """Say what it means that there is no response; None for what is no fault of the backend's."""
    if isinstance(error, TimeoutError):
        return BackendError(f"{target} did not answer within {route.response_timeout:g} s", 504)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        message = f"{target} closed the connection without an answer"
        return BackendError(message, is_repeatable=not protocol.has_begun)
    if isinstance(error, OSError):
        message = f"{target} broke the connection: {describe(error)}"
        return BackendError(message, is_repeatable=not protocol.has_begun)
    if isinstance(error, HttpProcessingError):
        return BackendError(f"{target} did not answer with HTTP: {describe(error)}")
    if isinstance(error, aiohttp.ClientError):
        return BackendError(f"{target} failed: {describe(error)}")
    return None
