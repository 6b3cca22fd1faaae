"""The benchmark set: what is done to a fresh proxy, and how one scenario is run.

Each scenario gets processes of its own, so that none inherits the memory or the connections of another.
"""

import http.client
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.integration.conftest import ROOT, Proxy, start_proxy
from tests.integration.processes import Process, Processes
from tests.ports import free_port

ENVIRONMENT = {"PYTHONPATH": str(ROOT)}
LOAD = (sys.executable, "-m", "gripproxy", "load")
#: Seconds for one run of the load test.
LIMIT = 600
#: Seconds between two questions to a proxy whose loop might stall.
PROBE_EVERY = 0.005
#: How long idle channels are held at most (seconds); their process is ended before.
IDLE_FOR = 900


@dataclass(frozen=True, slots=True)
class Scenario:
    """A run of the load test; ``idle_channels`` are held beside it, ``is_probed`` asks for the proxy's pulse."""

    name: str
    what: str
    options: tuple[str, ...]
    connections: int = 1000
    messages: int = 100
    idle_channels: int = 0
    is_probed: bool = False

    def shortened(self, connections: int, messages: int) -> "Scenario":
        """The same at a size at which it takes seconds and says nothing about speed."""
        return replace(
            self,
            connections=min(self.connections, connections),
            messages=min(self.messages, messages),
            idle_channels=min(self.idle_channels, connections),
        )


LOCKSTEP = ("--lockstep",)
LARGE = ("--size", "4000", "--rate", "40")
SCENARIOS = (
    Scenario("stream/lockstep", "the next message when the last one has arrived", ("--mode", "stream", *LOCKSTEP)),
    Scenario("ws/lockstep", "the same with WebSockets", ("--mode", "ws", *LOCKSTEP)),
    Scenario("stream/burst", "messages as fast as they are accepted", ("--mode", "stream")),
    Scenario("ws/burst", "the same with WebSockets", ("--mode", "ws")),
    Scenario("poll", "each message answers all polls, which ask again", ("--mode", "poll", *LOCKSTEP), messages=3),
    Scenario("mixed", "streams, WebSockets and polls on 10 channels", ("--mode", "mixed", "--channels", "10")),
    Scenario("idle", "stream/lockstep beside 10,000 idle channels", LOCKSTEP, idle_channels=10_000),
    Scenario("fast", "40 messages of 4,000 bytes a second", LARGE, messages=400),
    Scenario("slow", "the same beside 50 clients that never read", ("--never-read", "50", *LARGE), 1050, 400),
    Scenario("stall", "10,000 clients, and the proxy's pulse", LOCKSTEP, 10_000, 20, is_probed=True),
    Scenario("churn", "200 connections a second come and go", ("--churn", "200", "--rate", "100"), messages=500),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The report of the load test and, where it was felt, the proxy's pulse (seconds for each answer)."""

    scenario: Scenario
    report: dict[str, Any]
    pulse: list[float] = field(default_factory=list)

    @property
    def faults(self) -> dict[str, Any]:
        """What must not happen in any scenario: faults of the ledger, and connections or publishes that failed."""
        kinds = ("refused", "given_up", "connections_lost", "publish_failures")
        ledger = {name: count for name, count in self.report["ledger"].items() if count and name != "skipped"}
        return ledger | {name: self.report[name] for name in kinds if self.report[name]}


def run_scenario(scenario: Scenario) -> Outcome:
    """Run ``scenario`` against a fresh proxy. Raises: RuntimeError when the load test cannot."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        processes = stack.enter_context(Processes(folder))
        port = free_port()
        command = (sys.executable, "-m", "tests.load.backend", str(port))
        processes.start("backend", *command, environment=ENVIRONMENT, ports=[port])
        proxy = start_proxy(processes, f"http://127.0.0.1:{port}")
        if scenario.idle_channels:
            hold_idle(processes, proxy, scenario.idle_channels)
        pulse: list[float] = []
        report = load(processes, proxy, scenario, pulse)
    return Outcome(scenario, report, pulse)


def load(processes: Processes, proxy: Proxy, scenario: Scenario, pulse: list[float]) -> dict[str, Any]:
    """The report of the load test; ``pulse`` is filled while it publishes, if the scenario is to be probed."""
    size = ("--connections", str(scenario.connections), "--messages", str(scenario.messages))
    report = processes.folder / "report.json"
    measured = ("--pid", str(proxy.process.pid), "--json", str(report))
    command = (*LOAD, *addresses(proxy), *scenario.options, *size, *measured)
    process = processes.start("load", *command, environment=ENVIRONMENT)
    if scenario.is_probed:
        process.wait_for_output("publishing: ")
        feel(proxy, process, pulse)
    process.wait(LIMIT)
    if not report.exists():
        raise RuntimeError(f"{scenario.name}: {process.output()}")
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def addresses(proxy: Proxy) -> Sequence[str]:
    return "--url", proxy.url + "/{mode}/{channel}", "--control", proxy.control_url


def hold_idle(processes: Processes, proxy: Proxy, channels: int) -> Process:
    """Hold streams on channels of their own, to which nobody publishes; return when all are held."""
    number = str(channels)
    names = ("--channel", "idle-{n}", "--channels", number, "--connections", number)
    time_ = ("--messages", "0", "--duration", str(IDLE_FOR), "--settle", "0")
    command = (*LOAD, *addresses(proxy), *names, *time_)
    process = processes.start("idle", *command, environment=ENVIRONMENT)
    process.wait_for_output("holding: ")
    return process


def feel(proxy: Proxy, process: Process, pulse: list[float]) -> None:
    """Ask the control endpoint, which shares the loop with the fan-out, until nothing is published any more."""
    connection = http.client.HTTPConnection(proxy.control_url.removeprefix("http://"), timeout=30)
    while "finishing: " not in process.output():
        start = time.perf_counter()
        connection.request("GET", "/")
        connection.getresponse().read()
        pulse.append(time.perf_counter() - start)
        time.sleep(PROBE_EVERY)
    connection.close()
