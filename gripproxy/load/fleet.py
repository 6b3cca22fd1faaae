"""The processes of a load test, from the first connection to the report.

    command --> Plan --> Fleet --+-- worker process (clients)   x N      framing, ledger, latency
                                 +-- publisher process          x 1
                                 '-- Report <-- tallies of both          table, JSON, plot

Workers and publisher are spawned, told what to do through a pipe each, and die when that pipe ends. The command
waits for all pipes at once; an interrupt ends the test early, and what there is is counted all the same. It is noted
by a handler of the signal: the exception that Python raises else may come where it is dropped, as in a finalizer.
"""

import contextlib
import multiprocessing
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from gripproxy.errors import BackendError
from gripproxy.load import publisher, worker
from gripproxy.load.plan import Endpoint, Plan
from gripproxy.load.publisher import Publication
from gripproxy.load.report import Report, build_report
from gripproxy.load.usage import Usage
from gripproxy.load.worker import Tally

#: Seconds that an answer of a process may take when it has been told to finish, beside the stall of the plan.
FINISH_TIMEOUT = 30.0
#: Seconds for the first connection to the proxy and to its control endpoint.
REACH_TIMEOUT = 5.0


@dataclass(slots=True)
class Progress:
    """How far the test is, summed over the processes."""

    phase: str = "connecting"
    connections: int = 0
    published: int = 0
    deliveries: int = 0
    refused: int = 0
    lost: int = 0
    failures: int = 0


