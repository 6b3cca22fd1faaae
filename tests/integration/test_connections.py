"""No more clients at a time than `limits.connections`: the next is told so, and those that are there stay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.backend import Backend, Reply, opened
from tests.conformance.case import held
from tests.conformance.client import Connection, Response, fetch
from tests.integration.door import DEADLINE, Door, start_door
from tests.integration.processes import Processes
from tests.integration.scripted import routes_of
from tests.ports import free_port

KINDS = ("idle", "stream", "poll", "websocket")  # one place for each
HOST = "a.test"


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    server = Backend(free_port())
    server.on("/", Reply(b"ok"))
    server.on("/idle", Reply(b"ok"))
    server.on("/stream", held("a"))
    server.on("/poll", held("a", mode="response"))
    server.on("/websocket", opened())
    yield server
    server.stop()


class Crowd:
    """Clients of one proxy, all of which are closed when the test ends."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self._connections: list[Connection] = []

    def connect(self) -> Connection:
        connection = Connection("127.0.0.1", self.door.port, DEADLINE)
        self._connections.append(connection)
        return connection

    def ask(self) -> Response:
        """Ask on a connection of its own, and close that."""
        connection = self.connect()
        response = connection.request("/", host=HOST).read_response()
        connection.close()
        return response

    def take(self, kind: str) -> Connection | None:
        """Connect, and have the connection used in this way; None when there is no room."""
        connection = self.connect()
        if kind == "websocket":
            status = connection.upgrade("/websocket", host=HOST).status
        elif kind == "poll":
            connection.request("/poll", host=HOST)
            status = connection.read_head().status if connection.readable(0.2) else 200
        else:
            status = connection.request(f"/{kind}", host=HOST).read_head().status
        if status == 503:
            connection.close()
            return None
        if kind == "idle":
            assert b"ok" == connection.read_rest()
        return connection

    def take_place(self, kind: str) -> Connection:
        """Take a place that is about to be left."""
        while (connection := self.take(kind)) is None:
            pass
        return connection

    def metric(self, name: str) -> float:
        connection = Connection("127.0.0.1", self.door.control_port, DEADLINE)
        text = connection.request("/metrics").read_response().body.decode()
        connection.close()
        return float(next(line.split()[1] for line in text.splitlines() if line.startswith(name + " ")))

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Iterator[Door]:
    toml = f"[limits]\nconnections = {len(KINDS)}\n" + routes_of(backend.port, {HOST: {}})
    with Processes(tmp_path_factory.mktemp("connections")) as processes:
        door = start_door(processes, toml)
        yield door
        assert "Traceback" not in door.process.output()


@pytest.fixture
def crowd(door: Door) -> Iterator[Crowd]:
    crowd = Crowd(door)
    yield crowd
    crowd.close()


@pytest.fixture
def held_places(crowd: Crowd) -> dict[str, Connection]:
    """All places, each taken in another way."""
    return {kind: crowd.take_place(kind) for kind in KINDS}


def test_one_client_too_many_is_told_so(crowd: Crowd, held_places: dict[str, Connection]) -> None:
    before = crowd.metric("gripproxy_connections_refused_total")
    response = crowd.ask()
    assert (503, "close", "5") == (response.status, response.value("Connection"), response.value("Retry-After"))
    assert b"Too many connections.\n" == response.body
    assert before + 1 == crowd.metric("gripproxy_connections_refused_total")
    assert "clients are refused" in crowd.door.process.output()


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_that_is_left_is_free(crowd: Crowd, held_places: dict[str, Connection], kind: str) -> None:
    """However the connection was used, and over and over."""
    for _ in range(3):
        assert 503 == crowd.ask().status
        held_places[kind].close()
        held_places[kind] = crowd.take_place(kind)
    assert 503 == crowd.ask().status


def test_those_who_are_there_are_not_disturbed(crowd: Crowd, held_places: dict[str, Connection]) -> None:
    for _ in range(20):
        assert 503 == crowd.ask().status
    body = b'{"items": [{"channel": "a", "http-stream": {"content": "news"}, "http-response": {"body": "news"}}]}'
    assert 200 == fetch("127.0.0.1", crowd.door.control_port, "/publish/", "POST", body=body).status
    assert b"news" == held_places["stream"].read_data(4)
    assert b"news" == held_places["poll"].read_response().body
    for kind in ("idle", "poll"):
        assert b"ok" == held_places[kind].request("/idle", host=HOST).read_response().body


def test_a_client_that_says_nothing_is_let_go(crowd: Crowd, held_places: dict[str, Connection]) -> None:
    assert crowd.connect().ended()
