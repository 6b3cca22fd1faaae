"""What the libraries do that a proxy must not, one test each; more of them are in test_client_door."""

import base64
import http.client
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.integration.door import Case, Door, route, start_door
from tests.integration.processes import Processes
from tests.integration.raw_backend import OK, RawBackend

PEM = serialization.Encoding.PEM


def test_more_requests_at_a_time_than_a_pool_of_100(case: Case) -> None:
    """aiohttp's client makes the 101st wait."""
    clients = [case.ask(f"/{number}") for number in range(150)]
    peers = [case.backend.accept() for _ in clients]
    targets = {peer.read_head().target for peer in peers}
    for peer in peers:
        peer.send(OK)
    assert {b"/%d" % number for number in range(150)} == targets
    assert {b"ok"} == {client.read_response().body for client in clients}


def test_lines_beyond_8_kibibytes(case: Case) -> None:
    """aiohttp's client and server refuse them."""
    long = "x" * 16_000
    client = case.ask("/", "GET", f"Cookie: {long}")
    peer = case.backend.accept()
    assert [long.encode()] == peer.read_head().values(b"Cookie")
    peer.send(b"HTTP/1.1 200 OK\r\nSet-Cookie: " + b"y" * 60_000 + b"\r\nContent-Length: 2\r\n\r\nok")
    assert "y" * 60_000 == client.read_response().value("Set-Cookie")


def test_a_body_beyond_a_mebibyte(case: Case) -> None:
    """aiohttp's server refuses it when it is read whole."""
    client = case.ask("/", "POST", f"Content-Length: {3 << 20}", body=b"x" * (3 << 20))
    peer = case.backend.accept()
    assert 3 << 20 == len(peer.read_request().body)
    peer.send(OK)
    assert b"ok" == client.read_response().body


def test_a_bad_value_of_a_field_that_the_library_reads(case: Case) -> None:
    """Neither Content-Encoding nor Content-Type nor a range is the proxy's business, however wrong they are."""
    lines = ["Content-Encoding: gzip", "Content-Type: ;;;", "Range: x", "If-Modified-Since: y", "Cookie: ;;=;"]
    client = case.ask("/", "POST", *lines, "Content-Length: 3", body=b"abc")
    peer = case.backend.accept()
    request = peer.read_request()
    assert (b"abc", [b";;;"], [b"gzip"]) == (
        request.body,
        request.values(b"Content-Type"),
        request.values(b"Content-Encoding"),
    )
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Type: ;;\r\nContent-Length: 3\r\n\r\nabc")
    assert (b"abc", "br", ";;") == (
        (response := client.read_response()).body,
        response.value("Content-Encoding"),
        response.value("Content-Type"),
    )


def test_the_end_of_the_proxy_does_not_wait_for_a_backend(processes: Processes) -> None:
    """aiohttp's server gives handlers a minute."""
    with RawBackend() as backend:
        door = start_door(processes, '[server]\nlisten = ["{listen}"]\nshutdown_timeout = 1\n' + route(backend, "*"))
        client = door.connect().ask("a.test")
        peer = backend.accept()
        peer.read_head()
        started = time.monotonic()
        door.process.signal(signal.SIGTERM)
        assert 0 == door.process.wait(8)
        assert time.monotonic() - started < 8
        assert peer.ended()
        client.close()


def test_a_proxy_that_stops_answers_what_is_under_way_and_takes_publishes_until_then(processes: Processes) -> None:
    with RawBackend() as backend:
        door = start_door(processes, '[server]\nlisten = ["{listen}"]\n' + route(backend, "*"))
        client = door.connect().ask("a.test")
        peer = backend.accept()
        peer.read_head()
        door.process.signal(signal.SIGTERM)
        door.process.wait_for_output("stopping")
        with pytest.raises(ConnectionRefusedError):
            door.connect()
        for method, path, status in (("GET", "/ready", 503), ("POST", "/publish/", 200)):
            control = http.client.HTTPConnection("127.0.0.1", door.control_port, timeout=10)
            control.request(method, path, json.dumps({"items": []}) if method == "POST" else None)
            assert status == control.getresponse().status
            control.close()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert b"ok" == client.read_response().body
        assert 0 == door.process.wait(8)
        client.close()


