"""Behind another GRIP proxy, known by its Grip-Sig: what it says and what it is told pass through."""

import time

import jwt
import pytest

from tests.conformance.backend import EVENTS, Reply, opened
from tests.conformance.case import Case, held


@pytest.fixture
def signed(case: Case) -> tuple[str, str]:
    """The field by which the proxy in front is known."""
    if case.proxy.upstream_key is None:
        pytest.skip("the key of the proxy in front is not known")
    return "Grip-Sig", token(case.proxy.upstream_key)


def token(key: str, seconds: float = 3600, issuer: str = "whoever") -> str:
    return jwt.encode({"iss": issuer, "exp": int(time.time() + seconds)}, key, "HS256")


@pytest.mark.grip("upstream_key")
def test_request_of_the_proxy_in_front(case: Case, signed: tuple[str, str]) -> None:
    """It keeps its fields, signature included, and is not signed anew."""
    case.answer(Reply(b"ok"))
    fields = [signed, ("Grip-Last", "a; last-id=1"), ("Grip-Feature", "own")]
    assert b"ok" == case.get(fields=fields).body
    request = case.taken()
    assert [[signed[1]], ["a; last-id=1"], ["own"]] == [request.values(name) for name, _ in fields]


@pytest.mark.grip("upstream_key")
@pytest.mark.parametrize("mode", ["response", "stream"])
def test_instructions_for_the_proxy_in_front(case: Case, signed: tuple[str, str], mode: str) -> None:
    """Instructions go back to it as they are, and nothing is held here."""
    case.answer(held(case.channel, b"body", mode, Grip_Timeout="30"))
    response = case.get(fields=[signed])
    assert (200, b"body", mode, case.channel, "30") == (
        response.status,
        response.body,
        *(response.value(name) for name in ("Grip-Hold", "Grip-Channel", "Grip-Timeout")),
    )


@pytest.mark.grip("upstream_key")
def test_json_instructions_for_the_proxy_in_front(case: Case, signed: tuple[str, str]) -> None:
    """Instructions in JSON go back as they are, too."""
    body = b'{"hold": {"mode": "stream", "channels": [{"name": "a"}]}}'
    case.answer(Reply(body, [("Content-Type", "application/grip-instruct")]))
    response = case.get(fields=[signed])
    assert (body, "application/grip-instruct") == (response.body, response.value("Content-Type"))


@pytest.mark.grip("upstream_key")
def test_events_of_the_proxy_in_front(case: Case, signed: tuple[str, str]) -> None:
    """It may send WebSocket events, and gets the backend's."""
    case.answer(opened(("TEXT", "m:x")))
    fields = [signed, ("Content-Type", EVENTS), ("Accept", EVENTS), ("Connection-Id", "1")]
    response = case.get(method="POST", fields=fields, body=b"OPEN\r\n")
    assert (200, b"OPEN\r\nTEXT 3\r\nm:x\r\n", "grip") == (
        response.status,
        response.body,
        response.value("Sec-WebSocket-Extensions"),
    )
    request = case.taken()
    assert (b"OPEN\r\n", "1") == (request.body, request.value("Connection-Id"))


@pytest.mark.grip("upstream_key")
def test_websocket_of_the_proxy_in_front(case: Case, signed: tuple[str, str]) -> None:
    """Its WebSocket keeps the extension, the prefix and the control messages, which are its own to obey."""
    message = f'c:{{"type": "subscribe", "channel": "{case.channel}"}}'
    case.answer(opened(("TEXT", message), ("TEXT", "m:hello")))
    connection = case.connect()
    head = connection.upgrade(case.path, [signed, ("Sec-WebSocket-Extensions", "grip")])
    assert (101, "grip") == (head.status, (head.value("Sec-WebSocket-Extensions") or "").partition(";")[0])
    assert (message, "m:hello") == (connection.read_text(), connection.read_text())


@pytest.mark.grip("upstream_key")
@pytest.mark.parametrize(
    ("key", "seconds"), [("another key that is long enough for HS256", 3600), ("", -3600)], ids=["other key", "expired"]
)
def test_others_are_clients(case: Case, key: str, seconds: float) -> None:
    """A Grip-Sig by another key, or one that has expired, makes nobody the proxy in front."""
    if case.proxy.upstream_key is None:
        pytest.skip("the key of the proxy in front is not known")
    case.answer(held(case.channel, b"body"))
    forged = token(key or case.proxy.upstream_key, seconds)
    connection = case.stream(fields=[("Grip-Sig", forged), ("Grip-Last", "a; last-id=1")])
    assert b"body" == connection.read_data(4)
    assert connection.head
    assert None is connection.head.value("Grip-Hold")
    request = case.taken()
    assert (False, []) == (forged in request.values("Grip-Sig"), request.values("Grip-Last"))
