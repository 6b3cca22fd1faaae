"""The opening handshake of both WebSocket doors: accepted, refused, too late, and gone wrong."""

import asyncio
import json
import time

import aiohttp
import jwt
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.conformance import frames
from tests.conformance.backend import Reply, Request, Upgrade, events, opened
from tests.conformance.case import Case
from tests.integration.processes import Processes
from tests.integration.websocket.conftest import SIG_KEY, echo, log_of

PASSTHROUGH = "passthrough.test"


def url(case: Case, scheme: str = "ws") -> str:
    host, port = case.proxy.client
    return f"{scheme}://{host}:{port}{case.path}"


def check_signature(request: Request) -> None:
    """Grip-Sig is there, good, and not about to expire."""
    token = request.value("Grip-Sig")
    assert token is not None
    claims = jwt.decode(token, SIG_KEY, ["HS256"])
    assert "websockets" == claims["iss"]
    assert time.time() + 60 < claims["exp"]


def test_websockets_client_gets_what_the_backend_chose(case: Case) -> None:
    """Subprotocol and cookies of the backend reach a client, and messages go both ways."""
    case.answer(
        events("OPEN", extension="grip", Sec_WebSocket_Protocol="two", Set_Cookie="a=1; Path=/", X_Own="x"), echo
    )
    with connect(url(case), subprotocols=["one", "two"], additional_headers={"Cookie": "b=2"}) as client:  # type: ignore[list-item]
        assert client.subprotocol == "two"
        assert client.response is not None
        assert ["a=1; Path=/", "x"] == [client.response.headers[name] for name in ("Set-Cookie", "X-Own")]
        client.send("tw\u20ac")
        assert "tw\u20ac" == client.recv(5)
        client.send(b"\x00\xff")
        assert b"\x00\xff" == client.recv(5)
    request = case.taken()
    assert ("one, two", "b=2") == (request.value("Sec-WebSocket-Protocol"), request.value("Cookie"))


def test_aiohttp_client_talks_with_the_backend(case: Case) -> None:
    """Another client, with compression and a heartbeat of its own."""
    case.answer(echo)

    async def talk() -> list[object]:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url(case, "http"), compress=15, heartbeat=0.2) as client,
        ):
            assert client.compress == 15
            await client.send_str("x" * 5000)
            first = await client.receive(5)
            await asyncio.sleep(0.5)
            await client.send_bytes(b"\xff" * 5000)
            second = await client.receive(5)
            await client.close(code=4001, message=b"enough")
            return [first.data, second.data, client.close_code]

    assert ["x" * 5000, b"\xff" * 5000, 4001] == asyncio.run(talk())


@pytest.mark.parametrize("host", [None, PASSTHROUGH])
def test_refusal_reaches_the_client_as_it_is(case: Case, host: str | None) -> None:
    """Status, reason, fields and body of a backend that refuses reach the client, which can ask again."""
    fields = [("WWW-Authenticate", "Basic"), ("Set-Cookie", "a=1"), ("Content-Type", "text/plain")]
    case.answer(Reply(b"who are you?", fields, 401, "Who Are You"), Reply(b"fine"))
    connection = case.connect()
    head = connection.upgrade(case.path, host=host)
    assert (401, "Who Are You") == (head.status, head.reason)
    assert {name: head.value(name) for name, _ in fields} == dict(fields)
    assert b"who are you?" == connection.read_rest()
    assert b"fine" == connection.request(case.path, host=host).read_response().body


def test_a_page_in_place_of_a_websocket_is_logged(case: Case, websocket_processes: Processes) -> None:
    """The client gets the page, and the log asks whether the route's mode is right."""
    case.answer(Reply(b"a page"))
    head = case.connect().upgrade(case.path, host=PASSTHROUGH)
    assert 200 == head.status
    assert 'with 200; is websocket = "passthrough" right?' in log_of(websocket_processes)


def test_refusal_is_understood_by_a_library(case: Case) -> None:
    """A refusal raises what the library has for it, with the backend's body."""
    case.answer(Reply(b"nope", status=403))
    with pytest.raises(InvalidStatus) as refused, connect(url(case)):
        pass
    assert (403, b"nope") == (refused.value.response.status_code, refused.value.response.body)


@pytest.mark.parametrize("host", ["failover.test", "failover-passthrough.test"])
def test_next_backend_is_asked_when_the_first_is_down(case: Case, host: str) -> None:
    """A backend that cannot be reached is passed over, while opening and later."""
    if "passthrough" in host:
        case.answer(Upgrade())
        assert case.connect().upgrade(case.path, host=host).status == 101
        return
    case.answer(echo)
    connection = case.connect()
    assert connection.upgrade(case.path, host=host).status == 101
    connection.send_text("still there")
    assert "still there" == connection.read_text()


