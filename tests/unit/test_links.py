"""Links: where they lead, what is asked there, and when several streams share one answer."""

import asyncio
import gzip
import weakref
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from gripproxy.backend import Request
from gripproxy.config import Backend as BackendConfig
from gripproxy.config import Config, File, Realm, Server
from gripproxy.config import Route as RouteConfig
from gripproxy.errors import BackendError
from gripproxy.grip.fields import Fields, pack_fields
from gripproxy.links import AT_ONCE, BODY_MAX, KEPT_BODY_MAX, KEPT_MAX, PACES_MAX, Answer, Links, resolve
from gripproxy.routes import Route, Routes
from gripproxy.targets import Target

HOST = "client.test"
NEXT = "http://client.test/next?x=1"


class Response:
    """A backend's response."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status, self.reason, self.body = status, "So", body
        self.fields: Fields = ((b"X-Own", b"1"),)
        self.is_closed = False

    async def read(self, limit: int) -> tuple[bytes, bool]:
        await asyncio.sleep(0)
        return (self.body, True) if len(self.body) <= limit else (self.body[:limit], False)

    def close(self) -> None:
        self.is_closed = True


class Backend:
    """Answers each request when the test lets it."""

    def __init__(self) -> None:
        self.requests: list[tuple[Route, Request]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer: Callable[[], Response] = lambda: Response(200, b"body")
        self.at_once = self.at_most = 0

    async def fetch(self, route: Route, request: Request) -> Any:
        self.requests.append((route, request))
        self.at_once += 1
        self.at_most = max(self.at_most, self.at_once)
        try:
            await self.gate.wait()
            return self.answer()
        finally:
            self.at_once -= 1


class Arrivals:
    """Says what the moment is."""

    moment = 0
    turn = 0

    def remembering(self) -> AbstractContextManager[None]:
        return nullcontext()


class World:
    def __init__(self, cdn_loop: str = "") -> None:
        config = Config(
            routes=(
                RouteConfig(backends=("http://one.test:81",), host="client.test"),
                RouteConfig(backends=("http://two.test:82",), host="client.test", path="/other", rewrite="/new"),
                RouteConfig(backends=("http://three.test:83",), host="secret.test", realm="secret"),
                RouteConfig(backends=("http://four.test:84",), host="socket.test", protocol="websocket", tls=True),
                RouteConfig(backends=("http://five.test:85",), host="tls.test", tls=True),
                RouteConfig(backends=("http://six.test:86",), host="tls.test", headers_set={"Authorization": "secret"}),
                RouteConfig(backends=("http://named.test:87",), host="", id="named", path="/named", rewrite="/cut"),
            ),
            realms={"secret": Realm()},
            server=Server(accept_pushpin_route=True, cdn_loop=cdn_loop),
        )
        self.routes = Routes(config, b"x" * 32)
        found = self.routes.match(HOST, "/path")
        assert found is not None
        self.route = found
        self.backend = Backend()
        self.links = Links(self.backend, self.routes)  # type: ignore[arg-type]
        self.arrivals = Arrivals()

    async def fetch(
        self,
        uri: str = NEXT,
        last_ids: dict[str, str] | None = None,
        moment: int = 0,
        host: str = HOST,
        is_wanted: Callable[[], bool] = lambda: True,
        fields: Fields = (),
    ) -> Answer:
        packed = pack_fields(fields)
        return await self.links.fetch(self.arrivals, self.route, host, uri, last_ids or {}, moment, is_wanted, packed)


def run(test: Callable[[World], Awaitable[None]]) -> None:
    async def inside() -> None:
        await test(World())

    asyncio.run(inside())


# --- where to


@pytest.mark.parametrize(
    ("base", "reference", "expected"),
    [
        ("http://a/b/c?d", "/x?y=1", "http://a/x?y=1"),
        ("http://a/b/c?d", "x", "http://a/b/x"),
        ("http://a/b/c?d", "?y", "http://a/b/c?y"),
        ("https://a/b", "//c/d", "https://c/d"),
        ("http://a/b", "https://c:81/d", "https://c:81/d"),
    ],
)
def test_references_are_resolved(base: str, reference: str, expected: str) -> None:
    assert expected == resolve(base, reference)


@pytest.mark.parametrize(
    ("uri", "target", "path"),
    [
        ("http://client.test/next?x=1", "http://one.test:81", b"/next?x=1"),
        ("http://client.test", "http://one.test:81", b"/"),
        ("http://client.test/other/x", "http://two.test:82", b"/new/x"),
        ("https://elsewhere.test/x?", "https://elsewhere.test", b"/x"),
        ("http://elsewhere.test:8080/x", "http://elsewhere.test:8080", b"/x"),
        ("http://[::1]:8080/x", "http://[::1]:8080", b"/x"),
        # What the client asked for was no UTF-8, and the link is relative to it.
        ("http://client.test/a\udcff?x=1", "http://one.test:81", b"/a\xff?x=1"),
    ],
)
def test_links_go_to_the_route_of_their_own_host_and_path(uri: str, target: str, path: bytes) -> None:
    async def test(world: World) -> None:
        await world.fetch(uri)
        ((route, request),) = world.backend.requests
        assert (target, path) == (str(route.targets[0]), request.target)

    run(test)


def test_a_link_does_not_lead_into_another_realm() -> None:
    async def test(world: World) -> None:
        await world.fetch("http://secret.test/x", host="secret.test")
        ((route, _),) = world.backend.requests
        assert ("http://secret.test", "default") == (str(route.targets[0]), route.realm)

    run(test)


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("https://tls.test/x", "http://five.test:85"),
        ("http://tls.test/x", "http://six.test:86"),
        ("https://socket.test/x", "http://four.test:84"),  # where a WebSocket's filter has no other route
    ],
)
def test_links_are_for_the_same_kind_of_requests(uri: str, target: str) -> None:
    async def test(world: World) -> None:
        await world.fetch(uri, host=urlsplit(uri).netloc)
        ((route, _),) = world.backend.requests
        assert target == str(route.targets[0])

    run(test)


def test_links_of_a_named_route_are_for_that_route() -> None:
    """The host is the client's choice there: nothing must be asked of it."""

    async def test(world: World) -> None:
        named = world.routes.named("named")
        assert named is not None
        for uri in ("http://internal.test/named/x", "https://internal.test/y", "http://client.test/z"):
            await world.links.fetch(world.arrivals, named, urlsplit(uri).netloc, uri, {}, 0)
        assert {"http://named.test:87"} == {str(route.targets[0]) for route, _ in world.backend.requests}
        assert [b"/cut/x", b"/y", b"/z"] == [request.target for _, request in world.backend.requests]

    run(test)


