"""A backend that answers by script and remembers every request byte for byte.

It runs in a thread of its own, in the process of the tests. A case tells it what a path answers (`on`), then takes
the requests out one by one in the order in which they came (`take`). Field names and values are text decoded as
Latin-1, so that every byte survives.
"""

import asyncio
import itertools
import json
import os
import queue
import struct
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.conformance import frames

DEADLINE = float(os.environ.get("GRIP_DEADLINE", "15"))  # seconds until a case gives up on what has to happen
Fields = tuple[tuple[str, str], ...]
EVENTS = "application/websocket-events"
REASONS = {101: "Switching Protocols", 200: "OK", 204: "No Content", 304: "Not Modified", 404: "Not Found"}


def values_of(fields: Fields, name: str) -> list[str]:
    """Every value of a field, in order."""
    return [value for key, value in fields if key.lower() == name.lower()]


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it stood on the wire."""

    method: str
    target: str
    version: str
    fields: Fields
    body: bytes = b""
    connection: int = 0  # counted by the backend

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def values(self, name: str) -> list[str]:
        return values_of(self.fields, name)

    def value(self, name: str) -> str | None:
        found = self.values(name)
        return ", ".join(found) if found else None

    @property
    def last_ids(self) -> set[str]:
        """The members of all Grip-Last fields."""
        return {part.strip() for value in self.values("Grip-Last") for part in value.split(",")}


class Gate:
    """Something that a script waits for until the case opens it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    def open(self) -> None:
        self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        await self._event.wait()


class Reset:
    """A step of a script: the connection is cut."""


RESET = Reset()
Step = bytes | float | Gate | Reset


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `body` may be steps: bytes to send, seconds to wait, a gate, RESET; `before` precedes the head."""

    body: bytes | Sequence[Step] = b""
    fields: Sequence[tuple[str, str]] = ()
    status: int = 200
    reason: str | None = None
    framing: str = "length"  # or "chunked", "close", "none"
    before: Sequence[Step] = ()
    raw: bool = False  # the steps are the whole answer, head and all

    def head(self) -> bytes:
        reason = self.reason if self.reason is not None else REASONS.get(self.status, "Some Reason")
        fields = list(self.fields)
        if self.framing == "length":
            assert isinstance(self.body, bytes)
            fields.append(("Content-Length", str(len(self.body))))
        elif self.framing == "chunked":
            fields.append(("Transfer-Encoding", "chunked"))
        elif self.framing == "close":
            fields.append(("Connection", "close"))
        lines = [f"HTTP/1.1 {self.status} {reason}", *(f"{name}: {value}" for name, value in fields), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def steps(self) -> list[Step]:
        return [self.body] if isinstance(self.body, bytes) else list(self.body)


@dataclass(frozen=True, slots=True)
class Upgrade:
    """An answer that opens a real WebSocket, which the case then takes with `take_socket`."""

    fields: Sequence[tuple[str, str]] = ()


Answer = Reply | Upgrade
Script = Answer | Callable[[Request], Answer]


def events(*parts: str | bytes | tuple[str, bytes | str], extension: str | None = None, **fields: str) -> Reply:
    """An answer of WebSocket-over-HTTP: events as bare types or (type, content); `extension` marks an opening."""
    named = [(name.replace("_", "-"), value) for name, value in fields.items()]
    if extension is not None:
        named.append(("Sec-WebSocket-Extensions", extension))
    body = b"".join(event(part) for part in parts)
    return Reply(body, [("Content-Type", EVENTS), *named])


def event(part: str | bytes | tuple[str, bytes | str]) -> bytes:
    """One event in its wire form."""
    if isinstance(part, bytes):
        return part
    if isinstance(part, str):
        return part.encode() + b"\r\n"
    kind, content = part
    raw = content.encode() if isinstance(content, str) else content
    return b"%s %x\r\n%s\r\n" % (kind.encode(), len(raw), raw)


def close_event(code: int, reason: str = "") -> tuple[str, bytes]:
    """A CLOSE event with a code."""
    return "CLOSE", struct.pack(">H", code) + reason.encode()


def control(**members: Any) -> tuple[str, str]:
    """A control message as an event; underscores in names stand for hyphens."""
    return "TEXT", "c:" + json.dumps({name.replace("_", "-"): value for name, value in members.items()})


def opened(*parts: str | bytes | tuple[str, bytes | str], extension: str = "grip", **fields: str) -> Reply:
    """The answer that accepts a WebSocket."""
    return events("OPEN", *parts, extension=extension, **fields)


class Socket:
    """A real WebSocket at the backend, used from the case's thread."""

    def __init__(self, request: Request, loop: asyncio.AbstractEventLoop, writer: asyncio.StreamWriter) -> None:
        self.request, self._loop, self._writer = request, loop, writer
        self.received: queue.Queue[frames.Frame | None] = queue.Queue()

    def send(self, frame: frames.Frame) -> None:
        self._loop.call_soon_threadsafe(self._writer.write, frames.encode(frame, masked=False))

    def receive(self) -> frames.Frame | None:
        """The next frame, None when the connection ended."""
        return self.received.get(timeout=DEADLINE)

    async def collect(self, reader: asyncio.StreamReader) -> None:
        """Reads frames until the peer ends."""
        loop = asyncio.get_running_loop()

        def read_exactly(count: int) -> bytes:
            return asyncio.run_coroutine_threadsafe(reader.readexactly(count), loop).result()

        try:
            while True:
                self.received.put(await asyncio.to_thread(frames.read, read_exactly))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.received.put(None)


