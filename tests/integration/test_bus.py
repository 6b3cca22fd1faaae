"""Several proxies with one bus, a real Redis that is restarted, killed and cut short."""

import contextlib
import http.client
import json
import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

import pytest

from tests.integration.certificates import make_authority
from tests.integration.conftest import ROOT, Proxy
from tests.integration.processes import Process, Processes
from tests.integration.serving import serving
from tests.integration.streams import Stream, holding_backend
from tests.ports import free_port

pytestmark = pytest.mark.requires_program("redis-server")

PASSWORD = "very-secret"
PATIENCE = 15.0  # seconds that a publisher repeats what was refused with 503


class Redis:
    """A Redis server; what it keeps is in its folder."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self._processes = processes
        self._folder = folder
        self.port = free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self.process: Process | None = None

    def start(self, *options: str) -> "Redis":
        keeping = options or ("--save", "", "--appendonly", "no")
        place = ("--port", str(self.port), "--bind", "127.0.0.1", "--requirepass", PASSWORD, "--dir", str(self._folder))
        self.process = self._processes.start("redis", "redis-server", *place, *keeping, ports=[self.port])
        return self

    def kill(self) -> None:
        assert self.process is not None
        self.process.signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def redis(processes: Processes, tmp_path: Path) -> Redis:
    """A Redis that is not started yet."""
    return Redis(processes, tmp_path)


@pytest.fixture
def backend() -> Iterator[str]:
    with holding_backend() as url:
        yield url


@pytest.fixture
def held_on() -> Iterator[Callable[[Proxy], Stream]]:
    """Gives a client that is held as a stream until the test ends."""
    with contextlib.ExitStack() as streams:

        def hold(proxy: Proxy) -> Stream:
            stream = Stream(proxy.url + "/c")
            streams.callback(stream.close)
            streams.callback(stream.response.close)
            return stream

        yield hold


@pytest.fixture
def node(processes: Processes, redis: Redis) -> Callable[..., Proxy]:
    """Starts a proxy that is on the bus; settings are variables without their prefix."""

    def start(backend_url: str, **settings: str) -> Proxy:
        listen, control = free_port(), free_port()
        addresses = ("--listen", f"127.0.0.1:{listen}", "--control", f"127.0.0.1:{control}", "--backend", backend_url)
        # Many canaries, as nothing else should be any different for them.
        settings = {"BUS__URL": redis.url, "CONTROL__CANARY_INTERVAL": "0.1", **settings}
        environment = {"PYTHONPATH": str(ROOT), **{f"GRIPPROXY__{name}": value for name, value in settings.items()}}
        command = (sys.executable, "-m", "gripproxy", "run", *addresses)
        process = processes.start("proxy", *command, environment=environment, ports=[listen, control])
        return Proxy(f"http://127.0.0.1:{listen}", f"http://127.0.0.1:{control}", process)

    return start


def post(proxy: Proxy, path: str, body: bytes = b"") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(proxy.control_url).netloc, timeout=10)
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


def publish(proxy: Proxy, *lines: str) -> int:
    items = [{"channel": "c", "http-stream": {"content": f"{line}\n"}} for line in lines]
    return post(proxy, "/publish/", json.dumps({"items": items}).encode()).status


def publish_for_sure(proxy: Proxy, line: str) -> bool:
    """Publish, and again where the proxy says that it was refused; tell whether the first try was taken."""
    end = time.monotonic() + PATIENCE
    is_first = True
    while publish(proxy, line) != 200:
        is_first = False
        assert time.monotonic() < end, "no publish is taken"
        time.sleep(0.1)
    return is_first


def wait_for(condition: Callable[[], bool], complaint: str, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, complaint
        time.sleep(0.02)


def metric(proxy: Proxy, name: str) -> float:
    text = build_opener(ProxyHandler({})).open(proxy.control_url + "/metrics", timeout=10).read().decode()
    return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"gripproxy_{name} "))


def wait_for_bus(*proxies: Proxy) -> None:
    for proxy in proxies:
        wait_for(lambda proxy=proxy: metric(proxy, "bus_up") == 1, "the bus is not up")  # type: ignore[misc]


def test_what_any_takes_reaches_the_clients_of_all_in_one_order(
    redis: Redis, node: Callable[[str], Proxy], backend: str, held_on: Callable[[Proxy], Stream]
) -> None:
    redis.start()
    nodes = [node(backend) for _ in range(3)]
    wait_for_bus(*nodes)
    streams = [held_on(one) for one in nodes]

    def publish_some(proxy: Proxy, name: str) -> None:
        for number in range(40):
            assert 200 == publish(proxy, f"{name}{number}", f"{name}{number}+")

    threads = [threading.Thread(target=publish_some, args=(one, name)) for one, name in zip(nodes, "xyz", strict=True)]
    for thread in threads:
        thread.start()
    got = [[stream.line().decode().strip() for _ in range(240)] for stream in streams]
    for thread in threads:
        thread.join()

    assert got[0] == got[1] == got[2]
    for name in "xyz":
        expected = [f"{name}{number}{end}" for number in range(40) for end in ("", "+")]
        assert expected == [line for line in got[0] if line.startswith(name)]
    for line in got[0]:  # a batch is not torn apart
        if line.endswith("+"):
            assert line[:-1] == got[0][got[0].index(line) - 1]
    assert PASSWORD not in "".join(one.process.output() for one in nodes)


@pytest.mark.parametrize("wait", ["queued", "written"])
def test_a_receipt_counts_the_clients_of_the_process_that_was_asked(
    redis: Redis, node: Callable[..., Proxy], backend: str, held_on: Callable[[Proxy], Stream], wait: str
) -> None:
    redis.start()
    first, second = node(backend), node(backend)
    wait_for_bus(first, second)
    streams = [held_on(first), held_on(first), held_on(second)]
    wait_for(lambda: [metric(one, "subscriptions") for one in (first, second)] == [2, 1], "nobody is held")
    connection = http.client.HTTPConnection(urlsplit(first.control_url).netloc, timeout=10)
    items = [{"channel": "c", "id": str(number % 2), "http-stream": {"content": "x\n"}} for number in range(3)]
    connection.request("POST", f"/publish/?wait={wait}", json.dumps({"items": items}))
    receipt = json.loads(connection.getresponse().read())
    connection.close()
    told = [(one["result"], one["receivers"]["http-stream"]) for one in receipt["items"]]
    assert [("delivered", 2), ("delivered", 2), ("duplicate", 0)] == told
    assert ("process", False) == (receipt["scope"], receipt["timed_out"])
    assert [b"x\n"] * 3 == [stream.line() for stream in streams]


def test_a_proxy_that_has_too_much_to_write_reads_on_later(
    redis: Redis, node: Callable[..., Proxy], backend: str, held_on: Callable[[Proxy], Stream]
) -> None:
    """Entries wait in Redis; nothing of them is lost, and the order stays."""
    redis.start()
    quick, full = node(backend), node(backend, LIMITS__BACKLOG="1")
    wait_for_bus(quick, full)
    stream = held_on(full)
    wait_for(lambda: metric(full, "subscriptions") == 1, "nobody is held")
    for number in range(100):
        assert 200 == publish(quick, f"{number}")
    assert [b"%d\n" % number for number in range(100)] == [stream.line() for _ in range(100)]


def test_a_restart_of_redis_loses_and_doubles_nothing(
    redis: Redis, node: Callable[[str], Proxy], backend: str, held_on: Callable[[Proxy], Stream]
) -> None:
    keeping = ("--appendonly", "yes", "--appendfsync", "always")
    redis.start(*keeping)
    first, second = node(backend), node(backend)
    wait_for_bus(first, second)
    streams = [held_on(first), held_on(second)]
    refused: list[str] = []

    def publish_all() -> None:
        for number in range(150):
            if not publish_for_sure((first, second)[number % 2], str(number)):
                refused.append(str(number))
            time.sleep(0.01)

    publisher = threading.Thread(target=publish_all)
    publisher.start()
    time.sleep(0.5)
    redis.kill()
    time.sleep(0.3)
    redis.start(*keeping)
    publisher.join()
    publish(first, "end")

    for stream in streams:
        lines: list[str] = []
        while (line := stream.line().decode().strip()) != "end":
            lines.append(line)
        # What was refused, because nobody could tell whether it had arrived, may come twice.
        assert [str(number) for number in range(150)] == list(dict.fromkeys(lines))
        assert {line for line in lines if lines.count(line) > 1} <= set(refused)


def test_what_redis_forgot_is_told_by_who_took_it(
    redis: Redis, node: Callable[[str], Proxy], backend: str, held_on: Callable[[Proxy], Stream]
) -> None:
    """A fail-over to a replica that was behind: acknowledged, in nobody's hands yet, and gone."""
    redis.start()
    taker, sleeper = node(backend), node(backend)
    wait_for_bus(taker, sleeper)
    streams = [held_on(taker), held_on(sleeper)]
    assert 200 == publish(taker, "before")
    assert [b"before\n"] * 2 == [stream.line() for stream in streams]
    sleeper.process.signal(signal.SIGSTOP)
    for number in range(20):
        assert 200 == publish(taker, str(number))
    redis.kill()
    redis.start()  # empty
    sleeper.process.signal(signal.SIGCONT)
    publish_for_sure(taker, "after")

    for stream in streams:
        assert [*map(str, range(20)), "after"] == [stream.line().decode().strip() for _ in range(21)]


