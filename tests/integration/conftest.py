"""Fixtures that run the real thing: gripproxy and backends as processes, over real sockets on the loopback.

The proxy under test is the command in GRIP_PROXY_COMMAND, by default this project's. Any GRIP proxy will do that
understands `--listen HOST:PORT --control HOST:PORT --backend URL` (a small script makes others understand it).
"""

import contextlib
import itertools
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.door import Case, route, start_door
from tests.integration.processes import Process, Processes
from tests.integration.raw_backend import RawBackend
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
MANAGE = str(ROOT / "headline_backend" / "manage.py")
LOG_TAIL = 6000  # characters of each log that a failing test shows


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy: where clients connect, where backends publish."""

    url: str
    control_url: str
    process: Process


@dataclass(frozen=True, slots=True)
class Headline:
    """The running example behind its proxy."""

    proxy_url: str
    control_url: str
    backend_url: str
    proxy: Process
    backend: Process


def start_proxy(
    processes: Processes, backend_url: str, *options: str, listen: int | None = None, control: int | None = None
) -> Proxy:
    """Starts the proxy under test in front of a backend, on ports of its own unless they are given."""
    listen, control = listen or free_port(), control or free_port()
    command = shlex.split(os.environ.get("GRIP_PROXY_COMMAND", "")) or [sys.executable, "-m", "gripproxy", "run"]
    addresses = ["--listen", f"127.0.0.1:{listen}", "--control", f"127.0.0.1:{control}", "--backend", backend_url]
    environment = {"PYTHONPATH": str(ROOT)}
    process = processes.start("proxy", *command, *addresses, *options, environment=environment, ports=[listen, control])
    return Proxy(f"http://127.0.0.1:{listen}", f"http://127.0.0.1:{control}", process)


def start_headline(processes: Processes, proxy: Proxy, port: int) -> Headline:
    """Starts the example, with a fresh database in the processes' folder, on the port that the proxy was told."""
    environment = {
        "HEADLINE_DATABASE": str(processes.folder / f"headline-{port}.sqlite3"),
        "GRIP_URL": proxy.control_url,
    }
    migrate = processes.start("migrate", sys.executable, MANAGE, "migrate", "--verbosity", "0", environment=environment)
    if migrate.wait(60):
        raise RuntimeError(migrate.output())
    serve = (sys.executable, MANAGE, "runserver", "--noreload", f"127.0.0.1:{port}")
    backend = processes.start("headline", *serve, environment=environment, ports=[port])
    return Headline(proxy.url, proxy.control_url, f"http://127.0.0.1:{port}", proxy.process, backend)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts processes that end with the test."""
    with Processes(tmp_path) as running:
        yield running


@pytest.fixture
def gripproxy(processes: Processes) -> Callable[..., Proxy]:
    """Starts a proxy that ends with the test: `gripproxy(backend_url, *options)`."""
    return lambda backend_url, *options: start_proxy(processes, backend_url, *options)


@pytest.fixture(scope="session")
def headline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headline]:
    """The headline example with a fresh database behind a proxy; both live as long as the test session."""
    with Processes(tmp_path_factory.mktemp("headline")) as processes:
        port = free_port()
        proxy = start_proxy(processes, f"http://127.0.0.1:{port}")
        yield start_headline(processes, proxy, port)


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[Case]]:
    """A proxy in front of many backends that tests play themselves, and a host of it for each test in turn."""
    with contextlib.ExitStack() as stack:
        backends = [stack.enter_context(RawBackend()) for _ in range(48)]
        processes = stack.enter_context(Processes(tmp_path_factory.mktemp("door")))
        toml = "".join(route(backend, f"b{index}.test") for index, backend in enumerate(backends))
        door = start_door(processes, toml)
        yield (Case(door, f"b{index}.test", backends[index]) for index in itertools.cycle(range(len(backends))))


@pytest.fixture
def case(cases: Iterator[Case]) -> Iterator[Case]:
    """A host and a backend of one proxy for one test, in which the proxy must not be at fault."""
    current = next(cases)
    current.backend.drop()  # what came late, of the test that had it before
    current.door.new_log()
    yield current
    current.close()
    log = current.door.new_log()
    assert "Traceback" not in log, log


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failing test shows what its processes wrote."""
    report = yield
    if report.failed:
        for process in Processes.running:
            report.sections.append((f"output of {process.name} ({process.pid})", process.output()[-LOG_TAIL:]))
    return report
