"""The control door over real sockets: libraries, curl, and what a hostile or broken publisher sends."""

import base64
import gzip
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote, urlsplit

import jwt
import pytest
from gripcontrol import GripPubControl, HttpResponseFormat, HttpStreamFormat, WebSocketMessageFormat
from pubcontrol import Item, PubControlClient

from tests.integration.conftest import ROOT, Proxy
from tests.integration.processes import Processes
from tests.integration.streams import LIMIT, Stream, holding_backend
from tests.ports import free_port

KEY = b"the secret of the realm, 32 bytes"
OTHER_KEY = b"the secret of the other realm, so"
KEY_TEXT = "base64:" + base64.b64encode(KEY).decode()

CONFIG = f"""
[control]
max_body = 100000

[realms.keyed]
key = "{KEY_TEXT}"

[realms.other]
key = "{OTHER_KEY.decode()}"

[realms.small]
max_item = 10

[[routes]]
path = "/keyed"
realm = "keyed"
backends = ["http://127.0.0.1:1"]
"""


@pytest.fixture(scope="module")
def backend() -> Iterator[str]:
    with holding_backend() as url:
        yield url


@pytest.fixture(scope="module")
def proxy(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy with several realms; `/` holds for the realm default, `/keyed` for the realm keyed."""
    folder = tmp_path_factory.mktemp("control")
    config = folder / "gripproxy.toml"
    config.write_text(CONFIG.replace("http://127.0.0.1:1", backend) + f'\n[[routes]]\nbackends = ["{backend}"]\n')
    listen, control = free_port(), free_port()
    command = [sys.executable, "-m", "gripproxy", "run", "--config", str(config)]
    addresses = ["--listen", f"127.0.0.1:{listen}", "--control", f"127.0.0.1:{control}"]
    with Processes(folder) as processes:
        process = processes.start(
            "proxy", *command, *addresses, environment={"PYTHONPATH": str(ROOT)}, ports=[listen, control]
        )
        yield Proxy(f"http://127.0.0.1:{listen}", f"http://127.0.0.1:{control}", process)


@pytest.fixture
def hold(proxy: Proxy) -> Iterator[Callable[[str], Stream]]:
    """Holds a stream: `hold(path)`, whose last part is the channel."""
    streams: list[Stream] = []

    def start(path: str) -> Stream:
        streams.append(Stream(proxy.url + path))
        return streams[-1]

    yield start
    for stream in streams:
        stream.close()


def batch(content: str = "x\n", channel: str = "a") -> bytes:
    return json.dumps({"items": [{"channel": channel, "http-stream": {"content": content}}]}).encode()


def token(key: bytes = KEY, issuer: str = "keyed", age: float = 0) -> str:
    return jwt.encode({"iss": issuer, "exp": int(time.time()) + 3600 - age}, key, "HS256")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    fields: dict[str, str]
    text: str


def ask(proxy: Proxy, method: str, path: str, body: bytes | None = None, **fields: str) -> Answer:
    """One request on a connection of its own; names of fields are written with underscores."""
    connection = http.client.HTTPConnection(urlsplit(proxy.control_url).netloc, timeout=LIMIT)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in fields.items()})
        return read_answer(connection)
    finally:
        connection.close()


def read_answer(connection: http.client.HTTPConnection) -> Answer:
    response = connection.getresponse()
    text = response.read().decode()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, text)


class Raw:
    """A connection on which a test writes and reads bytes."""

    def __init__(self, proxy: Proxy) -> None:
        parts = urlsplit(proxy.control_url)
        assert parts.hostname is not None
        self.socket = socket.create_connection((parts.hostname, parts.port or 80), timeout=LIMIT)
        self.reader = self.socket.makefile("rb")

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def head(self) -> list[bytes]:
        """The lines of a head, without their line ends."""
        lines = []
        while (line := self.reader.readline()) not in (b"\r\n", b""):
            lines.append(line.rstrip(b"\r\n"))
        return lines

    def answer(self) -> tuple[int, bytes, list[bytes]]:
        """Status, body and head of the next answer."""
        head = self.head()
        assert head, "the connection was closed"
        length = next(int(line.split(b":")[1]) for line in head if line.lower().startswith(b"content-length:"))
        return int(head[0].split(b" ")[1]), self.reader.read(length), head

    def rest(self) -> bytes:
        """Everything until the door closes the connection; a reset is a way to close it."""
        try:
            return self.reader.read()
        except ConnectionError:
            return b""


def post(body: bytes, *fields: bytes, path: bytes = b"/publish/", version: bytes = b"1.1") -> bytes:
    lines = [b"POST %b HTTP/%b" % (path, version), b"Host: h", b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


CHUNKED_HEAD = b"POST /publish/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"


def is_alive(proxy: Proxy) -> bool:
    return Answer(200, {}, "Published\n").text == ask(proxy, "POST", "/publish/", batch()).text


# ---- what each request gets -----------------------------------------------------------------------------------------

BAD_ITEM = b'{"items":[{"channel":"a","http-stream":{"content":"x"}},%b]}'


@pytest.mark.parametrize(
    ("method", "path", "body", "fields", "status", "text"),
    [
        ("GET", "/", None, {}, 200, "gripproxy control\n"),
        ("POST", "/", b"", {}, 200, "gripproxy control\n"),
        ("GET", "/health", None, {}, 200, "ok\n"),
        ("GET", "/ready", None, {}, 200, "ready\n"),
        ("POST", "/publish", batch(), {}, 200, "Published\n"),
        ("POST", "/publish/", batch(), {}, 200, "Published\n"),
        ("POST", "/publish/?x=1", batch(), {}, 200, "Published\n"),
        ("POST", "/publish/", b'{"items":[]}', {}, 200, "Published\n"),
        ("POST", "/publish/", batch(), {"Accept": "application/json"}, 200, '{"message":"Published"}\n'),
        ("POST", "/publish/", batch(), {"Authorization": ""}, 200, "Published\n"),  # Go
        ("POST", "/publish/", batch(), {"Content_Type": "application/x-www-form-urlencoded"}, 200, "Published\n"),
        ("POST", "/realm/keyed/publish/", batch(), {"Authorization": f"Bearer {token()}"}, 200, "Published\n"),
        ("POST", "/service/keyed/publish/", batch(), {"Fastly_Key": token()}, 200, "Published\n"),
        ("POST", "/recover", b"", {}, 200, "Updated\n"),
        ("POST", "/recover/", b"", {"Accept": "application/json"}, 200, '{"message":"Updated"}\n'),
        ("POST", "/publish/", b'{"items":{}}', {}, 400, "Invalid format: items: must be a list, not an object\n"),
        ("POST", "/publish/", b"{}", {}, 400, "Invalid format: object does not contain 'items'\n"),
        ("POST", "/realm/keyed/publish/", batch(), {}, 401, "credentials are missing\n"),
        (
            "POST", "/realm/keyed/publish/", batch(), {"Accept": "application/json"}, 401,
            '{"error":"credentials are missing"}\n',
        ),
        (
            "POST", "/realm/keyed/publish/", batch(), {"Authorization": f"Bearer {token(age=7200)}"}, 401,
            "the token has expired\n",
        ),
        (
            "POST", "/realm/keyed/publish/", batch(), {"Authorization": f"Bearer {token(OTHER_KEY, 'other')}"}, 403,
            "the token is of another realm than 'keyed'\n",
        ),
        (
            "POST", "/publish/", batch(), {"Origin": "http://evil.example"}, 403,
            "A request that a web page makes (it has Origin) needs credentials.\n",
        ),
        ("POST", "/realm/nope/publish/", batch(), {}, 404, "There is no realm 'nope'.\n"),
        (
            "GET", "/favicon.ico", None, {}, 404,
            "Not Found. This is the control door, for publishers: POST /publish/. Clients connect to server.listen.\n",
        ),
        (
            "POST", "/publish/publish/", batch(), {}, 404,
            "Not Found. The control URL (GRIP_URL) has to end before /publish/, which libraries append.\n",
        ),
        (
            "POST", "/realm/keyed/publish/channel/", batch(), {}, 404,
            "Publishing to a channel's own URL (FPP) is not served; POST to /realm/NAME/publish/.\n",
        ),
        ("GET", "/publish", None, {}, 405, "Method not allowed: GET.\n"),
        ("PUT", "/recover", b"", {}, 405, "Method not allowed: PUT.\n"),
        (
            "POST", "/publish/", batch(), {"Accept": "text/html"}, 406,
            "Not Acceptable. Supported formats are text/plain and application/json.\n",
        ),
        (
            "POST", "/publish/", batch("x" * 100_000), {}, 413,
            "The body is larger than 100000 bytes (control.max_body).\n",
        ),
        (
            "POST", "/realm/small/publish/", batch("12345678901"), {}, 413,
            "items[0]: a content is larger than 10 bytes (the realm's max_item).\n",
        ),
        (
            "POST", "/publish/", batch(), {"Content_Type": "text/html"}, 415,
            "Content-Type 'text/html' is not JSON; send application/json.\n",
        ),
        (
            "POST", "/publish/", batch(), {"Content_Encoding": "compress"}, 415,
            "Content-Encoding 'compress' is not decoded; send gzip, deflate or none.\n",
        ),
    ],
)  # fmt: skip
def test_each_request_gets_its_answer(
    proxy: Proxy, method: str, path: str, body: bytes | None, fields: dict[str, str], status: int, text: str
) -> None:
    answer = ask(proxy, method, path, body, **fields)

    assert (status, text) == (answer.status, answer.text)


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (b"", ["Body is not valid JSON"]),
        (b"{", ["Body is not valid JSON"]),
        (b"\xff\xfe\x00", ["Body is not valid JSON"]),
        (b"[" * 50_000, ["Body is not valid JSON"]),
        (b"[]", ["Invalid format"]),
        (b"null", ["Invalid format"]),
        (BAD_ITEM % b"3", ["items[1]"]),
        (BAD_ITEM % b"{}", ["items[1]", "'channel'"]),
        (BAD_ITEM % b'{"channel":"b"}', ["items[1]", "no formats specified"]),
        (BAD_ITEM % b'{"channel":null,"http-stream":{"content":"x"}}', ["items[1]", "channel"]),
        (BAD_ITEM % b'{"channel":"b","http-stream":{}}', ["items[1]", "http-stream", "'content'"]),
        (BAD_ITEM % b'{"channel":"b","http-stream":{"content":3}}', ["items[1]", "http-stream", "content"]),
        (BAD_ITEM % b'{"channel":"b","meta":{"k":1},"http-stream":{"content":"x"}}', ["items[1]", "meta"]),
    ],
)
def test_a_malformed_batch_is_refused_and_says_where(proxy: Proxy, body: bytes, parts: list[str]) -> None:
    answer = ask(proxy, "POST", "/publish/", body, Content_Type="application/json")

    assert 400 == answer.status
    assert answer.text.endswith("\n")
    assert [] == [part for part in parts if part not in answer.text]


def test_nothing_of_a_refused_batch_is_delivered(proxy: Proxy, hold: Callable[[str], Stream]) -> None:
    stream = hold("/whole")
    items = [{"channel": "whole", "http-stream": {"content": "first\n"}}, {"channel": "whole"}]

    assert 400 == ask(proxy, "POST", "/publish/", json.dumps({"items": items}).encode()).status
    assert 200 == ask(proxy, "POST", "/publish/", batch("second\n", "whole")).status
    assert b"second\n" == stream.line()


@pytest.mark.parametrize(
    ("method", "path", "fields", "name", "value"),
    [
        ("POST", "/realm/keyed/publish/", {}, "www-authenticate", 'Bearer realm="keyed"'),
        ("GET", "/publish/", {}, "allow", "POST"),
        ("DELETE", "/health", {}, "allow", "GET, HEAD"),
        ("GET", "/health", {}, "content-type", "text/plain; charset=utf-8"),
        ("GET", "/health", {"Accept": "application/json"}, "content-type", "application/json"),
        ("GET", "/health", {}, "keep-alive", "timeout=75"),
        ("GET", "/metrics", {}, "content-type", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_answers_have_their_fields(
    proxy: Proxy, method: str, path: str, fields: dict[str, str], name: str, value: str
) -> None:
    assert value == ask(proxy, method, path, **fields).fields.get(name)


def test_the_realms_are_apart(proxy: Proxy, hold: Callable[[str], Stream]) -> None:
    stream = hold("/keyed/apart")

    assert 200 == ask(proxy, "POST", "/publish/", batch("of default\n", "apart")).status
    fields = {"Authorization": f"Bearer {token()}"}
    assert 200 == ask(proxy, "POST", "/realm/keyed/publish/", batch("of keyed\n", "apart"), **fields).status
    assert b"of keyed\n" == stream.line()


def test_publishes_and_refusals_are_counted(proxy: Proxy) -> None:
    def count() -> tuple[float, float]:
        lines = dict(line.rsplit(" ", 1) for line in ask(proxy, "GET", "/metrics").text.splitlines() if line[0] != "#")
        name = 'gripproxy_publish_requests_total{status="%d"}'
        return float(lines[name % 200]), float(lines[name % 401])

    published, refused = count()
    ask(proxy, "POST", "/publish/", batch())
    ask(proxy, "POST", "/realm/keyed/publish/", batch())

    assert (published + 1, refused + 1) == count()


# ---- connections ----------------------------------------------------------------------------------------------------


def test_a_connection_lives_through_answers_of_all_kinds(proxy: Proxy) -> None:
    connection = http.client.HTTPConnection(urlsplit(proxy.control_url).netloc, timeout=LIMIT)
    connection.connect()
    first = connection.sock
    found = []
    for path, body in [
        ("/publish/", batch()),
        ("/publish", b"{"),
        ("/nope", batch()),
        ("/realm/keyed/publish", batch()),
    ]:
        connection.request("POST", path, body)
        found.append(read_answer(connection).status)
    connection.request("HEAD", "/health")
    found.append(read_answer(connection).status)
    connection.request("POST", "/publish/", batch())
    found.append(read_answer(connection).status)

    assert [200, 400, 404, 401, 200, 200] == found
    assert first is connection.sock
    connection.close()


def test_pipelined_publishes_are_answered_and_delivered_in_order(proxy: Proxy, hold: Callable[[str], Stream]) -> None:
    stream = hold("/pipelined")
    with Raw(proxy) as raw:
        requests = [post(batch(f"{number}\n", "pipelined")) for number in range(100)]
        requests.insert(50, post(b"{"))
        raw.send(b"".join(requests))
        statuses = [raw.answer()[0] for _ in requests]

    assert [200] * 50 + [400] + [200] * 50 == statuses
    assert [b"%d\n" % number for number in range(100)] == [stream.line() for _ in range(100)]


@pytest.mark.parametrize(
    ("version", "field", "expected"),
    [
        (b"1.0", b"X: y", b"Connection: close"),
        (b"1.0", b"Connection: keep-alive", b"Connection: keep-alive"),
        (b"1.1", b"Connection: close", b"Connection: close"),
        (b"1.1", b"X: y", b"Connection: keep-alive"),
    ],
)
def test_a_connection_ends_when_the_client_wants_it(
    proxy: Proxy, version: bytes, field: bytes, expected: bytes
) -> None:
    with Raw(proxy) as raw:
        raw.send(post(batch(), field, version=version))
        status, _, head = raw.answer()
        assert 200 == status
        assert expected in head
        if expected.endswith(b"close"):
            assert b"" == raw.rest()
        else:
            raw.send(post(batch(), field, version=version))
            assert 200 == raw.answer()[0]


@pytest.mark.parametrize(
    "body",
    [
        chunks(batch("chunked\n", "chunked")),
        chunks(*[bytes([byte]) for byte in batch("chunked\n", "chunked")]),
        chunks(batch("chunked\n", "chunked"))[:-2] + b"Trailer: x\r\n\r\n",
        b"%x;extension=1\r\n%b\r\n0\r\n\r\n" % (len(batch("chunked\n", "chunked")), batch("chunked\n", "chunked")),
    ],
)
def test_chunked_bodies_are_taken(proxy: Proxy, hold: Callable[[str], Stream], body: bytes) -> None:
    """Pushpin answers these with 411."""
    stream = hold("/chunked")
    with Raw(proxy) as raw:
        raw.send(CHUNKED_HEAD + b"\r\n" + body)
        assert 200 == raw.answer()[0]
    assert b"chunked\n" == stream.line()


def test_a_body_may_come_byte_by_byte(proxy: Proxy) -> None:
    with Raw(proxy) as raw:
        raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post(batch()):
            raw.send(bytes([byte]))
        assert 200 == raw.answer()[0]


@pytest.mark.parametrize("encoding", [b"gzip", b"GZIP"])
def test_compressed_bodies_are_taken(proxy: Proxy, hold: Callable[[str], Stream], encoding: bytes) -> None:
    stream = hold("/compressed")
    with Raw(proxy) as raw:
        raw.send(post(gzip.compress(batch("compressed\n", "compressed")), b"Content-Encoding: " + encoding))
        assert 200 == raw.answer()[0]
    assert b"compressed\n" == stream.line()


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        (b"br", batch(), 415),
        (b"zstd", batch(), 415),
        (b"gzip", batch(), 400),
        (b"gzip", gzip.compress(batch(), mtime=0)[:-1], 400),
    ],
)
def test_what_cannot_be_decoded_is_refused_and_the_connection_goes_on(
    proxy: Proxy, encoding: bytes, body: bytes, status: int
) -> None:
    before = len(proxy.process.output())
    with Raw(proxy) as raw:
        raw.send(post(body, b"Content-Encoding: " + encoding))
        assert status == raw.answer()[0]
        raw.send(post(batch()))
        assert 200 == raw.answer()[0]
    assert "Traceback" not in proxy.process.output()[before:]


def test_a_client_that_waits_for_100_is_told_to_go_on(proxy: Proxy) -> None:
    head, _, body = post(batch(), b"Expect: 100-continue").partition(b"\r\n\r\n")
    with Raw(proxy) as raw:
        raw.send(head + b"\r\n\r\n")
        assert [b"HTTP/1.1 100 Continue"] == raw.head()
        raw.send(body)
        assert 200 == raw.answer()[0]


@pytest.mark.parametrize(
    ("field", "path", "status"),
    [
        (b"Expect: 100-continue", b"/realm/keyed/publish/", 401),
        (b"Expect: 100-continue\r\nX-Length: 1", b"/publish/", 413),
        (b"Expect: cake", b"/publish/", 417),
    ],
)
def test_a_client_that_waits_gets_a_refusal_instead(proxy: Proxy, field: bytes, path: bytes, status: int) -> None:
    length = 100_001 if status == 413 else 10
    with Raw(proxy) as raw:
        raw.send(b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n%b\r\n\r\n" % (path, length, field))
        assert status == raw.answer()[0]


# ---- hostile and broken ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),  # TLS
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: h\r\n\r\n",
        b"POST /publish/ HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        b"POST /publish/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5x\r\n\r\n",
        b"POST /publish/ HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"POST /publish/ HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /publish/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /publish/ HTTP/1.1\r\nHo st: h\r\n\r\n",
        b"POST /publish/ HTTP/1.1\r\nX: a\x00b\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 10_000 + b"\r\n",
        CHUNKED_HEAD + b"\r\nzz\r\n",
        CHUNKED_HEAD + b"\r\n-1\r\n",
        CHUNKED_HEAD + b"\r\nffffffffffffffffffffffff\r\n",
        CHUNKED_HEAD + b"\r\n5\r\nabcdefgh\r\n0\r\n\r\n",
        post(b"this is not gzip", b"Content-Encoding: gzip"),
        post(gzip.compress(batch())[:-12] + b"tampered with", b"Content-Encoding: gzip"),
    ],
)
def test_what_is_not_http_is_refused_and_the_connection_closed(proxy: Proxy, request_bytes: bytes) -> None:
    with Raw(proxy) as raw:
        try:
            raw.send(request_bytes)
            raw.socket.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass  # refused before it was all sent
        answer = raw.rest()

    assert answer.partition(b" ")[2][:3] in (b"400", b"413", b"431", b"")
    assert is_alive(proxy)


def test_random_bytes_do_no_harm(proxy: Proxy) -> None:
    chance = random.Random(1)
    for _ in range(50):
        noise = bytearray(post(batch()))
        for _ in range(chance.randrange(1, 20)):
            noise[chance.randrange(len(noise))] = chance.randrange(256)
        with Raw(proxy) as raw:
            raw.send(bytes(noise))
            raw.socket.shutdown(socket.SHUT_WR)
            answer = raw.rest()
        assert answer[9:10] in (b"2", b"4", b""), (noise, answer)
    assert is_alive(proxy)


@pytest.mark.parametrize("cut", [10, 60, -1])
def test_a_publisher_that_leaves_early_publishes_nothing(proxy: Proxy, hold: Callable[[str], Stream], cut: int) -> None:
    stream = hold("/early")
    with Raw(proxy) as raw:
        raw.send(post(batch("early\n", "early"))[:cut])
    assert 200 == ask(proxy, "POST", "/publish/", batch("late\n", "early")).status
    assert b"late\n" == stream.line()


def test_an_endless_body_is_refused_while_it_comes(proxy: Proxy) -> None:
    with Raw(proxy) as raw:
        raw.send(CHUNKED_HEAD + b"\r\n")
        try:
            for _ in range(20):
                raw.send(b"2710\r\n" + b" " * 10_000 + b"\r\n")
        except ConnectionError:
            pass
        status, body, head = raw.answer()

    assert (413, b"The body is larger than 100000 bytes (control.max_body).\n") == (status, body)
    assert b"Connection: close" in head


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of a process from /proc")
def test_a_gzip_bomb_is_refused_without_unpacking_it(proxy: Proxy) -> None:
    def peak() -> int:
        status = Path(f"/proc/{proxy.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))

    bomb = gzip.compress(b" " * 60_000_000, 9)
    before = peak()
    with Raw(proxy) as raw:
        raw.send(post(bomb, b"Content-Encoding: gzip"))
        assert 413 == raw.answer()[0]

    assert peak() - before < 20_000  # KiB


def test_a_slow_body_is_given_up(backend: str, processes: Processes) -> None:
    listen, control = free_port(), free_port()
    program = "import gripproxy.control.request as r; r.BODY_TIMEOUT = 0.2; from gripproxy.__main__ import main; main()"
    addresses = ["--listen", f"127.0.0.1:{listen}", "--control", f"127.0.0.1:{control}", "--backend", backend]
    environment = {"PYTHONPATH": str(ROOT)}
    process = processes.start(
        "proxy", sys.executable, "-c", program, "run", *addresses, environment=environment, ports=[listen, control]
    )
    with Raw(Proxy("", f"http://127.0.0.1:{control}", process)) as raw:
        raw.send(post(batch())[:-1])
        status, body, head = raw.answer()

    assert (408, b"The body did not arrive within 0.2 s.\n") == (status, body)
    assert b"Connection: close" in head


def test_refusals_do_not_flood_the_log(proxy: Proxy) -> None:
    for _ in range(30):
        ask(proxy, "POST", "/realm/other/publish/", batch())

    assert len([line for line in proxy.process.output().splitlines() if " 401 " in line]) <= 10


def test_malformed_requests_do_not_flood_the_log(proxy: Proxy) -> None:
    """Nor do they show what was sent: the malformed line may be the one with the token."""
    before = len(proxy.process.output())
    for _ in range(30):
        with Raw(proxy) as raw:
            raw.send(b"POST / HTTP/1.1\r\nAuthorization: Bearer confiden\x00tial\r\n\r\n")
            assert 400 == raw.answer()[0]

    output = proxy.process.output()[before:]
    assert "Traceback" not in output
    assert "confiden" not in output
    assert len([line for line in output.splitlines() if "malformed" in line]) <= 1


def test_no_key_and_no_token_is_in_the_log(proxy: Proxy) -> None:
    ask(proxy, "POST", "/realm/keyed/publish/", batch(), Authorization="Bearer not-a-good-token")

    output = proxy.process.output()
    assert [] == [secret for secret in (KEY.decode(), KEY_TEXT, "not-a-good-token") if secret in output]


# ---- libraries and tools --------------------------------------------------------------------------------------------


def test_pubcontrol_publishes_with_a_token(proxy: Proxy, hold: Callable[[str], Stream]) -> None:
    stream = hold("/keyed/library")
    client = PubControlClient(f"{proxy.control_url}/realm/keyed")
    client.set_auth_jwt({"iss": "keyed"}, KEY)
    client.publish("library", Item(HttpStreamFormat("published\n"), "1", None), blocking=True)
    client.close()

    assert b"published\n" == stream.line()


@pytest.mark.parametrize(("issuer", "key"), [("keyed", b"a key that is wrong, but long enough"), ("other", OTHER_KEY)])
def test_pubcontrol_is_told_that_its_token_is_wrong(proxy: Proxy, issuer: str, key: bytes) -> None:
    client = PubControlClient(f"{proxy.control_url}/realm/keyed")
    client.set_auth_jwt({"iss": issuer}, key)

    with pytest.raises(ValueError, match="the token"):
        client.publish("library", Item(HttpStreamFormat("x")), blocking=True)
    client.close()


def test_pubcontrol_publishes_in_batches_and_order(proxy: Proxy, hold: Callable[[str], Stream]) -> None:
    """Without `blocking` a thread of the library posts up to ten items at once."""
    stream = hold("/batches")
    client = PubControlClient(proxy.control_url)
    failures: list[Any] = []
    for number in range(100):
        client.publish(
            "batches", Item(HttpStreamFormat(f"{number}\n")), callback=lambda ok, text: ok or failures.append(text)
        )
    client.close()

    assert [b"%d\n" % number for number in range(100)] == [stream.line() for _ in range(100)]
    assert [] == failures


def test_gripcontrol_publishes_all_formats(proxy: Proxy, hold: Callable[[str], Stream]) -> None:
    stream = hold("/keyed/formats")
    grip = GripPubControl({"control_uri": f"{proxy.control_url}/realm/keyed", "control_iss": "keyed", "key": KEY})
    grip.publish_http_response("formats", HttpResponseFormat(code=200, body=b"\xff\xfe"), blocking=True)
    grip.publish_http_stream("formats", "all\n", blocking=True)
    grip.publish("formats", Item(WebSocketMessageFormat(b"\x00\xff", binary=True)), blocking=True)
    grip.publish_http_stream("formats", HttpStreamFormat(close=True), blocking=True)
    grip.close()

    assert b"all\n" == stream.line()
    assert b"" == stream.line()


@pytest.mark.requires_program("curl")
def test_curl_publishes_with_its_defaults(proxy: Proxy, hold: Callable[[str], Stream]) -> None:
    """Without options curl says that the data is a form."""
    stream = hold("/curl")
    command = ["curl", "-sS", "--fail-with-body", "--noproxy", "*", "-d", batch("by curl\n", "curl").decode()]
    done = subprocess.run([*command, f"{proxy.control_url}/publish/"], capture_output=True, text=True, timeout=30)

    assert (0, "Published\n") == (done.returncode, done.stdout)
    assert b"by curl\n" == stream.line()


@pytest.mark.requires_program("curl")
def test_a_unix_socket_counts_as_this_machine(backend: str, processes: Processes, tmp_path: Path) -> None:
    listen, path = free_port(), tmp_path / "control"
    command = [sys.executable, "-m", "gripproxy", "run", "--backend", backend]
    addresses = ["--listen", f"127.0.0.1:{listen}", "--control", f"unix:{path}"]
    processes.start(
        "proxy", *command, *addresses, environment={"PYTHONPATH": str(ROOT)}, ports=[listen]
    ).wait_for_output("control on")
    request = ["curl", "-sS", "--unix-socket", str(path), "-d", batch().decode(), "http://proxy/publish/"]
    done = subprocess.run(request, capture_output=True, text=True, timeout=30)

    assert "Published\n" == done.stdout


def command(*arguments: str, stdin: bytes = b"", **environment: str) -> tuple[int, str, str]:
    """Exit code and output of `gripproxy publish`."""
    done = subprocess.run(
        [sys.executable, "-m", "gripproxy", "publish", *arguments],
        input=stdin,
        capture_output=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_the_command_publishes(proxy: Proxy, hold: Callable[[str], Stream]) -> None:
    stream = hold("/command")

    published = (0, "Published\n", "")
    assert published == command("command", "an argument", "--control", proxy.control_url)
    assert published == command("command", "-", "--no-eol", "--control", proxy.control_url, stdin=b"standard input\n")
    assert published == command("command", "--close", GRIP_URL=proxy.control_url)
    assert [b"an argument\n", b"standard input\n", b""] == [stream.line() for _ in range(3)]


def test_the_command_signs_with_the_key_of_grip_url(proxy: Proxy, hold: Callable[[str], Stream]) -> None:
    stream = hold("/keyed/command")
    url = f"{proxy.control_url}/realm/keyed?iss=keyed&key={quote(KEY_TEXT)}"

    assert (0, "Published\n", "") == command("command", "signed", GRIP_URL=url)
    assert b"signed\n" == stream.line()


def test_the_command_says_why_it_failed(proxy: Proxy) -> None:
    url = f"{proxy.control_url}/realm/keyed/publish/"
    expected = (1, "", f"Error: {url} answered 401: credentials are missing\n")
    assert expected == command("a", "x", "--realm", "keyed", "--control", proxy.control_url)

    code, output, error = command("a", "x", "--control", f"http://127.0.0.1:{free_port()}")
    assert (1, "") == (code, output)
    assert error.startswith("Error: http://127.0.0.1:")
    assert "refused" in error
    assert 1 == error.count("\n")

    assert (2, "", "Error: --close takes no content\n") == command("a", "x", "--close")

    code, output, error = command("a", "x", "--control", proxy.control_url.replace("http:", "https:"))
    assert (1, "") == (code, output)
    assert error.endswith("; does it speak TLS at all, or is it http://?\n")


def test_the_command_doubts_that_a_door_which_answers_with_a_page_is_one() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.handle_request).start()
        url = f"http://127.0.0.1:{server.server_port}"
        code, output, error = command("a", "x", "--control", url)
    reason = "Unsupported method ('POST'); is this the control door, or the one for clients?"
    assert (1, "", f"Error: {url}/publish/ answered 501: {reason}\n") == (code, output, error)
