"""Starts the headline example and a proxy in front of it, as ``make run`` does, and ends both together.

The invariant: whatever ends one of the two (Ctrl-C, SIGTERM, SIGHUP, its own death), nothing is left running.
Each runs in a session of its own, so that a Ctrl-C reaches this script alone and the order of the end is its choice.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import socket
import sys
from pathlib import Path

HERE = Path(__file__).parent
MANAGE = str(HERE / "manage.py")

START_LIMIT = 30.0  # seconds until both must answer
STOP_LIMIT = 10.0  # seconds from SIGTERM to SIGKILL; a held client is told to come back long before
POLL = 0.1  # seconds between two looks at a server that starts
POLL_PARENT = 0.5  # seconds between two looks whether our parent is still there


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--listen", default="127.0.0.1:7999", help="where clients connect (%(default)s)")
    parser.add_argument("--control", default="127.0.0.1:5561", help="where the backend publishes (%(default)s)")
    parser.add_argument("--backend", default="127.0.0.1:8000", help="where the example listens (%(default)s)")
    parser.add_argument("--with-parent", action="store_true", help="end when the process that started this one ends")
    return parser.parse_args()


def address(text: str) -> tuple[str, int]:
    """Split HOST:PORT. Raises: SystemExit when it is something else."""
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
        raise SystemExit(f"{text}: expected HOST:PORT, such as 127.0.0.1:7999")
    return host, int(port)


def check_free(name: str, variable: str, text: str) -> None:
    """Raises: SystemExit with advice when the address cannot be listened on."""
    host, port = address(text)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            raise SystemExit(
                f"{name}: cannot listen on {text} ({error.strerror}).\n"
                f"Stop what listens there, or choose another: make run {variable}=127.0.0.1:{port % 64000 + 1000}"
            ) from None


class Child:
    """One of the two processes: its lines go to our output with its name before them."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process
        self.output = asyncio.create_task(self._forward())

    @classmethod
    async def start(cls, name: str, command: list[str], environment: dict[str, str]) -> Child:
        # Where the system offers it (Linux), the end of this script by SIGKILL ends the two as well.
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "TERM", "--", *command]
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            cwd=HERE.parent,
            start_new_session=True,
        )
        return cls(name, process)

    async def _forward(self) -> None:
        assert self.process.stdout is not None
        rest = b""
        while data := await self.process.stdout.read(65536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._print(line)
        if rest:
            self._print(rest)

    def _print(self, line: bytes) -> None:
        print(f"{self.name:8}| {line.decode(errors='replace').rstrip()}", flush=True)

    def signal(self, number: signal.Signals) -> None:
        """Signal the process and whatever it started; nothing happens when all of it has ended."""
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):  # macOS refuses for a group of which only the dead are left
            pass

    async def stop(self) -> None:
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_LIMIT):
                await self.process.wait()
        except TimeoutError:
            print(f"{self.name:8}| still there {STOP_LIMIT:g} s after SIGTERM: killed", flush=True)
        self.signal(signal.SIGKILL)
        await self.process.wait()
        await self.output


def watch_parent(parent: int, stopping: asyncio.Event) -> None:
    """Stop when our parent has ended: make dies of some signals without passing them on."""
    if os.getppid() != parent:
        stopping.set()
    else:
        asyncio.get_running_loop().call_later(POLL_PARENT, watch_parent, parent, stopping)


async def listens(text: str) -> None:
    """Return once the address takes connections."""
    host, port = address(text)
    while True:
        try:
            _, writer = await asyncio.open_connection(host.strip("[]"), port)
        except OSError:
            await asyncio.sleep(POLL)
        else:
            writer.close()
            return


async def run(options: argparse.Namespace) -> int:
    """Start both, wait for the first reason to stop, stop both; return the exit code."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    if options.with_parent:
        watch_parent(os.getppid(), stopping)
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "DJANGO_RUNSERVER_HIDE_WARNING": "true",  # the README says what is for production
        "GRIP_URL": f"http://{options.control}",
    }
    proxy_command = [sys.executable, "-m", "gripproxy", "run"]
    for name in ("listen", "control"):
        proxy_command += [f"--{name}", getattr(options, name)]
    proxy_command += ["--backend", f"http://{options.backend}"]
    migrate = [sys.executable, MANAGE, "migrate", "--no-input", "--verbosity", "0"]
    serve = [sys.executable, MANAGE, "runserver", "--noreload", "--skip-checks", options.backend]
    children: list[Child] = []
    try:
        children.append(await Child.start("migrate", migrate, environment))
        code = await first_of(stopping, children)
        if code or stopping.is_set():
            return code
        children.append(await Child.start("headline", serve, environment))
        children.append(await Child.start("proxy", proxy_command, environment))
        started = asyncio.create_task(announce(options))
        try:
            return await first_of(stopping, children[1:])
        finally:
            started.cancel()
    finally:
        await asyncio.gather(*(child.stop() for child in children))


async def first_of(stopping: asyncio.Event, children: list[Child]) -> int:
    """Wait for a signal (0: it was asked for) or for the end of a child (its exit code)."""
    waits = {asyncio.create_task(child.process.wait()): child for child in children}
    signalled = asyncio.create_task(stopping.wait())
    await asyncio.wait([signalled, *waits], return_when=asyncio.FIRST_COMPLETED)
    signalled.cancel()
    ended = [child for wait, child in waits.items() if wait.done()]
    for wait in waits:
        wait.cancel()
    if stopping.is_set():
        print("\nstopping", flush=True)
        return 0
    code = ended[0].process.returncode or 0
    if ended[0].name != "migrate":
        print(f"{ended[0].name} ended with {code}: stopping", flush=True)
        code = code or 1  # it was to run until told otherwise
    return code if code >= 0 else 128 - code


async def announce(options: argparse.Namespace) -> None:
    try:
        async with asyncio.timeout(START_LIMIT):
            for text in (options.backend, options.control, options.listen):
                await listens(text)
    except TimeoutError:
        print(f"no answer after {START_LIMIT:g} s; see the lines above", flush=True)
        return
    print(
        f"\n  The page:         http://{options.listen}/\n"
        f"  Publish to:       http://{options.control}/\n"
        f"  Without a proxy:  http://{options.backend}/\n"
        "  Ctrl-C stops both.\n",
        flush=True,
    )


def main() -> int:
    options = arguments()
    check_free("proxy", "LISTEN", options.listen)
    check_free("control", "CONTROL", options.control)
    check_free("headline", "BACKEND", options.backend)
    return asyncio.run(run(options))


if __name__ == "__main__":
    sys.exit(main())
