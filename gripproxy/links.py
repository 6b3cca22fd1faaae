"""The links of holds: next links are fetched, gone links are posted to.

Equal fetches that are under way at the same time share one request. Their key is everything that can change the answer:
the route, the whole URI and every Grip-Last; nothing of a client goes into such a request. At most FETCHES_MAX are
under way, so that a gap seen by thousands of streams does not flatten the backend.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urljoin, urlsplit

from gripproxy.backend import Backend, Request
from gripproxy.errors import BackendError
from gripproxy.grip.fields import Fields
from gripproxy.routes import Route, Routes, Target

log = logging.getLogger("gripproxy.links")

# Requests for links at one time; a Django backend has a few dozen threads.
FETCHES_MAX = 32

# Bytes of a link's answer, which is kept whole since several streams may share it.
BODY_MAX = 1_000_000

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a link answered."""

    status: int
    reason: str
    fields: Fields
    body: bytes


class Links:
    """Fetches next links and posts to gone links."""

    def __init__(self, backend: Backend, routes: Routes) -> None:
        self._backend = backend
        self._routes = routes
        self._places = asyncio.Semaphore(FETCHES_MAX)
        self._under_way: dict[tuple[Route, str, tuple[tuple[str, str], ...]], asyncio.Task[Answer]] = {}
        self.shared = 0

    async def fetch(self, route: Route, host: str, uri: str, last_ids: Mapping[str, str]) -> Answer:
        """Return what a next link answers; ``host`` is the one that the client asked.

        Raises: BackendError, for an answer that is too large too.
        """
        key = (route, uri, tuple(sorted(last_ids.items())))
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._fetch(route, host, uri, last_ids))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        else:
            self.shared += 1
        # The task is everybody's: one stream's end must not end it for the others.
        return await asyncio.shield(task)

    async def _fetch(self, route: Route, host: str, uri: str, last_ids: Mapping[str, str]) -> Answer:
        last = tuple((b"Grip-Last", f"{channel}; last-id={last}".encode()) for channel, last in last_ids.items())
        async with self._places:
            response = await self._ask("GET", route, host, uri, last)
        if not 200 <= response.status < 300:
            raise BackendError(f"{uri} answered {response.status}")
        return response

    async def post_gone(self, route: Route, host: str, uri: str) -> None:
        """Tell a gone link that its hold is over; what goes wrong is logged."""
        try:
            async with self._places:
                answer = await self._ask("POST", route, host, uri, ())
            if not 200 <= answer.status < 300:
                log.warning("%s: the gone link %s answered %d", route.id, uri, answer.status)
        except BackendError as error:
            log.warning("%s: the gone link %s: %s", route.id, uri, error)

    async def _ask(self, method: str, route: Route, host: str, uri: str, fields: Fields) -> Answer:
        parts = urlsplit(uri)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        to = self._route_to(route, host, parts.scheme, parts.netloc, target)
        request = Request(method, to.rewritten(target).encode(), ((b"Host", parts.netloc.encode()), *fields))
        response = await self._backend.fetch(to, request)
        try:
            body, is_whole = await response.read(BODY_MAX)
        finally:
            response.close()
        if not is_whole:
            raise BackendError(f"{uri} answered with more than {BODY_MAX} bytes")
        return Answer(response.status, response.reason, response.fields, body)

    def _route_to(self, route: Route, host: str, scheme: str, netloc: str, target: str) -> Route:
        """Return the route of a link: the one that its own host and path have, or one to another server."""
        if netloc == host:
            found = self._routes.match(netloc, target)
            if found is not None and found.realm == route.realm:
                return found
        parts = urlsplit(f"//{netloc}")
        there = Target(scheme, parts.hostname or "", parts.port or _PORTS[scheme])
        return replace(route, targets=(there,), host_header="", rewrite=None)


def resolve(base: str, reference: str) -> str:
    """Return the absolute URI that a link's reference means where ``base`` was asked for (RFC 3986 5)."""
    return urljoin(base, reference)
