"""What a backend can make of a WebSocket by control messages, and what publishes do to it."""

import base64
import time
import zlib

import pytest

from tests.conformance import frames
from tests.conformance.backend import control, events, opened
from tests.conformance.case import Case
from tests.conformance.client import Connection


def subscribed(case: Case, *more: tuple[str, str], **members: object) -> Connection:
    """A WebSocket that is subscribed to the case's channel."""
    case.answer(opened(control(type="subscribe", channel=case.channel, **members), *more), events())
    connection = case.socket()
    case.taken()
    return connection


@pytest.mark.grip("control messages: subscribe")
def test_published_text(case: Case) -> None:
    """Published text reaches every subscriber as one text frame each."""
    connections = [subscribed(case) for _ in range(3)]
    case.tell("one", "tw\u20ac")
    for connection in connections:
        assert frames.Frame(frames.TEXT, b"one") == connection.read_frame()
        assert frames.Frame(frames.TEXT, "tw\u20ac".encode()) == connection.read_frame()


@pytest.mark.grip("items: ws-message")
@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"content-bin": base64.b64encode(b"\xff\x00").decode()}, frames.Frame(frames.BINARY, b"\xff\x00")),
        ({"content": "x", "type": "binary"}, frames.Frame(frames.BINARY, b"x")),
        ({"content-bin": "eA==", "type": "text"}, frames.Frame(frames.TEXT, b"x")),
        ({"type": "ping"}, frames.Frame(frames.PING)),
        ({"type": "ping", "content": "x"}, frames.Frame(frames.PING, b"x")),
        ({"type": "pong", "content": "x"}, frames.Frame(frames.PONG, b"x")),
        ({"content": ""}, frames.Frame(frames.TEXT)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_published_types(case: Case, members: dict, expected: frames.Frame) -> None:
    """The type is text for content, binary for content-bin, or what the item says."""
    connection = subscribed(case)
    case.publish({"ws-message": members})
    assert expected == connection.read_frame()


@pytest.mark.grip("WebSockets")
@pytest.mark.parametrize("size", [125, 126, 65_535, 65_536, 300_000])
def test_published_sizes(case: Case, size: int) -> None:
    """A published message of any size arrives whole."""
    connection = subscribed(case)
    case.tell("x" * size)
    assert frames.Frame(frames.TEXT, b"x" * size) == connection.read_message()


@pytest.mark.grip("control messages: subscribe")
def test_other_formats_and_channels_do_not_matter(case: Case) -> None:
    """A WebSocket takes the message format of its own channels."""
    connection = subscribed(case)
    case.say("stream")
    case.resolve("response")
    case.tell("other", channel=case.channel + "-other")
    case.tell("mine")
    assert "mine" == connection.read_text()


@pytest.mark.grip("control messages: unsubscribe")
def test_unsubscribe(case: Case) -> None:
    """After `unsubscribe` nothing of the channel arrives any more."""
    other = case.channel + "-other"
    connection = subscribed(case, control(type="subscribe", channel=other))
    case.answer(events(control(type="unsubscribe", channel=case.channel), ("TEXT", "m:done")))
    connection.send_text("x")
    assert "done" == connection.read_text()
    case.settle()
    case.tell("old")
    case.tell("new", channel=other)
    assert "new" == connection.read_text()


@pytest.mark.grip("control messages: subscribe")
def test_subscribe_later(case: Case) -> None:
    """A connection may subscribe at any time; messages before that are not for it."""
    case.answer(opened(), events(control(type="subscribe", channel=case.channel), ("TEXT", "m:done")))
    connection = case.socket()
    case.tell("early")
    connection.send_text("x")
    assert "done" == connection.read_text()
    case.settle()
    case.tell("late")
    assert "late" == connection.read_text()


@pytest.mark.grip("control messages: subscribe")
def test_subscribing_twice_delivers_once(case: Case) -> None:
    """A channel that is subscribed twice delivers once."""
    connection = subscribed(case, control(type="subscribe", channel=case.channel))
    case.tell("one", "two")
    assert ("one", "two") == (connection.read_text(), connection.read_text())


@pytest.mark.grip("control messages: subscribe")
def test_subscribing_again_changes_the_filters(case: Case) -> None:
    """Another subscription to the same channel takes the place of the first one, filters included."""
    again = control(type="subscribe", channel=case.channel, filters=["skip-self"])
    connection = subscribed(case, control(type="set-meta", name="user", value="alice"), again)
    case.publish({"ws-message": {"content": "mine"}, "meta": {"sender": "alice"}})
    case.tell("end")
    assert "end" == connection.read_text()


@pytest.mark.grip("control messages")
@pytest.mark.parametrize(
    "message",
    [
        "c:",
        "c:nonsense",
        "c:[]",
        "c:{}",
        'c:{"type": 5}',
        'c:{"type": "frobnicate"}',
        'c:{"type": "subscribe"}',
        'c:{"type": "subscribe", "channel": ""}',
        'c:{"type": "subscribe", "channel": 5}',
        'c:{"type": "set-meta", "name": ""}',
        'c:{"type": "keep-alive", "content": 5}',
        'c:{"type": "keep-alive", "content": "x", "timeout": -1}',
    ],
)
def test_bad_control_message_is_ignored(case: Case, message: str) -> None:
    """A control message that is none is ignored; the connection goes on."""
    connection = subscribed(case, ("TEXT", message), ("TEXT", "m:next"))
    assert "next" == connection.read_text()
    case.tell("published")
    assert "published" == connection.read_text()


@pytest.mark.grip("control messages: set-meta; filters")
def test_meta_for_filters(case: Case) -> None:
    """set-meta sets what filters look at, and unsets it when no value is given."""
    connection = subscribed(case, control(type="set-meta", name="user", value="alice"), filters=["skip-self"])
    case.publish({"ws-message": {"content": "mine"}, "meta": {"sender": "alice"}})
    case.publish({"ws-message": {"content": "bobs"}, "meta": {"sender": "bob"}})
    assert "bobs" == connection.read_text()
    case.answer(events(control(type="set-meta", name="user"), ("TEXT", "m:unset")))
    connection.send_text("x")
    assert "unset" == connection.read_text()
    case.settle()
    case.publish({"ws-message": {"content": "mine again"}, "meta": {"sender": "alice"}})
    assert "mine again" == connection.read_text()


@pytest.mark.grip("filters")
@pytest.mark.parametrize(
    ("name", "meta", "expected"),
    [
        ("skip-users", {"skip_users": "bob, alice"}, "end"),
        ("require-sub", {"require_sub": "nowhere"}, "end"),
        ("var-subst", {}, "for alice"),
        ("no-such-filter", {}, "for %(user)s"),
    ],
)
def test_filters(case: Case, name: str, meta: dict[str, str], expected: str) -> None:
    """Filters work on messages as on streams."""
    connection = subscribed(case, control(type="set-meta", name="user", value="alice"), filters=[name])
    case.publish({"ws-message": {"content": "for %(user)s"}, "meta": meta})
    case.tell("end")
    assert expected == connection.read_text()


@pytest.mark.grip("control messages: subscribe")
def test_channels_are_limited(case: Case) -> None:
    """A connection has at most 20 channels; what is beyond is ignored."""
    names = [f"{case.channel}-{number}" for number in range(25)]
    case.answer(opened(*(control(type="subscribe", channel=name) for name in names)), events())
    connection = case.socket()
    for name in names:
        case.tell(name.rpartition("-")[2], channel=name)
    case.tell("end", channel=names[0])
    received = [connection.read_text() for _ in range(21)]
    assert [*map(str, range(20)), "end"] == received


@pytest.mark.grip("control messages: keep-alive")
@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"content": "beat", "message-type": "text"}, frames.Frame(frames.TEXT, b"beat")),
        ({"content": "beat"}, frames.Frame(frames.TEXT, b"beat")),
        ({"content-bin": "/w==", "message-type": "binary"}, frames.Frame(frames.BINARY, b"\xff")),
        ({"content": "", "message-type": "ping"}, frames.Frame(frames.PING)),
        ({"content": "beat", "message-type": "pong"}, frames.Frame(frames.PONG, b"beat")),
        ({"content-bin": "aGk="}, frames.Frame(frames.TEXT, b"hi")),
    ],
    ids=["text", "default", "binary", "ping", "pong", "text in base64"],
)
def test_keep_alive(case: Case, members: dict, expected: frames.Frame) -> None:
    """A keep-alive message is sent again and again on a quiet connection."""
    named = {name.replace("-", "_"): value for name, value in members.items()}
    connection = subscribed(case, control(type="keep-alive", timeout=1, **named))
    assert expected == connection.read_frame()


