"""Requests at the control door: targets, content types, peers."""

import asyncio
import gzip
import logging
from typing import Any

import pytest
from aiohttp import HttpVersion10, HttpVersion11
from aiohttp.http_exceptions import TransferEncodingError
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gripproxy.control.answer import RefusalError
from gripproxy.control.request import (
    CONTINUE,
    Target,
    check_content,
    check_method,
    is_local,
    is_loopback,
    is_publishable,
    read_body,
    request_log,
    resolve,
)
from tests.unit.control.test_control import Content, Request


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", Target("about")),
        ("/?x", Target("about")),
        ("http://host", Target("about")),
        ("/health", Target("health")),
        ("/ready/", Target("ready")),
        ("/metrics?x=1", Target("metrics")),
        ("/publish", Target("publish")),
        ("/publish/", Target("publish")),
        ("/publish/?x=1", Target("publish")),
        ("http://host:5561/publish/", Target("publish")),
        ("/realm/a/publish", Target("publish", "a")),
        ("/realm/a/publish/", Target("publish", "a")),
        ("/realm/%61%20b/publish/", Target("publish", "a b")),
        ("/realm/a%2Fb/publish/", Target("publish", "a/b")),
        ("/service/a/publish/?x=/realm/b/", Target("publish", "a")),
        ("/recover", Target("recover")),
        ("/realm/a/recover/", Target("recover", "a")),
        ("/realm/a/publish/channel", Target("channel", "a")),
        ("/realm/a/publish/channel/", Target("channel", "a")),
        ("/realm/a/publish/channel/x", Target("nothing", "a")),
        ("/realm/a/subscriptions/items/?since=cursor:x", Target("subscriptions", "a")),
        ("/realm/a/subscriptions/stream/", Target("subscription-stream", "a")),
        ("/subscriptions/stream", Target("subscription-stream")),
        ("/realm/a/subscriptions/others/", Target("nothing", "a")),
        ("/channels/", Target("channels")),
        ("/channels?limit=1", Target("channels")),
        ("/channels/news", Target("audience", channel="news")),
        ("/channels/a%2Fb%20%C3%A9/?x", Target("audience", channel="a/b \u00e9")),
        ("/channels/%E9", Target("audience", channel="\u00e9")),
        ("/channels/\udce9", Target("audience", channel="\u00e9")),
        ("/channels/a/b", Target("nothing", "a")),
        ("/realm/a/channels/", Target("channels", "a")),
        ("/realm/a/channels/channels/", Target("audience", "a", "channels")),
        ("/realm/channels/channels/*", Target("audience", "channels", "*")),
        ("/service/a/channels/", Target("nothing", "a")),
        ("/routes/", Target("routes")),
        ("/realm/a/subscriptions/", Target("nothing", "a")),
        ("/realm/a", Target("nothing")),
        ("/realm/a/", Target("nothing")),
        ("/realm//publish", Target("publish", "")),
        ("/service/a/recover", Target("nothing", "a")),
        ("//publish", Target("nothing")),
        ("/publish//", Target("nothing")),
        ("/Publish", Target("nothing")),
        ("/a/publish", Target("nothing")),
        ("*", Target("about")),
        ("/*/x/publish", Target("nothing", "x")),
    ],
)
def test_a_path_says_what_a_request_is_about(path: str, expected: Target) -> None:
    assert expected == resolve(path)


@given(st.text())
def test_any_path_is_about_something_or_nothing(path: str) -> None:
    assert isinstance(resolve(path), Target)


@pytest.mark.parametrize(
    ("method", "endpoint", "status", "allow"),
    [
        ("GET", "publish", 405, b"POST"),
        ("OPTIONS", "recover", 405, b"POST"),
        ("POST", "health", 405, b"GET, HEAD"),
        ("DELETE", "metrics", 405, b"GET, HEAD"),
        ("GET", "nothing", 404, None),
        ("POST", "channel", 404, None),
    ],
)
def test_other_methods_and_paths_are_refused(method: str, endpoint: str, status: int, allow: bytes | None) -> None:
    with pytest.raises(RefusalError) as refusal:
        check_method(method, endpoint)

    assert (status, allow) == (refusal.value.status, dict(refusal.value.fields).get(b"Allow"))


