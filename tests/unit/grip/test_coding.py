"""Content codings: what is decoded, and what is said of the rest."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.grip.coding import DECODED_MAX, TooLargeError, decode_body

BODY = b"hello " * 100
GZIPPED = gzip.compress(BODY, mtime=0)


def raw_deflate(body: bytes) -> bytes:
    coder = zlib.compressobj(wbits=-15)
    return coder.compress(body) + coder.flush()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"gzip", GZIPPED),
        (b"X-GZip", GZIPPED),
        (b"deflate", zlib.compress(BODY)),
        (b"deflate", raw_deflate(BODY)),
        (b"identity", BODY),
        (b"", BODY),
        (b"deflate, gzip", gzip.compress(zlib.compress(BODY), mtime=0)),
        (b"gzip", b"".join(gzip.compress(part, mtime=0) for part in (BODY[:100], b"", BODY[100:]))),
    ],
)
def test_a_body_is_decoded(coding: bytes, body: bytes) -> None:
    assert BODY == decode_body(coding, body)


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"deflate"])
def test_no_body_is_none(coding: bytes) -> None:
    assert b"" == decode_body(coding, b"")


@pytest.mark.parametrize(
    ("coding", "body", "problem"),
    [
        (b"br", BODY, "must be gzip, deflate or none, not 'br'"),
        (b"gzip", BODY, "is gzip, which the body is not"),
        (b"gzip", GZIPPED[:-1], "is gzip, and the body is not whole"),
        (b"gzip", GZIPPED + b"and more", "is gzip, which the body is not"),
        (b"deflate", zlib.compress(BODY)[:-1], "is deflate, and the body is not whole"),
        (b"gzip", gzip.compress(bytes(DECODED_MAX + 1), mtime=0), "is gzip of more than 1000000 bytes"),
        (b"gzip", 2 * gzip.compress(bytes(DECODED_MAX // 2 + 1), mtime=0), "is gzip of more than 1000000 bytes"),
    ],
)
def test_what_can_not_be_decoded_is_an_error(coding: bytes, body: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decode_body(coding, body)


def test_as_many_bytes_as_there_may_be_are_no_error() -> None:
    assert BODY == decode_body(b"gzip", gzip.compress(BODY), len(BODY))
    with pytest.raises(TooLargeError, match=f"is gzip of more than {len(BODY) - 1} bytes"):
        decode_body(b"gzip", gzip.compress(BODY), len(BODY) - 1)


@given(st.sampled_from([b"gzip", b"deflate", b"gzip, deflate"]), st.binary())
def test_any_bytes_are_decoded_or_an_error(coding: bytes, body: bytes) -> None:
    try:
        assert len(decode_body(coding, body)) <= DECODED_MAX
    except ValueError:
        pass
