"""How WebSockets over HTTP begin: the handshake on both sides, and every way to refuse it."""

import pytest

from tests.conformance import frames
from tests.conformance.backend import EVENTS, RESET, Reply, close_event, events, opened
from tests.conformance.case import Case

ANY = (("Sec-WebSocket-Protocol", "one, two"), ("Cookie", "a=1"), ("X-Own", "2"))


@pytest.mark.grip("WebSocket-over-HTTP: opening")
def test_opening_request(case: Case) -> None:
    """The opening is a POST of OPEN with the handshake's fields and WebSocket-over-HTTP's own."""
    case.answer(opened())
    case.socket("?a=1", fields=ANY)
    request = case.taken()
    assert ("POST", "a=1", b"OPEN\r\n") == (request.method, request.target.partition("?")[2], request.body)
    expected = {
        "Accept": EVENTS,
        "Content-Type": EVENTS,
        "Content-Length": "6",
        "Sec-WebSocket-Extensions": "grip",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "one, two",
        "Cookie": "a=1",
        "X-Own": "2",
    }
    assert expected == {name: request.value(name) for name in expected}
    for name in ("Connection-Id", "Sec-WebSocket-Key", "Grip-Sig", "Grip-Feature"):
        assert request.value(name), name
    for name in ("Upgrade", "Transfer-Encoding", "Connection"):
        assert "websocket" not in (request.value(name) or "").lower()
        assert "upgrade" not in (request.value(name) or "").lower()


@pytest.mark.grip("WebSocket-over-HTTP: request headers")
@pytest.mark.parametrize("name", ["Meta-User", "Connection-Id", "Grip-Sig", "Content-Bytes-Replayed"])
def test_client_cannot_forge_fields(case: Case, name: str) -> None:
    """What belongs to the proxy in these requests cannot come from a client."""
    case.answer(opened())
    case.socket(fields=[(name, "forged")])
    assert "forged" not in case.taken().values(name)


@pytest.mark.grip("WebSocket-over-HTTP: request headers")
def test_extensions_of_the_client_are_not_passed_on(case: Case) -> None:
    """The client's extensions end at the proxy, which may agree to compression itself, and to nothing else."""
    case.answer(opened())
    connection = case.socket(fields=[("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits, x-own")])
    assert ["grip"] == case.taken().values("Sec-WebSocket-Extensions")
    assert connection.head
    agreed = connection.head.value("Sec-WebSocket-Extensions") or "permessage-deflate"
    assert ("permessage-deflate", False) == (agreed.partition(";")[0], "," in agreed)


@pytest.mark.grip("WebSocket-over-HTTP: opening")
def test_opening_response(case: Case) -> None:
    """Fields of the opening answer go into the 101, except those of WebSocket-over-HTTP itself."""
    case.answer(
        opened(Sec_WebSocket_Protocol="two", Set_Cookie="b=2", X_Own="3", Set_Meta_User="x", Keep_Alive_Interval="30")
    )
    connection = case.socket(fields=ANY)
    head = connection.head
    assert head
    assert ("two", "b=2", "3") == tuple(head.value(name) for name in ("Sec-WebSocket-Protocol", "Set-Cookie", "X-Own"))
    hidden = ("Set-Meta-User", "Keep-Alive-Interval", "Content-Type", "Content-Length", "Sec-WebSocket-Extensions")
    assert [] == [name for name in hidden if head.values(name)]
    assert ("websocket", "upgrade") == tuple((head.value(name) or "").lower() for name in ("Upgrade", "Connection"))


@pytest.mark.grip("WebSocket-over-HTTP: opening")
def test_events_behind_open(case: Case) -> None:
    """Events may follow OPEN in the first answer."""
    case.answer(opened(("TEXT", "m:hello"), ("BINARY", b"m:\xff")))
    connection = case.socket()
    assert "hello" == connection.read_text()
    assert frames.Frame(frames.BINARY, b"\xff") == connection.read_frame()