class Name(socketserver.ThreadingTCPServer):
    """An address that leads to one Redis, and from some moment on to another; who is connected stays where he is."""

    daemon_threads = True

    def __init__(self, port: int, place: Redis) -> None:
        self.place = place
        super().__init__(("127.0.0.1", port), Passage)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Passage(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Name)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.server.place.port)) as other:
            threading.Thread(target=pass_on, args=(other, self.request), daemon=True).start()
            pass_on(self.request, other)


def pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_RDWR)


def test_a_fail_over_that_breaks_no_connection_is_followed(
    redis: Redis,
    processes: Processes,
    tmp_path: Path,
    node: Callable[..., Proxy],
    backend: str,
    held_on: Callable[[Proxy], Stream],
) -> None:
    """As with services that give the name to another: the old primary lives, is a replica, and cut off here."""
    import redis as library

    other = Redis(processes, tmp_path)
    with Name(free_port(), redis.start()) as name:
        url = redis.url.replace(f":{redis.port}/", f":{name.server_address[1]}/")
        one, two = node(backend, BUS__URL=url), node(backend, BUS__URL=url)
        wait_for_bus(one, two)
        streams = [held_on(one), held_on(two)]
        assert 200 == publish(one, "before")
        other.start()
        name.place = other
        with library.Redis.from_url(redis.url) as direct:
            direct.replicaof("127.0.0.1", "1")
        publish_for_sure(two, "after")

        for stream in streams:
            assert [b"before\n", b"after\n"] == [stream.line(), stream.line()]
        name.shutdown()