SETTINGS: dict[str, Any] = {
    "verify": False,
    "ca": File("a"),
    "client_cert": File("b"),
    "client_key": File("c"),
    "public_only": True,
}


@pytest.mark.parametrize("is_of_target", [False, True])
def test_a_link_to_another_server_goes_there_as_the_route_wants_connections(is_of_target: bool) -> None:
    """With the TLS settings of the route, or of the target that names the link, and to public addresses only where they
    say so; without what is for its own backends."""

    async def test(world: World) -> None:
        own = BackendConfig(url="http://a", host_header="h", **(SETTINGS if is_of_target else {}))
        settings = RouteConfig(backends=(own,), host=HOST, **({} if is_of_target else SETTINGS))
        routes = Routes(Config(routes=(settings,)), b"x" * 32)
        world.links = Links(world.backend, routes)  # type: ignore[arg-type]
        (route,) = routes
        world.route = route.at(route.targets[0])
        assert is_of_target == (world.route is not route)
        await world.fetch("https://elsewhere.test/x")
        ((to, _),) = world.backend.requests
        assert (Target("https", "elsewhere.test", 443, **SETTINGS),) == to.targets

    run(test)


# --- what is asked and answered


def test_a_route_sets_fields_of_its_own_links_only() -> None:
    async def test(world: World) -> None:
        found = world.routes.match("tls.test", "/")
        assert found is not None
        for uri in ("http://tls.test/x", "http://elsewhere.test/x"):
            await world.links.fetch(world.arrivals, found, "tls.test", uri, {}, 0)
        first, second = ([name for name, _ in request.fields] for _, request in world.backend.requests)
        assert [b"Host", b"X-Forwarded-Proto", b"Authorization"] == first
        assert [b"Host"] == second

    run(test)


