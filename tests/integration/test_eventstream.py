"""django-eventstream with storage behind the proxy: the library whose streams are the most reliable that GRIP knows."""

from __future__ import annotations

import itertools
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.conformance.client import Connection, fetch
from tests.integration.conftest import Proxy, start_proxy
from tests.integration.processes import Processes
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
APP = "tests.integration.eventstream_app"
DEADLINE = 15.0  # seconds until a test gives up on something that has to happen
NUMBERS = itertools.count(1)
PAGE = 100  # events that the library gives with one response


@dataclass(frozen=True, slots=True)
class Event:
    """A server-sent event."""

    type: str
    id: str | None
    data: str


class Stream:
    """A client of the stream, which reads as browsers do."""

    def __init__(self, port: int, *channels: str, last_id: str | None = None) -> None:
        self.connection = Connection("127.0.0.1", port, DEADLINE)
        query = urlencode([("channel", name) for name in channels])
        fields = [("Last-Event-ID", last_id)] if last_id is not None else []
        self.connection.request(f"/events/?{query}", fields=fields)
        head = self.connection.read_head()
        assert (200, "text/event-stream") == (head.status, head.value("Content-Type")), head
        self._text = ""
        self.last_id = last_id

    def read(self) -> Event | None:
        """The next event, None at the end; keep-alives are passed over."""
        while True:
            while "\n\n" not in self._text:
                try:
                    chunk = self.connection.read_chunk()
                except (EOFError, ConnectionError):
                    return None
                if not chunk:
                    return None
                self._text += chunk.decode()
            block, _, self._text = self._text.partition("\n\n")
            lines = [line.partition(":") for line in block.split("\n") if not line.startswith(":")]
            fields = {name: value.removeprefix(" ") for name, _, value in lines}
            if "id" in fields:
                self.last_id = fields["id"]
            if fields and fields.get("event") != "keep-alive":
                return Event(fields["event"], fields.get("id"), fields.get("data", ""))

    def open(self) -> Stream:
        """Read the event that the library begins each stream with."""
        assert Event("stream-open", None, "") == self.read()
        return self

    def messages(self, count: int) -> list[str]:
        """The data of the next messages."""
        found = []
        for _ in range(count):
            event = self.read()
            assert event is not None, found
            assert event.type == "message", event
            found.append(event.data)
        return found

    def close(self) -> None:
        self.connection.close()


@dataclass(slots=True)
class World:
    """The app behind a proxy, which can be stopped and started again at the same ports."""

    processes: Processes
    app_port: int
    port: int
    control_port: int
    proxy: Proxy
    streams: list[Stream] = field(default_factory=list)

    def stop_proxy(self) -> None:
        self.proxy.process.stop()

    def start_proxy(self) -> None:
        url = f"http://127.0.0.1:{self.app_port}"
        self.proxy = start_proxy(self.processes, url, listen=self.port, control=self.control_port)

    def ask(self, action: str, **query: str) -> None:
        """Have the app do something, without the proxy."""
        answer = fetch("127.0.0.1", self.app_port, f"/{action}/?{urlencode(query)}", deadline=DEADLINE)
        assert 200 == answer.status, answer

    def send(self, channel: str, data: str, **more: str) -> None:
        self.ask("send", channel=channel, data=data, **more)

    def stream(self, *channels: str, last_id: str | None = None) -> Stream:
        self.streams.append(Stream(self.port, *channels, last_id=last_id))
        return self.streams[-1]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("eventstream")
    app_port, port, control_port = free_port(), free_port(), free_port()
    environment = {"PYTHONPATH": str(ROOT), "GRIP_URL": f"http://127.0.0.1:{control_port}"}
    with Processes(folder) as processes:
        command = (sys.executable, "-m", APP, str(app_port), str(folder / "events.sqlite3"))
        processes.start("app", *command, environment=environment, ports=[app_port])
        proxy = start_proxy(processes, f"http://127.0.0.1:{app_port}", listen=port, control=control_port)
        yield World(processes, app_port, port, control_port, proxy)


@pytest.fixture
def channel(world: World) -> Iterator[str]:
    """A channel that no other test uses; streams end with the test."""
    yield f"channel{next(NUMBERS)}"
    for stream in world.streams:
        stream.close()
    world.streams.clear()


