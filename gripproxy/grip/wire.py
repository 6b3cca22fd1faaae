"""Framings: how content becomes the bytes that a client's connection carries.

An item is encoded once for each framing and the same bytes go to every subscriber, so nothing here may
depend on a connection. Server frames carry no mask (RFC 6455 5.1), which is what makes them shareable.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus

from gripproxy.grip.fields import Fields, quote_parameter
from gripproxy.grip.item import Item

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
OPCODES = {"text": TEXT, "binary": BINARY, "ping": PING, "pong": PONG}

LAST_CHUNK = b"0\r\n\r\n"

REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}

# Longest content of a control frame, RFC 6455 5.5.
CONTROL_CONTENT_MAX = 125

# Below this a deflated message seldom is shorter than the plain one.
DEFLATE_MIN = 64


def chunk(content: bytes) -> bytes:
    """Return content as one chunk (RFC 9112 7.1); empty for empty content, which would end the body."""
    return b"%x\r\n%b\r\n" % (len(content), content) if content else b""


def frame(opcode: int, content: bytes, is_compressed: bool = False) -> bytes:
    """Return content as one unmasked, final frame (RFC 6455 5.2; RFC 7692 6 for ``is_compressed``)."""
    first = 0xC0 | opcode if is_compressed else 0x80 | opcode
    size = len(content)
    if size < 126:
        return bytes((first, size)) + content
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + content
    return bytes((first, 127)) + size.to_bytes(8, "big") + content


def deflated_frame(opcode: int, content: bytes) -> bytes:
    """Return a data frame compressed without context takeover (RFC 7692 7.2.1), so that all clients can share it."""
    if opcode >= CLOSE or len(content) < DEFLATE_MIN:
        return frame(opcode, content)
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    compressed = deflate.compress(content) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return frame(opcode, compressed[:-4], is_compressed=True)


def close_frame(code: int | None, reason: str = "") -> bytes:
    """Return a Close frame; a missing code is sent as none at all (RFC 6455 5.5.1)."""
    if code is None:
        return frame(CLOSE, b"")
    text = reason.encode()[: CONTROL_CONTENT_MAX - 2].decode("utf-8", "ignore").encode()
    return frame(CLOSE, code.to_bytes(2, "big") + text)


def _stream_content(item: Item) -> bytes:
    assert item.stream is not None
    return item.stream.content


def _stream_chunk(item: Item) -> bytes:
    return chunk(_stream_content(item))


def _message_frame(item: Item) -> bytes:
    message = item.message
    assert message is not None
    return frame(OPCODES[message.type], message.content)


def _message_deflated_frame(item: Item) -> bytes:
    message = item.message
    assert message is not None
    return deflated_frame(OPCODES[message.type], message.content)


# The framings that share bytes among subscribers: name -> encoder of an item whose action is "send".
CHUNK, PLAIN, FRAME, DEFLATED = "chunk", "plain", "frame", "deflated"
STREAM_FRAMINGS: dict[str, Callable[[Item], bytes]] = {CHUNK: _stream_chunk, PLAIN: _stream_content}
MESSAGE_FRAMINGS: dict[str, Callable[[Item], bytes]] = {FRAME: _message_frame, DEFLATED: _message_deflated_frame}


def encode_last_ids(last_ids: Mapping[str, str]) -> Fields:
    """Return the Grip-Last fields that tell a backend where a client is: channel -> id."""
    return tuple(
        (b"Grip-Last", f"{channel}; last-id={quote_parameter(last_id)}".encode())
        for channel, last_id in last_ids.items()
    )


def encode_fields(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return header fields as lines, each ended by CRLF."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def encode_status_line(status: int, reason: str | bytes = b"") -> bytes:
    """Return the status line; without a reason the registered phrase is used."""
    phrase = reason.encode("utf-8", "surrogateescape") if isinstance(reason, str) else reason
    return b"HTTP/1.1 %d %b\r\n" % (status, phrase or REASONS.get(status, b"Undefined Reason"))


def encode_response(
    status: int, reason: str | bytes, fields: Fields, body: bytes, *, head_only: bool = False, is_last: bool = False
) -> bytes:
    """Return a whole response with its Content-Length; ``head_only`` for HEAD, ``is_last`` adds Connection: close."""
    parts = [encode_status_line(status, reason), encode_fields(fields)]
    has_body = status >= 200 and status not in (204, 304)
    if has_body:
        parts.append(b"Content-Length: %d\r\n" % len(body))
    if is_last:
        parts.append(b"Connection: close\r\n")
    parts.append(b"\r\n")
    if has_body and not head_only:
        parts.append(body)
    return b"".join(parts)
