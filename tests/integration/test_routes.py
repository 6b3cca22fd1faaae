"""What the settings of a route do to the requests and responses that take it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from gripcontrol import validate_sig

from tests.conformance.backend import Reply, control, opened
from tests.conformance.case import Case, held
from tests.integration.door import toml_value
from tests.integration.scripted import Ask, scripted

REALM_KEY = "the key of a realm, which has enough bytes"
SIG_KEY = "the key of a route, which has enough bytes"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The file of a private EC key, and the public one's text."""
    key = generate_private_key(SECP256R1())
    path = tmp_path_factory.mktemp("keys") / "ec.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


ROUTES: dict[str, dict[str, object]] = {
    "plain.test": {},
    "realm.test": {"realm": "named"},
    "key.test": {"realm": "named", "sig_key": SIG_KEY},
    "iss.test": {"realm": "named", "sig_key": SIG_KEY, "sig_iss": "somebody"},
    "pem.test": {"realm": "named", "sig_key": "given by the fixture"},
    "off.test": {"grip": False},
    "off-relay.test": {"grip": False, "websocket": "passthrough"},
    "fields.test": {"headers_set": {"X-Set": "new", "Authorization": "Bearer own"}, "headers_remove": ["X-Gone"]},
    "prefix.test": {"prefix": "pre-"},
    "subscribe.test": {"subscribe": ["always"]},
    "local.test": {"pings": "local"},
}


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory, pem: tuple[Path, str]) -> Iterator[Ask]:
    """Give a function: a case of its own, at a path of the one backend behind all routes."""
    realms = f"[realms.named]\nkey = {toml_value(REALM_KEY)}\n\n"
    ROUTES["pem.test"]["sig_key"] = f"file:{pem[0]}"
    with scripted(tmp_path_factory.mktemp("routes"), ROUTES, realms) as make:
        yield make


OK = Reply(b"ok")


def token(case: Case, host: str) -> str:
    """The Grip-Sig that the backend gets."""
    case.get(host=host)
    (value,) = case.taken().values("Grip-Sig")
    return value


# Grip-Sig


@pytest.mark.parametrize(
    ("host", "key", "issuer"),
    [
        ("realm.test", REALM_KEY, "named"),
        ("key.test", SIG_KEY, "named"),
        ("iss.test", SIG_KEY, "somebody"),
    ],
)
def test_a_request_is_signed_as_its_route_says(ask: Ask, host: str, key: str, issuer: str) -> None:
    claims = jwt.decode(token(ask(OK), host), key, algorithms=["HS256"])
    assert (issuer, {"iss", "exp"}) == (claims["iss"], set(claims))


def test_a_library_verifies_an_es256_signature_with_the_public_key(ask: Ask, pem: tuple[Path, str]) -> None:
    signed = token(ask(OK), "pem.test")
    assert "ES256" == jwt.get_unverified_header(signed)["alg"]
    assert [True, False] == [validate_sig(signed, key, "named") for key in (pem[1], REALM_KEY)]


def test_without_any_key_a_request_is_signed_all_the_same(ask: Ask) -> None:
    """Libraries without a key take the field's presence as proxied."""
    claims = jwt.decode(token(ask(OK), "plain.test"), options={"verify_signature": False})
    assert {"iss", "exp"} == set(claims)


# grip = false


def test_without_grip_a_request_carries_none_of_it(ask: Ask) -> None:
    """The client's own Grip fields are not passed on all the same: nobody would know them for forged."""
    case = ask(OK)
    case.get(host="off.test", fields=[("Grip-Sig", "forged"), ("Accept-Encoding", "gzip")])
    seen = case.taken()
    assert [] == [name for name, _ in seen.fields if name.lower().startswith("grip-")]
    assert ["gzip"] == seen.values("Accept-Encoding")


def test_without_grip_instructions_are_fields_like_others(ask: Ask) -> None:
    case = ask(held("a", b"body"))
    response = case.get(host="off.test")
    assert (200, b"body", "stream") == (response.status, response.body, response.value("Grip-Hold"))


def test_without_grip_json_instructions_are_a_body_like_others(ask: Ask) -> None:
    body = b'{"hold": {"channels": [{"name": "a"}]}}'
    case = ask(Reply(body, [("Content-Type", "application/grip-instruct")]))
    assert body == case.get(host="off.test").body


