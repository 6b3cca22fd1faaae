"""Many clients and a backend that do anything at any time: nothing is left behind, and the proxy has no fault."""

import asyncio
import random
import time
import urllib.request
import uuid

import pytest

from tests.conformance import frames
from tests.conformance.backend import RESET, Backend, Reply, Request, Upgrade, control, events
from tests.conformance.proxies import Proxy
from tests.integration.door import number_of
from tests.integration.processes import Processes
from tests.integration.websocket.conftest import echo, log_of

CLIENTS, ACTIONS = 120, 12
CHANNELS = ["chaos-1", "chaos-2", "chaos-3"]


def gauges(proxy: Proxy) -> dict[str, float]:
    """What is open and subscribed."""
    host, port = proxy.control
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    names = {"websockets": r'gripproxy_connections{transport="websocket"}', "subscriptions": "gripproxy_subscriptions"}
    return {key: number_of(text, name) for key, name in names.items()}


class Chaos:
    """The dice, and what the backend and the clients do with them."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def answer(self, request: Request) -> Reply:
        """A script: mostly an echo, sometimes nonsense or nothing."""
        dice = self._dice
        if b"OPEN\r\n" in request.body:
            if dice.random() < 0.1:
                return Reply(b"no", status=403)
            return events(
                "OPEN",
                control(type="subscribe", channel=dice.choice(CHANNELS), filters=dice.choice([[], ["skip-self"]])),
                control(type="keep-alive", content="k", timeout=1),
                extension="grip",
                Keep_Alive_Interval="20",
            )
        choice = dice.random()
        if choice < 0.70:
            reply = echo(request)
            return Reply(reply.body, reply.fields, before=[dice.random() * 0.05])
        if choice < 0.95:
            return dice.choice(
                [
                    events(control(type="subscribe", channel=dice.choice(CHANNELS))),
                    events(control(type="unsubscribe", channel=dice.choice(CHANNELS))),
                    events(control(type="detach")),
                    events(control(type="send-delayed", content="d", timeout=1)),
                    events(*[("BINARY", b"m:" + bytes(30_000))] * 8),
                    events(("CLOSE", b"\x0f\xa0"), ("TEXT", "m:late")),
                    events("DISCONNECT"),
                    events(("PING", "x"), ("PONG", "y")),
                    events(Content_Bytes_Accepted="0"),
                ]
            )
        return dice.choice(
            [Reply(b"", status=500), Reply(b"", status=503), Reply([RESET], raw=True), events(b"TEXT 5\r\nx")]
        )

    async def client(self, proxy: Proxy, path: str, host: str) -> None:
        """One client's life."""
        dice = self._dice
        reader, writer = await asyncio.open_connection(*proxy.client)
        extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if dice.random() < 0.5 else ""
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{extension}"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {frames.new_key()}\r\n\r\n".encode()
        )
        reading = asyncio.create_task(self._read(reader, dice.random() < 0.8))
        try:
            for _ in range(dice.randrange(ACTIONS)):
                await asyncio.sleep(dice.random() * 0.1)
                writer.write(self._action())
                await asyncio.wait_for(writer.drain(), 2)
            if dice.random() < 0.3:
                writer.transport.abort()
            await asyncio.sleep(dice.random() * 0.2)
        except (ConnectionError, TimeoutError):
            pass
        finally:
            writer.transport.abort()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader, reads: bool) -> None:
        while reads and await reader.read(65536):
            await asyncio.sleep(0)

    def _action(self) -> bytes:
        dice = self._dice
        frame = dice.choice(
            [
                frames.Frame(frames.TEXT, b"hello"),
                frames.Frame(frames.TEXT, b"hel", final=False),
                frames.Frame(frames.CONTINUATION, b"lo"),
                frames.Frame(frames.BINARY, bytes(dice.randrange(70_000))),
                frames.Frame(frames.PING, b"p"),
                frames.Frame(frames.PONG, b"p"),
                frames.close(4000, "bye"),
                frames.close(),
                frames.Frame(3),
            ]
            + [frames.Frame(frames.TEXT, b"more")] * 20
        )
        data = frames.encode(frame, masked=True)
        return data if dice.random() < 0.97 else data[: dice.randrange(1, len(data))]


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_left_behind(proxy: Proxy, backend: Backend, websocket_processes: Processes, seed: int) -> None:
    """Afterwards no WebSocket is open, none subscribed, and the log has no fault; a new client is served."""
    path = f"/chaos-{uuid.uuid4().hex[:8]}"
    chaos = Chaos(seed)
    backend.on(path, chaos.answer)
    backend.on(path + "-real", Upgrade([("Sec-WebSocket-Extensions", "grip")]))

    async def publish() -> None:
        reader, writer = await asyncio.open_connection(*proxy.control)
        for number in range(60):
            await asyncio.sleep(0.05)
            action = '"action": "refresh"' if number % 20 == 19 else f'"content": "{"x" * 20_000}"'
            body = f'{{"items": [{{"channel": "{CHANNELS[number % 3]}", "ws-message": {{{action}}}}}]}}'
            writer.write(f"POST /publish/ HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            await reader.readuntil(b"Published\n")
        writer.close()

    async def everything() -> None:
        doors = [(path, "x.test")] * 5 + [(path + "-real", "passthrough.test")]
        lives = (chaos.client(proxy, *doors[number % len(doors)]) for number in range(CLIENTS))
        await asyncio.gather(publish(), *lives)

    before = len(log_of(websocket_processes))
    asyncio.run(everything())
    end = time.monotonic() + 15
    while (open_now := gauges(proxy)) != {"websockets": 0, "subscriptions": 0}:
        assert time.monotonic() < end, open_now
        time.sleep(0.1)
    log = log_of(websocket_processes)[before:]
    assert "Traceback" not in log
    assert " ERROR " not in log