def test_links_say_who_asks() -> None:
    """RFC 8586 2: also of what a proxy asks of itself."""

    async def test(_: World) -> None:
        world = World("me.test")
        await world.fetch()
        ((_, request),) = world.backend.requests
        assert (b"CDN-Loop", b"me.test") in request.fields

    run(test)


def test_a_next_link_is_asked_with_nothing_of_the_client_but_the_last_ids() -> None:
    async def test(world: World) -> None:
        answer = await world.fetch(last_ids={"a": "1", "b": "2"})
        ((_, request),) = world.backend.requests
        fields = (
            (b"Host", b"client.test"),
            (b"X-Forwarded-Proto", b"http"),
            (b"Grip-Last", b"a; last-id=1"),
            (b"Grip-Last", b"b; last-id=2"),
        )
        assert ("GET", fields, b"") == (request.method, request.fields, request.body)
        assert (200, ((b"X-Own", b"1"),), b"body") == (answer.status, answer.fields, answer.body)

    run(test)


def of_the_client(request: Request) -> Fields:
    return tuple(field for field in request.fields if field[0] in (b"Cookie", b"X-Own"))


COOKIE = ((b"Cookie", b"a=1; b=2"), (b"X-Own", b""))


@pytest.mark.parametrize(
    ("uri", "goes_along"),
    [
        (NEXT, True),
        ("http://client.test/other/x", False),  # another route, of the same realm and host
        ("http://other.test/next", False),
        ("http://client.test:81/next", False),
        ("https://elsewhere.test/", False),
        ("http://secret.test/", False),
    ],
)
def test_fields_of_the_client_go_to_its_own_route_only(uri: str, goes_along: bool) -> None:
    async def test(world: World) -> None:
        await world.fetch(uri, {"a": "1"}, fields=COOKIE)
        ((_, request),) = world.backend.requests
        assert (b"Grip-Last", b"a; last-id=1") == request.fields[-1]
        assert (COOKIE if goes_along else ()) == of_the_client(request)

    run(test)


def test_fields_go_to_the_route_of_a_hold_that_has_settings_of_its_target() -> None:
    async def test(world: World) -> None:
        own = BackendConfig(url="http://a", subscribe=("x",))
        routes = Routes(Config(routes=(RouteConfig(backends=(own,), host=HOST),)), b"x" * 32)
        world.links = Links(world.backend, routes)  # type: ignore[arg-type]
        (route,) = routes
        world.route = route.at(route.targets[0])
        await world.fetch(fields=COOKIE)
        ((_, request),) = world.backend.requests
        assert COOKIE == of_the_client(request)

    run(test)


def test_what_a_route_sets_is_not_said_twice() -> None:
    async def test(world: World) -> None:
        route = Routes(
            Config(routes=(RouteConfig(backends=("http://a",), host=HOST, headers_set={"Cookie": "own"}),)), b"x" * 32
        )
        world.links = Links(world.backend, route)  # type: ignore[arg-type]
        (world.route,) = route
        await world.fetch(fields=COOKIE)
        ((_, request),) = world.backend.requests
        assert ((b"X-Own", b""), (b"Cookie", b"own")) == of_the_client(request)

    run(test)


