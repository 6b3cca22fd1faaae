"""Autobahn's cases for WebSocket servers, run by kosoku against the proxy in front of echoing backends.

The proxy is the command in GRIP_PROXY_COMMAND, by default this project's. Each case is a connection with something
legal or illegal on it, and an expectation for messages and another for the closing handshake.
"""

from __future__ import annotations

import fnmatch
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.integration.processes import Processes
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]

# Paths of the proxy's routes, and who does the echo behind them.
DOORS = {"over-http": "/", "passthrough": "/passthrough"}

CONFIG = """
[server]
listen = ["127.0.0.1:{listen}"]

[control]
listen = "127.0.0.1:{control}"

[limits]  # the largest messages of the cases have 16 MiB
websocket_message = 33554432
websocket_buffered = 33554432
unsent = 67108864

[[routes]]
path = "/"
backends = ["http://127.0.0.1:{events}"]

[[routes]]
path = "/passthrough"
websocket = "passthrough"
backends = ["http://127.0.0.1:{messages}"]
"""

# A few cases of each group of compression, which are a thousand messages each.
QUICK_COMPRESSION = ("12.1.5", "12.3.7", "12.5.3", "13.1.3", "13.6.4", "13.7.6")

# For every run of the tests: all of the protocol, large messages, some compression.
QUICK = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*", *QUICK_COMPRESSION)

# Cases that kosoku 0.1.0 breaks off itself ("Strings must be encoded before hashing").
NOT_RUN = ("12.*.1", "13.*.1")

PASSED = frozenset(("OK", "NON-STRICT", "INFORMATIONAL"))

_SHARED = "a published message is compressed once for all clients, so there is one window for all: no compression"
_AT_ONCE = "the proxy reads what stands before the fault, but the echo of it needs the backend"

# Verdicts below OK that are right: glob of cases -> verdict and why.
KNOWN = {
    "13.3.*": ("UNIMPLEMENTED", _SHARED),
    "13.5.*": ("UNIMPLEMENTED", _SHARED),
    "3.*": ("NON-STRICT", _AT_ONCE),
    "4.*": ("NON-STRICT", _AT_ONCE),
    "5.15": ("NON-STRICT", _AT_ONCE),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a case came to; the words are Autobahn's."""

    case: str
    behavior: str
    closing: str

    @property
    def is_expected(self) -> bool:
        """Whether it is what has to be, or a known one."""
        return self.closing in PASSED and (self.behavior in PASSED or self.known is not None)

    @property
    def known(self) -> str | None:
        """Why a verdict that is not OK is right, if it is known."""
        for glob, (behavior, why) in KNOWN.items():
            if fnmatch.fnmatch(self.case, glob) and behavior == self.behavior:
                return why
        return None


def run(folder: Path, door: str, cases: Sequence[str] = (), parallel: int = 4) -> list[Verdict]:
    """Run cases (globs; none given: all) against a door of a fresh proxy; reports are left in the folder."""
    with Processes(folder) as processes:
        listen, control, events, messages = (free_port() for _ in range(4))
        echo = (sys.executable, "-m", "tests.autobahn.echo", str(events), str(messages))
        processes.start("echo", *echo, environment={"PYTHONPATH": str(ROOT)}, ports=[events, messages])
        config = folder / "autobahn.toml"
        config.write_text(CONFIG.format(listen=listen, control=control, events=events, messages=messages))
        command = shlex.split(os.environ.get("GRIP_PROXY_COMMAND", "")) or [sys.executable, "-m", "gripproxy", "run"]
        processes.start(
            "proxy", *command, "--config", str(config), environment={"PYTHONPATH": str(ROOT)}, ports=[listen, control]
        )
        url = f"ws://127.0.0.1:{listen}{DOORS[door]}"
        fuzz(folder / door, url, cases, parallel)
        verdicts = {verdict.case: verdict for verdict in read_verdicts(folder / door)}
        # Many cases wait for half a second and no longer, which a busy machine may miss.
        late = [verdict.case for verdict in verdicts.values() if not verdict.is_expected]
        if late:
            fuzz(folder / f"{door}-again", url, late, parallel=1)
            verdicts |= {verdict.case: verdict for verdict in read_verdicts(folder / f"{door}-again")}
    return list(verdicts.values())


def fuzz(reports: Path, url: str, cases: Sequence[str], parallel: int) -> None:
    """Run kosoku, in a process of its own: it patches the standard library for its cases of 2011."""
    selection = [part for case in cases for part in ("-i", case)]
    selection += [part for case in NOT_RUN for part in ("-x", case)]
    command = [Path(sys.executable).with_name("kosoku"), "-m", "fuzzingclient", *selection, "-p", str(parallel), url]
    finished = subprocess.run([*command, "-o", reports], capture_output=True, text=True, check=False)
    if not (reports / "index.json").is_file():
        raise RuntimeError(f"kosoku ended with {finished.returncode}:\n{finished.stderr}")


def read_verdicts(reports: Path) -> list[Verdict]:
    """Read what kosoku wrote, in the order of the cases."""
    index = json.loads((reports / "index.json").read_text())
    verdicts = [
        Verdict(case, found["behavior"], found["behaviorClose"])
        for agent in index.values()
        for case, found in agent.items()
    ]
    return sorted(verdicts, key=lambda verdict: [int(part) for part in verdict.case.split(".")])
