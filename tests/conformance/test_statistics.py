"""The statistics: who subscribes is told what goes on, in members of the same names and types."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conformance.backend import Reply, Request, control, events, opened
from tests.conformance.case import Case, held
from tests.conformance.proxies import STATS_TTL

zmq = pytest.importorskip("zmq", reason="needs pyzmq")
tnetstring = pytest.importorskip("tnetstring", reason="needs tnetstring3")

Members = dict[bytes, Any]
NAMED = "counted.test"  # its route has an id


class Listener:
    """A SUB socket, and all that it was told."""

    def __init__(self, socket: Any, deadline: float) -> None:
        self._socket = socket
        self._deadline = deadline
        self.told: list[tuple[bytes, Members]] = []

    def _receive(self, until: float) -> bool:
        if not self._socket.poll(max(0, (until - time.monotonic()) * 1000)):
            return False
        kind, _, rest = self._socket.recv().partition(b" ")
        assert b"T" == rest[:1]
        self.told.append((kind, tnetstring.loads(rest[1:])))
        return True

    def wait(self, kind: bytes, is_it: Callable[[Members], bool] = lambda members: True) -> Members:
        """Return the first of a kind that is it, and forget it; the proxies' orders differ."""
        until = time.monotonic() + self._deadline
        seen = 0
        while True:
            for index in range(seen, len(self.told)):
                name, members = self.told[index]
                if name == kind and is_it(members):
                    del self.told[index]
                    return without_sender(members)
            seen = len(self.told)
            assert self._receive(until), self.told

    def of(self, channel: str, kind: bytes, **more: Any) -> Members:
        """Return the first of a kind that is about a channel and has these members."""
        wanted = {b"channel": channel.encode(), **{name.encode(): value for name, value in more.items()}}
        return self.wait(kind, lambda members: wanted.items() <= members.items())

    def is_there(self) -> bool:
        return self._receive(time.monotonic() + 0.2)

    def drain(self) -> None:
        """Forget what was told, and keep what is told until there is silence."""
        self.told.clear()
        while self.is_there():
            pass


def without_sender(members: Members) -> Members:
    """The members but for who tells, which must be a name."""
    assert isinstance(members[b"from"], bytes)
    return {name: value for name, value in members.items() if name != b"from"}


@pytest.fixture
def listener(case: Case) -> Iterator[Listener]:
    """Somebody who is told everything from now on."""
    if case.proxy.stats is None:
        pytest.skip("the address is not known")
    if not case.proxy.has_routes:
        pytest.skip("the routes are not known")
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.subscribe(b"")
        socket.connect(case.proxy.stats)
        one = Listener(socket, case.deadline)
        until = time.monotonic() + case.deadline
        while not one.is_there():
            assert time.monotonic() < until
            case.settle()
        one.drain()
        yield one


def is_named(members: Members) -> bool:
    """Whether a connection of the route that only these cases use begins, or goes on."""
    return members.get(b"route") == b"counted" and b"unavailable" not in members


def is_end_of(name: bytes) -> Callable[[Members], bool]:
    return lambda members: members[b"id"] == name and b"unavailable" in members


def is_new(name: bytes) -> Callable[[Members], bool]:
    return lambda members: members[b"id"] == name and b"unavailable" not in members


@pytest.mark.grip("ZeroMQ: statistics")
def test_requests_are_counted(case: Case, listener: Listener) -> None:
    """activity and counts tell of requests."""
    case.answer(Reply(b"x"))
    case.get()
    assert 1 <= listener.wait(b"activity").pop(b"count")
    counts = listener.wait(b"counts")
    assert {b"requests-received"} == set(counts)
    assert 1 <= counts[b"requests-received"]


