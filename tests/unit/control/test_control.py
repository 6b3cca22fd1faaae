"""The control door: what it checks, in which order, and what it hands to the bus."""

import asyncio
import json
import logging
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import HttpVersion11
from multidict import CIMultiDict

from gripproxy.audience import Audience
from gripproxy.auth import Publishers
from gripproxy.changes import Outcome
from gripproxy.config import Config, load
from gripproxy.control import Control, log_refusal
from gripproxy.control.request import NOT_FOUND, Target
from gripproxy.grip import wire
from gripproxy.grip.item import Item, parse_items
from gripproxy.hub import Hub
from gripproxy.metrics import Metrics
from gripproxy.receipts import DELIVERED, Receipt
from gripproxy.routes import Routes
from gripproxy.subscriptions import Subscriptions

BODY = b'{"items":[{"channel":"a","http-stream":{"content":"x"},"ws-message":{"content":"y"}}]}'


class Content:
    """A request body that is there, or comes in parts; ``error`` comes instead of the next part."""

    def __init__(self, parts: list[bytes], is_complete: bool = False, error: Exception | None = None) -> None:
        self.parts = list(parts)
        self.is_complete = is_complete
        self.error = error

    def is_eof(self) -> bool:
        return self.is_complete

    def read_nowait(self, size: int) -> bytes:
        assert -1 == size
        return b"".join(self.parts)

    async def readany(self) -> bytes:
        if self.error is not None:
            raise self.error
        return self.parts.pop(0) if self.parts else b""


class Writer:
    def __init__(self) -> None:
        self.written = b""

    async def write(self, data: bytes) -> None:
        self.written += data


class Protocol:
    def __init__(self) -> None:
        self.peername: Any = ("127.0.0.1", 40000)
        self.transport: Any = object()


@dataclass
class Request:
    """What the door uses of aiohttp's request."""

    raw_path: str = "/publish/"
    method: str = "POST"
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)
    content: Content = field(default_factory=lambda: Content([BODY], is_complete=True))
    content_length: int | None = None
    keep_alive: bool = True
    version: Any = HttpVersion11
    writer: Writer = field(default_factory=Writer)
    protocol: Protocol = field(default_factory=Protocol)
    query: dict[str, str] = field(default_factory=dict)


