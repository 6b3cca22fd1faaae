"""Where the bytes of a connection are cut: however they come, each head is a piece of its own."""

import pytest

from gripproxy.transports.pieces import KNOWN, METHOD_MAX, LongMethodError, Pieces

HEAD = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"


def heads(data: bytes, step: int) -> tuple[list[bytes], bytes]:
    """Cut heads of data that come so many bytes at a time; return them, and what is left for more to come."""
    pieces, found, begun, rest = Pieces(), [], b"", b""
    for start in range(0, len(data), step):
        rest += data[start : start + step]
        while rest:
            piece, rest = pieces.head(rest)
            if not piece:
                break
            begun += piece
            if pieces.is_head_over:
                assert pieces.size == len(begun)
                found.append(begun)
                begun = b""
    return found, begun + rest


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 7, 1000])
def test_heads_are_apart_however_they_come(step: int) -> None:
    data = HEAD + b"\r\n" + HEAD + HEAD + b"GET /2 HTTP/1.1\r\nA: \r\r\n"
    assert ([HEAD] * 3, b"GET /2 HTTP/1.1\r\nA: \r\r\n") == heads(data, step)


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_what_is_no_head_goes_to_the_parser_as_it_is(step: int) -> None:
    """It is the parser that refuses it."""
    for data in (b"\x16\x03\x01\r\n\r\n", b" GET / HTTP/1.1\r\n\r\n", b"GET\t/ HTTP/1.1\r\n\r\n", b"FROB\r\n\r\n"):
        assert ([data], b"") == heads(data, step)


def test_a_method_is_waited_for() -> None:
    """A part of one may be the beginning of another."""
    pieces = Pieces()
    assert (b"", b"GET") == pieces.head(b"\r\nGET")
    assert (b"POST / ", b"") == pieces.head(b"GETTING / ")
    assert "GETTING" == pieces.method


@pytest.mark.parametrize("method", [b"FROB", b"get", b"x" * METHOD_MAX, b"SOURCE", b"DESCRIBE", b"!#$%&'*+.^_`|~-0"])
def test_another_stands_for_a_method_that_the_parser_does_not_know(method: bytes) -> None:
    pieces = Pieces()
    assert (HEAD.replace(b"GET", b"POST"), b"behind") == pieces.head(HEAD.replace(b"GET", method) + b"behind")
    assert method.decode() == pieces.method
    assert (HEAD, b"") == pieces.head(HEAD)
    assert "" == pieces.method


@pytest.mark.parametrize("method", sorted(KNOWN))
def test_the_parser_gets_a_method_that_it_knows(method: bytes) -> None:
    pieces = Pieces()
    head = HEAD.replace(b"GET", method)
    assert (head, b"") == pieces.head(head)
    assert "" == pieces.method


@pytest.mark.parametrize("end", [b"", b" / HTTP/1.1\r\n"])
def test_a_method_may_be_too_long(end: bytes) -> None:
    with pytest.raises(LongMethodError):
        Pieces().head(b"x" * (METHOD_MAX + 1) + end)


def test_a_body_has_the_length_that_it_is_said_to_have() -> None:
    pieces = Pieces()
    assert (HEAD, b"ab") == pieces.head(HEAD + b"ab")
    pieces.left = 3
    assert (b"ab", b"") == pieces.body(b"ab")
    assert (b"c", b"GET") == pieces.body(b"cGET")
    assert 0 == pieces.left
