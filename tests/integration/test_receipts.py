"""What publishers are told beside "Published": who is there, who got it, and that it is too much."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.door import ROOT, Case, Client, Door, route, start_door
from tests.integration.processes import Processes
from tests.integration.raw_backend import DEADLINE, RawBackend
from tests.ports import free_port

HOLD = (
    b"HTTP/1.1 200 OK\r\nGrip-Hold: %b\r\nGrip-Channel: %b\r\nContent-Type: text/plain\r\n"
    b"Connection: close\r\nContent-Length: 2\r\n\r\nok"
)
OPEN = b"OPEN\r\nTEXT %x\r\n%b\r\n"
EVENTS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/websocket-events\r\nSec-WebSocket-Extensions: grip\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b"
)
HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)
KEY = "the secret of the realm, 32 bytes"
BACKLOG = 5_000
NOBODY = {"http-response": 0, "http-stream": 0, "ws-message": 0}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Door, RawBackend]]:
    with RawBackend() as backend, Processes(tmp_path_factory.mktemp("receipts")) as processes:
        toml = f'[limits]\nbacklog = {BACKLOG}\nunsent = 16777216\n[realms.keyed]\nkey = "{KEY}"\n'
        yield start_door(processes, toml + route(backend, "a.test")), backend


@pytest.fixture
def case(door: tuple[Door, RawBackend]) -> Iterator[Case]:
    door[0].new_log()
    current = Case(door[0], "a.test", door[1])
    yield current
    current.close()
    assert "Traceback" not in (log := door[0].new_log()), log


def hold(case: Case, mode: bytes, channel: bytes) -> Client:
    """A client that is held, with what its stream began with read."""
    client, _ = case.exchange(HOLD % (mode, channel))
    if mode == b"stream":
        client.read_head()
        assert b"ok" == client.read_chunk()
    return client


def hold_websocket(case: Case, channel: str) -> Client:
    client = case.ask("/", "GET", *HANDSHAKE)
    peer = case.backend.accept()
    peer.read_request()
    subscribe = b'c:{"type":"subscribe","channel":"%b"}' % channel.encode()
    body = OPEN % (len(subscribe), subscribe)
    peer.send(EVENTS % (len(body), body))
    assert 101 == client.read_head().status
    return client


def ask(
    case: Case, method: str, path: str, items: list[dict[str, Any]] | None = None, **fields: str
) -> tuple[int, Any]:
    """Status and answer; what is no JSON is text."""
    connection = http.client.HTTPConnection("127.0.0.1", case.door.control_port, timeout=DEADLINE)
    try:
        body = json.dumps({"items": items}) if items is not None else None
        connection.request(method, path, body, fields)
        response = connection.getresponse()
        text = response.read().decode()
        return response.status, json.loads(text) if text.startswith("{") else text
    finally:
        connection.close()


def item(channel: str, content: str = "x", **members: Any) -> dict[str, Any]:
    formats = {
        "http-response": {"body": content},
        "http-stream": {"content": content},
        "ws-message": {"content": content},
    }
    return {"channel": channel, "formats": formats, **members}


def wait_for_subscribers(case: Case, channel: str, expected: dict[str, int]) -> None:
    """A hold begins a moment after its client has read the head."""
    for _ in range(500):
        status, answer = ask(case, "GET", f"/channels/{channel}/")
        if answer["subscribers"] == {**NOBODY, **expected}:
            return
        threading.Event().wait(0.01)
    raise AssertionError((status, answer))


def test_a_receipt_counts_every_kind_of_client_and_is_given_when_all_is_written(case: Case) -> None:
    streams = [hold(case, b"stream", b"all") for _ in range(3)]
    filtered = hold(case, b"stream", b"all; filter=skip-self")
    poll = hold(case, b"response", b"all")
    client = hold_websocket(case, "all")
    expected = {"http-response": 1, "http-stream": 4, "ws-message": 1}
    wait_for_subscribers(case, "all", expected)

    status, receipt = ask(case, "POST", "/publish/?wait=written", [item("all", "news", id="1")])

    result = {"channel": "all", "id": "1", "result": "delivered", "receivers": expected}
    assert 200 == status
    assert {"message": "Published", "scope": "process", "timed_out": False, "items": [result]} == receipt
    for stream in (*streams, filtered):
        assert stream.readable(0)
        assert b"news" == stream.read_chunk()
    assert b"news" == poll.read_response().body
    assert "news" == client.read_text()
    client.close()
    assert b"DISCONNECT\r\n" == case.backend.accept().read_request().body


def test_a_receipt_tells_duplicates_and_what_waits(case: Case) -> None:
    stream = hold(case, b"stream", b"ordered")
    wait_for_subscribers(case, "ordered", {"http-stream": 1})
    batch = [
        item("ordered", "a", id="1"),
        item("ordered", "a", id="1"),
        item("ordered", "c", **{"id": "3", "prev-id": "2"}),
    ]

    status, receipt = ask(case, "POST", "/publish/?wait=queued", [*batch, item("nobody")])

    assert 200 == status
    assert ["delivered", "duplicate", "waiting", "delivered"] == [one["result"] for one in receipt["items"]]
    assert [1, 0, 0, 0] == [one["receivers"]["http-stream"] for one in receipt["items"]]
    assert b"a" == stream.read_chunk()


def test_without_being_asked_the_door_says_what_it_always_said(case: Case) -> None:
    assert (200, "Published\n") == ask(case, "POST", "/publish/", [item("nobody")])
    assert (200, {"message": "Published"}) == ask(
        case, "POST", "/publish/?x=1", [item("nobody")], Accept="application/json"
    )
    assert (400, "wait must be queued or written, not 'x'.\n") == ask(
        case, "POST", "/publish/?wait=x", [item("nobody")]
    )


def test_who_is_there(case: Case) -> None:
    for channel in (b"there-1", b"there-2", b"there-2"):
        hold(case, b"stream", channel)
    wait_for_subscribers(case, "there-1", {"http-stream": 1})
    wait_for_subscribers(case, "there-2", {"http-stream": 2})

    status, first = ask(case, "GET", "/channels/?prefix=there-&limit=1")
    assert (200, "there-1") == (status, first["next"])
    assert [{"channel": "there-1", "subscribers": {**NOBODY, "http-stream": 1}}] == first["channels"]
    _, second = ask(case, "GET", "/realm/default/channels/?prefix=there-&limit=1&after=there-1")
    assert [{"channel": "there-2", "subscribers": {**NOBODY, "http-stream": 2}}] == second["channels"]
    assert second["next"] is None

    assert 401 == ask(case, "GET", "/realm/keyed/channels/")[0]
    assert (200, []) == (
        (answer := ask(case, "GET", "/realm/keyed/channels/", Authorization=f"Bearer {KEY}"))[0],
        answer[1]["channels"],
    )


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/channels/%FF%00%0D", 200),
        (b"/channels/%ED%A0%80/", 200),
        (b"/channels/?prefix=%FF&after=%ED%A0%80&limit=1", 200),
        (b"/channels/?limit=%FF", 400),
        (b"/channels/?limit=" + b"9" * 5000, 400),
        (b"/channels/?" + b"a&" * 2000, 200),
        (b"/routes/?%", 200),
    ],
)
def test_odd_targets_are_answered(case: Case, target: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", case.door.control_port), DEADLINE) as connected:
        client = Client(connected, "a")
        client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target)
        assert status == client.read_response().status


def test_routes_are_told(case: Case) -> None:
    status, answer = ask(case, "GET", "/routes/")
    assert (200, "a.test") == (status, answer["routes"][0]["host"])


def post(items: list[dict[str, Any]]) -> bytes:
    body = json.dumps({"items": items}).encode()
    return b"POST /publish/ HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def test_too_much_that_is_not_written_is_refused_whole_and_taken_a_moment_later(case: Case) -> None:
    """Three publishes in one go: writing the first takes several turns of the loop, and the others come meanwhile."""
    streams = [hold(case, b"stream", b"much") for _ in range(6)]
    wait_for_subscribers(case, "much", {"http-stream": len(streams)})
    refused = case.door.metric('gripproxy_publish_requests_total{status="429"}')
    much = [{"channel": "much", "http-stream": {"content": "y" * 65_000}}] * 14
    with socket.create_connection(("127.0.0.1", case.door.control_port), DEADLINE) as connected:
        publisher = Client(connected, "a")
        publisher.send(post(much) + post([item("much", "refused")]) + post([item("much", "refused")]))
        answers = [publisher.read_response() for _ in range(3)]

    assert [200, 429, 429] == [answer.status for answer in answers]
    assert [None, "1", "1"] == [answer.value("Retry-After") for answer in answers]
    assert b"nothing was published" in answers[1].body
    for stream in streams:
        assert b"y" * 14 * 65_000 == stream.read_data(14 * 65_000)
    assert refused + 2 == case.door.metric('gripproxy_publish_requests_total{status="429"}')
    assert "429" in case.door.new_log()
    assert 0 == case.door.metric("gripproxy_backlog_bytes")
    assert 200 == ask(case, "POST", "/publish/?wait=written", [item("much", "end")])[0]
    assert b"end" == streams[0].read_chunk()


def test_a_publish_to_nobody_is_logged_once_and_counted(case: Case) -> None:
    before = case.door.metric("gripproxy_items_unheard_total")
    ask(case, "POST", "/realm/keyed/publish/", [item("hedaline-1")] * 2, Authorization=f"Bearer {KEY}")
    ask(case, "POST", "/realm/keyed/publish/", [item("hedaline-1")], Authorization=f"Bearer {KEY}")
    assert before + 3 == case.door.metric("gripproxy_items_unheard_total")
    line = "realm keyed: published to 1 channel that nobody has been subscribed to (hedaline-1): is the name right"
    assert 1 == case.door.new_log().count(line)


def command(*arguments: str) -> tuple[int, str]:
    """Exit code and output of `gripproxy publish`."""
    done = subprocess.run(
        [sys.executable, "-m", "gripproxy", "publish", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return done.returncode, done.stdout + done.stderr


def test_the_command_tells_who_got_it(case: Case) -> None:
    stream = hold(case, b"stream", b"command")
    wait_for_subscribers(case, "command", {"http-stream": 1})
    url = f"http://127.0.0.1:{case.door.control_port}"

    told = (0, "delivered: 0 http-response, 1 http-stream, 0 ws-message\n")
    assert told == command("command", "news", "--wait", "written", "--control", url)
    assert b"news\n" == stream.read_chunk()
    code, output = command("command", "more", "--wait", "queued", "--json", "--control", url)
    assert (0, "command") == (code, json.loads(output)["items"][0]["channel"])


def test_a_zeromq_input_is_not_read_while_too_much_waits(processes: Processes) -> None:
    """Nothing is lost: what is not read stays with the publisher."""
    zmq = pytest.importorskip("zmq")
    address = f"tcp://127.0.0.1:{free_port()}"
    with RawBackend() as backend, zmq.Context() as context:
        toml = f'[limits]\nbacklog = 1\n[zeromq]\npull = "{address}"\n'
        door = start_door(processes, toml + route(backend, "a.test"))
        case = Case(door, "a.test", backend)
        stream = hold(case, b"stream", b"pushed")
        wait_for_subscribers(case, "pushed", {"http-stream": 1})
        with context.socket(zmq.PUSH) as push:
            push.connect(address)
            for number in range(300):
                push.send(b"J" + json.dumps(item("pushed", f"{number},")).encode())
            expected = "".join(f"{number}," for number in range(300)).encode()
            got = b""
            while len(got) < len(expected):
                got += stream.read_chunk()
        assert expected == got
        assert 300 == door.metric('gripproxy_zeromq_messages_total{result="published"}')
        case.close()
