"""Routes whose backends take WebSockets in different ways: as requests with events, or as WebSockets of their own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance import frames
from tests.conformance.backend import DEADLINE, Backend, Upgrade, control, opened
from tests.conformance.case import Case, held
from tests.conformance.proxies import Proxy
from tests.integration.door import Door, start_door, toml_value
from tests.integration.processes import Processes
from tests.integration.websocket.conftest import accepting, echo
from tests.ports import free_port

# Host -> backends: who, and what its table has beside the URL.
ROUTES: dict[str, list[tuple[str, dict[str, object]]]] = {
    "events.test": [("one", {}), ("other", {"websocket": "passthrough"})],
    "sockets.test": [("one", {"websocket": "passthrough"}), ("other", {})],
    "dead-events.test": [("nobody", {}), ("one", {"websocket": "passthrough"})],
    "dead-sockets.test": [("nobody", {"websocket": "passthrough"}), ("one", {})],
    "moving.test": [
        ("one", {}),
        ("third", {"websocket": "passthrough"}),
        ("third", {"one_event": True}),
        ("other", {}),
    ],
    "single.test": [("nobody", {}), ("one", {"one_event": True})],
    "subscribed.test": [("nobody", {"subscribe": ["lost"]}), ("one", {"subscribe": ["own"]})],
    "subscribed-sockets.test": [("one", {"subscribe": ["own"], "websocket": "passthrough"}), ("other", {})],
    "dead.test": [("nobody", {}), ("nobody", {"websocket": "passthrough"})],
}


@dataclass(frozen=True, slots=True)
class World:
    """The proxy, what it runs as, and its backends."""

    case: Case
    door: Door
    one: Backend
    other: Backend
    third: Backend


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A proxy with all the routes; the case's backend is `one`."""
    backends = [Backend(free_port()) for _ in range(3)]
    ports = dict(zip(("one", "other", "third"), (backend.port for backend in backends), strict=True))
    ports["nobody"] = free_port()
    toml = ""
    for host, tables in ROUTES.items():
        given = [{"url": f"http://127.0.0.1:{ports[name]}", **settings} for name, settings in tables]
        toml += f'[[routes]]\nhost = "{host}"\nsubscribe = ["all"]\nbackends = {toml_value(given)}\n'
    with Processes(tmp_path) as processes:
        door = start_door(processes, toml)
        proxy = Proxy("door", ("127.0.0.1", door.port), ("127.0.0.1", door.control_port))
        case = Case(proxy, backends[0], "modes", DEADLINE)
        yield World(case, door, *backends)
        case.close()
    for backend in backends:
        backend.stop()


@pytest.mark.parametrize("host", ["events.test", "dead-sockets.test"])
def test_the_first_that_can_be_connected_to_is_asked_by_http(world: World, host: str) -> None:
    """Whatever the mode of those before and behind it."""
    world.case.answer(echo)
    client = world.case.socket(host=host)
    client.send_text("hello")
    assert "hello" == client.read_text()


@pytest.mark.parametrize("host", ["sockets.test", "dead-events.test"])
def test_the_first_that_can_be_connected_to_is_asked_for_a_websocket(world: World, host: str) -> None:
    world.case.answer(Upgrade())
    client = world.case.socket(host=host)
    socket = world.one.take_socket(world.case.path)
    client.send_text("hello")
    assert frames.Frame(frames.TEXT, b"hello") == socket.receive()
    socket.send(frames.Frame(frames.TEXT, b"news"))
    assert "news" == client.read_text()


def test_a_conversation_goes_on_with_its_like(world: World) -> None:
    """Past the backends that would not understand it."""
    world.case.answer(accepting(("TEXT", "m:ready")))
    world.other.on(world.case.path, echo)
    client = world.case.socket(host="moving.test")
    assert "ready" == client.read_text()
    world.one.stop()
    client.send_text("on")
    assert "on" == client.read_text()
    assert 0 == world.third.waiting(world.case.path)


def test_one_event_of_a_backend(world: World) -> None:
    """Each event is a request of its own where the backend that took the WebSocket wants it so."""
    world.case.answer(opened(("TEXT", "m:ready")), echo)
    client = world.case.socket(host="single.test")
    assert "ready" == client.read_text()
    for text in ("a", "b", "c"):
        client.send_text(text)
    assert ["a", "b", "c"] == [client.read_text() for _ in range(3)]
    world.case.taken()
    assert [b"TEXT 1\r\n%b\r\n" % text for text in (b"a", b"b", b"c")] == [world.case.taken().body for _ in range(3)]


def test_channels_of_the_backend_that_took_a_websocket(world: World) -> None:
    """In place of the route's; they cannot be unsubscribed, and the other backend's are not there."""
    world.case.answer(opened(control(type="unsubscribe", channel="own"), ("TEXT", "m:ready")))
    client = world.case.socket(host="subscribed.test")
    assert "ready" == client.read_text()
    for channel in ("lost", "all", "own"):
        world.case.tell(channel, channel=channel)
    assert "own" == client.read_text()


def test_channels_of_a_backend_with_websockets_of_its_own(world: World) -> None:
    world.case.answer(Upgrade([("Sec-WebSocket-Extensions", "grip")]))
    client = world.case.socket(host="subscribed-sockets.test")
    world.case.tell("all", channel="all")
    world.case.tell("own", channel="own")
    assert "own" == client.read_text()


def test_channels_of_the_backend_that_asked_for_a_hold(world: World) -> None:
    world.case.answer(held(world.case.channel))
    connection = world.case.stream(host="subscribed.test")
    world.case.settle()
    for channel in ("lost", "all", "own"):
        world.case.say(channel, channel=channel)
    assert b"own" == connection.read_data(3)


def test_events_of_clients_are_refused_where_one_backend_would_believe_them(world: World) -> None:
    fields = [("Content-Type", "application/websocket-events")]
    response = world.case.get(host="sockets.test", method="POST", fields=fields, body=b"OPEN\r\n")
    assert 403 == response.status


def test_no_backend_that_can_be_connected_to_is_a_502(world: World) -> None:
    assert 502 == world.case.connect().upgrade(world.case.path, host="dead.test").status
    assert world.door.new_log().count("can't be reached: Connection refused") == 2
