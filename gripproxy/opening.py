"""WebSocket handshakes: the backend is asked, by HTTP or by a handshake of its own; if it accepts, the client is held.

Where a route's backends differ in that, the first that can be connected to decides, and the client stays with its like.

The 101 response and the subscriptions that come with it are made in one turn of the loop.
"""

import asyncio
import logging
import random
import uuid
from collections.abc import Callable
from dataclasses import replace

from aiohttp import web

from gripproxy.backend import Backend, Request, Response
from gripproxy.config import Limits
from gripproxy.errors import BackendError
from gripproxy.grip.answer import message_prefix
from gripproxy.grip.commands import Reject
from gripproxy.grip.events import Event
from gripproxy.grip.limits import Limits as SessionLimits
from gripproxy.grip.websocket import Session
from gripproxy.routes import Route
from gripproxy.transports import bodies
from gripproxy.transports.client import Client
from gripproxy.transports.handshake import deflate_answer, encode_accept, refusal
from gripproxy.transports.holds import Holds
from gripproxy.transports.over_http import OverHttp
from gripproxy.transports.passthrough import Passthrough
from gripproxy.transports.websocket import WebSocketHold

log = logging.getLogger("gripproxy.websocket")

GRIP_EXTENSION = (b"Sec-WebSocket-Extensions", b"grip")

# What is told to a client: the client, a status and a text; or the client, the route, the request and the error.
Refuse = Callable[[Client, int, str], None]
Fail = Callable[[Client, Route, Request, BackendError], None]


