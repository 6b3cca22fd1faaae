"""Framings and heads, byte by byte; what reads them back is another library's parser."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from gripproxy.grip import wire
from gripproxy.grip.item import HttpStream, Item, WsMessage


def stream_item(content: bytes) -> Item:
    return Item("c", stream=HttpStream("send", content))


def message_item(kind: str, content: bytes) -> Item:
    return Item("c", message=WsMessage("send", kind, content))


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", b""), (b"a", b"1\r\na\r\n"), (b"x" * 255, b"ff\r\n" + b"x" * 255 + b"\r\n"), (b"\r\n", b"2\r\n\r\n\r\n")],
)
def test_chunk(content: bytes, expected: bytes) -> None:
    """Empty content is no chunk: an empty one ends the body."""
    assert expected == wire.chunk(content)


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x82\x00"),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (65535, b"\x82\x7e\xff\xff"),
        (65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_the_length_of_a_frame_takes_the_fewest_bytes(size: int, head: bytes) -> None:
    content = b"x" * size
    assert head + content == wire.frame(wire.BINARY, content)


@given(st.text(max_size=300), st.binary(max_size=300), st.binary(max_size=125))
def test_a_client_reads_frames_back(text: str, data: bytes, ping: bytes) -> None:
    client = Connection(ConnectionType.CLIENT)
    frames = (wire.TEXT, text.encode()), (wire.BINARY, data), (wire.PING, ping)
    client.receive_data(b"".join(wire.frame(opcode, content) for opcode, content in frames))
    assert [TextMessage(text), BytesMessage(data), Ping(ping)] == list(client.events())


@given(st.binary(min_size=wire.DEFLATE_MIN, max_size=2000))
def test_a_deflated_frame_is_a_whole_message_by_itself(content: bytes) -> None:
    """RFC 7692 7.2.2: with the four bytes that were left out it inflates, without anything from before."""
    framed = wire.deflated_frame(wire.TEXT, content)
    assert 0xC1 == framed[0]
    head = 2 if framed[1] < 126 else 4
    assert content == zlib.decompressobj(-zlib.MAX_WBITS).decompress(framed[head:] + b"\x00\x00\xff\xff")


@pytest.mark.parametrize(
    ("opcode", "content"), [(wire.TEXT, b"x" * (wire.DEFLATE_MIN - 1)), (wire.PING, b"x" * 100), (wire.CLOSE, b"")]
)
def test_what_is_short_or_a_control_frame_is_not_deflated(opcode: int, content: bytes) -> None:
    assert wire.frame(opcode, content) == wire.deflated_frame(opcode, content)


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (None, "", b"\x88\x00"),
        (None, "unsaid", b"\x88\x00"),
        (1000, "", b"\x88\x02\x03\xe8"),
        (4000, "bye", b"\x88\x05\x0f\xa0bye"),
    ],
)
def test_close_frame(code: int | None, reason: str, expected: bytes) -> None:
    assert expected == wire.close_frame(code, reason)


@given(st.text(max_size=200))
def test_a_reason_is_cut_between_characters(reason: str) -> None:
    """A control frame has 125 bytes of content at the most (RFC 6455 5.5), and a reason is UTF-8."""
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(wire.close_frame(1001, reason))
    (event,) = client.events()
    assert isinstance(event, CloseConnection)
    assert 1001 == event.code
    assert reason.startswith(event.reason or "")


def test_framings_of_a_stream() -> None:
    item = stream_item(b"hello")
    assert [b"5\r\nhello\r\n", b"hello"] == [
        wire.STREAM_FRAMINGS[framing](item) for framing in (wire.CHUNK, wire.PLAIN)
    ]


@pytest.mark.parametrize(
    ("kind", "opcode"), [("text", wire.TEXT), ("binary", wire.BINARY), ("ping", wire.PING), ("pong", wire.PONG)]
)
def test_framings_of_a_message(kind: str, opcode: int) -> None:
    item = message_item(kind, b"hello")
    assert wire.frame(opcode, b"hello") == wire.MESSAGE_FRAMINGS[wire.FRAME](item)
    assert wire.deflated_frame(opcode, b"hello") == wire.MESSAGE_FRAMINGS[wire.DEFLATED](item)


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (200, "", b"HTTP/1.1 200 OK\r\n"),
        (304, "NOT MODIFIED", b"HTTP/1.1 304 NOT MODIFIED\r\n"),
        (299, b"", b"HTTP/1.1 299 Undefined Reason\r\n"),
        (200, b"\xe9", b"HTTP/1.1 200 \xe9\r\n"),
    ],
)
def test_status_line(status: int, reason: str | bytes, expected: bytes) -> None:
    assert expected == wire.encode_status_line(status, reason)


@pytest.mark.parametrize(
    ("status", "body", "options", "expected"),
    [
        (200, b"hi", {}, b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\nhi"),
        (200, b"hi", {"head_only": True}, b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\n"),
        (200, b"", {"is_last": True}, b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        (304, b"hi", {}, b"HTTP/1.1 304 Not Modified\r\nA: b\r\n\r\n"),
        (204, b"", {}, b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n"),
    ],
)
def test_whole_response(status: int, body: bytes, options: dict[str, bool], expected: bytes) -> None:
    """Statuses that have no body (RFC 9110 6.4.1) are sent neither one nor its length."""
    assert expected == wire.encode_response(status, "", ((b"A", b"b"),), body, **options)


def test_last_ids() -> None:
    expected = ((b"Grip-Last", b"c; last-id=1"), (b"Grip-Last", 'ä; last-id="ö;"'.encode()))
    assert expected == wire.encode_last_ids({"c": "1", "ä": "ö;"})
