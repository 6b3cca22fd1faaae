"""Filters that ask the backend about each item, for all kinds of clients."""

import json
from collections.abc import Iterator

import pytest

from tests.conformance import frames
from tests.conformance.backend import RESET, Reply, Request, Upgrade, control, opened
from tests.conformance.case import Case, held
from tests.integration.scripted import SETTLING, Ask, scripted


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    routes = {
        SETTLING: {},
        "rewritten.test": {"path": "/app/", "rewrite": "/"},
        "real.test": {"websocket": "passthrough"},
        "always.test": {"subscribe": ["always"]},
    }
    with scripted(tmp_path_factory.mktemp("filters"), routes) as ask:
        yield ask


@pytest.fixture
def case(ask: Ask) -> Case:
    """A case whose filters ask at /check: what is `bad` is dropped, `same` stays, all else is shouted."""
    case = ask(Reply())

    def check(request: Request) -> Reply:
        if request.body == b"same":
            return Reply(status=204, framing="none")
        return Reply(request.body.upper(), [("Action", "drop")] if b"bad" in request.body else [])

    case.answer(check, at="/check")
    return case


def filtered(case: Case, filters: str, mode: str = "stream") -> Reply:
    channel = case.channel + "".join(f"; filter={name}" for name in filters.split())
    return held(channel, b"", mode, Grip_Set_Meta=f'url="{case.path}/check", user=alice')


def test_streams(case: Case) -> None:
    case.answer(filtered(case, "http-modify"))
    stream = case.stream()
    for content in ("one ", "same", " bad", " two"):
        case.say(content, meta={"kind": "x"})
    assert b"ONE same TWO" == stream.read_data(12)
    request = case.taken("/check")
    assert ("POST", b"one ") == (request.method, request.body)
    assert {"url": f"{case.path}/check", "user": "alice"} == json.loads(request.value("Sub-Meta") or "")
    assert {"kind": "x"} == json.loads(request.value("Pub-Meta") or "")
    assert request.value("Grip-Sig")


def test_polls(case: Case) -> None:
    case.answer(filtered(case, "http-modify", "response"))
    poll = case.poll()
    case.resolve("bad")
    case.resolve("good")
    assert b"GOOD" == poll.read_response().body


def test_sockets(case: Case) -> None:
    case.answer(
        opened(
            control(type="set-meta", name="url", value=f"{case.path}/check"),
            control(type="subscribe", channel=case.channel, filters=["http-check", "http-modify"]),
        )
    )
    socket = case.socket()
    case.tell("one", "bad", "two")
    case.publish({"ws-message": {"action": "close", "code": 3000}})
    assert ["ONE", "TWO"] == [socket.read_text(), socket.read_text()]
    assert (3000).to_bytes(2, "big") == socket.read_frame().payload[:2]


def test_a_slow_answer_keeps_the_order(case: Case) -> None:
    gate = case.backend.gate()
    case.answer(Reply(b"SLOW ", before=[gate]), Reply(b"FAST"), at="/check")
    case.answer(filtered(case, "http-modify"))
    stream = case.stream()
    case.say("slow ")
    case.taken("/check")
    case.say("fast")
    assert not stream.readable(0.2)
    gate.open()
    assert b"SLOW FAST" == stream.read_data(9)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"x", status=500),
        Reply(b"x", status=302, fields=[("Location", "/elsewhere")]),
        Reply(b"x" * 100_001),
        Reply([RESET], raw=True),
        Reply([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", RESET], raw=True),
    ],
    ids=["error", "redirect", "too large", "reset", "cut"],
)
def test_without_a_good_answer_the_item_is_skipped(case: Case, reply: Reply) -> None:
    case.answer(reply, Reply(b"next"), at="/check")
    case.answer(filtered(case, "http-modify"))
    stream = case.stream()
    case.say("one")
    case.say("two")
    assert b"next" == stream.read_data(4)


def test_equal_subscribers_are_asked_for_once(case: Case) -> None:
    gate = case.backend.gate()
    case.answer(Reply(b"SHARED", before=[gate]), at="/check")
    case.answer(filtered(case, "http-modify"))
    streams = [case.stream() for _ in range(50)]
    case.say("shared")
    case.taken("/check")
    gate.open()
    assert all(b"SHARED" == stream.read_data(6) for stream in streams)
    assert 0 == case.backend.waiting(f"{case.path}/check")


