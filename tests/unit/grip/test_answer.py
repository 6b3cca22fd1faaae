"""A backend's answer to a WebSocket-over-HTTP request, read whole or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.errors import EventError
from gripproxy.grip.answer import Answer, is_events, message_prefix, public_fields
from gripproxy.grip.events import Event
from gripproxy.grip.fields import Fields

TYPE = (b"Content-Type", b"application/websocket-events")


def test_an_answer_holds_its_events_and_its_settings() -> None:
    fields = (
        TYPE,
        (b"Content-Bytes-Accepted", b"5"),
        (b"Keep-Alive-Interval", b"30"),
        (b"Set-Meta-User", b"bob"),
        (b"set-meta-gone", b""),
        (b"Set-Meta-", b"x"),
    )
    expected = Answer((Event("PING"),), 5, 30, ((b"Meta-User", b"bob"), (b"meta-gone", b"")))
    assert expected == Answer.from_response(200, fields, b"PING\r\n")


def test_what_an_answer_does_not_say_stays_as_it_is() -> None:
    assert Answer((), None, None, ()) == Answer.from_response(200, (TYPE,), b"")


def test_meta_is_added_replaced_deleted_and_limited() -> None:
    answer = Answer((), meta=((b"meta-A", b"2"), (b"Meta-b", b""), (b"Meta-d", b"4"), (b"Meta-e", b"5")))
    before = ((b"Meta-a", b"1"), (b"Meta-b", b"2"), (b"Meta-c", b"3"))
    assert ((b"Meta-c", b"3"), (b"meta-A", b"2"), (b"Meta-d", b"4")) == answer.change(before, 3)
    assert before == Answer(()).change(before, 3)


def test_an_interval_that_is_no_number_ends_polling() -> None:
    assert 0 == Answer.from_response(200, (TYPE, (b"Keep-Alive-Interval", b"soon")), b"").interval


@pytest.mark.parametrize(
    ("status", "fields", "body", "message"),
    [
        (500, (TYPE,), b"", "backend answered 500"),
        (200, (), b"", "Content-Type ''"),
        (200, ((b"Content-Type", b"text/html"),), b"", "Content-Type 'text/html'"),
        (200, (TYPE,), b"<html>", "events: offset 0"),
    ],
)
def test_what_is_not_an_answer_is_refused(status: int, fields: Fields, body: bytes, message: str) -> None:
    with pytest.raises(EventError, match=message):
        Answer.from_response(status, fields, body)


@pytest.mark.parametrize(
    ("status", "value", "expected"),
    [
        (200, b"application/websocket-events", True),
        (200, b"Application/WebSocket-Events ; charset=utf-8", True),
        (200, b"application/websocket-event", False),
        (201, b"application/websocket-events", False),
    ],
)
def test_a_response_of_events_is_known_by_status_and_type(status: int, value: bytes, expected: bool) -> None:
    assert expected == is_events(status, ((b"content-type", value),))


@pytest.mark.parametrize(
    ("values", "prefix"),
    [
        ((), None),
        ((b"",), None),
        ((b"permessage-deflate",), None),
        ((b"grip",), b"m:"),
        ((b"GRIP ; Message-Prefix=x:",), b"x:"),
        ((b'grip; message-prefix=""',), b""),
        ((b'grip; message-prefix="\xc3\xa9"',), "é".encode()),
        ((b"a", b"b, grip"), b"m:"),
        ((b'grip; message-prefix="', b"grip"), b"m:"),
    ],
)
def test_the_message_prefix(values: tuple[bytes, ...], prefix: bytes | None) -> None:
    assert prefix == message_prefix(tuple((b"Sec-WebSocket-Extensions", value) for value in values))


@given(st.lists(st.tuples(st.sampled_from([b"Sec-WebSocket-Extensions", b"Connection", b"Set-Meta-"]), st.binary())))
def test_any_value_can_be_looked_at_and_no_private_field_gets_out(fields: list[tuple[bytes, bytes]]) -> None:
    message_prefix(tuple(fields))
    assert () == public_fields(tuple(fields))
