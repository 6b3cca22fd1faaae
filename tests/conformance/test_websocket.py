"""WebSockets over HTTP, once they are open: frames become events, and events frames."""

import zlib

import pytest

from tests.conformance import frames
from tests.conformance.backend import EVENTS, Reply, Request, control, events, opened
from tests.conformance.case import Case
from tests.conformance.client import Connection

ANY = (("Sec-WebSocket-Protocol", "one, two"), ("Cookie", "a=1"), ("X-Own", "2"))


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


@pytest.mark.grip("WebSocket-over-HTTP: data flow")
def test_ping_between_fragments(case: Case, pair: Connection) -> None:
    """A ping may come between the fragments of a message (RFC 6455 section 5.4); both arrive."""
    case.answer(pong)
    pair.send_frame(frames.TEXT, "he", final=False)
    pair.send_frame(frames.PING, "x")
    pair.send_frame(frames.CONTINUATION, "llo", final=True)
    assert frames.Frame(frames.PONG, b"x") == pair.read_frame()
    bodies = body_of(case)
    while not bodies.endswith(b"hello\r\n"):
        bodies += body_of(case)
    assert b"PING 1\r\nx\r\nTEXT 5\r\nhello\r\n" == bodies


@pytest.mark.grip("WebSockets: permessage-deflate")
def test_compressed_message_to_the_backend(case: Case) -> None:
    """A message that a client compresses, where the proxy agreed to that, reaches the backend as it was before."""
    case.answer(opened(), events())
    connection = case.socket(fields=[("Sec-WebSocket-Extensions", "permessage-deflate")])
    case.taken()
    assert connection.head
    payload, reserved = b"hello " * 100, 0
    if "permessage-deflate" in (connection.head.value("Sec-WebSocket-Extensions") or ""):
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        payload = (deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")
        reserved = 4
    connection.send(frames.encode(frames.Frame(frames.TEXT, payload, reserved=reserved), masked=True))
    assert b"TEXT 258\r\n" + b"hello " * 100 + b"\r\n" == body_of(case)


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
    assert pair.is_cut()


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
    assert pair.is_cut()


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
