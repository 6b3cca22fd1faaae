"""Links that do not lead back to the route of the request."""

import pytest

from tests.conformance.backend import Reply
from tests.conformance.case import Case, held


@pytest.mark.grip("next links")
def test_next_link_to_another_server(case: Case) -> None:
    """A link with another host and port is asked for there, and its answer goes on with the stream."""
    spare = case.spare()
    elsewhere = spare.start()
    link = f"http://127.0.0.1:{elsewhere.port}{case.path}/next?x=1"
    elsewhere.on(case.path + "/next", held(f"{case.channel}; prev-id=2", b"two ", Grip_Link=f"<{link}>; rel=next"))
    case.answer(held(f"{case.channel}; prev-id=1", b"one ", Grip_Link=f"<{link}>; rel=next"))
    connection = case.stream()
    case.publish({"http-stream": {"action": "hint"}})
    assert b"one two " == connection.read_data(4) + connection.read_data(4)
    request = elsewhere.take(case.path + "/next")
    assert ("GET", "x=1", f"127.0.0.1:{elsewhere.port}") == (
        request.method,
        request.target.partition("?")[2],
        request.value("Host"),
    )
    assert {f"{case.channel}; last-id=1"} == request.last_ids
    case.settle()
    case.say("three", id="3", prev_id="2")
    assert b"three" == connection.read_data(5)


@pytest.mark.grip("gone links")
def test_gone_link_that_fails(case: Case) -> None:
    """A gone link is told once, whatever it is answered."""
    case.answer(held(case.channel, Grip_Link=f"<{case.path}/gone>; rel=gone"))
    case.answer(Reply(b"oops", status=500), at="/gone")
    case.stream().close()
    assert "POST" == case.backend.take(case.path + "/gone", 2).method
    with pytest.raises(AssertionError):
        case.backend.take(case.path + "/gone", 2)
