"""Events and control messages: what is read, what is written, what is refused."""

from __future__ import annotations

import json

import pytest
from gripcontrol import decode_websocket_events, encode_websocket_events
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.errors import EventError
from gripproxy.grip.events import (
    TYPES,
    Control,
    Detach,
    Event,
    FlushDelayed,
    SendDelayed,
    SetKeepAlive,
    SetMeta,
    SetSession,
    Subscribe,
    Unsubscribe,
    check_frame,
    encode_close,
    encode_events,
    is_close_code,
    parse_close,
    parse_control,
    parse_events,
)

EVENTS = st.builds(Event, st.sampled_from(sorted(TYPES)), st.binary(max_size=40))


@pytest.mark.parametrize(
    ("events", "body"),
    [
        ((), b""),
        ((Event("OPEN"),), b"OPEN\r\n"),
        ((Event("TEXT", b"hello"),), b"TEXT 5\r\nhello\r\n"),
        ((Event("TEXT"),), b"TEXT 0\r\n\r\n"),
        ((Event("BINARY"),), b"BINARY 0\r\n\r\n"),
        ((Event("BINARY", b"x" * 26),), b"BINARY 1a\r\n" + b"x" * 26 + b"\r\n"),
        ((Event("PING"),), b"PING\r\n"),
        ((Event("PING", b"hi"), Event("PONG")), b"PING 2\r\nhi\r\nPONG\r\n"),
        ((Event("CLOSE"),), b"CLOSE\r\n"),
        ((Event("CLOSE", b"\x03\xe8"),), b"CLOSE 2\r\n\x03\xe8\r\n"),
        ((Event("DISCONNECT"),), b"DISCONNECT\r\n"),
    ],
)
def test_events_are_written_as_pushpin_writes_them_and_read_back(events: tuple[Event, ...], body: bytes) -> None:
    assert body == encode_events(events)
    assert events == parse_events(body)


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"TEXT\r\n", (Event("TEXT"),)),  # Go leaves the size away
        (b"PING 0\r\n\r\n", (Event("PING"),)),
        (b"TEXT 0A\r\n0123456789\r\n", (Event("TEXT", b"0123456789"),)),
        (b"TEXT 00000a\r\n0123456789\r\n", (Event("TEXT", b"0123456789"),)),
        (b"TEXT 2\r\n\r\n\r\n", (Event("TEXT", b"\r\n"),)),
        (b"WHAT 2\r\nhi\r\nOPEN\r\n\xff\r\n\r\n", (Event("OPEN"),)),  # unknown types are left out
        (b"\r\nOPEN\r\n", (Event("OPEN"),)),
        (b"text 1\r\na\r\n", ()),  # types are compared as they are
    ],
)
def test_what_other_writers_send_is_read(body: bytes, events: tuple[Event, ...]) -> None:
    assert events == parse_events(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"OPEN", "offset 0: no CRLF after the type"),
        (b"OPEN\r\nTEXT 5", "offset 6: no CRLF after the type"),
        (b"OPEN\r\nTEXT 5\r\nhell", "offset 14: 5 bytes announced, 4 left"),
        (b"TEXT 5\r\nhello", "offset 13: no CRLF after the content"),
        (b"TEXT 4\r\nm:h\xc3\xa9\r\n", "offset 12: no CRLF after the content"),  # Ruby counts characters
        (b"TEXT \r\n\r\n", "offset 0: size b'' is not hexadecimal"),
        (b"TEXT -1\r\n\r\n", "offset 0: size b'-1' is not hexadecimal"),
        (b"TEXT 0x1\r\na\r\n", "offset 0: size b'0x1' is not hexadecimal"),
        (b"TEXT 1_0\r\n", "offset 0: size b'1_0' is not hexadecimal"),
        (b"TEXT  1\r\na\r\n", "offset 0: size b' 1' is not hexadecimal"),
        (b"TEXT " + b"f" * 16 + b"\r\n", "is not hexadecimal"),
        (b"TEXT fffffffffffffff\r\n", "1152921504606846975 bytes announced, 0 left"),
        (b"<html>", "offset 0: no CRLF after the type"),
    ],
)
def test_a_malformed_body_is_refused_with_its_offset(body: bytes, message: str) -> None:
    with pytest.raises(EventError) as caught:
        parse_events(body)
    assert message in str(caught.value)
    assert 502 == caught.value.status


def test_limits_hold_for_one_content_and_for_the_number_of_events() -> None:
    body = b"PING\r\nTEXT 5\r\nhello\r\n"
    assert 2 == len(parse_events(body, content_size=5, count=2))
    with pytest.raises(EventError, match="offset 6: content of 5 bytes exceeds 4"):
        parse_events(body, content_size=4)
    with pytest.raises(EventError, match="offset 6: more than 1 events"):
        parse_events(body, count=1)