class Bus:
    """Keeps what is published, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.published: list[tuple[str, tuple[Item, ...]]] = []
        self.recovered: list[str] = []
        self.error = error
        self.is_full = False

    async def publish(self, realm: str, items: tuple[Item, ...], receipt: Receipt | None = None) -> None:
        if self.error is not None:
            raise self.error
        self.published.append((realm, items))
        if receipt is not None:
            for item in items:
                receipt.note(item, DELIVERED, {"http-response": 0, "http-stream": 1, "ws-message": 2})
            receipt.expect(0)

    async def recover(self, realm: str) -> None:
        if self.error is not None:
            raise self.error
        self.recovered.append(realm)

    async def run(self) -> None: ...

    async def close(self) -> None: ...


CONFIG = load(
    None,
    {},
    {
        "backend": "http://127.0.0.1:8000",
        "control.max_body": 1000,
        "realms": {"keyed": {"key": ["secret"]}, "small": {"max_item": 3}},
    },
)


class Door:
    """A control door with fakes around it."""

    def __init__(self, bus: Bus | None = None, config: Config = CONFIG) -> None:
        self.bus = bus or Bus()
        self.metrics = Metrics()
        self.reloaded = 0
        self.outcome = Outcome("applied", "Reloaded: log.level.")
        loop = asyncio.new_event_loop()
        loop.close()  # without linger nothing is left to wait for
        self.subscriptions = Subscriptions(loop, {("default", "a"): 1, ("keyed", "b"): 2}, 0.0, "ab")
        self.hub = Hub(loop, lambda subscriber, error: None)
        for realm, channel in (("default", "a"), ("keyed", "b")):
            self.hub.subscribe(object(), realm, channel, wire.CHUNK)  # type: ignore[arg-type]
        self.control = Control(
            config,
            Publishers(config),
            self.bus,
            self.metrics,
            lambda: 1_700_000_000.0,
            self.subscriptions,
            self.reload,
            Audience(self.hub),
            Routes(config, b"random"),
        )

    async def reload(self) -> Outcome:
        self.reloaded += 1
        return self.outcome

    def ask(self, raw_path: str, method: str = "POST", body: bytes = BODY, **fields: str) -> tuple[int, str]:
        """Return status and text; names of fields are written with underscores."""
        headers = CIMultiDict({name.replace("_", "-"): value for name, value in fields.items()})
        request = Request(raw_path, method, headers, Content([body], is_complete=True))
        return self.answer(request)

    def answer(self, request: Request) -> tuple[int, str]:
        async def handle() -> None:
            response: Any = await self.control.handle(request)  # type: ignore[arg-type]
            await response.prepare(request)
            await response.write_eof()

        asyncio.run(handle())
        head, _, body = request.writer.written.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), body.decode()


@pytest.mark.parametrize(
    ("path", "fields", "realm"),
    [
        ("/publish/", {}, "default"),
        ("/publish", {"Authorization": ""}, "default"),
        ("/realm/small/publish/", {"Authorization": "Bearer whatever"}, "small"),
        ("/realm/keyed/publish/", {"Authorization": "Bearer secret"}, "keyed"),
        ("/service/keyed/publish/", {"Fastly_Key": "secret"}, "keyed"),
        ("/realm/keyed/publish/", {"Authorization": "Bearer secret", "Origin": "http://a"}, "keyed"),
    ],
)
def test_items_go_to_the_realm_of_the_path(path: str, fields: dict[str, str], realm: str) -> None:
    door = Door()

    assert (200, "Published\n") == door.ask(path, **fields)
    assert [(realm, parse_items(BODY))] == door.bus.published


def test_json_is_answered_to_who_prefers_it() -> None:
    assert (200, '{"message":"Published"}\n') == Door().ask("/publish/", Accept="application/json")


@pytest.mark.parametrize(
    ("path", "method", "body", "fields", "status", "text"),
    [
        ("/", "GET", b"", {}, 200, "gripproxy control\n"),
        ("/", "BREW", b"", {"Accept": "image/png"}, 200, "gripproxy control\n"),
        ("/health", "GET", b"", {}, 200, "ok\n"),
        ("/health", "GET", b"", {"Accept": "application/json"}, 200, '{"message":"ok"}\n'),
        ("/ready", "GET", b"", {}, 200, "ready\n"),
        ("/ready", "HEAD", b"", {}, 200, ""),
        ("/nowhere", "GET", b"", {}, 404, f"{NOT_FOUND['nothing']}\n"),
        ("/nowhere", "GET", b"", {"Accept": "application/json"}, 404, f'{{"error":"{NOT_FOUND["nothing"]}"}}\n'),
        ("/publish/publish/", "POST", BODY, {}, 404, f"{NOT_FOUND['twice']}\n"),
        ("/realm/keyed/publish/publish/", "POST", BODY, {}, 404, f"{NOT_FOUND['twice']}\n"),
        (
            "/realm/keyed/publish/channel/", "POST", BODY, {}, 404,
            "Publishing to a channel's own URL (FPP) is not served; POST to /realm/NAME/publish/.\n",
        ),
        ("/realm/no\nsuch/publish/", "POST", BODY, {}, 404, "There is no realm 'no\\nsuch'.\n"),
        ("/publish", "GET", b"", {}, 405, "Method not allowed: GET.\n"),
        ("/metrics", "POST", b"", {}, 405, "Method not allowed: POST.\n"),
        (
            "/publish", "POST", BODY, {"Accept": "text/html"}, 406,
            "Not Acceptable. Supported formats are text/plain and application/json.\n",
        ),
        ("/realm/keyed/publish/", "POST", BODY, {}, 401, "credentials are missing\n"),
        (
            "/realm/keyed/publish/", "POST", BODY, {"Authorization": "Bearer wrong"}, 401,
            "the credentials are not those of the realm 'keyed'\n",
        ),
        ("/realm/keyed/recover/", "POST", b"", {}, 401, "credentials are missing\n"),
        (
            "/publish/", "POST", BODY, {"Origin": "http://evil.example"}, 403,
            "A request that a web page makes (it has Origin) needs credentials.\n",
        ),
        (
            "/publish/", "POST", BODY, {"Content_Type": "text/html"}, 415,
            "Content-Type 'text/html' is not JSON; send application/json.\n",
        ),
        ("/publish/", "POST", b"x" * 1001, {}, 413, "The body is larger than 1000 bytes (control.max_body).\n"),
        (
            "/realm/small/publish/", "POST", b'{"items":[{"channel":"a","http-stream":{"content":"1234"}}]}', {}, 413,
            "items[0]: a content is larger than 3 bytes (the realm's max_item).\n",
        ),
    ],
)  # fmt: skip
def test_each_request_gets_its_answer(
    path: str, method: str, body: bytes, fields: dict[str, str], status: int, text: str
) -> None:
    door = Door()

    assert (status, text) == door.ask(path, method, body, **fields)
    assert [] == door.bus.published


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b"{}", b'{"items":[{"channel":"a"}]}', b"\xff" * 9])
def test_a_malformed_batch_is_refused_whole(body: bytes) -> None:
    door = Door()

    status, text = door.ask("/publish/", body=body)

    assert 400 == status
    assert text.endswith("\n")
    assert [] == door.bus.published


@pytest.mark.parametrize(
    ("path", "second", "status", "place"),
    [
        ("/publish/", {"channel": "a", "formats": {"ws-message": {"content": 1}}}, 400,
         {"item": 1, "field": "formats.ws-message.content"}),
        ("/publish/", {"channel": "a"}, 400, {"item": 1}),
        ("/realm/small/publish/", {"channel": "a", "http-stream": {"content": "1234"}}, 413, {"item": 1}),
    ],
)  # fmt: skip
def test_json_says_which_item_is_wrong_and_where(
    path: str, second: dict[str, Any], status: int, place: dict[str, Any]
) -> None:
    batch = {"items": [{"channel": "a", "http-stream": {"content": "x"}}, second]}

    answered, text = Door().ask(path, body=json.dumps(batch).encode(), Accept="application/json")

    error = json.loads(text)
    assert (status, "items[1]" in error.pop("error"), place) == (answered, True, error)


def test_an_error_of_the_whole_batch_has_no_place() -> None:
    assert {"error"} == json.loads(Door().ask("/publish/", body=b"[]", Accept="application/json")[1]).keys()


def test_too_much_that_is_not_written_yet_refuses_a_publish() -> None:
    """Nothing of it is taken, and the publisher may repeat it soon."""
    door = Door()
    door.bus.is_full = True
    request = Request()

    status, text = door.answer(request)

    assert (429, True) == (status, text.endswith("(limits.backlog); nothing was published.\n"))
    assert b"\r\nRetry-After: 1\r\n" in request.writer.written
    assert b"\r\nConnection: keep-alive\r\n" in request.writer.written
    assert ([], 1) == (door.bus.published, door.metrics.publishes["429"])
    door.bus.is_full = False
    assert (200, "Published\n") == door.ask("/publish/")


@pytest.mark.parametrize("wait", ["queued", "written"])
def test_a_publisher_who_asks_gets_a_receipt(wait: str) -> None:
    """In JSON, since there is no other form of it."""
    door = Door()
    request = Request(f"/publish/?wait={wait}", query={"wait": wait})

    status, text = door.answer(request)

    item = {"channel": "a", "id": None, "result": "delivered"}
    receivers = {"http-response": 0, "http-stream": 1, "ws-message": 2}
    assert 200 == status
    assert [{**item, "receivers": receivers}] == json.loads(text)["items"]
    assert b"\r\nContent-Type: application/json\r\n" in request.writer.written
    assert (1, 1) == (len(door.bus.published), door.metrics.publishes["200"])


def test_a_receipt_of_another_kind_is_refused_before_anything_is_published() -> None:
    door = Door()
    request = Request("/publish/?wait=forever", query={"wait": "forever"})

    assert (400, "wait must be queued or written, not 'forever'.\n") == door.answer(request)
    assert [] == door.bus.published


NOBODY = '{"http-response":0,"http-stream":0,"ws-message":0}'
ONE = NOBODY.replace('"http-stream":0', '"http-stream":1')


@pytest.mark.parametrize(
    ("path", "fields", "status", "text"),
    [
        (
            "/channels/", {}, 200,
            f'{{"channels":[{{"channel":"a","subscribers":{ONE}}}],"next":null,"scope":"process"}}\n',
        ),
        ("/channels/a", {}, 200, f'{{"channel":"a","subscribers":{ONE},"scope":"process"}}\n'),
        ("/channels/b/", {}, 200, f'{{"channel":"b","subscribers":{NOBODY},"scope":"process"}}\n'),
        ("/realm/keyed/channels/", {}, 401, "credentials are missing\n"),
        ("/realm/keyed/channels/b", {}, 401, "credentials are missing\n"),
        (
            "/realm/keyed/channels/b", {"Authorization": "Bearer secret"}, 200,
            f'{{"channel":"b","subscribers":{ONE},"scope":"process"}}\n',
        ),
        ("/realm/none/channels/", {}, 404, "There is no realm 'none'.\n"),
        (
            "/channels/", {"Origin": "http://a"}, 403,
            "A request that a web page makes (it has Origin) needs credentials.\n",
        ),
    ],
)  # fmt: skip
def test_who_is_there_is_told_to_who_may_publish(path: str, fields: dict[str, str], status: int, text: str) -> None:
    assert (status, text) == Door().ask(path, "GET", b"", **fields)


def test_routes_are_told_on_this_machine_and_to_who_may_publish() -> None:
    door = Door()
    (route,) = json.loads(door.ask("/routes/", "GET")[1])["routes"]
    assert (["http://127.0.0.1:8000"], "*/") == (route["backends"], route["id"])

    request = Request("/routes/", "GET")
    request.protocol.peername = ("192.0.2.1", 40000)
    assert 403 == door.answer(request)[0]


def test_one_bad_item_refuses_the_batch_and_is_named() -> None:
    door = Door()
    batch = {"items": [{"channel": "a", "http-stream": {"content": "x"}}, {"http-stream": {"content": "x"}}]}

    status, text = door.ask("/publish/", body=json.dumps(batch).encode())

    assert 400 == status
    assert "items[1]" in text
    assert "'channel'" in text
    assert [] == door.bus.published


def test_credentials_are_checked_before_the_body() -> None:
    """A stranger must not make the proxy parse anything."""
    assert 401 == Door().ask("/realm/keyed/publish/", body=b"nonsense")[0]


def test_a_realm_without_key_takes_nothing_from_elsewhere() -> None:
    door = Door()
    request = Request(headers=CIMultiDict({"X-Forwarded-For": "127.0.0.1"}))
    request.protocol.peername = ("192.0.2.1", 40000)

    expected = (403, "the realm 'default' has no key, so only loopback is let in; give it one (realms.default.key)\n")
    assert expected == door.answer(request)
    assert [] == door.bus.published


def test_a_bad_token_is_challenged() -> None:
    door = Door()
    request = Request("/realm/keyed/publish/")

    door.answer(request)

    assert b'\r\nWWW-Authenticate: Bearer realm="keyed"\r\n' in request.writer.written


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ConnectionError("redis is gone"), "redis is gone"),
        (TimeoutError(), "TimeoutError"),
        (ZeroDivisionError("a defect"), "ZeroDivisionError"),
    ],
)
def test_a_bus_that_fails_may_be_asked_again_soon(error: Exception, cause: str) -> None:
    """Client libraries obey Retry-After, and pypubcontrol sleeps that long in the middle of a request."""
    door = Door(Bus(error))
    request = Request()

    status, text = door.answer(request)

    assert (503, f"The bus is unavailable ({cause}).\n") == (status, text)
    assert b"\r\nRetry-After: 1\r\n" in request.writer.written
    assert 1 == door.metrics.bus_errors


def test_a_cancelled_publish_is_not_answered() -> None:
    with pytest.raises(asyncio.CancelledError):
        Door(Bus(asyncio.CancelledError())).ask("/publish/")  # type: ignore[arg-type]


def test_the_configuration_is_read_again_when_asked() -> None:
    door = Door()

    assert (200, "Reloaded: log.level.\n") == door.ask("/reload/")
    assert 1 == door.reloaded


def test_a_proxy_that_stops_does_not_read_its_configuration() -> None:
    door = Door()
    door.control.unready = "The proxy is stopping."
    assert (503, 0) == (door.ask("/reload/")[0], door.reloaded)


def test_a_configuration_with_a_fault_is_told_to_who_asked() -> None:
    door = Door()
    door.outcome = Outcome("refused", "a.toml: log.levle: there is no such setting")

    assert (422, '{"error":"a.toml: log.levle: there is no such setting"}\n') == door.ask(
        "/reload/", Accept="application/json"
    )


@pytest.mark.parametrize(
    ("method", "fields", "peer", "key", "status"),
    [
        ("GET", {}, "127.0.0.1", None, 405),
        ("POST", {"Origin": "http://a"}, "127.0.0.1", None, 403),
        ("POST", {}, "192.0.2.1", None, 403),
        ("POST", {}, "127.0.0.1", "secret", 401),
        ("POST", {"Authorization": "Bearer wrong"}, "192.0.2.1", "secret", 401),
        ("POST", {"Authorization": "Bearer secret"}, "192.0.2.1", "secret", 200),
    ],
)
def test_only_who_may_publish_to_the_default_realm_has_it_read_again(
    method: str, fields: dict[str, str], peer: str, key: str | None, status: int
) -> None:
    """Not whoever is on this machine, where the realm has a key; and no web page."""
    config = CONFIG if key is None else load(None, {}, {"backend": "http://a", "realms": {"default": {"key": [key]}}})
    door = Door(config=config)
    request = Request("/reload/", method, CIMultiDict(fields), Content([], is_complete=True))
    request.protocol.peername = (peer, 1)

    assert status == door.answer(request)[0]
    assert (status == 200) == door.reloaded


def test_another_configuration_is_followed_from_the_next_request_on() -> None:
    door = Door()
    item = b'{"items":[{"channel":"a","http-stream":{"content":"1234"}}]}'
    assert 200 == door.ask("/publish/", body=item)[0]
    overrides = {"backend": "http://a", "control.max_body": len(item) - 1, "control.metrics": False}
    door.control.configure(load(None, {}, overrides))
    assert 413 == door.ask("/publish/", body=item)[0]
    assert 404 == door.ask("/metrics", "GET")[0]
    door.control.configure(load(None, {}, {"backend": "http://a", "realms": {"default": {"max_item": 3}}}))
    assert (413, True) == ((answer := door.ask("/publish/", body=item))[0], "max_item" in answer[1])


@pytest.mark.parametrize(("path", "realm"), [("/recover", "default"), ("/realm/small/recover/", "small")])
def test_recover_concerns_one_realm(path: str, realm: str) -> None:
    door = Door()

    assert (200, "Updated\n") == door.ask(path, body=b"")
    assert [realm] == door.bus.recovered


def test_a_recovery_that_the_bus_cannot_tell_is_not_answered_200() -> None:
    door = Door(Bus(ConnectionError("gone")))

    assert (503, "The bus is unavailable (gone).\n") == door.ask("/recover/")
    assert 1 == door.metrics.bus_errors


@pytest.mark.parametrize(
    ("path", "query", "fields", "status", "text"),
    [
        (
            "/subscriptions/items/", {}, {}, 200,
            '{"items":[{"channel":"a","state":"subscribed"}],"last_cursor":"YWJfMA=="}',
        ),
        ("/subscriptions/items/", {"since": "cursor:YWJfMA=="}, {}, 200, '{"items":[],"last_cursor":"YWJfMA=="}'),
        (
            "/subscriptions/items/", {"since": "cursor:x"}, {}, 404,
            "The changes since that cursor are not known; ask without since.\n",
        ),
        ("/realm/keyed/subscriptions/items/", {}, {}, 401, "credentials are missing\n"),
        ("/realm/keyed/subscriptions/stream/", {}, {}, 401, "credentials are missing\n"),
        (
            "/realm/keyed/subscriptions/items/", {}, {"Authorization": "Bearer secret"}, 200,
            '{"items":[{"channel":"b","state":"subscribed"}],"last_cursor":"YWJfMA=="}',
        ),
        ("/realm/none/subscriptions/stream/", {}, {}, 404, "There is no realm 'none'.\n"),
        (
            "/subscriptions/items/", {}, {"Origin": "http://a"}, 403,
            "A request that a web page makes (it has Origin) needs credentials.\n",
        ),
    ],
)  # fmt: skip
def test_subscriptions_are_told_to_who_may_publish(
    path: str, query: dict[str, str], fields: dict[str, str], status: int, text: str
) -> None:
    request = Request(path, "GET", CIMultiDict(fields), query=query)

    assert (status, text) == Door().answer(request)


def test_a_proxy_that_drains_is_not_ready_but_alive() -> None:
    door = Door()
    door.control.unready = "The proxy is stopping."

    assert (503, "The proxy is stopping.\n") == door.ask("/ready", "GET")
    assert (200, "ok\n") == door.ask("/health", "GET")
    assert (200, "Published\n") == door.ask("/publish/")


def test_a_proxy_whose_deliveries_are_in_doubt_is_not_ready() -> None:
    door = Door()
    door.control.doubt = lambda: "Deliveries are late."

    assert (503, "Deliveries are late.\n") == door.ask("/ready", "GET")
    assert (200, "ok\n") == door.ask("/health", "GET")

    door.control.doubt = lambda: ""
    assert (200, "ready\n") == door.ask("/ready", "GET")


def test_metrics_are_shown_on_this_machine() -> None:
    status, text = Door().ask("/metrics", "GET")

    assert 200 == status
    assert "gripproxy_build_info" in text


def test_metrics_are_shown_elsewhere_to_who_may_publish() -> None:
    door = Door()
    request = Request("/metrics", "GET")
    request.protocol.peername = ("192.0.2.1", 40000)

    assert 403 == door.answer(request)[0]


def test_metrics_can_be_switched_off() -> None:
    config = load(None, {}, {"backend": "http://127.0.0.1:8000", "control.metrics": False})

    assert (404, "Metrics are switched off (control.metrics).\n") == Door(config=config).ask("/metrics", "GET")


def test_publishes_are_counted() -> None:
    door = Door()
    door.ask("/publish/")
    door.ask("/publish/", body=b"nonsense")
    door.ask("/realm/keyed/publish/")
    door.ask("/health", "GET")

    metrics = door.metrics
    assert {"200": 1, "400": 1, "401": 1} == {status: count for status, count in metrics.publishes.items() if count}
    assert len(BODY) == metrics.publish_bytes
    assert (0, 1, 1) == tuple(
        metrics.publish_items[format_, "accepted"] for format_ in ("http-response", "http-stream", "ws-message")
    )


@pytest.mark.parametrize(
    ("is_kept", "fields", "status", "expected"),
    [
        (True, {}, 200, b"\r\nConnection: keep-alive\r\nKeep-Alive: timeout=75\r\n"),
        (False, {}, 200, b"\r\nConnection: close\r\n"),
        (True, {"Content-Type": "text/html"}, 415, b"\r\nConnection: keep-alive\r\nKeep-Alive: timeout=75\r\n"),
    ],
)
def test_how_long_a_connection_is_kept_is_announced(
    is_kept: bool, fields: dict[str, str], status: int, expected: bytes
) -> None:
    request = Request(headers=CIMultiDict(fields), keep_alive=is_kept)

    assert status == Door().answer(request)[0]
    assert expected in request.writer.written


def test_a_connection_is_not_kept_when_its_body_was_not_read() -> None:
    request = Request(content=Content([b"x"] * 1001))

    assert 413 == Door().answer(request)[0]
    assert b"\r\nConnection: close\r\n" in request.writer.written


def test_neither_bodies_nor_tokens_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        Door().ask("/publish/", body=b'{"items":[{"channel":"a","http-stream":{"content":"confidential"}}]}')
        Door().ask("/realm/keyed/publish/", Authorization="Bearer confidential")

    assert "published 1 items to ['a']" in caplog.text
    assert "refused to publish" in caplog.text
    assert "confidential" not in caplog.text


def test_a_post_to_an_unknown_url_is_logged_like_a_refused_publish(caplog: pytest.LogCaptureFixture) -> None:
    """Libraries tell nobody that GRIP_URL has a path too much."""
    Door().ask("/publish/publish/", body=BODY)
    Door().ask("/favicon.ico", "GET")

    (line,) = caplog.messages
    assert line.startswith("realm default: refused to publish for ")
    assert line.endswith(f": 404 {NOT_FOUND['twice']}")


def test_refusals_are_logged_with_what_was_refused_to_whom(caplog: pytest.LogCaptureFixture) -> None:
    """What a stranger sent is escaped: a line of the log is one line."""
    log_refusal(401, Target("publish", "a"), ("10.0.0.1", 1), "line\nbreak")
    log_refusal(404, Target("recover", "b\x1b" * 200), "", "no")

    first, second = caplog.records
    assert "realm a: refused to publish for 10.0.0.1: 401 line\\nbreak" == first.getMessage()
    assert ("a", "10.0.0.1", 401) == tuple(vars(first)[name] for name in ("realm", "peer", "status"))
    assert ("b\\x1b" * 50, "unix", 404) == tuple(vars(second)[name] for name in ("realm", "peer", "status"))
