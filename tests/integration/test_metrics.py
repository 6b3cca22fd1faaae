"""Counters that balance: what began is there or has ended, and nothing is counted twice or not at all."""

import json
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.request import ProxyHandler, build_opener

import pytest

from tests.integration.door import LABEL, Client, Door, route, start_door
from tests.integration.processes import Processes
from tests.integration.raw_backend import RawBackend
from tests.integration.serving import serving

ACTIONS = 120
PATIENCE = 15.0  # seconds until what follows from an action is counted

# What the backend answers to each path: status, fields, body.
ANSWERS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "/plain": (200, {}, b"ok"),
    "/missing": (404, {}, b"no"),
    "/error": (500, {}, b"my own"),
    "/malformed": (200, {"Grip-Hold": "sometimes", "Grip-Channel": "c"}, b""),
    "/poll": (200, {"Grip-Hold": "response", "Grip-Channel": "polls"}, b"nothing"),
    "/short": (200, {"Grip-Hold": "response", "Grip-Channel": "other", "Grip-Timeout": "1"}, b"nothing"),
    "/stream": (200, {"Grip-Hold": "stream", "Grip-Channel": "streams"}, b"begin\n"),
    "/slow": (200, {"Grip-Hold": "stream", "Grip-Channel": "slow"}, b"begin\n"),
}
OPEN = (200, {"Content-Type": "application/websocket-events", "Sec-WebSocket-Extensions": "grip"}, b"OPEN\r\n")