@pytest.mark.parametrize("method", ["GET", "POST", "BREW"])
def test_the_root_takes_any_method(method: str) -> None:
    check_method(method, "about")


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("", True),
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("text/json", True),
        ("application/vnd.api+json", True),
        ("text/plain", True),
        ("application/x-www-form-urlencoded", True),
        ("application/octet-stream", True),
        ("text/html", False),
        ("application/xml", False),
        ("multipart/form-data; boundary=x", False),
        ("json", False),
        ("\udcff", False),
    ],
)
def test_json_and_what_tools_send_untold_is_publishable(content_type: str, expected: bool) -> None:
    assert expected == is_publishable(content_type)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"Content-Type": "text/html"}, "Content-Type 'text/html' is not JSON; send application/json."),
        ({"Content-Encoding": "br"}, "Content-Encoding 'br' is not decoded; send gzip, deflate or none."),
        (
            [("Content-Encoding", "gzip"), ("Content-Encoding", "gzip")],
            "Content-Encoding 'gzip, gzip' is not decoded; send gzip, deflate or none.",
        ),
    ],
)
def test_other_contents_are_refused(fields: Any, text: str) -> None:
    with pytest.raises(RefusalError) as refusal:
        check_content(Request(headers=CIMultiDict(fields)))  # type: ignore[arg-type]

    assert (415, text) == (refusal.value.status, str(refusal.value))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("2001:db8::1", False),
        ("0.0.0.0", False),
    ],
)
def test_loopback_addresses_are_known(host: str, expected: bool) -> None:
    assert expected == is_loopback(host)


@pytest.mark.parametrize(
    ("peer", "transport", "expected"),
    [
        (("127.0.0.1", 1), object(), True),
        (("::1", 1, 0, 0), object(), True),
        (("192.0.2.1", 1), object(), False),
        ("", object(), True),  # a Unix socket
        (None, object(), True),  # a Unix socket on uvloop
        (None, None, False),  # gone
    ],
)
def test_a_peer_is_local_by_its_socket(peer: Any, transport: Any, expected: bool) -> None:
    request = Request(headers=CIMultiDict({"X-Forwarded-For": "127.0.0.1"}))
    request.protocol.peername, request.protocol.transport = peer, transport

    assert expected == is_local(request)  # type: ignore[arg-type]


def read(request: Request, body_max: int = 10) -> bytes:
    return asyncio.run(read_body(request, body_max))  # type: ignore[arg-type]


def refused(request: Request, body_max: int = 10) -> tuple[int, str, bool]:
    with pytest.raises(RefusalError) as refusal:
        read(request, body_max)
    return refusal.value.status, str(refusal.value), refusal.value.is_last


def test_a_body_that_is_there_is_taken_at_once() -> None:
    assert b"0123456789" == read(Request(content=Content([b"01234", b"56789"], is_complete=True)))


def test_a_body_in_parts_is_waited_for() -> None:
    assert b"0123456789" == read(Request(content=Content([b"01234", b"56789"])))


def coded(body: bytes, encoding: str = "gzip") -> Request:
    return Request(headers=CIMultiDict({"Content-Encoding": encoding}), content=Content([body], is_complete=True))


