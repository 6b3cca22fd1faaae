"""What a health check asks, what it takes for well, and whom it tells; nobody waits here."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gripproxy import config
from gripproxy.backend import Request
from gripproxy.backend.health import Checks
from gripproxy.config import Config
from gripproxy.errors import BackendError
from gripproxy.routes import Route, Routes
from gripproxy.targets import Health, Target

Answer = int | Exception | None


class Response:
    """An answer, whole or not."""

    def __init__(self, status: int, error: Exception | None) -> None:
        self.status, self.error = status, error
        self.is_closed = False

    async def read(self, limit: int) -> tuple[bytes, bool]:
        if self.error is not None:
            raise self.error
        return b"", True

    def close(self) -> None:
        self.is_closed = True


class Backend:
    """Answers as the test says: a status, an error instead, or nothing at all."""

    def __init__(self) -> None:
        self.answer: Answer = 200
        self.body_error: Exception | None = None
        self.asked: list[tuple[Route, Target, Request]] = []
        self.told: list[tuple[str, bool]] = []
        self.responses: list[Response] = []

    async def check(self, route: Route, target: Target, request: Request) -> Response:
        self.asked.append((route, target, request))
        if self.answer is None:
            await asyncio.Event().wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None
        self.responses.append(Response(self.answer, self.body_error))
        return self.responses[-1]

    def set_health(self, target: Target, health: Health, *, is_up: bool) -> None:
        self.told.append((target.host, is_up))


class World:
    """Checks of one route, unless the test gives several."""

    def __init__(self, *settings: dict[str, Any]) -> None:
        given = settings or ({},)
        routes = [config.Route(**{"backends": ("http://a",), "health_path": "/healthz", **one}) for one in given]
        self.routes = list(Routes(Config(routes=tuple(routes)), b"k" * 32))
        self.backend = Backend()
        self.checks = Checks(self.backend, self.routes)  # type: ignore[arg-type]

    async def check(self, answer: Answer = 200) -> None:
        """Check the first backend of the first route, which answers so."""
        self.backend.answer = answer
        health = self.routes[0].health
        assert health is not None
        await self.checks.check(self.routes[0].targets[0], health)


def run(test: Callable[[World], Awaitable[None]], *settings: dict[str, Any]) -> World:
    world = World(*settings)
    asyncio.run(test(world))  # type: ignore[arg-type]
    return world


async def check(world: World) -> None:
    await world.check()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (200, ""),
        (204, ""),
        (302, ""),
        (399, ""),
        (400, "the answer is 400"),
        (404, "the answer is 404"),
        (503, "the answer is 503"),
        (BackendError("http://a can't be reached: so"), "http://a can't be reached: so"),
        (None, "no answer within 0.01 s"),
    ],
)
def test_what_is_well(answer: Answer, problem: str, caplog: pytest.LogCaptureFixture) -> None:
    async def test(world: World) -> None:
        await world.check(answer)

    world = run(test, {"health_timeout": 0.01, "id": "r"})
    assert {"http://a": 0 if problem else 1} == world.checks.up()
    assert ([("a", False)] if problem else []) == world.backend.told
    assert ([f"r: the health check of http://a failed: {problem}"] if problem else []) == caplog.messages
    assert all(response.is_closed for response in world.backend.responses)


def test_an_answer_that_breaks_off_is_none() -> None:
    async def test(world: World) -> None:
        world.backend.body_error = BackendError("broke off")
        await world.check(200)

    world = run(test)
    assert [("a", False)] == world.backend.told
    assert world.backend.responses[0].is_closed


def test_only_changes_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gripproxy.backend")

    async def test(world: World) -> None:
        for answer in (200, 200, 503, 500, BackendError("so"), 200, 200, 503):
            await world.check(answer)

    world = run(test, {"id": "r"})
    assert [("a", False), ("a", True), ("a", False)] == world.backend.told
    assert [
        "r: the health check of http://a failed: the answer is 503",
        "r: the health check of http://a succeeds again",
        "r: the health check of http://a failed: the answer is 503",
    ] == caplog.messages


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ({}, b"a"),
        ({"host": "*.x.test"}, b"a"),
        ({"host": "x.test"}, b"x.test"),
        ({"backends": ("http://a:81",)}, b"a:81"),
    ],
)
def test_what_is_asked(settings: dict[str, Any], host: bytes) -> None:
    """The timeouts are the check's own."""
    world = run(check, {"rewrite": "/new", "health_timeout": 3.0, **settings})
    ((route, target, request),) = world.backend.asked
    assert ("GET", b"/healthz", b"") == (request.method, request.target, request.body)
    assert ((b"Host", host), (b"User-Agent", b"gripproxy")) == request.fields
    assert (3.0, 0.0, 0.0) == (route.connect_timeout, route.response_timeout, route.idle_timeout)
    assert target is world.routes[0].targets[0]


def test_equal_checks_are_one() -> None:
    other = config.Backend(url="http://a", host_header="h")
    world = World({}, {"path": "/b"}, {"path": "/c", "health_path": "/other"}, {"path": "/d", "backends": (other,)})
    assert 3 == len(world.checks._routes)
    assert {"http://a": 1} == world.checks.up()


def test_a_backend_is_down_while_one_of_its_checks_fails() -> None:
    async def test(world: World) -> None:
        await world.check(503)

    world = run(test, {"backends": ("http://a", "http://b")}, {"path": "/c", "health_path": "/other"})
    assert {"http://a": 0, "http://b": 1} == world.checks.up()


def test_routes_without_path_are_not_checked() -> None:
    async def test(world: World) -> None:
        task = asyncio.create_task(world.checks.run())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    world = run(test, {"health_path": None})
    assert ({}, []) == (world.checks.up(), world.backend.asked)


def test_other_routes_are_checked_from_the_next_moment_on() -> None:
    """What is gone is forgotten, so that nothing is down for ever; what stays down is not told again."""

    async def test(world: World) -> None:
        world.backend.answer = 503
        task = asyncio.create_task(world.checks.run())
        while len(world.backend.told) < 2:
            await asyncio.sleep(0)
        world.backend.told.clear()
        other = World({"backends": ("http://b", "http://c")})
        world.checks.configure(other.routes)
        assert [("a", True)] == world.backend.told
        assert {"http://b": 0, "http://c": 1} == world.checks.up()
        while ("c", False) not in world.backend.told:
            await asyncio.sleep(0)
        assert [("a", True), ("c", False)] == world.backend.told
        await world.check(503)  # one that was on its way
        assert {"http://b": 0, "http://c": 0} == world.checks.up()
        task.cancel()
        await asyncio.wait([task])

    run(test, {"backends": ("http://a", "http://b")})


def test_checking_ends_with_its_task_and_leaves_nothing_behind() -> None:
    async def test(world: World) -> None:
        world.backend.answer = 503
        task = asyncio.create_task(world.checks.run())
        while len(world.backend.told) < 2:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert 1 == len(asyncio.all_tasks())

    world = run(test, {"backends": ("http://a", "http://b")})
    assert [("a", False), ("a", True), ("b", False), ("b", True)] == sorted(world.backend.told)
