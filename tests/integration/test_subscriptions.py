"""The subscription monitor over real sockets: pubcontrol's own monitor, and raw requests."""

import http.client
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from gripcontrol import HttpStreamFormat
from pubcontrol import Item, PubControl, PubControlClient

from tests.integration.conftest import ROOT, Proxy
from tests.integration.processes import Processes
from tests.integration.streams import LIMIT, Stream, holding_backend
from tests.ports import free_port

# pubcontrol's monitor fails with anything but an opaque token: it looks for an attribute that it did not set.
KEY = "the key of the realm, as it is sent"

CONFIG = f"""
[limits]
subscription_linger = 0.2

[realms.keyed]
key = "{KEY}"

[[routes]]
realm = "keyed"
backends = ["BACKEND"]

[[routes]]
path = "/elsewhere"
backends = ["BACKEND"]
"""


@pytest.fixture(scope="module")
def backend() -> Iterator[str]:
    with holding_backend() as url:
        yield url


def start(processes: Processes, backend: str, listen: int, control: int) -> Proxy:
    config = processes.folder / "gripproxy.toml"
    config.write_text(CONFIG.replace("BACKEND", backend))
    command = [sys.executable, "-m", "gripproxy", "run", "--config", str(config)]
    ours = ["--listen", f"127.0.0.1:{listen}", "--control", f"127.0.0.1:{control}"]
    process = processes.start("proxy", *command, *ours, environment={"PYTHONPATH": str(ROOT)}, ports=[listen, control])
    return Proxy(f"http://127.0.0.1:{listen}", f"http://127.0.0.1:{control}", process)


