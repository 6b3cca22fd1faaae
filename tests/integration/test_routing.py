"""What a route says of a request, and where proxy and backend may live: names, paths, ports, sockets."""

import socket
import time
from collections.abc import Iterator

import pytest

from tests.integration.door import Client, Door, route, start_door
from tests.integration.processes import Processes
from tests.integration.raw_backend import DEADLINE, OK, RawBackend, Request
from tests.ports import free_port

PLAIN = {b"Host", b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Request-Id"}


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Door, RawBackend]]:
    """One backend behind many routes, of a proxy that trusts 127.0.0.2 and 127.0.1.0/24."""
    with RawBackend() as backend, Processes(tmp_path_factory.mktemp("routes")) as processes:
        toml = "".join(
            [
                '[server]\nlisten = ["{listen}"]\ntrusted_proxies = ["127.0.0.2", "127.0.1.0/24"]\n',
                route(backend, "plain.test", grip=False),
                route(backend, "a.test"),
                route(backend, "a.test", path="/kept/"),
                route(backend, "a.test", path="/old", rewrite="/new/er", headers_set={"X-Route": "old"}),
                route(backend, "a.test", path="/gone/", rewrite="/"),
                route(backend, "*.wild.test", headers_set={"X-Route": "wild"}),
                route(backend, "deep.wild.test", headers_set={"X-Route": "deep"}),
                route(backend, "named.test", host_header="inner.test:81"),
                route(
                    backend,
                    "fields.test",
                    headers_set={"X-Set": "s", "User-Agent": "proxy"},
                    headers_remove=["x-secret", "Cookie", "X-Forwarded-Proto"],
                ),
                route(backend, "small.test", max_request_body=10),
            ]
        )
        yield start_door(processes, toml), backend


def see(routed: tuple[Door, RawBackend], host: str, path: str = "/", *lines: str, source: str = "127.0.0.1") -> Request:
    """Send a request and return it as the backend sees it."""
    door, backend = routed
    connected = socket.create_connection(("127.0.0.1", door.port), DEADLINE, (source, 0))
    with connected:
        client = Client(connected, host).ask(host, path, "GET", *lines, "Connection: close")
        peer = backend.accept()
        request = peer.read_request()
        peer.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert b"ok" == client.read_response().body
        peer.close()
    return request


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/kept/a?b", b"/kept/a?b"),
        ("/old", b"/new/er"),
        ("/old?a=%20", b"/new/er?a=%20"),
        ("/old/a//b", b"/new/er/a//b"),
        ("/older", b"/older"),
        ("/gone/a/b?c", b"/a/b?c"),
        ("/gone/", b"/"),
    ],
)
def test_a_rewritten_path(routed: tuple[Door, RawBackend], path: str, target: bytes) -> None:
    """Of a.test's routes the longest path wins; the rest of the target stays as it is, byte for byte."""
    assert target == see(routed, "a.test", path).target


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("deep.wild.test", b"deep"),
        ("x.wild.test", b"wild"),
        ("X.Y.Wild.Test:81", b"wild"),
        ("deep.wild.test.", b"deep"),
    ],
)
def test_a_host_is_matched_exactly_or_by_its_end(routed: tuple[Door, RawBackend], host: str, name: bytes) -> None:
    request = see(routed, host)
    assert ([name], [host.encode()]) == (request.values(b"X-Route"), request.values(b"Host"))


def test_a_host_without_route(routed: tuple[Door, RawBackend]) -> None:
    """502 as Pushpin has it, and the connection goes on."""
    door = routed[0]
    client = door.connect()
    before = door.metric('gripproxy_requests_total{status="5xx"}')
    for host in ("wild.test", "nobody.test"):
        assert (502, b"Route not found\n") == ((response := client.ask(host).read_response()).status, response.body)
    client.close()
    assert 2 == door.metric('gripproxy_requests_total{status="5xx"}') - before


