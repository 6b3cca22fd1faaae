"""Content codings of bodies that the proxy has to read or to go on with.

Requests ask for no coding where there is GRIP, but a backend may have one all the same. What is appended to a coded
body would be read as a part of it, so it is decoded first.
"""

import zlib

from gripproxy.grip.fields import split_list, text

# Bytes that a body may have once it is decoded; a few may stand for many.
DECODED_MAX = 1_000_000

# zlib's windowBits: the format that a coding has.
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class TooLargeError(ValueError):
    """A body has more bytes than it may have once it is decoded."""


def decode_body(coding: bytes, body: bytes, most: int = DECODED_MAX) -> bytes:
    """Decode a body of a Content-Encoding; none at all, as an answer to HEAD has, stays none.

    Raises:
        ValueError: The coding is not gzip or deflate, or the body is not of it, or not whole.
        TooLargeError: It would have more than ``most`` bytes; no more are decoded.
    """
    if not body:
        return body
    for name in reversed(split_list(text(coding).lower())):
        if name == "identity":
            continue
        bits = _WINDOW_BITS.get(name)
        if bits is None:
            raise ValueError(f"must be gzip, deflate or none, not {name[:40]!r}")
        if name == "deflate" and body[:1] and body[0] & 15 != 8:
            bits = -15  # without the header that RFC 9110 8.4.1.2 asks for; browsers take it, too
        try:
            body = _decode(bits, body, most)
        except zlib.error as error:
            raise ValueError(f"is {name}, which the body is not: {error}") from None
        except EOFError:
            raise ValueError(f"is {name}, and the body is not whole") from None
        if len(body) > most:
            raise TooLargeError(f"is {name} of more than {most} bytes")
    return body


def _decode(bits: int, body: bytes, most: int) -> bytes:
    """Decode one coding, and at most one byte more than there may be.

    Raises: zlib.error, or EOFError when the end is missing.
    """
    parts, room = [], most + 1
    while room > 0:
        decoder = zlib.decompressobj(bits)
        parts.append(decoder.decompress(body, room))
        room -= len(parts[-1])
        if not decoder.eof:
            if room > 0:
                raise EOFError
            break
        # Several gzip members behind each other are one body (RFC 1952 2.2).
        body = decoder.unused_data
        if not body:
            break
    return b"".join(parts)
