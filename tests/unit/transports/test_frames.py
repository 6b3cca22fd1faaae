"""Frames of a peer, joined to messages, within limits; the peer is wsproto too, or bytes written by hand."""

import gc
import tracemalloc
import weakref
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.events import Event as PeerEvent

from gripproxy.grip.events import Event
from gripproxy.transports.frames import FRAMES_MAX, FrameError, Frames

LIMIT = 1000
MASK = b"\x01\x02\x03\x04"


def sent(*events: PeerEvent) -> bytes:
    """Return what a client sends."""
    client = Connection(ConnectionType.CLIENT)
    return b"".join(client.send(event) for event in events)


def frame(first: int, content: bytes) -> bytes:
    """Return a small masked frame with any first byte."""
    masked = bytes(byte ^ MASK[index % 4] for index, byte in enumerate(content))
    size = len(content)
    head = bytes((first, 0x80 | size)) if size < 126 else bytes((first, 0x80 | 126)) + size.to_bytes(2, "big")
    return head + MASK + masked


def deflated(content: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return (deflate.compress(content) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


def read(data: bytes, **options: bool) -> list[Event]:
    return read_all(Frames(LIMIT, **options), data)


def read_all(frames: Frames, data: bytes) -> list[Event]:
    events = list(frames.feed(data))
    while frames.has_more:
        events += frames.feed()
    return events


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([TextMessage("hé")], [Event("TEXT", "hé".encode())]),
        ([BytesMessage(b"\xff\0")], [Event("BINARY", b"\xff\0")]),
        ([TextMessage("")], [Event("TEXT", b"")]),
        ([Ping(b"p"), Pong(b"")], [Event("PING", b"p"), Event("PONG", b"")]),
        (
            [TextMessage("a", message_finished=False), Ping(b"p"), TextMessage("b")],
            [Event("PING", b"p"), Event("TEXT", b"ab")],
        ),
        ([CloseConnection(1000)], [Event("CLOSE", b"\x03\xe8")]),
        ([CloseConnection(4000, "bye")], [Event("CLOSE", b"\x0f\xa0bye")]),
    ],
)
def test_frames_become_messages(events: list[PeerEvent], expected: list[Event]) -> None:
    assert expected == read(sent(*events))


def test_a_close_without_a_code_has_none() -> None:
    assert [Event("CLOSE", b"")] == read(frame(0x88, b""))


@given(st.data(), st.lists(st.text(max_size=200) | st.binary(max_size=200), max_size=5))
def test_it_does_not_matter_how_the_bytes_are_cut(data: st.DataObject, messages: list[str | bytes]) -> None:
    """Between messages a fresh parser goes on where the last one stopped."""
    events = [TextMessage(one) if isinstance(one, str) else BytesMessage(one) for one in messages]
    stream = sent(*events)
    frames, got, at = Frames(LIMIT), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream) - at))
        got += list(frames.feed(stream[at : at + size]))
        at += size
        if frames.is_between:
            frames = Frames(LIMIT)
    assert frames.is_between
    assert [Event("TEXT", one.encode()) if isinstance(one, str) else Event("BINARY", one) for one in messages] == got


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", True),
        (sent(TextMessage("a")), True),
        (sent(TextMessage("a"))[:-1], False),
        (sent(TextMessage("a"))[:1], False),
        (sent(BytesMessage(b"x" * 300))[:3], False),
        (sent(TextMessage("a", message_finished=False)), False),
        (sent(TextMessage("a")) + b"\x81", False),
    ],
    ids=["nothing", "whole", "no end", "first byte", "head", "fragment", "next head"],
)
def test_between_messages_nothing_is_kept(data: bytes, expected: bool) -> None:
    frames = Frames(LIMIT)
    list(frames.feed(data))
    assert expected == frames.is_between


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(0xC1, b"x"), 1002),  # a reserved bit
        (frame(0x83, b""), 1002),  # an unknown opcode
        (frame(0x80, b"x"), 1002),  # the middle of nothing
        (frame(0x09, b""), 1002),  # a ping in parts
        (b"\x81\x01x", 1002),  # no mask
        (frame(0x89, b"x" * 126), 1002),  # a large ping
        (frame(0x88, b"\x03"), 1002),  # half a code
        (frame(0x88, b"\x03\xed"), 1002),  # 1005 is never sent
        (frame(0x81, b"\xff"), 1007),
        (frame(0x82, b"x" * (LIMIT + 1)), 1009),
        (frame(0x02, b"x" * LIMIT) + frame(0x80, b"x"), 1009),
    ],
)
def test_a_broken_rule_has_its_close_code(data: bytes, code: int) -> None:
    with pytest.raises(FrameError) as caught:
        read(data)
    assert code == caught.value.code


def test_what_stands_before_a_fault_is_read() -> None:
    events = Frames(LIMIT).feed(sent(TextMessage("a")) + frame(0x83, b""))
    assert Event("TEXT", b"a") == next(events)
    with pytest.raises(FrameError):
        next(events)


