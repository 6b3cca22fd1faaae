"""What is asked of a backend, and what it answers."""

import asyncio
import os
import ssl
from dataclasses import dataclass

import aiohttp
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError

from gripproxy.backend.balance import Server
from gripproxy.backend.upload import Body, Upload
from gripproxy.errors import BackendError
from gripproxy.grip.fields import Fields, field_values, has_control
from gripproxy.targets import Target


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a backend.

    ``target`` is the path and query as the client sent them; ``fields`` are without framing and hop-by-hop fields, and
    with Host. ``body`` is whole, or a reader with ``length`` bytes (None: unknown, sent in chunks).
    """

    method: str
    target: bytes
    fields: Fields
    body: bytes | Body = b""
    length: int | None = None


class Response:
    """A backend's response: its head, and a body that is still coming. Close it in any case."""

    __slots__ = ("_connection", "_payload", "_upload", "fields", "reason", "server", "status", "target")

    def __init__(
        self,
        message: RawResponseMessage,
        payload: aiohttp.StreamReader,
        connection: aiohttp.connector.Connection,
        upload: Upload | None,
        target: Target,
    ) -> None:
        self.status = message.code
        self.reason, self.fields = reason_of(message), fields_of(message)
        self.target = target
        # Where this request counts as under way; None once it does no more.
        self.server: Server | None = None
        self._payload = payload
        self._connection = connection
        self._upload = upload

    @property
    def is_early(self) -> bool:
        """Whether the backend answered before the request's body was sent."""
        return self._upload is not None and not self._upload.is_complete

    @property
    def request_body(self) -> bytes | None:
        """What was sent as the request's body, where that was streamed, is complete and was small enough to keep."""
        return self._upload.kept if self._upload is not None and self._upload.is_complete else None

    @property
    def is_whole(self) -> bool:
        """Whether the whole body is here, so that reading it does not wait."""
        return self._payload.is_eof() and self._payload.exception() is None

    async def read_some(self) -> bytes:
        """Return the next bytes of the body as they come, b"" at its end.

        Raises: BackendError when the backend breaks off.
        """
        try:
            return await self._payload.readany()
        except TimeoutError as error:
            message = f"{self.target} stopped in the middle of its response"
            raise BackendError(message, 504, backend=self.target) from error
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            message = f"{self.target} broke off its response: {describe(error)}"
            raise BackendError(message, backend=self.target) from error

    async def read(self, limit: int) -> tuple[bytes, bool]:
        """Return the body up to somewhat over ``limit`` bytes, and whether it is whole and within the limit.

        Raises: BackendError when the backend breaks off.
        """
        if self.is_whole:
            body = self._payload.read_nowait()
            return body, len(body) <= limit
        parts: list[bytes] = []
        size = 0
        while size <= limit:
            part = await self.read_some()
            if not part:
                return b"".join(parts), True
            parts.append(part)
            size += len(part)
        return b"".join(parts), False

    def take(self) -> tuple[asyncio.Transport | None, bytes]:
        """Take the connection, which has switched protocols; return its transport, and what came behind the head.

        The transport is None when the backend has closed it.
        """
        protocol = self._connection.protocol
        assert protocol is not None
        transport, protocol.transport = protocol.transport, None
        received = protocol._tail
        self._connection.close()
        protocol.connection_lost(None)  # or its parser and it would keep each other
        return transport, received

    def close(self) -> None:
        """Give the connection back to the pool when both bodies came to their end, or close it."""
        if self.server is not None:
            self.server.leave()
            self.server = None
        if self.is_early:
            assert self._upload is not None
            self._upload.cancel()
            self._connection.close()
        elif self.is_whole:
            self._connection.release()
        else:
            self._connection.close()


def reason_of(message: RawResponseMessage) -> str:
    """The reason of a status; none, for which the registered one is used, where the parser let controls pass."""
    return message.reason if not has_control(message.reason) else ""


def fields_of(message: RawResponseMessage) -> Fields:
    """The fields of a response, without the blanks before the colon that the parser takes of those that frame it.

    They must not go on: who takes them, too, would find another end than who does not (RFC 9112 5.1).
    """
    fields: Fields = message.raw_headers
    if any(name[-1:] == b" " for name, _ in fields):
        return tuple((name.rstrip(b" "), value) for name, value in fields)
    return fields


def codings_of(message: RawResponseMessage) -> list[bytes]:
    """The transfer codings of a response, in lower case."""
    if not message.chunked and "Transfer-Encoding" not in message.headers:
        return []
    return [value.lower() for value in field_values(fields_of(message), b"transfer-encoding")]


@dataclass(frozen=True, slots=True)
class Upgraded:
    """A connection to a backend that has become a WebSocket; ``received`` came behind the 101 response.

    It counts as under way at ``server`` until its owner says `leave` there.
    """

    transport: asyncio.Transport
    fields: Fields
    received: bytes
    target: Target
    server: Server | None = None


def describe(error: BaseException) -> str:
    """Say in one line what an error is."""
    if isinstance(error, HttpProcessingError):
        # What is wrong, without the bytes, which may be somebody's secret.
        lines = error.message.strip().partition("\n\n")[0].splitlines()
        return " ".join(map(str.strip, lines)).rstrip(":") or "malformed"
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and (error.errno or 0) > 0:
        return os.strerror(error.errno or 0)  # asyncio's own words are "Connect call failed", whatever the number
    return str(error).strip().partition("\n")[0] or type(error).__name__
