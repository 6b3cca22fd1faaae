"""The process that publishes, on as many connections as there are publishers.

A message that was refused was not published: its number is used again. One whose answer never came is *doubtful*: it
is neither asked for nor held against the proxy. A send time is when the message was due, so that a slow control
endpoint cannot hide the wait that it causes.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, cast

import jwt
import msgspec

from gripproxy.load.dialer import Dialer, hear, reason_of, run_loop
from gripproxy.load.framing import FramingError, Scanner, message, parse_responses
from gripproxy.load.latency import Latency
from gripproxy.load.plan import Control, Plan

#: Seconds between two reports of progress, and after a publish that failed.
PROGRESS_EVERY = 0.1
FAILURE_PAUSE = 0.05
#: So many failures without one success mean that nothing can be published at all.
HOPELESS = 10
#: Timers are that coarse (ns): up to here a message counts as sent in time, and its latency starts when it is sent.
TIMER_GRAIN = 2_000_000
#: Seconds to wait for the answer to a publish, and for which a token is good.
ANSWER_TIMEOUT = 30.0
TOKEN_LIFETIME = 3600
#: Seconds for the answers to what was published last, when the end has come.
LAST_ANSWERS = 2.0
#: Stands for the message in an encoded item.
PLACE = "PLACE-OF-THE-MESSAGE"


@dataclass(slots=True)
class Publication:
    """What was published: ``published`` is how many messages each source has; times are ns of the monotonic clock.

    ``paused`` is how long polls were given to come back, ``is_stalled`` that a message in lockstep did not arrive
    everywhere, ``hopeless`` why nothing could be published.
    """

    published: dict[int, int] = field(default_factory=dict)
    accepted: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    doubtful: set[tuple[int, int]] = field(default_factory=set)
    started: int = 0
    ended: int = 0
    paused: int = 0
    latency: Latency = field(default_factory=Latency)
    is_stalled: bool = False
    hopeless: str | None = None


class Doubtful(Exception):  # noqa: N818 - it is not known to be an error
    """The request was sent, and no answer came."""


def encode_body(plan: Plan, channel: str) -> bytes:
    """The body of a publish request, with PLACE where the message goes."""
    if not plan.control.is_grip:
        return PLACE.encode()
    formats = {FORMATS[kind][0]: FORMATS[kind][1] for kind in plan.kinds}
    return msgspec.json.encode({"items": [{"channel": channel, "formats": formats}]})


FORMATS: Mapping[str, tuple[str, dict[str, str]]] = {
    "stream": ("http-stream", {"content": PLACE + "\n"}),
    "ws": ("ws-message", {"content": PLACE}),
    "poll": ("http-response", {"body": PLACE + "\n"}),
}


def authorization(control: Control, now: float) -> str | None:
    """The Authorization field: a token for an issuer, the key itself without one."""
    if control.key is None:
        return None
    if control.issuer is None:
        return f"Bearer {control.key.decode(errors='replace')}"
    return f"Bearer {jwt.encode({'iss': control.issuer, 'exp': int(now) + TOKEN_LIFETIME}, control.key, 'HS256')}"


class Poster(asyncio.Protocol):
    """One connection to the control endpoint; one request at a time."""

    __slots__ = ("_answer", "_dialer", "_received", "_scanner", "_transport")

    def __init__(self, dialer: Dialer, scanner: Scanner) -> None:
        self._dialer = dialer
        self._scanner = scanner
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._received = b""

    async def post(self, request: bytes) -> int:
        """The status that ``request`` is answered with. Raises: OSError, Doubtful, FramingError, TimeoutError."""
        if self._transport is None or self._transport.is_closing():
            await self._dialer.dial(lambda: self)
        assert self._transport is not None
        self._received = b""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await self._answer
        except TimeoutError:
            self.close()
            raise Doubtful from None

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._answer is None or self._answer.done():
            self.close()
            return
        try:
            batch = parse_responses(self._received, self._scanner)
        except FramingError as error:
            self._answer.set_exception(error)
            self.close()
            return
        if batch.statuses:
            if batch.end:
                self.close()
            self._answer.set_result(batch.statuses[0])

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Doubtful())


class Publisher:
    """Publishes what the plan says, and tells the fleet."""

    def __init__(self, plan: Plan, fleet: Connection, lockstep: Sequence[Connection]) -> None:
        self.plan = plan
        self.result = Publication()
        self._fleet = fleet
        self._bodies = [encode_body(plan, plan.channel_name(channel)) for channel in range(plan.channels)]
        self._heads: tuple[float, list[tuple[bytes, bytes]]] | None = None
        self._next = 0
        self._lockstep = lockstep
        self._members: list[list[int]] = []
        self._tokens = [0] * len(lockstep)
        self._token_came = asyncio.Event()
        self._is_stopped = asyncio.Event()
        self._started: asyncio.Future[list[list[int]]] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """From the word of the fleet to the publication."""
        loop = asyncio.get_running_loop()
        hear(self._fleet, self._take)
        for worker, pipe in enumerate(self._lockstep):
            loop.add_reader(pipe.fileno(), self._hear_token, worker, pipe.fileno())
        self._members = await self._started
        progress = loop.create_task(self._report_progress())
        self.result.started = self.result.ended = time.monotonic_ns()
        if self.plan.limit:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._publish_all(one)) for one in range(self.plan.publishers)]
                group.create_task(self._stop(tasks))
        else:
            await self._rest()
        progress.cancel()
        if not self.result.accepted and self.result.failures:
            self.result.hopeless = self.result.failures.most_common(1)[0][0]
        self._fleet.send(("published", self.result))

    async def _stop(self, tasks: Sequence["asyncio.Task[None]"]) -> None:
        """End the publishers when the fleet says so or the duration is over; requests under way get their answer."""
        rest = asyncio.ensure_future(self._rest())
        rest.add_done_callback(lambda _: self._is_stopped.set())
        rest.add_done_callback(lambda _: self._token_came.set())
        waiting = set(tasks)
        while waiting and not self._is_stopped.is_set():
            _, waiting = await asyncio.wait({*waiting, rest}, return_when=asyncio.FIRST_COMPLETED)
            waiting.discard(rest)
        rest.cancel()
        if waiting:
            await asyncio.wait(waiting, timeout=LAST_ANSWERS)
        for task in tasks:
            task.cancel()

    async def _rest(self) -> None:
        """Wait for the end of the duration, or the word of the fleet."""
        try:
            async with asyncio.timeout(self.plan.duration):
                await self._is_stopped.wait()
        except TimeoutError:
            pass

    async def _publish_all(self, publisher: int) -> None:
        result = self.result
        poster = Poster(
            Dialer(self.plan.control.endpoint, self.plan.is_verified), Scanner(self.plan.run, self.plan.size)
        )
        while self._next < self.plan.limit and not self._is_ending:
            number, self._next = self._next, self._next + 1
            due = await self._wait_until_due(number)
            if due is None:
                break
            channel = number % self.plan.channels
            failure = await self._publish(poster, channel, publisher, due)
            if failure is not None:
                result.failures[failure] += 1
                if not result.accepted and result.failures.total() >= HOPELESS:
                    result.hopeless = failure
                await asyncio.sleep(FAILURE_PAUSE)
            elif self.plan.is_lockstep:
                await self._wait_for_arrivals(channel)
        poster.close()

    async def _publish(self, poster: Poster, channel: int, publisher: int, due: int) -> str | None:
        """Publish the next message of a source; the reason if that failed."""
        result, source = self.result, self.plan.source(channel, publisher)
        sequence = result.published.get(source, 0)
        start = time.monotonic_ns()
        sent = due if start - due > TIMER_GRAIN else start
        content = message(self.plan.run, source, sequence, sent, self.plan.size)
        # Counted before the answer: the message may arrive everywhere, and be asked for, while the answer is awaited.
        result.published[source] = sequence + 1
        try:
            status = await poster.post(self._request(channel, content))
        except (Doubtful, asyncio.CancelledError) as error:
            result.doubtful.add((source, sequence))
            if isinstance(error, asyncio.CancelledError):
                raise
            return "no answer"
        except OSError as error:
            result.published[source] = sequence
            return reason_of(error)
        except FramingError as error:
            result.doubtful.add((source, sequence))
            return f"bad answer: {error}"
        result.ended = time.monotonic_ns()
        result.latency.record((start,), (result.ended,))
        if 200 <= status < 300:
            result.accepted += 1
            return None
        result.published[source] = sequence
        return f"HTTP {status}"

    def _request(self, channel: int, content: bytes) -> bytes:
        now = time.time()
        if self._heads is None or now - self._heads[0] > TOKEN_LIFETIME / 2:
            self._heads = now, [self._head(one, now) for one in range(self.plan.channels)]
        head, template = self._heads[1][channel]
        body = template.replace(PLACE.encode(), content)
        return b"%s%d\r\n\r\n%s" % (head, len(body), body)

    def _head(self, channel: int, now: float) -> tuple[bytes, bytes]:
        endpoint = self.plan.control.endpoint
        token = authorization(self.plan.control, now)
        kind = "application/json" if self.plan.control.is_grip else "text/plain"
        head = (
            f"POST {endpoint.path_for(self.plan.channel_name(channel))} HTTP/1.1\r\nHost: {endpoint.authority}\r\n"
            f"Content-Type: {kind}\r\n" + (f"Authorization: {token}\r\n" if token else "") + "Content-Length: "
        )
        return head.encode(), self._bodies[channel]

    @property
    def _is_ending(self) -> bool:
        return self.result.hopeless is not None or self.result.is_stalled or self._is_stopped.is_set()

    async def _wait_until_due(self, number: int) -> int | None:
        """When message ``number`` is due (ns): without a rate that is now. None if the end comes first."""
        if self.plan.rate is None:
            return time.monotonic_ns()
        due = self.result.started + int(number * 1e9 / self.plan.rate)
        while (wait := due - time.monotonic_ns()) > 0:
            # Short sleeps, because the end may come before the message is due.
            await asyncio.sleep(min(wait / 1e9, 0.2))
            if self._is_ending:
                return None
        return due

    async def _wait_for_arrivals(self, channel: int) -> None:
        """Wait until every worker with connections on ``channel`` has the message."""
        waiting = [worker for worker, members in enumerate(self._members) if members[channel]]
        try:
            async with asyncio.timeout(self.plan.stall):
                while any(not self._tokens[worker] for worker in waiting) and not self._is_ending:
                    self._token_came.clear()
                    await self._token_came.wait()
        except TimeoutError:
            self.result.is_stalled = True
            return
        for worker in waiting:
            self._tokens[worker] -= 1
        if "poll" in self.plan.kinds and self._next < self.plan.limit:
            start = time.monotonic_ns()
            await asyncio.sleep(self.plan.settle_seconds)
            self.result.paused += time.monotonic_ns() - start

    def _hear_token(self, worker: int, pipe: int) -> None:
        self._tokens[worker] += len(os.read(pipe, 4096))
        self._token_came.set()

    def _take(self, word: str, value: Any) -> None:
        if word == "start":
            self._started.set_result(value)
        elif word == "stop":
            self._is_stopped.set()

    async def _report_progress(self) -> None:
        while True:
            self._fleet.send(("progress", (self.result.accepted, self.result.failures.total())))
            await asyncio.sleep(PROGRESS_EVERY)


async def publish(plan: Plan, fleet: Connection, lockstep: Sequence[Connection]) -> None:
    """Run a publisher in the running loop."""
    await Publisher(plan, fleet, lockstep).run()


def main(fleet: Connection, plan: Plan, lockstep: Sequence[Connection]) -> None:
    """The entry point of the publisher process."""
    run_loop(publish(plan, fleet, lockstep))
