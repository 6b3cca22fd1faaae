"""A PUB socket whose subscribers are in this process, so that no byte leaves it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from gripproxy.zeromq.sockets import Publisher

QUEUE = 10

Subscribe = Callable[..., Any]


@pytest.fixture
def context() -> Iterator["zmq.Context[Any]"]:
    with zmq.Context() as context:
        yield context


@pytest.fixture
def socket(context: "zmq.Context[Any]") -> Iterator[Any]:
    with context.socket(zmq.PUB) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        yield socket


@pytest.fixture
def publisher(socket: Any) -> Publisher:
    made = Publisher(socket, QUEUE)
    socket.bind("inproc://statistics")
    return made


@pytest.fixture
def subscribe(context: "zmq.Context[Any]", socket: Any, publisher: Publisher) -> Iterator[Subscribe]:
    """Makes a subscriber that is known to the publisher."""
    made: list[Any] = []

    def make(topic: bytes = b"") -> Any:
        one = context.socket(zmq.SUB)
        made.append(one)
        one.setsockopt(zmq.RCVHWM, QUEUE)
        one.connect("inproc://statistics")
        one.subscribe(topic)
        socket.getsockopt(zmq.EVENTS)
        return one

    yield make
    for one in made:
        one.close(linger=0)


def read(one: Any) -> list[bytes]:
    """Return all that is there."""
    found = []
    while one.getsockopt(zmq.EVENTS) & zmq.POLLIN:
        found.append(one.recv())
    return found


def test_without_subscribers_nothing_is_lost(publisher: Publisher) -> None:
    assert all(publisher.send(b"x") for _ in range(10 * QUEUE))


def test_subscribers_choose_by_the_beginning(subscribe: Subscribe, publisher: Publisher) -> None:
    one = subscribe(b"sub ")
    for data in (b"conn a", b"sub b", b"sub c"):
        assert publisher.send(data)

    assert [b"sub b", b"sub c"] == read(one)


def test_a_subscriber_that_does_not_read_loses_messages_and_no_other_does(
    subscribe: Subscribe, publisher: Publisher, socket: Any
) -> None:
    slow, fast = subscribe(), subscribe()
    sent = [b"%d" % number for number in range(10 * QUEUE)]
    results, received = [], []
    for data in sent:
        results.append(publisher.send(data))
        received += read(fast)

    assert sent == received
    room = 2 * QUEUE  # of both sides
    assert [True] * room + [False] + [True] * (len(sent) - room - 1) == results
    assert sent[:room] == read(slow)

    socket.getsockopt(zmq.EVENTS)
    assert publisher.send(b"again")
    assert [b"again"] == read(slow)
