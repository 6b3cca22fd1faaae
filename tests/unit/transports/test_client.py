"""One request's way back to the client, on a connection that a hold has taken (`Held` with a fake transport)."""

import asyncio
import socket
from typing import Any

import pytest

from gripproxy.grip.cors import Cors
from gripproxy.transports.client import RESET, Client
from gripproxy.transports.held import Held, Idle
from gripproxy.transports.takeover import CLOSED


class Socket:
    """A socket of which only the options are of interest."""

    def __init__(self) -> None:
        self.options: list[tuple[object, ...]] = []

    def setsockopt(self, *option: object) -> None:
        self.options.append(option)


class Transport:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.ending = ""
        self.protocol: Any = None
        self.socket = Socket()

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str) -> Any:
        return self.socket if name == "socket" else None

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return bool(self.ending)

    def close(self) -> None:
        self.ending = "closed"

    def abort(self) -> None:
        self.ending = "aborted"

    def get_write_buffer_size(self) -> int:
        return 0


class Wheel:
    """A wheel that turns never."""

    def set(self, timed: Any, seconds: float) -> None:
        self.seconds = seconds

    def drop(self, timed: Any) -> None:
        self.seconds = 0.0


class Server:
    """Who gets a connection back, and with what; ``open`` counts them."""

    def __init__(self) -> None:
        self.given: list[bytes] = []
        self.open = 1

    def give(self, transport: Any, received: bytes) -> None:
        self.given.append(received)


def client_on(transport: Transport, server: Any = None, **changes: Any) -> Client:
    held = Held(server, transport)  # type: ignore[arg-type]
    facts = {"peer": "192.0.2.1", "is_head": False, "is_chunkable": True, "is_kept": True, **changes}
    return Client(server, None, held, **facts)


@pytest.mark.parametrize(
    ("changes", "status", "expected"),
    [
        ({}, 200, b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\nok"),
        ({"is_kept": False}, 200, b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"),
        ({"is_head": True}, 200, b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\n"),
        ({}, 204, b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n"),
    ],
)
def test_a_whole_response(changes: dict[str, bool], status: int, expected: bytes) -> None:
    transport = Transport()
    client = client_on(transport, **changes)
    client.respond(status, "", ((b"A", b"b"),), b"ok")
    assert (expected, True) == (transport.written, client.has_begun)


def test_a_response_for_another_origin() -> None:
    transport = Transport()
    client = client_on(transport)
    client.cors = Cors.of("GET", ((b"Origin", b"http://a.test"),), frozenset({"*"}))
    client.respond(200, "", (), b"")
    assert b"Access-Control-Allow-Origin: " in transport.written


@pytest.mark.parametrize("ends", [True, False])
def test_a_response_that_is_cut(ends: bool) -> None:
    """By a reset, where the end of the connection would be taken for the end of the body."""
    transport = Transport()
    client = client_on(transport)
    client.ends_with_connection = ends
    client.abort()
    client.abort()
    assert ("aborted", False) == (transport.ending, client.is_kept)
    assert ([(socket.SOL_SOCKET, socket.SO_LINGER, RESET)] if ends else []) == transport.socket.options


def test_a_client_that_has_left() -> None:
    transport = Transport()
    client = client_on(transport, Server())
    transport.protocol.connection_lost(None)
    with pytest.raises(ConnectionResetError):
        client.write(b"x")
    with pytest.raises(ConnectionResetError):
        client.take()
    client.abort()
    client.write_informational(103, "", ())
    assert b"" == transport.written


def test_the_end_of_an_exchange() -> None:
    """The connection is closed, or given back with what the client has sent, or waits for that."""
    server, wheel = Server(), Wheel()
    transport = Transport()
    assert CLOSED is client_on(transport, server, is_kept=False).finish(wheel, 75.0)  # type: ignore[arg-type]
    assert "closed" == transport.ending
    transport = Transport()
    client = client_on(transport, server)
    transport.protocol.data_received(b"GET")
    client.finish(wheel, 75.0)  # type: ignore[arg-type]
    assert ([b"GET"], "") == (server.given, transport.ending)
    transport = Transport()
    client_on(transport, server).finish(wheel, 75.0)  # type: ignore[arg-type]
    assert isinstance(transport.protocol, Idle)
    assert 75.0 == wheel.seconds


def test_a_connection_that_is_taken_again() -> None:
    """With what the client has sent meanwhile."""
    transport = Transport()
    client = client_on(transport)
    transport.protocol.data_received(b"GET")
    assert (transport, b"GET") == client.take()
    assert client.is_taken


def test_waiting_for_a_client_that_keeps_up() -> None:
    """Does not wait."""
    asyncio.run(client_on(Transport()).drain())
