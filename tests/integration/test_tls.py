"""TLS on both sides: clients of the proxy, and the proxy as a client of its backends."""

import contextlib
import http.client
import json
import random
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.certificates import Authority, make_authority
from tests.integration.door import Client, Door, route, start_door, tls_client
from tests.integration.processes import Processes
from tests.integration.raw_backend import DEADLINE, OK, Peer, RawBackend

HOLD = (
    b"HTTP/1.1 200 OK\r\nGrip-Hold: %b\r\nGrip-Channel: tls\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
)
# Routes to an https backend: name -> settings beside `backends`; {ca} and {client} stand for files, {url} for its.
TRUST = {
    "unknown": {},
    "unverified": {"verify": False},
    "known": {"ca": "{ca}"},
    "named": {"ca": "{ca}", "host_header": "backend.test:444"},
    "misnamed": {"ca": "{ca}", "host_header": "other.test"},
    "verified": {"ca": "{ca}", "host_header": "other.test", "verify_host": "backend.test"},
    "verified-address": {"ca": "{ca}", "host_header": "other.test", "verify_host": "127.0.0.1"},
    "misverified": {"ca": "{ca}", "host_header": "backend.test", "verify_host": "other.test"},
    "authenticated": {"ca": "{ca}", "client_cert": "{client}"},
    "own": {"backends": [{"url": "{url}", "ca": "{ca}", "client_cert": "{client}", "verify_host": "127.0.0.1"}]},
    "unlike": {"ca": "{ca}", "client_cert": "{client}", "backends": [{"url": "{url}", "ca": "", "client_cert": ""}]},
}


class TlsBackend(RawBackend):
    """A backend over TLS whose handshakes happen while the test waits for something else."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self._context = context
        self.failure = ""

    def answer(self, response: bytes = OK) -> threading.Thread:
        """Accept one connection, and answer one request on it where it comes to that."""

        def serve() -> None:
            accepted, _ = self.socket.accept()
            accepted.settimeout(DEADLINE)
            with accepted:
                try:
                    with self._context.wrap_socket(accepted, server_side=True) as secure:
                        Peer(secure).read_head()
                        secure.sendall(response)
                except (OSError, EOFError) as error:
                    self.failure = str(error)

        thread = threading.Thread(target=serve)
        thread.start()
        return thread


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[tuple[Door, RawBackend]]:
    """A proxy that serves clients over TLS, in front of a plain backend."""
    certificate = authority.sign("door", "localhost", "127.0.0.1")
    with RawBackend() as backend, Processes(tmp_path_factory.mktemp("secure")) as processes:
        server = f'[server]\nlisten = ["{{listen}}"]\ncertificate = "{certificate}"\n'
        yield start_door(processes, server + route(backend, "*")), backend


@pytest.fixture
def client(secure: tuple[Door, RawBackend], authority: Authority) -> Iterator[Client]:
    """A client over TLS that trusts the authority; the proxy must not be at fault."""
    door, backend = secure
    backend.drop()
    door.new_log()
    context = ssl.create_default_context(cafile=authority.file)
    plain = socket.create_connection(("127.0.0.1", door.port), DEADLINE)
    with context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as connected:
        yield Client(connected, "localhost")
    backend.drop()
    assert "Traceback" not in (log := door.new_log()), log


def test_requests_over_tls(secure: tuple[Door, RawBackend], client: Client) -> None:
    """The backend learns of TLS; connections are kept."""
    peer = None
    for _ in range(3):
        client.ask("localhost")
        peer = peer or secure[1].accept()
        assert [b"https"] == peer.read_head().values(b"X-Forwarded-Proto")
        peer.send(OK)
        assert b"ok" == client.read_response().body


def test_bodies_over_tls(secure: tuple[Door, RawBackend], client: Client) -> None:
    """Both ways, larger than any buffer."""
    size = 8 << 20
    client.ask("localhost", "/", "POST", f"Content-Length: {size}")
    threading.Thread(target=client.send, args=(b"x" * size,)).start()
    peer = secure[1].accept()
    assert size == len(peer.read_request().body)
    threading.Thread(
        target=peer.send, args=(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"y" * size,)
    ).start()
    assert size == len(client.read_response().body)


def test_a_long_poll_over_tls_and_the_request_behind_it(secure: tuple[Door, RawBackend], client: Client) -> None:
    """The connection is taken over and given back."""
    door, backend = secure
    client.ask("localhost", "/1")
    peer = backend.accept()
    peer.read_head()
    peer.send(HOLD % b"response")
    publish(door, {"http-response": {"body": "news"}})
    assert b"news" == client.read_response().body
    client.ask("localhost", "/2")
    assert b"/2" == peer.read_head().target
    peer.send(OK)
    assert b"ok" == client.read_response().body


def test_a_stream_over_tls(secure: tuple[Door, RawBackend], client: Client) -> None:
    door, backend = secure
    client.ask("localhost")
    peer = backend.accept()
    peer.read_head()
    peer.send(HOLD % b"stream")
    client.read_head()
    assert b"ok" == client.read_chunk()
    publish(door, {"http-stream": {"content": "news"}})
    assert b"news" == client.read_chunk()


def test_a_body_that_is_cut_over_tls(secure: tuple[Door, RawBackend], client: Client) -> None:
    """An HTTP/1.0 client sees that it is not whole: no close_notify, or a reset."""
    client.send(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
    peer = secure[1].accept()
    peer.read_head()
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n")
    client.read_head()
    peer.close()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        client.read_rest()


def test_what_is_no_tls(secure: tuple[Door, RawBackend], authority: Authority) -> None:
    """Plain HTTP and garbage are cut, with a line in the log at most, and nothing is left of them."""
    door, _ = secure
    door.new_log()
    before = door.descriptors()
    random.seed(8446)
    for number in range(200):
        with socket.create_connection(("127.0.0.1", door.port), DEADLINE) as plain, contextlib.suppress(OSError):
            plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" if number % 2 else random.randbytes(100))
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(65536):
                pass
    log = door.new_log()
    assert "Traceback" not in log
    assert len(log.splitlines()) <= 200
    assert door.descriptors() <= before + 1


def publish(door: Door, formats: dict[str, object]) -> None:
    """Publish to the channel `tls`, once somebody is there to hear it."""
    connection = http.client.HTTPConnection("127.0.0.1", door.control_port, timeout=DEADLINE)
    with contextlib.closing(connection):
        threading.Event().wait(0.1)
        connection.request("POST", "/publish/", json.dumps({"items": [{"channel": "tls", "formats": formats}]}))
        assert 200 == connection.getresponse().status


@pytest.fixture(scope="module")
def backend(authority: Authority) -> Iterator[TlsBackend]:
    """A backend with a certificate for 127.0.0.1 and backend.test."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.sign("backend", "127.0.0.1", "backend.test"))
    with TlsBackend(context) as running:
        yield running


