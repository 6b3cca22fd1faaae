"""`gripproxy load`: clean against a real proxy, and not to be deceived by a server that loses, doubles or reorders."""

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import ROOT, Proxy
from tests.integration.processes import Processes
from tests.ports import free_port

LOAD = (sys.executable, "-m", "gripproxy", "load", "--quiet", "--json", "-", "--settle", "0.3")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
LIMIT = 60


@pytest.fixture
def backend_url(processes: Processes) -> str:
    """A backend that holds what it is asked to hold."""
    port = free_port()
    command = (sys.executable, "-m", "tests.load.backend", str(port))
    processes.start("backend", *command, environment={"PYTHONPATH": str(ROOT)}, ports=[port])
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def proxy(gripproxy: Callable[..., Proxy], backend_url: str) -> Proxy:
    return gripproxy(backend_url)


def load(*options: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, report and what was written to stderr."""
    done = subprocess.run([*LOAD, *options], capture_output=True, env=ENVIRONMENT, timeout=LIMIT)
    report = json.loads(done.stdout) if done.stdout.startswith(b"{") else {}
    return done.returncode, report, done.stderr.decode()


def at(proxy: Proxy) -> tuple[str, ...]:
    return "--url", proxy.url + "/{mode}/{channel}", "--control", proxy.control_url


@pytest.mark.parametrize("how", [(), ("--lockstep",)], ids=["burst", "lockstep"])
@pytest.mark.parametrize("mode", ["stream", "ws"])
def test_everything_arrives_once_and_in_order(proxy: Proxy, mode: str, how: tuple[str, ...]) -> None:
    code, report, errors = load(*at(proxy), "--mode", mode, "-c", "50", "-n", "20", *how)

    assert (0, 1000, 1000) == (code, report["deliveries"], report["expected"]), errors
    assert {0} == set(report["ledger"].values())
    assert {"p50", "p90", "p99", "p99_9", "max"} == set(report["latency_ms"])


def test_polls_are_answered_in_turn(proxy: Proxy) -> None:
    code, report, errors = load(*at(proxy), "--mode", "poll", "--lockstep", "-c", "30", "-n", "3")

    assert (0, 90) == (code, report["deliveries"]), errors


def test_a_mixed_test_spreads_over_channels_publishers_and_processes(proxy: Proxy) -> None:
    options = ("-c", "60", "--channels", "4", "--publishers", "3", "--processes", "2", "--rate", "100", "-n", "40")

    code, report, errors = load(*at(proxy), "--mode", "mixed", *options)

    assert 0 == code, errors
    assert (40, 600) == (report["messages"], report["expected"])
    assert report["expected"] == report["deliveries"] + report["ledger"]["skipped"]


def test_dropped_connections_come_back(proxy: Proxy) -> None:
    code, report, errors = load(*at(proxy), "-c", "30", "--churn", "40", "--rate", "50", "--duration", "1.5")

    assert 0 == code, errors
    assert 10 < report["churned"]


def test_publishes_are_signed(gripproxy: Callable[..., Proxy], backend_url: str, tmp_path: Path) -> None:
    key = "base64:" + base64.b64encode(b"k" * 32).decode()
    config = tmp_path / "gripproxy.toml"
    config.write_text(f'[realms.default]\nkey = "{key}"\n')
    proxy = gripproxy(backend_url, "--config", str(config))
    url, few = ("--url", proxy.url + "/stream/{channel}"), ("-c", "5", "-n", "5")

    signed = load(*url, *few, "--control", f"{proxy.control_url}?iss=default&key={key}")
    unsigned = load(*url, *few, "--control", proxy.control_url)

    assert (0, 25) == (signed[0], signed[1]["deliveries"]), signed[2]
    assert (2, True) == (unsigned[0], "nothing could be published: HTTP 401" in unsigned[2]), unsigned


def test_the_report_and_the_picture_go_to_files(proxy: Proxy, tmp_path: Path) -> None:
    report, picture = tmp_path / "report.json", tmp_path / "plot.svg"

    code, _, errors = load(*at(proxy), "-c", "5", "-n", "5", "--json", str(report), "--plot", str(picture))

    assert 0 == code, errors
    assert 25 == json.loads(report.read_text())["deliveries"]
    assert picture.read_text().startswith("<svg ")


def test_an_interrupt_shows_what_there_is(proxy: Proxy) -> None:
    command = [*LOAD, *at(proxy), "-c", "5", "--rate", "50", "--duration", "60", "--pid", str(proxy.process.pid)]
    command.remove("--quiet")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as running:
        assert running.stderr is not None
        lines = iter(running.stderr)
        assert any(line.startswith(b"publishing") and b" 0 delivered" not in line for line in lines)
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=LIMIT)
        report = json.loads(output)

    assert (0, True) == (running.returncode, report["is_interrupted"])
    assert 0 < report["deliveries"] == report["expected"]


def test_an_interrupt_before_anything_is_published(proxy: Proxy) -> None:
    command = [*LOAD, *at(proxy), "-c", "5", "-n", "5", "--settle", "3600"]
    command.remove("--quiet")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as running:
        assert running.stderr is not None
        lines = iter(running.stderr)
        assert any(line.startswith(b"settling") for line in lines)
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=LIMIT)
        report = json.loads(output)

    assert (0, True, 5) == (running.returncode, report["is_interrupted"], report["connections_held"])
    assert (0, 0) == (report["messages"], report["deliveries"])


class Liar:
    """A server that holds streams and hands on what is posted to it, except for message 5, with which it errs."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.held: list[tuple[str, asyncio.StreamWriter]] = []
        self.count = 0
        self.kept = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                if head.startswith("GET"):
                    self.hold(head.split(" ")[1], writer)
                    continue
                size = int(head.lower().split("content-length:")[1].split("\r\n")[0])
                path, content = read_item(head, await reader.readexactly(size))
                self.publish(path, content)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def hold(self, path: str, writer: asyncio.StreamWriter) -> None:
        if self.fault == "refuse":
            writer.write(b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n")
            return
        self.held.append((path, writer))
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    def publish(self, path: str, content: bytes) -> None:
        self.count += 1
        is_fifth = self.count == 5
        if is_fifth and self.fault == "swap":
            self.kept = content
            return
        for number, (held, writer) in enumerate(self.held):
            contents = [content]
            if number == 0 and is_fifth:
                contents = FAULTS[self.fault](content)
            elif number == 1 and is_fifth and self.fault == "cut":
                writer.close()
            if held == path or (is_fifth and self.fault == "stray"):
                for one in [*contents, *([self.kept] if self.kept else [])]:
                    writer.write(b"%x\r\n%s\r\n" % (len(one), one))
        self.kept = b""


def read_item(head: str, body: bytes) -> tuple[str, bytes]:
    """Path and content of a GRIP item, or of a bare message posted to /bare/CHANNEL."""
    path = head.split(" ")[1]
    if path.startswith("/bare/"):
        return path.removeprefix("/bare"), body
    item = json.loads(body)["items"][0]
    return "/" + item["channel"], item["formats"]["http-stream"]["content"].encode()


FAULTS: dict[str, Callable[[bytes], list[bytes]]] = {
    "none": lambda content: [content],
    "bare": lambda content: [content],
    "drop": lambda content: [],
    "double": lambda content: [content, content],
    "swap": lambda content: [content],
    "damage": lambda content: [content[:50] + b"?" + content[51:]],
    "stray": lambda content: [content],
    "cut": lambda content: [content],
    "refuse": lambda content: [content],
}


async def load_liar(fault: str, *options: str) -> tuple[int, dict[str, Any], str]:
    server = await asyncio.start_server(Liar(fault).serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    publish = ("--publish-url", url + "/bare/{channel}") if fault == "bare" else ("--control", url)
    command = [*LOAD, "--url", url + "/{channel}", *publish, "--stall", "0.5", "-c", "4", "-n", "10", *options]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=ENVIRONMENT)
    try:
        async with asyncio.timeout(LIMIT):
            output, errors = await process.communicate()
    finally:
        server.close()
    assert process.returncode is not None
    return process.returncode, json.loads(output or b"{}"), errors.decode()


@pytest.fixture
def liar() -> Callable[..., tuple[int, dict[str, Any], str]]:
    return lambda fault, *options: asyncio.run(load_liar(fault, *options))


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("none", {}),
        ("bare", {}),
        ("drop", {"lost": 1}),
        ("double", {"doubled": 1}),
        ("swap", {"out_of_order": 4}),
        ("damage", {"damaged": 1, "lost": 1}),
    ],
)
def test_a_fault_is_found_and_named(
    liar: Callable[..., tuple[int, dict[str, Any], str]], fault: str, found: dict[str, int]
) -> None:
    code, report, errors = liar(fault)

    assert int(bool(found)) == code, errors
    assert found == {name: count for name, count in report["ledger"].items() if count}


