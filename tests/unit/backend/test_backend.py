"""What goes to a backend as a request's head, to which one, and what its failures mean."""

import asyncio
import errno
import os
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp.http_exceptions import BadStatusLine

from gripproxy import config
from gripproxy.backend import GRIP_FEATURES, Backend, Request, _fault
from gripproxy.config import Config
from gripproxy.routes import Route, Routes

HOST = (b"Host", b"a.test")


def route_with(**settings: Any) -> Route:
    settings = {"backends": ("http://10.0.0.1:8000",), **settings}
    found = Routes(Config(routes=(config.Route(**settings),)), b"k" * 32).match("a.test", "/")
    assert found is not None
    return found


def with_backend(use: Callable[[Backend], Any]) -> Any:
    """What ``use`` makes of a backend, for which it is always the same time."""

    async def all_of_it() -> Any:
        backend = Backend(now=lambda: 1_000_000_000.0)
        try:
            return use(backend)
        finally:
            await backend.close()

    return asyncio.run(all_of_it())


def head_of(route: Route, request: Request) -> bytes:
    """The head of a request to the first target."""
    head: bytes = with_backend(lambda backend: backend._encode_head(route, route.targets[0], request))
    return head


class Reader:
    """A body that is still to come."""

    async def readany(self) -> bytes:
        return b""


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Request("GET", b"/a?b=%20", (HOST,)), b"GET /a?b=%20 HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        (Request("DELETE", b"/", (HOST,)), b"DELETE / HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        (Request("POST", b"/", (HOST,)), b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n"),
        (Request("GET", b"/", (HOST,), b"abc"), b"GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\n"),
        (Request("PUT", b"/", (HOST,), Reader(), 9), b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\n"),
        (
            Request("PUT", b"/", (HOST,), Reader()),
            b"PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
    ],
)
def test_the_head_of_a_request(request_: Request, expected: bytes) -> None:
    """Nothing is added but what frames the body."""
    assert expected == head_of(route_with(grip=False), request_)


def test_the_head_of_a_request_of_grip() -> None:
    head = head_of(route_with(), Request("GET", b"/", (HOST,)))
    lines = head.split(b"\r\n")
    assert lines[2].startswith(b"Grip-Sig: ey")
    assert GRIP_FEATURES == lines[3] + b"\r\n"


def test_the_head_of_a_request_to_another_host() -> None:
    route = route_with(grip=False, host_header="b.test:81")
    head = head_of(route, Request("GET", b"/", ((b"host", b"a"), (b"A", b"b"))))
    assert b"GET / HTTP/1.1\r\nHost: b.test:81\r\nA: b\r\n\r\n" == head


class Connection:
    """A connection on which a response has begun, or not."""

    def __init__(self, has_begun: bool) -> None:
        self.has_begun = has_begun


@pytest.mark.parametrize("has_begun", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "is_repeatable", "text"),
    [
        (TimeoutError(), 504, False, "did not answer within 60 s"),
        (aiohttp.ServerDisconnectedError(), 502, True, "closed the connection without an answer"),
        (ConnectionResetError(errno.ECONNRESET, "x"), 502, True, f"connection: {os.strerror(errno.ECONNRESET)}"),
        (aiohttp.ClientOSError(errno.EPIPE, "x"), 502, True, f"broke the connection: {os.strerror(errno.EPIPE)}"),
        (BadStatusLine(error="Bad status line:\n  One:\n\n  b'X'"), 502, False, "with HTTP: Bad status line: One"),
        (aiohttp.ClientPayloadError("x"), 502, False, "failed: x"),
    ],
)
def test_what_a_failure_means(error: Exception, status: int, is_repeatable: bool, text: str, has_begun: bool) -> None:
    """A request may be repeated when nothing of a response has come; the text is one line."""
    route = route_with()
    fault = _fault(route, route.targets[0], Connection(has_begun), error)  # type: ignore[arg-type]
    assert fault is not None
    assert (status, is_repeatable and not has_begun) == (fault.status, fault.is_repeatable)
    assert text in str(fault)
    assert "\n" not in str(fault)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), RuntimeError()])
def test_what_is_no_failure_of_a_backend(error: BaseException) -> None:
    route = route_with()
    assert _fault(route, route.targets[0], Connection(False), error) is None  # type: ignore[arg-type]