def test_an_event_of_an_unknown_type_cannot_be_made() -> None:
    with pytest.raises(EventError, match="'SHOUT' is unknown"):
        Event("SHOUT")


@given(st.lists(EVENTS).map(tuple))
def test_whatever_is_written_is_read_back(events: tuple[Event, ...]) -> None:
    assert events == parse_events(encode_events(events))


@given(st.one_of(st.binary(), st.text("OPENTXCL 0123afz\r\n", max_size=60).map(str.encode)))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    try:
        events = parse_events(body)
    except EventError:
        return
    assert events == parse_events(encode_events(events))


@given(st.lists(EVENTS))
def test_the_clients_library_understands_us_and_we_it(events: list[Event]) -> None:
    """gripcontrol is what Django backends read and write events with."""
    body = encode_events(events)
    understood = decode_websocket_events(body)
    assert [(event.type, event.content) for event in events] == [
        (each.type, each.content or b"") for each in understood
    ]
    assert tuple(events) == parse_events(encode_websocket_events(understood))


# --- close payloads ---


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", (None, "")),
        (b"\x03", (None, "")),
        (b"\x03\xe8", (1000, "")),
        (b"\x0f\xa0bye", (4000, "bye")),
        (b"\x00\x00", (None, "")),  # every client library for "no code"
        (b"\x00\x00bye", (None, "bye")),
        (b"\x03\xed", (None, "")),  # 1005 must not be sent
        (b"\x03\xf0\xff", (1008, "\ufffd")),
    ],
)
def test_close_payloads_are_read_tolerantly(payload: bytes, expected: tuple[int | None, str]) -> None:
    assert expected == parse_close(payload)


def test_a_close_payload_without_code_is_empty() -> None:
    assert b"" == encode_close(None, "lost")
    assert b"\x0f\xa0bye" == encode_close(4000, "bye")


def test_a_reason_is_cut_before_a_character_to_fit_a_control_frame() -> None:
    payload = encode_close(1011, "é" * 100)
    assert 124 == len(payload)
    assert (1011, "é" * 61) == parse_close(payload)


@given(st.binary(max_size=200))
def test_any_close_payload_is_read_and_its_code_is_legal(payload: bytes) -> None:
    code, reason = parse_close(payload)
    assert code is None or is_close_code(code)
    assert 125 >= len(encode_close(code, reason))


@given(st.text())
def test_any_reason_makes_a_legal_payload(reason: str) -> None:
    payload = encode_close(1000, reason)
    assert 125 >= len(payload)
    payload[2:].decode()


