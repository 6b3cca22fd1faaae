"""WebSockets over HTTP: the conversation between a client's frames and the backend's events."""

import struct

import pytest

from tests.conformance import frames
from tests.conformance.backend import RESET, Reply, Request, control, events, opened
from tests.conformance.case import Case
from tests.conformance.client import Connection

EVENTS = "application/websocket-events"
ANY = (("Sec-WebSocket-Protocol", "one, two"), ("Cookie", "a=1"), ("X-Own", "2"))


def close_event(code: int, reason: str = "") -> tuple[str, bytes]:
    """A CLOSE event with a code."""
    return "CLOSE", struct.pack(">H", code) + reason.encode()


def body_of(case: Case) -> bytes:
    """The body of the next request to the backend."""
    return case.taken().body


@pytest.fixture
def pair(case: Case) -> Connection:
    """An open WebSocket whose opening request was taken out; the backend answers nothing to what follows."""
    case.answer(opened(), events())
    connection = case.socket()
    assert b"OPEN\r\n" == body_of(case)
    return connection


# --- opening


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


# --- messages


@pytest.mark.grip("WebSocket-over-HTTP: encoding")
@pytest.mark.parametrize(("opcode", "name"), [(frames.TEXT, "TEXT"), (frames.BINARY, "BINARY")])
@pytest.mark.parametrize("size", [0, 1, 10, 125, 126, 65_535, 65_536, 150_000])
def test_message_to_the_backend(case: Case, pair: Connection, opcode: int, name: str, size: int) -> None:
    """A client's message is an event with its length in lower-case hexadecimal (if not empty), without a prefix."""
    content = b"z" * size
    pair.send_frame(opcode, content)
    bodies = [b"%s %x\r\n%s\r\n" % (name.encode(), size, content)]
    assert body_of(case) in (bodies if size else [*bodies, name.encode() + b"\r\n"])


@pytest.mark.grip("WebSocket-over-HTTP: data flow")
def test_fragments_are_joined(case: Case, pair: Connection) -> None:
    """A message in fragments is one event."""
    pair.send_frame(frames.TEXT, "he", final=False)
    pair.send_frame(frames.CONTINUATION, "ll", final=False)
    pair.send_frame(frames.CONTINUATION, "o", final=True)
    assert b"TEXT 5\r\nhello\r\n" == body_of(case)


@pytest.mark.grip("WebSocket-over-HTTP: encoding")
def test_sizes_are_bytes(case: Case, pair: Connection) -> None:
    """Lengths count bytes, not characters."""
    pair.send_text("\u20ac")
    assert b"TEXT 3\r\n\xe2\x82\xac\r\n" == body_of(case)


@pytest.mark.grip("WebSocket-over-HTTP: request headers")
def test_requests_of_one_connection(case: Case) -> None:
    """All requests of a connection carry its id and the handshake's fields; another connection has another id."""
    case.answer(opened(), events())
    connection = case.socket("?a=1", fields=ANY)
    first = case.taken()
    connection.send_text("x")
    second = case.taken()
    for name in ("Connection-Id", "Cookie", "X-Own", "Sec-WebSocket-Protocol", "Sec-WebSocket-Key", "Host"):
        assert first.values(name) == second.values(name) != [], name
    assert first.target == second.target
    assert (EVENTS, EVENTS) == (second.value("Content-Type"), second.value("Accept"))
    assert second.value("Grip-Sig")
    case.answer(opened())
    case.socket()
    assert first.value("Connection-Id") != case.taken().value("Connection-Id")


@pytest.mark.grip("WebSockets: prefix")
@pytest.mark.parametrize(("kind", "opcode"), [("TEXT", frames.TEXT), ("BINARY", frames.BINARY)])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 17_000, 70_000])
def test_message_from_the_backend(case: Case, pair: Connection, kind: str, opcode: int, size: int) -> None:
    """The backend's message loses its prefix and goes to the client."""
    case.answer(events((kind, b"m:" + b"z" * size)))
    pair.send_text("x")
    assert frames.Frame(opcode, b"z" * size) == pair.read_message()


@pytest.mark.grip("WebSockets: prefix")
def test_message_without_prefix_is_dropped(case: Case, pair: Connection) -> None:
    """A message without the prefix is neither content nor control and is dropped."""
    case.answer(events(("TEXT", "plain"), ("TEXT", "x:y"), ("TEXT", "m"), ("TEXT", "m:end")))
    pair.send_text("x")
    assert "end" == pair.read_text()