@dataclass(slots=True)
class Fleet:
    """The running processes and what they said last; the publisher is the last of them.

    ``done`` are those that have said everything and may go.
    """

    plan: Plan
    show: Callable[[Progress], None]
    pipes: list[Connection] = field(default_factory=list)
    processes: list[Any] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)
    said: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)
    members: dict[int, list[int]] = field(default_factory=dict)
    tallies: list[Tally] = field(default_factory=list)
    publication: Publication | None = None
    done: set[int] = field(default_factory=set)
    is_interrupted: bool = False

    def start(self) -> None:
        """Spawn the processes, deaf to interrupts, which a terminal sends to all of them."""
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._spawn_all()
        finally:
            signal.signal(signal.SIGINT, handler)

    def _spawn_all(self) -> None:
        """In lockstep each worker has a pipe of its own to the publisher."""
        context = multiprocessing.get_context("spawn")
        listeners = []
        for process in range(self.plan.processes):
            listener, teller = context.Pipe(duplex=False) if self.plan.is_lockstep else (None, None)
            self._spawn(worker.main, self.plan, process, teller)
            if listener is not None and teller is not None:
                listeners.append(listener)
                teller.close()
        self._spawn(publisher.main, self.plan, tuple(listeners))
        for listener in listeners:
            listener.close()

    def _spawn(self, target: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
        process.start()
        theirs.close()
        self.pipes.append(ours)
        self.processes.append(process)

    def await_ready(self) -> None:
        """Until every connection is held or given up, or the test is interrupted."""
        self._hear(lambda: self.is_interrupted or len(self.members) == self.plan.processes)

    def settle(self) -> None:
        """Let the proxy come to rest."""
        self._phase("settling")
        end = time.monotonic() + self.plan.settle_seconds
        self._hear(lambda: self.is_interrupted or time.monotonic() >= end)

    def publish(self) -> None:
        """Until everything is published, or what is published when the test is interrupted."""
        if self.is_interrupted:
            return
        self._phase("publishing" if self.plan.limit else "holding")
        for pipe in self.pipes[:-1]:
            pipe.send(("begin", None))
        self.pipes[-1].send(("start", [self.members[number] for number in range(self.plan.processes)]))
        self._hear(lambda: self.is_interrupted or self.publication is not None)
        if self.publication is None:
            self.pipes[-1].send(("stop", None))
            self._hear(lambda: self.publication is not None)

    def finish(self) -> None:
        """Until every worker has counted; what a process that does not answer has seen is missing."""
        self._phase("finishing")
        publication = self.publication or Publication()
        for pipe in self.pipes[:-1]:
            with contextlib.suppress(OSError):
                pipe.send(("finish", publication))
        end = time.monotonic() + self.plan.stall + FINISH_TIMEOUT
        self._hear(lambda: len(self.tallies) == self.plan.processes or time.monotonic() > end)

    def interrupt(self, *_: object) -> None:
        """End the test early; one more interrupt ends the command at once."""
        self.is_interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def close(self) -> None:
        """End all processes."""
        for process in self.processes:
            process.kill()
            process.join()

    def _phase(self, phase: str) -> None:
        self.progress.phase = phase
        self.show(self.progress)

    def _hear(self, is_enough: Callable[[], bool]) -> None:
        """Take in what the processes say until ``is_enough``. Raises: BackendError when one of them has died."""
        while not is_enough():
            for pipe in wait([pipe for number, pipe in enumerate(self.pipes) if number not in self.done], timeout=0.1):
                assert isinstance(pipe, Connection)
                number = self.pipes.index(pipe)
                try:
                    word, value = pipe.recv()
                except (EOFError, OSError):
                    self.processes[number].join(1)
                    code = self.processes[number].exitcode
                    raise BackendError(f"process {number} of the load test has died (exit status {code})") from None
                self._take(number, word, value)
            self.show(self.progress)

    def _take(self, number: int, word: str, value: Any) -> None:
        if word == "ready":
            self.members[number] = value
        elif word == "tally":
            self.tallies.append(value)
            self.done.add(number)
        elif word == "published":
            self.publication = value
            self.progress.published, self.progress.failures = value.accepted, value.failures.total()
            self.done.add(number)
        elif number == self.plan.processes:
            self.progress.published, self.progress.failures = value
        else:
            self.said[number] = value
            totals = [sum(column) for column in zip(*self.said.values(), strict=True)]
            self.progress.connections, self.progress.deliveries = totals[0], totals[1]
            self.progress.refused, self.progress.lost = totals[2], totals[3]


def check_reachable(plan: Plan) -> None:
    """Raises: BackendError when nothing listens at an address of the plan."""
    for name, endpoint in _addresses(plan):
        try:
            socket.create_connection((endpoint.host, endpoint.port), REACH_TIMEOUT).close()
        except OSError as error:
            raise BackendError(f"{name}: nothing answers at {endpoint.authority}: {error.strerror or error}") from None


def _addresses(plan: Plan) -> Iterator[tuple[str, Endpoint]]:
    for kind in plan.kinds:
        yield f"--url ({kind})", plan.urls[kind]
    if plan.limit:
        yield "--control", plan.control.endpoint


def run_load(plan: Plan, show: Callable[[Progress], None]) -> Report:
    """Run the test; an interrupt ends it early. Raises: BackendError when the proxy cannot be reached."""
    check_reachable(plan)
    fleet = Fleet(plan, show)
    before = Usage.of(plan.pids)
    handler = signal.signal(signal.SIGINT, fleet.interrupt)
    try:
        fleet.start()
        fleet.await_ready()
        if not fleet.is_interrupted and not any(map(sum, fleet.members.values())):
            fleet.finish()
            raise BackendError(f"no connection was held: {_most_frequent(fleet.tallies)}")
        fleet.settle()
        start = Usage.of(plan.pids)
        fleet.publish()
        fleet.finish()
        end = Usage.of(plan.pids)
    finally:
        signal.signal(signal.SIGINT, handler)
        fleet.close()
    publication = fleet.publication or Publication()
    if publication.hopeless is not None:
        raise BackendError(f"nothing could be published: {publication.hopeless}")
    if len(fleet.tallies) < plan.processes:
        raise BackendError("a process of the load test did not answer")
    usage = Usage(end.cpu_seconds - start.cpu_seconds, start.memory - before.memory)
    return build_report(plan, fleet.tallies, publication, usage, fleet.is_interrupted)


def _most_frequent(tallies: Sequence[Tally]) -> str:
    kinds = [kind for tally in tallies for kind, _ in tally.refused.most_common(1)]
    return kinds[0] if kinds else "no reason known"
