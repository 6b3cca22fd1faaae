"""WebSockets over TLS on both sides: transports without half-closing, and with buffers of their own.

The client runs in one thread: two that read and write one TLS connection lose bytes of it now and then in Python 3.11,
and so does `websockets.sync`.
"""

import asyncio
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.integration.certificates import make_authority
from tests.integration.processes import Processes
from tests.integration.websocket.conftest import MESSAGE_MAX, ROOT
from tests.ports import free_port

LIMIT = 10.0  # seconds that a conversation may take

# Does something with a WebSocket to a path, and returns it closed.
Client = Callable[[str, Callable[[ClientConnection], Awaitable[None]]], ClientConnection]

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
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a proxy with TLS, in front of an echo, itself over TLS for real WebSockets."""
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

        async def converse(path: str, talk: Callable[[ClientConnection], Awaitable[None]]) -> ClientConnection:
            async with connect(f"wss://127.0.0.1:{listen}{path}", ssl=context) as connection:
                await asyncio.wait_for(talk(connection), LIMIT)
            return connection

        yield lambda path, talk: asyncio.run(converse(path, talk))


@pytest.mark.parametrize("path", ["/events", "/messages"])
def test_messages_and_closes_over_tls(client: Client, path: str) -> None:
    """Messages up to the limit go both ways, and the client's close is answered with its code."""
    contents = ["hello", "x" * MESSAGE_MAX, b"\xff" * 10_000]
    echoes: list[str | bytes] = []

    async def talk(connection: ClientConnection) -> None:
        for content in contents:
            await connection.send(content)
            echoes.append(await connection.recv())
        await connection.close(4000, "enough")

    closed = client(path, talk)
    assert contents == echoes
    assert 4000 == closed.close_code


@pytest.mark.parametrize("path", ["/events", "/messages"])
def test_broken_rule_over_tls(client: Client, path: str) -> None:
    """The client learns what was wrong, and the connection ends."""

    async def talk(connection: ClientConnection) -> None:
        await connection.send("x" * (MESSAGE_MAX + 1))
        with pytest.raises(ConnectionClosed):
            await connection.recv()

    assert 1009 == client(path, talk).close_code
