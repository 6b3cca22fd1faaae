"""One process of held connections.

It hears from the fleet when the test begins and ends, says 10 times a second how far it is, and answers the end with
a ``Tally``. In lockstep it also tells the publisher, with one byte, that a message has reached all its connections.
"""

import asyncio
import gc
import os
import random
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from gripproxy.load.clients import NEVER, Client, encode_request
from gripproxy.load.dialer import Dialer, hear, raise_file_limit, reason_of, run_loop
from gripproxy.load.framing import PARSERS, Batch, Framing, Scanner
from gripproxy.load.latency import Latency
from gripproxy.load.ledger import ANYWHERE, Ledger, outstanding
from gripproxy.load.plan import Plan
from gripproxy.load.publisher import Publication

#: Seconds between two reports of progress.
PROGRESS_EVERY = 0.1
#: How often a connection is dialled before it is given up, and the seconds before the second attempt.
ATTEMPTS = 5
ATTEMPT_AGAIN = 0.1
#: Seconds to wait for doubles when everything has arrived.
LINGER = 0.3
#: A client that never reads takes no more than this into the kernel (bytes).
NEVER_READ_BUFFER = 4096


@dataclass(slots=True)
class Tally:
    """What one worker has seen. ``arrived`` is messages times connections; the rest are connections.

    ``refused`` counts attempts, ``given_up`` connections that never were held, ``cut`` those that never read and were
    closed by the proxy.
    """

    held: int = 0
    left: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    given_up: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    churned: int = 0
    cut: int = 0
    arrived: int = 0
    ledger: Ledger = field(default_factory=Ledger)
    latency: Latency = field(default_factory=Latency)
    connect_start: int = 0
    connect_end: int = 0
    cpu_seconds: float = 0.0


