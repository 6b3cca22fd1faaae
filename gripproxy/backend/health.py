"""Health checks: each backend of a route with `health_path` is asked for it again and again.

A backend is up until a check fails, and down until one succeeds. Equal checks of several routes are one. A check is no
request of a client: it does not count as under way and is no reason to rest, but the first that succeeds ends a rest.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace

from gripproxy.backend import Backend, Request
from gripproxy.errors import BackendError
from gripproxy.routes import Route
from gripproxy.targets import Health, Target

log = logging.getLogger("gripproxy.backend")

# Bytes of an answer that are read so that its connection can be used again.
BODY_MAX = 65_536


class Checks:
    """The health checks of all routes."""

    def __init__(self, backend: Backend, routes: Iterable[Route]) -> None:
        self._backend = backend
        # With a route that it is made for: they all would ask the same.
        self._routes: dict[tuple[Target, Health], Route] = {}
        self._down: set[tuple[Target, Health]] = set()
        self._has_changed = asyncio.Event()
        self.configure(routes)

    def configure(self, routes: Iterable[Route]) -> None:
        """Check the backends of these routes from now on; what is known of those that stay is kept."""
        self._routes = {}
        for route in routes:
            if route.health is not None:
                self._routes.update(((target, route.health), route) for target in route.targets)
        self._forget(self._down - self._routes.keys())
        self._has_changed.set()

    def _forget(self, gone: Iterable[tuple[Target, Health]]) -> None:
        for target, health in list(gone):
            self._down.discard((target, health))
            self._backend.set_health(target, health, is_up=True)  # nothing is known any more

    def up(self) -> dict[str, int]:
        """Return 1 for each backend of which no check fails, and 0 for the others."""
        found = dict.fromkeys((target.url for target, _ in self._routes), 1)
        return found | dict.fromkeys((target.url for target, _ in self._down), 0)

    async def run(self) -> None:
        """Check until cancelled."""
        try:
            while True:
                self._has_changed.clear()
                async with asyncio.TaskGroup() as group:
                    watches = [group.create_task(self._watch(*one)) for one in self._routes]
                    await self._has_changed.wait()
                    for watch in watches:
                        watch.cancel()
        finally:
            self._forget(self._down)

    async def _watch(self, target: Target, health: Health) -> None:
        while True:
            await self.check(target, health)
            await asyncio.sleep(health.interval)

    async def check(self, target: Target, health: Health) -> None:
        """Ask once, and take note of what changes."""
        route = self._routes.get((target, health))
        if route is None:
            return
        problem = await self._problem(route, target, health)
        if bool(problem) == ((target, health) in self._down) or (target, health) not in self._routes:
            return
        extra = {"route": route.id, "backend": str(target)}
        if problem:
            log.warning("%s: the health check of %s failed: %s", route.id, target, problem, extra=extra)
            self._down.add((target, health))
        else:
            log.info("%s: the health check of %s succeeds again", route.id, target, extra=extra)
            self._down.remove((target, health))
        self._backend.set_health(target, health, is_up=not problem)

    async def _problem(self, route: Route, target: Target, health: Health) -> str:
        """Return what is wrong with a backend, or nothing."""
        own = replace(route, connect_timeout=health.timeout, response_timeout=0.0, idle_timeout=0.0)
        host = health.host.encode() or target.authority
        request = Request("GET", health.path.encode(), ((b"Host", host), (b"User-Agent", b"gripproxy")))
        try:
            async with asyncio.timeout(health.timeout):
                response = await self._backend.check(own, target, request)
                try:
                    await response.read(BODY_MAX)
                finally:
                    response.close()
        except TimeoutError:
            return f"no answer within {health.timeout:g} s"
        except BackendError as error:
            return str(error)
        return "" if response.status < 400 else f"the answer is {response.status}"