def test_a_message_on_the_wrong_channel_is_stray(liar: Callable[..., tuple[int, dict[str, Any], str]]) -> None:
    code, report, errors = liar("stray", "--channels", "2")

    assert (1, 2) == (code, report["ledger"]["stray"]), errors


def test_a_connection_that_is_cut_is_lost(liar: Callable[..., tuple[int, dict[str, Any], str]]) -> None:
    code, report, errors = liar("cut")

    assert (1, {"stream: closed by the proxy": 1}) == (code, report["connections_lost"]), errors


def test_a_message_that_does_not_arrive_stops_a_lockstep(
    liar: Callable[..., tuple[int, dict[str, Any], str]],
) -> None:
    code, report, errors = liar("drop", "--lockstep")

    assert (1, True, 5) == (code, report["is_stalled"], report["messages"]), errors


def test_without_a_connection_there_is_no_test(liar: Callable[..., tuple[int, dict[str, Any], str]]) -> None:
    code, _, errors = liar("refuse")

    assert 2 == code
    assert "no connection was held: stream: HTTP 503" in errors


def test_a_proxy_that_is_not_there_is_told_at_once() -> None:
    code, _, errors = load("--url", f"http://127.0.0.1:{free_port()}/")

    assert 2 == code
    assert "nothing answers" in errors
