"""What a door listens with counts its connections, and stops."""

import asyncio

import pytest
from aiohttp import web

from gripproxy.transports.connections import Connections
from gripproxy.transports.held import Held
from gripproxy.transports.refusal import Refusal
from gripproxy.transports.takeover import CLOSED, ClientConnection
from tests.unit.transports.connection_fakes import CHUNKED, GET, HALF, OK, POST, Transport, answer, connect, run, turn


def test_a_connection_that_comes_back_to_a_server_that_stops() -> None:
    """From a hold, with a request, which is answered, or with a part of one."""

    async def test() -> None:
        for received, answered in ((GET % 1, OK), (HALF, b"")):
            server, transport = connect(answer)
            transport.protocol.detach()
            server.pre_shutdown()
            server.give(transport, received)
            await turn()
            assert answered == transport.written
            transport.close()
            await turn()

    run(test())


@pytest.mark.parametrize(
    ("received", "later", "answered"),
    [
        (b"", b"", 0),
        ((GET % 1)[:5], (GET % 1)[5:], 0),
        (GET % 1, GET % 2, 1),
        (GET % 1 + GET % 2, b"", 1),
        (POST[:-1], POST[-1:] + GET % 2, 1),
        (CHUNKED + b"1\r\na", b"\r\n0\r\n\r\n" + GET % 2, 1),
    ],
)
def test_a_server_that_stops_answers_what_it_has_begun(received: bytes, later: bytes, answered: int) -> None:
    """It reads its body to the end, and no other request."""

    async def test() -> None:
        go_on = asyncio.Event()

        async def wait(request: web.BaseRequest) -> web.StreamResponse:
            await go_on.wait()
            await request.content.read()
            assert isinstance(request.protocol, ClientConnection)
            assert request.protocol.is_last
            await answer(request)
            return CLOSED

        server, transport = connect(wait)
        transport.protocol.data_received(received)
        await turn()
        server.pre_shutdown()
        ending = asyncio.create_task(server.shutdown(5.0))
        await turn()
        if later and not transport.ending:
            transport.protocol.data_received(later)
        go_on.set()
        await ending
        assert (OK * answered, "closed") == (transport.written, transport.ending)

    run(test())


def test_a_connection_counts_until_it_is_lost_whoever_closes_it() -> None:
    """aiohttp closes one that was idle for too long by another way than the others."""

    async def test() -> None:
        server: Connections

        async def serve(request: web.BaseRequest) -> web.StreamResponse:
            if request.raw_path == "/1":
                return await answer(request)
            assert isinstance(request.protocol, ClientConnection)
            Held(server, request.protocol.detach())
            return CLOSED

        server, transport = connect(serve)
        transport.protocol.data_received(GET % 1)
        await turn()
        assert 1 == server.open
        transport.protocol._next_keepalive_close_time = 0.0
        transport.protocol._process_keepalive()
        await turn()
        assert ("closed", 0) == (transport.ending, server.open)
        server, transport = connect(serve)
        transport.protocol.data_received(GET % 2)
        await turn()
        assert ("", 1) == (transport.ending, server.open), "it is held"
        transport.close()
        await turn()
        assert 0 == server.open

    run(test())


def test_who_never_came_to_a_connection_takes_no_place() -> None:
    """Over TLS all begin with a handshake; when several come to the last place, the first to end it has it."""

    async def test() -> None:
        server, transport = connect(answer)
        server.configure(2, 10.0, 16_384)
        late = [Transport() for _ in range(2)]
        for one in [Transport(), Transport(), *late]:
            one.protocol = server.accept()
        assert (1, 1) == (server.open, server.accepted)
        for one in late:
            one.protocol.connection_made(one)
            one.protocol.data_received(GET % 1)
            await turn()
        assert OK == late[0].written
        assert late[1].written.startswith(b"HTTP/1.1 503 ")
        assert (2, 2, 1) == (server.open, server.accepted, server.refused)
        for one in (transport, *late):
            one.close()
        await turn()
        assert 0 == server.open

    run(test())


def test_other_settings_are_for_the_connections_to_come() -> None:
    async def test() -> None:
        server, transport = connect(answer, keepalive_timeout=10.0, max_line_size=8190, max_field_size=8190)
        server.configure(2, 20.0, 16_384)
        later = server()
        before = transport.protocol
        assert (10.0, 8190) == (before.keepalive_timeout, before.max_line_size)
        assert (20.0, 16_384) == (later.keepalive_timeout, later.max_line_size)
        others = [Transport(), Transport()]
        for other in others:
            other.protocol = server.accept()
            other.protocol.connection_made(other)
        assert isinstance(others[0].protocol, ClientConnection)
        assert isinstance(others[1].protocol, Refusal), "there are two"
        transport.close()
        await turn()

    run(test())
