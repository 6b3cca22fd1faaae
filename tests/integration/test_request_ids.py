"""The id of a request: the same in the log, at the backend, and in what the proxy answers itself."""

import json
import socket
from collections.abc import Iterator

import pytest

from tests.conformance import frames
from tests.integration.door import Client, Door, route, start_door
from tests.integration.processes import Processes
from tests.integration.raw_backend import DEADLINE, OK, RawBackend, Request
from tests.ports import free_port

NAME = b"X-Request-Id"
HOLD = (
    b"HTTP/1.1 200 OK\r\nGrip-Hold: response\r\nGrip-Channel: ids; prev-id=1\r\nGrip-Timeout: 60\r\n"
    b"Content-Length: 0\r\n\r\n"
)
MALFORMED = b"HTTP/1.1 200 OK\r\nGrip-Hold: other\r\nContent-Length: 0\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: application/websocket-events\r\nContent-Length: %d\r\n\r\n%b"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Door, RawBackend]]:
    """A proxy that trusts 127.0.0.2 and logs every request as JSON."""
    with RawBackend() as backend, Processes(tmp_path_factory.mktemp("ids")) as processes:
        toml = '[server]\nlisten = ["{listen}"]\ntrusted_proxies = ["127.0.0.2"]\n[log]\naccess = true\njson = true\n'
        dead = f'[[routes]]\nhost = "dead.test"\nbackends = ["http://127.0.0.1:{free_port()}"]\n'
        yield start_door(processes, toml + route(backend, "a.test", cors=["http://page.test"]) + dead), backend


@pytest.fixture
def door(running: tuple[Door, RawBackend]) -> Door:
    running[1].drop()
    running[0].new_log()
    return running[0]


@pytest.fixture
def backend(running: tuple[Door, RawBackend]) -> RawBackend:
    return running[1]


@pytest.fixture
def client(door: Door) -> Iterator[Client]:
    connected = door.connect()
    yield connected
    connected.close()


def records(door: Door, request_id: str | None, count: int = 1) -> list[dict[str, str]]:
    """The log records of a request, once there are so many."""
    found: list[dict[str, str]] = []

    def are_there() -> bool:
        lines = door.process.output()[door.seen :].splitlines()
        found[:] = [one for one in map(json.loads, lines) if one.get("request_id") == request_id]
        return len(found) >= count

    door.process.wait_until(are_there, f"did not log {count} records of {request_id}")
    return found


def the_id(request: Request) -> str:
    (value,) = request.values(NAME)
    return value.decode()


def ask(door: Door, backend: RawBackend, *lines: str, source: str = "127.0.0.1") -> Request:
    """What the backend gets of a request, which is answered."""
    with socket.create_connection(("127.0.0.1", door.port), DEADLINE, (source, 0)) as connected:
        client = Client(connected, "a.test").ask("a.test", "/", "GET", *lines, "Connection: close")
        peer = backend.accept()
        request = peer.read_request()
        peer.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        response = client.read_response()
        assert None is response.value("X-Request-Id"), "the answer is the backend's, as it is"
    return request


def test_backend_and_access_log_have_the_same_id(door: Door, backend: RawBackend) -> None:
    first, second = (the_id(ask(door, backend)) for _ in range(2))
    assert first != second
    for one in (first, second):
        assert "gripproxy.access" == records(door, one)[0]["logger"]


def test_an_id_is_believed_from_those_who_are_trusted(door: Door, backend: RawBackend) -> None:
    assert "of-the-front" == the_id(ask(door, backend, "x-request-id: of-the-front", source="127.0.0.2"))
    assert "of-a-client" != the_id(ask(door, backend, "X-Request-Id: of-a-client"))
    assert records(door, "of-the-front")


def test_what_the_proxy_answers_itself_names_the_request(door: Door, client: Client) -> None:
    """So that a user can say which request went wrong: here one whose backend can't be reached."""
    response = client.ask("dead.test").read_response()
    warning, access = records(door, response.value("X-Request-Id"), 2)
    assert (502, "warning", "gripproxy.access") == (response.status, warning["level"], access["logger"])


