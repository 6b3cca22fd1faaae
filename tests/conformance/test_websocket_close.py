"""How WebSockets over HTTP end: closes of both sides, lost clients, failing backends."""

import struct

import pytest

from tests.conformance import frames
from tests.conformance.backend import EVENTS, RESET, Reply, close_event, control, events, opened
from tests.conformance.case import Case
from tests.conformance.client import Connection


@pytest.fixture
def pair(case: Case) -> Connection:
    """An open WebSocket whose opening request was taken out."""
    case.answer(opened(), events())
    connection = case.socket()
    case.taken()
    return connection


@pytest.mark.grip("WebSocket-over-HTTP: CLOSE")
@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "away"), (4000, "bye \u20ac"), (3000, "")])
def test_client_closes(case: Case, pair: Connection, code: int, reason: str) -> None:
    """The client's close is a CLOSE event with code and reason; the backend's answer is the client's."""
    case.answer(lambda request: Reply(request.body, [("Content-Type", EVENTS)]))
    pair.send_close(code, reason)
    content = struct.pack(">H", code) + reason.encode()
    assert b"CLOSE %x\r\n%s\r\n" % (len(content), content) == case.taken().body
    frame = pair.read_frame()
    assert (frames.CLOSE, code, reason) == (frame.opcode, frame.code, frame.reason)
    assert pair.ended()


@pytest.mark.grip("WebSocket-over-HTTP: CLOSE")
def test_client_closes_without_code(case: Case, pair: Connection) -> None:
    """A close without a code is a CLOSE event without content, or the code 1000."""
    case.answer(events("CLOSE"))
    pair.send_close()
    assert case.taken().body in (b"CLOSE\r\n", b"CLOSE 2\r\n\x03\xe8\r\n")
    frame = pair.read_frame()
    assert (frames.CLOSE, True) == (frame.opcode, frame.code in (None, 1000))
    assert pair.ended()


@pytest.mark.grip("WebSocket-over-HTTP: CLOSE; client libraries")
def test_close_code_0_is_kept_from_the_client(case: Case, pair: Connection) -> None:
    """Libraries answer a close with the illegal code 0: the client gets its own code back, or 1000."""
    case.answer(events(("CLOSE", b"\0\0")))
    pair.send_close(4001, "x")
    assert pair.read_frame().code in (4001, 1000)
    assert pair.ended()


@pytest.mark.grip("WebSocket-over-HTTP: CLOSE; client libraries")
def test_close_code_0_of_the_backend(case: Case, pair: Connection) -> None:
    """A backend's own close with the illegal code 0 is a close with 1000, or without a code."""
    case.answer(events(("CLOSE", b"\0\0")))
    pair.send_text("x")
    frame = pair.read_frame()
    assert (frames.CLOSE, True) == (frame.opcode, frame.code in (None, 1000))


@pytest.mark.grip("WebSocket-over-HTTP: CLOSE")
@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1008, "not you"), (4999, "\u20ac")])
def test_backend_closes(case: Case, pair: Connection, code: int, reason: str) -> None:
    """A CLOSE event closes the client with code and reason; its answer goes to the backend."""
    case.answer(events(("TEXT", "m:last"), close_event(code, reason)), events("CLOSE"))
    pair.send_text("x")
    case.taken()
    assert "last" == pair.read_text()
    frame = pair.read_frame()
    assert (frames.CLOSE, code, reason) == (frame.opcode, frame.code, frame.reason)
    pair.send_close(code)
    assert pair.ended()
    assert case.taken().body.startswith(b"CLOSE")


@pytest.mark.grip("WebSocket-over-HTTP: CLOSE")
def test_backend_closes_without_code(case: Case, pair: Connection) -> None:
    """A CLOSE event without a code closes the client with 1000."""
    case.answer(events("CLOSE"))
    pair.send_text("x")
    assert (frames.CLOSE, 1000) == ((frame := pair.read_frame()).opcode, frame.code)


@pytest.mark.grip("WebSocket-over-HTTP: CLOSE")
def test_backend_closes_while_opening(case: Case) -> None:
    """OPEN and CLOSE in the first answer open the client and close it again."""
    case.answer(opened(("TEXT", "m:go away"), close_event(4403, "no")), events())
    connection = case.connect()
    assert 101 == connection.upgrade(case.path).status
    assert "go away" == connection.read_text()
    assert (4403, "no") == ((frame := connection.read_frame()).code, frame.reason)


@pytest.mark.grip("WebSocket-over-HTTP")
def test_events_behind_a_close_are_ignored(case: Case, pair: Connection) -> None:
    """Nothing follows a close."""
    case.answer(events(close_event(4000), ("TEXT", "m:late")), events())
    pair.send_text("x")
    assert 4000 == pair.read_frame().code
    pair.send_close(4000)
    assert pair.ended()


@pytest.mark.grip("WebSocket-over-HTTP: DISCONNECT")
def test_backend_disconnects(case: Case, pair: Connection) -> None:
    """A DISCONNECT event cuts the client off, without a close frame or with a code of failure."""
    case.answer(events("DISCONNECT"))
    pair.send_text("x")
    assert pair.is_cut()


@pytest.mark.grip("WebSocket-over-HTTP: DISCONNECT; Grip-Sig")
@pytest.mark.parametrize("how", ["reset", "end"])
def test_lost_client(case: Case, pair: Connection, how: str) -> None:
    """If the client is lost without a close, the backend is told DISCONNECT in a signed request."""
    pair.reset() if how == "reset" else pair.close()
    request = case.taken()
    assert b"DISCONNECT\r\n" == request.body
    assert request.value("Grip-Sig")
    assert request.value("Connection-Id")


