"""The client door: forwards each request to its backend, and does with the response what it instructs.

    request ──> route ──> backend ──> response ──┬── no instructions: streamed through
                  ^                              ├── instructions, no hold: sent as they say
                  │                              └── hold: the connection goes to a transport
                  └──────── Replay ──────────────────────┘ when the hold ends so

Invariant: a response that has begun is either completed or its connection is cut; nothing else is ever written to it.
"""

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from gripproxy.backend import Backend, Request, Response
from gripproxy.config import Config
from gripproxy.errors import AuthError, BackendError, FilterError, InstructError
from gripproxy.forwarding import Forwarding, MalformedRequestError
from gripproxy.grip import wire
from gripproxy.grip.answer import EVENTS_TYPE, message_prefix
from gripproxy.grip.commands import Reject
from gripproxy.grip.cors import Cors
from gripproxy.grip.events import Event
from gripproxy.grip.fields import Fields, field_values, media_type
from gripproxy.grip.instruct import Channel, Instruct, is_instruct
from gripproxy.grip.reception import Reception
from gripproxy.grip.tokens import verify
from gripproxy.grip.websocket import Limits as SessionLimits
from gripproxy.grip.websocket import Session
from gripproxy.links import Links, resolve
from gripproxy.metrics import Metrics
from gripproxy.routes import Route, Routes
from gripproxy.transports import Done, Follow, Outcome, Replay, bodies
from gripproxy.transports.bodies import BodyRefusedError
from gripproxy.transports.client import Client, client_of
from gripproxy.transports.handshake import encode_accept, offers_deflate, refusal
from gripproxy.transports.holds import Holds
from gripproxy.transports.linked import LinkedStream
from gripproxy.transports.over_http import OverHttp
from gripproxy.transports.passthrough import Passthrough
from gripproxy.transports.response import ResponseHold
from gripproxy.transports.stream import StreamHold
from gripproxy.transports.takeover import CLOSED, Connections, Held
from gripproxy.transports.websocket import WebSocketHold

log = logging.getLogger("gripproxy.proxy")
access = logging.getLogger("gripproxy.access")

# Holds that are told to ask the backend again in one go, and the pause in seconds before the next ones: Pushpin's are
# 10 a second, each for up to 100 equal ones.
REFRESHED_AT_ONCE = 20
REFRESH_PAUSE = 0.1

AnyHold = StreamHold | ResponseHold | WebSocketHold

TEXT = ((b"Content-Type", b"text/plain; charset=utf-8"),)

GRIP_EXTENSION = (b"Sec-WebSocket-Extensions", b"grip")