def test_without_grip_a_compressed_response_passes(ask: Ask) -> None:
    body = gzip.compress(b"hello" * 100)
    response = ask(Reply(body, [("Content-Encoding", "gzip")])).get(host="off.test")
    assert (body, "gzip") == (response.body, response.value("Content-Encoding"))


def test_without_grip_messages_over_http_pass_as_they_are(ask: Ask) -> None:
    """Prefix and control messages are content like any other, and the backend is not told of GRIP."""
    case = ask(opened(("TEXT", "m:hello"), control(type="subscribe", channel="off")))
    connection = case.connect()
    head = connection.upgrade(case.path, host="off.test")
    assert (101, None) == (head.status, head.value("Sec-WebSocket-Extensions"))
    assert ["m:hello", 'c:{"type": "subscribe", "channel": "off"}'] == [connection.read_text() for _ in range(2)]
    seen = case.taken()
    assert ([], []) == (seen.values("Sec-WebSocket-Extensions"), seen.values("Grip-Sig"))


# Fields


def test_fields_are_set_and_removed(ask: Ask) -> None:
    case = ask(OK)
    fields = [("X-Set", "old"), ("X-Gone", "1"), ("x-gone", "2"), ("X-Kept", "1"), ("Authorization", "Bearer client")]
    case.get(host="fields.test", fields=fields)
    seen = case.taken()
    expected = [["new"], [], ["1"], ["Bearer own"]]
    assert expected == [seen.values(name) for name in ("X-Set", "X-Gone", "X-Kept", "Authorization")]


# Channels


def test_a_prefix_is_put_before_the_channels_of_a_hold(ask: Ask) -> None:
    """Published items carry the prefix themselves."""
    case = ask(held("prefixed"))
    connection = case.ask(host="prefix.test")
    connection.read_head()
    case.say("without", channel="prefixed")
    case.say("with", channel="pre-prefixed")
    assert b"with" == connection.read_data(4)


def test_a_prefix_is_put_before_the_channels_of_a_websocket(ask: Ask) -> None:
    case = ask(opened(control(type="subscribe", channel="socket"), ("TEXT", "m:ready")))
    connection = case.connect()
    connection.upgrade(case.path, host="prefix.test")
    assert "ready" == connection.read_text()
    case.tell("without", channel="socket")
    case.tell("with", channel="pre-socket")
    assert "with" == connection.read_text()


@pytest.mark.parametrize("channel", ["own", "always"])
def test_a_route_subscribes_every_hold(ask: Ask, channel: str) -> None:
    case = ask(held("own"))
    connection = case.ask(host="subscribe.test")
    connection.read_head()
    case.say("hello", channel=channel)
    assert b"hello" == connection.read_data(5)


def test_a_route_subscribes_every_websocket(ask: Ask) -> None:
    case = ask(opened(("TEXT", "m:ready")))
    connection = case.connect()
    connection.upgrade(case.path, host="subscribe.test")
    assert "ready" == connection.read_text()
    case.tell("hello", channel="always")
    assert "hello" == connection.read_text()


def test_the_channels_of_realms_are_apart(ask: Ask) -> None:
    """What is published in one realm does not reach a channel of the same name in another."""
    case = ask(held("same"))
    connections = {host: case.ask(host=host) for host in ("plain.test", "realm.test")}
    for connection in connections.values():
        connection.read_head()
    signed = jwt.encode({"iss": "named", "exp": 4_000_000_000}, REALM_KEY, algorithm="HS256")
    body = b'{"items": [{"channel": "same", "http-stream": {"content": "named"}}]}'
    assert 200 == case.post(body, "/realm/named/publish/", [("Authorization", f"Bearer {signed}")]).status
    case.say("other", channel="same")
    assert [b"other", b"named"] == [connection.read_data(5) for connection in connections.values()]


# WebSockets


def test_pings_can_end_at_the_proxy(ask: Ask) -> None:
    case = ask(opened(), Reply(b"", [("Content-Type", "application/websocket-events")]))
    connection = case.connect()
    connection.upgrade(case.path, host="local.test")
    case.taken()
    connection.send_frame(9, b"hi")
    assert (10, b"hi") == ((frame := connection.read_frame()).opcode, frame.payload)
    connection.send_text("text")
    assert b"TEXT 4\r\ntext\r\n" == case.taken().body