@pytest.mark.grip("WebSockets: prefix")
@pytest.mark.parametrize(
    ("extension", "messages", "expected"),
    [
        ('grip; message-prefix=""', ["one", "m:two"], ["one", "m:two"]),
        ("grip; message-prefix=p-", ["p-one", "m:no", "p-two"], ["one", "two"]),
        ('grip; message-prefix="q:"', ["q:one", "q:two"], ["one", "two"]),
    ],
)
def test_own_prefix(case: Case, extension: str, messages: list[str], expected: list[str]) -> None:
    """The opening answer may choose the prefix, even none; control messages still begin with c:."""
    parts = [("TEXT", message) for message in messages]
    case.answer(opened(control(type="subscribe", channel=case.channel), *parts, extension=extension))
    connection = case.socket()
    assert expected == [connection.read_text() for _ in expected]
    case.tell("published")
    assert "published" == connection.read_text()


@pytest.mark.grip("WebSockets: prefix")
def test_prefix_lasts(case: Case) -> None:
    """The prefix that was chosen while opening holds for the whole connection."""
    case.answer(opened(extension='grip; message-prefix=""'), events(("TEXT", "plain")))
    connection = case.socket()
    connection.send_text("x")
    assert "plain" == connection.read_text()


@pytest.mark.grip("WebSockets")
def test_backend_without_grip(case: Case) -> None:
    """A backend that does not name the grip extension speaks plainly: no prefixes, no control messages."""
    case.answer(events("OPEN", ("TEXT", 'c:{"type": "detach"}'), ("TEXT", "m:x")))
    connection = case.connect()
    assert 101 == connection.upgrade(case.path).status
    assert ['c:{"type": "detach"}', "m:x"] == [connection.read_text(), connection.read_text()]


@pytest.mark.grip("WebSocket-over-HTTP: encoding")
@pytest.mark.parametrize(
    "body",
    [b"TEXT 0A\r\nm:01234567\r\n", b"TEXT a\r\nm:01234567\r\n", b"FROB 3\r\nabc\r\nTEXT a\r\nm:01234567\r\n"],
    ids=["upper", "lower", "unknown type"],
)
def test_lenient_events(case: Case, pair: Connection, body: bytes) -> None:
    """Lengths in any case and events of unknown types are taken."""
    case.answer(events(body))
    pair.send_text("x")
    assert "01234567" == pair.read_text()


@pytest.mark.grip("WebSocket-over-HTTP: data flow")
def test_one_request_at_a_time(case: Case) -> None:
    """What the client sends while a request is in flight goes, in order, into the next one."""
    gate = case.backend.gate()
    case.answer(opened(), Reply(b"", [("Content-Type", EVENTS)], before=[gate]), events())
    connection = case.socket()
    body_of(case)
    connection.send_text("one")
    assert b"TEXT 3\r\none\r\n" == body_of(case)
    connection.send_text("two")
    connection.send_frame(frames.BINARY, b"three")
    connection.send_text("four")
    case.settle()
    assert 0 == case.backend.waiting(case.path)
    gate.open()
    received = body_of(case)
    while not received.endswith(b"four\r\n"):
        received += body_of(case)
    assert b"TEXT 3\r\ntwo\r\nBINARY 5\r\nthree\r\nTEXT 4\r\nfour\r\n" == received


@pytest.mark.grip("WebSocket-over-HTTP: data flow")
def test_message_may_be_answered_late(case: Case) -> None:
    """The answer's events arrive in order behind what came before."""
    replies = [events(("TEXT", f"m:{number}"), ("TEXT", f"m:{number}!")) for number in range(3)]
    case.answer(opened(), *replies, events())
    connection = case.socket()
    for number in range(3):
        connection.send_text("x")
        assert (f"{number}", f"{number}!") == (connection.read_text(), connection.read_text())


@pytest.mark.grip("WebSocket-over-HTTP: data flow")
def test_too_large_message_is_fatal(pair: Connection) -> None:
    """A message beyond the limit (200,000 bytes or more) ends the connection."""
    try:
        pair.send_frame(frames.BINARY, b"x" * 20_000_000)
    except ConnectionError:
        return
    assert lost(pair)


# --- meta, partial acceptance


