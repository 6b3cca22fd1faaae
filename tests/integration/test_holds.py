"""Holds with real processes: what comes around their beginning, what is seen of clients that leave, and keep-alives."""

import re
import threading
import time
from collections.abc import Iterator

import pytest

from tests.conformance.backend import Reply
from tests.conformance.case import Case, held
from tests.integration.scripted import SETTLING, Ask, scripted


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    with scripted(tmp_path_factory.mktemp("holds"), {SETTLING: {}}, "[limits]\nunsent = 300000\n\n") as ask:
        yield ask


@pytest.fixture
def case(ask: Ask) -> Case:
    return ask(Reply())


def subscriptions(case: Case) -> int:
    """How many subscriptions the proxy says that it has."""
    text = case.control("/metrics", "GET").body.decode()
    found = re.search(r"^gripproxy_subscriptions (\d+)", text, re.MULTILINE)
    assert found
    return int(found[1])


# --- the beginning


def test_what_comes_before_the_answer_answers_a_poll(case: Case) -> None:
    """A long-poll waits for news; what is news while the backend is asked is an answer."""
    gate = case.backend.gate()
    case.answer(Reply(b"", held(case.channel, mode="response").fields, before=[gate]))
    poll = case.ask()
    case.taken()
    case.resolve("news")
    case.resolve("later news")
    gate.open()
    assert b"news" == poll.read_response().body


def test_what_comes_before_the_answer_is_in_the_body_of_a_stream(case: Case) -> None:
    """Without ids nobody can tell; a backend that publishes has stored before."""
    gate = case.backend.gate()
    case.answer(Reply(b"body ", held(case.channel).fields, before=[gate]))
    stream = case.ask()
    case.taken()
    case.say("in the body")
    gate.open()
    stream.read_head()
    case.say("new")
    assert b"body new" == stream.read_data(8)


@pytest.mark.parametrize("link", [{}, {"Grip_Link": "</next>; rel=next"}])
def test_however_much_comes_before_the_end_of_a_body_follows_it(case: Case, link: dict[str, str]) -> None:
    """More than a channel remembers otherwise: its subscription comes with the end of the body."""
    gate = case.backend.gate()
    case.answer(Reply([b"body;", gate], held(case.channel, **link).fields, framing="chunked"))
    stream = case.ask()
    case.taken()
    case.settle()
    items = [f"{number};" for number in range(250)]
    case.say(*items[:125])
    case.say(*items[125:])
    gate.open()
    stream.read_head()
    expected = "".join(["body;", *items]).encode()
    assert expected == stream.read_data(len(expected))


def test_what_comes_during_a_large_body_follows_it(case: Case) -> None:
    """Also without ids: the answer has begun, so it is not in there."""
    gate = case.backend.gate()
    steps = [b"x" * 150_000, gate, b"y" * 50_000]
    case.answer(Reply(steps, held(case.channel, Grip_Keep_Alive="beat; timeout=1").fields, framing="chunked"))
    stream = case.ask()
    stream.read_head()
    assert b"x" * 150_000 == stream.read_data(150_000)
    for number in range(50):
        case.say(f"{number};")
    time.sleep(1.2)
    gate.open()
    expected = b"y" * 50_000 + b"".join(b"%d;" % number for number in range(50))
    assert expected == stream.read_data(len(expected))[: len(expected)]


def test_a_client_that_reads_a_large_body_slowly_is_waited_for(case: Case) -> None:
    """The limit of unsent bytes is for what is published, not for a body that goes at the client's pace."""
    body = bytes(range(256)) * 20_000
    case.answer(Reply([body], held(case.channel).fields, framing="chunked"))
    stream = case.ask()
    stream.read_head()
    time.sleep(0.5)
    assert body == stream.read_data(len(body))
    case.settle()
    case.say("end")
    assert b"end" == stream.read_data(3)


def test_a_client_that_leaves_a_large_body(case: Case) -> None:
    """Its backend's connection is let go, and nothing of it stays."""
    before = subscriptions(case)
    gate = case.backend.gate()
    case.answer(Reply([b"x" * 400_000, gate], held(case.channel).fields, framing="chunked"))
    stream = case.ask()
    stream.read_head()
    stream.reset()
    gate.open()
    wait_until(lambda: subscriptions(case) == before)


def wait_until(condition: object) -> None:
    end = time.monotonic() + 10
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("mode", ["stream", "response"])
@pytest.mark.parametrize("is_reset", [False, True])
def test_clients_that_leave_are_noticed_at_once(case: Case, mode: str, is_reset: bool) -> None:
    before = subscriptions(case)
    case.answer(held(f"{case.channel}, {case.channel}-2", mode=mode))
    clients = [case.ask() for _ in range(20)]
    wait_until(lambda: subscriptions(case) == before + 40)
    for client in clients:
        client.reset() if is_reset else client.close()
    wait_until(lambda: subscriptions(case) == before)


def test_publishes_while_clients_come_and_go(case: Case) -> None:
    """Passes of the hub meet clients in every state."""
    case.answer(held(case.channel), at="/stream")
    case.answer(held(case.channel, mode="response"), at="/poll")
    watcher = case.stream("/stream")
    stop = threading.Event()

    def come_and_go(at: str) -> None:
        while not stop.is_set():
            client = case.ask(at)
            client.readable(0.01)
            client.reset()

    threads = [threading.Thread(target=come_and_go, args=(at,)) for at in ("/stream", "/poll") * 2]
    for thread in threads:
        thread.start()
    for number in range(300):
        case.publish({"http-stream": {"content": f"{number};"}, "http-response": {"body": "x"}})
    stop.set()
    for thread in threads:
        thread.join()
    expected = b"".join(b"%d;" % number for number in range(300))
    assert expected == watcher.read_data(len(expected))


# --- keep-alives


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("beat; timeout=1", b"beat"),
        (r"\n:\x20; format=cstring; timeout=1", b"\n: "),
        ("AAE=; format=base64; timeout=1", b"\0\1"),
    ],
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_quiet_streams_are_kept_alive(case: Case, value: str, content: bytes, version: str) -> None:
    case.answer(held(case.channel, Grip_Keep_Alive=value))
    stream = case.stream(version=version)
    assert content * 2 == stream.read_data(2 * len(content))


def test_a_busy_stream_needs_no_keep_alive(case: Case) -> None:
    case.answer(held(case.channel, Grip_Keep_Alive="beat; timeout=2"))
    stream = case.stream()
    for _ in range(10):
        case.say("x")
        time.sleep(0.3)
    assert b"x" * 10 == stream.read_data(10)


# --- old clients


def test_an_old_client_is_streamed_to_until_the_end_of_its_connection(case: Case) -> None:
    case.answer(held(case.channel, b"body "))
    stream = case.stream(version="1.0")
    assert stream.head
    assert (None, None) == (stream.head.value("Transfer-Encoding"), stream.head.value("Content-Length"))
    case.say("one ", "two")
    case.publish({"http-stream": {"action": "close"}})
    assert b"body one two" == stream.read_rest()


def test_a_patch_of_what_one_of_several_channels_held(case: Case) -> None:
    case.answer(held(f"{case.channel}-1, {case.channel}-2", b'{"n": 1}', "response"))
    poll = case.poll()
    patch = [{"op": "replace", "path": "/n", "value": 2}]
    case.publish({"http-response": {"body-patch": patch}}, channel=f"{case.channel}-2")
    assert b'{"n":2}' == poll.read_response().body
