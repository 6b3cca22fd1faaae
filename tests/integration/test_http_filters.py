"""Filters that ask the backend about each item, for all kinds of clients."""

import json
from collections.abc import Iterator

import pytest

from tests.conformance.backend import Reply, Request, control, opened
from tests.conformance.case import Case, held
from tests.integration.scripted import SETTLING, Ask, scripted


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    with scripted(tmp_path_factory.mktemp("filters"), {SETTLING: {}}) as ask:
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


@pytest.mark.parametrize("reply", [Reply(b"x", status=500), Reply(b"x" * 100_001)])
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