class Proxy:
    """Answers the requests that come in at the client door; ``handle`` is made for a bare aiohttp server."""

    def __init__(self, config: Config, routes: Routes, backend: Backend, metrics: Metrics) -> None:
        self._routes = routes
        self._backend = backend
        self._metrics = metrics
        self._links = Links(backend, routes)
        self._limits = config.limits
        self._keepalive_timeout = config.server.keepalive_timeout
        self._session_limits_of: dict[bool, SessionLimits] = {}
        self._forwarding = Forwarding(config.server.trusted_proxies, is_secure=bool(config.server.certificate))
        # Set by the server once both exist: a hold needs the connections, which need `handle`.
        self.connections: Connections
        self.holds: Holds
        # Replays under way; the set keeps them alive.
        self._tasks: set[asyncio.Task[None]] = set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        client = client_of(request, self.connections)
        client.begin()
        try:
            host, target = self._forwarding.check(request)
            if client.has_large_head(request):
                raise MalformedRequestError("the header is too large", 431)
        except MalformedRequestError as error:
            log.info("%s: refused: %s", client.peer, error)
            client.is_kept = False
            self._refuse(client, error.status, f"{error}\n")
            return CLOSED
        route = self._routes.match(host, target)
        if route is None:
            log.info("%s: no route for host %r, path %r", client.peer, host, target[:200])
            self._refuse(client, 502, "Route not found\n")
            return client.finish(self.holds.wheel, self._keepalive_timeout)
        if route.cors:
            client.cors = Cors.of(request.method, request.raw_headers, route.cors)
        if route.trusted is not None and _is_from_upstream(route, request):
            client.cors, route = None, route.trusted
        try:
            return await self._serve(request, client, route, host, target)
        except ConnectionResetError:
            return CLOSED

    async def _serve(
        self, request: web.BaseRequest, client: Client, route: Route, host: str, target: str
    ) -> web.StreamResponse:
        fields = self._forwarding.fields(request, route, host)
        if route.is_trusted:
            fields += _grip_fields(request.raw_headers)
        asked = Request(request.method, route.rewritten(target).encode("utf-8", "surrogateescape"), fields)
        if self._forwarding.is_websocket(request):
            return await self._open_websocket(request, client, route, asked)
        if _has_events(request) and route.websocket == "over-http" and not route.is_trusted:
            client.is_kept = client.is_kept and request.content.is_eof()
            self._refuse(client, 403, "Client not allowed to send WebSocket events directly.\n")
            return client.finish(self.holds.wheel, self._keepalive_timeout)
        expects = request.headers.get("Expect", "").lower() == "100-continue" and client.is_chunkable
        before_body = None
        if request.body_exists:
            try:
                body, length = await bodies.receive(
                    request, client, route.max_request_body, self._limits.replay_body, expects=expects
                )
            except BodyRefusedError as error:
                log.info("%s: refused: %s", client.peer, error)
                client.is_kept = False
                self._refuse(client, error.status, f"{error}\n")
                return CLOSED
            asked = replace(asked, body=body, length=length)
            if expects and length is not None and not isinstance(body, bytes):
                before_body = client.write_continue
        uri = f"{self._forwarding.scheme}://{host}{target}"
        await self._exchange(client, route, asked, uri, before_body)
        if client.is_taken:
            return CLOSED
        return client.finish(self.holds.wheel, self._keepalive_timeout)

    async def _exchange(
        self,
        client: Client,
        route: Route,
        asked: Request,
        uri: str,
        before_body: Callable[[], None] | None = None,
    ) -> None:
        """Ask the backend, and do with its response what it says; ``uri`` is what the client asked for."""
        try:
            response = await self._backend.fetch(
                route,
                asked,
                before_body,
                client.write_informational if client.is_chunkable else None,
                self._limits.replay_body,
            )
        except BackendError as error:
            client.is_kept = client.is_kept and isinstance(asked.body, bytes)
            self._fail(client, route, asked, error)
            return
        try:
            if response.is_early:
                client.is_kept = False
            if route.grip and is_instruct(response.fields):
                await self._obey(client, route, asked, response, uri)
            else:
                await bodies.pass_through(client, response)
        except BackendError as error:
            self._fail(client, route, asked, error)
        finally:
            response.close()

    def _fail(self, client: Client, route: Route, asked: Request, error: BackendError) -> None:
        """Tell a client that there is no (whole) response to its request."""
        log.warning("%s %s: %s", asked.method, route.id, error)
        if client.has_begun:
            client.abort()
        else:
            self._refuse(client, error.status, self._explain(route, str(error)))

    async def _obey(self, client: Client, route: Route, asked: Request, response: Response, uri: str) -> None:
        """Do what a response's instructions say."""
        body, is_whole = await response.read(self._limits.hold_body)
        if response.request_body is not None:
            asked = replace(asked, body=response.request_body, length=None)
        try:
            instruct = Instruct.from_response(response.status, response.reason, response.fields, body)
        except InstructError as error:
            log.warning("%s %s: malformed instructions from %s: %s", asked.method, route.id, response.target, error)
            self._refuse(client, 502, self._explain(route, f"Failed to parse accept instructions: {error}"))
            return
        is_stream = instruct.hold == "stream" or (instruct.hold is None and instruct.next_link is not None)
        has_filter = any(channel.filters for channel in instruct.channels)
        if not is_whole and (not is_stream or has_filter or instruct.has_body_instruct):
            raise BackendError(
                f"{response.target} sent a GRIP response of more than {self._limits.hold_body} bytes (limits.hold_body)"
            )
        instruct = self._prepare(route, instruct)
        if instruct.hold == "response":
            self._hold_response(client, route, asked, instruct, uri)
        elif instruct.hold == "stream" or instruct.next_link is not None:
            await self._hold_stream(client, route, instruct, None if is_whole else response, uri)
        else:
            client.respond(instruct.status, instruct.reason, instruct.fields, instruct.body)

    def _prepare(self, route: Route, instruct: Instruct) -> Instruct:
        """Return an instruct with the channels that the route makes of it, and its body filtered.

        Raises: BackendError when a filter can't be applied to the body.
        """
        channels = instruct.channels
        names = dict.fromkeys(name for channel in channels for name in channel.filters)
        body = instruct.body
        if names:
            try:
                body = Reception(channels, instruct.meta).response(channels, body)
            except FilterError as error:
                raise BackendError(f"the response can't be filtered: {error}") from error
        if route.prefix:
            channels = tuple(replace(channel, name=route.prefix + channel.name) for channel in channels)
        if route.subscribe and instruct.hold is not None:
            given = {channel.name for channel in channels}
            channels += tuple(Channel(name) for name in route.subscribe if name not in given)
        most = self._limits.channels_per_connection
        if len(channels) > most:
            log.warning(
                "%s: a hold asks for %d channels; limits.channels_per_connection is %d", route.id, len(channels), most
            )
        return replace(instruct, channels=channels[:most], body=body)

    def _hold_response(self, client: Client, route: Route, asked: Request, instruct: Instruct, uri: str) -> None:
        if not isinstance(asked.body, bytes) or len(asked.body) > self._limits.replay_body:
            self._refuse(client, 400, "Request too large to accept GRIP instruct.\n")
            return
        is_kept = client.is_kept and client.is_alone
        transport, received = client.take()
        hold = ResponseHold(
            self.holds,
            route,
            instruct,
            asked,
            transport,
            received,
            is_head=client.is_head,
            is_kept=is_kept,
            asked_again=client.asked,
            cors=client.cors,
            uri=uri,
        )
        self._metrics.holds["response"] += 1
        if instruct.gone_link is not None:
            hold.gone_link = resolve(uri, instruct.gone_link.uri)
        hold.begin()

    async def _hold_stream(
        self, client: Client, route: Route, instruct: Instruct, rest: Response | None, uri: str
    ) -> None:
        is_chunked = client.is_chunkable
        is_kept = client.is_kept and client.is_alone and is_chunked
        if client.is_head:
            client.respond(instruct.status, instruct.reason, instruct.fields, b"")
            return
        transport, received = client.take()
        hold: StreamHold
        linked: LinkedStream | None = None
        if rest is not None or _is_linked(instruct):
            hold = linked = LinkedStream(
                self.holds,
                route,
                instruct,
                transport,
                received,
                is_chunked=is_chunked,
                is_kept=is_kept,
                uri=uri,
                host=urlsplit(uri).netloc,
            )
        else:
            hold = StreamHold(self.holds, route, instruct, transport, received, is_chunked=is_chunked, is_kept=is_kept)
        self._metrics.holds["stream"] += 1
        if instruct.gone_link is not None:
            hold.gone_link, hold.origin = resolve(uri, instruct.gone_link.uri), uri
        hold.begin()
        fields = instruct.fields if client.cors is None else client.cors.complete(instruct.fields)
        head = (
            wire.encode_status_line(instruct.status, instruct.reason),
            wire.encode_fields(fields),
            b"Transfer-Encoding: chunked\r\n" if is_chunked else b"",
            b"" if is_kept else b"Connection: close\r\n",
            b"\r\n",
            wire.chunk(instruct.body) if is_chunked else instruct.body,
        )
        transport.write(b"".join(head))
        if linked is None:
            return
        if rest is not None:
            await self._stream_rest(linked, rest)
        linked.proceed()

    async def _stream_rest(self, hold: LinkedStream, rest: Response) -> None:
        """Write what is still to come of the body that a hold begins with."""
        hold.wait()
        try:
            while part := await rest.read_some():
                hold.write_body(part)
                await hold.drain()
        except BackendError as error:
            log.warning("%s: %s", hold.route.id, error)
            hold.break_off("backend")
        finally:
            if hold.connection is not None:
                hold.connection.set_write_buffer_limits(high=self._limits.unsent)

    # WebSockets

    async def _open_websocket(
        self, request: web.BaseRequest, client: Client, route: Route, asked: Request
    ) -> web.StreamResponse:
        """Ask the backend whether it accepts a WebSocket, and hold it if so."""
        refused = refusal(request.method, request.version, request.raw_headers, has_body=request.body_exists)
        if refused is not None:
            log.info("%s: refused a WebSocket: %s", client.peer, refused.body.decode().strip())
            client.is_kept = False
            client.respond(refused.status, refused.reason, refused.fields, refused.body)
            return CLOSED
        is_deflated = offers_deflate(request.raw_headers)
        if route.websocket == "passthrough":
            return await self._open_passthrough(request, client, route, asked, is_deflated=is_deflated)
        asks_grip = route.grip or (route.is_trusted and message_prefix(request.raw_headers) is not None)
        fields = tuple(field for field in asked.fields if _is_forwarded_with_events(field[0].lower()))
        if asks_grip:
            fields += (GRIP_EXTENSION,)
        session = Session(
            str(uuid.uuid4()),
            self._session_limits(route),
            random.random(),  # noqa: S311  # spreads retries
            is_grip=route.grip,
        )
        leg = OverHttp(self._backend, route, asked.target, fields, session)
        try:
            async with asyncio.timeout(self._limits.websocket_handshake_timeout):
                answer = await leg.open()
        except TimeoutError:
            self._refuse(client, 504, "The backend did not accept the WebSocket in time.\n")
            return client.finish(self.holds.wheel, self._keepalive_timeout)
        if isinstance(answer, Reject):
            client.respond(answer.status, answer.reason, answer.fields, answer.body)
            return client.finish(self.holds.wheel, self._keepalive_timeout)
        accept, commands = answer
        key = request.headers["Sec-WebSocket-Key"].encode()
        accepted = accept.fields + (accept.extensions if asks_grip else ())
        try:
            transport, received = client.take()
        except ConnectionResetError:
            leg.receive(Event("DISCONNECT"))
            raise
        hold = leg.hold = WebSocketHold(self.holds, route, leg, transport, is_deflated=is_deflated)
        self._metrics.holds["websocket"] += 1
        transport.write(encode_accept(key, accepted, is_deflated=is_deflated))
        leg.obey(commands)
        if received:
            hold.data_received(received)
        leg.begin()
        return CLOSED

    async def _open_passthrough(
        self, request: web.BaseRequest, client: Client, route: Route, asked: Request, *, is_deflated: bool
    ) -> web.StreamResponse:
        """Ask the backend for a WebSocket of its own, and relay between the two."""
        fields = tuple(field for field in asked.fields if field[0].lower() not in _OF_THE_HANDSHAKE)
        asks_grip = route.grip or (route.is_trusted and message_prefix(request.raw_headers) is not None)
        if asks_grip:
            fields += (GRIP_EXTENSION,)
        try:
            async with asyncio.timeout(self._limits.websocket_handshake_timeout):
                upgraded = await self._backend.upgrade(route, replace(asked, fields=fields))
        except TimeoutError:
            self._refuse(client, 504, "The backend did not accept the WebSocket in time.\n")
            return client.finish(self.holds.wheel, self._keepalive_timeout)
        except BackendError as error:
            log.warning("WebSocket %s: %s", route.id, error)
            self._refuse(client, error.status, self._explain(route, str(error)))
            return client.finish(self.holds.wheel, self._keepalive_timeout)
        if isinstance(upgraded, Response):
            try:
                await bodies.pass_through(client, upgraded)
            except BackendError as error:
                self._fail(client, route, asked, error)
            finally:
                upgraded.close()
            return client.finish(self.holds.wheel, self._keepalive_timeout)
        leg = Passthrough(upgraded, self._limits.websocket_message, is_grip=route.grip)
        try:
            transport, received = client.take()
        except ConnectionResetError:
            leg.receive(Event("DISCONNECT"))
            raise
        key = request.headers["Sec-WebSocket-Key"].encode()
        accepted = leg.fields
        if asks_grip and not route.grip:
            accepted += tuple(one for one in upgraded.fields if one[0].lower() == b"sec-websocket-extensions")
        transport.write(encode_accept(key, accepted, is_deflated=is_deflated))
        hold = WebSocketHold(self.holds, route, leg, transport, is_deflated=is_deflated)
        self._metrics.holds["websocket"] += 1
        leg.begin(hold, upgraded.received)
        if received:
            hold.data_received(received)
        return CLOSED

    def _session_limits(self, route: Route) -> SessionLimits:
        limits = self._session_limits_of.get(route.one_event)
        if limits is None:
            limits = self._session_limits_of[route.one_event] = SessionLimits(
                message_size=self._limits.websocket_message,
                buffered=self._limits.websocket_buffered,
                # An echo of all that waits has to fit, with what each event costs.
                response_size=2 * (self._limits.websocket_message + self._limits.websocket_buffered),
                one_event=route.one_event,
            )
        return limits

    # When a hold ends

    def on_end(self, hold: Held, outcome: Outcome) -> None:
        """Act on what a hold ended with, or on a link that it wants to have."""
        if isinstance(outcome, Follow):
            assert isinstance(hold, LinkedStream)
            self._start(self._follow(hold, outcome))
            return
        gone_link: str | None = getattr(hold, "gone_link", None)
        if gone_link is not None and isinstance(hold, StreamHold | ResponseHold):
            self._start(self._links.post_gone(hold.route, urlsplit(hold.origin).netloc, gone_link))
        if isinstance(outcome, Done):
            self._metrics.disconnects[outcome.reason] += 1
            if getattr(hold, "is_kept", False):
                self.holds.settle(hold)
        elif isinstance(hold, ResponseHold):
            self._start(self._replay(hold, outcome))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        self.holds.talking += 1
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.holds.talking -= 1

    async def _replay(self, hold: ResponseHold, outcome: Replay) -> None:
        """Ask the backend the request of a hold again."""
        client = Client(
            self.connections,
            None,
            hold,
            peer="",
            is_head=hold.is_head,
            is_chunkable=True,
            is_kept=hold.is_kept,
        )
        client.asked = outcome.asked
        client.cors = hold.cors
        last = tuple(
            (b"Grip-Last", f"{channel}; last-id={last_id}".encode()) for channel, last_id in outcome.last_ids.items()
        )
        asked = replace(hold.request, fields=hold.request.fields + last)
        try:
            await self._exchange(client, hold.route, asked, hold.origin)
            if not client.is_taken:
                client.finish(self.holds.wheel, self._keepalive_timeout)
        except ConnectionResetError:
            pass
        except Exception:
            log.exception("%s: a replay failed", hold.route.id)
            client.abort()

    async def _follow(self, hold: LinkedStream, outcome: Follow) -> None:
        """Fetch the next link of a stream, and have the stream go on with it."""
        uri = resolve(hold.uri, outcome.link.uri)
        try:
            answer = await self._links.fetch(hold.route, hold.host, uri, outcome.last_ids)
            if is_instruct(answer.fields):
                instruct = Instruct.from_response(answer.status, answer.reason, answer.fields, answer.body)
                instruct = self._prepare(hold.route, instruct)
            else:
                instruct = Instruct(hold=None, body=answer.body)
        except (BackendError, InstructError) as error:
            log.warning("%s: next link %s: %s", hold.route.id, uri, error)
            hold.fail(str(error))
            return
        hold.advance(instruct, uri)

    def refresh(self, realm: str | None) -> None:
        """Have all holds of a realm (None: of all) ask the backend whether something was missed, a slice at a time."""
        holds = [hold for hold in self.holds.open if isinstance(hold, AnyHold)]
        holds = [hold for hold in holds if realm is None or hold.route.realm == realm]
        self._refresh_some(holds)

    def _refresh_some(self, holds: list[AnyHold]) -> None:
        for hold in holds[:REFRESHED_AT_ONCE]:
            if hold in self.holds.open:
                hold.refresh()
        if len(holds) > REFRESHED_AT_ONCE:
            asyncio.get_running_loop().call_later(REFRESH_PAUSE, self._refresh_some, holds[REFRESHED_AT_ONCE:])

    # Answers of the proxy's own

    def _refuse(self, client: Client, status: int, text: str) -> None:
        try:
            client.respond(status, "", TEXT, text.encode())
        except ConnectionResetError:
            pass

    def _explain(self, route: Route, reason: str) -> str:
        """Return the body of an error: the reason only where the route is being debugged."""
        return f"{reason}\n" if route.debug else "Error while proxying to origin.\n"


