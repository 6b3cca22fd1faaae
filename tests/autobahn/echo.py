"""Backends that echo every message: one that speaks WebSocket-over-HTTP, one that speaks WebSocket itself.

    python -m tests.autobahn.echo HTTP_PORT WEBSOCKET_PORT [CERTIFICATE]

With a certificate (a PEM file with its key) the WebSockets are over TLS.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError

HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: application/websocket-events\r\n"
    b'Sec-WebSocket-Extensions: grip; message-prefix=""\r\n'
    b"Content-Length: %d\r\n\r\n"
)


async def echo_events(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request with its own events: an OPEN accepts, a message is its echo, a CLOSE is confirmed."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
            body = answer(await reader.readexactly(length))
            writer.write(HEAD % len(body) + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def answer(body: bytes) -> bytes:
    """Return the events of a body as an echo: pings turned into pongs, without pongs and without DISCONNECT."""
    parts = []
    at = 0
    while at < len(body):
        end = body.index(b"\r\n", at)
        kind, _, size = body[at:end].partition(b" ")
        after = end + 2 + (int(size, 16) + 2 if size else 0)
        if kind == b"PING":
            parts.append(b"PONG" + body[at + 4 : after])
        elif kind not in (b"PONG", b"DISCONNECT"):
            parts.append(body[at:after])
        at = after
    return b"".join(parts)


async def echo_messages(socket: ServerConnection) -> None:
    """Send back every message."""
    try:
        async for message in socket:
            await socket.send(message)
    except ConnectionClosedError:
        pass  # most cases end so


async def main(http_port: int, websocket_port: int, certificate: str = "") -> None:
    """Serve until killed."""
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    await asyncio.start_server(echo_events, "127.0.0.1", http_port, limit=1 << 20)
    options = {"ssl": context, "max_size": None, "compression": None}
    async with serve(echo_messages, "127.0.0.1", websocket_port, **options) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
