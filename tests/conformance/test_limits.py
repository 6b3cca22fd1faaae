"""Limits: what is beyond one is refused or told, and nothing is lost in silence."""

import time

import pytest

from tests.conformance.backend import Reply, control, event, opened
from tests.conformance.case import Case, held
from tests.conformance.client import Connection, fetch


@pytest.mark.grip("request bodies and limits")
def test_many_fields(case: Case) -> None:
    """A request may have fifty fields of its own."""
    case.answer(Reply(b"ok"))
    assert b"ok" == case.get(fields=[(f"X-Own-{number}", "1") for number in range(50)]).body
    assert 50 == len([name for name, _ in case.taken().fields if name.startswith("X-Own-")])


@pytest.mark.grip("request bodies and limits")
def test_too_many_fields(case: Case) -> None:
    """A request with a thousand fields is refused with a client error, however short they are."""
    case.answer(Reply(b"ok"))
    assert case.get(fields=[("a", "1")] * 1000).status in range(400, 500)
    assert 0 == case.backend.waiting(case.path)


@pytest.mark.grip("WebSocket-over-HTTP: response")
def test_too_large_answer_is_fatal(case: Case) -> None:
    """An answer of more events than fit (1,000,000 bytes or more) ends the connection."""
    case.answer(opened(), Reply(event(("TEXT", "m:x")) * 2_000_000, opened().fields))
    connection = case.socket()
    connection.send_text("x")
    assert connection.is_cut()


@pytest.mark.grip("stream holds")
def test_many_items_during_a_fetch(case: Case) -> None:
    """All that is published while a next link is fetched reaches the stream, in order."""
    gate = case.backend.gate()
    link = f"<{case.path}/next>; rel=next"
    case.answer(held(case.channel, Grip_Link=link))
    case.answer(Reply(b"", held(case.channel, Grip_Link=link).fields, before=[gate]), at="/next")
    connection = case.stream()
    case.publish({"http-stream": {"action": "hint"}})
    case.taken("/next")
    case.say(*(f"{number:03}" for number in range(150)))
    case.settle()
    gate.open()
    assert b"".join(b"%03d" % number for number in range(150)) == connection.read_data(450)


@pytest.mark.grip("order and duplicates")
def test_many_items_wait_for_one(case: Case) -> None:
    """None of many items that came before their predecessor is lost."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.say("000", id="0")
    numbers = range(2, 152)
    case.publish(
        *(
            {"id": str(number), "prev-id": str(number - 1), "http-stream": {"content": f"{number:03}"}}
            for number in numbers
        )
    )
    case.say("001", id="1", prev_id="0")
    data = connection.read_data(3 * 152)
    assert sorted(b"%03d" % number for number in range(152)) == sorted(data[at : at + 3] for at in range(0, 456, 3))


@pytest.mark.grip("WebSockets")
def test_client_that_reads_late(case: Case) -> None:
    """Messages wait for a client that does not read for a while."""
    case.answer(opened(control(type="subscribe", channel=case.channel)))
    connection = case.socket()
    contents = [f"{number:04}".ljust(2000, ".") for number in range(300)]
    for at in range(0, 300, 10):
        case.tell(*contents[at : at + 10])
    case.settle()
    assert contents == [connection.read_text() for _ in contents]


@pytest.mark.grip("control door")
def test_idle_publishers(case: Case) -> None:
    """Publishers that keep their connections without using them do not keep others out."""
    case.answer(held(case.channel))
    connection = case.stream()
    idle = [Connection(*case.proxy.control) for _ in range(150)]
    try:
        case.say("x")
        assert b"x" == connection.read_data(1)
    finally:
        for one in idle:
            one.close()


@pytest.mark.grip("metrics")
def test_idle_scrapers(case: Case) -> None:
    """Who keeps connections for metrics without using them does not keep others from the metrics."""
    if case.proxy.metrics is None:
        pytest.skip("the address is not known")
    idle = [Connection(*case.proxy.metrics) for _ in range(40)]
    try:
        response = fetch(*case.proxy.metrics, "/metrics", deadline=case.deadline)
        assert (200, True) == (response.status, b"# TYPE " in response.body)
    finally:
        for one in idle:
            one.close()


@pytest.mark.grip("response holds: update_on_first_subscription")
def test_first_poll_of_a_channel(case: Case) -> None:
    """A long-poll is no reason to ask the backend again, though it is the first of its channel."""
    case.answer(held(case.channel, b"", "response"))
    case.poll()
    time.sleep(2.5)
    assert 0 == case.backend.waiting(case.path)


@pytest.mark.grip("WebSockets")
@pytest.mark.parametrize("size", [5_000, 100_000])
def test_refused_handshake_with_a_body(case: Case, size: int) -> None:
    """What a backend says when it refuses a WebSocket reaches the client, up to 100,000 bytes."""
    case.answer(Reply(b"x" * size, [("Content-Type", "text/plain")], 403))
    connection = case.connect()
    assert 403 == connection.upgrade(case.path).status
    assert b"x" * size == connection.read_rest()


@pytest.mark.grip("control door: limits")
def test_too_large_head_of_a_publish(case: Case) -> None:
    """A publish with more than 100,000 bytes of fields is refused with a client error."""
    connection = Connection(*case.proxy.control)
    try:
        connection.request("/publish/", "POST", [("X-Large", "x" * 100_000)], body=b'{"items": []}')
        assert connection.read_head().status in range(400, 500)
    finally:
        connection.close()


@pytest.mark.grip("control door: limits")
@pytest.mark.parametrize("length", ["x", "-1", "1x"])
def test_length_of_a_publish_that_is_none(case: Case, length: str) -> None:
    """A Content-Length that is no number is refused."""
    assert 400 == case.control("/publish/", fields=[("Content-Length", length)]).status


@pytest.mark.slow
@pytest.mark.grip("publishing: message_hwm")
def test_many_deliveries(case: Case) -> None:
    """All of 40,000 deliveries that are published at once reach their streams, in order."""
    case.answer(held(case.channel))
    with case.with_another_proxy() as own:  # those that Pushpin delays and drops are of all cases
        connections = [own.stream() for _ in range(200)]
        own.settle()
        own.say(*(f"{number:03}" for number in range(200)))
        expected = b"".join(b"%03d" % number for number in range(200))
        assert all(expected == connection.read_data(len(expected)) for connection in connections)


@pytest.mark.slow
@pytest.mark.grip("instructions in fields: Grip-Keep-Alive")
def test_keep_alive_defaults_to_55_seconds(case: Case) -> None:
    """Without a timeout, a keep-alive is sent after 55 seconds, or a little earlier."""
    case.answer(held(case.channel, Grip_Keep_Alive="beat"))
    connection = case.stream()
    assert not connection.readable(48)
    assert connection.readable(8)
    assert b"beat" == connection.read_data(4)


@pytest.mark.slow
@pytest.mark.grip("next links")
def test_link_that_fails_for_good(case: Case) -> None:
    """A next link is asked for five times more, with pauses that double from one second; then the stream ends."""
    case.answer(held(case.channel, b"one", Grip_Link=f"<{case.path}/next>; rel=next"))
    case.answer(Reply(b"oops", status=503), at="/next")
    connection = case.stream()
    case.settle()
    started = time.monotonic()
    case.publish({"http-stream": {"action": "hint"}})
    assert connection.readable(10)
    assert b"one" == connection.read_data(3)
    assert connection.readable(40)
    assert 30 < time.monotonic() - started < 40
    assert 6 == case.backend.waiting(f"{case.path}/next")
