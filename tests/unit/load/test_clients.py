"""A held connection, with a transport that only remembers."""

import asyncio
from collections.abc import Iterator

import pytest

from gripproxy.load.clients import NEVER, WEBSOCKET_ACCEPT, Client, encode_pong, encode_request
from gripproxy.load.framing import PARSERS, Batch, Framing, Scanner, message
from gripproxy.load.latency import Latency
from gripproxy.load.ledger import Ledger
from gripproxy.load.plan import Endpoint

RUN, SIZE = "0123abcd", 60
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WS_HEAD = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: %s\r\n\r\n" % WEBSOCKET_ACCEPT


class Transport(asyncio.Transport):
    """Remembers what was written; ``abort`` tells the client at once."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.written: list[bytes] = []
        self.is_paused = self.is_closed = False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.written.append(data)

    def pause_reading(self) -> None:
        self.is_paused = True

    def is_closing(self) -> bool:
        return self.is_closed

    def abort(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.client.connection_lost(None)


class Home:
    """A house of one client."""

    def __init__(self) -> None:
        self.arrived, self.goal, self.ledger = 0, NEVER, Ledger()
        self.clients: dict[int, Client] = {}
        self.framings = {name: Framing(name, Scanner(RUN, SIZE), Latency()) for name in PARSERS}
        self.events: list[tuple[str, str]] = []

    def request(self, client: Client) -> bytes:
        return b"REQUEST"

    def reached(self, batch: Batch) -> None:
        self.events.append(("reached", str(self.arrived)))

    def refused(self, client: Client, reason: str) -> None:
        self.events.append(("refused", reason))

    def lost(self, client: Client, reason: str) -> None:
        self.events.append(("lost", reason))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class Held:
    """A client with its house and its transport."""

    def __init__(self, loop: asyncio.AbstractEventLoop, kind: str, is_reader: bool = True) -> None:
        self.home = Home()
        self.opened = loop.create_future()
        self.client = Client(self.home, 0, kind, 0, {0: 0}, self.opened, is_reader)
        self.home.clients[0] = self.client
        self.transport = Transport(self.client)
        self.client.connection_made(self.transport)


def content(sequence: int, source: int = 0) -> bytes:
    return message(RUN, source, sequence, 1, SIZE)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def test_a_stream_is_held_when_its_head_has_come(loop: asyncio.AbstractEventLoop) -> None:
    held = Held(loop, "stream")
    held.client.data_received(STREAM_HEAD[:20])
    assert not held.opened.done()

    held.client.data_received(STREAM_HEAD[20:] + chunk(content(0)))
    held.client.data_received(chunk(content(1)))

    assert held.opened.result() is None
    assert [b"REQUEST"] == held.transport.written
    assert (2, {0: 2}) == (held.home.arrived, held.client.expected)
    assert held.home.ledger.is_clean


@pytest.mark.parametrize(
    ("kind", "head", "reason"),
    [
        ("stream", b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "HTTP 502"),
        ("stream", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "a response with a length, not a stream"),
        ("stream", b"SMTP\r\n\r\n", "bad framing: not HTTP"),
        ("ws", b"HTTP/1.1 200 OK\r\n\r\n", "HTTP 200"),
        ("ws", b"HTTP/1.1 101 X\r\nSec-WebSocket-Accept: x\r\n\r\n", "wrong Sec-WebSocket-Accept"),
    ],
)
def test_another_answer_is_a_refusal(loop: asyncio.AbstractEventLoop, kind: str, head: bytes, reason: str) -> None:
    held = Held(loop, kind)

    held.client.data_received(head)

    assert reason == held.opened.result()
    assert held.transport.is_closed
    assert [] == held.home.events


def test_a_stream_without_framing_lasts_until_it_is_closed(loop: asyncio.AbstractEventLoop) -> None:
    held = Held(loop, "stream")

    held.client.data_received(b"HTTP/1.0 200 OK\r\n\r\n" + content(0) + b"\n")
    held.client.connection_lost(None)

    assert {0: 1} == held.client.expected
    assert [("lost", "closed by the proxy")] == held.home.events


def test_a_ping_is_answered_and_a_close_frame_is_a_loss(loop: asyncio.AbstractEventLoop) -> None:
    held = Held(loop, "ws")

    held.client.data_received(WS_HEAD + b"\x89\x02hi")
    held.client.data_received(b"\x88\x02\x03\xe9")

    assert encode_pong(b"hi") == held.transport.written[1]
    assert [("lost", "close frame 1001")] == held.home.events


def test_an_error_of_the_connection_is_named(loop: asyncio.AbstractEventLoop) -> None:
    held = Held(loop, "ws")
    held.client.data_received(WS_HEAD)

    held.client.connection_lost(ConnectionResetError(104, "Connection reset by peer"))

    assert [("lost", "connection reset by peer")] == held.home.events


def test_leaving_is_not_a_loss(loop: asyncio.AbstractEventLoop) -> None:
    held = Held(loop, "ws")
    held.client.data_received(WS_HEAD)

    held.client.leave()

    assert (True, []) == (held.transport.is_closed, held.home.events)


def test_a_poll_is_held_at_once_and_asks_again(loop: asyncio.AbstractEventLoop) -> None:
    held = Held(loop, "poll")
    assert held.opened.result() is None

    held.client.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n" + content(0))

    assert [b"REQUEST", b"REQUEST"] == held.transport.written
    assert {0: 1} == held.client.expected


def test_a_poll_whose_connection_ends_is_told_apart(loop: asyncio.AbstractEventLoop) -> None:
    held = Held(loop, "poll")

    held.client.data_received(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 60\r\n\r\n" + content(0))

    assert [("lost", "last response")] == held.home.events
    assert [b"REQUEST"] == held.transport.written


def test_a_poll_that_is_answered_with_an_error_is_a_refusal(loop: asyncio.AbstractEventLoop) -> None:
    held = Held(loop, "poll")

    async def receive() -> None:
        held.client.data_received(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

    loop.run_until_complete(receive())

    assert [("refused", "HTTP 502")] == held.home.events


def test_the_house_hears_when_its_goal_is_reached(loop: asyncio.AbstractEventLoop) -> None:
    held = Held(loop, "stream")
    held.home.goal = 2

    held.client.data_received(STREAM_HEAD + chunk(content(0)))
    held.client.data_received(chunk(content(1)))

    assert [("reached", "2")] == held.home.events


def test_faults_go_to_the_ledger(loop: asyncio.AbstractEventLoop) -> None:
    held = Held(loop, "stream")

    held.client.data_received(STREAM_HEAD + chunk(content(0)) + chunk(content(0)) + chunk(content(1, source=9)))

    assert (1, 1) == (held.home.ledger.doubled, held.home.ledger.stray)


def test_one_that_never_reads_pauses_and_counts_nothing(loop: asyncio.AbstractEventLoop) -> None:
    held = Held(loop, "stream", is_reader=False)

    held.client.data_received(STREAM_HEAD + chunk(content(0)))
    held.client.data_received(chunk(content(1)))

    assert (True, 0) == (held.transport.is_paused, held.home.arrived)


def test_bad_framing_ends_the_connection(loop: asyncio.AbstractEventLoop) -> None:
    held = Held(loop, "stream")

    held.client.data_received(STREAM_HEAD + b"zz\r\n")

    assert [("lost", "bad framing: b'zz' is not the size of a chunk")] == held.home.events


def test_a_request_names_path_and_host() -> None:
    endpoint = Endpoint.from_url("http://push:81/s/{channel}", "--url")

    assert encode_request("stream", endpoint, "a b").startswith(b"GET /s/a%20b HTTP/1.1\r\nHost: push:81\r\n")
    assert b"Upgrade: websocket\r\n" in encode_request("ws", endpoint, "a")


def test_a_pong_is_masked_and_short() -> None:
    assert b"\x8a\x82\x00\x00\x00\x00hi" == encode_pong(b"hi")
    assert 131 == len(encode_pong(b"x" * 500))
