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


def decode_body(coding: bytes, body: bytes) -> bytes:
    """Decode a body of a Content-Encoding; none at all, as an answer to HEAD has, stays none.

    Raises:
        ValueError: The coding is not gzip or deflate, or the body is not of it, not whole, or too large.
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
        decoder = zlib.decompressobj(bits)
        try:
            decoded = decoder.decompress(body, DECODED_MAX + 1)
        except zlib.error as error:
            raise ValueError(f"is {name}, which the body is not: {error}") from None
        if len(decoded) > DECODED_MAX:
            raise ValueError(f"is {name} of more than {DECODED_MAX} bytes")
        if not decoder.eof:
            raise ValueError(f"is {name}, and the body is not whole")
        body = decoded
    return body