@pytest.mark.parametrize("encoding", ["gzip", "X-GZIP", "gzip, identity"])
def test_a_body_is_decoded(encoding: str) -> None:
    request = coded(gzip.compress(b"01234"), encoding)

    check_content(request)  # type: ignore[arg-type]
    assert b"01234" == read(request, 100)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"01234", (400, "The body cannot be decoded: Content-Encoding is gzip, which the body is not: ", False)),
        (
            gzip.compress(b"01234")[:-1],
            (400, "The body cannot be decoded: Content-Encoding is gzip, and the body is not whole.", False),
        ),
        (gzip.compress(b" " * 101), (413, "The body is larger than 100 bytes (control.max_body).", False)),
        (b"x" * 101, (413, "The body is larger than 100 bytes (control.max_body).", True)),
    ],
    ids=["not gzip", "cut off", "large", "large as it is"],
)
def test_a_body_that_cannot_be_decoded_is_refused(body: bytes, expected: tuple[int, str, bool]) -> None:
    """It has been read whole, so the connection may go on."""
    status, text, is_last = refused(coded(body), 100)

    assert expected == (status, text.partition("Error")[0], is_last)


TOO_LARGE = (413, "The body is larger than 10 bytes (control.max_body).", True)


@pytest.mark.parametrize("is_complete", [True, False])
def test_a_body_over_the_limit_is_refused(is_complete: bool) -> None:
    assert TOO_LARGE == refused(Request(content=Content([b"01234", b"567890"], is_complete)))


def test_a_body_that_is_announced_over_the_limit_is_not_asked_for() -> None:
    request = Request(headers=CIMultiDict({"Expect": "100-continue"}), content=Content([b"x"]), content_length=11)

    assert TOO_LARGE == refused(request)
    assert b"" == request.writer.written


def test_what_comes_after_the_limit_is_not_read() -> None:
    content = Content([b"01234", b"567890", b"never", b"never"])

    refused(Request(content=content))

    assert [b"never", b"never"] == content.parts


def test_a_client_that_waits_is_told_to_go_on() -> None:
    request = Request(headers=CIMultiDict({"Expect": "100-Continue"}), content=Content([b"x"]))

    assert b"x" == read(request)
    assert CONTINUE == request.writer.written


def test_a_client_that_did_not_wait_is_not_told() -> None:
    content = Content([b"x"], is_complete=True)
    request = Request(headers=CIMultiDict({"Expect": "100-continue"}), content=content)

    assert b"x" == read(request)
    assert b"" == request.writer.written


def test_http_1_0_knows_no_interim_answers() -> None:
    request = Request(headers=CIMultiDict({"Expect": "100-continue"}), content=Content([b"x"]), version=HttpVersion10)

    assert b"x" == read(request)
    assert b"" == request.writer.written


def test_another_expectation_is_refused() -> None:
    request = Request(headers=CIMultiDict({"Expect": "cake"}), content=Content([b"x"]), version=HttpVersion11)

    assert (417, "Expectation 'cake' is not known.", True) == refused(request)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TransferEncodingError("bad chunk\n  'zz'\n   ^"), (400, "The body cannot be read: bad chunk", True)),
        (ConnectionResetError(), (400, "The body ended early.", True)),
        (RuntimeError("Connection closed."), (400, "The body ended early.", True)),
        (TimeoutError(), (408, "The body did not arrive within 30 s.", True)),
    ],
)
def test_a_broken_body_is_refused(error: Exception, expected: tuple[int, str, bool]) -> None:
    assert expected == refused(Request(content=Content([b"x"], error=error)))


def test_malformed_requests_are_logged_once_a_minute_without_what_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    log = request_log("gripproxy.test.malformed", lambda: now[0])

    for now[0] in (0.0, 1.0, 59.0, 60.0):
        log.error("Error handling request from %s", "10.0.0.1", exc_info=TransferEncodingError("confidential"))

    assert [
        (logging.WARNING, "refused a malformed request from 10.0.0.1: TransferEncodingError (0 more before it)"),
        (logging.WARNING, "refused a malformed request from 10.0.0.1: TransferEncodingError (2 more before it)"),
    ] == [(record.levelno, record.getMessage()) for record in caplog.records]
    assert "confidential" not in caplog.text


def test_other_errors_are_logged_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    log = request_log("gripproxy.test.malformed", lambda: 0.0)

    log.error("Error handling request from %s", "10.0.0.1", exc_info=ZeroDivisionError("a defect"))

    assert "ZeroDivisionError: a defect" in caplog.text
