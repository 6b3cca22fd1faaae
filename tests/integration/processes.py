"""Real processes for tests: started with a log of their own, waited for, and ended by their process id.

A process that a test starts never outlives the `Processes` it was started from.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar

START_LIMIT = 20.0  # seconds for a process to listen: the machine may be busy
STOP_LIMIT = 10.0  # seconds from SIGTERM to SIGKILL
POLL = 0.02


class Process:
    """A running program, its output in a file."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None):
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
                start_new_session=True,  # its children are in its group, and nobody else is
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def output(self) -> str:
        """Everything it has written so far."""
        return self.log.read_text(errors="replace")

    def wait_for_port(self, port: int) -> None:
        """Raises: RuntimeError, with its output, when it ends or takes too long before it listens."""

        def listens() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                return False
            return True

        self.wait_until(listens, f"does not listen on port {port}")

    def wait_for_output(self, text: str, after: int = 0) -> None:
        """Waits until `text` stands in its output beyond the first `after` characters. Raises: RuntimeError."""
        self.wait_until(lambda: text in self.output()[after:], f"did not write {text!r}")

    def wait_until(self, condition: Callable[[], bool], complaint: str) -> None:
        """Waits until the condition holds. Raises: RuntimeError, with its output, when it ends or takes too long."""
        limit = time.monotonic() + START_LIMIT
        while not condition():
            code = self.popen.poll()
            if code is not None:
                raise RuntimeError(f"{self.name} ended with {code}:\n{self.output()}")
            if time.monotonic() > limit:
                raise RuntimeError(f"{self.name} {complaint}:\n{self.output()}")
            time.sleep(POLL)

    def signal(self, number: signal.Signals) -> None:
        """Signals the process itself; nothing happens when it has ended."""
        self.popen.send_signal(number)

    def wait(self, seconds: float = STOP_LIMIT) -> int:
        """Its exit code. Raises: subprocess.TimeoutExpired."""
        return self.popen.wait(seconds)

    def stop(self) -> int:
        """Ends it and whatever it started: SIGTERM, and SIGKILL for what is left."""
        self.signal(signal.SIGTERM)
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # macOS refuses for a group of which only the dead are left
            pass
        return self.popen.wait()


class Processes:
    """Starts processes and stops them all, the last first, when its block ends."""

    running: ClassVar[list[Process]] = []  # of every instance, for the report of a failing test

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Process] = []

    def start(
        self, name: str, *command: str, environment: Mapping[str, str] | None = None, ports: Sequence[int] = ()
    ) -> Process:
        """Starts a program and returns when it listens on all of `ports`. Raises: RuntimeError."""
        log = self.folder / f"{name}-{len(self.started)}.log"
        process = Process(name, command, log, environment)
        self.started.append(process)
        self.running.append(process)
        for port in ports:
            process.wait_for_port(port)
        return process

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self.started):
            process.stop()
            self.running.remove(process)
