"""What the publishing libraries send reaches every kind of client, whatever way they authenticate."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import pytest
from gripcontrol import (
    GripPubControl,
    HttpResponseFormat,
    HttpStreamFormat,
    WebSocketMessageFormat,
    create_hold_response,
    create_hold_stream,
    parse_grip_uri,
)
from pubcontrol import Item

from tests.conformance.backend import Reply, control, events, opened
from tests.conformance.case import Case, held
from tests.conformance.client import Connection
from tests.conformance.frames import BINARY, CLOSE, TEXT
from tests.integration.libraries.conftest import Publishing, Run

OLD = "old.cjs"
NEW = "publish.mjs"
FIELDS = {"ETag": "1"}

Publish = Callable[..., None]


@pytest.fixture
def publish(publishing: Publishing) -> Iterator[Publish]:
    """Publish formats with gripcontrol to the realm of `jwt.test`; it returns when that is acknowledged."""
    publisher = GripPubControl(parse_grip_uri(publishing.urls["jwt"]))

    def send(channel: str, *formats: Any, **members: Any) -> None:
        publisher.publish(channel, Item(list(formats), **members), blocking=True)

    yield send
    publisher.close()


def stream(case: Case, channel: str, host: str = "jwt.test") -> Connection:
    case.answer(held(channel))
    connection = case.ask(host=host)
    connection.read_head()
    return connection


def poll(case: Case, channel: str, **fields: str) -> Connection:
    case.answer(held(channel, mode="response", **fields))
    connection = case.ask(host="jwt.test")
    case.taken()
    # Another hold of the same backend that is answered after this one.
    case.settle()
    return connection


def socket(case: Case, channel: str) -> Connection:
    case.answer(opened(control(type="subscribe", channel=channel), ("TEXT", "m:ready")), events())
    connection = case.connect()
    connection.upgrade(case.path, host="jwt.test")
    assert "ready" == connection.read_text()
    return connection


# gripcontrol and pubcontrol


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (HttpStreamFormat("x"), b"x"),
        (HttpStreamFormat('\u20ac \U0001f600 \\ " \x00'), '\u20ac \U0001f600 \\ " \x00'.encode()),
        (HttpStreamFormat("text in bytes"), b"text in bytes"),
        (HttpStreamFormat(b"\xff\x00bin"), b"\xff\x00bin"),
        (HttpStreamFormat("x", content_filters=[]), b"x"),
        (HttpStreamFormat("x", action="send"), b"x"),
        (HttpStreamFormat("x" * 100_000), b"x" * 100_000),
    ],
    ids=range(7),
)
def test_python_streams(publishing: Publishing, publish: Publish, made: HttpStreamFormat, expected: bytes) -> None:
    connection = stream(publishing.ask(), "py-stream")
    publish("py-stream", made)
    assert expected == connection.read_data(len(expected))


def test_python_content_filter(publishing: Publishing, publish: Publish) -> None:
    """django-eventstream publishes so: `%I` becomes the id, in the form that the hold says."""
    instructions = {"Grip_Set_Meta": 'id_format="at %(py-build)s"', "Grip_Link": "</next>; rel=next"}
    case = publishing.ask(held("py-build; prev-id=6; filter=build-id", **instructions))
    connection = case.ask(host="jwt.test")
    connection.read_head()
    publish("py-build", HttpStreamFormat("id: %I 100%%\n", content_filters=["build-id"]), id="7", prev_id="6")
    assert b"id: at 7 100%\n" == connection.read_data(14)


@pytest.mark.parametrize("made", [HttpStreamFormat(close=True), HttpStreamFormat(action="close")], ids=range(2))
def test_python_closes_streams(publishing: Publishing, publish: Publish, made: HttpStreamFormat) -> None:
    connection = stream(publishing.ask(), "py-close")
    publish("py-close", made)
    assert b"" == connection.read_rest()


@pytest.mark.parametrize(
    ("made", "status", "reason", "fields", "body"),
    [
        (HttpResponseFormat(), 200, "OK", [], b""),
        (HttpResponseFormat(body="b"), 200, "OK", [], b"b"),
        (HttpResponseFormat(body=b"\xff\x00"), 200, "OK", [], b"\xff\x00"),
        (HttpResponseFormat(headers={"ETag": '"1"'}, body="b"), 200, "OK", ['"1"'], b"b"),
        (HttpResponseFormat(code=404, reason="Gone away", headers=[["ETag", "a"], ["ETag", "b"]], body="b"),
            404, "Gone away", ["a", "b"], b"b"),
        (HttpResponseFormat(code="201", body="b"), 201, "Created", [], b"b"),
        (HttpResponseFormat(code=304, reason="NM", body=b"\xff"), 304, "NM", [], b""),
    ],
    ids=range(7),
)  # fmt: skip
def test_python_responses(
    publishing: Publishing,
    publish: Publish,
    made: HttpResponseFormat,
    status: int,
    reason: str,
    fields: Sequence[str],
    body: bytes,
) -> None:
    connection = poll(publishing.ask(), "py-response")
    publish("py-response", made)
    response = connection.read_response()
    assert (status, reason, fields, body) == (
        response.status,
        response.head.reason,
        response.head.values("ETag"),
        response.body,
    )


def test_python_hints(publishing: Publishing, publish: Publish) -> None:
    case = publishing.ask()
    connection = poll(case, "py-hint")
    case.answer(Reply(b"asked again"))
    publish("py-hint", HttpResponseFormat(action="hint"))
    assert b"asked again" == connection.read_response().body


@pytest.mark.parametrize(
    ("made", "opcode", "payload"),
    [
        (WebSocketMessageFormat("t"), TEXT, b"t"),
        (WebSocketMessageFormat("\u20ac"), TEXT, "\u20ac".encode()),
        (WebSocketMessageFormat(b"in bytes"), TEXT, b"in bytes"),
        (WebSocketMessageFormat(b"\1\2", binary=True), BINARY, b"\1\2"),
        (WebSocketMessageFormat("t", binary=True), BINARY, b"t"),
        (WebSocketMessageFormat(""), TEXT, b""),
        (WebSocketMessageFormat(action="close", code=4000, reason="bye"), CLOSE, b"\x0f\xa0bye"),
        (WebSocketMessageFormat(action="close"), CLOSE, b"\x03\xe8"),
    ],
    ids=range(8),
)
def test_python_messages(
    publishing: Publishing, publish: Publish, made: WebSocketMessageFormat, opcode: int, payload: bytes
) -> None:
    connection = socket(publishing.ask(), "py-message")
    publish("py-message", made)
    frame = connection.read_frame()
    assert (opcode, payload) == (frame.opcode, frame.payload)


def test_python_refreshes(publishing: Publishing, publish: Publish) -> None:
    """The backend is asked whether it has something to say."""
    case = publishing.ask()
    connection = socket(case, "py-refresh")
    case.answer(events(("TEXT", "m:fresh")))
    publish("py-refresh", WebSocketMessageFormat(action="refresh"))
    assert "fresh" == connection.read_text()


def test_python_publishes_many_in_order(publishing: Publishing) -> None:
    """Without blocking, as most apps do: up to ten items in a request, and each callback is told."""
    connection = stream(publishing.ask(), "py-many")
    publisher = GripPubControl(parse_grip_uri(publishing.urls["jwt"]))
    results: list[bool] = []
    for number in range(200):
        publisher.publish_http_stream(
            "py-many", f"{number:03}", callback=lambda success, message: results.append(success)
        )
    expected = "".join(f"{number:03}" for number in range(200)).encode()
    assert expected == connection.read_data(600)
    publisher.wait_all_sent()
    assert 200 * [True] == results


def test_python_ids_and_meta(publishing: Publishing, publish: Publish) -> None:
    """Items are put in the order that their ids say, those with an id seen before are dropped, and meta filters."""
    case = publishing.ask()
    connection = stream(case, "py-ids; filter=skip-users")
    case.answer(held("py-ids; filter=skip-users", Grip_Set_Meta="user=alice"))
    alice = case.ask(host="jwt.test")
    alice.read_head()
    for number, skipped in ((1, "bob"), (2, "alice"), (2, "alice"), (3, "bob")):
        members = {"id": f"i{number}", "prev_id": f"i{number - 1}", "meta": {"skip_users": skipped}}
        publish("py-ids", HttpStreamFormat(str(number)), **members)
    assert (b"123", b"13") == (connection.read_data(3), alice.read_data(2))


@pytest.mark.parametrize("make", [create_hold_stream, create_hold_response], ids=["stream", "response"])
def test_python_json_instructions(publishing: Publishing, publish: Publish, make: Callable[..., str]) -> None:
    case = publishing.ask()
    case.answer(Reply(make("py-json").encode(), [("Content-Type", "application/grip-instruct")]))
    connection = case.ask(host="jwt.test")
    case.taken()
    case.settle()
    publish("py-json", HttpStreamFormat("news"), HttpResponseFormat(body="news"))
    connection.read_head()
    assert b"news" == connection.read_data(4)


# Every way to authenticate, by every library


def publish_with_python(url: str, channel: str) -> str:
    publisher = GripPubControl(parse_grip_uri(url))
    try:
        publisher.publish_http_stream(channel, "python", blocking=True)
    except ValueError as error:
        return str(error)
    finally:
        publisher.close()
    return "ok"


@pytest.mark.parametrize("kind", ["jwt", "bearer", "basic", "none"])
def test_python_authenticates(publishing: Publishing, kind: str) -> None:
    connection = stream(publishing.ask(), "py-auth", f"{kind}.test")
    assert "ok" == publish_with_python(publishing.urls[kind], "py-auth")
    assert b"python" == connection.read_data(6)


def wrong(urls: dict[str, str]) -> dict[str, str]:
    """URLs with which nothing can be published, by the status that says so."""
    other = quote(base64.b64encode(b"some other key that is long enough").decode(), safe="")
    base = urls["none"]
    return {
        "401": f"{base}/realm/named?iss=named&key=base64:{other}",
        "403": urls["jwt"].replace("iss=named", "iss=lettered"),
        "404": f"{base}/realm/nowhere?iss=nowhere&key=base64:{other}",
    }


@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_python_is_told_what_is_wrong(publishing: Publishing, status: str) -> None:
    assert f"status code {status}" in publish_with_python(wrong(publishing.urls)[status], "py-auth")


@pytest.mark.parametrize(("script", "kinds"), [(NEW, ["jwt", "bearer", "basic", "none"]), (OLD, ["jwt", "none"])])
def test_javascript_authenticates(publishing: Publishing, run_js: Run, script: str, kinds: list[str]) -> None:
    """The old library knows no bearer tokens and no passwords in a URL."""
    connections = [stream(publishing.ask(), f"{script}-{kind}", f"{kind}.test") for kind in kinds]
    jobs = [
        {"url": publishing.urls[kind], "channel": f"{script}-{kind}", "formats": [["http-stream", kind]]}
        for kind in kinds
    ]
    assert ["ok"] * len(kinds) == run_js(script, jobs)
    assert kinds == [
        connection.read_data(len(kind)).decode() for connection, kind in zip(connections, kinds, strict=True)
    ]


@pytest.mark.parametrize("script", [NEW, OLD])
def test_javascript_is_told_what_is_wrong(publishing: Publishing, run_js: Run, script: str) -> None:
    urls = wrong(publishing.urls)
    jobs = [{"url": url, "channel": "a", "formats": [["http-stream", "x"]]} for url in urls.values()]
    assert [int(status) for status in urls] == run_js(script, jobs)


# The formats of the libraries for JavaScript


def code_of(script: str, code: int) -> int | str:
    """The new library's type says that a response's code is text."""
    return str(code) if script == NEW else code


@pytest.mark.parametrize("script", [NEW, OLD])
def test_javascript_formats(publishing: Publishing, run_js: Run, script: str) -> None:
    """One process publishes them all, one after the other."""
    case = publishing.ask()
    connection = stream(case, "js-stream")
    ended = stream(publishing.ask(), "js-close")
    polls = {name: poll(publishing.ask(), name) for name in ("js-empty", "js-body", "js-binary")}
    client = socket(publishing.ask(), "js-message")
    jobs: list[tuple[str, list[Any]]] = [
        ("js-stream", ["http-stream", "te\u20act"]),
        ("js-stream", ["http-stream", {"bytes": [255, 0]}]),
        ("js-close", ["http-stream", "", True]),
        ("js-empty", ["http-response", {}]),
        ("js-body", ["http-response", {"code": code_of(script, 404), "reason": "No", "headers": FIELDS, "body": "b"}]),
        ("js-binary", ["http-response", {"body": {"bytes": [255, 0]}}]),
        ("js-message", ["ws-message", "te\u20act"]),
        ("js-message", ["ws-message", {"bytes": [255, 0]}]),
        ("js-message", ["ws-message", "", True, 4000]),
    ]
    url = publishing.urls["jwt"]
    items = [{"url": url, "channel": channel, "formats": [made]} for channel, made in jobs]

    assert ["ok"] * len(items) == run_js(script, items)

    expected = "te\u20act".encode() + b"\xff\0"
    assert expected == connection.read_data(len(expected))
    assert b"" == ended.read_rest()
    responses = {name: one.read_response() for name, one in polls.items()}
    assert [b"", b"b", b"\xff\0"] == [response.body for response in responses.values()]
    body = responses["js-body"]
    assert (404, "No", "1") == (body.status, body.head.reason, body.value("ETag"))
    frames = [client.read_frame() for _ in range(3)]
    assert [(TEXT, "te\u20act".encode()), (BINARY, b"\xff\0"), (CLOSE, b"\x0f\xa0")] == [
        (frame.opcode, frame.payload) for frame in frames
    ]


@pytest.mark.parametrize("script", [NEW, OLD])
def test_javascript_ids(publishing: Publishing, run_js: Run, script: str) -> None:
    """The second of an id is dropped."""
    connection = stream(publishing.ask(), f"ids-{script}")
    job = {"url": publishing.urls["jwt"], "channel": f"ids-{script}"}
    items = [
        {**job, "id": str(one), "prevId": str(one - 1), "formats": [["http-stream", str(one)]]} for one in (1, 2, 2, 3)
    ]
    assert ["ok"] * 4 == run_js(script, items)
    assert b"123" == connection.read_data(3)
