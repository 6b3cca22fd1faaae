"""The held connections: one small protocol object each, and no task.

``Client.data_received`` is the hot path of a load test: one look-up of what the bytes mean, one clock, one comparison
for each source. Whatever is rare (heads, pings, ends, faults) leaves it at once.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from time import monotonic_ns
from typing import Protocol, cast

from gripproxy.load.dialer import reason_of
from gripproxy.load.framing import Batch, Framing, FramingError, Head, parse_head
from gripproxy.load.ledger import Ledger
from gripproxy.load.plan import Endpoint

#: The sample key of RFC 6455, 1.3, and its answer: one key for all, so that servers and we need not compute it.
WEBSOCKET_KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
WEBSOCKET_ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
#: Seconds until a poll that got an error is sent again.
POLL_AGAIN = 0.05
#: ``House.goal`` when nobody waits for arrivals.
NEVER = sys.maxsize

REQUESTS: Mapping[str, str] = {
    "stream": "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n",
    "ws": (
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {WEBSOCKET_KEY.decode()}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ),
    "poll": "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n",
}


def encode_request(kind: str, endpoint: Endpoint, channel: str) -> bytes:
    """The request that a connection of ``kind`` opens with."""
    return REQUESTS[kind].format(path=endpoint.path_for(channel), host=endpoint.authority).encode()


class House(Protocol):
    """What a client needs of the worker it lives in.

    ``arrived`` counts messages; when it reaches ``goal`` the client calls ``reached``. ``clients`` are those that are
    held, by number.
    """

    arrived: int
    goal: int
    ledger: Ledger
    clients: "dict[int, Client]"
    framings: dict[str, Framing]

    def request(self, client: "Client") -> bytes: ...
    def reached(self, batch: Batch) -> None: ...
    def refused(self, client: "Client", reason: str) -> None: ...
    def lost(self, client: "Client", reason: str) -> None: ...


class Client(asyncio.Protocol):
    """A connection that is held: stream, WebSocket or long-poll.

    ``opened`` is resolved with None when the connection is held, or with the reason why it is not; then it is dropped.
    """

    __slots__ = (
        "channel",
        "expected",
        "fault",
        "framing",
        "house",
        "is_leaving",
        "is_lost",
        "is_reader",
        "kind",
        "number",
        "opened",
        "rest",
        "transport",
    )

    def __init__(
        self,
        house: House,
        number: int,
        kind: str,
        channel: int,
        expected: dict[int, int],
        opened: "asyncio.Future[str | None]",
        is_reader: bool = True,
    ) -> None:
        self.house = house
        self.number = number
        self.kind = kind
        self.channel = channel
        self.expected = expected
        self.opened: asyncio.Future[str | None] | None = opened
        self.is_reader = is_reader
        self.is_leaving = False
        self.is_lost = False
        self.fault: str | None = None
        self.framing: Framing | None = None
        self.rest = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        if self.kind == "poll":
            self.framing = self.house.framings["responses"]
            self._settle(None)
        self.transport.write(self.house.request(self))

    def data_received(self, data: bytes) -> None:
        framing = self.framing
        if framing is None:
            self._receive_head(data)
            return
        if self.rest:
            data = self.rest + data
        batch = framing.batches.get(data)
        if batch is None:
            try:
                batch = framing.read(data)
            except FramingError as error:
                self.leave(f"bad framing: {error}")
                return
        self.rest = batch.rest
        if batch.runs:
            batch.arrivals.append(monotonic_ns())
            expected = self.expected
            for source, first, after in batch.runs:
                if expected.get(source) == first:
                    expected[source] = after
                else:
                    self.house.ledger.mend(self.number, expected, source, first, after)
            house = self.house
            house.arrived += len(batch.sent)
            if house.arrived >= house.goal:
                house.reached(batch)
        if batch.is_special:
            self._attend(batch)

    def leave(self, fault: str | None = None) -> None:
        """Close the connection, because of a fault of the other side or because it is our turn to go."""
        self.is_leaving = fault is None
        self.fault = fault
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        reason = self.fault or (reason_of(error) if isinstance(error, OSError) else "closed by the proxy")
        self.fault, self.is_lost = reason, True
        if self.opened is not None:
            self._settle(reason)
        elif not self.is_leaving and self.house.clients.get(self.number) is self:
            self.house.lost(self, reason)

    def _settle(self, reason: str | None) -> None:
        opened, self.opened = self.opened, None
        if opened is not None and not opened.done():
            opened.set_result(reason)

    def _receive_head(self, data: bytes) -> None:
        data = self.rest + data
        try:
            head = parse_head(data)
        except FramingError as error:
            self.leave(f"bad framing: {error}")
            return
        if head is None:
            self.rest = data
            return
        name = FRAMINGS[self.kind](head)
        if name not in self.house.framings:
            self.leave(name)
            return
        self.rest = b""
        self.framing = self.house.framings[name if self.is_reader else "nothing"]
        self._settle(None)
        if not self.is_reader and self.transport is not None:
            self.transport.pause_reading()
        elif len(data) > head.size:
            self.data_received(data[head.size :])

    def _attend(self, batch: Batch) -> None:
        """The rare events: damage, pings, the end, and responses to polls."""
        self.house.ledger.damaged += batch.damaged
        if self.transport is None or self.transport.is_closing():
            return
        for payload in batch.pings:
            self.transport.write(encode_pong(payload))
        for status in batch.statuses:
            if status != 200:
                self.house.refused(self, f"HTTP {status}")
        if batch.end:
            self.leave(batch.end)
        elif batch.statuses:
            wait = 0.0 if batch.statuses[-1] == 200 else POLL_AGAIN
            asyncio.get_running_loop().call_later(wait, self._poll) if wait else self._poll()

    def _poll(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(self.house.request(self))


def _stream_framing(head: Head) -> str:
    if head.status != 200:
        return f"HTTP {head.status}"
    if head.is_chunked:
        return "chunks"
    return "a response with a length, not a stream" if b"content-length" in head.fields else "plain"


def _websocket_framing(head: Head) -> str:
    if head.status != 101:
        return f"HTTP {head.status}"
    return "frames" if head.fields.get(b"sec-websocket-accept") == WEBSOCKET_ACCEPT else "wrong Sec-WebSocket-Accept"


#: What follows the head of an answer: the name of a framing, or the reason why the connection counts as refused.
FRAMINGS: Mapping[str, Callable[[Head], str]] = {"stream": _stream_framing, "ws": _websocket_framing}


def encode_pong(payload: bytes) -> bytes:
    """A pong to a ping; masked with zeros, as only its presence is asked for (RFC 6455, 5.3)."""
    return bytes((0x8A, 0x80 | min(len(payload), 125))) + bytes(4) + payload[:125]
