"""A proxy whose WebSocket limits are small, a backend that the tests script, and a path for each test.

One proxy serves all tests. Hosts choose the route: HOSTS says what is special about each.
"""

import itertools
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.backend import DEADLINE, Backend, Reply, Request, events, opened
from tests.conformance.case import Case
from tests.conformance.proxies import Proxy
from tests.integration.processes import Processes
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
NUMBERS = itertools.count(1)

MESSAGE_MAX = 65_536
BUFFERED_MAX = 131_072
UNSENT_MAX = 262_144

# A bare type, a type with content, or the event's bytes
Event = str | bytes | tuple[str, bytes | str]
SIG_KEY = "a key that is long enough for HS256 to be content"

CONFIG = """
[server]
listen = ["127.0.0.1:{listen}"]
shutdown_timeout = 1

[control]
listen = "127.0.0.1:{control}"

[limits]
websocket_message = {message}
websocket_buffered = {buffered}
websocket_handshake_timeout = 1
unsent = {unsent}

[realms.default]
sig_key = "{key}"
sig_iss = "websockets"
"""

ROUTE = """
[[routes]]
host = "{host}"
backends = [{backends}]
{more}
"""

# Host -> what its route has beside the backend.
HOSTS = {
    "*": "",
    "passthrough.test": 'websocket = "passthrough"',
    "single.test": "one_event = true",
    "local.test": 'pings = "local"',
    "local-passthrough.test": 'pings = "local"\nwebsocket = "passthrough"',
    "implicit.test": 'prefix = "p-"\nsubscribe = ["news"]',
    "debug.test": "debug = true",
}


def start(processes: Processes, backend: int, dead: int, message: int = MESSAGE_MAX) -> Proxy:
    """Start the proxy under test in front of a backend; `dead` is a port on which nobody listens."""
    listen, control = free_port(), free_port()
    text = CONFIG.format(
        listen=listen, control=control, message=message, buffered=BUFFERED_MAX, unsent=UNSENT_MAX, key=SIG_KEY
    )
    alive, lost = f'"http://127.0.0.1:{backend}"', f'"http://127.0.0.1:{dead}"'
    for host, more in HOSTS.items():
        text += ROUTE.format(host=host, backends=alive, more=more)
    for host, more in (("failover.test", ""), ("failover-passthrough.test", 'websocket = "passthrough"')):
        text += ROUTE.format(host=host, backends=f"{lost}, {alive}", more=more)
    text += ROUTE.format(host="dead.test", backends=lost, more="")
    config = processes.folder / f"websocket-{listen}.toml"
    config.write_text(text)
    command = shlex.split(os.environ.get("GRIP_PROXY_COMMAND", "")) or [sys.executable, "-m", "gripproxy", "run"]
    environment = {"PYTHONPATH": str(ROOT)}
    ports = [listen, control]
    processes.start("proxy", *command, "--config", str(config), environment=environment, ports=ports)
    return Proxy("gripproxy", ("127.0.0.1", listen), ("127.0.0.1", control), sig_key=SIG_KEY, sig_iss="websockets")


@pytest.fixture(scope="session")
def backend() -> Iterator[Backend]:
    """A backend that answers by script."""
    server = Backend(free_port())
    yield server
    server.stop()


@pytest.fixture(scope="session")
def websocket_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """The processes that live as long as these tests."""
    with Processes(tmp_path_factory.mktemp("websocket")) as processes:
        yield processes


@pytest.fixture(scope="session")
def proxy(websocket_processes: Processes, backend: Backend) -> Proxy:
    """The proxy that all tests share."""
    return start(websocket_processes, backend.port, free_port())


@pytest.fixture
def case(proxy: Proxy, backend: Backend, request: pytest.FixtureRequest) -> Iterator[Case]:
    """The proxy and the backend, with a path and a channel that no other test uses."""
    name = f"w{next(NUMBERS)}-{re.sub('[^a-z0-9]+', '-', request.node.name.lower())[:40].strip('-')}"
    current = Case(proxy, backend, name, DEADLINE)
    yield current
    current.close()


def log_of(processes: Processes) -> str:
    """What the shared proxy has written so far."""
    return processes.started[0].output()


def accepting(*parts: Event) -> Callable[[Request], Reply]:
    """A script that accepts every WebSocket with these events and has nothing to say to what follows."""
    return lambda request: opened(*parts) if b"OPEN\r\n" in request.body else events()


def echo(request: Request) -> Reply:
    """A script: the events of a request, messages with their prefix, pings as pongs."""
    body = request.body
    parts = []
    at = 0
    while at < len(body):
        end = body.index(b"\r\n", at)
        kind, _, size = body[at:end].partition(b" ")
        after = end + 2 + (int(size, 16) + 2 if size else 0)
        content = body[end + 2 : after - 2] if size else b""
        if kind in (b"TEXT", b"BINARY"):
            parts.append(b"%b %x\r\nm:%b\r\n" % (kind, len(content) + 2, content))
        elif kind in (b"OPEN", b"CLOSE"):
            parts.append(body[at:after])
        elif kind == b"PING":
            parts.append(b"PONG" + body[at + 4 : after])
        at = after
    fields = [("Content-Type", "application/websocket-events")]
    if b"OPEN\r\n" in body:
        fields.append(("Sec-WebSocket-Extensions", "grip"))
    return Reply(b"".join(parts), fields)
