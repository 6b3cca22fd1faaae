"""Taking connections over from aiohttp and giving them back: this fails loudly when a new aiohttp works differently."""

import asyncio
import gc
import logging

import pytest
from aiohttp import web

from gripproxy.transports.connections import Connections
from gripproxy.transports.held import Held
from gripproxy.transports.pieces import KNOWN
from gripproxy.transports.takeover import CLOSED, KEPT, ClientConnection
from tests.unit.transports.connection_fakes import CHUNKED, GET, HALF, OK, POST, answer, connect, run, turn


def test_a_handler_that_writes_past_aiohttp() -> None:
    """Nothing is added to what it writes, and the connection is kept or closed as it says."""

    async def test() -> None:
        async def last(request: web.BaseRequest) -> web.StreamResponse:
            await answer(request)
            return CLOSED if request.raw_path == "/2" else KEPT

        _, transport = connect(last)
        transport.protocol.data_received(GET % 1)
        await turn()
        assert (OK, "") == (transport.written, transport.ending)
        transport.protocol.data_received(GET % 2)
        await turn()
        assert (OK * 2, "closed") == (transport.written, transport.ending)

    run(test())


def test_a_held_connection_leaves_nothing_of_aiohttp() -> None:
    """The transport stays open, its protocol is the hold's, and aiohttp's objects and task are gone."""

    async def test() -> None:
        held: list[Held] = []
        server: Connections

        async def hold(request: web.BaseRequest) -> web.StreamResponse:
            assert isinstance(request.protocol, ClientConnection)
            held.append(Held(server, request.protocol.detach()))
            return CLOSED

        server, transport = connect(hold)
        transport.protocol.data_received(GET % 1)
        await turn()
        gc.collect()
        assert (held[0], "", b"") == (transport.protocol, transport.ending, transport.written)
        assert [] == [one for one in gc.get_objects() if isinstance(one, ClientConnection)]
        assert [] == server.connections
        assert {asyncio.current_task()} == {task for task in asyncio.all_tasks() if not task.done()}

    run(test())