def test_sockets_of_a_rewritten_route_ask_at_the_path_that_the_client_knows(ask: Ask) -> None:
    case = ask(Reply())
    answer = opened(
        control(type="set-meta", name="url", value="check"),
        control(type="subscribe", channel=case.channel, filters=["http-modify"]),
        ("TEXT", "m:ready"),
    )
    case.answer(answer, at="/socket")
    case.answer(Reply(b"checked"), at="/check")
    socket = case.connect()
    assert 101 == socket.upgrade(f"/app{case.path}/socket", host="rewritten.test").status
    assert "ready" == socket.read_text()
    case.tell("one")
    assert "checked" == socket.read_text()


def test_sockets_of_the_backends_own(case: Case) -> None:
    case.answer(Upgrade([("Sec-WebSocket-Extensions", "grip")]))
    client = case.connect()
    assert 101 == client.upgrade(case.path, host="real.test").status
    backend = case.backend.take_socket(case.path)
    for kind, content in (
        control(type="set-meta", name="url", value=f"{case.path}/check"),
        control(type="subscribe", channel=case.channel, filters=["http-modify"]),
        ("TEXT", "m:ready"),
    ):
        assert "TEXT" == kind
        backend.send(frames.Frame(frames.TEXT, content.encode()))
    assert "ready" == client.read_text()
    case.tell("one", "bad", "two")
    assert ["ONE", "TWO"] == [client.read_text(), client.read_text()]


def test_channels_of_the_route_are_not_filtered(case: Case) -> None:
    """They have no filters, also beside channels that have; what comes by them does not wait."""
    gate = case.backend.gate()
    case.answer(Reply(b"LATE", before=[gate]), at="/check")
    case.answer(
        opened(
            control(type="set-meta", name="url", value=f"{case.path}/check"),
            control(type="subscribe", channel=case.channel, filters=["http-modify"]),
            ("TEXT", "m:ready"),
        )
    )
    socket = case.connect()
    socket.upgrade(case.path, host="always.test")
    assert "ready" == socket.read_text()
    case.tell("late")
    case.taken("/check")
    case.tell("at once", channel="always")
    assert "at once" == socket.read_text()
    gate.open()
    assert "LATE" == socket.read_text()


def test_others_do_not_wait(case: Case) -> None:
    """Clients without such filters get an item at once, whatever the answer for others is."""
    gate = case.backend.gate()
    case.answer(Reply(b"LATE", before=[gate]), at="/check")
    case.answer(held(case.channel), at="/plain")
    case.answer(held(f"{case.channel}; filter=skip-self", Grip_Set_Meta="user=bob"), at="/skipping")
    case.answer(filtered(case, "http-modify"))
    waits = case.stream()
    others = [case.stream("/plain"), case.stream("/skipping")]
    case.settle()
    case.say("early")
    case.taken("/check")
    assert [b"early", b"early"] == [other.read_data(5) for other in others]
    assert not waits.readable(0.1)
    gate.open()
    assert b"LATE" == waits.read_data(4)


@pytest.mark.parametrize("mode", ["stream", "response"])
def test_a_client_that_leaves_while_its_filter_is_asked_does_no_harm(case: Case, mode: str) -> None:
    gate = case.backend.gate()
    case.answer(Reply(b"LATE", before=[gate]), Reply(b"next"), at="/check")
    case.answer(filtered(case, "http-modify", mode))
    client = case.stream() if mode == "stream" else case.poll()
    case.publish({"http-stream": {"content": "x"}, "http-response": {"body": "x"}})
    case.taken("/check")
    client.reset()
    gate.open()
    case.answer(filtered(case, "http-modify"))
    stream = case.stream()
    case.settle()
    case.say("y")
    assert b"next" == stream.read_data(4)


def test_a_closing_item_waits_for_what_comes_before_it(case: Case) -> None:
    gate = case.backend.gate()
    case.answer(Reply(b"last words", before=[gate]), at="/check")
    case.answer(filtered(case, "http-modify"))
    stream = case.stream()
    case.say("last")
    case.publish({"http-stream": {"action": "close"}})
    case.taken("/check")
    gate.open()
    assert b"last words" == stream.read_rest()
