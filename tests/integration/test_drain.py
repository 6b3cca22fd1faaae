"""The end of a proxy that holds thousands: they are let go over some time, and until then nothing is lost to them."""

import asyncio
import itertools
import json
import signal
import time
from dataclasses import dataclass, field

from tests.conformance import frames
from tests.integration.door import start_door
from tests.integration.processes import Processes

STREAMS, SOCKETS, POLLS = 1000, 600, 400
SHUTDOWN = 3.0  # seconds
SLACK = 10.0  # seconds for a busy machine
SEEN_AFTER = 1.0  # seconds that the end of a client may need to be seen here: what is published behind it is not missed
EVENTS = b"Content-Type: application/websocket-events\r\nSec-WebSocket-Extensions: grip\r\n"
SUBSCRIBE = b'c:{"type":"subscribe","channel":"news"}'
ANSWERS = {
    b"/stream": b"Grip-Hold: stream\r\nGrip-Channel: news\r\nContent-Length: 0\r\n\r\n",
    b"/poll": b"Grip-Hold: response\r\nGrip-Channel: polls\r\nGrip-Timeout: 300\r\nContent-Length: 4\r\n\r\nheld",
}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A backend that holds everybody, and counts in ``departed`` whom it is told has left."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = (line.lower().partition(b":") for line in head.split(b"\r\n"))
            length = next((int(value) for name, _, value in lines if name == b"content-length"), 0)
            body = await reader.readexactly(length)
            answer = ANSWERS.get(head.split(b" ")[1])
            if answer is None:
                departed.append(body.startswith(b"DISCONNECT"))
                events = b"OPEN\r\nTEXT %x\r\n%b\r\n" % (len(SUBSCRIBE), SUBSCRIBE) if body == b"OPEN\r\n" else b""
                answer = EVENTS + b"Content-Length: %d\r\n\r\n%b" % (len(events), events)
            writer.write(b"HTTP/1.1 200 OK\r\n" + answer)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


departed: list[bool] = []


@dataclass(slots=True)
class Held:
    """What one client got, and when it was let go."""

    got: list[int] = field(default_factory=list)
    end: bytes = b""
    ended_at: float = 0.0


async def connect(port: int, path: str, *lines: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("\r\n".join([f"GET {path} HTTP/1.1", "Host: a.test", *lines, "", ""]).encode())
    return reader, writer


async def stream(port: int, held: Held, is_held: asyncio.Event) -> None:
    reader, writer = await connect(port, "/stream")
    await reader.readuntil(b"\r\n\r\n")
    is_held.set()
    while size := int(await reader.readuntil(b"\r\n"), 16):
        held.got += map(int, (await reader.readexactly(size + 2)).split())
    held.end, held.ended_at = b"last chunk", time.monotonic()
    writer.close()


async def web_socket(port: int, held: Held, is_held: asyncio.Event) -> None:
    key = f"Sec-WebSocket-Key: {frames.new_key()}"
    reader, writer = await connect(
        port, "/ws", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", key
    )
    await reader.readuntil(b"\r\n\r\n")
    is_held.set()
    while True:
        opcode, length = await reader.readexactly(2)
        payload = await reader.readexactly(length)
        if opcode & 15 == frames.CLOSE:
            break
        held.got.append(int(payload))
    held.end, held.ended_at = payload, time.monotonic()
    writer.write(frames.encode(frames.close(1012), masked=True))
    writer.close()


async def poll(port: int, held: Held, is_held: asyncio.Event) -> None:
    reader, writer = await connect(port, "/poll")
    is_held.set()
    response = await reader.read()
    held.end, held.ended_at = response.rpartition(b"\r\n\r\n")[2], time.monotonic()
    writer.close()


async def ask(port: int, method: str, path: str, body: bytes = b"") -> int:
    """The status of a request at the control door."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    response = await reader.read()
    writer.close()
    return int(response.split(b" ")[1])


def test_two_thousand_clients_are_let_go_over_time_and_miss_nothing(processes: Processes) -> None:
    asyncio.run(asyncio.wait_for(drain(processes), 120))


async def drain(processes: Processes) -> None:
    departed.clear()
    backend = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1000)
    port = backend.sockets[0].getsockname()[1]
    toml = f'[server]\nlisten = ["{{listen}}"]\nshutdown_timeout = {SHUTDOWN}\n'
    toml += f'[[routes]]\nbackends = "http://127.0.0.1:{port}"\n'
    door = await asyncio.to_thread(start_door, processes, toml)
    kinds = [stream] * STREAMS + [web_socket] * SOCKETS + [poll] * POLLS
    clients = [(Held(), asyncio.Event()) for _ in kinds]
    tasks = []
    for start in range(0, len(kinds), 100):
        for kind, (held, is_held) in list(zip(kinds, clients, strict=True))[start : start + 100]:
            tasks.append(asyncio.create_task(kind(door.port, held, is_held)))
        for _, is_held in clients[start : start + 100]:
            await is_held.wait()
    while True:
        counts = [
            await asyncio.to_thread(door.metric, f'gripproxy_connections{{transport="{name}"}}')
            for name in ("stream", "websocket", "response")
        ]
        if counts == [STREAMS, SOCKETS, POLLS]:
            break

    # Publishes go on all the while; each is for who is held when it comes in.
    published: list[tuple[float, float]] = []

    async def publish() -> None:
        for number in itertools.count():
            text = f"{number}\n"
            item = {"channel": "news", "http-stream": {"content": text}, "ws-message": {"content": text}}
            begun = time.monotonic()
            try:
                status = await ask(door.control_port, "POST", "/publish/", json.dumps({"items": [item]}).encode())
            except OSError:
                return  # the proxy has ended
            assert 200 == status
            published.append((begun, time.monotonic()))
            await asyncio.sleep(0.05)

    publishing = asyncio.create_task(publish())
    await asyncio.sleep(0.5)
    began = time.monotonic()
    door.process.signal(signal.SIGTERM)
    await asyncio.to_thread(door.process.wait_for_output, "stopping: 2000 clients are held")
    assert 503 == await ask(door.control_port, "GET", "/ready")
    await asyncio.gather(*tasks)
    assert 0 == await asyncio.to_thread(door.process.wait, SHUTDOWN + SLACK)
    assert time.monotonic() - began < SHUTDOWN + SLACK
    await asyncio.wait_for(publishing, 10)
    backend.close()

    helds = [held for held, _ in clients]
    ends = [held.end for held in helds]
    close = frames.close(1012, "shutdown").payload
    assert [STREAMS, SOCKETS, POLLS] == [ends.count(end) for end in (b"last chunk", close, b"held")]
    assert SOCKETS == departed.count(True)
    # Nobody is asked to come back with everybody else.
    times = sorted(held.ended_at - began for held in helds)
    assert times[-1] - times[0] > SHUTDOWN / 2
    for start in (number / 4 for number in range(int(times[-1] * 4) + 1)):
        assert sum(start <= one < start + 0.5 for one in times) < len(times) * 0.6
    # Each got all that was taken up to its end, in order and once.
    for held in helds[: STREAMS + SOCKETS]:
        assert list(range(len(held.got))) == held.got
        missed = published[len(held.got) :]
        assert not missed or missed[0][1] > held.ended_at - SEEN_AFTER, (held, missed[:1])
    assert max(len(held.got) for held in helds) > min(len(held.got) for held in helds[:STREAMS])