@pytest.fixture(scope="module")
def proxy(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Processes(tmp_path_factory.mktemp("subscriptions")) as processes:
        yield start(processes, backend, free_port(), free_port())


def wait_until(condition: Callable[[], bool], what: object = "") -> None:
    limit = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < limit, what
        time.sleep(0.01)


class Monitored:
    """A pubcontrol client that publishes only to channels with subscribers, and what its monitor said."""

    def __init__(self, proxy: Proxy) -> None:
        self.changes: list[tuple[str, str]] = []
        self.client = PubControlClient(
            f"{proxy.control_url}/realm/keyed",
            require_subscribers=True,
            sub_callback=lambda change, channel: self.changes.append((change, channel)),
            auth_bearer=KEY,
        )

    def wait_for(self, change: str, channel: str) -> None:
        wait_until(lambda: (change, channel) in self.changes, self.changes)

    def publish(self, channel: str, text: str) -> None:
        self.client.publish(channel, Item(HttpStreamFormat(text)), blocking=True)

    def close(self) -> None:
        self.client.close()


def test_pubcontrol_publishes_to_channels_with_subscribers_alone(proxy: Proxy) -> None:
    with closing(Stream(f"{proxy.url}/early")) as early, closing(Monitored(proxy)) as monitored:
        monitored.wait_for("sub", "early")
        with closing(Stream(f"{proxy.url}/late")) as late, closing(Stream(f"{proxy.url}/elsewhere/other")):
            monitored.wait_for("sub", "late")
            for channel in ("early", "late", "nobody"):
                monitored.publish(channel, f"{channel}\n")

            assert (b"early\n", b"late\n") == (early.line(), late.line())
        monitored.wait_for("unsub", "late")
        with closing(Stream(f"{proxy.url}/later")) as later:
            monitored.wait_for("sub", "later")
            monitored.publish("later", "x\n")

            assert b"x\n" == later.line()
        assert ("sub", "other") not in monitored.changes


def test_pubcontrol_starts_over_when_the_proxy_is_another(processes: Processes, backend: str) -> None:
    """What the first proxy said counts no more, and the second one's subscribers are found."""
    ports = free_port(), free_port()
    first = start(processes, backend, *ports)
    with closing(Monitored(first)) as monitored:
        with closing(Stream(f"{first.url}/a")):
            monitored.wait_for("sub", "a")
            first.process.stop()
        second = start(processes, backend, *ports)
        monitored.wait_for("unsub", "a")
        with closing(Stream(f"{second.url}/b")) as stream:
            monitored.wait_for("sub", "b")
            monitored.publish("b", "x\n")

            assert b"x\n" == stream.line()


def test_gripcontrol_is_told_of_channels_by_the_names_in_the_control_uri(proxy: Proxy) -> None:
    changes: list[tuple[str, str]] = []
    config = {"uri": f"{proxy.control_url}/realm/keyed", "key": KEY, "require_subscribers": True}
    publisher = PubControl(config, sub_callback=lambda change, channel: changes.append((change, channel)))
    with closing(publisher), closing(Stream(f"{proxy.url}/config")) as stream:
        wait_until(lambda: ("sub", "config") in changes, changes)
        publisher.publish("config", Item(HttpStreamFormat("x\n")), blocking=True)

        assert b"x\n" == stream.line()


class Lines:
    """A raw client of the stream."""

    def __init__(self, proxy: Proxy, key: str = KEY) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(proxy.control_url).netloc, timeout=LIMIT)
        fields = {"Authorization": f"Bearer {key}"}
        self.connection.request("GET", "/realm/keyed/subscriptions/stream/", headers=fields)
        self.response = self.connection.getresponse()

    def line(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(self.response.readline())
        return line

    def close(self) -> None:
        self.response.close()
        self.connection.close()


def ask(proxy: Proxy, query: str = "") -> tuple[int, Any]:
    with closing(http.client.HTTPConnection(urlsplit(proxy.control_url).netloc, timeout=LIMIT)) as connection:
        fields = {"Authorization": f"Bearer {KEY}", "Accept": "*/*"}
        connection.request("GET", f"/realm/keyed/subscriptions/items/{query}", headers=fields)
        response = connection.getresponse()
        body = response.read()
        return response.status, json.loads(body) if response.status == 200 else body


def test_a_stream_and_the_items_fit_together(proxy: Proxy) -> None:
    with closing(Lines(proxy)) as lines:
        assert (200, "application/x-ndjson") == (lines.response.status, lines.response.getheader("Content-Type"))
        first = lines.line()
        assert first["prev_cursor"] == first["cursor"]
        with closing(Stream(f"{proxy.url}/fit")):
            change = lines.line()
            while change["item"]["channel"] != "fit":
                change = lines.line()
            assert {"channel": "fit", "state": "subscribed"} == change["item"]
            status, missed = ask(proxy, f"?since={quote('cursor:' + change['prev_cursor'])}")
            assert (200, change["item"]) == (status, missed["items"][0])
            assert change["item"] in ask(proxy)[1]["items"]
        item = lines.line()["item"]
        while item["channel"] != "fit":
            item = lines.line()["item"]

        assert "unsubscribed" == item["state"]


def test_a_cursor_of_another_process_means_to_start_over(proxy: Proxy) -> None:
    assert 404 == ask(proxy, "?since=cursor:eHlfMA%3D%3D")[0]


def test_a_wrong_key_is_refused(proxy: Proxy) -> None:
    with closing(Lines(proxy, "wrong")) as lines:
        assert 401 == lines.response.status


def test_who_leaves_the_stream_leaves_no_trace(proxy: Proxy) -> None:
    for _ in range(20):
        Lines(proxy).close()
    with closing(Lines(proxy)) as lines, closing(Stream(f"{proxy.url}/trace")):
        while lines.line()["item"]["channel"] != "trace":
            pass

    assert "Traceback" not in proxy.process.output()
    assert "rror" not in proxy.process.output()


def test_those_who_left_a_moment_ago_take_nobodys_place(proxy: Proxy) -> None:
    for _ in range(1010):
        lines = Lines(proxy)
        lines.close()
        assert 200 == lines.response.status


def test_streams_end_with_the_proxy(processes: Processes, backend: str, tmp_path: Path) -> None:
    proxy = start(processes, backend, free_port(), free_port())
    with closing(Lines(proxy)) as lines:
        lines.line()
        started = time.monotonic()
        assert 0 == proxy.process.stop()

        assert b"" == lines.response.read()
        assert time.monotonic() - started < LIMIT
        assert "Traceback" not in proxy.process.output()