def test_what_each_gets_by_sub_is_for_its_own_clients(
    redis: Redis, node: Callable[..., Proxy], backend: str, held_on: Callable[[Proxy], Stream]
) -> None:
    """An XPUB sends to every proxy that has subscribers, so none of them has to tell the others."""
    zmq = pytest.importorskip("zmq")
    redis.start()
    places = [f"tcp://127.0.0.1:{free_port()}" for _ in range(2)]
    nodes = [node(backend, ZEROMQ__SUB=place) for place in places]
    wait_for_bus(*nodes)
    with zmq.Context() as context, context.socket(zmq.XPUB) as publisher:
        publisher.linger, publisher.rcvtimeo = 0, 10_000
        publisher.setsockopt(zmq.XPUB_VERBOSE, 1)
        for place in places:
            publisher.connect(place)
        streams = [held_on(one) for one in nodes]
        assert [b"\x01c", b"\x01c"] == [publisher.recv(), publisher.recv()]
        for line in (b"one", b"two"):
            publisher.send_multipart([b"c", b'J{"formats": {"http-stream": {"content": "%b\\n"}}}' % line])

        for stream in streams:
            assert [b"one\n", b"two\n"] == [stream.line(), stream.line()]
        assert 200 == publish(nodes[0], "end")
        for stream in streams:
            assert b"end\n" == stream.line()