def test_no_backend_is_a_502(case: Case) -> None:
    assert 502 == case.connect().upgrade(case.path, host="dead.test").status


@pytest.mark.parametrize("host", [None, PASSTHROUGH])
def test_backend_that_does_not_decide_is_a_504(case: Case, host: str | None) -> None:
    """After limits.websocket_handshake_timeout the client is refused."""
    gate = case.backend.gate()
    case.answer(Reply(opened().body, opened().fields, before=[gate]), events())
    assert 504 == case.connect().upgrade(case.path, host=host).status
    gate.open()


def test_backend_that_accepts_too_late_is_told_that_the_client_is_gone(case: Case) -> None:
    """The opening outlives the handshake: its answer is not lost."""
    gate = case.backend.gate()
    case.answer(Reply(opened().body, opened().fields, before=[gate]), events())
    assert 504 == case.connect().upgrade(case.path).status
    assert b"OPEN\r\n" == case.taken().body
    gate.open()
    request = case.taken()
    assert b"DISCONNECT\r\n" == request.body
    check_signature(request)


def test_client_that_leaves_while_opening_is_reported(case: Case) -> None:
    """A backend that accepts a client which has left meanwhile is told DISCONNECT."""
    gate = case.backend.gate()
    case.answer(Reply(opened().body, opened().fields, before=[gate]), events())
    connection = case.connect()
    connection.request(
        case.path,
        fields=[
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", frames.new_key()),
        ],
    )
    assert b"OPEN\r\n" == case.taken().body
    connection.reset()
    time.sleep(0.2)
    gate.open()
    assert b"DISCONNECT\r\n" == case.taken().body


def test_backend_that_puts_its_decision_off_for_too_long_is_told_so(case: Case) -> None:
    """An empty answer with Keep-Alive-Interval is polled again, but the client does not wait for ever."""
    case.answer(events(Keep_Alive_Interval="20"), events())
    assert 504 == case.connect().upgrade(case.path).status
    assert b"OPEN\r\n" == case.taken().body
    assert b"DISCONNECT\r\n" == case.taken().body


@pytest.mark.parametrize("host", [None, PASSTHROUGH])
def test_messages_in_the_segment_of_the_handshake_arrive(case: Case, host: str | None) -> None:
    """A client may send frames before it has read the 101."""
    case.answer(Upgrade() if host else echo)
    connection = case.connect()
    head = (
        f"GET {case.path} HTTP/1.1\r\nHost: {host or 'x.test'}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {frames.new_key()}\r\n\r\n"
    )
    early = [frames.encode(frames.Frame(frames.TEXT, text), masked=True) for text in (b"one", b"two")]
    connection.send(head.encode() + early[0] + early[1][:3])
    if not host:
        assert b"OPEN\r\n" == case.taken().body
    time.sleep(0.1)
    connection.send(early[1][3:])
    assert 101 == connection.read_head().status
    if host:
        socket = case.backend.take_socket(case.path)
        assert [b"one", b"two"] == [(socket.receive() or frames.Frame(0)).payload for _ in range(2)]
    else:
        assert ["one", "two"] == [connection.read_text() for _ in range(2)]


def handshake(**changed: str) -> list[tuple[str, str]]:
    """The fields of a good handshake, with changes."""
    fields = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": frames.new_key(),
    }
    return [*(fields | {name.replace("_", "-"): value for name, value in changed.items()}).items()]


def test_other_versions_are_told_the_right_one(case: Case) -> None:
    """RFC 6455 section 4.4."""
    response = case.get(fields=handshake(Sec_WebSocket_Version="8"))
    assert (426, "13") == (response.status, response.value("Sec-WebSocket-Version"))
    assert 0 == case.backend.waiting(case.path)


@pytest.mark.parametrize("options", [{"version": "1.0"}, {"body": b"x"}, {"method": "POST"}], ids=str)
def test_handshake_that_is_none_is_refused(case: Case, options: dict[str, object]) -> None:
    """HTTP/1.0, a body or another method is no handshake."""
    assert 400 == case.get(fields=handshake(), **options).status
    assert 0 == case.backend.waiting(case.path)


def test_events_may_come_with_the_acceptance(case: Case) -> None:
    """Control messages and content behind OPEN are done before anything else, and a close closes."""
    subscribe = "c:" + json.dumps({"type": "subscribe", "channel": case.channel})
    case.answer(opened(("TEXT", subscribe), ("TEXT", "m:hello"), ("CLOSE", b"\x0f\xa1bye")), events())
    connection = case.connect()
    assert 101 == connection.upgrade(case.path).status
    assert "hello" == connection.read_text()
    assert frames.close(4001, "bye") == connection.read_frame()
