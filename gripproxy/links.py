"""The links of holds: next links are fetched, gone links are posted to, and filters are asked.

Equal fetches share one request. Their key is everything that can change the answer: the route, the whole URI, every
Grip-Last, the client's fields that a route has in `link_headers` (nothing else of a client goes into such a request,
and nothing at all to other routes and servers), and the moment: who wants to know what came up to a moment is not
given what was asked for before it. At most AT_ONCE of a kind are under way for each route, so that a gap seen by
thousands of streams does not flatten the backend, and a slow backend does not keep others waiting.
"""

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import SplitResult, urljoin, urlsplit

from gripproxy.backend import Backend, Request
from gripproxy.errors import BackendError, InstructError
from gripproxy.grip.coding import decode_body
from gripproxy.grip.fields import Fields, field, unpack_fields
from gripproxy.grip.filters import HTTP_FILTER_RATE, HTTP_FILTER_TIMEOUT, Question, Reply
from gripproxy.grip.history import Moments
from gripproxy.grip.instruct import Link
from gripproxy.grip.wire import encode_last_ids
from gripproxy.routes import Route, Routes
from gripproxy.targets import Target

log = logging.getLogger("gripproxy.links")

# Requests of one kind for one route at one time; a Django backend has a few dozen threads.
AT_ONCE = 32

# Seconds for which a request that failed keeps its place: thousands of streams that try again must not keep a backend
# busy that is about to come back, nor the proxy with one that is gone. Those who wait meanwhile have not failed.
FAILED_PAUSE = 0.25

# Bytes of a link's answer, which is kept whole since several streams may share it.
BODY_MAX = 1_000_000

# Seconds for which an answer is kept for those who ask the same: streams spread their questions over some time.
KEPT = 1.0

# Answers kept, and bytes of the largest of them.
KEPT_MAX = 256
KEPT_BODY_MAX = 100_000

# URLs of filters whose rate is remembered.
PACES_MAX = 1000

_PORTS = {"http": 80, "https": 443}

# A filter's URL is relative to what the client asked for, which may be a WebSocket.
_HTTP_SCHEMES = {"ws": "http", "wss": "https"}
_WEBSOCKET = re.compile("^ws(?=s?:)", re.IGNORECASE)

Key = tuple[Route, str, str, tuple[tuple[str, str], ...], bytes]