def test_fields_go_to_a_route_that_the_request_named() -> None:
    async def test(world: World) -> None:
        named = world.routes.named("named")
        assert named is not None
        world.route = named
        await world.fetch("http://internal.test/named/x", host="internal.test", fields=COOKIE)
        ((_, request),) = world.backend.requests
        assert COOKIE == of_the_client(request)

    run(test)


def test_fetches_of_clients_that_differ_are_not_shared() -> None:
    """But where their fields do not go along, they do not differ."""

    async def test(world: World) -> None:
        many = [((b"Cookie", text),) for text in (b"a", b"b", b"a")]
        await asyncio.gather(*(world.fetch(fields=fields) for fields in (*many, ())))
        assert [many[0], many[1], ()] == [of_the_client(request) for _, request in world.backend.requests]
        await asyncio.gather(*(world.fetch("http://elsewhere.test/", fields=fields) for fields in many))
        assert 4 == len(world.backend.requests)

    run(test)


def test_an_answer_tells_the_moments_of_its_request() -> None:
    async def test(world: World) -> None:
        world.backend.gate.clear()
        world.arrivals.moment = 5
        task = asyncio.create_task(world.fetch())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        world.arrivals.moment, world.arrivals.turn = 8, 7
        world.backend.gate.set()
        moments = (await task).moments
        assert (5, 7) == (moments.asked, moments.answered)

    run(test)


@pytest.mark.parametrize("status", [199, 300, 304, 404, 503])
def test_an_answer_that_is_no_success_is_an_error(status: int) -> None:
    async def test(world: World) -> None:
        world.backend.answer = lambda: Response(status, b"")
        with pytest.raises(BackendError, match=str(status)):
            await world.fetch()

    run(test)


def test_an_answer_that_is_too_large_is_an_error() -> None:
    async def test(world: World) -> None:
        response = Response(200, b"x" * (BODY_MAX + 1))
        world.backend.answer = lambda: response
        with pytest.raises(BackendError, match="more than"):
            await world.fetch()
        assert response.is_closed

    run(test)


# --- sharing


async def together(world: World, *fetches: Awaitable[Answer]) -> list[Answer]:
    world.backend.gate.clear()
    tasks = [asyncio.ensure_future(fetch) for fetch in fetches]
    for _ in range(5):
        await asyncio.sleep(0)
    world.backend.gate.set()
    return await asyncio.gather(*tasks)


def test_equal_fetches_share_one_request() -> None:
    async def test(world: World) -> None:
        answers = await together(world, *(world.fetch(last_ids={"a": "1"}) for _ in range(200)))
        assert (1, 200) == (len(world.backend.requests), len(answers))
        assert all(answer is answers[0] for answer in answers)
        assert 199 == world.links.shared

    run(test)


@pytest.mark.parametrize(
    "other", [{"uri": NEXT + "2"}, {"last_ids": {"a": "2"}}, {"last_ids": {"a": "1", "b": "1"}}, {"host": "x.test"}]
)
def test_what_can_change_the_answer_is_not_shared(other: dict[str, Any]) -> None:
    async def test(world: World) -> None:
        await together(world, world.fetch(last_ids={"a": "1"}), world.fetch(**({"last_ids": {"a": "1"}} | other)))
        assert 2 == len(world.backend.requests)

    run(test)


def test_routes_do_not_share() -> None:
    async def test(world: World) -> None:
        await world.fetch()
        world.route = replace(world.route, id="another")
        await world.fetch()
        assert 2 == len(world.backend.requests)

    run(test)


def test_an_answer_is_kept_for_those_who_ask_a_moment_later() -> None:
    async def test(world: World) -> None:
        world.arrivals.moment = 5
        first = await world.fetch(moment=5)
        assert first is await world.fetch(moment=5)
        assert first is not await world.fetch(moment=6), "it was asked for before"
        assert 2 == len(world.backend.requests)

    run(test)


