"""A worker's accounts, without its connections."""

import asyncio
import os
from collections.abc import Iterator
from multiprocessing import Pipe
from typing import Any

import pytest

from gripproxy.load.clients import Client
from gripproxy.load.framing import Batch
from gripproxy.load.plan import Control, Plan, endpoints
from gripproxy.load.publisher import Publication
from gripproxy.load.worker import Worker


@pytest.fixture
def tokens() -> Iterator[tuple[int, int]]:
    """The two ends of the pipe on which a worker in lockstep tells that a message has arrived."""
    ends = os.pipe()
    os.set_blocking(ends[0], False)
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def pipes() -> Iterator[tuple[Any, Any]]:
    ends = Pipe()
    yield ends
    for end in ends:
        end.close()


def build(fleet: Any, lockstep: int | None, mode: str = "stream", **settings: Any) -> Worker:
    plan = Plan(mode, endpoints(mode, ("http://h/{mode}/{channel}",)), Control.from_grip_url("http://h"), **settings)
    worker = Worker(plan, 0, fleet, lockstep)
    loop = asyncio.new_event_loop()
    for number in range(plan.connections):
        opened = loop.create_future()
        kind, channel = plan.kind_of(number), plan.channel_of(number)
        client = Client(worker, number, kind, channel, {plan.source(channel, 0): 0}, opened, plan.is_reader(number))
        worker.clients[number] = client
        worker.live[channel] += 1
    loop.close()
    return worker


def arrive(worker: Worker, channel: int) -> None:
    """A message of ``channel`` arrives at one connection, as a client would tell."""
    worker.arrived += 1
    if worker.arrived >= worker.goal:
        worker.reached(Batch(runs=((channel, 0, 1),), sent=(1,)))


def read(end: int) -> bytes:
    try:
        return os.read(end, 100)
    except BlockingIOError:
        return b""


def test_in_lockstep_a_token_is_sent_when_the_channel_is_complete(pipes: Any, tokens: tuple[int, int]) -> None:
    worker = build(pipes[0], tokens[1], connections=5, channels=2, is_lockstep=True)

    seen = []
    for channel in (0, 0, 0, 1, 1, 0):
        arrive(worker, channel)
        seen.append(read(tokens[0]))

    assert [b"", b"", b".", b"", b".", b""] == seen


def test_a_connection_that_is_lost_is_not_waited_for(pipes: Any, tokens: tuple[int, int]) -> None:
    worker = build(pipes[0], tokens[1], connections=3, is_lockstep=True)

    arrive(worker, 0)
    arrive(worker, 0)
    assert b"" == read(tokens[0])
    worker.lost(worker.clients[2], "closed by the proxy")

    assert b"." == read(tokens[0])
    assert {"stream: closed by the proxy": 1} == dict(worker.tally.lost)


def test_accounts_are_closed_for_those_that_are_left(pipes: Any) -> None:
    worker = build(pipes[0], None, connections=4, never_read=1)
    for number, position in enumerate((3, 2, 3, 0)):
        worker.clients[number].expected[0] = position

    worker.lost(worker.clients[3], "closed by the proxy")
    worker._close_accounts(Publication(published={0: 3}))

    assert (1, 1, 3) == (worker.ledger.lost, worker.tally.cut, worker.tally.left)
    assert {} == dict(worker.tally.lost)


def test_polls_miss_messages_only_in_lockstep(pipes: Any, tokens: tuple[int, int]) -> None:
    free = build(pipes[0], None, "poll", connections=2)
    lockstep = build(pipes[0], tokens[1], "poll", connections=2, is_lockstep=True)
    for worker in (free, lockstep):
        worker._close_accounts(Publication(published={0: 3}))

    assert (0, 6) == (free.ledger.lost, free.ledger.skipped)
    assert (6, 0) == (lockstep.ledger.lost, lockstep.ledger.skipped)


def test_requests_are_encoded_once_for_each_kind_and_channel(pipes: Any) -> None:
    worker = build(pipes[0], None, "mixed", connections=6, channels=2)

    requests = [worker.request(client) for client in worker.clients.values()]

    assert 6 == len(set(requests))
    assert requests[0] is worker.request(worker.clients[0])
    assert b"/ws/load-0" in requests[1]
