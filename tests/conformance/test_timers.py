"""Timers of HTTP holds, links, items and the doors, as long as they really are by default.

Most cases are slow and run at the same time: none takes longer than a next link's two minutes.
"""

import json
import time

import pytest

from tests.conformance.backend import Reply
from tests.conformance.case import Case, held, within
from tests.conformance.client import Connection

# --- holds


@pytest.mark.slow
@pytest.mark.grip("instructions in fields: Grip-Timeout")
def test_long_poll_of_more_than_a_minute(case: Case) -> None:
    """A long-poll lasts as long as it was told, also beyond a minute."""
    case.answer(held(case.channel, b"nothing", "response", Grip_Timeout="75"))
    connection = case.poll()
    assert not connection.readable(68)
    case.resolve("something")
    assert b"something" == connection.read_response().body


@pytest.mark.slow
@pytest.mark.grip("stream holds")
def test_quiet_stream(case: Case) -> None:
    """A stream on which nothing came for more than a minute still gets what is published."""
    case.answer(held(case.channel))
    connection = case.stream()
    assert not connection.readable(70)
    case.say("still there")
    assert b"still there" == connection.read_data(11)


# --- links


def watched(case: Case) -> None:
    """Subscribes somebody else to the channel long before the case does: Pushpin refreshes who comes with the first."""
    case.answer(held(case.channel), at="/watch")
    case.stream("/watch")
    time.sleep(3)


@pytest.mark.slow
@pytest.mark.grip("next links: timeout")
def test_next_link_is_polled_after_120_seconds(case: Case) -> None:
    """Without a timeout, a quiet stream fetches its next link after 120 seconds, or a little earlier."""
    watched(case)
    case.answer(held(case.channel, b"one ", Grip_Link=f"<{case.path}/next>; rel=next"))
    case.answer(Reply(b"two"), at="/next")
    connection = case.stream()
    assert b"one " == connection.read_data(4)
    assert not connection.readable(105)
    assert connection.readable(20)
    assert b"two" == connection.read_rest()


@pytest.mark.slow
@pytest.mark.grip("next links: timeout")
def test_busy_stream_does_not_poll_its_next_link(case: Case) -> None:
    """A stream on which items come within the link's timeout does not fetch it until they stop."""
    watched(case)
    case.answer(held(case.channel, Grip_Link=f"<{case.path}/next>; rel=next; timeout=6"))
    case.answer(Reply(b"end"), at="/next")
    connection = case.stream()
    for _ in range(12):
        time.sleep(1.5)
        case.say("x")
    assert 0 == case.backend.waiting(case.path + "/next")
    assert b"x" * 12 + b"end" == connection.read_rest()


# --- items


@pytest.mark.slow
@pytest.mark.grip("order and duplicates: id_cache_ttl")
def test_duplicates_are_known_for_a_minute(case: Case) -> None:
    """An id is known for a minute: within it an item with this id is dropped, behind it the item is a new one."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.say("a", id="1")
    time.sleep(50)
    case.say("b", id="1")
    assert b"a" == connection.read_data(1)
    assert not connection.readable(18)
    case.say("c", id="1")
    assert b"c" == connection.read_data(1)


@pytest.mark.slow
@pytest.mark.grip("filters: http-check")
def test_filter_that_does_not_answer(case: Case) -> None:
    """A filter's question that is not answered within ten seconds costs the item, and the next one is asked about."""
    case.answer(held(f"{case.channel}; filter=http-check", Grip_Set_Meta=f'url="{case.path}/check"'))
    case.answer(Reply(before=[case.backend.gate()]), Reply(), at="/check")
    connection = case.stream()
    case.say("never")
    case.say("next")
    started = time.monotonic()
    assert connection.readable(14)
    assert b"next" == connection.read_data(4)
    assert time.monotonic() - started > 8


# --- the client's connection


@pytest.mark.slow
@pytest.mark.grip("HTTP")
def test_kept_connection(case: Case) -> None:
    """A client's connection is kept for 50 seconds and more between two requests."""
    case.answer(Reply(b"ok"))
    connection = case.connect()
    assert b"ok" == connection.request(case.path).read_response().body
    time.sleep(50)
    assert b"ok" == connection.request(case.path).read_response().body