@pytest.mark.grip("control messages: keep-alive")
@pytest.mark.parametrize(("mode", "expected"), [("", False), ("idle", False), ("interval", True)])
def test_keep_alive_modes(case: Case, mode: str, expected: bool) -> None:
    """A busy connection has no keep-alives in mode `idle`, which is the default, and has them in mode `interval`."""
    members = {"mode": mode} if mode else {}
    connection = subscribed(case, control(type="keep-alive", content="beat", timeout=2, **members))
    for _ in range(12):
        time.sleep(0.2)
        case.tell("x")
    received = [connection.read_text() for _ in range(12)]
    assert expected == ("beat" in received)


@pytest.mark.grip("control messages: keep-alive")
def test_keep_alive_ends(case: Case) -> None:
    """A keep-alive message without content turns keep-alives off."""
    connection = subscribed(case, control(type="keep-alive", content="beat", timeout=1))
    case.answer(events(control(type="keep-alive"), ("TEXT", "m:off")), events())
    connection.send_text("x")
    while connection.read_text() != "off":
        pass
    case.settle()
    assert not connection.readable(1.5)


@pytest.mark.grip("control messages: send-delayed")
def test_delayed_message(case: Case) -> None:
    """send-delayed sends once after its time."""
    started = time.monotonic()
    connection = subscribed(case, control(type="send-delayed", content="later", timeout=1))
    assert "later" == connection.read_text()
    assert time.monotonic() - started > 0.7