@pytest.mark.grip("ZeroMQ: statistics")
def test_stream_is_told(case: Case, listener: Listener) -> None:
    """A stream's subscription and connection are told when they begin, again and again, and when they end."""
    case.answer(held(case.channel))
    connection = case.stream(host=NAMED)
    assert {
        b"mode": b"stream",
        b"channel": case.channel.encode(),
        b"ttl": STATS_TTL,
        b"subscribers": 1,
    } == listener.of(case.channel, b"sub")
    listener.of(case.channel, b"sub", subscribers=1)
    began = listener.wait(b"conn", is_named)
    name = began[b"id"]
    assert isinstance(name, bytes)
    assert {
        b"id": name,
        b"route": b"counted",
        b"type": b"http",
        b"peer-address": b"127.0.0.1",
        b"ttl": STATS_TTL,
    } == began
    listener.wait(b"conn", is_new(name))

    connection.close()
    assert {b"mode": b"stream", b"channel": case.channel.encode(), b"unavailable": True} == listener.of(
        case.channel, b"sub", unavailable=True
    )
    assert True is listener.wait(b"conn", is_end_of(name))[b"unavailable"]


@pytest.mark.grip("ZeroMQ: statistics")
def test_subscribers_are_counted(case: Case, listener: Listener) -> None:
    """The number of a channel's subscribers is told as it changes."""
    case.answer(held(case.channel))
    first = case.stream()
    listener.of(case.channel, b"sub", subscribers=1)
    second = case.stream()
    listener.of(case.channel, b"sub", subscribers=2)
    first.close()
    listener.of(case.channel, b"sub", subscribers=1)
    second.close()
    listener.of(case.channel, b"sub", unavailable=True)


@pytest.mark.grip("ZeroMQ: statistics")
def test_long_poll_is_told(case: Case, listener: Listener) -> None:
    """A long-poll has a mode of its own."""
    case.answer(held(case.channel, mode="response"))
    case.poll()
    assert {
        b"mode": b"response",
        b"channel": case.channel.encode(),
        b"ttl": STATS_TTL,
        b"subscribers": 1,
    } == listener.of(case.channel, b"sub")


@pytest.mark.grip("ZeroMQ: statistics")
@pytest.mark.parametrize("again", ["held", "answered"])
def test_long_poll_that_is_asked_again_is_the_same_connection(case: Case, listener: Listener, again: str) -> None:
    """A long-poll keeps its id while its backend is asked again, and is over when that answers."""
    answers = [held(case.channel, mode="response")] * (2 if again == "held" else 1)
    case.answer(*answers, Reply(b"news"))
    client = case.ask(host=NAMED)
    name = listener.wait(b"conn", is_named)[b"id"]
    is_over = is_end_of(name)
    for _ in answers:
        listener.drain()
        assert not any(kind == b"conn" and is_over(members) for kind, members in listener.told)
        case.taken()
        case.publish({"http-response": {"action": "hint"}})
    assert b"news" == client.read_response().body
    listener.wait(b"conn", is_over)


@pytest.mark.grip("ZeroMQ: statistics")
def test_websocket_is_told(case: Case, listener: Listener) -> None:
    """A WebSocket goes by its Connection-Id."""

    def answer(request: Request) -> Reply:
        subscribe = control(type="subscribe", channel=case.channel)
        return opened(subscribe) if b"OPEN\r\n" in request.body else events()

    case.answer(answer)
    client = case.socket()
    name = str(case.taken().value("Connection-Id")).encode()
    assert {b"id": name, b"type": b"ws", b"peer-address": b"127.0.0.1", b"ttl": STATS_TTL} == listener.wait(
        b"conn", is_new(name)
    )
    assert {
        b"mode": b"ws",
        b"channel": case.channel.encode(),
        b"ttl": STATS_TTL,
        b"subscribers": 1,
    } == listener.of(case.channel, b"sub")
    client.close()
    listener.of(case.channel, b"sub", mode=b"ws", unavailable=True)


