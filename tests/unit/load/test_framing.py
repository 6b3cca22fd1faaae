"""Parsers of what a connection receives: the same messages however the bytes are cut."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.load.framing import (
    LONGEST_HEAD,
    MOST_BATCHES,
    PARSERS,
    Batch,
    Framing,
    FramingError,
    Scanner,
    message,
    parse_chunks,
    parse_frames,
    parse_head,
    parse_plain,
    parse_responses,
)
from gripproxy.load.latency import Latency

RUN, SIZE = "0123abcd", 60
SCANNER = Scanner(RUN, SIZE)


def content(sequence: int, source: int = 3) -> bytes:
    return message(RUN, source, sequence, 1000 + sequence, SIZE)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def frame(data: bytes, first: int = 0x81) -> bytes:
    size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2)
    return bytes([first]) + size + data


def response(data: bytes, head: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(data), head, data)


WRAP: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data + b"\n",
    "chunks": lambda data: chunk(data + b"\n"),
    "frames": frame,
    "responses": response,
}


def read_all(name: str, pieces: list[bytes]) -> list[Batch]:
    batches, rest = [], b""
    for piece in pieces:
        batches.append(PARSERS[name](rest + piece, SCANNER))
        rest = batches[-1].rest
    return batches


def sequences(batches: list[Batch]) -> list[int]:
    return [one for batch in batches for _, first, after in batch.runs for one in range(first, after)]


@pytest.mark.parametrize("name", WRAP)
@given(cuts=st.lists(st.integers(0, 500), max_size=8))
def test_messages_survive_any_cut(name: str, cuts: list[int]) -> None:
    data = b"".join(WRAP[name](content(sequence)) for sequence in range(4))
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]

    batches = read_all(name, [data[start:end] for start, end in pairwise(edges)])

    assert [0, 1, 2, 3] == sequences(batches)
    assert [1000, 1001, 1002, 1003] == [sent for batch in batches for sent in batch.sent]
    assert 0 == sum(batch.damaged for batch in batches)


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(name: str, data: bytes) -> None:
    try:
        PARSERS[name](data, SCANNER)
    except FramingError:
        pass


@given(cuts=st.lists(st.integers(0, 130), max_size=6))
def test_messages_may_be_split_over_chunks(cuts: list[int]) -> None:
    data = content(0) + content(1)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges) if end > start]

    batches = read_all("chunks", [chunk(piece) for piece in pieces])

    assert [0, 1] == sequences(batches)
    assert 0 == sum(batch.damaged for batch in batches)


def test_a_message_has_its_size_and_may_stand_in_any_format() -> None:
    assert b"#0123abcd0000000300000000000000000000" == content(0)[:37]
    assert (SIZE, b";") == (len(content(0)), content(0)[-1:])
    assert [5] == sequences([parse_chunks(chunk(b"event: m\ndata: " + content(5) + b"\n\n"), SCANNER)])


def test_sequences_that_follow_each_other_are_one_run_for_each_source() -> None:
    data = content(1) + content(2) + content(8) + content(9, source=4) + content(9)

    assert ((3, 1, 3), (3, 8, 9), (4, 9, 10), (3, 9, 10)) == parse_plain(data, SCANNER).runs


def test_messages_of_another_run_are_not_ours() -> None:
    batch = parse_plain(message("ffffffff", 3, 0, 1, SIZE), SCANNER)

    assert ((), 0, b"") == (batch.runs, batch.damaged, batch.rest)


@pytest.mark.parametrize(
    "damaged",
    [content(0)[:-3] + b"yx;", content(0)[:-1] + b"x", content(0)[:20] + content(1), b"#0123abcd" + b"g" * 51],
)
def test_a_message_that_was_changed_is_damaged(damaged: bytes) -> None:
    assert 1 == parse_chunks(chunk(damaged + b"\n" * SIZE), SCANNER).damaged


@pytest.mark.parametrize("parse", [parse_frames, parse_responses])
def test_a_message_that_is_cut_off_is_damaged(parse: Callable[[bytes, Scanner], Batch]) -> None:
    wrap = frame if parse is parse_frames else response

    assert 1 == parse(wrap(content(0)[:40]), SCANNER).damaged


@pytest.mark.parametrize(
    ("data", "complaint"),
    [(b"xyz\r\n", "is not the size"), (b"-1\r\n", "is not the size"), (b"2\r\nabcd", "longer"), (b"1" * 2000, "size")],
)
def test_bad_chunks_are_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(FramingError, match=complaint):
        parse_chunks(data, SCANNER)


def test_the_last_chunk_ends_the_stream() -> None:
    batch = parse_chunks(chunk(content(0)) + b"0\r\n\r\n", SCANNER)

    assert ([0], "the stream was ended") == (sequences([batch]), batch.end)
    assert parse_chunks(b"0\r\n", SCANNER).end is None


def test_fragments_of_a_frame_make_one_message_and_a_ping_among_them_is_answered_once() -> None:
    first = frame(content(0)[:20], 0x01) + frame(b"hi", 0x89) + frame(content(0)[20:40], 0x00)

    batches = read_all("frames", [first, frame(content(0)[40:], 0x80)])

    assert [(b"hi",), ()] == [batch.pings for batch in batches]
    assert [0] == sequences(batches)


@pytest.mark.parametrize(
    ("payload", "end"), [(b"\x03\xe8bye", "close frame 1000"), (b"", "close frame without a code")]
)
def test_a_close_frame_is_the_end(payload: bytes, end: str) -> None:
    batch = parse_frames(frame(content(0)) + frame(payload, 0x88) + frame(content(1)), SCANNER)

    assert ([0], end) == (sequences([batch]), batch.end)


@pytest.mark.parametrize(
    "data", [b"\xc1\x01a", b"\x81\x81aaaaa", b"\x80\x01a", b"\x01\x01a\x01\x01a", b"\x81\x7f" + b"\xff" * 8]
)
def test_frames_that_no_server_may_send_are_refused(data: bytes) -> None:
    with pytest.raises(FramingError):
        parse_frames(data, SCANNER)


def test_responses_tell_their_statuses_and_the_last_one() -> None:
    bad = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
    chunked = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunk(content(1)) + b"0\r\n\r\n"
    )

    batch = parse_responses(bad + chunked + bad, SCANNER)

    assert ((502, 200), "last response", [1]) == (batch.statuses, batch.end, sequences([batch]))


@pytest.mark.parametrize("data", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"])
def test_a_response_without_a_length_is_refused(data: bytes) -> None:
    with pytest.raises(FramingError, match="without a length"):
        parse_responses(data, SCANNER)


def test_a_head_is_read_when_it_is_complete() -> None:
    head = parse_head(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade:  websocket \r\n\r\nrest")

    assert head is not None
    assert (101, {b"upgrade": b"websocket"}, 58) == (head.status, head.fields, head.size)
    assert parse_head(b"HTTP/1.1 200 OK\r\n") is None


@pytest.mark.parametrize("data", [b"SSH-2.0\r\n\r\n", b"HTTP/2 200\r\n\r\n", b"x" * (LONGEST_HEAD + 1)])
def test_what_is_not_http_is_refused(data: bytes) -> None:
    with pytest.raises(FramingError):
        parse_head(data)


def test_equal_bytes_are_parsed_once_and_counted_for_each_reader() -> None:
    latency = Latency()
    framing = Framing("chunks", SCANNER, latency)

    first, second = framing.read(chunk(content(0))), framing.read(bytes(chunk(content(0))))
    first.arrivals += [5000, 6000, 7000]
    framing.flush()

    assert first is second
    assert 3 == latency.histogram().get_total_count()


def test_the_oldest_batch_is_counted_when_there_are_too_many() -> None:
    latency = Latency()
    framing = Framing("plain", SCANNER, latency)

    for sequence in range(MOST_BATCHES + 3):
        framing.read(content(sequence)).arrivals.append(10_000)

    assert 3 == latency.histogram().get_total_count()
    assert MOST_BATCHES == len(framing.batches)


def test_batches_that_need_attention_are_marked() -> None:
    framing = Framing("frames", SCANNER, Latency())

    assert not framing.read(frame(content(0))).is_special
    assert framing.read(frame(b"hi", 0x89)).is_special