@pytest.mark.grip("control messages: flush-delayed")
def test_delayed_message_is_flushed(case: Case) -> None:
    """flush-delayed sends the pending message now; a new one flushes the one before."""
    connection = subscribed(case, control(type="send-delayed", content="one", timeout=50))
    case.answer(
        events(control(type="send-delayed", content="two", timeout=50)), events(control(type="flush-delayed")), events()
    )
    connection.send_text("x")
    assert "one" == connection.read_text()
    connection.send_text("y")
    assert "two" == connection.read_text()


@pytest.mark.grip("items: refresh; WebSocket-over-HTTP: refresh")
def test_refresh(case: Case) -> None:
    """A published refresh makes an empty request, whose answer may carry events."""
    connection = subscribed(case)
    case.answer(events(("TEXT", "m:refreshed")))
    case.publish({"ws-message": {"action": "refresh"}})
    assert "refreshed" == connection.read_text()
    assert b"" == case.taken().body


@pytest.mark.grip("items: hint")
def test_hint_does_nothing(case: Case) -> None:
    """A published hint does nothing to a WebSocket."""
    connection = subscribed(case)
    case.publish({"ws-message": {"action": "hint"}})
    case.tell("x")
    assert "x" == connection.read_text()


@pytest.mark.grip("order and duplicates")
def test_order_and_duplicates(case: Case) -> None:
    """Ids order and thin out messages as they do contents."""
    connection = subscribed(case)
    case.tell("1", id="1")
    case.tell("3", id="3", prev_id="2")
    case.tell("2", id="2", prev_id="1")
    case.tell("again", id="2", prev_id="1")
    case.tell("4", id="4", prev_id="3")
    assert ["1", "2", "3", "4"] == [connection.read_text() for _ in range(4)]


@pytest.mark.grip("WebSockets")
def test_burst(case: Case) -> None:
    """A burst of messages arrives whole and in order."""
    connection = subscribed(case)
    expected = [f"{number}" for number in range(50)]
    case.tell(*expected)
    assert expected == [connection.read_text() for _ in expected]


@pytest.mark.grip("WebSockets")
def test_publishes_arrive_while_a_request_is_in_flight(case: Case) -> None:
    """A slow backend does not hold back what is published."""
    connection = subscribed(case)
    gate = case.backend.gate()
    slow = events(("TEXT", "m:slow"))
    case.answer(type(slow)(slow.body, slow.fields, before=[gate]), events())
    connection.send_text("x")
    case.taken()
    case.tell("fast")
    assert "fast" == connection.read_text()
    gate.open()
    assert "slow" == connection.read_text()


@pytest.mark.grip("client libraries")
def test_small_app(case: Case) -> None:
    """A small app as it is written with the libraries: accept, subscribe, take publishes, close without a code."""
    case.answer(opened(("TEXT", f'c:{{"channel": "{case.channel}", "type": "subscribe"}}')), events(("CLOSE", b"\0\0")))
    connection = case.socket()
    case.taken()
    case.tell('{"id": "1"}')
    assert '{"id": "1"}' == connection.read_text()
    connection.send_close(1000)
    assert b"CLOSE 2\r\n\x03\xe8\r\n" == case.taken().body
    assert 1000 == connection.read_frame().code


@pytest.mark.grip("WebSockets: permessage-deflate")
def test_compression_is_optional(case: Case) -> None:
    """A client that offers compression gets what it can read, compressed only if the proxy agreed."""
    case.answer(opened(control(type="subscribe", channel=case.channel)), events())
    connection = case.socket(fields=[("Sec-WebSocket-Extensions", "permessage-deflate")])
    case.taken()
    case.tell("x" * 1000, "end")
    assert connection.head
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    received = []
    for _ in range(2):
        frame = connection.read_frame()
        assert (frame.reserved & 4 == 0) or connection.head.value("Sec-WebSocket-Extensions")
        tail = b"\0\0\xff\xff"
        received.append(inflate.decompress(frame.payload + tail) if frame.reserved & 4 else frame.payload)
    assert [b"x" * 1000, b"end"] == received
