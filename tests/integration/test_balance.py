"""Several backends behind one route, which die, flap, hang, or answer for somebody who is gone."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.backend import Backend, Reply, Script, Upgrade
from tests.conformance.client import Connection, fetch
from tests.integration.door import Door, start_door, toml_value
from tests.integration.processes import Processes
from tests.ports import free_port

PATH = "/any"
REST = 5.0


class World:
    """A proxy in front of backends that say their names."""

    def __init__(self, processes: Processes, names: str) -> None:
        self.processes = processes
        self.backends = {name: Backend(free_port()) for name in names}
        self.clients: list[Connection] = []
        self.door: Door
        for name in names:
            self.say(name, named(name))

    def start(self, tables: dict[str, dict[str, object]] | None = None, **settings: object) -> None:
        """Start the proxy; ``tables`` are what backends have of their own."""
        urls = {name: f"http://127.0.0.1:{backend.port}" for name, backend in self.backends.items()}
        own = [{"url": url, **(tables or {}).get(name, {})} for name, url in urls.items()]
        settings = {"backends": own, "connect_timeout": 1, **settings}
        lines = [f"{name} = {toml_value(value)}" for name, value in settings.items()]
        self.door = start_door(self.processes, "\n".join(["[[routes]]", *lines, ""]))

    def say(self, name: str, *scripts: Script) -> None:
        self.backends[name].on(PATH, *scripts)

    def ask(self, method: str = "GET") -> str:
        """Who answers, or with what status."""
        response = fetch("127.0.0.1", self.door.port, PATH, method, body=b"")
        return response.body.decode() if response.status == 200 else str(response.status)

    def asked(self, times: int) -> str:
        return "".join(self.ask() for _ in range(times))

    def connect(self) -> Connection:
        self.clients.append(Connection("127.0.0.1", self.door.port))
        return self.clients[-1]

    def close(self) -> None:
        for client in self.clients:
            client.close()
        for backend in self.backends.values():
            backend.stop()

    def wait_for(self, name: str, requests: int) -> None:
        """Wait until a backend was asked so often."""
        deadline = time.monotonic() + REST / 2
        while self.backends[name].waiting(PATH) < requests:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def kill(self, name: str) -> None:
        self.backends[name].stop()

    def revive(self, name: str) -> None:
        self.backends[name] = Backend(self.backends[name].port)
        self.say(name, named(name))


def named(name: str) -> Reply:
    return Reply(name.encode())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Processes(tmp_path) as processes:
        world = World(processes, "abc")
        yield world
        world.close()


def test_weights(world: World) -> None:
    world.start({"a": {"weight": 3}, "b": {"weight": 2}}, balance="round-robin")
    assert {"a": 9, "b": 6, "c": 3} == Counter(world.asked(18))


def test_the_fewest_requests_under_way(world: World) -> None:
    """Of requests that wait, of responses that go on, and of WebSockets of the backends' own."""
    world.start({"c": {"weight": 2}}, balance="least-requests", websocket="passthrough")
    gates = {name: backend.gate() for name, backend in world.backends.items()}
    for name, gate in gates.items():
        world.say(name, Reply([b"x", gate, b"y"], framing="chunked"))
    waiting = [world.connect().request(PATH) for _ in range(8)]
    for client in waiting:
        client.read_head()
        assert b"x" == client.read_data(1)
    assert [2, 2, 4] == [world.backends[name].waiting(PATH) for name in "abc"]
    gates["b"].open()
    assert 2 == sum(client.readable(0.3) for client in waiting)
    world.say("b", Upgrade())
    sockets = [world.connect() for _ in range(2)]
    assert [101, 101] == [socket.upgrade(PATH).status for socket in sockets]
    for name in "abc":
        world.say(name, named(name))
    assert {"a": 3, "b": 3, "c": 6} == Counter(world.asked(12))  # all of them have as many for their weight
    sockets[0].reset()
    deadline = time.monotonic() + 10
    while world.asked(3) != "bbb":
        assert time.monotonic() < deadline
    for gate in gates.values():
        gate.open()


def test_a_backend_that_dies_and_comes_back(world: World) -> None:
    """Nobody notices: neither those who ask meanwhile, nor the one whose request tries it again."""
    world.start(balance="round-robin")
    assert {"a", "b", "c"} == set(world.asked(3))
    world.kill("b")
    assert {"a", "c"} == set(world.asked(12))
    world.revive("b")
    deadline = time.monotonic() + 3 * REST
    seen = ""
    while "b" not in seen:
        seen = world.asked(3)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert min(Counter(world.asked(12)).values()) >= 3  # whose turn it was before still counts
    assert "can't be reached" not in world.door.new_log()


def test_a_backend_that_flaps(world: World) -> None:
    """Every request is answered, however often one of the backends comes and goes."""
    world.start(balance="round-robin")
    ends = threading.Event()
    answers: list[str] = []

    def ask() -> None:
        while not ends.is_set():
            answers.append(world.ask())

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        world.kill("b")
        ends.wait(0.15)
        world.revive("b")
        ends.wait(0.15)
    ends.set()
    for thread in threads:
        thread.join()
    # What was under way on a connection that broke may have been acted upon, and is not asked again.
    assert set(answers) <= {"a", "b", "c", "502"}
    assert answers.count("502") <= 5 * len(threads)
    assert {"a", "c"} <= set(answers)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_backend_that_fails_in_a_row_rests(world: World, status: int) -> None:
    """A gateway that answers for somebody who is gone; what is passed on is its answer all the same."""
    world.start()
    world.say("a", Reply(b"gone", status=status))
    assert [str(status)] * 3 + ["b"] == [world.ask() for _ in range(4)]
    assert 1 == world.door.new_log().count("failed 3 times in a row; others are asked first")


def test_an_answer_in_between_is_a_sign_of_life(world: World) -> None:
    world.start()
    bad = Reply(b"gone", status=503)
    world.say("a", bad, bad, named("a"), bad, bad, named("a"))
    assert ["503", "503", "a", "503", "503", "a", "a"] == [world.ask() for _ in range(7)]


def test_other_errors_of_a_backend_are_answers(world: World) -> None:
    world.start()
    world.say("a", Reply(b"", status=500))
    assert ["500"] * 6 == [world.ask() for _ in range(6)]


def test_a_backend_that_hangs_costs_one_client_its_time(world: World) -> None:
    """It lets connections in and says nothing: three clients learn it, then one at a time after each rest."""
    world.start(response_timeout=0.3)
    gate = world.backends["a"].gate()
    world.say("a", Reply(b"a", before=[gate]))
    assert ["504", "504", "504", "b", "b"] == [world.ask() for _ in range(5)]
    time.sleep(REST)
    trying = world.connect().request(PATH)
    world.wait_for("a", 4)
    assert b"b" == world.connect().request(PATH).read_response().body
    assert 504 == trying.read_response().status
    assert "b" == world.ask()
    time.sleep(REST)
    gate.open()
    world.say("a", named("a"))
    assert "aa" == world.asked(2)


def test_a_pooled_connection_that_was_closed_is_no_failure(world: World) -> None:
    """The request goes to the next backend where its own is gone; nothing of it can have been acted upon."""
    world.start()
    assert "a" == world.ask()
    world.kill("a")
    assert "bb" == world.asked(2)
