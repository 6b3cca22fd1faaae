"""A connection to a backend, by what the backend says on it (aiohttp's protocol and parser, a fake transport)."""

import asyncio
import gc
import socket
import weakref
from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gripproxy import config
from gripproxy.backend.connection import WAYS_MAX, BackendConnection, Pool, public_socket
from gripproxy.backend.messages import Response
from gripproxy.routes import Route, Routes
from gripproxy.targets import Target

HEAD = b"HTTP/1.1 200 OK\r\n"
Answer = tuple[int, bytes]


class Transport(asyncio.Transport):
    """A transport that tells how it ended."""

    def __init__(self, protocol: BackendConnection) -> None:
        super().__init__()
        self.protocol = protocol
        self.ending = ""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return bool(self.ending)

    def close(self) -> None:
        self.ending = self.ending or "closed"

    def abort(self) -> None:
        self.ending = "aborted"

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def connect(method: str = "GET") -> tuple[BackendConnection, Transport]:
    """A new connection on which a request was sent."""
    protocol = BackendConnection(asyncio.get_running_loop())
    transport = Transport(protocol)
    protocol.connection_made(transport)
    assert not protocol.was_used
    protocol.expect(method)
    return protocol, transport


async def read(protocol: BackendConnection) -> Answer:
    """The status and the body of the next response."""
    message, payload = await protocol.read()
    body = b""
    while part := await payload.readany():
        body += part
    return message.code, body


def run(test: Awaitable[Any]) -> Any:
    async def all_of_it() -> Any:
        return await asyncio.wait_for(test, 5)  # type: ignore[arg-type]

    return asyncio.run(all_of_it())


@pytest.mark.parametrize(
    ("method", "data", "expected"),
    [
        ("GET", HEAD + b"Content-Length: 2\r\n\r\nok", (200, b"ok")),
        ("GET", HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", (200, b"ok")),
        ("HEAD", HEAD + b"Content-Length: 2\r\n\r\n", (200, b"")),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", (304, b"")),
    ],
)
def test_a_response(method: str, data: bytes, expected: Answer) -> None:
    """However its bytes come; then the connection may be used again."""

    async def test() -> None:
        for step in (1, len(data)):
            protocol, transport = connect(method)
            assert not protocol.has_begun
            for start in range(0, len(data), step):
                protocol.data_received(data[start : start + step])
            assert expected == await read(protocol)
            assert (False, True, True, "") == (
                protocol.should_close,
                protocol.was_used,
                protocol.has_begun,
                transport.ending,
            )

    run(test())


@pytest.mark.parametrize(
    ("method", "data", "expected"),
    [
        ("GET", HEAD + b"Content-Length: 2\r\n\r\nokmore", (200, b"ok")),
        ("HEAD", HEAD + b"Content-Length: 2\r\n\r\nok", (200, b"")),
        ("GET", b"HTTP/1.1 304 Not Modified\r\n\r\nbody", (304, b"")),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\nbody", (204, b"")),
    ],
)
def test_bytes_behind_a_response(method: str, data: bytes, expected: Answer) -> None:
    """The response stands, and the connection ends."""

    async def test() -> None:
        protocol, transport = connect(method)
        protocol.data_received(data)
        assert expected == await read(protocol)
        assert (True, "closed") == (protocol.should_close, transport.ending)

    run(test())


@pytest.mark.parametrize(
    "data",
    [b"garbage", b"HTTP/1.1 2x0 OK\r\n\r\n", HEAD + b"Content-Length: x\r\n\r\n", HEAD + b"A b: c\r\n\r\n"],
)
def test_what_is_no_response(data: bytes) -> None:
    async def test() -> None:
        protocol, _ = connect()
        protocol.data_received(data)
        with pytest.raises(aiohttp.http_exceptions.HttpProcessingError):
            await read(protocol)

    run(test())


@pytest.mark.parametrize(
    ("fields", "body", "error"),
    [
        (b"Content-Length: 9\r\n", b"hel", None),
        (b"Transfer-Encoding: chunked\r\n", b"3\r\nhel\r\n", None),
        (b"Content-Length: 9\r\n", b"hel", ConnectionResetError()),
        (b"Transfer-Encoding: chunked\r\n", b"3\r\nhel\r\n", ConnectionResetError()),
        (b"", b"hel", ConnectionResetError()),
    ],
)
def test_a_body_that_is_not_whole_fails(fields: bytes, body: bytes, error: Exception | None) -> None:
    """A reset is no end, even where the end of the connection would be that of the body."""

    async def test() -> None:
        protocol, _ = connect()
        protocol.data_received(HEAD + fields + b"\r\n" + body)
        protocol.connection_lost(error)
        with pytest.raises(aiohttp.ClientPayloadError):
            await read(protocol)

    run(test())


def test_a_body_that_the_end_of_the_connection_ends() -> None:
    async def test() -> None:
        protocol, _ = connect()
        protocol.data_received(HEAD + b"\r\nhello")
        protocol.connection_lost(None)
        assert (200, b"hello") == await read(protocol)

    run(test())


def test_chunks_that_turn_out_malformed_fail_their_reader() -> None:
    """aiohttp alone would let it wait for ever."""

    async def test() -> None:
        protocol, _ = connect()
        protocol.data_received(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        _, payload = await protocol.read()
        assert b"a" == await payload.readany()
        reading = asyncio.ensure_future(payload.readany())
        await asyncio.sleep(0)
        protocol.data_received(b"xyz\r\n")
        with pytest.raises(aiohttp.http_exceptions.HttpProcessingError):
            await reading

    run(test())


@pytest.mark.parametrize("unasked", [HEAD + b"Content-Length: 2\r\n\r\nno", b"garbage"])
def test_what_is_said_unasked_spoils_the_connection(unasked: bytes) -> None:
    """So that it is not taken for the answer to the next request."""

    async def test() -> None:
        protocol, _ = connect()
        protocol.data_received(HEAD + b"Content-Length: 2\r\n\r\nok")
        await read(protocol)
        protocol.data_received(unasked)
        assert protocol.should_close

    run(test())


def test_waiting_for_a_response_while_the_body_is_sent() -> None:
    """Ends with either, and with the failure of the response; reading comes after it."""

    async def test() -> None:
        sending = asyncio.ensure_future(asyncio.sleep(60))
        protocol, _ = connect("POST")
        waiting = asyncio.ensure_future(protocol.wait_for(sending))
        await asyncio.sleep(0)
        protocol.data_received(HEAD + b"Content-Length: 2\r\n\r\nok")
        await waiting
        assert (200, b"ok") == await read(protocol)
        protocol, _ = connect("POST")
        waiting = asyncio.ensure_future(protocol.wait_for(sending))
        await asyncio.sleep(0)
        protocol.connection_lost(None)
        await waiting
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await protocol.read()
        protocol, _ = connect("POST")
        await protocol.wait_for(asyncio.ensure_future(asyncio.sleep(0)))
        sending.cancel()

    run(test())


def test_expiring() -> None:
    async def test() -> None:
        protocol, _ = connect()
        asyncio.get_running_loop().call_soon(protocol.expire)
        with pytest.raises(TimeoutError):
            await protocol.read()

    run(test())


def test_a_body_that_stops_fails() -> None:
    async def test() -> None:
        protocol, _ = connect()
        protocol.data_received(HEAD + b"Content-Length: 2\r\n\r\n")
        protocol.watch(0.001)
        with pytest.raises(TimeoutError):
            await read(protocol)

    run(test())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([HEAD, b"\r\n", b"Content-Length: 2\r\n", b"ok"]), max_size=8))
