"""WebSockets over TLS on both sides: transports without half-closing, and with buffers of their own."""

import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.integration.certificates import make_authority
from tests.integration.processes import Processes
from tests.integration.websocket.conftest import MESSAGE_MAX, ROOT
from tests.ports import free_port

CONFIG = """
[server]
listen = ["127.0.0.1:{listen}"]
certificate = "{certificate}"

[control]
listen = "127.0.0.1:{control}"

[limits]
websocket_message = {message}

[[routes]]
path = "/events"
backends = ["http://127.0.0.1:{events}"]

[[routes]]
path = "/messages"
websocket = "passthrough"
backends = ["https://localhost:{messages}"]
ca = "{ca}"
"""


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Connects to a path of a proxy with TLS, in front of an echo, itself over TLS for real WebSockets."""
    folder = tmp_path_factory.mktemp("tls")
    authority = make_authority(folder)
    certificate = authority.sign("server", "127.0.0.1", "localhost")
    context = ssl.create_default_context(cafile=authority.file)
    listen, control, events, messages = (free_port() for _ in range(4))
    config = Path(folder, "tls.toml")
    config.write_text(
        CONFIG.format(
            listen=listen,
            control=control,
            events=events,
            messages=messages,
            certificate=certificate,
            ca=authority.file,
            message=MESSAGE_MAX,
        )
    )
    environment = {"PYTHONPATH": str(ROOT)}
    with Processes(folder) as processes:
        echo = (sys.executable, "-m", "tests.autobahn.echo", str(events), str(messages), certificate)
        processes.start("echo", *echo, environment=environment, ports=[events, messages])
        proxy = (sys.executable, "-m", "gripproxy", "run", "--config", str(config))
        processes.start("proxy", *proxy, environment=environment, ports=[listen, control])
        yield lambda path: connect(f"wss://127.0.0.1:{listen}{path}", ssl=context)


@pytest.mark.parametrize("path", ["/events", "/messages"])
def test_messages_and_closes_over_tls(clients: object, path: str) -> None:
    """Messages up to the limit go both ways, and the client's close is answered with its code."""
    client: ClientConnection
    with clients(path) as client:  # type: ignore[operator]
        for content in ("hello", "x" * MESSAGE_MAX, b"\xff" * 10_000):
            client.send(content)
            assert content == client.recv(5)
        client.close(4000, "enough")
    assert 4000 == client.close_code


@pytest.mark.parametrize("path", ["/events", "/messages"])
def test_broken_rule_over_tls(clients: object, path: str) -> None:
    """The client learns what was wrong, and the connection ends."""
    client: ClientConnection
    with clients(path) as client:  # type: ignore[operator]
        client.send("x" * (MESSAGE_MAX + 1))
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(10)
    assert closed.value.rcvd is not None
    assert 1009 == closed.value.rcvd.code
