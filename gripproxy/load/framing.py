"""From the bytes of a connection to the messages in them.

Every connection of a channel gets the same bytes, so a batch is parsed once: ``Framing.read`` remembers what each
bytes object means, and a connection that reads the same as another costs one look-up. Therefore a parser is a pure
function of the bytes, and what it leaves unread (``Batch.rest``) is bytes that it understands when more come.

A message is ``#`` run source sequence time padding ``;``: 8, 8, 8 and 16 hexadecimal digits, padded with ``x``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from gripproxy.load.latency import Latency

MARK = b"#"
#: Batches remembered at once; each keeps the arrivals of all its readers until it is counted.
MOST_BATCHES = 64
#: A head, or the size line of a chunk, that is longer is not HTTP.
LONGEST_HEAD = 65_536
LONGEST_SIZE_LINE = 1024
LARGEST_FRAME = 1 << 40

Run = tuple[int, int, int]  # source, first sequence, the one after the last


class FramingError(ValueError):
    """The bytes are not what the connection's protocol allows."""


@dataclass(slots=True)
class Batch:
    """What some bytes mean.

    ``runs`` are the messages, ``sent`` their send times, ``end`` the reason why nothing follows; ``pings`` are to be
    answered, ``statuses`` are those of complete responses. ``arrivals`` is filled by the readers.
    """

    runs: tuple[Run, ...] = ()
    sent: tuple[int, ...] = ()
    rest: bytes = b""
    damaged: int = 0
    pings: tuple[bytes, ...] = ()
    statuses: tuple[int, ...] = ()
    end: str | None = None
    is_special: bool = False
    arrivals: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a response; names in lower case. ``size`` is its length in bytes."""

    status: int
    fields: dict[bytes, bytes]
    size: int

    @property
    def is_chunked(self) -> bool:
        return b"chunked" in self.fields.get(b"transfer-encoding", b"").lower()

    @property
    def is_last(self) -> bool:
        """Whether the connection ends after this response."""
        return b"close" in self.fields.get(b"connection", b"").lower()


def parse_head(data: bytes) -> Head | None:
    """The head at the start of ``data``, or None when it is not complete. Raises: FramingError."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > LONGEST_HEAD:
            raise FramingError("endless head")
        return None
    lines = data[:end].split(b"\r\n")
    status = re.fullmatch(rb"HTTP/1\.[01] ([0-9]{3})(?: .*)?", lines[0], re.DOTALL)
    if not status:
        raise FramingError("not HTTP")
    fields: dict[bytes, bytes] = {}
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        fields[name.strip().lower()] = value.strip()
    return Head(int(status[1]), fields, end + 4)


def message(run: str, source: int, sequence: int, sent: int, size: int) -> bytes:
    """The message of ``size`` bytes; the pure counterpart of ``Scanner``."""
    head = b"#%s%08x%08x%016x" % (run.encode(), source, sequence & 0xFFFF_FFFF, sent)
    return head.ljust(size - 1, b"x") + b";"


class Scanner:
    """Finds the messages of one run, all of ``size`` bytes, in plain content."""

    __slots__ = ("_find", "_mark", "_size")

    def __init__(self, run: str, size: int) -> None:
        self._mark = MARK + run.encode()
        self._size = size
        self._find = re.compile(re.escape(self._mark) + b"([0-9a-f]{32})x{%d};" % (size - 42)).finditer

    def scan(self, content: bytes) -> tuple[list[Run], list[int], int, int]:
        """Runs, send times, how many damaged messages, and where an unfinished message starts (else the end)."""
        runs: list[Run] = []
        sent: list[int] = []
        after, count = 0, 0
        for match in self._find(content):
            value = int(match[1], 16)
            source, sequence = value >> 96, value >> 64 & 0xFFFF_FFFF
            sent.append(value & 0xFFFF_FFFF_FFFF_FFFF)
            if runs and runs[-1][0] == source and runs[-1][2] == sequence:
                runs[-1] = (source, runs[-1][1], sequence + 1)
            else:
                runs.append((source, sequence, sequence + 1))
            after, count = match.end(), count + 1
        tail = self._unfinished(content, after)
        return runs, sent, content.count(self._mark, 0, tail) - count, tail

    def _unfinished(self, content: bytes, start: int) -> int:
        """Where a message begins whose end is not there yet."""
        position = content.find(MARK, max(start, len(content) - self._size + 1))
        while position >= 0:
            begun = content[position : position + len(self._mark)]
            if self._mark.startswith(begun):
                return position
            position = content.find(MARK, position + 1)
        return len(content)


def parse_plain(data: bytes, scanner: Scanner) -> Batch:
    """A body that lasts until the connection ends."""
    runs, sent, damaged, tail = scanner.scan(data)
    return Batch(tuple(runs), tuple(sent), data[tail:], damaged)


def parse_chunks(data: bytes, scanner: Scanner) -> Batch:
    """A chunked body (RFC 9112, 7.1). A message that is split over chunks is left, as a chunk of its own."""
    pieces: list[bytes] = []
    content, position, is_over = _dechunk(data, pieces)
    runs, sent, damaged, tail = scanner.scan(content)
    rest = data[position:]
    if tail < len(content) and not is_over:
        rest = b"%x\r\n%s\r\n%s" % (len(content) - tail, content[tail:], rest)
    end = "the stream was ended" if is_over else None
    return Batch(tuple(runs), tuple(sent), rest, damaged, end=end)