class Backend(BaseHTTPRequestHandler):
    """Answers by path, and counts."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[Counter[str]] = Counter()
    lock: ClassVar[threading.Lock] = threading.Lock()

    def do_GET(self) -> None:
        self._answer(*ANSWERS[self.path])

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(*OPEN)

    def _answer(self, status: int, fields: dict[str, str], body: bytes) -> None:
        with self.lock:
            self.asked[f"{status // 100}xx"] += 1
        self.send_response(status)
        for name, value in {**fields, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def backend() -> Iterator[ThreadingHTTPServer]:
    Backend.asked.clear()
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Backend)) as server:
        yield server


@pytest.fixture
def door(processes: Processes, backend: ThreadingHTTPServer) -> Door:
    with RawBackend() as dead:
        pass
    toml = "[control]\nlisten = '{control}'\ncanary_interval = 0.1\n[limits]\nunsent = 200000\n"
    routes = f'[[routes]]\nid = "all"\nbackends = ["http://127.0.0.1:{backend.server_port}"]\n'
    return start_door(processes, toml + routes + route(dead, "down.test", id="down"))


class Scrape:
    """The numbers of one moment."""

    def __init__(self, door: Door) -> None:
        with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{door.control_port}/metrics") as response:
            lines = response.read().decode().splitlines()
        found = [re.fullmatch(r"gripproxy_(\w+?)(?:\{(.*)\})? (\S+)", line) for line in lines]
        self._series = [(one[1], dict(LABEL.findall(one[2] or "")), float(one[3])) for one in found if one]

    def by(self, name: str, *labels: str, **given: str) -> dict[tuple[str, ...], float]:
        """Sums by the values of labels, those of 0 left out."""
        sums: Counter[tuple[str, ...]] = Counter()
        for found, values, number in self._series:
            if found == name and given.items() <= values.items():
                sums[tuple(values[label] for label in labels)] += number  # type: ignore[assignment]
        return {key: number for key, number in sums.items() if number}

    def sum(self, name: str, **given: str) -> float:
        return sum(self.by(name, **given).values())

    @property
    def differences(self) -> dict[tuple[str, ...], float]:
        """Holds that began, less those that are open and those that have ended, where that is not 0."""
        begun = Counter(self.by("holds_total", "route", "mode"))
        begun.subtract(self.by("connections", "route", "transport"))
        begun.subtract(self.by("disconnects_total", "route", "mode"))
        return {key: count for key, count in begun.items() if count and key != ("", "http")}


class Crowd:
    """Clients that do all kinds of things; what they did is counted here, too."""

    def __init__(self, door: Door, seed: int) -> None:
        self.door = door
        self.dice = random.Random(seed)
        self.requests: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.publishes = 0
        self.held: list[Client] = []
        self.actions: list[Callable[[], None]] = [
            *[lambda path=path: self.ask("any.test", path) for path in ("/plain", "/missing", "/error", "/malformed")],
            lambda: self.ask("down.test", "/plain"),
            *[lambda path=path: self.hold(path) for path in ("/poll", "/poll", "/short", "/stream", "/stream")],
            self.connect,
            self.leave,
            self.leave,
            lambda: self.publish("polls", {"http-response": {"body": "news"}}),
            lambda: self.publish("polls", {"http-response": {"action": "hint"}}),
            lambda: self.publish("streams", {"http-stream": {"content": "news\n"}}),
            lambda: self.publish("streams", {"http-stream": {"action": "close"}}),
        ]

    def play(self) -> None:
        for _ in range(ACTIONS):
            self.dice.choice(self.actions)()

    def ask(self, host: str, path: str) -> None:
        client = self.door.connect()
        status = client.ask(host, path).read_response().status
        self.requests["down" if host == "down.test" else "all"] += 1
        self.statuses[status] += 1
        client.close()

    def hold(self, path: str) -> Client:
        client = self.door.connect()
        client.ask("any.test", path)
        if path in ("/stream", "/slow"):
            assert 200 == client.read_head().status
        self.requests["all"] += 1
        self.held.append(client)
        return client

    def connect(self) -> None:
        client = self.door.connect()
        assert 101 == client.upgrade("/ws").status
        self.requests["all"] += 1
        self.held.append(client)

    def leave(self) -> None:
        if self.held:
            self.held.pop(self.dice.randrange(len(self.held))).close()

    def publish(self, channel: str, formats: object) -> None:
        client = Client(socket.create_connection(("127.0.0.1", self.door.control_port), 10), "control")
        body = json.dumps({"items": [{"channel": channel, "formats": formats}]}).encode()
        answer = client.ask("control", "/publish/", "POST", f"Content-Length: {len(body)}", body=body).read_response()
        assert 200 == answer.status
        self.publishes += 1
        client.close()

    def leave_all(self) -> None:
        for client in self.held:
            client.close()


def settled(door: Door, is_so: Callable[[Scrape], bool]) -> Scrape:
    """The numbers once something is so: what a client does is noticed a moment later."""
    end = time.monotonic() + PATIENCE
    while True:
        scrape = Scrape(door)
        if is_so(scrape):
            return scrape
        assert time.monotonic() < end, scrape._series
        time.sleep(0.05)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_began_is_open_or_has_ended_whatever_happens(door: Door, seed: int) -> None:
    crowd = Crowd(door, seed)
    crowd.play()
    slow = [crowd.hold("/slow") for _ in range(3)]
    for _ in range(80):
        crowd.publish("slow", {"http-stream": {"content": "x" * 100_000}})
    settled(door, lambda scrape: scrape.sum("disconnects_total", reason="slow") == len(slow))
    # Each request of a client is counted once, under its route.
    requests = {(name,): float(count) for name, count in crowd.requests.items()}
    scrape = settled(door, lambda scrape: requests == scrape.by("requests_total", "route"))
    assert {} == scrape.differences
    assert crowd.statuses[404] == scrape.sum("requests_total", status="4xx")
    assert crowd.statuses[500] + crowd.statuses[502] == scrape.sum("requests_total", status="5xx")
    assert crowd.statuses[502] == scrape.sum("failures_total")
    assert crowd.requests["down"] == scrape.sum("failures_total", route="down", cause="unreachable")

    crowd.leave_all()
    # The backend hears of WebSockets that are gone, too.
    settled(door, lambda scrape: scrape.sum("connections") == 0)
    scrape = settled(door, lambda scrape: scrape.sum("backend_requests_total", route="all") >= Backend.asked.total())
    assert {} == scrape.differences
    assert 0 == scrape.sum("subscriptions") == scrape.sum("channels")
    assert {} == scrape.by("connections", "route", "transport")
    # The backend has been asked as often as it says, but for clients that left before it was, or while it answered.
    answered = [scrape.sum("backend_requests_total", route="all", result=name) for name in ("2xx", "4xx", "5xx")]
    assert answered[1:] == [Backend.asked["4xx"], Backend.asked["5xx"]]
    left = scrape.sum("backend_requests_total", result="left")
    assert answered[0] <= Backend.asked["2xx"] <= answered[0] + left
    assert scrape.sum("backend_requests_total") == scrape.sum("backend_seconds_count")
    assert crowd.publishes == scrape.sum("publish_requests_total", status="200") == scrape.sum("publish_items_total")


def test_the_canary_is_seen_in_its_own_metrics_only(door: Door) -> None:
    scrape = settled(door, lambda scrape: scrape.sum("canaries_total", result="arrived") >= 3)
    names = ("subscriptions", "channels", "deliveries_total", "publish_requests_total", "publish_items_total")
    assert [0] * 5 == [scrape.sum(name) for name in names]
    assert 1 == scrape.sum("ready")
    assert scrape.sum("delivery_seconds_count") >= 3
    assert scrape.sum("connections_limit") > 0