class Opening:
    """Opens the WebSockets of one client door; a client that is not taken afterwards was refused."""

    def __init__(self, backend: Backend, limits: Limits, refuse: Refuse, fail: Fail) -> None:
        self._backend = backend
        self._limits = limits
        self._refuse = refuse
        self._fail = fail
        self._session_limits = _session_limits_of(limits)
        # Set by the server, as the proxy's.
        self.holds: Holds

    def configure(self, limits: Limits) -> None:
        """Open WebSockets with other limits from now on."""
        self._limits = limits
        self._session_limits = _session_limits_of(limits)

    async def open(self, request: web.BaseRequest, client: Client, route: Route, asked: Request, uri: str) -> None:
        """Ask the backend whether it accepts a WebSocket, and hold it if so; ``uri`` is what the client asked for."""
        refused = refusal(request.method, request.version, request.raw_headers, has_body=request.body_exists)
        if refused is not None:
            reason = refused.body.decode().strip()
            log.info("%s: refused a WebSocket: %s", client.peer, reason, extra=client.log_extra)
            client.is_kept = False
            client.respond(refused.status, refused.reason, refused.fields + client.id_fields, refused.body)
            return
        deflate = deflate_answer(request.raw_headers)
        try:
            async with asyncio.timeout(self._limits.websocket_handshake_timeout):
                target = await self._backend.reach(route) if route.parts else route.targets[0]
        except TimeoutError:
            self._refuse_late(client, route)
            return
        except BackendError as error:
            self._fail(client, route, asked, error)
            return
        route = route.part(target.kind) or route
        open_ = self._pass_through if target.websocket == "passthrough" else self._converse
        await open_(request, client, route, asked, uri, deflate)

    async def _converse(
        self, request: web.BaseRequest, client: Client, route: Route, asked: Request, uri: str, deflate: bytes
    ) -> None:
        """Ask the backend by HTTP, as for everything that comes later."""
        asks_grip = route.grip or (route.is_trusted and message_prefix(request.raw_headers) is not None)
        fields = tuple(field for field in asked.fields if _is_forwarded_with_events(field[0].lower()))
        if asks_grip:
            fields += (GRIP_EXTENSION,)
        session = Session(
            str(uuid.uuid4()),
            self._session_limits[route.targets[0].one_event],
            random.random(),  # noqa: S311  # spreads retries
            is_grip=route.grip,
        )
        is_uri_known = route.rewrite is None and route.tls is None
        origin = "" if is_uri_known else uri
        leg = OverHttp(self._backend, route, asked.target, fields, session, self.holds.history, origin)
        try:
            async with asyncio.timeout(self._limits.websocket_handshake_timeout):
                answer = await leg.open()
        except TimeoutError:
            self._refuse_late(client, route)
            return
        if isinstance(answer, Reject):
            if leg.failure:
                self.holds.metrics.count_failure(route.id, leg.failure)
            client.respond(answer.status, answer.reason, answer.fields, answer.body)
            return
        accept, commands = answer
        key = request.headers["Sec-WebSocket-Key"].encode()
        accepted = accept.fields + (accept.extensions if asks_grip else ())
        try:
            transport, received = client.take()
        except ConnectionResetError:
            leg.receive(Event("DISCONNECT"))
            raise
        assert leg.target is not None
        hold = leg.hold = WebSocketHold(self.holds, route.at(leg.target), leg, transport, is_deflated=bool(deflate))
        client.status = 101
        transport.write(encode_accept(key, accepted, deflate))
        leg.obey(commands)
        if received:
            hold.data_received(received)
        leg.begin()

    async def _pass_through(
        self, request: web.BaseRequest, client: Client, route: Route, asked: Request, uri: str, deflate: bytes
    ) -> None:
        """Ask the backend for a WebSocket of its own, and relay between the two."""
        fields = tuple(field for field in asked.fields if field[0].lower() not in _OF_THE_HANDSHAKE)
        asks_grip = route.grip or (route.is_trusted and message_prefix(request.raw_headers) is not None)
        if asks_grip:
            fields += (GRIP_EXTENSION,)
        try:
            async with asyncio.timeout(self._limits.websocket_handshake_timeout):
                upgraded = await self._backend.upgrade(route, replace(asked, fields=fields))
        except TimeoutError:
            self._refuse_late(client, route)
            return
        except BackendError as error:
            self._fail(client, route, asked, error)
            return
        if isinstance(upgraded, Response):
            if 200 <= upgraded.status < 300:
                log.warning(
                    '%s: %s answered the handshake of a WebSocket with %d; is websocket = "passthrough" right?',
                    route.id,
                    upgraded.target,
                    upgraded.status,
                    extra={**client.log_extra, "backend": str(upgraded.target), "status": upgraded.status},
                )
            try:
                await bodies.pass_through(client, upgraded)
            except BackendError as error:
                self._fail(client, route, asked, error)
            finally:
                upgraded.close()
            return
        leg = Passthrough(upgraded, self._limits.websocket_message, uri, is_grip=route.grip)
        try:
            transport, received = client.take()
        except ConnectionResetError:
            leg.receive(Event("DISCONNECT"))
            raise
        key = request.headers["Sec-WebSocket-Key"].encode()
        accepted = leg.fields
        if asks_grip and not route.grip:
            accepted += tuple(one for one in upgraded.fields if one[0].lower() == b"sec-websocket-extensions")
        client.status = 101
        transport.write(encode_accept(key, accepted, deflate))
        hold = WebSocketHold(self.holds, route.at(upgraded.target), leg, transport, is_deflated=bool(deflate))
        leg.begin(hold, upgraded.received)
        if received:
            hold.data_received(received)

    def _refuse_late(self, client: Client, route: Route) -> None:
        self.holds.metrics.count_failure(route.id, "timeout")
        log.warning(
            "%s: no backend accepted a WebSocket within %g s (limits.websocket_handshake_timeout)",
            route.id,
            self._limits.websocket_handshake_timeout,
            extra=client.log_extra,
        )
        self._refuse(client, 504, "The backend did not accept the WebSocket in time.\n")


def _session_limits_of(limits: Limits) -> dict[bool, SessionLimits]:
    """What sessions may use, by whether each event is a request of its own."""
    return {
        one_event: SessionLimits(
            message_size=limits.websocket_message,
            buffered=limits.websocket_buffered,
            # An echo of all that waits has to fit, with what each event costs.
            response_size=2 * (limits.websocket_message + limits.websocket_buffered),
            one_event=one_event,
        )
        for one_event in (False, True)
    }


# Of a client's handshake these do not go into the requests with events: the proxy has its own.
_OF_THE_EVENTS = frozenset({b"accept", b"content-type", b"connection-id", b"sec-websocket-extensions"})


# Of a client's handshake these are between it and the proxy.
_OF_THE_HANDSHAKE = frozenset(
    {b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions", b"sec-websocket-accept"}
)


def _is_forwarded_with_events(name: bytes) -> bool:
    return name not in _OF_THE_EVENTS and not name.startswith((b"meta-", b"content-"))
