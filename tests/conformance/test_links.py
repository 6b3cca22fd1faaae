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


@pytest.mark.grip("gone links")
def test_gone_link_of_a_poll(case: Case) -> None:
    """The gone link of a long-poll is told when it was answered."""
    case.answer(held(case.channel, b"", "response", Grip_Link=f"<{case.path}/gone>; rel=gone"))
    case.answer(Reply(), at="/gone")
    connection = case.poll()
    assert 0 == case.backend.waiting(case.path + "/gone")
    case.resolve("x")
    assert b"x" == connection.read_response().body
    assert "POST" == case.backend.take(case.path + "/gone", 2).method


@pytest.mark.grip("gone links")
def test_gone_link_of_the_first_answer(case: Case) -> None:
    """The answer to a next link does not change the gone link."""
    links = f"<{case.path}/next>; rel=next, <{case.path}/{{}}>; rel=gone"
    case.answer(held(case.channel, b"one ", Grip_Link=links.format("gone")))
    case.answer(held(case.channel, b"two ", Grip_Link=links.format("other")), at="/next")
    case.answer(Reply(), at="/gone")
    connection = case.stream()
    case.publish({"http-stream": {"action": "hint"}})
    assert b"one two " == connection.read_data(4) + connection.read_data(4)
    connection.close()
    assert "POST" == case.backend.take(case.path + "/gone", 2).method
    assert 0 == case.backend.waiting(case.path + "/other")


@pytest.mark.grip("instructions in fields: Grip-Link")
@pytest.mark.parametrize(
    "links",
    [
        ["<{path}/first>; rel=next, <{path}/last>; rel=next"],
        ["<{path}/first>; rel=next", "<{path}/last>; rel=next"],
        ["<{path}/last>; rel=next", "<{path}/first>; rel=prev"],
        ["<{path}/last>; rel=next, <{path}/first>"],
        ['<{path}/last>; timeout=30; rel="next"; own=1'],
        ["<{path}/last>;REL=next;TIMEOUT=30"],
    ],
    ids=["list", "fields", "other relation", "no relation", "quoted", "upper case"],
)
def test_which_next_link_counts(case: Case, links: list[str]) -> None:
    """Of several next links the last one counts; links of other relations or of none mean nothing."""
    fields = [("Grip-Link", link.format(path=case.path)) for link in links]
    case.answer(Reply(b"one ", fields))
    case.answer(Reply(b"first"), at="/first")
    case.answer(Reply(b"last"), at="/last")
    assert b"one last" == case.get().body