class Arrivals(Protocol):
    """Counts the items that have gone out: up to now, and up to the beginning of this turn of the loop.

    Within ``remembering`` nothing that comes is forgotten.
    """

    @property
    def moment(self) -> int: ...

    @property
    def turn(self) -> int: ...

    def remembering(self) -> AbstractContextManager[None]: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What a link answered, and when: see `Moments`."""

    status: int
    reason: str
    fields: Fields
    body: bytes
    moments: Moments


class _Fetch:
    """A request for a link; ``asked`` is the moment at which it was sent, None while it waits for its turn.

    ``wanted`` tells for each who shares it whether they still are there to be answered, ``expiry`` ends the time for
    which its answer is kept.
    """

    __slots__ = ("asked", "expiry", "task", "wanted")

    def __init__(self) -> None:
        self.asked: int | None = None
        self.expiry: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[Answer]
        self.wanted: list[Callable[[], bool]] = []


class Links:
    """Fetches next links and posts to gone links."""

    def __init__(self, backend: Backend, routes: Routes) -> None:
        self._backend = backend
        self._routes = routes
        self._places: dict[tuple[str, str], asyncio.Semaphore] = {}
        # Those under way, and those answered a moment ago; the oldest first.
        self._fetches: dict[Key, _Fetch] = {}
        self.shared = 0
        self._replies: dict[tuple[Route, str, str, Fields, bytes], asyncio.Task[Reply]] = {}
        # URL of a filter -> when the next request for it may be sent; in the order of their latest ones.
        self._paces: OrderedDict[str, float] = OrderedDict()

    async def fetch(
        self,
        arrivals: Arrivals,
        route: Route,
        host: str,
        uri: str,
        last_ids: Mapping[str, str],
        moment: int,
        is_wanted: Callable[[], bool] = lambda: True,
        fields: bytes = b"",
    ) -> Answer:
        """Return what a next link answers that is asked after ``moment``; ``host`` is the one that the client asked.

        ``is_wanted`` tells whether the client is still there: for those who leave while they wait for their turn, as
        thousands may when a backend is slow, nothing is asked.
        ``fields`` are the client's, packed, which go along as long as the link leads to its own route.

        Raises: BackendError, for an answer that is too large too.
        """
        route = self._routes.current(route)
        if fields and not self._is_own(route, host, uri):
            fields = b""
        key = (route, host, uri, tuple(sorted(last_ids.items())), fields)
        fetch = self._fetches.get(key)
        if fetch is not None and (fetch.asked is None or fetch.asked >= moment):
            self.shared += 1
        else:
            if fetch is not None:
                self._forget(key, fetch)
            fetch = _Fetch()
            loop = asyncio.get_running_loop()
            fetch.task = loop.create_task(self._fetch(key, fetch, arrivals))
            fetch.task.add_done_callback(lambda task: self._settle(key, fetch, task))
            self._fetches[key] = fetch
        if fetch.asked is None:
            fetch.wanted.append(is_wanted)
        # The task is everybody's: one stream's end must not end it for the others.
        return await asyncio.shield(fetch.task)

    def places(self, kind: str, route: Route) -> asyncio.Semaphore:
        """Return the places for requests of a kind to the backends of a route."""
        place = (kind, route.id)
        places = self._places.get(place)
        if places is None:
            places = self._places[place] = asyncio.Semaphore(AT_ONCE)
        return places

    def forget_routes(self) -> None:
        """Forget the places of routes that there are no more; who waits for one of them gets it."""
        known = {route.id for route in self._routes}
        self._places = {place: places for place, places in self._places.items() if place[1] in known}

    def _settle(self, key: Key, fetch: _Fetch, task: asyncio.Task[Answer]) -> None:
        """Keep a good answer for a moment, and forget the others."""
        if task.cancelled() or task.exception() is not None or len(task.result().body) > KEPT_BODY_MAX:
            self._forget(key, fetch)
            return
        if len(self._fetches) > KEPT_MAX:
            for other, old in self._fetches.items():
                if old.expiry is not None:
                    self._forget(other, old)
                    break
        if self._fetches.get(key) is fetch:  # else it is too old for who has asked since
            fetch.expiry = task.get_loop().call_later(KEPT, self._forget, key, fetch)

    def _forget(self, key: Key, fetch: _Fetch) -> None:
        if fetch.expiry is not None:
            fetch.expiry.cancel()  # it would keep the answer
        if self._fetches.get(key) is fetch:
            del self._fetches[key]

    async def _fetch(self, key: Key, fetch: _Fetch, arrivals: Arrivals) -> Answer:
        route, host, uri, last_ids, packed = key
        last = encode_last_ids(dict(last_ids))
        places, pause = self.places("next", route), 0.0
        await places.acquire()
        try:
            if not any(is_wanted() for is_wanted in fetch.wanted):
                self._forget(key, fetch)  # at once, so that nobody joins in
                raise BackendError(f"{uri} was not asked: who wanted to know has left")
            fetch.wanted.clear()
            fetch.asked, pause = arrivals.moment, FAILED_PAUSE
            answer = await self._ask("GET", arrivals, route, host, uri, last, client=unpack_fields(packed))
            if not 200 <= answer.status < 300:
                raise BackendError(f"{uri} answered {answer.status}")
            pause = 0.0
            return answer
        finally:
            if pause:
                asyncio.get_running_loop().call_later(pause, places.release)
            else:
                places.release()

    async def post_gone(self, arrivals: Arrivals, route: Route, host: str, uri: str) -> None:
        """Tell a gone link that its hold is over; what goes wrong is logged."""
        route = self._routes.current(route)
        try:
            async with self.places("gone", route):  # of its own: that clients leave must not delay those who stay
                answer = await self._ask("POST", arrivals, route, host, uri, ())
            if not 200 <= answer.status < 300:
                extra = {"route": route.id, "backend": uri}
                log.warning("%s: the gone link %s answered %d", route.id, uri, answer.status, extra=extra)
        except BackendError as error:
            extra = {"route": route.id, "backend": error.backend}
            log.warning("%s: the gone link %s: %s", route.id, uri, error, extra=extra)

    async def ask_filter(self, arrivals: Arrivals, route: Route, uri: str, question: Question) -> Reply:
        """Return what a filter's question is answered; its URL is relative to ``uri``, which the client asked for.

        Subscribers that ask the same at the same time share a request.

        Raises: BackendError.
        """
        route = self._routes.current(route)
        reference, fields, body = question
        try:
            Link(_WEBSOCKET.sub("http", reference))  # the same rules
            parts = urlsplit(resolve(uri, reference))
            url = parts._replace(scheme=_HTTP_SCHEMES.get(parts.scheme, parts.scheme)).geturl()
            if urlsplit(url).scheme not in _PORTS or not parts.hostname or parts.port == 0:
                raise ValueError
        except (ValueError, InstructError):
            raise BackendError(f"{reference[:200]!r} is no URL that can be asked") from None
        host = urlsplit(uri).netloc
        key = (route, host, url, fields, body)
        task = self._replies.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._ask_filter(arrivals, route, host, url, fields, body))
            self._replies[key] = task
            task.add_done_callback(lambda _: self._replies.pop(key))
        return await asyncio.shield(task)

    async def _ask_filter(
        self, arrivals: Arrivals, route: Route, host: str, url: str, fields: Fields, body: bytes
    ) -> Reply:
        await asyncio.sleep(self._pause(url, asyncio.get_running_loop().time()))
        try:
            async with self.places("filter", route), asyncio.timeout(HTTP_FILTER_TIMEOUT):
                answer = await self._ask("POST", arrivals, route, host, url, fields, body)
        except TimeoutError:
            raise BackendError(f"{url} did not answer within {HTTP_FILTER_TIMEOUT:g} s", 504) from None
        return answer.status, answer.fields, answer.body

    def _pause(self, url: str, now: float) -> float:
        """Return the seconds until a filter's URL may be asked again, and reserve that time."""
        at = max(now, self._paces.pop(url, 0.0))
        self._paces[url] = at + 1 / HTTP_FILTER_RATE
        if len(self._paces) > PACES_MAX:
            self._paces.popitem(last=False)
        return at - now

    async def _ask(
        self,
        method: str,
        arrivals: Arrivals,
        route: Route,
        host: str,
        uri: str,
        fields: Fields,
        body: bytes = b"",
        client: Fields = (),
    ) -> Answer:
        """Ask for a link with fields of the proxy's own, which routes don't change, and with some of the client's."""
        parts, target = _target_of(uri)
        to = self._route_to(route, host, parts.scheme, parts.netloc, target)
        authority = parts.netloc.encode("utf-8", "surrogateescape")
        path = to.rewritten(target).encode("utf-8", "surrogateescape")
        own: Fields = ((b"Host", authority), *self._routes.generated_fields)
        if parts.netloc == host:
            # As of the client's request: a backend may redirect what did not come over TLS.
            own += ((b"X-Forwarded-Proto", parts.scheme.encode()),)
        request = Request(method, path, to.changed((*own, *client)) + fields, body)
        asked = arrivals.moment
        response = await self._backend.fetch(to, request)
        moments = Moments(asked, arrivals.turn)
        try:
            with arrivals.remembering():
                content, is_whole = await response.read(BODY_MAX)
        finally:
            response.close()
        if not is_whole:
            raise BackendError(f"{uri} answered with more than {BODY_MAX} bytes")
        fields, coding = response.fields, field(response.fields, b"content-encoding")
        if coding is not None:
            try:
                content = decode_body(coding, content)
            except ValueError as error:
                raise BackendError(f"{uri} answered with a body that can't be used: Content-Encoding {error}") from None
            fields = tuple(one for one in fields if one[0].lower() != b"content-encoding")
        return Answer(response.status, response.reason, fields, content, moments)

    def _is_own(self, route: Route, host: str, uri: str) -> bool:
        """Whether a link leads to the route that it comes from."""
        parts, target = _target_of(uri)
        found = self._route_of_host(route, host, parts.scheme, parts.netloc, target)
        return found is not None and found.is_of(route)

    def _route_of_host(self, route: Route, host: str, scheme: str, netloc: str, target: str) -> Route | None:
        """Return the route that a link to the host takes which the client asked; None for links to others."""
        if netloc != host:
            return None
        if not route.host:
            return route  # named by its request, and so by its links
        is_secure = scheme == "https"
        # The filter of a WebSocket may have no other route than that of the WebSocket.
        return self._routes.match(netloc, target, is_secure=is_secure) or self._routes.match(
            netloc, target, is_websocket=True, is_secure=is_secure
        )

    def _route_to(self, route: Route, host: str, scheme: str, netloc: str, target: str) -> Route:
        """Return the route of a link: the one that its own host and path have, or one to another server.

        Raises: BackendError where that would be a server of the client's choice.
        """
        found = self._route_of_host(route, host, scheme, netloc, target)
        if found is not None and found.realm == route.realm:
            return found
        if netloc == host and route.host == "*":
            # It is the client who named this host: clients must not choose where the proxy asks.
            raise BackendError(f"{scheme}://{netloc}{target[:200]} has no route")
        parts = urlsplit(f"//{netloc}")
        there = Target(
            scheme,
            parts.hostname or "",
            parts.port or _PORTS[scheme],
            verify=route.verify,
            ca=route.ca,
            client_cert=route.client_cert,
            client_key=route.client_key,
            public_only=route.public_only,
        )
        # What the route sets is for its own backends: it may be a credential.
        return replace(route, targets=(there,), rewrite=None, headers_set=(), headers_remove=frozenset())


def _target_of(uri: str) -> tuple[SplitResult, str]:
    """Return a URI's parts, and the request target that it means."""
    parts = urlsplit(uri)
    return parts, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def resolve(base: str, reference: str) -> str:
    """Return the absolute URI that a link's reference means where ``base`` was asked for (RFC 3986 5)."""
    return urljoin(base, reference)
