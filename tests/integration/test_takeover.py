"""A client's connection through a hold and on to its next requests."""

import contextlib
import http.client
import itertools
import json
import time

import pytest

from tests.integration.door import Case, Client
from tests.integration.raw_backend import DEADLINE, OK, Peer

CHANNELS = itertools.count(1)


def hold(channel: str, mode: str = "response", *more: str) -> bytes:
    """A response that asks for a hold."""
    lines = [
        "HTTP/1.1 200 OK",
        f"Grip-Hold: {mode}",
        f"Grip-Channel: {channel}",
        *more,
        "Content-Length: 4",
        "",
        "held",
    ]
    return "\r\n".join(lines).encode()


def publish(case: Case, channel: str, **formats: object) -> None:
    """Publish until somebody has it: a hold does not show when it begins."""
    body = json.dumps({"items": [{"channel": channel, "formats": formats}]})
    connection = http.client.HTTPConnection("127.0.0.1", case.door.control_port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request("POST", "/publish/", body)
        assert 200 == connection.getresponse().status


@pytest.fixture
def channel() -> str:
    return f"takeover-{next(CHANNELS)}"


def poll(case: Case, channel: str, client: Client, peer: Peer | None = None) -> Peer:
    """Answer a request, which is sent already, with a long-poll's hold, and wait until that has begun."""
    peer = peer or case.backend.accept()
    peer.read_request()
    peer.send(hold(channel))
    time.sleep(0.05)
    assert not client.readable(0)
    return peer


def test_many_polls_on_one_connection(case: Case, channel: str) -> None:
    """Taken over and given back, again and again."""
    client, peer = case.ask("/0"), None
    for number in range(5):
        peer = poll(case, channel, client, peer)
        publish(case, channel, **{"http-response": {"body": f"news {number}"}})
        assert f"news {number}".encode() == client.read_response().body
        client.ask(case.host, f"/{number + 1}")
    assert peer is not None
    assert b"/5" == peer.read_head().target


def test_a_request_behind_a_poll(case: Case, channel: str) -> None:
    """Sent while it was held: answered after it, on the same connection."""
    client = case.ask("/1")
    peer = poll(case, channel, client)
    client.send(f"GET /2 HTTP/1.1\r\nHost: {case.host}\r\n".encode())
    time.sleep(0.05)
    publish(case, channel, **{"http-response": {"body": "news"}})
    assert b"news" == client.read_response().body
    client.send(b"\r\n")
    assert b"/2" == peer.read_head().target
    peer.send(OK)
    assert b"ok" == client.read_response().body


NEXT = b"POST /2 HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\nab"


@pytest.mark.parametrize("at_once", [1000, 60, 20, 1, 0])
def test_a_request_pipelined_behind_a_poll(case: Case, channel: str, at_once: int) -> None:
    """Before the backend has answered, whole or in part: answered after it, on the same connection."""
    following = NEXT.replace(b"{host}", case.host.encode())
    half = max(at_once, 30)
    client = case.raw(b"GET /1 HTTP/1.1\r\nHost: {host}\r\n\r\n" + following[:at_once])
    peer = case.backend.accept()
    peer.read_request()
    client.send(following[at_once:half])
    time.sleep(0.05)
    peer.send(hold(channel))
    time.sleep(0.05)
    client.send(following[half:])
    publish(case, channel, **{"http-response": {"body": "news"}})
    assert b"news" == client.read_response().body
    request = peer.read_request()
    assert (b"/2", b"ab") == (request.target, request.body)
    peer.send(OK)
    assert b"ok" == client.read_response().body


@pytest.mark.parametrize("lines", [["Content-Length: 5"], ["Content-Length: 5", "Expect: 100-continue"]])
def test_a_poll_whose_body_comes_later(case: Case, channel: str, lines: list[str]) -> None:
    """A body in a packet of its own is as good as one in the head's: the request is repeated with it."""
    client = case.ask("/", "POST", *lines)
    if len(lines) > 1:
        assert 100 == client.read_head().status
    peer = case.backend.accept()
    peer.read_head()
    client.send(b"hello")
    assert b"hello" == peer.read_exactly(5)
    peer.send(hold(channel))
    time.sleep(0.05)
    publish(case, channel, **{"http-response": {"body": "news"}})
    assert b"news" == client.read_response().body


def test_a_poll_whose_body_is_too_large(case: Case, channel: str) -> None:
    """It could not be repeated: 400, as Pushpin has it."""
    client = case.ask("/", "POST", "Content-Length: 200000", body=b"x" * 1000)
    peer = case.backend.accept()
    client.send(b"x" * 199_000)
    peer.read_request()
    peer.send(hold(channel))
    response = client.read_response()
    assert (400, b"Request too large to accept GRIP instruct.\n") == (response.status, response.body)
    assert "limits.replay_body" in case.door.new_log()


def test_a_client_that_leaves_a_poll(case: Case, channel: str) -> None:
    """Its descriptor goes with it."""
    before = case.door.descriptors()
    clients = [case.ask() for _ in range(20)]
    peers = [case.backend.accept() for _ in clients]
    for peer in peers:
        peer.read_head()
        peer.send(hold(channel))
        peer.close()
    time.sleep(0.1)
    for client in clients:
        client.close()
    deadline = time.monotonic() + DEADLINE
    while case.door.descriptors() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert case.door.descriptors() <= before


def test_what_a_backend_writes_can_not_split_a_held_response(case: Case, channel: str) -> None:
    """Nor can what it instructs: line ends in fields of either are refused."""
    body = json.dumps(
        {
            "hold": {"mode": "response", "channels": [{"name": channel}], "timeout": 1},
            "response": {"headers": {"X-A": "b\r\nX-Split: 1"}, "body": "x"},
        }
    ).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/grip-instruct\r\nContent-Length: %d\r\n\r\n" % len(body)
    client, _ = case.exchange(head + body)
    assert 502 == client.read_response().status


@pytest.mark.parametrize("reason", ["OK\rX-Split: 1", "OK\nX-Split: 1"])
def test_a_published_response_can_not_split_itself(case: Case, channel: str, reason: str) -> None:
    """It is refused where it is published."""
    body = json.dumps({"items": [{"channel": channel, "formats": {"http-response": {"reason": reason, "body": "x"}}}]})
    connection = http.client.HTTPConnection("127.0.0.1", case.door.control_port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request("POST", "/publish/", body)
        assert 400 == connection.getresponse().status