# --- control messages ---


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"type":"subscribe","channel":"a"}', Subscribe("a")),
        (b'{"channel": "\xc3\xa9", "type": "subscribe", "filters": ["skip-self"]}', Subscribe("é", ("skip-self",))),
        (b'{"type":"unsubscribe","channel":"a","what":1}', Unsubscribe("a")),
        (b'{"type":"detach"}', Detach()),
        (b'{"type":"session"}', SetSession(None)),
        (b'{"type":"session","id":"s"}', SetSession("s")),
        (b'{"type":"session","id":""}', SetSession(None)),
        (b'{"type":"set-meta","name":"user","value":"bob"}', SetMeta("user", "bob")),
        (b'{"type":"set-meta","name":"user"}', SetMeta("user", None)),
        (b'{"type":"keep-alive"}', SetKeepAlive(None)),
        (b'{"type":"keep-alive","timeout":"x"}', SetKeepAlive(None)),  # not looked at without content
        (b'{"type":"keep-alive","content":""}', SetKeepAlive(b"")),
        (b'{"type":"keep-alive","content":"hi"}', SetKeepAlive(b"hi", "text", 55, "idle")),
        (b'{"type":"keep-alive","content":"hi","timeout":0}', SetKeepAlive(b"hi", "text", 55, "idle")),
        (
            b'{"type":"keep-alive","content":"hi","timeout":20,"mode":"interval"}',
            SetKeepAlive(b"hi", "text", 20, "interval"),
        ),
        (b'{"type":"keep-alive","content":"hi","mode":"other"}', SetKeepAlive(b"hi", "text", 55, "idle")),
        (b'{"type":"keep-alive","content-bin":"aGk=","message-type":"ping"}', SetKeepAlive(b"hi", "ping")),
        (b'{"type":"keep-alive","content-bin":"aGk","content":"no"}', SetKeepAlive(b"hi", "text")),
        (b'{"type":"send-delayed","content-bin":"/w==","message-type":"binary"}', SendDelayed("binary", b"\xff", 1)),
        (b'{"type":"send-delayed","content":"x","timeout":2.0}', SendDelayed("text", b"x", 2)),
        (b'{"type":"send-delayed","content":"x","timeout":"3"}', SendDelayed("text", b"x", 3)),
        (
            b'{"type":"send-delayed","message-type":"pong","content":"' + b"a" * 125 + b'"}',
            SendDelayed("pong", b"a" * 125, 1),
        ),
        (b'{"type":"flush-delayed"}', FlushDelayed()),
    ],
)
def test_control_messages_are_read(text: bytes, message: Control) -> None:
    assert message == parse_control(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"type":"subscribe","channel":"\\ud800"}', "not JSON"),
        (b"[]", "must be an object, not a list"),
        (b"{}", "type: missing"),
        (b'{"type":1}', "type: must be a string, not 1"),
        (b'{"type":"shout"}', "type: 'shout' is unknown"),
        (b'{"type":"subscribe"}', "channel: missing"),
        (b'{"type":"subscribe","channel":""}', "channel: empty"),
        (b'{"type":"subscribe","channel":null}', "channel: must be a string, not null"),
        (b'{"type":"subscribe","channel":"a\\u007f"}', "channel: must not have control characters: 'a\\x7f'"),
        (b'{"type":"unsubscribe","channel":"' + b"a" * 1025 + b'"}', "channel: must have at most 1024 bytes, not 1025"),
        (b'{"type":"subscribe","channel":"a","filters":"b"}', "filters must be a list, not 'b'"),
        (b'{"type":"subscribe","channel":"a","filters":[1]}', "filters[0] must be a string, not 1"),
        (b'{"type":"unsubscribe","channel":1}', "channel: must be a string, not 1"),
        (b'{"type":"session","id":1}', "id: must be a string, not 1"),
        (b'{"type":"session","id":" s"}', "id: must have no blanks around it"),
        (b'{"type":"session","id":"a\\nb"}', "id: must not have control characters"),
        (b'{"type":"set-meta","name":""}', "name: empty"),
        (b'{"type":"set-meta","name":"a","value":null}', "value: must be a string, not null"),
        (b'{"type":"keep-alive","content":1}', "content: must be a string, not 1"),
        (b'{"type":"keep-alive","content-bin":"a b!"}', "content-bin: 'a b!' is not base64"),
        (b'{"type":"keep-alive","content":"a","message-type":"close"}', "message-type: 'close' is unknown"),
        (b'{"type":"keep-alive","content":"a","mode":1}', "mode: must be a string, not 1"),
        (b'{"type":"keep-alive","content":"a","timeout":-1}', "timeout: -1 is not within 0 and 2147483647"),
        (b'{"type":"keep-alive","content":"a","timeout":"x"}', "timeout: must be a number of seconds, not 'x'"),
        (b'{"type":"keep-alive","content":"a","timeout":"-1"}', "timeout: -1 is not within 0 and 2147483647"),
        (b'{"type":"keep-alive","content":"a","timeout":true}', "timeout: must be a number of seconds, not true"),
        (b'{"type":"keep-alive","content":"a","timeout":4e9}', "timeout: 4000000000.0 is not within"),
        (b'{"type":"keep-alive","content-bin":"/w=="}', "text content is not UTF-8 at offset 0"),
        (b'{"type":"send-delayed"}', "content: missing"),
        (b'{"type":"send-delayed","message-type":"ping","content":"' + b"a" * 126 + b'"}', "126 bytes exceeds 125"),
    ],
)
def test_wrong_control_messages_are_refused_by_field(text: bytes, message: str) -> None:
    with pytest.raises(EventError) as caught:
        parse_control(text)
    assert message in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["detach", "ping"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = (
    *("channel", "filters", "id", "name", "value"),
    *("content", "content-bin", "timeout", "mode", "message-type"),
)
CONTROLS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["subscribe", "unsubscribe", "detach", "session", "set-meta", "keep-alive", "send-delayed", "flush-delayed"]
        )
    },
    optional=dict.fromkeys(FIELDS, JSON),
)


@given(st.one_of(st.binary(), CONTROLS.map(lambda value: json.dumps(value).encode())))
def test_any_control_message_is_read_or_refused(text: bytes) -> None:
    try:
        message = parse_control(text)
    except EventError:
        return
    if isinstance(message, SetKeepAlive | SendDelayed) and message.content is not None:
        check_frame(message.type, message.content)
        assert message.timeout > 0