@pytest.mark.grip("WebSocket-over-HTTP: CLOSE")
def test_no_disconnect_after_a_close(case: Case, pair: Connection) -> None:
    """After a close that both sides agreed on, the backend is told nothing more."""
    case.answer(events("CLOSE"))
    pair.send_close(1000)
    assert case.taken().body.startswith(b"CLOSE")
    assert frames.CLOSE == pair.read_frame().opcode
    assert pair.ended()
    case.settle()
    assert 0 == case.backend.waiting(case.path)


@pytest.mark.grip("WebSocket-over-HTTP: retries")
@pytest.mark.parametrize("status", [500, 404, 200])
def test_wrong_answer_ends_the_connection(case: Case, pair: Connection, status: int) -> None:
    """An answer in mid-session that is none of WebSocket-over-HTTP ends the connection."""
    case.answer(Reply(b"oops", [("Content-Type", "text/plain")], status))
    pair.send_text("x")
    assert pair.is_cut()


@pytest.mark.grip("WebSockets")
@pytest.mark.parametrize(
    "frame",
    [
        frames.Frame(3, b"x"),
        frames.Frame(frames.CONTINUATION, b"x"),
        frames.Frame(frames.PING, b"x" * 126),
        frames.Frame(frames.TEXT, b"x", reserved=2),
        frames.Frame(frames.TEXT, b"\xff"),
        frames.Frame(frames.CLOSE, b"\x03"),
        frames.close(999),
        frames.close(1005),
        frames.close(5000),
        frames.Frame(frames.CLOSE, b"\x03\xe8\xff"),
    ],
    ids=[
        "opcode",
        "continuation",
        "long ping",
        "reserved",
        "no text",
        "half a code",
        "code 999",
        "code 1005",
        "code 5000",
        "no reason",
    ],
)
def test_frame_that_breaks_the_protocol(case: Case, pair: Connection, frame: frames.Frame) -> None:
    """A client that breaks RFC 6455 is closed with 1002 or 1007, or cut, and the backend is told DISCONNECT."""
    pair.send(frames.encode(frame, masked=True))
    try:
        assert pair.read_frame().code in (1002, 1007)
    except (EOFError, ConnectionError):
        pass
    assert b"DISCONNECT\r\n" == case.taken().body


@pytest.mark.grip("WebSocket-over-HTTP: DISCONNECT")
@pytest.mark.parametrize(
    "answer",
    [Reply(b"oops", [("Content-Type", "text/plain")], 500), events("OPEN"), events(b"TEXT x\r\n")],
    ids=["status", "second OPEN", "no event"],
)
def test_backend_is_told_of_an_end_by_its_fault(case: Case, pair: Connection, answer: Reply) -> None:
    """A connection that ends because of an answer is told as a DISCONNECT."""
    case.answer(answer, events())
    pair.send_text("x")
    case.taken()
    assert b"DISCONNECT\r\n" == case.taken().body


@pytest.mark.grip("control messages: subscribe")
def test_too_many_filters_end_the_connection(case: Case, pair: Connection) -> None:
    """A subscription with more than five filters closes the connection with 1011."""
    case.answer(events(control(type="subscribe", channel=case.channel, filters=["skip-self"] * 6)), events())
    pair.send_text("x")
    assert 1011 == pair.read_frame().code


@pytest.mark.grip("WebSocket-over-HTTP: encoding")
@pytest.mark.parametrize("body", [b"TEXT", b"TEXT x\r\n", b"TEXT 5\r\nab\r\n", b"TEXT 2\r\nm:xx"], ids=range(4))
def test_malformed_events_end_the_connection(case: Case, pair: Connection, body: bytes) -> None:
    """A body that is no list of events ends the connection."""
    case.answer(events(body))
    pair.send_text("x")
    assert pair.is_cut()


@pytest.mark.grip("WebSocket-over-HTTP: opening")
def test_second_open_ends_the_connection(case: Case, pair: Connection) -> None:
    """OPEN is for the beginning."""
    case.answer(events("OPEN"))
    pair.send_text("x")
    assert pair.is_cut()


@pytest.mark.grip("WebSocket-over-HTTP: retries")
def test_dropped_pool_connection_is_repeated(case: Case, pair: Connection) -> None:
    """A backend that drops a kept connection before it answers gets the request once more."""
    case.answer(Reply(before=[RESET]), events(("TEXT", "m:second try")))
    pair.send_text("x")
    if not pair.is_cut():
        return
    pytest.fail("the connection was cut after one reset")


@pytest.mark.grip("control messages: detach")
def test_detach(case: Case) -> None:
    """After `detach` the backend is out of it: the client lives on publishes."""
    case.answer(
        opened(control(type="subscribe", channel=case.channel)), events(control(type="detach")), events("CLOSE")
    )
    connection = case.socket()
    case.taken()
    connection.send_text("x")
    case.taken()
    assert case.taken().body.startswith(b"CLOSE")
    connection.send_text("unheard")
    case.settle()
    case.tell("published")
    assert "published" == connection.read_text()
    assert 0 == case.backend.waiting(case.path)


@pytest.mark.grip("WebSockets: close")
@pytest.mark.parametrize(
    ("members", "code", "reason"),
    [({}, 1000, ""), ({"code": 4010}, 4010, ""), ({"code": 4011, "reason": "own words"}, 4011, "own words")],
)
def test_published_close(case: Case, members: dict, code: int, reason: str) -> None:
    """A published close ends the client's connection with its code and reason, 1000 if there is none."""
    case.answer(opened(control(type="subscribe", channel=case.channel)), events("CLOSE"))
    connection = case.socket()
    case.taken()
    case.publish({"ws-message": {"action": "close"} | members})
    frame = connection.read_frame()
    assert (frames.CLOSE, code, reason) == (frame.opcode, frame.code, frame.reason)
    connection.send_close(code)
    assert connection.ended()
