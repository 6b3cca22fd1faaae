"""Typed netstrings (tnetstrings.info), which Pushpin's ZeroMQ inputs carry beside JSON: ``5:hello,`` ``2:42#``.

A value is its payload's length in decimal, a colon, the payload, and a character for the type. Strict: what is not
exactly one value is refused, and no length or depth that a sender claims is believed before it was compared. The
packages that read these are compiled extensions and more lenient (bytes that follow, NaN, any key); the forty lines
that it takes are better here.
"""

import math
import re
from collections.abc import Callable
from typing import Any

# Levels of lists and objects. Items have five, and what a JSON Patch adds has its own.
DEPTH_MAX = 64

_size = re.compile(rb"(0|[1-9][0-9]{0,8}):").match  # nine digits, as the specification has it
_is_integer = re.compile(rb"-?[0-9]{1,19}").fullmatch
_is_number = re.compile(rb"-?[0-9]{1,32}(\.[0-9]{1,32})?([eE][+-]?[0-9]{1,4})?").fullmatch


def parse(data: bytes) -> Any:
    """Read one value: strings are bytes, the names of objects' members text.

    Raises: ValueError
    """
    value, end = _parse(data, 0, len(data), 0)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes follow the value")
    return value


def _parse(data: bytes, start: int, stop: int, depth: int) -> tuple[Any, int]:
    """Read the value at ``start``, which ends before ``stop``; return it and where it ends."""
    match = _size(data, start, stop)
    if match is None:
        raise ValueError(f"byte {start}: a length is missing")
    begin = match.end()
    end = begin + int(match[1])
    if end >= stop:
        raise ValueError(f"byte {start}: there are less than {int(match[1])} bytes and a type")
    read = _TYPES.get(data[end])
    if read is None:
        raise ValueError(f"byte {end}: {data[end : end + 1]!r} is not a type")
    if depth > DEPTH_MAX:
        raise ValueError(f"byte {start}: deeper than {DEPTH_MAX} levels")
    return read(data, begin, end, depth), end + 1


def _integer(data: bytes, begin: int, end: int, depth: int) -> int:
    if not _is_integer(data, begin, end):
        raise ValueError(f"byte {begin}: not an integer")
    return int(data[begin:end])


def _number(data: bytes, begin: int, end: int, depth: int) -> float:
    if not _is_number(data, begin, end) or not math.isfinite(number := float(data[begin:end])):
        raise ValueError(f"byte {begin}: not a number")
    return number


def _boolean(data: bytes, begin: int, end: int, depth: int) -> bool:
    if data[begin:end] not in (b"true", b"false"):
        raise ValueError(f"byte {begin}: neither true nor false")
    return end - begin == 4


def _null(data: bytes, begin: int, end: int, depth: int) -> None:
    if begin != end:
        raise ValueError(f"byte {begin}: a null holds nothing")


def _list(data: bytes, begin: int, end: int, depth: int) -> list[Any]:
    values = []
    while begin < end:
        value, begin = _parse(data, begin, end, depth + 1)
        values.append(value)
    return values


def _object(data: bytes, begin: int, end: int, depth: int) -> dict[str, Any]:
    members = {}
    while begin < end:
        start = begin
        name, begin = _parse(data, begin, end, depth + 1)
        if type(name) is not bytes:
            raise ValueError(f"byte {start}: a member's name must be a string")
        try:
            text = name.decode()
        except UnicodeDecodeError:
            raise ValueError(f"byte {start}: a member's name must be UTF-8") from None
        members[text], begin = _parse(data, begin, end, depth + 1)
    return members


_TYPES: dict[int, Callable[[bytes, int, int, int], Any]] = {
    ord(","): lambda data, begin, end, depth: data[begin:end],
    ord("#"): _integer,
    ord("^"): _number,
    ord("!"): _boolean,
    ord("~"): _null,
    ord("]"): _list,
    ord("}"): _object,
}


def encode(value: Any) -> bytes:
    """Write a value of those kinds that answers and statistics are made of.

    Text is written as UTF-8, and half a surrogate pair, which has none, as a question mark.
    """
    match value:
        case bytes():
            payload, kind = value, b","
        case str():
            payload, kind = value.encode("utf-8", "replace"), b","
        case bool():
            payload, kind = (b"true" if value else b"false"), b"!"
        case int():
            payload, kind = b"%d" % value, b"#"
        case None:
            payload, kind = b"", b"~"
        case list():
            payload, kind = b"".join(map(encode, value)), b"]"
        case dict():
            payload, kind = b"".join([encode(name) + encode(member) for name, member in value.items()]), b"}"
        case _:
            raise TypeError(f"{type(value).__name__} is not written")
    return b"%d:%b%b" % (len(payload), payload, kind)