@pytest.mark.grip("WebSocket-over-HTTP: Set-Meta")
def test_meta_is_kept(case: Case) -> None:
    """Set-Meta- stores a value that comes back as Meta- in each later request, until it is set empty."""
    case.answer(
        opened(Set_Meta_User="alice", Set_Meta_Other="1"),
        events(Set_Meta_user="bob"),
        events(Set_Meta_User=""),
        events(),
    )
    connection = case.socket()
    assert None is case.taken().value("Meta-User")
    seen = []
    for _ in range(3):
        connection.send_text("x")
        request = case.taken()
        seen.append((request.value("Meta-User"), request.value("Meta-Other")))
    assert [("alice", "1"), ("bob", "1"), (None, "1")] == seen


def accepting(count: int, *parts: tuple[str, str]) -> Reply:
    """An answer that accepts so many bytes of content."""
    return events(*parts, Content_Bytes_Accepted=str(count))


@pytest.mark.grip("WebSocket-over-HTTP: Content-Bytes-Accepted")
def test_partial_acceptance(case: Case) -> None:
    """What the backend did not accept is sent again in front of what came later, and marked as replayed."""
    case.answer(opened(), accepting(2), events())
    connection = case.socket()
    body_of(case)
    connection.send_text("hello")
    assert b"TEXT 5\r\nhello\r\n" == body_of(case)
    connection.send_text("next")
    request = case.taken()
    assert request.body.startswith(b"TEXT 3\r\nllo\r\n")
    assert "3" == request.value("Content-Bytes-Replayed")


@pytest.mark.grip("WebSocket-over-HTTP: Content-Bytes-Accepted")
def test_nothing_accepted(case: Case) -> None:
    """A message that was not accepted at all comes again with the next one."""
    case.answer(opened(), accepting(0), events())
    connection = case.socket()
    body_of(case)
    connection.send_text("hello")
    body_of(case)
    connection.send_text("next")
    body = body_of(case)
    while not body.endswith(b"next\r\n"):
        body += body_of(case)
    assert b"TEXT 5\r\nhello\r\nTEXT 4\r\nnext\r\n" == body


@pytest.mark.grip("WebSocket-over-HTTP: Content-Bytes-Accepted")
def test_too_much_accepted_is_fatal(case: Case, pair: Connection) -> None:
    """A backend that accepts more than it got breaks the protocol: the connection ends."""
    case.answer(accepting(6))
    pair.send_text("hello")
    assert lost(pair)


def lost(connection: Connection) -> bool:
    """Whether the connection ends without a clean close (nothing, or a code of failure)."""
    try:
        frame = connection.read_frame()
    except (EOFError, ConnectionError):
        return True
    return frame.opcode == frames.CLOSE and frame.code not in (None, 1000, 1001)


# --- ping, pong


@pytest.mark.grip("WebSockets: ping; client libraries")
@pytest.mark.parametrize("payload", [b"", b"hi"])
def test_ping_is_answered_once(case: Case, pair: Connection, payload: bytes) -> None:
    """A client's ping gets exactly one pong, although the backend answers it, too."""
    case.answer(pong)
    pair.send_frame(frames.PING, payload)
    assert frames.Frame(frames.PONG, payload) == pair.read_frame()
    case.answer(events(("TEXT", "m:end")))
    pair.send_text("x")
    assert "end" == pair.read_text()


def pong(request: Request) -> Reply:
    """What the libraries answer to a PING."""
    if not request.body.startswith(b"PING"):
        return events()
    return events(request.body.replace(b"PING", b"PONG", 1))


@pytest.mark.grip("client libraries")
def test_ping_needs_no_backend(case: Case, pair: Connection) -> None:
    """A ping is answered even if the backend ignores it, as some libraries do."""
    pair.send_frame(frames.PING, b"hi")
    assert pair.readable(2.0)
    assert frames.Frame(frames.PONG, b"hi") == pair.read_frame()


@pytest.mark.grip("WebSockets: ping")
def test_backend_may_ping(case: Case, pair: Connection) -> None:
    """A PING event of the backend's is a ping frame for the client."""
    case.answer(events(("PING", "are you there")))
    pair.send_text("x")
    assert frames.Frame(frames.PING, b"are you there") == pair.read_frame()


# --- keep-alive


@pytest.mark.slow
@pytest.mark.grip("WebSocket-over-HTTP: Keep-Alive-Interval")
def test_keep_alive_request(case: Case) -> None:
    """With Keep-Alive-Interval a quiet connection makes an empty request after it, at least every 20 seconds."""
    case.answer(opened(Keep_Alive_Interval="1"), events(("TEXT", "m:still there")))
    connection = case.socket()
    body_of(case)
    assert not connection.readable(15)
    assert "still there" == connection.read_text()
    assert b"" == body_of(case)
