"""One small app, written for several frameworks and GRIP libraries, works the same behind the proxy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.conformance.client import Connection, fetch
from tests.integration.door import DEADLINE, Door, start_door
from tests.integration.libraries.conftest import REALMS, grip_urls
from tests.integration.processes import Processes
from tests.integration.scripted import routes_of
from tests.ports import free_port

APPS = ("flask", "starlette", "express")

Command = Callable[[str], list[str]]


@dataclass(frozen=True, slots=True)
class Running:
    """The proxy, the ports of the apps by host, and long-polls that began with them and get no news."""

    door: Door
    ports: dict[str, int]
    quiet: dict[str, Connection]

    def connect(self) -> Connection:
        return Connection("127.0.0.1", self.door.port, DEADLINE)


def hosts(app: str) -> tuple[str, str]:
    """The hosts of an app: it checks Grip-Sig with the realm's secret, or with a public key."""
    return f"{app}.test", f"{app}-public.test"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, app_command: Command) -> Iterator[Running]:
    """One proxy with all apps behind it."""
    folder = tmp_path_factory.mktemp("apps")
    key = generate_private_key(SECP256R1())
    private = Path(folder, "ec.pem")
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    ports = {host: free_port() for app in APPS for host in hosts(app)}
    toml = REALMS
    for app in APPS:
        secret_host, public_host = hosts(app)
        toml += routes_of(ports[secret_host], {secret_host: {"realm": "named"}})
        toml += routes_of(ports[public_host], {public_host: {"realm": "named", "sig_key": f"file:{private}"}})
    with Processes(folder) as processes:
        door = start_door(processes, toml)
        urls = grip_urls(f"127.0.0.1:{door.control_port}")
        environments = (
            {"GRIP_URL": urls["jwt"]},
            {"GRIP_URL": urls["none"] + "/?verify-iss=named", "GRIP_VERIFY_KEY": public.strip()},
        )
        started = []
        for app in APPS:
            for host, variables in zip(hosts(app), environments, strict=True):
                command = [*app_command(app), str(ports[host])]
                started.append((processes.start(app, *command, environment=variables), ports[host]))
        for process, port in started:
            process.wait_for_port(port)
        made = Running(door, ports, {})
        for app in APPS:
            made.quiet[app] = made.connect().request("/poll/quiet", host=hosts(app)[0])
        yield made
        for connection in made.quiet.values():
            connection.close()


class Case:
    """One app, seen through the proxy."""

    def __init__(self, running: Running, app: str) -> None:
        self.running, self.app = running, app
        self._connections: list[Connection] = []

    def connect(self) -> Connection:
        connection = self.running.connect()
        self._connections.append(connection)
        return connection

    def ask(self, path: str) -> Connection:
        return self.connect().request(path, host=hosts(self.app)[0])

    def get(self, path: str) -> bytes:
        response = self.ask(path).read_response()
        assert 200 == response.status, response
        return response.body

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


@pytest.fixture(params=APPS)
def case(request: pytest.FixtureRequest, running: Running) -> Iterator[Case]:
    case = Case(running, request.param)
    yield case
    case.close()


def test_stream(case: Case) -> None:
    connection = case.ask("/stream")
    head = connection.read_head()
    assert (200, "text/plain") == (head.status, (head.value("Content-Type") or "").partition(";")[0])
    assert [] == [name for name, _ in head.fields if name.lower().startswith("grip-")]
    assert b"begin|" == connection.read_data(6)
    for text in ("one", "two"):
        assert b"said" == case.get(f"/say/stream?text={text}")
        assert text.encode() == connection.read_data(3)


def test_long_poll(case: Case) -> None:
    """The published response takes the fields of the held one where it has none of its own."""
    connection = case.ask("/poll/news")
    while not connection.readable(0.05):
        # Whether the app has been asked already can't be seen from here: say it until it is heard.
        case.get("/say/news?text=news")
    response = connection.read_response()
    assert (200, b"news", '"2"') == (response.status, response.body, response.value("ETag"))


def test_websocket(case: Case) -> None:
    connection = case.connect()
    head = connection.upgrade("/socket", host=hosts(case.app)[0])
    assert (101, None) == (head.status, head.value("Sec-WebSocket-Extensions"))
    assert "welcome" == connection.read_text()
    connection.send_text("hello")
    assert "yes hello" == connection.read_text()
    assert b"said" == case.get("/say/socket?text=news")
    assert "news" == connection.read_text()
    connection.send_frame(9, b"ping")
    assert b"ping" == connection.read_frame().payload
    connection.send_close(4001, "")
    assert 4001 == connection.read_frame().code
    assert connection.ended()


@pytest.mark.parametrize("kind", ["HS256", "ES256"])
def test_the_library_accepts_the_signature(case: Case, kind: str) -> None:
    """With the realm's secret, and with the public half of the EC key that signs; a client's own is replaced."""
    host = hosts(case.app)[kind == "ES256"]
    connection = case.connect().request("/signature", fields=[("Grip-Sig", "forged")], host=host)
    assert [True, True] == json.loads(connection.read_response().body)


@pytest.mark.parametrize("kind", ["HS256", "ES256"])
def test_the_library_refuses_who_goes_around_the_proxy(case: Case, kind: str) -> None:
    """What makes the test above one: the libraries do look at the signature."""
    port = case.running.ports[hosts(case.app)[kind == "ES256"]]
    response = fetch("127.0.0.1", port, "/signature", fields=[("Grip-Sig", "forged"), ("Connection", "close")])
    assert json.loads(response.body)[1] is False


def test_long_poll_without_news(case: Case) -> None:
    """It began when the apps were started: the shortest that a hold can be is 5 seconds."""
    response = case.running.quiet[case.app].read_response()
    assert (304, b"", '"1"') == (response.status, response.body, response.value("ETag"))