def test_a_proxy_that_stops_takes_bodies_that_are_under_way_and_no_other_requests(processes: Processes) -> None:
    """And says that it does not: a client must not send its next request into a connection that is about to close."""
    with RawBackend() as backend:
        door = start_door(processes, '[server]\nlisten = ["{listen}"]\n' + route(backend, "*"))
        uploading = door.connect().ask("a.test", "/", "POST", "Content-Length: 200000", body=b"x")
        peer = backend.accept()
        peer.read_head()
        pipelining = door.connect().ask("a.test", "/1").ask("a.test", "/2")
        other = backend.accept()
        other.read_head()
        door.process.signal(signal.SIGTERM)
        door.process.wait_for_output("stopping")
        time.sleep(0.1)
        uploading.send(b"x" * 199_999)
        assert b"x" * 200_000 == peer.read_exactly(200_000)
        for client, server in ((pipelining, other), (uploading, peer)):
            server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            response = client.read_response()
            assert (200, "close") == (response.status, response.value("Connection"))
            assert client.ended()
        assert not other.is_readable(0) or other.ended()
        assert 0 == door.process.wait(8)
        uploading.close()
        pipelining.close()


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Door, RawBackend, dict[str, object]]]:
    """Routes to realms with keys of every kind, and the keys that verify what they sign."""
    folder: Path = tmp_path_factory.mktemp("signed")
    curve, modulus = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
    for name, key in (("curve", curve), ("modulus", modulus)):
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / f"{name}.pem").write_bytes(private)
    keys = {
        "text": '"a secret of at least thirty-two bytes"',
        "base": f'"base64:{base64.b64encode(bytes(range(40))).decode()}"',
        "curve": f'"file:{folder}/curve.pem"',
        "modulus": f'"file:{folder}/modulus.pem"',
    }
    verifying: dict[str, object] = {
        "text": b"a secret of at least thirty-two bytes",
        "base": bytes(range(40)),
        "curve": curve.public_key(),
        "modulus": modulus.public_key(),
    }
    with RawBackend() as backend, Processes(folder) as processes:
        toml = "".join(f"[realms.{name}]\nkey = [{key}]\n" for name, key in keys.items())
        toml += '[realms.own]\nkey = ["' + "k" * 32 + '"]\nsig_key = "' + "s" * 32 + '"\nsig_iss = "issuer"\n'
        toml += "".join(route(backend, f"{name}.test", realm=name) for name in (*keys, "own"))
        toml += route(backend, "random.test")
        verifying["own"] = b"s" * 32
        yield start_door(processes, toml), backend, verifying


@pytest.mark.parametrize(
    ("name", "algorithm", "issuer"),
    [
        ("text", "HS256", "text"),
        ("base", "HS256", "base"),
        ("curve", "ES256", "curve"),
        ("modulus", "RS256", "modulus"),
        ("own", "HS256", "issuer"),
        ("random", "HS256", "default"),
    ],
)
def test_grip_sig(signed: tuple[Door, RawBackend, dict[str, object]], name: str, algorithm: str, issuer: str) -> None:
    """A token of the realm's key, its issuer and an hour; of a random key where there is none."""
    door, backend, keys = signed
    client = door.connect().ask(f"{name}.test")
    peer = backend.accept()
    (token,) = peer.read_head().values(b"Grip-Sig")
    peer.close()
    client.close()
    assert {"alg": algorithm, "typ": "JWT"} == jwt.get_unverified_header(token)
    options = {"verify_signature": name in keys}
    claims = jwt.decode(token, keys.get(name, ""), algorithms=[algorithm], options=options)  # type: ignore[arg-type]
    assert {"iss", "exp"} == set(claims)
    assert (issuer, True) == (claims["iss"], abs(claims["exp"] - time.time() - 3600) < 400)
