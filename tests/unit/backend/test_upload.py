"""A request's body on its way to the backend, with a fake connection and a body that is known."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from gripproxy.backend.upload import Upload
from gripproxy.errors import BackendError
from gripproxy.routes import Target

TARGET = Target("http", "10.0.0.1", 8000)


class Route:
    """What an upload looks at of a route."""

    idle_timeout = 0.01
    response_timeout = 0.01


class Connection:
    """A connection that takes everything, or stalls, or is closed."""

    def __init__(self, is_stalled: bool = False, is_closed: bool = False) -> None:
        self.sent = b""
        self.writing_paused = is_stalled
        self.transport = self
        self.failure: BaseException | None = None
        self._is_closed = is_closed

    def is_connected(self) -> bool:
        return not self._is_closed

    def write(self, data: bytes) -> None:
        self.sent += data

    def fail(self, error: BaseException) -> None:
        self.failure = error

    async def _drain_helper(self) -> None:
        await asyncio.Event().wait()


class Body:
    """A body by its parts: bytes, an error, or None where it stops."""

    def __init__(self, *parts: Any) -> None:
        self.parts = list(parts)

    async def readany(self) -> bytes:
        part = self.parts.pop(0) if self.parts else b""
        if part is None:
            await asyncio.Event().wait()
        if isinstance(part, BaseException):
            raise part
        assert isinstance(part, bytes)
        return part


async def send(connection: Connection, body: Body, *, is_chunked: bool = False, keep: int = 0) -> Upload:
    """Send a body and wait until that is over."""
    upload = Upload(connection, Route(), TARGET, body, keep)  # type: ignore[arg-type]
    upload.begin(is_chunked=is_chunked)
    await asyncio.wait([upload.task])
    return upload


def run(test: Awaitable[Upload]) -> Upload:
    async def all_of_it() -> Upload:
        return await test

    return asyncio.run(all_of_it())


@pytest.mark.parametrize(("is_chunked", "expected"), [(False, b"abcd"), (True, b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n")])
def test_a_body_is_sent_as_it_comes(is_chunked: bool, expected: bytes) -> None:
    connection = Connection()
    upload = run(send(connection, Body(b"abc", b"d"), is_chunked=is_chunked))
    assert (expected, True, None) == (connection.sent, upload.is_complete, upload.error)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=9), max_size=5), st.integers(0, 20))
def test_a_small_body_is_kept(parts: list[bytes], keep: int) -> None:
    """All of it or nothing."""
    whole = b"".join(parts)
    assert (whole if len(whole) <= keep else None) == run(send(Connection(), Body(*parts), keep=keep)).kept


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (Body(b"a", None), 408, "the client stopped"),
        (Body(b"a", web.RequestPayloadError("x")), 400, "malformed"),
        (Body(b"a", BackendError("too much", 413)), 413, "too much"),
    ],
)
def test_a_body_that_does_not_come_whole(body: Body, status: int, message: str) -> None:
    """The backend's request is cut, so that it is not taken for whole."""
    connection = Connection()
    upload = run(send(connection, body, is_chunked=True))
    assert isinstance(upload.error, BackendError)
    assert (status, False) == (upload.error.status, upload.is_complete)
    assert message in str(upload.error)
    assert upload.error is connection.failure
    assert not connection.sent.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("error", [ConnectionResetError(), OSError(110, "x"), RuntimeError("Connection closed.")])
def test_a_client_that_leaves(error: Exception) -> None:
    connection = Connection()
    upload = run(send(connection, Body(b"a", error)))
    assert isinstance(upload.error, ConnectionResetError)
    assert upload.error is connection.failure


def test_a_backend_that_takes_nothing() -> None:
    upload = run(send(Connection(is_stalled=True), Body(b"a")))
    assert isinstance(upload.error, BackendError)
    assert 504 == upload.error.status


def test_a_backend_that_has_closed() -> None:
    """That is no error of the body's: the response, or its absence, tells more."""
    upload = run(send(Connection(is_closed=True), Body(b"a")))
    assert (None, False) == (upload.error, upload.is_complete)


def test_an_upload_that_is_cancelled() -> None:
    async def test() -> Upload:
        connection = Connection()
        upload = Upload(connection, Route(), TARGET, Body(None), 0)  # type: ignore[arg-type]
        upload.begin(is_chunked=False)
        await asyncio.sleep(0)
        upload.cancel()
        await asyncio.wait([upload.task])
        return upload

    upload = run(test())
    assert (None, False) == (upload.error, upload.is_complete)
