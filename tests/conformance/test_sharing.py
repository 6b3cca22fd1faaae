"""Which requests to the backend are one for several clients, and which never are."""

import pytest

from tests.conformance.backend import Reply, Request
from tests.conformance.case import Case, held


@pytest.mark.grip("next links: sharing")
def test_equal_links_are_asked_once(case: Case) -> None:
    """Streams that have the same link and know the same ask for it once, and each gets the answer."""
    gate = case.backend.gate()
    link = f"<{case.path}/next>; rel=next"
    case.answer(held(case.channel), at="/watch")
    case.answer(held(case.channel, b"begin|", Grip_Link=link))
    case.answer(Reply(b"end", before=[gate]), at="/next")
    case.stream("/watch")
    connections = [case.stream() for _ in range(5)]
    assert [b"begin|"] * 5 == [connection.read_data(6) for connection in connections]
    case.settle()
    case.publish({"http-stream": {"action": "hint"}})
    case.taken("/next")
    case.settle()
    gate.open()
    assert [b"end"] * 5 == [connection.read_rest() for connection in connections]
    assert 0 == case.backend.waiting(case.path + "/next")


@pytest.mark.grip("next links: sharing")
def test_links_are_not_shared_by_who_knows_less(case: Case) -> None:
    """Streams that have the same link and know different ids each get what follows for them."""

    def after(request: Request) -> Reply:
        (last_id,) = (member.rpartition("=")[2] for member in request.last_ids)
        return Reply(f"after {last_id}".encode())

    link = f"<{case.path}/next>; rel=next"
    case.answer(after, at="/next")
    connections = []
    for last_id in ("1", "2"):
        case.answer(held(f"{case.channel}; prev-id={last_id}", Grip_Link=link))
        connections.append(case.stream())
    case.settle()
    case.publish({"http-stream": {"action": "hint"}, "no-seq": True})
    assert [b"after 1", b"after 2"] == [connection.read_rest() for connection in connections]


@pytest.mark.grip("requests: sharing")
@pytest.mark.parametrize("mode", ["", "response", "stream"])
def test_equal_requests_are_not_shared(case: Case, mode: str) -> None:
    """Two clients that ask for the same at the same time are two requests to the backend."""
    gate = case.backend.gate()
    answer = held(case.channel, b"x", mode) if mode else Reply(b"x")
    case.answer(Reply(answer.body, answer.fields, before=[gate]))
    connections = [case.ask(), case.ask()]
    assert case.taken().connection != case.taken().connection
    gate.open()
    case.settle()
    case.publish({"http-response": {"body": "x"}, "http-stream": {"action": "close"}})
    assert [b"x", b"x"] == [connection.read_response().body for connection in connections]
