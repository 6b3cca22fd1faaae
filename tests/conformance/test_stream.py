"""Stream holds: what is sent at first, what publishes append, how a stream ends."""

import base64

import pytest

from tests.conformance.backend import Reply
from tests.conformance.case import Case, held


@pytest.mark.grip("stream holds")
def test_initial_body_is_sent_at_once(case: Case) -> None:
    """The held response's status, fields and body reach the client at once, chunked, without Content-Length."""
    case.answer(held(case.channel, b"hello\n", X_Own="1"))
    connection = case.stream()
    head = connection.head
    assert head
    assert ("text/plain", "1", None, True) == (
        *(head.value(name) for name in ("Content-Type", "X-Own", "Content-Length")),
        head.chunked,
    )
    assert b"hello\n" == connection.read_data(6)


@pytest.mark.grip("stream holds; client libraries")
def test_empty_initial_body(case: Case) -> None:
    """The head is flushed although there is no body yet: a browser's EventSource opens on it."""
    case.answer(Reply(b"", [("Content-Type", "text/event-stream"), ("Grip-Hold", "stream"), ("Grip-Channel", "x")]))
    connection = case.stream(fields=[("Accept", "text/event-stream")])
    assert connection.head
    assert "text/event-stream" == connection.head.value("Content-Type")


@pytest.mark.grip("stream holds")
def test_publishes_are_appended(case: Case) -> None:
    """Published contents follow in order, as they are."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.say("one", "two\n", "thr\u20ac\u20ac")
    assert "onetwo\nthr\u20ac\u20ac".encode() == connection.read_data(15)


@pytest.mark.grip("stream holds")
def test_binary_content(case: Case) -> None:
    """content-bin is base64 of any bytes."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.publish({"http-stream": {"content-bin": base64.b64encode(b"\xff\x00\r\n0\r\n").decode()}})
    assert b"\xff\x00\r\n0\r\n" == connection.read_data(7)


@pytest.mark.grip("stream holds")
def test_each_publish_is_visible_at_once(case: Case) -> None:
    """Every content arrives before the next is published."""
    case.answer(held(case.channel))
    connection = case.stream()
    for number in range(10):
        case.say(f"{number};")
        assert f"{number};".encode() == connection.read_data(2)


@pytest.mark.grip("stream holds")
@pytest.mark.parametrize("size", [0, 1, 65_536, 500_000])
def test_content_of_any_size(case: Case, size: int) -> None:
    """Contents of every size arrive whole; an empty one does not end the stream."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.say("x" * size, "end")
    assert b"x" * size + b"end" == connection.read_data(size + 3)


@pytest.mark.grip("stream holds")
def test_other_formats_and_channels_do_not_matter(case: Case) -> None:
    """A stream takes the stream format of its own channels and nothing else."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.say("other", channel=case.channel + "-other")
    case.resolve("response")
    case.tell("message")
    case.say("mine")
    assert b"mine" == connection.read_data(4)


@pytest.mark.grip("stream holds")
def test_all_subscribers_receive(case: Case) -> None:
    """Every stream on a channel gets every publish."""
    case.answer(held(case.channel))
    connections = [case.stream() for _ in range(5)]
    case.say("all")
    assert [b"all"] * 5 == [connection.read_data(3) for connection in connections]


@pytest.mark.grip("stream holds")
def test_one_channel_twice(case: Case) -> None:
    """A channel that is named twice delivers once."""
    case.answer(held(f"{case.channel}, {case.channel}"))
    connection = case.stream()
    case.say("a", "b")
    assert b"ab" == connection.read_data(2)


@pytest.mark.grip("stream holds")
def test_close_action_ends_the_stream(case: Case) -> None:
    """The action `close` ends the body cleanly; content beside it is ignored."""
    case.answer(held(case.channel, b"first "))
    connection = case.stream()
    case.say("last")
    case.publish({"http-stream": {"action": "close", "content": "ignored"}})
    assert b"first last" == connection.read_rest()


@pytest.mark.grip("stream holds")
def test_connection_goes_on_after_a_stream(case: Case) -> None:
    """After a stream ended cleanly, the connection takes the next request."""
    case.answer(held(case.channel), Reply(b"next"))
    connection = case.stream()
    case.publish({"http-stream": {"action": "close"}})
    connection.read_rest()
    assert b"next" == connection.request(case.path).read_response().body


@pytest.mark.grip("items")
def test_refresh_action_does_nothing(case: Case) -> None:
    """The action `refresh` is accepted and does nothing to a stream."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.publish({"http-stream": {"action": "refresh"}})
    case.say("x")
    assert b"x" == connection.read_data(1)


@pytest.mark.grip("stream holds")
def test_hint_without_next_link_does_nothing(case: Case) -> None:
    """The action `hint` is harmless to a stream that has no next link."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.publish({"http-stream": {"action": "hint"}})
    case.say("x")
    assert b"x" == connection.read_data(1)