@pytest.mark.grip("ZeroMQ: statistics")
def test_item_is_told_with_its_receivers(case: Case, listener: Listener) -> None:
    """An item is told once for each of its formats that has receivers."""
    case.answer(held(case.channel))
    case.answer(held(case.channel, mode="response"), at="/poll")
    streams = [case.stream(), case.stream()]
    case.poll("/poll")
    case.publish({"http-stream": {"content": "x"}, "http-response": {"body": "x"}, "id": "1"})
    case.say("y")
    assert [b"xy", b"xy"] == [stream.read_data(2) for stream in streams]
    channel = case.channel.encode()
    assert {b"channel": channel, b"item-id": b"1", b"count": 2, b"transport": b"http-stream"} == listener.of(
        case.channel, b"message", transport=b"http-stream"
    )
    assert {b"channel": channel, b"count": 2, b"transport": b"http-stream"} == listener.of(
        case.channel, b"message", transport=b"http-stream"
    )


@pytest.mark.grip("ZeroMQ: statistics")
def test_item_is_told_to_long_polls_first(case: Case, listener: Listener) -> None:
    """Of an item's formats http-response is told first."""
    case.answer(held(case.channel))
    case.answer(held(case.channel, mode="response"), at="/poll")
    case.stream()
    case.poll("/poll")
    case.publish({"http-stream": {"content": "x"}, "http-response": {"body": "x"}})
    told = [listener.of(case.channel, b"message")[b"transport"] for _ in range(2)]
    assert [b"http-response", b"http-stream"] == told


@pytest.mark.grip("ZeroMQ: statistics")
def test_report_has_sums(case: Case, listener: Listener) -> None:
    """A report has the sums of its time; of its members all are numbers, and these are always there."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.say("x")
    connection.read_data(1)
    report = listener.wait(b"report", lambda members: members[b"received"] > 0)
    assert all(type(value) is int for value in report.values())
    assert {b"connections", b"minutes", b"received", b"sent", b"http-response-sent", b"duration"} <= set(report)
    assert report[b"connections"] >= 1
    assert report[b"sent"] >= 1
    assert 500 < report[b"duration"] < 3000


@pytest.mark.grip("ZeroMQ: statistics")
def test_route_with_an_id_is_named(case: Case, listener: Listener) -> None:
    """Where a route has an id, its requests and connections are told with it."""
    case.answer(held(case.channel))
    case.stream(host=NAMED)
    assert b"http" == listener.wait(b"conn", is_named)[b"type"]
    listener.wait(b"activity", lambda members: members.get(b"route") == b"counted")
    listener.wait(b"report", lambda members: members.get(b"route") == b"counted" and members[b"minutes"] == 1)


@pytest.mark.grip("ZeroMQ: statistics")
def test_what_is_held_on_a_route_with_an_id_has_sums_of_its_own(case: Case, listener: Listener) -> None:
    """Deliveries count for the route of the client that is held."""
    case.answer(held(case.channel))
    connection = case.stream(host=NAMED)
    case.say("x")
    connection.read_data(1)
    report = listener.wait(b"report", lambda members: members.get(b"route") == b"counted" and members[b"sent"] > 0)
    assert (1, 1, 0) == (report[b"connections"], report[b"sent"], report[b"received"])


@pytest.mark.grip("ZeroMQ: statistics")
def test_request_that_is_not_held_is_no_connection(case: Case, listener: Listener) -> None:
    """Of a request that is answered at once only the number is told."""
    case.answer(Reply(b"x"))
    case.get()
    listener.drain()
    listener.told.clear()
    case.get()
    while b"counts" not in [kind for kind, _ in listener.told]:
        assert listener.is_there()
    assert [] == [members for kind, members in listener.told if kind == b"conn" and b"ttl" in members]


@pytest.mark.grip("ZeroMQ: statistics")
def test_connection_of_a_hold_is_alive(case: Case, listener: Listener) -> None:
    """The ids that are told of are those that conncheck knows."""
    case.answer(held(case.channel))
    connection = case.stream(host=NAMED)
    name = listener.wait(b"conn", is_named)[b"id"]
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.rcvtimeo = int(case.deadline * 1000)
        socket.connect(case.proxy.command)
        socket.send(tnetstring.dumps({b"method": b"conncheck", b"args": {b"ids": [name]}}))
        assert {b"success": True, b"value": [name]} == tnetstring.loads(socket.recv())
    connection.close()