def _is_linked(instruct: Instruct) -> bool:
    """Whether a stream is more than a copy of what is published."""
    return instruct.next_link is not None or any(
        channel.prev_id is not None or channel.filters for channel in instruct.channels
    )


def _is_from_upstream(route: Route, request: web.BaseRequest) -> bool:
    """Whether a request comes through the GRIP proxy that the route's upstream_key is of."""
    given = request.headers.getall("Grip-Sig", ())
    if len(given) != 1 or route.upstream_key is None:
        return False
    try:
        verify((route.upstream_key,), given[0], time.time(), None)
    except AuthError as error:
        log.info("%s: not of the proxy in front: %s", route.id, error)
        return False
    return True


def _grip_fields(fields: Fields) -> Fields:
    return tuple(one for one in fields if one[0][:5].lower() == b"grip-")


def _has_events(request: web.BaseRequest) -> bool:
    """Whether a request's body claims to be WebSocket events, which are the proxy's to send."""
    return request.method == "POST" and any(
        media_type(value) == EVENTS_TYPE for value in field_values(request.raw_headers, b"content-type")
    )


# Of a client's handshake these do not go into the requests with events: the proxy has its own.
_OF_THE_EVENTS = frozenset({b"accept", b"content-type", b"connection-id", b"sec-websocket-extensions"})


# Of a client's handshake these are between it and the proxy.
_OF_THE_HANDSHAKE = frozenset(
    {b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions", b"sec-websocket-accept"}
)


def _is_forwarded_with_events(name: bytes) -> bool:
    return name not in _OF_THE_EVENTS and not name.startswith((b"meta-", b"content-"))