@pytest.mark.grip("HTTP")
def test_http_1_0_stream(case: Case) -> None:
    """An HTTP/1.0 client's stream is not chunked, and ends with the connection."""
    case.answer(held(case.channel, b"first "))
    connection = case.stream(version="1.0")
    case.say("second")
    case.settle()
    case.publish({"http-stream": {"action": "close"}})
    assert connection.head
    assert (None, b"first second") == (connection.head.value("Transfer-Encoding"), connection.read_rest())


@pytest.mark.grip("HTTP")
def test_head_request_is_not_held(case: Case) -> None:
    """A HEAD whose answer asks for a stream gets the head and no body."""
    case.answer(held(case.channel, b"body"))
    connection = case.ask(method="HEAD")
    assert 200 == connection.read_head().status
    case.say("published")
    case.answer(Reply(b"next"))
    connection.request(case.path)
    assert connection.readable(2.0)
    assert b"HTTP/1.1 200 OK" == connection.read_until(b"\r\n")


@pytest.mark.grip("stream holds")
def test_client_that_leaves_does_no_harm(case: Case) -> None:
    """A client that resets its connection is forgotten; the others go on."""
    case.answer(held(case.channel))
    leaving, staying = case.stream(), case.stream()
    leaving.reset()
    for number in range(5):
        case.say(str(number))
    assert b"01234" == staying.read_data(5)


@pytest.mark.grip("stream holds")
def test_next_request_waits_for_the_stream(case: Case) -> None:
    """A request that a client sends behind its stream is answered when the stream has ended."""
    case.answer(held(case.channel))
    case.answer(Reply(b"behind"), at="/behind")
    connection = case.stream()
    connection.request(case.path + "/behind")
    case.say("x")
    assert b"x" == connection.read_data(1)
    case.publish({"http-stream": {"action": "close"}})
    assert b"" == connection.read_rest()
    assert b"behind" == connection.read_response().body


@pytest.mark.grip("stream holds")
def test_prev_id_without_next_link(case: Case) -> None:
    """A stream with a prev-id but without a next link is held as long as nothing is missing."""
    case.answer(held(f"{case.channel}; prev-id=1", b"body "))
    connection = case.stream()
    case.say("two", id="2", prev_id="1")
    assert b"body two" == connection.read_data(5) + connection.read_data(3)


@pytest.mark.grip("stream holds")
def test_gap_without_next_link_ends_the_stream(case: Case) -> None:
    """A gap that nothing can close ends the stream, so that the client comes again."""
    case.answer(held(f"{case.channel}; prev-id=1", b"body"))
    connection = case.stream(fields=[("Connection", "close")])
    case.settle()
    case.say("nine", id="9", prev_id="8")
    rest = connection.read_all()
    assert (True, False) == (b"body" in rest, b"nine" in rest)


@pytest.mark.grip("limits: connection_subscription_max")
def test_number_of_channels_is_limited(case: Case) -> None:
    """A connection has at most 20 channels; what is beyond is left out without an error."""
    names = [f"{case.channel}-{number}" for number in range(25)]
    case.answer(held(", ".join(names)))
    connection = case.stream()
    for name in names:
        case.say(name.rpartition("-")[2] + ";", channel=name)
    expected = "".join(f"{number};" for number in range(20)).encode()
    case.settle()
    case.publish({"http-stream": {"action": "close"}}, channel=names[0])
    assert expected == connection.read_rest()


@pytest.mark.grip("instructions in fields: Grip-Keep-Alive")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("beat", b"beat"),
        (":\\n\\n; format=cstring", b":\n\n"),
        ("\\\\\\x00\\xfF\\r; format=cstring", b"\\\x00\xff\r"),
        ("event: keep-alive\\ndata:\\n\\n; format=cstring", b"event: keep-alive\ndata:\n\n"),
        ("AP8=; format=base64", b"\x00\xff"),
        ("a, b", b"a, b"),
        ("a\\nb; format=raw", b"a\\nb"),
    ],
    ids=range(7),
)
def test_keep_alive_formats(case: Case, value: str, expected: bytes) -> None:
    """Keep-alives are sent as the bytes that their format stands for."""
    case.answer(held(case.channel, Grip_Keep_Alive=f"{value}; timeout=1"))
    assert expected == case.stream().read_data(len(expected))


@pytest.mark.grip("stream holds")
def test_keep_alives_repeat(case: Case) -> None:
    """Keep-alives are repeated, and a timeout of 0 means one second."""
    case.answer(held(case.channel, Grip_Keep_Alive="beat;; timeout=0"))
    assert b"beatbeat" == case.stream().read_data(8)


@pytest.mark.grip("stream holds")
@pytest.mark.parametrize(("mode", "expected"), [("idle", False), ("interval", True)])
def test_keep_alive_modes(case: Case, mode: str, expected: bool) -> None:
    """A busy stream has no keep-alives in mode `idle`, and has them in mode `interval`."""
    case.answer(held(case.channel, Grip_Keep_Alive=f"#; timeout=2; mode={mode}"))
    connection = case.stream()
    data = b""
    for _ in range(12):
        connection.readable(0.2)
        case.say(".")
        data += connection.read_data(1)
    while data.count(b".") < 12:
        data += connection.read_data(1)
    assert expected == (b"#" in data)