def test_redis_may_want_tls_and_a_certificate_of_the_proxy(
    processes: Processes, tmp_path: Path, node: Callable[..., Proxy], backend: str, held_on: Callable[[Proxy], Stream]
) -> None:
    authority = make_authority(tmp_path)
    server, client = authority.sign("redis", "127.0.0.1"), authority.sign("proxy")
    port = free_port()
    tls = ("--tls-cert-file", server, "--tls-key-file", server, "--tls-ca-cert-file", authority.file)
    places = ("--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path))
    processes.start("redis", "redis-server", *places, *tls, ports=[port])
    query = f"ssl_ca_certs={authority.file}&ssl_certfile={client}&ssl_keyfile={client}"
    one = node(backend, BUS__URL=f"rediss://127.0.0.1:{port}/0?{query}")
    wait_for_bus(one)
    stream = held_on(one)

    assert 200 == publish(one, "over TLS")
    assert b"over TLS\n" == stream.line()


def test_without_redis_publishers_are_told_and_with_it_all_goes_on(
    redis: Redis, node: Callable[[str], Proxy], backend: str, held_on: Callable[[Proxy], Stream]
) -> None:
    one = node(backend)
    stream = held_on(one)

    response = post(one, "/publish/", b'{"items": [{"channel": "c", "http-stream": {"content": "lost\\n"}}]}')
    assert (503, "1") == (response.status, response.headers["Retry-After"])
    assert 0 == metric(one, "bus_up")
    redis.start()
    wait_for_bus(one)
    assert 200 == publish(one, "found")

    assert b"found\n" == stream.line()  # and not what was refused


def readiness(proxy: Proxy) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(proxy.control_url).netloc, timeout=10)
    connection.request("GET", "/ready")
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def test_a_proxy_is_ready_while_its_canaries_come_back(
    redis: Redis, node: Callable[[str], Proxy], backend: str
) -> None:
    """Without Redis, or while it hangs, load balancers send clients to others; the canaries of others say nothing."""
    one, two = node(backend), node(backend)
    assert 503 == readiness(one)[0]
    redis.start()
    for proxy in (one, two):
        wait_for(lambda proxy=proxy: readiness(proxy)[0] == 200, "it never was ready")  # type: ignore[misc]
    assert redis.process is not None
    redis.process.signal(signal.SIGSTOP)
    try:
        wait_for(lambda: readiness(one)[0] == 503, "it stayed ready")
        assert 0 == metric(one, "ready")
        assert "The bus does not take what is published.\n" == readiness(one)[1]
        assert "not ready for clients" in one.process.output()
    finally:
        redis.process.signal(signal.SIGCONT)
    wait_for(lambda: readiness(one)[0] == 200, "it never was ready again")
    for name in ("subscriptions", "channels", "publish_bytes_total", "duplicates_total"):
        assert 0 == metric(one, name)


class Poller(BaseHTTPRequestHandler):
    """A backend that holds every request as a long-poll, and counts."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(200)
        self.send_header("Grip-Hold", "response")
        self.send_header("Grip-Channel", "c")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def polls() -> Iterator[str]:
    """A backend of long-polls."""
    Poller.asked = 0
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Poller)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def held(proxy: Proxy) -> http.client.HTTPConnection:
    before = Poller.asked
    connection = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=10)
    connection.request("GET", "/")
    wait_for(lambda: Poller.asked > before, "the backend is not asked")
    return connection


def test_a_recovery_that_one_is_asked_for_is_everyones(redis: Redis, node: Callable[[str], Proxy], polls: str) -> None:
    redis.start()
    nodes = [node(polls), node(polls)]
    wait_for_bus(*nodes)
    clients = [held(one) for one in nodes]

    assert 200 == post(nodes[0], "/recover/").status

    wait_for(lambda: Poller.asked == 4, "the holds of both are not asked again")
    for client in clients:
        client.close()


def test_who_is_held_before_the_bus_is_there_asks_when_it_is(
    redis: Redis, node: Callable[[str], Proxy], polls: str
) -> None:
    """Others may have published by then, and this proxy begins to read behind that."""
    one = node(polls)
    client = held(one)
    redis.start()

    wait_for(lambda: Poller.asked == 2, "the hold is not asked again")
    assert 0 == metric(one, "bus_gaps_total")
    client.close()


def test_a_hole_is_noticed_and_the_holds_ask(redis: Redis, node: Callable[[str], Proxy], polls: str) -> None:
    import redis as library

    redis.start()
    publisher, sleeper = node(polls), node(polls)
    wait_for_bus(publisher, sleeper)
    assert 200 == publish(publisher, "one")
    client = held(sleeper)
    sleeper.process.signal(signal.SIGSTOP)
    assert 200 == publish(publisher, "two")  # to the one that sleeps it is sent still
    assert 200 == publish(publisher, "two and a half")
    direct = library.Redis.from_url(redis.url)
    newest = direct.xrevrange("gripproxy", count=1)
    direct.xdel("gripproxy", newest[0][0])
    direct.close()
    assert 200 == publish(publisher, "three")
    sleeper.process.signal(signal.SIGCONT)

    wait_for(lambda: Poller.asked == 2, "the hold is not asked again")
    assert (1, 0) == (metric(sleeper, "bus_gaps_total"), metric(publisher, "bus_gaps_total"))
    client.close()