def test_any_bytes_are_a_response_or_an_error(parts: list[bytes]) -> None:
    """Nothing else escapes, and nobody waits."""

    async def test() -> None:
        protocol, _ = connect()
        for part in parts:
            protocol.data_received(part)
        protocol.connection_lost(None)
        try:
            await read(protocol)
        except (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError):
            pass

    run(test())


def test_with_renewed_files_connections_to_https_backends_are_others() -> None:
    """Where the files of TLS are the system's, or there is no TLS, the pool goes on as it is."""

    async def test() -> None:
        pool = Pool(asyncio.get_running_loop())
        kinds = [{"verify": False}, {}, {"scheme": "http"}]
        routes = [route(**kind) for kind in kinds]
        before = [pool.way(one, one.targets[0]).connection_key for one in routes]
        assert before == [pool.way(one, one.targets[0]).connection_key for one in routes]
        pool.renew()
        after = [pool.way(one, one.targets[0]).connection_key for one in routes]
        assert [False, True, True] == [old == new for old, new in zip(before, after, strict=True)]
        await pool.close()

    run(test())


def test_not_all_ways_are_remembered() -> None:
    """Links may lead to any number of servers."""

    async def test() -> None:
        pool = Pool(asyncio.get_running_loop())
        one = route(scheme="http")
        for number in range(WAYS_MAX + 1):
            assert number + 1 == pool.way(one, Target("http", "127.0.0.1", number + 1)).connection_key.port
        assert 1 == len(pool._ways)
        await pool.close()

    run(test())


def route(scheme: str = "https", **settings: Any) -> Route:
    """A route to one backend."""
    only = config.Route(backends=(f"{scheme}://127.0.0.1:1",), **settings)
    (made,) = Routes(config.Config(routes=(only,)), b"x" * 32)
    return made


@pytest.mark.parametrize(
    ("family", "place"), [(socket.AF_INET, ("8.8.8.8", 80)), (socket.AF_INET6, ("2606:4700::1111", 80, 0, 0))]
)
def test_a_socket_for_a_public_address(family: int, place: tuple[Any, ...]) -> None:
    with public_socket((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place)) as made:
        assert (family, socket.SOCK_STREAM) == (made.family, made.type)


@pytest.mark.parametrize("place", [("127.0.0.1", 80), ("10.0.0.1", 80), ("fe80::1%eth0", 80, 0, 2), ("name", 80)])
def test_no_socket_for_other_addresses(place: tuple[Any, ...]) -> None:
    with pytest.raises(OSError, match=f"{place[0]} is not a public address"):
        public_socket((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place))


def test_a_connection_that_is_taken_leaves_nothing_to_the_collector() -> None:
    """The protocol and its parser know each other, and thousands of WebSockets take connections."""

    async def taken() -> None:
        protocol, transport = connect()
        protocol.data_received(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nmore"
        )
        message, payload = await protocol.read()
        connection = SimpleNamespace(protocol=protocol, close=lambda: None)
        response = Response(message, payload, connection, None, Target("http", "127.0.0.1", 1))  # type: ignore[arg-type]
        assert (transport, b"more") == response.take()
        transport.protocol = connection.protocol = None  # type: ignore[assignment]
        left = weakref.ref(protocol)
        del protocol, response, payload
        assert None is left()

    gc.disable()
    try:
        run(taken())
    finally:
        gc.enable()