@pytest.mark.parametrize(
    ("host", "lines", "status"),
    [
        ("nobody.test", (), 502),
        ("a b", (), 400),
        ("a.test", ("Upgrade: websocket", "Connection: Upgrade"), 400),
        ("a.test", ("Content-Type: application/websocket-events", "Content-Length: 0"), 403),
    ],
)
def test_refusals_name_the_request(door: Door, client: Client, host: str, lines: tuple[str, ...], status: int) -> None:
    response = client.ask(host, "/", "POST" if status == 403 else "GET", *lines).read_response()
    assert status == response.status
    assert records(door, response.value("X-Request-Id"))


def test_a_page_may_read_the_id_of_its_error(door: Door, backend: RawBackend, client: Client) -> None:
    client.ask("a.test", "/", "GET", "Origin: http://page.test")
    peer = backend.accept()
    peer.read_request()
    peer.send(MALFORMED)
    response = client.read_response()
    assert "x-request-id" in (response.value("Access-Control-Expose-Headers") or "").lower()
    assert 502 == response.status
    assert "malformed instructions" in records(door, response.value("X-Request-Id"))[0]["message"]


def test_a_request_that_is_asked_again_keeps_its_id(door: Door, backend: RawBackend, client: Client) -> None:
    client.ask("a.test")
    peer = backend.accept()
    first = the_id(peer.read_request())
    peer.send(HOLD)
    publish(door, '{"items": [{"channel": "ids", "http-response": {"action": "hint"}}]}')
    assert first == the_id(peer.read_request())
    peer.close()
    again = backend.accept()  # a GET whose connection was just closed is repeated
    assert first == the_id(again.read_request())
    again.send(MALFORMED)
    response = client.read_response()
    assert (502, first) == (response.status, response.value("X-Request-Id"))
    held, warning = records(door, first, 2)
    assert held["message"].endswith(" held")
    assert "malformed instructions" in warning["message"]


def test_requests_of_a_websocket_keep_the_id_of_its_handshake(door: Door, backend: RawBackend, client: Client) -> None:
    handshake = ("Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {frames.new_key()}")
    client.ask("a.test", "/", "GET", "Upgrade: websocket", *handshake)
    peer = backend.accept()
    first = the_id(peer.read_request())
    peer.send(EVENTS % (6, b"OPEN\r\n"))
    assert 101 == client.read_head().status
    client.send(frames.encode(frames.Frame(frames.TEXT, b"hello"), masked=True))
    assert first == the_id(peer.read_request())
    peer.close()
    assert "warning" == records(door, first, 2)[1]["level"]


def publish(door: Door, items: str) -> None:
    with socket.create_connection(("127.0.0.1", door.control_port), DEADLINE) as connected:
        client = Client(connected, "control").ask(
            "control", "/publish/", "POST", f"Content-Length: {len(items)}", body=items.encode()
        )
        assert 200 == client.read_response().status


def test_a_text_log_has_the_id_at_the_end_of_the_line(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Processes(tmp_path_factory.mktemp("text")) as processes:
        toml = f'[[routes]]\nbackends = ["http://127.0.0.1:{free_port()}"]\n'
        door = start_door(processes, "[log]\naccess = true\n" + toml)
        client = door.connect()
        response = client.ask("a.test").read_response()
        client.close()
        ending = f" request={response.value('X-Request-Id')}\n"
        door.process.wait_for_output("502" + ending)
        assert 2 == door.process.output().count(ending)


def test_requests_can_be_without_ids(tmp_path_factory: pytest.TempPathFactory) -> None:
    with RawBackend() as backend, Processes(tmp_path_factory.mktemp("none")) as processes:
        toml = '[server]\nlisten = ["{listen}"]\nrequest_id = ""\n' + route(backend, "*")
        door = start_door(processes, toml)
        client = door.connect()
        client.ask("a.test", "/", "GET", "X-Request-Id: of-a-client")
        peer = backend.accept()
        assert [b"of-a-client"] == peer.read_request().values(NAME)
        peer.send(MALFORMED)
        assert None is client.read_response().value("X-Request-Id")
        client.close()
        assert "request=" not in door.process.output()
