"""A backend that costs next to nothing, so that a load test measures the proxy: `python -m tests.load.backend PORT`.

/stream/CHANNEL  holds a stream                 /poll/CHANNEL  holds a long-poll
/ws/CHANNEL      WebSocket over HTTP, subscribed; what the client says is sent back
/plain           200 with a short body          anything else  404
"""

import asyncio
import sys
from collections.abc import Callable, Mapping

try:
    from uvloop import run
except ImportError:
    from asyncio import run

LINE = b"\r\n"
Answer = tuple[bytes, bytes]  # fields and body


def stream(channel: bytes, body: bytes) -> Answer:
    """Hold a stream on ``channel``."""
    return b"Content-Type: text/event-stream\r\nGrip-Hold: stream\r\nGrip-Channel: %s\r\n" % channel, b""


def poll(channel: bytes, body: bytes) -> Answer:
    """Hold a long-poll on ``channel``."""
    hold = b"Grip-Hold: response\r\nGrip-Timeout: 120\r\nGrip-Channel: %s\r\n" % channel
    return b"Content-Type: text/plain\r\n" + hold, b""


def websocket(channel: bytes, body: bytes) -> Answer:
    """Subscribe a WebSocket that opens to ``channel``; echo its messages."""
    fields = b'Content-Type: application/websocket-events\r\nSec-WebSocket-Extensions: grip; message-prefix=""\r\n'
    if body.startswith(b"OPEN"):
        control = b'c:{"type":"subscribe","channel":"%s"}' % channel
        return fields, b"OPEN\r\nTEXT %x\r\n%s\r\n" % (len(control), control)
    return fields, body if body.startswith((b"TEXT", b"CLOSE")) else b""


def plain(channel: bytes, body: bytes) -> Answer:
    """Answer like an application without realtime parts."""
    return b"Content-Type: text/plain\r\n", b"hello, world\n"


ANSWERS: Mapping[bytes, Callable[[bytes, bytes], Answer]] = {
    b"stream": stream,
    b"poll": poll,
    b"ws": websocket,
    b"plain": plain,
}


class Backend(asyncio.Protocol):
    """One connection of the proxy; requests have a Content-Length or no body."""

    def __init__(self) -> None:
        self.data = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (end := self.data.find(LINE * 2)) >= 0:
            start, *lines = self.data[:end].split(LINE)
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
            size = int(fields.get(b"content-length", 0))
            if len(self.data) < end + 4 + size:
                return
            body, self.data = self.data[end + 4 : end + 4 + size], self.data[end + 4 + size :]
            self.answer(start.split(b" ")[1].partition(b"?")[0], body)

    def answer(self, path: bytes, body: bytes) -> None:
        """Write the response to a request for ``path``."""
        kind, _, channel = path.strip(b"/").partition(b"/")
        status, (head, content) = (
            (b"200 OK", ANSWERS[kind](channel, body)) if kind in ANSWERS else (b"404 Not Found", (b"", b""))
        )
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status, head, len(content), content))


async def serve(port: int) -> None:
    """Serve for ever on the loopback."""
    server = await asyncio.get_running_loop().create_server(Backend, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    run(serve(int(sys.argv[1])))