def test_ids_are_written_into_events(world: World, channel: str) -> None:
    """The library publishes templates; each client gets an id that says where it is on all of its channels."""
    other = f"{channel}/x y"
    stream = world.stream(channel, other).open()
    world.send(channel, "100% of it")
    world.send(other, "two\nlines")
    first, second = stream.read(), stream.read()
    assert first is not None
    assert second is not None
    assert ("message", "100% of it") == (first.type, first.data)
    assert {f"{channel}:1", f"{channel}/x%20y:0"} == set((first.id or "").split(","))
    assert {f"{channel}:1", f"{channel}/x%20y:1"} == set((second.id or "").split(","))


def test_users_are_skipped(world: World, channel: str) -> None:
    stream = world.stream(channel).open()
    world.send(channel, "not for you", skip="anonymous")
    world.send(channel, "for all")
    assert ["for all"] == stream.messages(1)


def test_events_that_were_not_published_are_recovered(world: World, channel: str) -> None:
    stream = world.stream(channel).open()
    world.send(channel, "1")
    assert ["1"] == stream.messages(1)
    world.ask("lose", channel=channel, data="2")
    world.ask("lose", channel=channel, data="3")
    world.send(channel, "4")
    assert ["2", "3", "4"] == stream.messages(3)
    world.send(channel, "5")
    assert ["5"] == stream.messages(1)


def test_a_client_that_comes_back_gets_what_it_missed(world: World, channel: str) -> None:
    """More than a page of it, and what is published meanwhile."""
    stream = world.stream(channel).open()
    world.send(channel, "0")
    assert ["0"] == stream.messages(1)
    stream.close()
    missed = 2 * PAGE + 20
    for number in range(1, missed):
        world.ask("lose", channel=channel, data=str(number))
    world.send(channel, str(missed))
    stream = world.stream(channel, last_id=stream.last_id).open()
    world.send(channel, str(missed + 1))
    assert [str(number) for number in range(1, missed + 2)] == stream.messages(missed + 1)


def test_nothing_is_lost_or_repeated_whenever_a_client_comes(world: World, channel: str) -> None:
    """Streams that come, go and come back while events are sent."""
    total = 80

    def send() -> None:
        for number in range(1, total + 1):
            world.send(channel, str(number))
            time.sleep(random.random() * 0.01)

    first = world.stream(channel).open()
    first.close()
    sending = threading.Thread(target=send)
    sending.start()
    last_id = f"{channel}:0"
    got: list[str] = []
    while len(got) < total:
        stream = world.stream(channel, last_id=last_id).open()
        got += stream.messages(min(random.randrange(1, 15), total - len(got)))
        last_id = stream.last_id or ""
        stream.close()
    sending.join()
    assert [str(number) for number in range(1, total + 1)] == got


def test_nothing_is_lost_or_repeated_over_restarts_of_the_proxy(world: World, channel: str) -> None:
    """What is sent while there is no proxy is stored; a client comes back with the id of what it saw last."""
    stop = threading.Event()
    sent = itertools.count(1)
    newest = 0

    def send() -> None:
        nonlocal newest
        while not stop.is_set():
            newest = next(sent)
            world.send(channel, str(newest))
            time.sleep(0.01)

    stream = world.stream(channel).open()
    sending = threading.Thread(target=send)
    sending.start()
    got: list[str] = []
    for _ in range(3):
        got += stream.messages(20)
        world.stop_proxy()
        while (event := stream.read()) is not None:
            got.append(event.data)
        stream.close()
        time.sleep(0.2)
        world.start_proxy()
        stream = world.stream(channel, last_id=stream.last_id).open()
    got += stream.messages(20)
    stop.set()
    sending.join()
    got += stream.messages(newest - len(got))
    assert [str(number) for number in range(1, newest + 1)] == got


def test_a_user_who_may_not_read_any_more_is_thrown_out(world: World, channel: str) -> None:
    """By an error event and the end of the stream; others stay."""
    leaving = world.stream(channel).open()
    staying = world.stream(f"{channel}-other").open()
    world.ask("forbid", channel=channel)
    event = leaving.read()
    assert event is not None
    assert ("stream-error", "error") == (event.type, event.id)
    assert leaving.read() is None
    world.send(f"{channel}-other", "still here")
    assert ["still here"] == staying.messages(1)
    refused = world.stream(channel).read()
    assert refused is not None
    assert "stream-error" == refused.type
