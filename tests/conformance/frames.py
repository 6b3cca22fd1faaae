"""WebSocket frames, byte by byte (RFC 6455 section 5): what the suite writes and reads, for both ends.

Nothing here is lenient: the suite wants to see exactly which frames a proxy makes.
"""

import base64
import hashlib
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; for a close frame `code` and `reason` take its payload apart."""

    opcode: int
    payload: bytes = b""
    final: bool = True
    reserved: int = 0

    @property
    def code(self) -> int | None:
        return struct.unpack(">H", self.payload[:2])[0] if len(self.payload) >= 2 else None

    @property
    def reason(self) -> str:
        return self.payload[2:].decode()


def close(code: int | None = None, reason: str = "") -> Frame:
    """A close frame, without a payload if there is no code."""
    return Frame(CLOSE, b"" if code is None else struct.pack(">H", code) + reason.encode())


def encode(frame: Frame, masked: bool) -> bytes:
    """The frame's bytes; a client's are masked, a server's are not."""
    size = len(frame.payload)
    head = bytes([frame.final << 7 | frame.reserved << 4 | frame.opcode])
    mark = masked << 7
    if size < 126:
        head += bytes([mark | size])
    elif size < 1 << 16:
        head += struct.pack(">BH", mark | 126, size)
    else:
        head += struct.pack(">BQ", mark | 127, size)
    if not masked:
        return head + frame.payload
    mask = os.urandom(4)
    stretched = (mask * (size // 4 + 1))[:size]
    hidden = (int.from_bytes(frame.payload, "big") ^ int.from_bytes(stretched, "big")).to_bytes(size, "big")
    return head + mask + hidden


def read(read_exactly: Callable[[int], bytes]) -> Frame:
    """The next frame from a function that returns exactly as many bytes as asked."""
    first, second = read_exactly(2)
    size = second & 127
    if size == 126:
        (size,) = struct.unpack(">H", read_exactly(2))
    elif size == 127:
        (size,) = struct.unpack(">Q", read_exactly(8))
    mask = read_exactly(4) if second >> 7 else b""
    payload = read_exactly(size)
    if mask:
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return Frame(first & 15, payload, bool(first >> 7), first >> 4 & 7)


def new_key() -> str:
    """A Sec-WebSocket-Key."""
    return base64.b64encode(os.urandom(16)).decode()


def accept_for(key: str) -> str:
    """The Sec-WebSocket-Accept that answers a key (RFC 6455 section 4.2.2)."""
    digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return base64.b64encode(digest).decode()