def test_a_message_may_be_as_large_as_the_limit() -> None:
    assert [Event("BINARY", b"x" * LIMIT)] == read(sent(BytesMessage(b"x" * LIMIT)))


@pytest.mark.parametrize("piece", [b"", b"ab"])
def test_a_message_in_pieces_takes_no_more_memory_than_its_content(piece: bytes) -> None:
    """A client may go on for ever with pieces that are empty."""
    frames = Frames(100_000)
    assert [] == read_all(frames, frame(0x01, b"a"))
    many = frame(0x00, piece) * 5000
    read_all(frames, many)  # what the parser takes for itself
    tracemalloc.start()
    try:
        for _ in range(3):
            assert [] == read_all(frames, many)
        grown = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert grown < 50_000 + 3 * 2 * len(piece) * 5000
    assert [Event("TEXT", b"a" + piece * 20_000)] == read_all(frames, frame(0x80, b""))


@pytest.mark.parametrize("first", [0x89, 0x00], ids=["pings", "pieces"])
def test_some_frames_are_read_at_a_time(first: int) -> None:
    """However many a client sends at once, it does not have the loop for long."""
    frames = Frames(LIMIT)
    read_all(frames, frame(0x01, b"a"))
    events = list(frames.feed(frame(first, b"") * (2 * FRAMES_MAX + 1)))
    assert (0 if first == 0 else FRAMES_MAX) == len(events)
    assert frames.has_more
    assert not frames.is_between
    list(frames.feed())
    assert frames.has_more
    list(frames.feed())
    assert not frames.has_more
    assert [Event("TEXT", b"ab")] == list(frames.feed(frame(0x80, b"b")))
    assert frames.is_between


def test_what_inflates_far_is_read_at_a_time_as_well() -> None:
    content = b"x" * LIMIT
    frames = Frames(LIMIT, is_deflated=True)
    events = list(frames.feed(frame(0xC2, deflated(content)) * 5))
    assert [Event("BINARY", content)] * 2 == events
    assert events == list(frames.feed())
    assert [Event("BINARY", content)] == list(frames.feed())
    assert frames.is_between


def test_a_reader_may_stop_at_any_event() -> None:
    frames = Frames(LIMIT)
    got = []
    data = sent(TextMessage("a"), Ping(b"b"), BytesMessage(b"c"), TextMessage("d", message_finished=False))
    event = next(frames.feed(data), None)
    while event is not None:
        got.append(event)
        event = next(frames.feed(), None)
    assert [Event("TEXT", b"a"), Event("PING", b"b"), Event("BINARY", b"c")] == got


@pytest.mark.parametrize(
    "data", [b"", frame(0x01, b"a"), frame(0x01, b"a")[:3], frame(0x89, b"") * 100, frame(0x83, b"")]
)
def test_a_parser_that_is_let_go_of_is_freed_at_once(data: bytes) -> None:
    """By its references alone: the collector would not find what has lived longer than a second."""
    gc.disable()
    try:
        frames = Frames(LIMIT, is_deflated=True)
        with suppress(FrameError):
            next(frames.feed(data), None)
        parser = weakref.ref(frames._parser._proto)
        assert None is not parser()
        frames.release()
        del frames
        assert None is parser()
    finally:
        gc.enable()


def test_compressed_messages_are_inflated() -> None:
    data = frame(0xC1, deflated(b"hello")) + frame(0x81, b"plain")
    assert [Event("TEXT", b"hello"), Event("TEXT", b"plain")] == read(data, is_deflated=True)


def test_a_ping_inside_a_compressed_message_changes_nothing() -> None:
    packed = deflated(b"hello hello hello")
    data = frame(0x41, packed[:4]) + frame(0x89, b"p") + frame(0x80, packed[4:])
    assert [Event("PING", b"p"), Event("TEXT", b"hello hello hello")] == read(data, is_deflated=True)


@pytest.mark.parametrize(
    ("content", "code"),
    [(deflated(b"x" * 1_000_000)[:900], 1009), (deflated(b"x" * (LIMIT + 1)), 1009), (b"\xff", 1007)],
)
def test_what_inflates_too_far_or_not_at_all_is_refused(content: bytes, code: int) -> None:
    """A few bytes must not become many: the limit counts what comes out."""
    with pytest.raises(FrameError) as caught:
        read(frame(0xC2, content), is_deflated=True)
    assert code == caught.value.code


def test_a_backend_does_not_mask() -> None:
    server = Connection(ConnectionType.SERVER)
    assert [Event("TEXT", b"a")] == read(server.send(TextMessage("a")), is_backend=True)
    with pytest.raises(FrameError):
        read(sent(TextMessage("a")), is_backend=True)


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_frames_or_an_error(data: bytes, is_deflated: bool) -> None:
    code = 1002
    try:
        read(data, is_deflated=is_deflated)
    except FrameError as error:
        code = error.code
    assert code in (1002, 1007, 1009)