@pytest.mark.parametrize("is_same", [False, True])
def test_only_so_many_answers_are_kept(is_same: bool) -> None:
    """Neither those of too many links, nor those of one that was asked again."""

    async def test(world: World) -> None:
        await world.fetch("http://client.test/0")
        (fetch,) = world.links._fetches.values()
        oldest = weakref.ref(fetch.task)
        del fetch
        for number in range(1, KEPT_MAX + 2):
            world.arrivals.moment += 1
            uri = "http://client.test/0" if is_same else f"http://client.test/{number}"
            await world.fetch(uri, moment=world.arrivals.moment)
        assert oldest() is None
        assert (1 if is_same else KEPT_MAX) == len(world.links._fetches)

    run(test)


def test_a_request_under_way_is_too_old_for_who_knows_more() -> None:
    async def test(world: World) -> None:
        world.backend.gate.clear()
        first = asyncio.create_task(world.fetch())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        world.arrivals.moment = 1
        second = asyncio.create_task(world.fetch(moment=1))
        third = asyncio.create_task(world.fetch(moment=0))
        await asyncio.sleep(0)
        world.backend.gate.set()
        assert await second is await third
        assert await first is not await second
        assert 2 == len(world.backend.requests)

    run(test)


@pytest.mark.parametrize("answer", [Response(503, b""), Response(200, b"x" * (KEPT_BODY_MAX + 1))])
def test_failures_and_large_answers_are_not_kept(answer: Response) -> None:
    async def test(world: World) -> None:
        world.backend.answer = lambda: answer
        for _ in range(2):
            try:
                await world.fetch()
            except BackendError:
                pass
        assert 2 == len(world.backend.requests)
        assert {} == world.links._fetches

    run(test)


def test_a_stream_that_leaves_does_not_end_the_request_of_others() -> None:
    async def test(world: World) -> None:
        world.backend.gate.clear()
        first = asyncio.create_task(world.fetch())
        second = asyncio.create_task(world.fetch())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        world.backend.gate.set()
        assert b"body" == (await second).body
        assert first.cancelled()

    run(test)


def test_only_so_many_are_under_way() -> None:
    async def test(world: World) -> None:
        await together(world, *(world.fetch(f"{NEXT}{number}") for number in range(3 * AT_ONCE)))
        assert AT_ONCE == world.backend.at_most

    run(test)