def test_a_route_without_grip(routed: tuple[Door, RawBackend]) -> None:
    """Plain proxying: nothing of GRIP goes in either direction, and compression is the backend's and client's."""
    request = see(routed, "plain.test", "/", "Accept-Encoding: gzip")
    assert PLAIN | {b"Accept-Encoding"} == set(request.names)


def test_host_header(routed: tuple[Door, RawBackend]) -> None:
    """The backend sees the route's, and the client's in X-Forwarded-Host."""
    request = see(routed, "named.test")
    assert ([b"inner.test:81"], [b"named.test"]) == (request.values(b"Host"), request.values(b"X-Forwarded-Host"))


def test_fields_set_and_removed(routed: tuple[Door, RawBackend]) -> None:
    request = see(routed, "fields.test", "/", "X-Secret: 1", "x-set: client", "User-Agent: client", "Cookie: a=b")
    assert ([b"s"], [b"proxy"]) == (request.values(b"X-Set"), request.values(b"User-Agent"))
    assert [] == [name for name in request.names if name.lower() in (b"x-secret", b"cookie", b"x-forwarded-proto")]


FORGED = (
    "X-Forwarded-For: 9.9.9.9",
    "x-forwarded-for: 8.8.8.8",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: o.test",
)


@pytest.mark.parametrize("source", ["127.0.0.2", "127.0.1.77"])
def test_what_a_trusted_proxy_says_of_the_client(routed: tuple[Door, RawBackend], source: str) -> None:
    """It is passed on, with its own address behind; what it does not say, the proxy says."""
    request = see(routed, "a.test", "/", *FORGED, "X-Forwarded-Port: 444", "Forwarded: for=9.9.9.9", source=source)
    assert [f"9.9.9.9, 8.8.8.8, {source}".encode()] == request.values(b"X-Forwarded-For")
    said = [request.values(name) for name in (b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Forwarded-Port")]
    assert [[b"https"], [b"o.test"], [b"444"]] == said
    assert [b"for=9.9.9.9"] == request.values(b"Forwarded")
    assert [source.encode()] == see(routed, "a.test", source=source).values(b"X-Forwarded-For")


def test_what_anybody_else_says_of_the_client(routed: tuple[Door, RawBackend]) -> None:
    """It is dropped."""
    request = see(routed, "a.test", "/", *FORGED, "X-Forwarded-Port: 444", "Forwarded: for=9.9.9.9")
    named = (b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Forwarded-Port", b"Forwarded")
    assert [[b"127.0.0.1"], [b"http"], [b"a.test"], [], []] == [request.values(name) for name in named]


TOO_LARGE = {
    "declared": (["Content-Length: 11"], b""),
    "declared and here": (["Content-Length: 11"], b"x" * 11),
    "in a chunk": (["Transfer-Encoding: chunked"], b"b\r\n" + b"x" * 11 + b"\r\n0\r\n\r\n"),
    "in two chunks": (["Transfer-Encoding: chunked"], b"6\r\nxxxxxx\r\n5\r\nxxxxx\r\n"),
    "expected": (["Content-Length: 11", "Expect: 100-continue"], b""),
}


@pytest.mark.parametrize(("lines", "body"), TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_body_beyond_the_routes_limit(routed: tuple[Door, RawBackend], lines: list[str], body: bytes) -> None:
    """413 before the backend hears of it, and before it is asked for."""
    door, backend = routed
    client = door.connect().ask("small.test", "/", "POST", *lines, body=body)
    assert (413, "close") == ((response := client.read_response()).status, response.value("Connection"))
    client.close()
    assert not backend.is_asked(0.05)


def test_a_body_in_chunks_that_exceeds_the_limit_on_its_way(routed: tuple[Door, RawBackend]) -> None:
    """413, and the backend's request is cut."""
    door, backend = routed
    client = door.connect().ask("small.test", "/", "POST", "Transfer-Encoding: chunked", body=b"1\r\nx\r\n")
    peer = backend.accept()
    peer.read_head()
    client.send(b"a\r\n" + b"x" * 10 + b"\r\n")
    assert 413 == client.read_response().status
    assert b"x" == peer.read_chunk()
    assert peer.ended()
    client.close()


def test_a_body_at_the_limit(routed: tuple[Door, RawBackend]) -> None:
    door, backend = routed
    client = door.connect().ask("small.test", "/", "POST", "Content-Length: 10", body=b"x" * 10)
    peer = backend.accept()
    assert b"x" * 10 == peer.read_request().body
    peer.close()
    client.close()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Door, RawBackend, RawBackend]]:
    """Two backends behind routes `first` and `turns`, and one behind an address where nobody is."""
    with RawBackend() as one, RawBackend() as other, Processes(tmp_path_factory.mktemp("two")) as processes:
        both = [f"http://127.0.0.1:{backend.port}" for backend in (one, other)]
        nobody = f"http://127.0.0.1:{free_port()}"
        toml = route(one, "first", backends=both) + route(one, "turns", backends=both, balance="round-robin")
        toml += route(one, "down", backends=[nobody, both[1]], connect_timeout=1)
        yield start_door(processes, toml), one, other


def serve(door: Door, host: str, method: str, *backends: RawBackend) -> int:
    """Ask; which of the backends it is that answers."""
    client = door.connect().ask(host, "/", method, "Content-Length: 0")
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        for number, backend in enumerate(backends):
            if backend.is_asked(0.005):
                peer = backend.accept()
                peer.read_head()
                peer.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                assert b"ok" == client.read_response().body
                client.close()
                peer.close()
                return number
    raise AssertionError("no backend was asked")


def test_the_first_backend_is_asked_while_it_is_there(two: tuple[Door, RawBackend, RawBackend]) -> None:
    assert [0, 0, 0] == [serve(two[0], "first", "GET", *two[1:]) for _ in range(3)]


def test_backends_take_turns(two: tuple[Door, RawBackend, RawBackend]) -> None:
    asked = [serve(two[0], "turns", "GET", *two[1:]) for _ in range(6)]
    assert asked in ([0, 1, 0, 1, 0, 1], [1, 0, 1, 0, 1, 0])


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_backend_that_can_not_be_reached_is_passed_over(
    two: tuple[Door, RawBackend, RawBackend], method: str
) -> None:
    """Nothing was sent to it, so that this is safe with every method; the log says nothing, for nobody suffers."""
    assert 1 == serve(two[0], "down", method, *two[1:])


def test_a_backend_that_fails_later_is_not_passed_over(two: tuple[Door, RawBackend, RawBackend]) -> None:
    """It may have acted already."""
    door, one, other = two
    client = door.connect().ask("first")
    peer = one.accept()
    peer.read_head()
    peer.close()
    assert 502 == client.read_response().status
    client.close()
    assert not other.is_asked(0.05)


def test_unix_sockets_and_ipv6(processes: Processes) -> None:
    """Where clients come from, and where a backend is; a stale socket file is no obstacle."""
    path = processes.folder / "door.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    port = free_port()
    with RawBackend("::1") as backend:
        toml = f'[server]\nlisten = ["{{listen}}", "unix:{path}", "[::1]:{port}"]\ntrusted_proxies = ["10.0.0.0/8"]\n'
        start_door(processes, toml + route(backend, "*", backends=[f"http://[::1]:{backend.port}"]))
        unix = socket.socket(socket.AF_UNIX)
        unix.connect(str(path))
        ipv6 = socket.create_connection(("::1", port), DEADLINE)
        for connected, expected in ((unix, [b"9.9.9.9"]), (ipv6, [b"::1"])):
            with connected:
                client = Client(connected, "any.test").ask("any.test", "/", "GET", "X-Forwarded-For: 9.9.9.9")
                peer = backend.peers[0] if backend.peers else backend.accept()
                request = peer.read_head()
                assert (expected, [b"any.test"]) == (request.values(b"X-Forwarded-For"), request.values(b"Host"))
                peer.send(OK)
                assert b"ok" == client.read_response().body
