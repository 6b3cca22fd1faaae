"""A running proxy that reads its configuration again: what changes, what stays, and who notices."""

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.conformance.client import Connection
from tests.integration.certificates import Authority, make_authority
from tests.integration.door import ROOT, Client, Door, route, start_door, tls_client
from tests.integration.processes import Processes
from tests.integration.raw_backend import DEADLINE, OK, Peer, RawBackend
from tests.integration.serving import serving
from tests.ports import free_port

KEY, OTHER = "the first secret, of thirty-two bytes", "the second secret, of thirty-two too"


def hold(mode: str, channel: str = "news", *lines: str) -> bytes:
    """A response that asks to be held."""
    fields = [f"Grip-Hold: {mode}", f"Grip-Channel: {channel}", "Content-Length: 2", "Connection: close", *lines]
    return "\r\n".join(["HTTP/1.1 200 OK", *fields, "", "ok"]).encode()


def realm(*keys: str) -> str:
    return f"[realms.default]\nkey = {json.dumps(keys)}\n"


@dataclass(slots=True)
class House:
    """A proxy, its configuration file, and what was done to it."""

    door: Door
    file: Path
    head: str
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def connect(self, host: str = "", trust: ssl.SSLContext | None = None) -> Client:
        """A client, over TLS if it trusts somebody; closed when the test ends."""
        client = self.door.connect() if trust is None else tls_client(self.door.port, trust, host)
        self.stack.callback(client.close)
        return client

    def write(self, toml: str) -> None:
        """Replace what comes behind the addresses in the file, as editors do: by another file."""
        other = self.file.with_suffix(".new")
        other.write_text(self.head + toml)
        other.replace(self.file)

    def reload(self, toml: str | None = None) -> str:
        """Have the file read again, with another content if that is given; return the log line that says so."""
        if toml is not None:
            self.write(toml)
        seen = len(self.door.process.output())
        self.door.process.signal(signal.SIGHUP)
        return self.line("reloaded after", seen)

    def line(self, text: str, seen: int = 0) -> str:
        """The first line with this text, once it is there."""
        process = self.door.process
        process.wait_until(lambda: any(text in line for line in self.lines(seen)), f"did not write {text!r}")
        return next(line for line in self.lines(seen) if text in line)

    def lines(self, seen: int = 0) -> list[str]:
        return self.door.process.output()[seen:].split("\n")[:-1]

    def control(self, path: str, body: bytes = b"", **fields: str) -> tuple[int, str]:
        """POST to the control door."""
        connection = http.client.HTTPConnection("127.0.0.1", self.door.control_port, timeout=DEADLINE)
        with contextlib.closing(connection):
            connection.request("POST", path, body, fields)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def publish(self, formats: dict[str, Any], channel: str = "news", key: str = "") -> int:
        fields = {"Authorization": f"Bearer {key}"} if key else {}
        body = json.dumps({"items": [{"channel": channel, "formats": formats}]}).encode()
        return self.control("/publish/", body, **fields)[0]


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    """What is closed when the test ends."""
    with contextlib.ExitStack() as opened:
        yield opened


@pytest.fixture
def start(processes: Processes, stack: contextlib.ExitStack) -> Callable[..., House]:
    """Start a proxy with what comes behind its addresses; ``server`` are settings of [server]."""

    def begin(toml: str, server: str = "") -> House:
        head = f'[control]\nlisten = "{{control}}"\n[server]\nlisten = ["{{listen}}"]\n{server}'
        door = start_door(processes, head + toml)
        file = processes.folder / f"door-{door.port}.toml"
        return House(door, file, file.read_text().removesuffix(toml), stack)

    return begin


@pytest.fixture
def backends() -> Iterator[tuple[RawBackend, RawBackend]]:
    with RawBackend() as first, RawBackend() as second:
        yield first, second


def held(
    house: House, backend: RawBackend, mode: str, host: str = "a.test", *lines: str, channel: str = "news"
) -> tuple[Client, Peer]:
    """A client that is held, and the connection to its backend."""
    client = house.connect().ask(host, "/held")
    peer = backend.accept()
    peer.read_request()
    peer.send(hold(mode, channel, *lines))
    if mode == "stream":
        client.read_head()
        assert b"ok" == client.read_chunk()
    else:
        house.door.process.wait_until(
            lambda: house.door.metric('gripproxy_connections{transport="response"}') > 0, "holds nobody"
        )
    return client, peer


