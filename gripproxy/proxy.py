"""The client door: forwards each request to its backend, and does with the response what it instructs.

    request ──> route ──> backend ──> response ──┬── no instructions: streamed through
                  ^                              ├── instructions, no hold: sent as they say
                  │                              └── hold: the connection goes to a transport
                  └──────── Replay ──────────────────────┘ when the hold ends so

Invariant: a response that has begun is either completed or its connection is cut; nothing else is ever written to it.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from aiohttp import web

from gripproxy.backend import Backend, Request, Response
from gripproxy.config import Config
from gripproxy.endings import Endings
from gripproxy.errors import BackendError, InstructError
from gripproxy.forwarding import Forwarding, MalformedRequestError, grip_fields, has_events, is_from_upstream
from gripproxy.grip.cors import Cors
from gripproxy.grip.filters import RESPONSE_FILTERS
from gripproxy.grip.history import Moments
from gripproxy.grip.instruct import is_instruct
from gripproxy.holding import hold_response, hold_stream
from gripproxy.instructs import Instructs
from gripproxy.metrics import Metrics
from gripproxy.opening import Opening
from gripproxy.routes import Route, Routes, host_name
from gripproxy.transports import bodies
from gripproxy.transports.bodies import BodyRefusedError
from gripproxy.transports.client import Client, client_of
from gripproxy.transports.connections import Connections
from gripproxy.transports.holds import Holds
from gripproxy.transports.takeover import CLOSED

log = logging.getLogger("gripproxy.proxy")
access = logging.getLogger("gripproxy.access")

# By hundreds of the status; 0 is a long-poll that is held, or a client that left.
STATUS_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx", "6xx", "7xx", "8xx", "9xx")

TEXT = ((b"Content-Type", b"text/plain; charset=utf-8"),)

# How a backend answers a publish that was sent to the client door: it has no such URL, or wants a CSRF token. Libraries
# show nothing of that, and the backend's log says little.
PUBLISH_PATH = re.compile(rb"/(?:realm/[\w.~-]{1,100}/)?publish/?")
UNPUBLISHED = (403, 404, 405)


class Proxy:
    """Answers the requests that come in at the client door; ``handle`` is made for a bare aiohttp server."""

    def __init__(self, config: Config, routes: Routes, backend: Backend, metrics: Metrics) -> None:
        self._routes = routes
        self._backend = backend
        self._metrics = metrics
        self.opening = Opening(backend, config.limits, self._refuse, self._fail)
        self.endings = Endings(backend, routes, metrics, self._answer_anew)
        self.configure(config)
        # Set by the server once both exist: a hold needs the connections, which need `handle`.
        self.connections: Connections
        self.holds: Holds
        # Called for each request that has a route, where somebody counts them.
        self.on_request: Callable[[Route], None] | None = None

    def configure(self, config: Config) -> None:
        """Go on by a configuration; the routes are those of its own by then, and holds keep what they began with."""
        self._limits, self._keepalive_timeout = config.limits, config.server.keepalive_timeout
        self._instructs = Instructs(config.limits, self._metrics)
        self._forwarding = Forwarding(config.server)
        self.opening.configure(config.limits)
        self.endings.configure(self._instructs.read)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        client = client_of(request, self.connections)
        client.begin()
        client.id_fields = self._forwarding.id_fields(request)
        try:
            host, target = self._forwarding.check(request)
            route = self._route(request, client, host, target)
        except MalformedRequestError as error:
            log.info("%s: refused: %s", client.peer, error, extra=client.log_extra)
            client.is_kept = False
            self._refuse(client, error.status, f"{error}\n")
            self.count(client.status)
            return CLOSED
        if route is None:
            self._refuse(client, 502, "Route not found\n")
            self.count(client.status)
            return self._finish(client)
        client.route_id = route.id
        if self.on_request is not None:
            self.on_request(route)
        if route.cors:
            client.cors = Cors.of(request.method, request.raw_headers, route.cors)
        if route.trusted is not None and is_from_upstream(route, request):
            client.cors, route = None, route.trusted
        try:
            return await self._serve(request, client, route, host, target)
        except ConnectionResetError:
            return CLOSED
        finally:
            self.count(client.status, route.id)
            if access.isEnabledFor(logging.INFO):
                access.info(
                    "%s %s %s%s route=%s %s",
                    client.peer,
                    request.method,
                    host,
                    target,
                    route.id,
                    client.status or ("held" if client.is_taken else "left"),
                    extra={**client.log_extra, "method": request.method, "status": client.status},
                )

    def _route(self, request: web.BaseRequest, client: Client, host: str, target: str) -> Route | None:
        """Return the route of a request: the one that a trusted proxy names, else the best of its host.

        Raises: MalformedRequestError
        """
        forwarding, routes = self._forwarding, self._routes
        name = forwarding.route_name(request) if forwarding.takes_route_names else ""
        if name:
            found = routes.named(name)
        else:
            is_websocket, is_secure = forwarding.is_websocket(request), forwarding.is_secure(request)
            found = routes.match(host, target, is_websocket=is_websocket, is_secure=is_secure)
        if found is None:
            known = f"id {name[:200]!r}" if name else f"host {host!r}, path {target[:200]!r}"
            log.info("%s: no route for %s", client.peer, known, extra=client.log_extra)
        return found

    async def _serve(
        self, request: web.BaseRequest, client: Client, route: Route, host: str, target: str
    ) -> web.StreamResponse:
        fields = self._forwarding.fields(request, route, host, client.id_fields)
        if route.is_trusted:
            fields += grip_fields(request.raw_headers)
        asked = Request(request.method, route.rewritten(target).encode("utf-8", "surrogateescape"), fields)
        uri = f"{'https' if self._forwarding.is_secure(request) else 'http'}://{host}{target}"
        if self._forwarding.is_websocket(request):
            await self.opening.open(request, client, route, asked, uri)
            return self._finish(client)
        if has_events(request) and "over-http" in route.modes and not route.is_trusted:
            client.is_kept = client.is_kept and request.content.is_eof()
            self._refuse(client, 403, "Client not allowed to send WebSocket events directly.\n")
            return self._finish(client)
        expects = request.headers.get("Expect", "").lower() == "100-continue" and client.is_chunkable
        before_body = None
        if request.body_exists:
            keep = self._limits.replay_body
            rules = self.holds.sessions.rules(route.realm, host_name(host), target) if route.session else ()
            try:
                body, length = await bodies.receive(
                    request, client, route.max_request_body, keep, expects=expects, is_wanted=bool(rules)
                )
            except BodyRefusedError as error:
                log.info("%s: refused: %s", client.peer, error, extra=client.log_extra)
                client.is_kept = False
                self._refuse(client, error.status, f"{error}\n")
                return CLOSED
            asked = replace(asked, body=body, length=length)
            if rules and isinstance(body, bytes) and len(body) <= keep:
                now = self.holds.wheel.now()
                told = self.holds.sessions.fields(route.realm, route.prefix, rules, body, now)
                asked = replace(asked, fields=fields + told)
            elif rules:
                text = "%s: no session is looked for in a body that is slow or has over %d bytes"
                log.info(text, route.id, keep, extra=client.log_extra)
            if expects and body is request.content:
                before_body = client.write_continue
        await self._exchange(client, route, asked, uri, before_body)
        return self._finish(client)

    async def _exchange(
        self,
        client: Client,
        route: Route,
        asked: Request,
        uri: str,
        before_body: Callable[[], None] | None = None,
        places: asyncio.Semaphore | None = None,
    ) -> None:
        """Ask the backend, and do with its response what it says; ``uri`` is what the client asked for.

        ``places`` limits how many ask at one time: a hint, or a gap, may concern thousands. For those who leave while
        they wait for their turn nothing is asked: ConnectionResetError.
        """
        history = self.holds.history
        try:
            async with places or contextlib.nullcontext():
                if places is not None:
                    client.check()
                asked_at = history.moment
                response = await self._backend.fetch(
                    route,
                    asked,
                    before_body,
                    client.write_informational if client.is_chunkable else None,
                    self._limits.replay_body,
                )
                moments = Moments(asked_at, history.turn)
        except BackendError as error:
            client.is_kept = client.is_kept and isinstance(asked.body, bytes)
            self._fail(client, route, asked, error)
            return
        try:
            if response.is_early:
                client.is_kept = False
            if route.grip and is_instruct(response.fields):
                await self._obey(client, route.at(response.target), asked, response, uri, moments)
            else:
                if response.status in UNPUBLISHED and asked.method == "POST" and PUBLISH_PATH.fullmatch(asked.target):
                    log.warning(
                        "%s: POST %s came from %s to the client door, and the backend answered %d; "
                        "if it was a publish, send it to control.listen (GRIP_URL)",
                        route.id,
                        asked.target.decode("latin-1"),
                        client.peer,
                        response.status,
                        extra={**client.log_extra, "status": response.status},
                    )
                await bodies.pass_through(client, response)
        except BackendError as error:
            self._fail(client, route, asked, error)
        finally:
            response.close()

    async def _answer_anew(
        self, client: Client, route: Route, asked: Request, uri: str, places: asyncio.Semaphore
    ) -> None:
        """Have the backend answer a client that was held, as if it had asked again."""
        await self._exchange(client, route, asked, uri, places=places)
        self._finish(client)

    def _fail(self, client: Client, route: Route, asked: Request, error: BackendError) -> None:
        """Tell a client that there is no (whole) response to its request."""
        extra = {**client.log_extra, "backend": error.backend, "status": error.status}
        log.warning("%s %s: %s", asked.method, route.id, error, extra=extra)
        if error.status >= 500:
            self._metrics.count_failure(route.id, error.kind)
        if client.has_begun:
            client.abort()
        else:
            # What the client did wrong it may know; what a backend did names backends.
            text = f"{error}\n" if error.status < 500 else self._explain(route, str(error))
            self._refuse(client, error.status, text)

    async def _obey(
        self, client: Client, route: Route, asked: Request, response: Response, uri: str, moments: Moments
    ) -> None:
        """Do what a response's instructions say."""
        with self.holds.history.remembering():
            body, is_whole = await response.read(self._limits.hold_body)
        if response.request_body is not None:
            asked = replace(asked, body=response.request_body, length=None)
        try:
            instruct = self._instructs.read(route, response.status, response.reason, response.fields, body)
        except InstructError as error:
            log.warning(
                "%s %s: malformed instructions from %s: %s",
                asked.method,
                route.id,
                response.target,
                error,
                extra={**client.log_extra, "backend": str(response.target), "status": 502},
            )
            self._metrics.count_failure(route.id, "instructions")
            self._refuse(client, 502, self._explain(route, f"Failed to parse accept instructions: {error}"))
            return
        except BackendError as error:
            raise BackendError(f"{response.target}: {error}", backend=response.target) from error
        is_stream = instruct.hold == "stream" or (instruct.hold is None and instruct.next_link is not None)
        has_filter = any(name in RESPONSE_FILTERS for channel in instruct.channels for name in channel.filters)
        if not is_whole and (not is_stream or has_filter or instruct.has_body_instruct):
            text = (
                f"{response.target} sent a GRIP response of more than {self._limits.hold_body} bytes (limits.hold_body)"
            )
            raise BackendError(text, backend=response.target)
        if route.session:
            host = host_name(urlsplit(uri).netloc)
            self.holds.sessions.obey(route.realm, route.prefix, host, instruct, self.holds.wheel.now())
        if instruct.hold == "response":
            if not isinstance(asked.body, bytes) or len(asked.body) > self._limits.replay_body:
                text = "%s %s: no hold, as the request has more than %d bytes (limits.replay_body)"
                log.warning(text, asked.method, route.id, self._limits.replay_body, extra=client.log_extra)
                self._refuse(client, 400, "Request too large to accept GRIP instruct.\n")
                return
            hold_response(self.holds, client, route, asked, instruct, uri, moments)
        elif instruct.hold == "stream" or instruct.next_link is not None:
            rest = None if is_whole else response
            await hold_stream(self.holds, client, route, asked, instruct, rest, uri, moments)
        else:
            client.respond(instruct.status, instruct.reason, instruct.fields, instruct.body)

    def _finish(self, client: Client) -> web.StreamResponse:
        """End the exchange, unless a hold has taken the client."""
        return CLOSED if client.is_taken else client.finish(self.holds.wheel, self._keepalive_timeout)

    def count(self, status: int, route_id: str = "") -> None:
        """Count an answer; one without a route is to what came to none."""
        metrics = self._metrics
        metrics.requests[metrics.route_names[route_id], STATUS_CLASSES[status // 100]] += 1

    # Answers of the proxy's own

    def _refuse(self, client: Client, status: int, text: str) -> None:
        try:
            client.respond(status, "", TEXT + client.id_fields, text.encode())
        except ConnectionResetError:
            pass

    def _explain(self, route: Route, reason: str) -> str:
        """Return the body of an error: the reason only where the route is being debugged."""
        return f"{reason}\n" if route.debug else "Error while proxying to origin.\n"