@pytest.fixture(scope="module")
def strict(authority: Authority) -> Iterator[TlsBackend]:
    """A backend that asks its clients for certificates."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(authority.sign("strict", "127.0.0.1"))
    with TlsBackend(context) as running:
        yield running


@pytest.fixture(scope="module")
def door(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, backend: TlsBackend, strict: TlsBackend
) -> Iterator[Door]:
    """A plain proxy with routes to both, in every kind of trust."""
    toml = ""
    for name, settings in TRUST.items():
        for one, host in ((backend, name), (strict, f"{name}.strict")):
            own = route(one, host, **{"backends": ["{url}"], **settings})
            toml += own.replace("{url}", f"https://127.0.0.1:{one.port}")
    toml = toml.replace("{ca}", authority.file).replace("{client}", authority.sign("client"))
    with Processes(tmp_path_factory.mktemp("backends")) as processes:
        yield start_door(processes, toml)


@pytest.mark.parametrize(
    ("host", "status", "cause"),
    [
        ("unknown", 502, "certificate verify failed"),
        ("unverified", 200, ""),
        ("known", 200, ""),
        ("named", 200, ""),
        ("misnamed", 502, "Hostname mismatch"),
        ("verified", 200, ""),
        ("verified-address", 200, ""),
        ("misverified", 502, "Hostname mismatch"),
        ("authenticated", 200, ""),
        ("own", 200, ""),
        ("unlike", 502, "certificate verify failed"),
    ],
)
def test_which_backends_are_trusted(door: Door, backend: TlsBackend, host: str, status: int, cause: str) -> None:
    """The name in the certificate is verify_host or that of host_header where there is one, as it is in SNI."""
    door.new_log()
    thread = backend.answer(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    client = door.connect().ask(host)
    response = client.read_response()
    client.close()
    thread.join(DEADLINE)
    assert status == response.status
    assert cause in door.new_log()
    assert cause.encode() not in response.body or not cause


@pytest.mark.parametrize(
    ("host", "status"), [("authenticated.strict", 200), ("own.strict", 200), ("known.strict", 502)]
)
def test_backends_that_ask_for_a_certificate(door: Door, strict: TlsBackend, host: str, status: int) -> None:
    thread = strict.answer(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    client = door.connect().ask(host)
    assert status == client.read_response().status
    client.close()
    thread.join(DEADLINE)


def test_a_backend_that_does_not_speak_tls(door: Door, backend: TlsBackend) -> None:
    client = door.connect().ask("known")
    accepted, _ = backend.socket.accept()
    accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    accepted.close()
    assert 502 == client.read_response().status
    client.close()


def test_files_that_can_not_be_used(processes: Processes, tmp_path: Path) -> None:
    """A CA file that holds no certificate keeps the proxy from starting."""
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing\n")
    with RawBackend() as nobody:
        backends = [f"https://127.0.0.1:{nobody.port}"]
        with pytest.raises(RuntimeError, match=r"ended with 2:\n\S+: routes\[0\]\.ca: '\S+wrong\.pem' cannot be used"):
            start_door(processes, route(nobody, "*", backends=backends, ca=str(wrong)))


def test_files_that_can_not_be_used_any_more(processes: Processes, tmp_path: Path, authority: Authority) -> None:
    """A CA file that is overwritten before the first request: 502 and the cause in the log."""
    file = tmp_path / "authority.pem"
    file.write_bytes(Path(authority.file).read_bytes())
    with RawBackend() as nobody:
        backends = [f"https://127.0.0.1:{nobody.port}"]
        door = start_door(processes, route(nobody, "*", backends=backends, ca=str(file)))
        file.write_text("nothing\n")
        client = door.connect().ask("a.test")
        assert 502 == client.read_response().status
        client.close()
        assert "Traceback" not in door.new_log()


def test_handshakes_that_fail_take_no_place(processes: Processes, authority: Authority) -> None:
    """Whoever only connects, as some health checks do, or does not speak TLS."""
    server = authority.sign("server", "localhost")
    with RawBackend() as backend:
        settings = f'[server]\nlisten = ["{{listen}}"]\ncertificate = "{server}"\n[limits]\nconnections = 2\n'
        door = start_door(processes, settings + route(backend, "*"))
        for number in range(6):
            with socket.create_connection(("127.0.0.1", door.port), DEADLINE) as plain:
                if number % 2:
                    plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    plain.recv(100)
        with contextlib.closing(tls_client(door.port, ssl.create_default_context(cafile=authority.file))) as client:
            client.ask("localhost")
            peer = backend.accept()
            peer.read_head()
            peer.send(OK)
            assert b"ok" == client.read_response().body
