"""Which route a request takes: by path, protocol, TLS and name, on real connections."""

import socket
import ssl
from collections.abc import Iterator

import pytest

from tests.conformance import frames
from tests.integration.certificates import make_authority
from tests.integration.door import Client, Door, route, start_door, tls_client
from tests.integration.processes import Processes
from tests.integration.raw_backend import DEADLINE, OK, RawBackend, Request
from tests.ports import free_port

TRUSTED = "127.0.0.2"
HTTPS = "X-Forwarded-Proto: https"


def marked(backend: RawBackend, host: str, name: str, **settings: object) -> str:
    """A route that tells the backend its name."""
    return route(backend, host, headers_set={"X-Route": name}, **settings)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Door, RawBackend]]:
    with RawBackend() as backend, Processes(tmp_path_factory.mktemp("conditions")) as processes:
        toml = "".join(
            [
                f'[server]\nlisten = ["{{listen}}"]\ntrusted_proxies = ["{TRUSTED}"]\naccept_pushpin_route = true\n',
                marked(backend, "*", "any"),
                marked(backend, "raw.test", "raw", path="/a*", rewrite="/b"),
                marked(backend, "kind.test", "http", protocol="http"),
                marked(backend, "kind.test", "websocket", protocol="websocket"),
                marked(backend, "tls.test", "tls", tls=True),
                marked(backend, "tls.test", "plain", tls=False),
                marked(backend, "", "hidden", id="hidden"),
                marked(backend, "known.test", "known", id="known", path="/known"),
            ]
        )
        yield start_door(processes, toml), backend


def see(running: tuple[Door, RawBackend], host: str, path: str, *lines: str, source: str = "127.0.0.1") -> Request:
    """Send a request, answer it, and return it as the backend sees it."""
    door, backend = running
    with socket.create_connection(("127.0.0.1", door.port), DEADLINE, (source, 0)) as connected:
        client = Client(connected, host).ask(host, path, "GET", *lines)
        return answered(client, backend)


def answered(client: Client, backend: RawBackend) -> Request:
    peer = backend.accept()
    request = peer.read_request()
    peer.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert b"ok" == client.read_response().body
    peer.close()
    return request


@pytest.mark.parametrize(
    ("path", "name", "target"),
    [("/a", b"raw", b"/b"), ("/abc?x", b"raw", b"/bbc?x"), ("/a/b", b"raw", b"/b/b"), ("/b", b"any", b"/b")],
)
def test_a_raw_beginning(running: tuple[Door, RawBackend], path: str, name: bytes, target: bytes) -> None:
    request = see(running, "raw.test", path)
    assert ([name], target) == (request.values(b"X-Route"), request.target)


def test_http_and_websockets_are_apart(running: tuple[Door, RawBackend]) -> None:
    assert [b"http"] == see(running, "kind.test", "/").values(b"X-Route")
    handshake = ("Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {frames.new_key()}")
    assert [b"websocket"] == see(running, "kind.test", "/", "Upgrade: websocket", *handshake).values(b"X-Route")


@pytest.mark.parametrize(
    ("lines", "source", "expected"),
    [
        ((), "127.0.0.1", b"plain"),
        ((HTTPS,), "127.0.0.1", b"plain"),
        ((HTTPS,), TRUSTED, b"tls"),
        ((HTTPS.replace("https", "http"),), TRUSTED, b"plain"),
    ],
)
def test_who_says_that_a_client_has_tls(
    running: tuple[Door, RawBackend], lines: tuple[str, ...], source: str, expected: bytes
) -> None:
    assert [expected] == see(running, "tls.test", "/", *lines, source=source).values(b"X-Route")


def test_a_client_of_our_own_with_tls(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tls")
    authority = make_authority(folder)
    certificate = authority.sign("door", "localhost", "127.0.0.1")
    with RawBackend() as backend, Processes(folder) as processes:
        server = f'[server]\nlisten = ["{{listen}}"]\ncertificate = "{certificate}"\n'
        door = start_door(processes, server + marked(backend, "*", "tls", tls=True) + marked(backend, "*", "any"))
        with tls_client(door.port, ssl.create_default_context(cafile=authority.file)).socket as connected:
            client = Client(connected, "localhost").ask("localhost")
            assert [b"tls"] == answered(client, backend).values(b"X-Route")


@pytest.mark.parametrize(
    ("host", "path", "name", "source", "expected"),
    [
        ("any.test", "/", "hidden", TRUSTED, b"hidden"),
        ("any.test", "/", "known", TRUSTED, b"known"),
        ("any.test", "/", "hidden", "127.0.0.1", b"any"),
        ("known.test", "/known", "hidden", "127.0.0.1", b"known"),
        ("", "/", "hidden", TRUSTED, b"hidden"),
    ],
)
def test_who_names_a_route(
    running: tuple[Door, RawBackend], host: str, path: str, name: str, source: str, expected: bytes
) -> None:
    """The field ends here, also that of a client that is not believed."""
    request = see(running, host, path, f"Pushpin-Route: {name}", source=source)
    assert ([expected], []) == (request.values(b"X-Route"), request.values(b"Pushpin-Route"))


@pytest.mark.parametrize(
    ("lines", "status"),
    [(("Pushpin-Route: nobody",), 502), (("Pushpin-Route: hidden", "Pushpin-Route: known"), 400)],
)
def test_names_that_are_no_route(running: tuple[Door, RawBackend], lines: tuple[str, ...], status: int) -> None:
    door, backend = running
    with socket.create_connection(("127.0.0.1", door.port), DEADLINE, (TRUSTED, 0)) as connected:
        assert (
            status == Client(connected, "known.test").ask("known.test", "/known", "GET", *lines).read_response().status
        )
    assert not backend.is_asked()


def test_a_proxy_that_asks_itself_is_told_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A route whose backend is the proxy's own address, as a mistake in a name makes it: one round, then 508."""
    with Processes(tmp_path_factory.mktemp("loop")) as processes:
        port = free_port()
        toml = f'[server]\nlisten = ["{{listen}}"]\ncdn_loop = "me.test"\n[[routes]]\nbackends = ["http://127.0.0.1:{port}"]\n'
        door = start_door(processes, toml, port=port)
        client = door.connect()
        assert 508 == client.ask("a.test").read_response().status
        client.close()
        door.process.wait_for_output("the request has come through me.test before (CDN-Loop)")
        assert 1 == door.process.output().count("CDN-Loop")
