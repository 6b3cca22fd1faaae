"""Bodies on their way through the proxy: a request's from the client, a plain response's to it.

Invariant: neither is held whole, except where that is the point: a small request body in chunks gets a length, since
WSGI servers show their applications none without.
"""

import asyncio

import aiohttp
from aiohttp import web

from gripproxy.backend import Response
from gripproxy.backend.upload import Body
from gripproxy.errors import BackendError
from gripproxy.grip import wire
from gripproxy.grip.fields import HOP_BY_HOP, Fields, connection_options
from gripproxy.transports.client import Client

# Statuses whose responses have no body, whatever their fields say (RFC 9112 6.3).
BODILESS = frozenset({204, 304})

# Seconds in which a body in chunks has to be here to be sent on with a length; then it goes on as it comes.
GATHER_TIME = 0.5

# The same for a body that is looked into before it is sent on.
WANTED_TIME = 10.0


class BodyRefusedError(Exception):
    """A request's body can't be taken; its connection has to be closed. ``status`` tells the client why."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ReadAhead:
    """A body in chunks of which something was read already, and which must not become larger than ``limit``."""

    __slots__ = ("_begun", "_limit", "_rest", "_size")

    def __init__(self, begun: bytes, rest: aiohttp.StreamReader, limit: int) -> None:
        self._begun = begun
        self._rest = rest
        self._limit = limit
        self._size = 0

    async def readany(self) -> bytes:
        """Return the next bytes, b"" at the end.

        Raises: BackendError with status 413 when they are too many.
        """
        part = self._begun
        if part:
            self._begun = b""
        else:
            part = await self._rest.readany()
        self._size += len(part)
        if self._limit and self._size > self._limit:
            raise BackendError(f"the request's body has more than {self._limit} bytes", 413)
        return part


async def receive(
    request: web.BaseRequest, client: Client, limit: int, keep: int, *, expects: bool, is_wanted: bool = False
) -> tuple[bytes | Body, int | None]:
    """Return a request's body, whole or as a reader, and its length where the client gave one.

    ``limit``: the bytes it may have, 0 for as many as the client likes. ``keep``: up to how many bytes of a body in
    chunks are gathered, and of any body where all of it ``is_wanted``. ``expects``: the client waits to be told to send
    its body.
    Raises: BodyRefusedError.
    """
    content = request.content
    # The framing that the parser has found is the only one that counts.
    declared = None if request._message.chunked else request.headers.get("Content-Length")
    length = int(declared) if declared is not None else None
    if limit and length is not None and length > limit:
        raise BodyRefusedError(f"The request's body has {length} bytes; at most {limit} are taken.", 413)
    if content.is_eof():
        body = content.read_nowait()
        _check(len(body), limit)
        return body, length
    if length is not None and (length > keep or not is_wanted):
        return content, length
    if expects:
        client.write_continue()
    return await _gather(content, limit, keep, WANTED_TIME if is_wanted else GATHER_TIME), length


async def _gather(content: aiohttp.StreamReader, limit: int, keep: int, seconds: float) -> bytes | Body:
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while size <= keep:
                part = await content.readany()
                if not part:
                    return b"".join(parts)
                parts.append(part)
                size += len(part)
                _check(size, limit)
    except TimeoutError:
        pass  # it comes slowly, and so it goes on
    except web.RequestPayloadError as error:
        raise BodyRefusedError("The request's body is malformed.", 400) from error
    return ReadAhead(b"".join(parts), content, limit)


def _check(size: int, limit: int) -> None:
    if limit and size > limit:
        raise BodyRefusedError(f"The request's body has more than the {limit} bytes that are taken.", 413)


async def pass_through(client: Client, response: Response) -> None:
    """Send a response on to the client as it comes.

    Raises: BackendError when it can't be sent or completed, ConnectionResetError when the client leaves.
    """
    status = response.status
    fields, length = forwarded(response.fields)
    if client.cors is not None:
        fields = client.cors.complete(fields)
    has_body = not client.is_head and status not in BODILESS
    is_chunked = False
    first = b""
    is_whole = response.is_whole
    if has_body and is_whole:
        first, _ = await response.read(0)
        length = len(first)
    elif has_body and length is None:
        is_chunked = client.is_chunkable
        client.is_kept = client.is_kept and is_chunked
        client.ends_with_connection = not is_chunked
    parts = [wire.encode_status_line(status, response.reason), wire.encode_fields(fields)]
    if length is not None and status != 204:
        parts.append(b"Content-Length: %d\r\n" % length)
    elif is_chunked:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    if not client.is_kept:
        parts.append(b"Connection: close\r\n")
    elif not client.is_chunkable:
        parts.append(b"Connection: keep-alive\r\n")
    parts.append(b"\r\n")
    head = b"".join(parts)
    if not head.count(b"\n") == head.count(b"\r") == head.count(b"\r\n"):
        raise BackendError(f"{response.target} sent a field with a line end in it")
    client.status = status
    client.write(head + first if first else head)
    if has_body and not is_whole:
        await _stream(client, response, length, is_chunked=is_chunked)


async def _stream(client: Client, response: Response, length: int | None, *, is_chunked: bool) -> None:
    sent = 0
    while part := await response.read_some():
        sent += len(part)
        client.write(wire.chunk(part) if is_chunked else part)
        await client.drain()
    if is_chunked:
        client.write(wire.LAST_CHUNK)
    elif length is not None and sent != length:
        raise BackendError(f"{response.target} sent {sent} bytes of {length}")


def forwarded(fields: Fields) -> tuple[Fields, int | None]:
    """Return a response's fields without those of the hop, and what Content-Length says."""
    length: int | None = None
    kept = []
    named: frozenset[bytes] | None = None
    for field in fields:
        name = field[0].lower()
        if name == b"content-length":
            length = int(field[1])
        elif name not in HOP_BY_HOP:
            kept.append(field)
        elif name == b"connection":
            named = connection_options(fields)
    if named and not named <= {b"close", b"keep-alive"}:
        kept = [field for field in kept if field[0].lower() not in named]
    return tuple(kept), length