def answer(house: House, backend: RawBackend, host: str) -> bytes:
    """What a new client gets, where a backend is asked."""
    client = house.connect().ask(host, "/new")
    peer = backend.accept()
    peer.read_request()
    peer.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    return client.read_response().body


def signer(peer: Peer) -> tuple[bytes, str]:
    """The target of the next request, and the key that its Grip-Sig is signed with."""
    request = peer.read_request()
    (token,) = request.values(b"Grip-Sig")
    for key in (KEY, OTHER):
        with contextlib.suppress(jwt.InvalidSignatureError):
            jwt.decode(token, key, algorithms=["HS256"])
            return request.target, key
    return request.target, ""


def test_routes_change_for_those_who_come_and_not_for_those_who_are_there(
    start: Callable[..., House], backends: tuple[RawBackend, RawBackend]
) -> None:
    first, second = backends
    house = start(route(first, "a.test") + route(first, "gone.test"))
    stays, _ = held(house, first, "stream")
    goes, _ = held(house, first, "stream", "gone.test")
    assert 502 == house.connect().ask("new.test").read_response().status

    line = house.reload(route(second, "a.test") + route(second, "new.test"))
    assert "INFO    gripproxy.reload: reloaded after SIGHUP: routes: 1 added, 1 changed, 1 removed" in line
    assert [b"ok", b"ok"] == [answer(house, second, host) for host in ("a.test", "new.test")]
    assert 502 == house.connect().ask("gone.test").read_response().status
    assert 200 == house.publish({"http-stream": {"content": "still here"}})
    assert [b"still here"] * 2 == [client.read_chunk() for client in (stays, goes)]


def test_holds_ask_where_their_route_leads_now(
    start: Callable[..., House], backends: tuple[RawBackend, RawBackend]
) -> None:
    """A long-poll that asks again, and a next link; what they ask is signed with the key of now."""
    first, second = backends
    house = start(realm(KEY) + route(first, "a.test", id="a"))
    poll, _ = held(house, first, "response")
    stream, _ = held(house, first, "stream", "a.test", 'Grip-Link: </next>; rel="next"; timeout=3600')

    house.reload(realm(OTHER) + route(second, "a.test", id="a"))
    assert 200 == house.publish({"http-response": {"action": "hint"}, "http-stream": {"action": "hint"}}, key=OTHER)
    for _ in range(2):
        peer = second.accept()
        target, key = signer(peer)
        assert OTHER == key
        if target == b"/held":
            peer.send(OK)
            assert b"ok" == poll.read_response().body
        else:
            peer.send(b"HTTP/1.1 200 OK\r\nGrip-Hold: stream\r\nGrip-Channel: news\r\nContent-Length: 5\r\n\r\nagain")
            assert b"again" == stream.read_chunk()
    assert not first.is_asked(0)


def events(body: bytes) -> bytes:
    """A response of WebSocket events."""
    fields = b"Content-Type: application/websocket-events\r\nSec-WebSocket-Extensions: grip\r\n"
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (fields, len(body), body)


def opened(client: Connection, backend: RawBackend) -> tuple[Peer, bytes, str]:
    """Open a WebSocket; return the backend's connection, and the target and the key of the request there."""
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(client.upgrade, "/ws", host="a.test")
        peer = backend.accept()
        target, key = signer(peer)
        peer.send(events(b"OPEN\r\n"))
        assert 101 == opening.result().status
    return peer, target, key


def test_websockets_go_on_with_the_backend_of_now(
    start: Callable[..., House], backends: tuple[RawBackend, RawBackend]
) -> None:
    first, second = backends
    house = start(realm(KEY) + route(first, "a.test", id="a"))
    client = Connection("127.0.0.1", house.door.port)
    house.stack.callback(client.close)

    peer, target, key = opened(client, first)
    assert (b"/ws", KEY) == (target, key)

    house.reload(realm(OTHER) + route(second, "a.test", id="a"))
    client.send_text("hello")
    peer = second.accept()
    assert (b"/ws", OTHER) == signer(peer)
    peer.send(events(b"TEXT 5\r\nm:yes\r\n"))
    assert "yes" == client.read_text()


def test_a_smaller_limit_of_messages_is_for_websockets_that_are_open_too(
    start: Callable[..., House], backends: tuple[RawBackend, RawBackend]
) -> None:
    first, _ = backends
    house = start(realm(KEY) + route(first, "a.test"))
    clients = [Connection("127.0.0.1", house.door.port) for _ in range(2)]
    for client in clients:
        house.stack.callback(client.close)
    peer, _, _ = opened(clients[0], first)
    assert "limits.websocket_message" in house.reload(
        "[limits]\nwebsocket_message = 5\n" + realm(KEY) + route(first, "a.test")
    )
    peer.close()  # or it would be used again
    opened(clients[1], first)
    for client in clients:
        client.send_text("too long")
        assert 1009 == client.read_frame().code


