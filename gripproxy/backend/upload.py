"""A request's body on its way from the client to the backend, at the pace at which the backend takes it."""

import asyncio
from typing import Protocol

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError

from gripproxy.backend.connection import BackendConnection
from gripproxy.errors import BackendError
from gripproxy.grip import wire
from gripproxy.routes import Route
from gripproxy.targets import Target


class Body(Protocol):
    """A request's body that is still coming."""

    async def readany(self) -> bytes:
        """Return the next bytes as they come, b"" at the end."""


class Upload:
    """Sends a body as it comes, and keeps a small one for the case that the request has to be repeated.

    ``is_complete``: all of it is sent. ``kept``: all of what was sent so far, None when that is more than ``keep``.
    """

    __slots__ = ("_body", "_connection", "_keep", "_route", "_target", "is_complete", "kept", "task")

    def __init__(self, connection: BackendConnection, route: Route, target: Target, body: Body, keep: int) -> None:
        self._connection = connection
        self._route = route
        self._target = target
        self._body = body
        self._keep = keep
        self.kept: bytes | None = b""
        self.is_complete = False
        self.task: asyncio.Task[None]

    def begin(self, *, is_chunked: bool) -> None:
        """Start sending."""
        self.task = asyncio.get_running_loop().create_task(self._send(is_chunked=is_chunked))
        self.task.add_done_callback(_look_at_error)

    @property
    def error(self) -> BaseException | None:
        """What ended it before its end, if anything but cancelling did."""
        return self.task.exception() if self.task.done() and not self.task.cancelled() else None

    def cancel(self) -> None:
        """Stop sending."""
        self.task.cancel()

    async def _send(self, *, is_chunked: bool) -> None:
        """Raises: BackendError, with the status for the client; ConnectionResetError when the client has left."""
        connection = self._connection
        try:
            while data := await self._read():
                self._remember(data)
                if not connection.is_connected():
                    return  # the response, or its absence, tells why
                assert connection.transport is not None
                connection.transport.write(wire.chunk(data) if is_chunked else data)
                if connection.writing_paused:
                    await self._drain()
            if connection.is_connected():
                assert connection.transport is not None
                if is_chunked:
                    connection.transport.write(wire.LAST_CHUNK)
                self.is_complete = True
        except Exception as error:
            connection.fail(error)  # half a request is none
            raise

    async def _read(self) -> bytes:
        try:
            async with asyncio.timeout(self._route.idle_timeout or None):
                return await self._body.readany()
        except TimeoutError as error:
            if error.errno is not None:
                raise ConnectionResetError("the client left") from error  # the network has told so
            raise BackendError("the client stopped in the middle of its body", 408) from error
        except (RequestPayloadError, HttpProcessingError) as error:
            raise BackendError("the client's body is malformed", 400) from error
        except (OSError, RuntimeError) as error:
            raise ConnectionResetError("the client left") from error

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._route.response_timeout or None):
                await self._connection._drain_helper()
        except TimeoutError as error:
            message = f"{self._target} stopped taking the request's body"
            raise BackendError(message, 504, backend=self._target) from error
        except (OSError, aiohttp.ClientError):
            pass  # the next write finds the connection closed

    def _remember(self, data: bytes) -> None:
        if self.kept is not None:
            self.kept = self.kept + data if len(self.kept) + len(data) <= self._keep else None


def _look_at_error(task: asyncio.Task[None]) -> None:
    """Take the error, which whoever waits for the response gets from the connection; nobody may be waiting."""
    if not task.cancelled():
        task.exception()