def test_failures_make_room_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has failed knows it at once; whoever waits is not asked for, and has not failed."""

    async def test(world: World) -> None:
        world.backend.answer = lambda: Response(503, b"")
        tasks = [asyncio.create_task(world.fetch(f"{NEXT}{number}")) for number in range(2 * AT_ONCE)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert AT_ONCE == len(world.backend.requests)
        assert AT_ONCE == sum(task.done() for task in tasks)
        world.backend.answer = lambda: Response(200, b"")
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert AT_ONCE == sum(isinstance(one, Answer) for one in results)

    monkeypatch.setattr("gripproxy.links.FAILED_PAUSE", 0.01)
    run(test)


def test_nothing_is_asked_for_those_who_left_while_they_waited() -> None:
    """A backend that has fallen behind is not asked for clients that have given up on it."""

    async def test(world: World) -> None:
        world.backend.gate.clear()
        first = [asyncio.create_task(world.fetch(f"{NEXT}{number}")) for number in range(AT_ONCE)]
        await asyncio.sleep(0.01)
        left = [asyncio.create_task(world.fetch(f"{NEXT}-left", is_wanted=lambda: False)) for _ in range(2)]
        shared = [
            asyncio.create_task(world.fetch(f"{NEXT}-shared", is_wanted=lambda there=there: there))
            for there in (False, True)
        ]
        await asyncio.sleep(0.01)
        world.backend.gate.set()
        await asyncio.gather(*first, *shared)
        for task in left:
            with pytest.raises(BackendError, match="has left"):
                await task
        assert AT_ONCE + 1 == len(world.backend.requests)
        assert b"body" == (await world.fetch(f"{NEXT}-left")).body, "who comes later is answered"

    run(test)


def test_a_slow_backend_does_not_keep_others_waiting() -> None:
    async def test(world: World) -> None:
        world.backend.gate.clear()
        slow = [asyncio.create_task(world.fetch(f"{NEXT}{number}")) for number in range(2 * AT_ONCE)]
        await asyncio.sleep(0.01)
        world.route = replace(world.route, id="another")
        other = asyncio.create_task(world.fetch())
        await asyncio.sleep(0.01)
        assert AT_ONCE + 1 == world.backend.at_most
        world.backend.gate.set()
        await asyncio.gather(other, *slow)

    run(test)


# --- gone links


@pytest.mark.parametrize(("status", "is_logged"), [(200, False), (204, False), (404, True)])
def test_a_gone_link_is_told(status: int, is_logged: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def test(world: World) -> None:
        world.backend.answer = lambda: Response(status, b"")
        await world.links.post_gone(world.arrivals, world.route, HOST, "http://client.test/gone")
        ((_, request),) = world.backend.requests
        assert ("POST", b"/gone", b"") == (request.method, request.target, request.body)
        assert is_logged == ("gone link" in caplog.text)

    run(test)


def test_a_gone_link_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def test(world: World) -> None:
        def fail() -> Response:
            raise BackendError("refused")

        world.backend.answer = fail
        await world.links.post_gone(world.arrivals, world.route, HOST, "http://client.test/gone")
        assert "refused" in caplog.text

    run(test)


def test_many_gone_links_do_not_delay_next_links() -> None:
    async def test(world: World) -> None:
        world.backend.gate.clear()
        gone = [
            asyncio.create_task(
                world.links.post_gone(world.arrivals, world.route, HOST, f"http://client.test/{number}")
            )
            for number in range(2 * AT_ONCE)
        ]
        next_link = asyncio.create_task(world.fetch())
        for _ in range(5):
            await asyncio.sleep(0)
        assert ["POST"] * AT_ONCE + ["GET"] == [request.method for _, request in world.backend.requests]
        world.backend.gate.set()
        await asyncio.gather(next_link, *gone)

    run(test)


def test_a_compressed_answer_is_decoded() -> None:
    """It is appended to what the client has already."""

    async def test(world: World) -> None:
        world.backend.answer = lambda: response
        response = Response(200, gzip.compress(b"page"))
        response.fields = ((b"Content-Encoding", b"gzip"), (b"X-Own", b"1"))
        answer = await world.fetch(NEXT)
        assert (b"page", ((b"X-Own", b"1"),)) == (answer.body, answer.fields)
        response.fields = ((b"content-encoding", b"br"),)
        with pytest.raises(BackendError, match=r"can't be used: Content-Encoding must be gzip, deflate or none"):
            await world.fetch(NEXT + "&other")

    run(test)


# --- what clients may not choose


def test_a_host_that_a_client_made_up_is_not_asked_where_no_route_leads() -> None:
    async def test(world: World) -> None:
        route = replace(world.route, id="any", host="*")
        for host, path in (("made-up.test", "/next"), ("secret.test", "/next")):
            with pytest.raises(BackendError, match="has no route"):
                await world.links.fetch(world.arrivals, route, host, f"http://{host}{path}", {}, 0)
        await world.links.fetch(world.arrivals, route, "made-up.test", "http://elsewhere.test/next", {}, 0)
        ((asked, _),) = world.backend.requests
        assert "http://elsewhere.test" == str(asked.targets[0])

    run(test)


# --- filters

URI = "http://client.test/path/stream?x=1"


@pytest.mark.parametrize(
    ("uri", "reference", "target", "path"),
    [
        (URI, "/check", "http://one.test:81", b"/check"),
        (URI, "check?a", "http://one.test:81", b"/path/check?a"),
        ("ws://client.test/socket", "/check", "http://one.test:81", b"/check"),
        ("wss://elsewhere.test/socket", "/check", "https://elsewhere.test", b"/check"),
        (URI, "wss://check.test/x", "https://check.test", b"/x"),
        ("", "https://check.test:8443/x", "https://check.test:8443", b"/x"),
    ],
)
def test_a_filter_asks_at_its_url(uri: str, reference: str, target: str, path: bytes) -> None:
    async def test(world: World) -> None:
        question = (reference, ((b"Sub-Meta", b"{}"),), b"content")
        reply = await world.links.ask_filter(world.arrivals, world.route, uri, question)
        ((route, request),) = world.backend.requests
        assert (target, path) == (str(route.targets[0]), request.target)
        assert ("POST", b"content", (b"Sub-Meta", b"{}")) == (request.method, request.body, request.fields[-1])
        assert (200, ((b"X-Own", b"1"),), b"body") == reply

    run(test)


@pytest.mark.parametrize(
    ("uri", "reference"),
    [
        ("", "/check"),
        ("", ""),
        (URI, "ftp://x/"),
        (URI, "mailto:x"),
        (URI, "http://[::1"),
        (URI, "http://x:0/"),
        (URI, "http://x:99999/"),
        (URI, "/a b"),
        (URI, "/a\r\nX-Own: 1"),
        (URI, "/ä"),
        (URI, "http://user@client.test/"),
    ],
)
def test_what_is_no_url_is_an_error(uri: str, reference: str) -> None:
    async def test(world: World) -> None:
        with pytest.raises(BackendError, match="no URL that can be asked"):
            await world.links.ask_filter(world.arrivals, world.route, uri, (reference, (), b""))
        assert [] == world.backend.requests

    run(test)


@pytest.mark.parametrize("status", [204, 404, 500])
def test_what_a_status_means_is_the_filters_business(status: int) -> None:
    async def test(world: World) -> None:
        world.backend.answer = lambda: Response(status, b"")
        assert status == (await world.links.ask_filter(world.arrivals, world.route, URI, ("/", (), b"")))[0]

    run(test)


def test_subscribers_that_ask_the_same_share_a_request() -> None:
    async def test(world: World) -> None:
        world.backend.gate.clear()
        questions = [("/", (), b"a")] * 50 + [("/", (), b"b")]
        tasks = [
            asyncio.create_task(world.links.ask_filter(world.arrivals, world.route, URI, question))
            for question in questions
        ]
        await asyncio.sleep(0.05)
        world.backend.gate.set()
        await asyncio.gather(*tasks)
        assert [b"a", b"b"] == [request.body for _, request in world.backend.requests]
        await world.links.ask_filter(world.arrivals, world.route, URI, ("/", (), b"a"))
        assert 3 == len(world.backend.requests), "what is over is not shared"

    run(test)


def test_clients_of_other_hosts_do_not_share_a_request() -> None:
    """Whose host it is decides where an absolute URL leads."""

    async def test(world: World) -> None:
        question = ("http://client.test/check", (), b"")
        both = [world.links.ask_filter(world.arrivals, world.route, uri, question) for uri in (URI, "http://b.test/")]
        await asyncio.gather(*both)
        assert {"http://one.test:81", "http://client.test"} == {str(r.targets[0]) for r, _ in world.backend.requests}

    run(test)


def test_a_filter_is_asked_at_a_limited_rate() -> None:
    async def test(world: World) -> None:
        pauses = [world.links._pause("http://a/", 5.0) for _ in range(201)]
        assert 0.0 == pauses[0]
        assert 2.0 == pytest.approx(pauses[200])
        assert 0.0 == world.links._pause("http://b/", 5.0)
        assert 0.0 == world.links._pause("http://a/", 7.5)
        for number in range(PACES_MAX):
            world.links._pause(f"http://{number}/", 8.0)
        assert len(world.links._paces) == PACES_MAX

    run(test)


def test_a_filter_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gripproxy.links.HTTP_FILTER_TIMEOUT", 0.01)

    async def test(world: World) -> None:
        world.backend.gate.clear()
        with pytest.raises(BackendError, match="did not answer within"):
            await world.links.ask_filter(world.arrivals, world.route, URI, ("/", (), b""))

    run(test)
