"""pubcontrol repeats a publish that failed: over restarts of the proxy nothing is delivered twice, or acknowledged
and lost.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from gripcontrol import GripPubControl, HttpStreamFormat, parse_grip_uri
from pubcontrol import Item

from tests.conformance.backend import Backend
from tests.conformance.case import held
from tests.conformance.client import Connection
from tests.integration.door import DEADLINE, ROOT
from tests.integration.libraries.conftest import REALMS, grip_urls
from tests.integration.processes import Processes
from tests.integration.scripted import routes_of
from tests.ports import free_port

RESTARTS = 3
ITEMS = 40  # to be delivered between two restarts


class Publisher(threading.Thread):
    """Publishes numbers one after the other until it is told to stop; remembers which were acknowledged."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.acknowledged: list[int] = []
        self.refused: list[int] = []
        self.has_stopped = threading.Event()
        self._publisher = GripPubControl(parse_grip_uri(url))

    def run(self) -> None:
        number = 0
        while not self.has_stopped.is_set():
            number += 1
            try:
                self._publisher.publish("numbers", Item(HttpStreamFormat(f"{number};")), blocking=True)
            except ValueError:
                self.refused.append(number)
            else:
                self.acknowledged.append(number)
        self._publisher.close()


def read_numbers(connection: Connection, count: int | None) -> list[int]:
    """Read that many numbers of a stream, or all until it ends."""
    text = ""
    while count is None or text.count(";") < count:
        try:
            chunk = connection.read_chunk()
        except (EOFError, ConnectionError):
            chunk = b""
        if not chunk:
            break
        text += chunk.decode()
    return [int(part) for part in text.split(";")[:-1]]


def test_nothing_is_delivered_twice_or_lost_over_restarts(tmp_path: Path) -> None:
    """A client that is held all the time between two restarts gets each number that was acknowledged in between."""
    backend = Backend(free_port())
    backend.on("/numbers", held("numbers"))
    port, control = free_port(), free_port()
    configuration = Path(tmp_path, "config.toml")
    configuration.write_text(REALMS + routes_of(backend.port, {"a.test": {"realm": "named"}}))
    environment = {"PYTHONPATH": str(ROOT), "GRIPPROXY__SERVER__SHUTDOWN_TIMEOUT": "1"}
    command = [sys.executable, "-m", "gripproxy", "run", "--config", str(configuration)]
    command += ["--listen", f"127.0.0.1:{port}", "--control", f"127.0.0.1:{control}"]
    publisher = Publisher(grip_urls(f"127.0.0.1:{control}")["jwt"])
    delivered: list[list[int]] = []
    with Processes(tmp_path) as processes:
        for turn in range(RESTARTS + 1):
            proxy = processes.start("proxy", *command, environment=environment, ports=[port, control])
            connection = Connection("127.0.0.1", port, DEADLINE).request("/numbers", host="a.test")
            connection.read_head()
            if turn == 0:
                publisher.start()
            numbers = read_numbers(connection, ITEMS)
            if turn == RESTARTS:
                publisher.has_stopped.set()
                publisher.join(DEADLINE)
            proxy.signal(signal.SIGTERM)
            numbers += read_numbers(connection, None)
            delivered.append(numbers)
            connection.close()
            assert 0 == proxy.wait()
    backend.stop()

    every = [number for numbers in delivered for number in numbers]
    assert sorted(set(every)) == every
    assert [] == sorted(set(every) & set(publisher.refused))
    for numbers in delivered:
        between = [number for number in publisher.acknowledged if numbers[0] <= number <= numbers[-1]]
        assert between == numbers