def test_a_publisher_with_an_old_key_is_refused_in_the_middle_of_its_connection(
    start: Callable[..., House], backends: tuple[RawBackend, RawBackend]
) -> None:
    first, _ = backends
    house = start(realm(KEY) + route(first, "a.test"))
    client, _ = held(house, first, "stream")
    body = json.dumps({"items": [{"channel": "news", "http-stream": {"content": "x"}}]})
    connection = http.client.HTTPConnection("127.0.0.1", house.door.control_port, timeout=DEADLINE)

    def publish(key: str) -> int:
        token = jwt.encode({"iss": "default", "exp": int(time.time()) + 3600}, key, algorithm="HS256")
        connection.request("POST", "/publish/", body, {"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        response.read()
        return response.status

    with contextlib.closing(connection):
        assert [200, 401] == [publish(KEY), publish(OTHER)]
        own = connection.sock
        assert "realms: 0 added, 1 changed, 0 removed" in house.reload(realm(OTHER, KEY) + route(first, "a.test"))
        assert [200, 200] == [publish(KEY), publish(OTHER)]
        house.reload(realm(OTHER) + route(first, "a.test"))
        assert [401, 200] == [publish(KEY), publish(OTHER)]
        assert own is connection.sock
    assert [b"x"] * 4 == [client.read_chunk() for _ in range(4)]


def test_who_follows_the_subscriptions_with_an_old_key_is_let_go(
    start: Callable[..., House], backends: tuple[RawBackend, RawBackend]
) -> None:
    """With the next change of a channel; a key that comes beside the old one lets nobody go."""
    first, _ = backends
    house = start(realm(KEY) + route(first, "a.test"))
    connection = http.client.HTTPConnection("127.0.0.1", house.door.control_port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request("GET", "/subscriptions/stream/", headers={"Authorization": f"Bearer {KEY}"})
        response = connection.getresponse()
        assert '"channel":""' in response.readline().decode()
        house.reload(realm(OTHER, KEY) + route(first, "a.test"))
        held(house, first, "stream", channel="one")
        assert '"channel":"one"' in response.readline().decode()
        house.reload(realm(OTHER) + route(first, "a.test"))
        held(house, first, "stream", channel="two")
        assert b"" == response.readline()


def test_a_file_with_a_fault_changes_nothing(
    start: Callable[..., House], backends: tuple[RawBackend, RawBackend]
) -> None:
    """Not the part before the fault either."""
    first, second = backends
    house = start(route(first, "a.test"))
    client, _ = held(house, first, "stream")
    fault = route(second, "a.test") + "[realms.default]\nkey = 'hex:x'\n"
    line = house.reload(fault)
    assert line.endswith(
        "ERROR   gripproxy.reload: not reloaded after SIGHUP, everything goes on as before: "
        f"{house.file}: realms.default.key: the key is not valid hex"
    )
    assert b"ok" == answer(house, first, "a.test")
    assert 200 == house.publish({"http-stream": {"content": "x"}})
    assert b"x" == client.read_chunk()
    assert 1 == house.door.metric('gripproxy_config_reloads_total{result="refused"}')
    assert (422, f"{house.file}: realms.default.key: the key is not valid hex\n") == house.control("/reload/")


def test_it_is_asked_for_at_the_control_door(
    start: Callable[..., House], backends: tuple[RawBackend, RawBackend]
) -> None:
    first, _ = backends
    house = start(route(first, "a.test"))
    assert (200, "Reloaded: nothing to change.\n") == house.control("/reload/")
    assert 403 == house.control("/reload/", Origin="http://a.test")[0]
    before = house.door.metric("gripproxy_config_last_reload_success_timestamp_seconds")
    assert time.time() - 60 < before <= time.time()

    house.head = house.head.replace('listen = ["', f'listen = ["127.0.0.1:{free_port()}", "')
    house.write("[limits]\nconnections = 2\n" + realm(KEY) + route(first, "a.test"))
    status, text = house.control("/reload/")
    assert (200, "Reloaded: realms: ") == (status, text[: len("Reloaded: realms: ")])
    assert text.endswith("limits.connections. A restart is needed for server.listen.\n")
    assert "WARNING gripproxy.reload: a restart is needed for what has changed of server.listen" in house.line(
        "restart"
    )
    assert 401 == house.control("/reload/")[0]
    assert 200 == house.control("/reload/", Authorization=f"Bearer {KEY}")[0]
    clients = [house.connect() for _ in range(3)]
    assert 503 == clients[2].ask("a.test").read_response().status


def test_the_log_changes_its_form(start: Callable[..., House], backends: tuple[RawBackend, RawBackend]) -> None:
    first, _ = backends
    house = start(route(first, "a.test"))
    line = house.reload("[log]\njson = true\naccess = true\n" + route(first, "a.test"))
    assert "log.access, log.json" in json.loads(line)["message"]
    answer(house, first, "a.test")
    assert "route=a.test/ 200" in json.loads(house.line("gripproxy.access"))["message"]


def test_who_is_trusted_changes(start: Callable[..., House], backends: tuple[RawBackend, RawBackend]) -> None:
    first, _ = backends
    house = start(route(first, "a.test"))

    def forwarded() -> list[bytes]:
        client = house.connect().ask("a.test", "/", "GET", "X-Forwarded-For: 192.0.2.1")
        peer = first.accept()
        request = peer.read_request()
        peer.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert b"ok" == client.read_response().body
        return request.values(b"X-Forwarded-For")

    assert [b"127.0.0.1"] == forwarded()
    house.head += 'trusted_proxies = "127.0.0.0/8"\n'
    assert "server.trusted_proxies" in house.reload(route(first, "a.test"))
    assert [b"192.0.2.1, 127.0.0.1"] == forwarded()


def test_it_stops_within_the_time_of_now(start: Callable[..., House], backends: tuple[RawBackend, RawBackend]) -> None:
    first, _ = backends
    house = start(route(first, "a.test"), "shutdown_timeout = 600\n")
    house.head = house.head.replace("600", "0")
    assert "server.shutdown_timeout" in house.reload(route(first, "a.test"))
    house.connect().ask("a.test")
    first.accept().read_request()  # and it never answers
    house.door.process.signal(signal.SIGTERM)
    assert 0 == house.door.process.wait(2 + DEADLINE)
    assert "cut what was still under way: requests of 1 clients" in house.door.process.output()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path)


def peer_names(client: Client) -> list[str]:
    """The hosts of the certificate that a client was given."""
    assert isinstance(client.socket, ssl.SSLSocket)
    certificate: Any = client.socket.getpeercert()
    return [name for _, name in certificate["subjectAltName"]]


def test_certificates_by_name_are_replaced_under_held_streams(
    start: Callable[..., House], backends: tuple[RawBackend, RawBackend], authority: Authority
) -> None:
    first, _ = backends
    files = [authority.sign("one", "localhost", "one.test"), authority.sign("two", "two.test", "*.two.test")]
    house = start(route(first, "*"), f"certificate = {json.dumps(files)}\n")
    trust = ssl.create_default_context(cafile=authority.file)
    streams = []
    for name in ("one.test", "two.test", "a.two.test"):
        client = house.connect(name, trust).ask(name)
        peer = first.accept()
        peer.read_request()
        peer.send(hold("stream"))
        client.read_head()
        assert b"ok" == client.read_chunk()
        assert name in peer_names(client) or f"*.{name.partition('.')[2]}" in peer_names(client)
        streams.append(client)
    with pytest.raises(ssl.SSLCertVerificationError):
        house.connect("b.a.two.test", trust)
    left = house.door.metric(f'gripproxy_certificate_expiry_seconds{{file="{files[1]}"}}')
    assert 0 < left <= 86_400

    new = Path(authority.sign("two", "two.test", "three.test"))
    new.replace(files[1])
    assert f"files: {files[1]}" in house.reload()
    assert ["two.test", "three.test"] == peer_names(house.connect("three.test", trust))
    assert "one.test" in peer_names(house.connect("one.test", trust))
    assert 200 == house.publish({"http-stream": {"content": "x"}})
    assert [b"x"] * 3 == [client.read_chunk() for client in streams]
    assert "Traceback" not in house.door.process.output()


def test_files_of_tls_towards_backends_are_read_again(
    start: Callable[..., House], tmp_path: Path, authority: Authority
) -> None:
    """A backend with a certificate of another authority is trusted once the file says so."""
    (tmp_path / "other").mkdir()
    other = make_authority(tmp_path / "other", "other")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(Path(authority.file).read_bytes())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(other.sign("backend", "127.0.0.1"))
    with RawBackend(tls=context) as backend:
        settings = {"backends": [f"https://127.0.0.1:{backend.port}"], "ca": str(trusted)}
        house = start(route(backend, "a.test", **settings))
        client = house.connect().ask("a.test")
        with pytest.raises(ssl.SSLError):
            backend.accept()
        assert 502 == client.read_response().status

        trusted.write_bytes(Path(other.file).read_bytes())
        assert f"files: {trusted}" in house.reload()
        assert b"ok" == answer(house, backend, "a.test")


def test_a_watched_file_is_read_when_a_link_leads_elsewhere(
    processes: Processes, stack: contextlib.ExitStack, tmp_path: Path, backends: tuple[RawBackend, RawBackend]
) -> None:
    """As Kubernetes replaces what a volume holds: `config.toml -> ..data/config.toml`, `..data -> ..NUMBER`."""
    first, _ = backends
    listen, control = free_port(), free_port()
    volume = tmp_path / "volume"

    def swap(number: int, key: str, toml: str) -> None:
        folder = volume / f"..{number}"
        folder.mkdir(parents=True)
        (folder / "realm.key").write_text(key)
        (folder / "config.toml").write_text(toml)
        link = volume / "..new"
        link.symlink_to(folder.name)
        link.replace(volume / "..data")

    toml = f'[server]\nlisten = "127.0.0.1:{listen}"\nwatch = true\n[control]\nlisten = "127.0.0.1:{control}"\n'
    toml += '[realms.default]\nkey = "file:realm.key"\n' + route(first, "a.test")
    swap(1, KEY, toml)
    for name in ("config.toml", "realm.key"):
        (volume / name).symlink_to(f"..data/{name}")
    command = (sys.executable, "-m", "gripproxy", "run", "--config", str(volume / "config.toml"))
    process = processes.start("proxy", *command, environment={"PYTHONPATH": str(ROOT)}, ports=[listen, control])
    house = House(Door(process, listen, control), volume / "config.toml", "", stack)
    item = {"http-stream": {"content": "x"}}
    assert [200, 401] == [house.publish(item, key=key) for key in (KEY, OTHER)]

    began = time.monotonic()
    swap(2, OTHER, toml)
    line = house.line("reloaded after")
    assert time.monotonic() - began < 2 + 3  # and what a busy machine adds
    assert "reloaded after a change of files: realms: 0 added, 1 changed, 0 removed" in line
    assert [401, 200] == [house.publish(item, key=key) for key in (KEY, OTHER)]

    swap(3, OTHER, toml.replace("[control]", "[contro"))
    assert "ERROR" in house.line("not reloaded after a change of files")
    swap(4, OTHER, toml + route(first, "b.test"))
    assert "routes: 1 added, 0 changed, 0 removed" in house.line("routes: ")
    assert 1 == sum("not reloaded" in line for line in house.lines())


@pytest.mark.parametrize("is_there", [True, False])
def test_the_end_of_its_terminal_ends_what_was_started_by_hand(
    processes: Processes, is_there: bool, backends: tuple[RawBackend, RawBackend]
) -> None:
    """SIGHUP says that a terminal is gone, too; as long as it is there, it asks to read again."""
    ours, theirs = os.openpty()
    listen, control = free_port(), free_port()
    options = [
        "--backend",
        "http://127.0.0.1:1",
        "--listen",
        f"127.0.0.1:{listen}",
        "--control",
        f"127.0.0.1:{control}",
    ]
    # The terminal becomes its standard input; it has no terminal that would send the signal by itself.
    script = f"exec {sys.executable} -m gripproxy run {' '.join(options)} <{os.ttyname(theirs)}"
    process = processes.start(
        "proxy", "/bin/sh", "-c", script, environment={"PYTHONPATH": str(ROOT)}, ports=[listen, control]
    )
    os.close(theirs)
    if not is_there:
        os.close(ours)
    process.signal(signal.SIGHUP)
    if is_there:
        process.wait_for_output("reloaded after SIGHUP: nothing to change")
        os.close(ours)
    else:
        assert 0 == process.wait()


def test_systemd_is_told_of_its_start_its_reloads_and_its_end(
    processes: Processes, tmp_path: Path, backends: tuple[RawBackend, RawBackend]
) -> None:
    first, _ = backends
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(DEADLINE)
        door = start_door(processes, route(first, "*"), environment={"NOTIFY_SOCKET": systemd.getsockname()})
        assert b"READY=1" == systemd.recv(1000)
        began = time.monotonic_ns() // 1000
        door.process.signal(signal.SIGHUP)
        state, at = systemd.recv(1000).split(b"\n")
        assert (b"RELOADING=1", b"MONOTONIC_USEC") == (state, at.partition(b"=")[0])
        assert began <= int(at.partition(b"=")[2]) <= time.monotonic_ns() // 1000
        assert b"READY=1" == systemd.recv(1000)
        door.process.signal(signal.SIGTERM)
        assert b"STOPPING=1" == systemd.recv(1000)
        assert 0 == door.process.wait()


PROBE = """
import collections, gc, json, signal, sys
from gripproxy import collector
from gripproxy.__main__ import main

# What lives longer than this is frozen: if there are cycles in it, nothing frees it any more.
collector.ROUND = 0.005

def count(*_):
    gc.collect()
    gc.unfreeze()
    kinds = collections.Counter(type(one).__name__ for one in gc.get_objects())
    names = ("Route", "Target", "Signer", "Key", "Config", "Realm", "SSLContext", "Certificate", "Way", "Instructs",
             "Forwarding", "Publishers", "Routes", "Certificates", "Resolved", "Semaphore", "Future")
    print("objects " + json.dumps([sum(kinds.values()), {name: kinds[name] for name in names}]), flush=True)

signal.signal(signal.SIGUSR2, count)
sys.argv[1:] = ["run", "--config", sys.argv[1]]
main()
"""


class Greeter(BaseHTTPRequestHandler):
    """A backend that says yes to everything, once for each connection."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextlib.contextmanager
def https_backend(certificate: str) -> Iterator[ThreadingHTTPServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Greeter)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield server


def test_two_hundred_reloads_leave_nothing_behind(
    processes: Processes,
    stack: contextlib.ExitStack,
    tmp_path: Path,
    backends: tuple[RawBackend, RawBackend],
    authority: Authority,
) -> None:
    """Routes, keys and certificates change each time; a stream is held all the while."""
    first, _ = backends
    listen, control = free_port(), free_port()
    head = f'[server]\nlisten = "127.0.0.1:{listen}"\ncertificate = "{authority.sign("door", "localhost")}"\n'
    head += f'[control]\nlisten = "127.0.0.1:{control}"\n'
    secure = stack.enter_context(https_backend(authority.sign("backend", "127.0.0.1")))
    file = tmp_path / "config.toml"
    trust = authority.file

    def toml(number: int) -> str:
        settings = {"ca": trust, "backends": [f"https://127.0.0.1:{secure.server_port}"]}
        routes = [route(first, f"{name}{number}.test", **settings) for name in "abc"]
        return realm(f"{KEY} {number}") + "".join([route(first, "stays.test"), *routes])

    file.write_text(head + toml(0))
    command = (sys.executable, "-c", PROBE, str(file))
    process = processes.start("proxy", *command, environment={"PYTHONPATH": str(ROOT)}, ports=[listen, control])
    house = House(Door(process, listen, control), file, head, stack)
    trusted = ssl.create_default_context(cafile=trust)
    client = house.connect("localhost", trusted).ask("stays.test")
    peer = first.accept()
    peer.read_request()
    peer.send(hold("stream"))
    client.read_head()
    client.read_chunk()

    key = f"{KEY} 0"

    def reload(number: int) -> None:
        nonlocal key
        is_right = number % 10 != 0
        house.write(toml(number) if is_right else "[log")
        status, text = house.control("/reload/", Authorization=f"Bearer {key}")
        assert (200 if is_right else 422) == status, text
        if is_right:
            key = f"{KEY} {number}"
            # An https backend: the TLS context for it is made, and is to go again.
            asking = tls_client(listen, trusted).ask(f"a{number}.test")
            assert 200 == asking.read_response().status
            asking.close()

    def objects() -> tuple[int, dict[str, int]]:
        seen = len(process.output())
        process.signal(signal.SIGUSR2)
        total, kinds = json.loads(house.line("objects ", seen).partition(" ")[2])
        return total, kinds

    for number in range(1, 20):
        reload(number)
    before, descriptors = objects(), house.door.descriptors()
    for number in range(20, 200):
        reload(number)
    reload(201)
    after = objects()
    assert {} == {name: count for name, count in after[1].items() if count > before[1][name] + 5}
    assert abs(after[0] - before[0]) < 500
    assert abs(house.door.descriptors() - descriptors) <= 3
    assert 200 == house.publish({"http-stream": {"content": "x"}}, key=key)
    assert b"x" == client.read_chunk()