@pytest.mark.grip("WebSockets; client libraries")
@pytest.mark.parametrize("status", [200, 201, 400, 403, 404, 500])
def test_rejection_is_relayed(case: Case, status: int) -> None:
    """An answer that is none of WebSocket-over-HTTP becomes the client's refused handshake."""
    case.answer(Reply(b"not here\n", [("Content-Type", "text/plain"), ("X-Own", "1")], status, "Own Words"))
    connection = case.connect()
    head = connection.upgrade(case.path)
    assert (status, "Own Words", "1") == (head.status, head.reason, head.value("X-Own"))
    assert b"not here\n" == connection.read_rest()


@pytest.mark.grip("WebSocket-over-HTTP: opening")
@pytest.mark.parametrize(
    "answer",
    [
        events(("TEXT", "m:x"), extension="grip"),
        events(extension="grip"),
        events(close_event(1000), extension="grip"),
        Reply(b"OPEN", [("Content-Type", EVENTS)]),
        Reply(b"OPEN 5\r\nab", [("Content-Type", EVENTS)]),
        Reply(b"\r\n", [("Content-Type", EVENTS)]),
    ],
    ids=["text first", "nothing", "close first", "no line end", "short", "no type"],
)
def test_answer_without_opening_is_refused(case: Case, answer: Reply) -> None:
    """An answer of the right type that does not begin with OPEN opens nothing."""
    case.answer(answer)
    connection = case.connect()
    try:
        status = connection.upgrade(case.path).status
    except (EOFError, ConnectionError):
        status = 0
    assert 101 != status


@pytest.mark.grip("WebSocket-over-HTTP: opening")
@pytest.mark.parametrize(
    "how", [Reply(before=[RESET]), Reply([b"OP", RESET], [("Content-Length", "6")], framing="none")]
)
def test_backend_that_breaks_while_opening(case: Case, how: Reply) -> None:
    """A backend that cuts the connection while opening makes a 502."""
    case.answer(how)
    assert 502 == case.connect().upgrade(case.path).status


@pytest.mark.grip("WebSocket-over-HTTP; client libraries")
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_framing_of_answers(case: Case, framing: str) -> None:
    """Answers may have a length, be chunked, or end with the connection."""
    body = b"OPEN\r\nTEXT 3\r\nm:x\r\n"
    fields = [("Content-Type", EVENTS), ("Sec-WebSocket-Extensions", "grip")]
    case.answer(Reply(body if framing == "length" else [body], fields, framing=framing))
    assert "x" == case.socket().read_text()


@pytest.mark.grip("WebSocket-over-HTTP: response")
@pytest.mark.parametrize("media_type", [EVENTS + "; charset=utf-8", "Application/WebSocket-Events"])
def test_media_type_is_compared_as_such(case: Case, media_type: str) -> None:
    """Parameters and case of the media type do not matter."""
    case.answer(Reply(b"OPEN\r\n", [("Content-Type", media_type), ("Sec-WebSocket-Extensions", "grip")]))
    assert 101 == case.connect().upgrade(case.path).status


@pytest.mark.grip("WebSockets")
@pytest.mark.parametrize(
    ("connection", "upgrade"),
    [("upgrade", "WebSocket"), ("keep-alive, Upgrade", "websocket"), ("UPGRADE", "WEBSOCKET")],
)
def test_case_of_a_handshake(case: Case, connection: str, upgrade: str) -> None:
    """The words of a handshake have no case, and Connection may name more."""
    case.answer(opened())
    key = frames.new_key()
    fields = [("Connection", connection), ("Upgrade", upgrade), ("Sec-WebSocket-Version", "13")]
    assert 101 == case.ask(fields=[*fields, ("Sec-WebSocket-Key", key)]).read_head().status


@pytest.mark.grip("WebSockets")
@pytest.mark.parametrize(
    "fields",
    [
        [("Sec-WebSocket-Version", "8"), ("Sec-WebSocket-Key", "x")],
        [("Sec-WebSocket-Version", "13")],
        [("Sec-WebSocket-Key", frames.new_key())],
    ],
    ids=["version", "no key", "no version"],
)
def test_malformed_handshake_is_refused(case: Case, fields: list[tuple[str, str]]) -> None:
    """A handshake that is none is refused with a client error and does not reach the backend."""
    case.answer(opened())
    response = case.get(fields=[("Connection", "Upgrade"), ("Upgrade", "websocket"), *fields])
    assert response.status in (400, 426)
    assert 0 == case.backend.waiting(case.path)
