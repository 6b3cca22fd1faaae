"""WebSockets over HTTP in front of two backends, of which the first fails in mid-session.

The backends of a route are alike, so that a conversation goes on with the next one; what it was not answered is sent
again there.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.backend import DEADLINE, RESET, Backend, Reply, control, opened
from tests.conformance.case import Case
from tests.conformance.proxies import Proxy
from tests.integration.door import start_door
from tests.integration.processes import Processes
from tests.integration.websocket.conftest import accepting, echo
from tests.ports import free_port

Two = tuple[Case, Backend, Backend]
CUT = Reply([RESET], raw=True)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    """A proxy before two backends; the case's is the first."""
    one, other = Backend(free_port()), Backend(free_port())
    urls = ", ".join(f'"http://127.0.0.1:{backend.port}"' for backend in (one, other))
    with Processes(tmp_path) as processes:
        door = start_door(processes, f'[[routes]]\nhost = "*"\nbackends = [{urls}]\nconnect_timeout = 1\n')
        proxy = Proxy("door", ("127.0.0.1", door.port), ("127.0.0.1", door.control_port))
        case = Case(proxy, one, "failover", DEADLINE)
        yield case, one, other
        case.close()
    one.stop()
    other.stop()


def test_a_backend_that_dies_is_replaced(two: Two) -> None:
    """Nothing of what the client sends is lost, the conversation keeps its id, and its subscriptions go on."""
    case, one, other = two
    case.answer(accepting(control(type="subscribe", channel="news"), ("TEXT", "m:ready")))
    other.on(case.path, echo)
    client = case.connect()
    assert 101 == client.upgrade(case.path).status
    assert "ready" == client.read_text()
    opening = case.taken()
    one.stop()
    client.send_text("first")
    client.send_text("second")
    assert ["first", "second"] == [client.read_text(), client.read_text()]
    request = other.take(case.path)
    assert opening.value("Connection-Id") == request.value("Connection-Id")
    assert b"TEXT 5\r\nfirst\r\n" == request.body[:15]
    case.tell("published", channel="news")
    assert "published" == client.read_text()


def test_the_end_of_a_client_is_told_to_the_backend_that_is_left(two: Two) -> None:
    case, one, other = two
    case.answer(accepting(("TEXT", "m:ready")))
    other.on(case.path, echo)
    client = case.connect()
    client.upgrade(case.path)
    assert "ready" == client.read_text()
    one.stop()
    client.reset()
    assert b"DISCONNECT\r\n" == other.take(case.path).body


@pytest.mark.parametrize("failure", [CUT, Reply(b"no workers\n", status=503)], ids=["cut", "503"])
def test_a_backend_that_fails_every_request_is_replaced(two: Two, failure: Reply) -> None:
    """It can be reached, but does not answer as it should: what was sent to it goes to the next one."""
    case, _, other = two
    case.answer(opened(("TEXT", "m:ready")), failure)
    other.on(case.path, echo)
    client = case.connect()
    client.upgrade(case.path)
    assert "ready" == client.read_text()
    client.send_text("again")
    assert "again" == client.read_text()
    assert b"TEXT 5\r\nagain\r\n" == other.take(case.path).body