@pytest.mark.slow
@pytest.mark.grip("HTTP")
@pytest.mark.parametrize("sent", [b"", b"GET /x HTTP/1.1\r\nHost: x\r\nX-Own: "], ids=["nothing", "half a head"])
def test_client_that_sends_no_request_is_let_go(case: Case, sent: bytes) -> None:
    """A client that connects and does not send a whole request is let go within 100 seconds."""
    connection = case.connect()
    connection.send(sent)
    assert connection.readable(100)
    assert connection.read_all()[:9] in (b"", b"HTTP/1.1 ")


# --- the backend's connection


@pytest.mark.slow
@pytest.mark.grip("requests")
def test_connection_to_the_backend_is_pooled(case: Case) -> None:
    """A backend's connection is used again, and ended by the proxy when it was idle for a minute at most."""
    spare = case.spare()
    backend = spare.start()
    backend.on(case.path, Reply(b"ok"))
    numbers = []
    for _ in range(3):
        assert b"ok" == case.get(host=spare.host).body
        numbers.append(backend.take(case.path).connection)
    assert 1 == len(set(numbers))
    time.sleep(5)
    assert backend.is_open(numbers[0])
    assert within(65, lambda: not backend.is_open(numbers[0]))


@pytest.mark.slow
@pytest.mark.grip("requests")
def test_backend_that_does_not_answer(case: Case) -> None:
    """A backend that does not begin to answer within about a minute is a 504."""
    case.answer(Reply(before=[case.backend.gate()]))
    connection = case.ask()
    case.taken()
    assert connection.readable(70)
    assert 504 == connection.read_response().status


@pytest.mark.slow
@pytest.mark.grip("responses")
def test_backend_that_pauses_in_a_body(case: Case) -> None:
    """A pause of more than a minute in the middle of a response is not its end."""
    case.answer(Reply([b"one ", 70.0, b"two"], framing="chunked"))
    connection = case.ask()
    assert 200 == connection.read_head().status
    assert b"one " == connection.read_data(4)
    assert connection.readable(75)
    assert b"two" == connection.read_rest()


# --- the publishers' door


@pytest.mark.slow
@pytest.mark.grip("control door: limits")
def test_publish_without_an_end(case: Case) -> None:
    """A publish whose body does not come is given up within 40 seconds, with a client error."""
    connection = Connection(*case.proxy.control)
    try:
        connection.request("/publish/", "POST", [("Content-Length", "100")]).send(b'{"items": [')
        assert connection.readable(40)
        assert connection.read_response().status in (400, 408)
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.grip("ZeroMQ: SUB; response holds: subscription_linger")
@pytest.mark.parametrize("mode", ["response", "stream"])
def test_channel_lingers(case: Case, mode: str) -> None:
    """A channel counts as subscribed for a minute after the last long-poll has left: its clients come again."""
    zmq = pytest.importorskip("zmq", reason="needs pyzmq")
    if case.proxy.sub is None:
        pytest.skip("the address is not known")
    with zmq.Context() as context, context.socket(zmq.XPUB) as publisher:
        publisher.linger = 0
        publisher.connect(case.proxy.sub)

        def is_told(message: bytes, seconds: float) -> bool:
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0 and publisher.poll(left * 1000):
                if publisher.recv() == message:
                    return True
            return False

        channel = case.channel.encode()
        case.answer(held(case.channel, b"", mode))
        connection = case.ask()
        assert is_told(b"\1" + channel, 10)
        formats = {"http-stream": {"content": "x"}, "http-response": {"body": "x"}}
        publisher.send_multipart([channel, b"J" + json.dumps({"formats": formats}).encode()])
        connection.read_head()
        assert b"x" == connection.read_data(1)
        connection.close()
        if mode == "response":
            assert not is_told(b"\0" + channel, 52)
        assert is_told(b"\0" + channel, 75)