class Worker:
    """Dials and keeps the connections of one process; clients see it as their ``House``."""

    def __init__(self, plan: Plan, process: int, fleet: Connection, lockstep: int | None) -> None:
        self.plan = plan
        self.numbers = plan.share(process)
        self.tally = Tally()
        self.ledger = self.tally.ledger
        self.arrived = 0
        self.goal = NEVER if lockstep is None else 1
        scanner = Scanner(plan.run, plan.size)
        self.framings = {name: Framing(name, scanner, self.tally.latency) for name in PARSERS}
        self.clients: dict[int, Client] = {}
        self.live = [0] * plan.channels
        self._fleet = fleet
        self._lockstep = lockstep
        self._round: tuple[int, int] | None = None
        self._requests: dict[tuple[str, int], bytes] = {}
        self._dialers = {kind: Dialer(plan.urls[kind], plan.is_verified) for kind in plan.kinds}
        self._heard: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self._dialling: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[object]] = set()
        self._last_held = time.monotonic()
        self._is_unanswered = self._is_over = False

    async def run(self) -> None:
        """From the first connection to the tally."""
        hear(self._fleet, self._take)
        self._spawn(self._report_progress())
        await self._dial_all()
        gc.collect()
        gc.freeze()
        self._fleet.send(("ready", list(self.live)))
        if self.plan.churn:
            self._spawn(self._churn())
        started = time.process_time()
        word, value = await self._heard.get()
        if word == "begin":
            started = time.process_time()
            word, value = await self._heard.get()
        await self._drain(value)
        self.tally.cpu_seconds = time.process_time() - started
        await self._look_at_those_that_never_read()
        self._close_accounts(value)
        self._fleet.send(("tally", self.tally))

    # What clients call.

    def request(self, client: Client) -> bytes:
        """The request of ``client``."""
        key = client.kind, client.channel
        if key not in self._requests:
            name = self.plan.channel_name(client.channel)
            self._requests[key] = encode_request(client.kind, self.plan.urls[client.kind], name)
        return self._requests[key]

    def reached(self, batch: Batch) -> None:
        """In lockstep: a message has begun to arrive, or has arrived everywhere."""
        if self._round is None:
            self._round = batch.runs[0][0] // self.plan.publishers, self.arrived - len(batch.sent)
        self._check_round()

    def refused(self, client: Client, reason: str) -> None:
        """A request was answered with something else than what was asked for."""
        self.tally.refused[f"{client.kind}: {reason}"] += 1

    def lost(self, client: Client, reason: str) -> None:
        """A connection that was held has ended, and not by us."""
        if not client.is_reader:
            self.tally.cut += 1
        elif reason != "last response":
            self.tally.lost[f"{client.kind}: {reason}"] += 1
        if client.kind == "poll" and not self._is_over:
            self._spawn(self._open(client.number, client.expected))
        else:
            self._forget(client.number)

    # Connections.

    async def _dial_all(self) -> None:
        """Dial all connections, so many at once as the plan allows."""
        self.tally.connect_start = time.monotonic_ns()
        numbers = iter(self.numbers)
        async with asyncio.TaskGroup() as group:
            for _ in range(max(1, self.plan.connect_burst // self.plan.processes)):
                self._dialling.append(group.create_task(self._dial_some(numbers)))
        self.tally.connect_end = time.monotonic_ns()

    async def _dial_some(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            if self._is_unanswered:
                self.tally.given_up[f"{self.plan.kind_of(number)}: not tried, as nobody got an answer"] += 1
                continue
            channel = self.plan.channel_of(number)
            sources = (self.plan.source(channel, publisher) for publisher in range(self.plan.publishers))
            if await self._open(number, dict.fromkeys(sources, 0)):
                self.tally.held += 1

    async def _open(self, number: int, expected: dict[int, int]) -> bool:
        """Dial until the connection is held (True) or given up."""
        kind = self.plan.kind_of(number)
        reason = ""
        for attempt in range(ATTEMPTS):
            opened: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
            is_reader = self.plan.is_reader(number)
            client = Client(self, number, kind, self.plan.channel_of(number), expected, opened, is_reader)
            found = await self._dial(client, opened)
            if found is None:
                self._remember(client)
                return True
            reason = found
            self.refused(client, reason)
            if self._is_unanswered:
                break
            await asyncio.sleep(ATTEMPT_AGAIN * (1 + attempt))
        self.tally.given_up[f"{kind}: {reason}"] += 1
        self._forget(number)
        return False

    async def _dial(self, client: Client, opened: "asyncio.Future[str | None]") -> str | None:
        """Connect and await the head; the reason if that failed."""
        buffer = None if client.is_reader else NEVER_READ_BUFFER
        try:
            async with asyncio.timeout(self.plan.handshake_timeout):
                await self._dialers[client.kind].dial(lambda: client, client.number, buffer)
                return await opened
        except TimeoutError:
            client.leave()
            silence = time.monotonic() - self._last_held
            self._is_unanswered = silence > self.plan.handshake_timeout
            return f"no answer in {self.plan.handshake_timeout:g} s"
        except OSError as error:
            return reason_of(error)

    def _remember(self, client: Client) -> None:
        self._last_held = time.monotonic()
        if client.number not in self.clients and client.is_reader:
            self.live[client.channel] += 1
        self.clients[client.number] = client
        if client.is_lost:  # right after its head
            self.lost(client, client.fault or "closed by the proxy")

    def _forget(self, number: int) -> None:
        client = self.clients.pop(number, None)
        if client is not None and client.is_reader:
            self.ledger.missing.pop(number, None)
            self.live[client.channel] -= 1
            if self._round is not None:
                self._check_round()

    def _check_round(self) -> None:
        assert self._round is not None
        channel, start = self._round
        self.goal = start + self.live[channel]
        if self.arrived >= self.goal and self._lockstep is not None:
            self._round = None
            self.goal = self.arrived + 1
            os.write(self._lockstep, b".")

    async def _churn(self) -> None:
        """Drop connections and dial them anew, evenly, until the test is over."""
        pause = self.plan.connections / (self.plan.churn * len(self.numbers))
        while not self._is_over:
            await asyncio.sleep(pause)
            client = self.clients.get(random.choice(self.numbers))  # noqa: S311 - nothing secret
            if client is not None and client.is_reader:
                client.leave()
                self._forget(client.number)
                self.tally.churned += 1
                self._spawn(self._open(client.number, dict.fromkeys(client.expected, ANYWHERE)))

    # The end.

    async def _drain(self, publication: Publication) -> None:
        """Wait until everything has come, or nothing has come for the time of a stall."""
        # A poll that was not held misses messages in a free run, so waiting for all would always end in a stall.
        is_certain = self.plan.is_lockstep or "poll" not in self.plan.kinds
        patience = self.plan.stall if is_certain and not publication.doubtful else min(self.plan.stall, 1.0)
        quiet_since, arrived = time.monotonic(), -1
        while any(outstanding(one.expected, publication.published) for one in self._readers()):
            if arrived != self.arrived:
                quiet_since, arrived = time.monotonic(), self.arrived
            elif time.monotonic() - quiet_since > patience:
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(LINGER)

    def _readers(self) -> Iterator[Client]:
        return (client for client in self.clients.values() if client.is_reader)

    async def _look_at_those_that_never_read(self) -> None:
        """Whether they were cut shows only when they read at last."""
        slow = [client for client in self.clients.values() if not client.is_reader]
        for client in slow:
            if client.transport is not None:
                client.transport.resume_reading()
        if slow:
            await asyncio.sleep(1.0)

    def _close_accounts(self, publication: Publication) -> None:
        for framing in self.framings.values():
            framing.flush()
        self.tally.left = len(self.clients)
        self.tally.arrived = self.arrived
        for client in self._readers():
            is_loose = client.kind == "poll" and not self.plan.is_lockstep
            self.ledger.close(client.number, client.expected, publication.published, publication.doubtful, is_loose)
        self.ledger.missing.clear()

    # The fleet.

    def _take(self, word: str, value: Any) -> None:
        self._heard.put_nowait((word, value))
        if word == "finish":
            self._is_over = True
            for task in self._dialling:
                task.cancel()

    async def _report_progress(self) -> None:
        while not self._is_over:
            tally = self.tally
            self._fleet.send(("progress", (len(self.clients), self.arrived, tally.refused.total(), tally.lost.total())))
            await asyncio.sleep(PROGRESS_EVERY)

    def _spawn(self, coroutine: Coroutine[Any, Any, object]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def main(fleet: Connection, plan: Plan, process: int, lockstep: Connection | None) -> None:
    """The entry point of a worker process."""
    raise_file_limit()
    run_loop(Worker(plan, process, fleet, None if lockstep is None else lockstep.fileno()).run())