def _dechunk(data: bytes, pieces: list[bytes]) -> tuple[bytes, int, bool]:
    """Content, where the first incomplete chunk starts, and whether the last chunk was there."""
    position = 0
    while True:
        line = data.find(b"\r\n", position, position + LONGEST_SIZE_LINE)
        if line < 0:
            if len(data) - position > LONGEST_SIZE_LINE:
                raise FramingError("chunk without a size")
            return b"".join(pieces), position, False
        digits = data[position:line].partition(b";")[0].strip()
        if not re.fullmatch(rb"[0-9a-fA-F]{1,12}", digits):
            raise FramingError(f"{digits[:20]!r} is not the size of a chunk")
        size = int(digits, 16)
        if not size:
            end = data.find(b"\r\n\r\n", line)
            return b"".join(pieces), (position if end < 0 else end + 4), end >= 0
        end = line + 2 + size
        if end + 2 > len(data):
            return b"".join(pieces), position, False
        if data[end : end + 2] != b"\r\n":
            raise FramingError("a chunk is longer than it said")
        pieces.append(data[line + 2 : end])
        position = end + 2


def parse_frames(data: bytes, scanner: Scanner) -> Batch:
    """Frames of a WebSocket server (RFC 6455, 5.2): they are not masked, and no extension was offered."""
    messages: list[bytes] = []
    pings: list[bytes] = []
    end: str | None = None
    position = 0
    parts: list[bytes] | None = None
    while end is None:
        frame = _frame(data, position)
        if frame is None:
            break
        opcode, is_final, payload, position = frame
        if opcode == 9:
            pings.append(payload)
        elif opcode == 8:
            end = f"close frame {int.from_bytes(payload[:2])}" if len(payload) > 1 else "close frame without a code"
        elif opcode in (0, 1, 2):
            if (opcode == 0) == (parts is None):
                raise FramingError("a fragment without a beginning or a message inside another")
            parts = [*(parts or ()), payload]
            if is_final:
                messages.append(b"".join(parts))
                parts = None
    # Not the fragments themselves are left: a ping among them would be answered again.
    left = data[position:] if parts is None else _fragment(parts) + data[position:]
    runs, sent, damaged, tail = scanner.scan(content := b"\n".join(messages))
    return Batch(tuple(runs), tuple(sent), left, damaged + (tail < len(content)), tuple(pings), end=end)


def _frame(data: bytes, position: int) -> tuple[int, bool, bytes, int] | None:
    if len(data) < position + 2:
        return None
    first, second = data[position], data[position + 1]
    if first & 0x70 or second & 0x80:
        raise FramingError("a frame with reserved bits or a mask")
    size, start = second, position + 2
    if size >= 126:
        start += 2 if size == 126 else 8
        if len(data) < start:
            return None
        size = int.from_bytes(data[position + 2 : start])
        if size > LARGEST_FRAME:
            raise FramingError(f"a frame of {size} bytes")
    if len(data) < start + size:
        return None
    return first & 0x0F, bool(first & 0x80), data[start : start + size], start + size


def _fragment(parts: list[bytes]) -> bytes:
    payload = b"".join(parts)
    return b"\x01\x7f" + len(payload).to_bytes(8) + payload


def parse_responses(data: bytes, scanner: Scanner) -> Batch:
    """Complete responses, one after the other: what a client that polls gets."""
    bodies: list[bytes] = []
    statuses: list[int] = []
    end: str | None = None
    position = 0
    while end is None and (head := parse_head(data[position:])):
        start = position + head.size
        if head.is_chunked:
            pieces: list[bytes] = []
            body, size, is_over = _dechunk(data[start:], pieces)
            if not is_over:
                break
        else:
            length = head.fields.get(b"content-length", b"0" if head.status in (204, 304) else b"")
            if not length.isdigit():
                raise FramingError("a response without a length")
            size = int(length)
            body = data[start : start + size]
            if len(body) < size:
                break
        bodies.append(body)
        statuses.append(head.status)
        position = start + size
        end = "last response" if head.is_last else None
    runs, sent, damaged, tail = scanner.scan(content := b"\n".join(bodies))
    return Batch(
        tuple(runs),
        tuple(sent),
        data[position:],
        damaged + (tail < len(content)),
        statuses=tuple(statuses),
        end=end,
    )


def parse_nothing(data: bytes, scanner: Scanner) -> Batch:
    """What arrives at a client that is not meant to read."""
    return Batch()


PARSERS: dict[str, Callable[[bytes, Scanner], Batch]] = {
    "plain": parse_plain,
    "chunks": parse_chunks,
    "frames": parse_frames,
    "responses": parse_responses,
    "nothing": parse_nothing,
}


class Framing:
    """One way to frame messages, with the batches seen last.

    A batch that is forgotten is counted into ``latency``; until then its readers only note when they read it.
    """

    __slots__ = ("_latency", "_parse", "_scanner", "batches")

    def __init__(self, name: str, scanner: Scanner, latency: Latency) -> None:
        self._parse = PARSERS[name]
        self._scanner = scanner
        self._latency = latency
        self.batches: dict[bytes, Batch] = {}

    def read(self, data: bytes) -> Batch:
        """What ``data`` means. Raises: FramingError."""
        batch = self.batches.get(data)
        if batch is None:
            batch = self._parse(data, self._scanner)
            batch.is_special = bool(batch.damaged or batch.pings or batch.statuses or batch.end)
            if len(self.batches) >= MOST_BATCHES:
                oldest = next(iter(self.batches))
                self._count(self.batches.pop(oldest))
            self.batches[data] = batch
        return batch

    def flush(self) -> None:
        """Count everything that is still remembered."""
        for batch in self.batches.values():
            self._count(batch)
        self.batches.clear()

    def _count(self, batch: Batch) -> None:
        if batch.sent:
            self._latency.record(batch.sent, batch.arrivals)
        batch.arrivals.clear()