@pytest.mark.parametrize(
    ("received", "is_alone", "behind"),
    [
        ([GET % 1], True, b""),
        ([(GET % 1)[:7], (GET % 1)[7:]], True, b""),
        ([GET % 1 + GET % 2], True, GET % 2),
        ([GET % 1, GET % 2], True, GET % 2),
        ([GET % 1 + HALF], True, HALF),
        ([GET % 1, HALF[:1], HALF[1:]], True, HALF),
        ([GET % 1, b"garbage"], True, b"garbage"),
        ([POST], True, b""),
        ([POST[:-1]], False, b""),
        ([POST + HALF], True, HALF),
        ([POST[:-1], b"b" + HALF], True, HALF),
        ([CHUNKED, b"0\r\n\r\n", GET % 2], True, GET % 2),
        ([CHUNKED + b"0\r\n"], False, b""),
        ([CHUNKED + b"0\r\n\r\n" + HALF], False, b""),
        ([b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" + HALF], True, HALF),
        ([b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nab", b"cd"], True, b"abcd"),
    ],
)
def test_what_comes_behind_a_request_is_kept_as_it_came(received: list[bytes], is_alone: bool, behind: bytes) -> None:
    """For a hold that takes the connection; in aiohttp's queue or half-read in its parser it would be lost."""

    async def test() -> None:
        async def wait(request: web.BaseRequest) -> web.StreamResponse:
            await asyncio.Event().wait()
            return CLOSED

        _, transport = connect(wait)
        for data in received:
            transport.protocol.data_received(data)
            await turn()
        assert (is_alone, behind) == (transport.protocol.is_alone, transport.protocol.take_behind())
        transport.close()
        await turn()

    run(test())


def test_what_came_behind_a_request_is_taken_up_when_that_is_answered() -> None:
    """A request at a time, in their order; the socket is not read while too much waits."""

    async def test() -> None:
        asked: list[str] = []
        go_on = asyncio.Event()

        async def look(request: web.BaseRequest) -> web.StreamResponse:
            await go_on.wait()
            asked.append(f"{request.method} {request.raw_path} {(await request.content.read()).decode()}")
            return await answer(request)

        _, transport = connect(look, max_line_size=100_000, max_field_size=100_000)
        bodies = b"FROB /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nabGET /3 HTTP/1.1\r\nHost: a\r\nA: "
        transport.protocol.data_received(GET % 1 + bodies)
        await turn()
        assert not transport.is_paused
        transport.protocol.data_received(b"b" * 70_000)
        assert transport.is_paused
        go_on.set()
        await turn()
        assert (["GET /1 ", "FROB /2 ab"], False) == (asked, transport.is_paused)
        transport.protocol.data_received(b"\r\n\r\n" + GET % 4)
        await turn()
        assert (["GET /3 ", "GET /4 "], OK * 4) == (asked[2:], transport.written)
        transport.close()
        await turn()

    run(test())


@pytest.mark.parametrize("method", sorted(KNOWN - {b"CONNECT", b"PRI"} | {b"FROB", b"get", b"DESCRIBE"}))
def test_any_method_reaches_the_handler(method: bytes) -> None:
    """Those that aiohttp's parser knows, or is said to know, and those that it does not."""

    async def test() -> None:
        async def look(request: web.BaseRequest) -> web.StreamResponse:
            assert method.decode() == request.method
            assert b"ab" == await request.content.read()
            return await answer(request)

        _, transport = connect(look)
        transport.protocol.data_received(POST.replace(b"POST", method))
        await turn()
        assert transport.written == OK
        transport.close()
        await turn()

    run(test())


@pytest.mark.parametrize(
    ("received", "status"),
    [
        (b"garbage\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\nC: d\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b" * 5_000, b"431"),
        (b"F" * 65 + b" / HTTP/1.1\r\nHost: a\r\n\r\n", b"501"),
    ],
)
def test_what_can_not_be_parsed_is_refused(caplog: pytest.LogCaptureFixture, received: bytes, status: bytes) -> None:
    """With one line in the log and the end of the connection."""
    caplog.set_level(logging.INFO)

    async def test() -> None:
        _, transport = connect(answer, max_line_size=16_384, max_field_size=16_384)
        await turn()
        transport.protocol.data_received(received)
        await turn()
        head, _, body = transport.written.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 " + status)
        assert b"Connection: close" in head
        assert body.endswith(b".\n")
        assert "closed" == transport.ending

    run(test())
    assert 1 == len(caplog.records)
    assert len(caplog.text) < 600


def test_a_fault_of_a_handler_is_answered_once(caplog: pytest.LogCaptureFixture) -> None:
    """500 without the reason; nothing when its answer has begun."""

    async def test() -> None:
        async def fail(request: web.BaseRequest) -> web.StreamResponse:
            connection = request.protocol
            assert isinstance(connection, ClientConnection)
            if request.raw_path == "/2":
                connection.has_written = True
                connection.transport.write(b"HTTP/1.1 200 OK\r\n")  # type: ignore[union-attr]
            raise RuntimeError("the reason")

        _, transport = connect(fail)
        transport.protocol.data_received(GET % 1)
        await turn()
        assert transport.written.startswith(b"HTTP/1.1 500 ")
        assert b"reason" not in transport.written
        _, transport = connect(fail)
        transport.protocol.data_received(GET % 2)
        await turn()
        assert (b"HTTP/1.1 200 OK\r\n", "closed") == (transport.written, transport.ending)

    run(test())
    assert ["a fault of the proxy"] * 2 == [record.message.partition(": ")[2] for record in caplog.records]


def test_a_body_that_turns_out_malformed_fails_its_reader() -> None:
    """And nothing behind it is read."""

    async def test() -> None:
        failures: list[str] = []

        async def read(request: web.BaseRequest) -> web.StreamResponse:
            try:
                while await request.content.readany():
                    pass
            except web.RequestPayloadError as error:
                failures.append(str(error))
            return CLOSED

        _, transport = connect(read)
        transport.protocol.data_received(CHUNKED + b"1\r\na\r\n")
        await turn()
        transport.protocol.data_received(b"xyz\r\n" + b"x" * 100_000)
        transport.protocol.data_received(GET % 1)
        await turn()
        assert (["malformed"], "closed") == (failures, transport.ending)

    run(test())


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"0\r\nGrip-Sig: forged\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_trailer_is_no_field_of_the_next_request(end: bytes, size: int) -> None:
    """However the bytes come; aiohttp's parser alone would mix them up."""

    async def test() -> None:
        seen: list[tuple[bytes, ...]] = []

        async def look(request: web.BaseRequest) -> web.StreamResponse:
            seen.append(tuple(name for name, _ in request.raw_headers))
            while await request.content.readany():
                pass
            assert isinstance(request.protocol, ClientConnection)
            assert not request.protocol.is_last
            return await answer(request)

        _, transport = connect(look)
        for _ in range(2):
            data = CHUNKED + b"1\r\na\r\n" + end
            for start in range(0, len(data), size):
                transport.protocol.data_received(data[start : start + size])
                await turn()
        transport.protocol.data_received(GET % 1)
        await turn()
        assert [(b"Host", b"Transfer-Encoding")] * 2 + [(b"Host",)] == seen

    run(test())


@pytest.mark.parametrize("behind", [GET % 1, (GET % 1)[:5], CHUNKED])
def test_what_comes_right_behind_a_trailer_taints_the_connection(behind: bytes) -> None:
    async def test() -> None:
        async def wait(request: web.BaseRequest) -> web.StreamResponse:
            await asyncio.Event().wait()
            return CLOSED

        _, transport = connect(wait)
        transport.protocol.data_received(CHUNKED + b"1\r\na\r\n0\r\nA: b\r\n\r\n" + behind)
        await turn()
        assert transport.protocol.is_last
        transport.close()
        await turn()

    run(test())


@pytest.mark.parametrize(("size", "is_large"), [(10, False), (16_384, False), (16_385, True)])
@pytest.mark.parametrize("step", [1000, 100_000])
@pytest.mark.parametrize("before", [b"", GET % 1], ids=["alone", "pipelined"])
def test_a_head_is_measured_as_a_whole(size: int, is_large: bool, step: int, before: bytes) -> None:
    """aiohttp limits each line alone."""

    async def test() -> None:
        _, transport = connect(answer, max_line_size=16_384, max_field_size=16_384)
        await turn()
        lines = b"".join(b"A: " + b"b" * 995 + b"\r\n" for _ in range(size // 1000))
        data = b"GET / HTTP/1.1\r\nHost: a\r\n" + lines
        data += b"B: " + b"c" * (size - len(data) - 7) + b"\r\n\r\n" if size > len(data) + 7 else b"\r\n"
        data = before + data
        for start in range(0, len(data), step):
            transport.protocol.data_received(data[start : start + step])
        await turn()
        answered = transport.written.removeprefix(OK if before else b"")
        assert answered.startswith(b"HTTP/1.1 431 " if is_large else b"HTTP/1.1 200 ")

    run(test())
