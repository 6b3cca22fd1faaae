"""A proxy with a configuration of the test's own, raw clients of it, and the backends that the test plays.

One proxy serves many tests, and each test has a host, a route and a backend that no other uses at the time, so that no
pooled connection of one test meets another.
"""

import re
import socket
import ssl
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

from tests.conformance.client import Connection
from tests.integration.processes import Process, Processes
from tests.integration.raw_backend import DEADLINE, Peer, RawBackend
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


class Client(Connection):
    """A client on a connection that is there already: TCP, TLS or a Unix socket."""

    def __init__(self, connected: socket.socket, host: str) -> None:
        connected.settimeout(DEADLINE)
        self._socket = connected
        self._buffer = b""
        self.head = None
        self._host = host

    @property
    def socket(self) -> socket.socket:
        return self._socket

    def ask(self, host: str, path: str = "/", method: str = "GET", *lines: str, body: bytes = b"") -> "Client":
        """Send a request with these field lines and nothing that is not said, except Host."""
        head = "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""])
        self.send(head.encode("latin-1") + body)
        return self

    def read_all(self) -> bytes:
        """Everything until the proxy closes or resets."""
        while True:
            try:
                if not self._more():
                    break
            except ConnectionError:
                break
        data, self._buffer = self._buffer, b""
        return data


# A label and its value, in a scrape.
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(slots=True)
class Door:
    """A running proxy, and the log lines that were read so far."""

    process: Process
    port: int
    control_port: int
    seen: int = 0

    def connect(self, host: str = "127.0.0.1") -> Client:
        """Connect over TCP."""
        connected = socket.create_connection((host, self.port), DEADLINE)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Client(connected, "door.test")

    def new_log(self) -> str:
        """What the proxy has logged since this was called last."""
        output = self.process.output()
        new, self.seen = output[self.seen :], len(output)
        return new

    def metric(self, name: str) -> float:
        """A number of /metrics, summed over the labels that are not given; 0 where it has not been counted yet."""
        url = f"http://127.0.0.1:{self.control_port}/metrics"
        with build_opener(ProxyHandler({})).open(url, timeout=DEADLINE) as response:
            return number_of(response.read().decode(), name)

    def descriptors(self) -> int:
        """How many files the proxy has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def memory(self) -> int:
        """Bytes of memory that the proxy has resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def number_of(exposition: str, name: str) -> float:
    """The sum of a metric, as `name` or `name{label="value"}`, over all labels that are not given."""
    wanted, _, labels = name.partition("{")
    given = set(LABEL.findall(labels))
    total = 0.0
    for line in exposition.splitlines():
        series, _, number = line.rpartition(" ")
        found, _, rest = series.partition("{")
        if found == wanted and given <= set(LABEL.findall(rest)):
            total += float(number)
    return total


def start_door(
    processes: Processes, toml: str, *, port: int | None = None, environment: dict[str, str] | None = None
) -> Door:
    """Start a proxy with a configuration in which {listen} and {control} stand for addresses."""
    port, control = port or free_port(), free_port()
    addresses = {"listen": f"127.0.0.1:{port}", "control": f"127.0.0.1:{control}"}
    if "[server]" not in toml:
        toml = '[server]\nlisten = ["{listen}"]\n' + toml
    if "[control]" not in toml:
        toml = '[control]\nlisten = "{control}"\n' + toml
    for name, address in addresses.items():
        toml = toml.replace("{" + name + "}", address)
    file = processes.folder / f"door-{port}.toml"
    file.write_text(toml)
    command = (sys.executable, "-m", "gripproxy", "run", "--config", str(file))
    # Tests that share a proxy each look for their own lines in its log.
    whole_log = {} if "[log]" in toml else {"GRIPPROXY__LOG__REPEATS": "0"}
    variables = {"PYTHONPATH": str(ROOT), **whole_log, **(environment or {})}
    process = processes.start("proxy", *command, environment=variables, ports=[port, control])
    return Door(process, port, control)


def route(backend: RawBackend, host: str, **settings: object) -> str:
    """A [[routes]] table of TOML for a backend."""
    settings = {"host": host, "backends": [f"http://127.0.0.1:{backend.port}"], **settings}
    lines = [f"{name} = {toml_value(value)}" for name, value in settings.items()]
    return "\n".join(["[[routes]]", *lines, "", ""])


def toml_value(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml_value(name)} = {toml_value(one)}" for name, one in value.items()) + "}"
    return str(value)


@dataclass(slots=True)
class Case:
    """One test's part of the door: its host, its backend, its clients."""

    door: Door
    host: str
    backend: RawBackend
    clients: list[Client] = field(default_factory=list)

    def connect(self) -> Client:
        """Connect a client that is closed when the test ends."""
        client = self.door.connect()
        self.clients.append(client)
        return client

    def ask(self, path: str = "/", method: str = "GET", *lines: str, body: bytes = b"") -> Client:
        """Send a request on a new connection."""
        return self.connect().ask(self.host, path, method, *lines, body=body)

    def raw(self, data: bytes) -> Client:
        """Send bytes on a new connection; {host} stands for the test's host."""
        client = self.connect()
        client.send(data.replace(b"{host}", self.host.encode()))
        return client

    def exchange(self, answer: bytes, path: str = "/", method: str = "GET", *lines: str) -> tuple[Client, Peer]:
        """Send a request and answer it; the request is read and forgotten."""
        client = self.ask(path, method, *lines)
        peer = self.backend.accept()
        peer.read_request()
        peer.send(answer)
        return client, peer

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.backend.drop()


def tls_client(port: int, context: ssl.SSLContext, name: str = "localhost") -> Client:
    """Connect over TLS."""
    plain = socket.create_connection(("127.0.0.1", port), DEADLINE)
    return Client(context.wrap_socket(plain, server_hostname=name), name)