@dataclass(slots=True)
class Page:
    """What a path answers, and who asked."""

    scripts: list[Script] = field(default_factory=list)
    requests: queue.Queue[Request] = field(default_factory=queue.Queue)
    sockets: queue.Queue[Socket] = field(default_factory=queue.Queue)

    def next(self) -> Script:
        return self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]


class Backend:
    """The server. Its last script for a path answers every further request there; an unknown path is a 404."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._pages: dict[str, Page] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)
        self._open: set[int] = set()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", port, limit=1 << 24))

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(DEADLINE)

    def stop(self) -> None:
        if self._loop.is_closed():
            return

        async def end() -> None:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self._call(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)
        self._loop.close()

    def gate(self) -> Gate:
        return Gate(self._loop)

    def page(self, path: str) -> Page:
        return self._pages.setdefault(path, Page())

    def on(self, path: str, *scripts: Script) -> None:
        self.page(path).scripts = list(scripts)

    def take(self, path: str, deadline: float = DEADLINE) -> Request:
        """The oldest request to a path that was not taken yet; waits for it."""
        try:
            return self.page(path).requests.get(timeout=deadline)
        except queue.Empty:
            raise AssertionError(f"the proxy asked the backend nothing at {path}") from None

    def waiting(self, path: str) -> int:
        """How many requests to a path were not taken yet."""
        return self.page(path).requests.qsize()

    def is_open(self, connection: int) -> bool:
        """Whether a connection, as a request names it, has not ended."""
        return connection in self._open

    def take_socket(self, path: str) -> Socket:
        return self.page(path).sockets.get(timeout=DEADLINE)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        number = next(self._numbers)
        self._open.add(number)
        try:
            while (request := await read_request(reader, writer, number)) is not None:
                if not await self._answer(request, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._open.discard(number)
            writer.close()

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        page = self.page(request.path)
        script = page.next() if page.scripts else Reply(b"no script\n", status=404)
        answer = script if isinstance(script, Reply | Upgrade) else script(request)
        if isinstance(answer, Upgrade):
            await self._upgrade(request, answer, reader, writer)
            return False
        page.requests.put(request)
        if not await run(answer.before, writer, chunked=False):
            return False
        if not answer.raw:
            writer.write(answer.head())
        silent = request.method == "HEAD" or answer.status in (204, 304)
        chunked = answer.framing == "chunked" and not silent
        if not silent and not await run(answer.steps(), writer, chunked):
            return False
        if chunked:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return answer.framing != "close" and not answer.raw

    async def _upgrade(
        self, request: Request, answer: Upgrade, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        socket = Socket(request, self._loop, writer)
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Accept: {frames.accept_for(request.value('Sec-WebSocket-Key') or '')}"]
        lines += [f"{name}: {value}" for name, value in answer.fields]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        self.page(request.path).sockets.put(socket)
        await socket.collect(reader)


async def run(steps: Sequence[Step], writer: asyncio.StreamWriter, chunked: bool) -> bool:
    """Does the steps; False if the connection was cut."""
    for step in steps:
        if isinstance(step, Reset):
            writer.transport.abort()
            return False
        if isinstance(step, Gate):
            await step.wait()
        elif isinstance(step, bytes):
            writer.write(b"%x\r\n%s\r\n" % (len(step), step) if chunked and step else step)
            await writer.drain()
        else:
            await asyncio.sleep(step)
    return True


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> Request | None:
    """The next request, None if the peer has closed."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, version = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    fields = tuple((name, value.strip(" \t")) for name, _, value in pairs)
    if values_of(fields, "Expect"):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = b""
    if values_of(fields, "Transfer-Encoding"):
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    elif length := values_of(fields, "Content-Length"):
        body = await reader.readexactly(int(length[0]))
    return Request(method, target, version, fields, body, number)
