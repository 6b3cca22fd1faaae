"""`make run`: example and proxy start together and end together, whatever ends one of them."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT
from tests.integration.processes import Process, Processes
from tests.ports import free_port

READY = "Ctrl-C stops both"


def start(processes: Processes, folder: Path, ports: list[int]) -> Process:
    """Start what `make run` starts, and wait until it says that it is ready."""
    names = ("--listen", "--control", "--backend")
    options = [part for name, port in zip(names, ports, strict=True) for part in (name, f"127.0.0.1:{port}")]
    script = str(ROOT / "headline_backend" / "run.py")
    environment = {"HEADLINE_DATABASE": str(folder / "db.sqlite3")}
    running = processes.start("run", sys.executable, script, *options, environment=environment)
    running.wait_for_output(READY)
    return running


@pytest.fixture
def ports() -> list[int]:
    """Ports for clients, publishers and the example."""
    return [free_port(), free_port(), free_port()]


@pytest.fixture
def running(processes: Processes, tmp_path: Path, ports: list[int]) -> Process:
    """Everything that `make run` starts, on ports of its own."""
    return start(processes, tmp_path, ports)


def pids(ports: list[int]) -> dict[str, int]:
    """Find what runs with these ports in its command line: first option after the program -> process id."""
    listing = subprocess.run(
        ["ps", "-eww", "-o", "pid=", "-o", "args="], capture_output=True, text=True, check=True
    ).stdout
    lines = [line.strip().partition(" ") for line in listing.splitlines() if f"127.0.0.1:{ports[2]}" in line]
    found = {}
    for pid, _, command in lines:
        for name in ("run.py", "manage.py", "gripproxy"):
            if re.search(rf"python\S* (-m )?\S*{name}( |$)", command):
                found[name] = int(pid)
    return found


def test_it_says_where_the_page_is(running: Process, ports: list[int]) -> None:
    """The address that it prints answers, through the proxy."""
    address = f"http://127.0.0.1:{ports[0]}/"
    assert address in running.output()
    with urllib.request.urlopen(address) as response:
        assert 200 == response.status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything(running: Process, ports: list[int], number: signal.Signals) -> None:
    """Ctrl-C and its relatives are no error, and nothing is left."""
    assert {"run.py", "manage.py", "gripproxy"} == set(pids(ports))

    running.signal(number)

    assert 0 == running.wait()
    assert {} == pids(ports)


@pytest.mark.parametrize("name", ["manage.py", "gripproxy"])
def test_the_end_of_one_ends_the_other(running: Process, ports: list[int], name: str) -> None:
    """One of the two alone is of no use; its exit code tells what happened."""
    os.kill(pids(ports)[name], signal.SIGKILL)

    assert 128 + signal.SIGKILL == running.wait()
    assert {} == pids(ports)


def test_an_address_in_use_is_said_before_anything_starts(running: Process, ports: list[int], tmp_path: Path) -> None:
    """The message names the address and the way out."""
    second = subprocess.run(
        [sys.executable, str(ROOT / "headline_backend" / "run.py"), "--listen", f"127.0.0.1:{ports[0]}"],
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert 1 == second.returncode
    assert f"cannot listen on 127.0.0.1:{ports[0]}" in second.stderr
    assert "make run LISTEN=" in second.stderr
