"""Clients that do not read for a while, on streams with a link: they miss nothing, and nobody waits for them."""

import socket
import statistics
import time
from collections.abc import Iterator

import pytest

from tests.conformance.backend import Reply, Request
from tests.conformance.case import Case
from tests.conformance.client import Connection
from tests.integration.feed import Feeds, items_of
from tests.integration.scripted import SETTLING, Ask, scripted

UNSENT = 100_000
REMEMBERING = f"[limits]\nunsent = {UNSENT}\nhistory_items = 10000\nhistory_bytes = 50000000\n"
FORGETFUL = f"[limits]\nunsent = {UNSENT}\nhistory_items = 5\n"

# What is published must be more than the kernel's buffers take: 300 items of 20 kB.
SIZE, COUNT = 20_000, 300
PADDING = b"-" * SIZE + b";"
PAGE = 20


class LargeFeeds(Feeds):
    """Feeds whose items are large. The link gives a page at a time, and a hold with the last one."""

    def content(self, name: str, after: int | None, until: int) -> bytes:
        first = max(1, until) if after is None else after + 1
        return b"".join(b"%b.%d;%b" % (name.encode(), number, PADDING) for number in range(first, until + 1))

    def publish(self, name: str, number: int, **more: object) -> None:
        super().publish(name, number, **{"http-stream": {"content": self.content(name, number - 1, number).decode()}})

    def answer_link(self, request: Request) -> Reply:
        with self._lock:
            self.requests += 1
            now = dict(self.numbers)
        known = self.last_ids(request)
        until = {name: min(now[name], known[name] + PAGE) for name in self.names}
        body = b"".join(self.content(name, known[name], until[name]) for name in self.names)
        fields = self.instructions(until, "stream")
        return Reply(body, [one for one in fields if one[0] != "Grip-Hold" or until == now])


@pytest.fixture(scope="module", params=[REMEMBERING, FORGETFUL], ids=["remembering", "forgetful"])
def ask(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    with scripted(tmp_path_factory.mktemp("slow"), {SETTLING: {}}, request.param) as ask:
        yield ask


@pytest.fixture
def case(ask: Ask) -> Case:
    return ask(Reply())


def slow(case: Case) -> Connection:
    stream = case.stream()
    stream._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    return stream


def hurry(stream: Connection) -> Connection:
    """Have a slow client read as fast as others from now on."""
    stream._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
    return stream


def read_until(connection: Connection, newest: int, pause: float = 0.0) -> list[int]:
    data, mark = [], b"a.%d;" % newest
    while not data or mark not in data[-1]:
        data.append(connection.read_chunk())
        assert data[-1], "the stream has ended"
        time.sleep(pause)
    return items_of(b"".join(data).replace(PADDING, b""))["a"]


def metric(case: Case, name: str) -> float:
    lines = case.control("/metrics", "GET").body.decode().splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0.0)


SLOW = 'gripproxy_recoveries_total{cause="slow"}'
CUT = 'gripproxy_disconnects_total{reason="slow"}'


def test_a_client_that_did_not_read_for_a_while_misses_nothing(case: Case, request: pytest.FixtureRequest) -> None:
    feeds = LargeFeeds(case, "a")
    before = metric(case, SLOW), metric(case, CUT)
    reader, late, tardy = case.stream(), slow(case), slow(case)
    for _ in range(COUNT):
        feeds.add("a")
        assert [feeds.numbers["a"]] == read_until(reader, feeds.numbers["a"])
    assert list(range(1, COUNT + 1)) == read_until(hurry(late), COUNT)
    assert list(range(1, COUNT + 1)) == read_until(hurry(tardy), COUNT, pause=0.002)
    feeds.add("a")
    for stream in (reader, late, tardy):
        assert [COUNT + 1] == read_until(stream, COUNT + 1)
    assert metric(case, SLOW) - before[0] >= 2
    assert metric(case, CUT) == before[1]
    is_remembering = "remembering" in request.node.callspec.id
    assert (0 == feeds.requests) is is_remembering


def test_fifty_slow_clients_do_not_delay_a_fast_one(case: Case) -> None:
    feeds = LargeFeeds(case, "a")
    crowd = [slow(case) for _ in range(50)]
    reader = case.stream()
    for _ in range(COUNT // 2):
        feeds.add("a")
    read_until(reader, COUNT // 2)
    waits = []
    for number in range(COUNT // 2 + 1, COUNT + 1):
        began = time.monotonic()
        feeds.add("a")
        assert [number] == read_until(reader, number)
        waits.append(time.monotonic() - began)
    assert statistics.median(waits) < 0.1
    for stream in crowd[:2]:
        assert list(range(1, COUNT + 1)) == read_until(hurry(stream), COUNT)
