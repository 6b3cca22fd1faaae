"""Timers of WebSockets, as long as they are by default: keep-alives, repeated requests, closes and handshakes."""

import time

import pytest

from tests.conformance import frames
from tests.conformance.backend import Reply, control, events, opened
from tests.conformance.case import Case

# --- the session


@pytest.mark.slow
@pytest.mark.grip("WebSockets")
def test_quiet_socket(case: Case) -> None:
    """A WebSocket on which nothing came for more than a minute still gets what is published."""
    case.answer(opened(control(type="subscribe", channel=case.channel)), events())
    connection = case.socket()
    assert not connection.readable(75)
    case.tell("still there")
    assert "still there" == connection.read_text()


@pytest.mark.slow
@pytest.mark.grip("control messages: keep-alive")
def test_keep_alive_message_after_55_seconds(case: Case) -> None:
    """Without a timeout, a keep-alive message is sent after 55 seconds, or a little earlier."""
    case.answer(opened(control(type="keep-alive", content="beat")), events())
    connection = case.socket()
    assert not connection.readable(48)
    assert connection.readable(8)
    assert "beat" == connection.read_text()


@pytest.mark.grip("control messages: send-delayed")
def test_delayed_message_after_a_second(case: Case) -> None:
    """Without a timeout, a delayed message is sent after a second."""
    case.answer(opened(("TEXT", "m:now"), control(type="send-delayed", content="later")), events())
    connection = case.connect()
    assert 101 == connection.upgrade(case.path).status
    assert "now" == connection.read_text()
    started = time.monotonic()
    assert "later" == connection.read_text()
    assert 0.7 < time.monotonic() - started < 3


# --- Keep-Alive-Interval


@pytest.mark.slow
@pytest.mark.grip("WebSocket-over-HTTP: Keep-Alive-Interval")
def test_keep_alive_interval_lasts(case: Case) -> None:
    """An interval lasts until an answer names another, and what is none ends it."""
    case.answer(
        opened(Keep_Alive_Interval="20"),
        events(("TEXT", "m:one")),
        events(("TEXT", "m:two"), Keep_Alive_Interval="0"),
        events(("TEXT", "m:three")),
    )
    connection = case.socket()
    for text in ("one", "two"):
        assert connection.readable(25)
        assert text == connection.read_text()
    assert not connection.readable(25)


@pytest.mark.slow
@pytest.mark.grip("WebSocket-over-HTTP: Keep-Alive-Interval")
def test_traffic_puts_the_keep_alive_off(case: Case) -> None:
    """The interval counts from the last request, so that a busy connection makes no empty ones."""
    case.answer(opened(Keep_Alive_Interval="20"), events())
    connection = case.socket()
    case.taken()
    for _ in range(5):
        time.sleep(5)
        connection.send_text("x")
        assert b"TEXT 1\r\nx\r\n" == case.taken().body
    assert b"" == case.backend.take(case.path, 25).body


@pytest.mark.slow
@pytest.mark.grip("WebSocket-over-HTTP: opening")
def test_decision_that_is_put_off(case: Case) -> None:
    """A backend that answers the opening with an interval alone is asked again, until it accepts."""
    case.answer(events(Keep_Alive_Interval="20"), opened(("TEXT", "m:welcome")), events())
    connection = case.connect()
    started = time.monotonic()
    connection.begin_upgrade(case.path)
    assert connection.readable(25)
    assert 101 == connection.end_upgrade().status
    assert time.monotonic() - started > 15
    assert "welcome" == connection.read_text()


# --- a backend that is away


@pytest.mark.slow
@pytest.mark.grip("WebSocket-over-HTTP: retries")
def test_request_is_repeated_until_the_backend_is_back(case: Case) -> None:
    """A backend that cannot be connected to is asked again after 1, 2 and 4 seconds; nothing is lost or comes twice."""
    spare = case.spare()
    spare.start().on(case.path, opened(), events())
    connection = case.connect()
    assert 101 == connection.upgrade(case.path, host=spare.host).status
    spare.stop()
    connection.send_text("one")
    time.sleep(5)
    connection.send_text("two")
    backend = spare.start()
    backend.on(case.path, events(("TEXT", "m:here")), events())
    assert "here" == connection.read_text()
    body = backend.take(case.path).body
    if not body.endswith(b"two\r\n"):
        body += backend.take(case.path).body
    assert b"TEXT 3\r\none\r\nTEXT 3\r\ntwo\r\n" == body


@pytest.mark.slow
@pytest.mark.grip("WebSocket-over-HTTP: retries")
def test_request_that_fails_for_good(case: Case) -> None:
    """A request is repeated five times, with pauses that double from one second; then the connection ends."""
    spare = case.spare()
    spare.start().on(case.path, opened(), events())
    connection = case.connect()
    assert 101 == connection.upgrade(case.path, host=spare.host).status
    spare.stop()
    started = time.monotonic()
    connection.send_text("x")
    assert connection.readable(45)
    assert 30 < time.monotonic() - started < 42
    assert connection.is_cut()


@pytest.mark.slow
@pytest.mark.grip("WebSocket-over-HTTP: DISCONNECT")
def test_lost_client_is_told_when_the_backend_is_back(case: Case) -> None:
    """A backend that is away when a client is lost is told so when it is back."""
    spare = case.spare()
    spare.start().on(case.path, opened(), events())
    connection = case.connect()
    assert 101 == connection.upgrade(case.path, host=spare.host).status
    spare.stop()
    connection.reset()
    time.sleep(2)
    backend = spare.start()
    backend.on(case.path, events("DISCONNECT"))
    assert b"DISCONNECT\r\n" == backend.take(case.path).body


# --- closes and handshakes


@pytest.mark.slow
@pytest.mark.grip("WebSockets: close")
def test_client_that_does_not_answer_a_close(case: Case) -> None:
    """A client that does not answer a close is cut within 20 seconds."""
    case.answer(opened(control(type="subscribe", channel=case.channel)), events())
    connection = case.socket()
    case.publish({"ws-message": {"action": "close", "code": 4000}})
    assert 4000 == connection.read_frame().code
    assert connection.readable(20)
    assert connection.ended()


@pytest.mark.slow
@pytest.mark.grip("WebSocket-over-HTTP: CLOSE")
def test_backend_that_does_not_answer_a_close(case: Case) -> None:
    """A client that closes does not wait longer than 20 seconds for a backend that does not answer its CLOSE."""
    case.answer(opened(), Reply(before=[case.backend.gate()]))
    connection = case.socket()
    case.taken()
    connection.send_close(4000)
    assert case.taken().body.startswith(b"CLOSE")
    assert connection.readable(20)
    assert frames.close(4000) == connection.read_frame()
    assert connection.ended()


@pytest.mark.slow
@pytest.mark.grip("WebSockets")
def test_backend_that_does_not_decide(case: Case) -> None:
    """A backend that neither accepts nor refuses a WebSocket within about a minute is a 504."""
    case.answer(Reply(before=[case.backend.gate()]))
    connection = case.connect()
    connection.begin_upgrade(case.path)
    case.taken()
    assert connection.readable(70)
    assert 504 == connection.read_response().status
