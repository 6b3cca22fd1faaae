"""What a fuzz target is, and the few things that all targets need: refusals, heads of fields, choices made by bytes."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gripproxy.grip.fields import Fields

_CONTROLS = bytes(set(range(32)) - {9} | {127})

Encode = Callable[[object], bytes | None]


def plain(value: object) -> bytes | None:
    """A text or bytes of a table as an input; None for anything else."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return value if isinstance(value, bytes) else None


@dataclass(frozen=True)
class Target:
    """One parser and what must hold for it: ``run`` raises whatever is not as it should be.

    ``tables`` are the unit tests whose tables are the first inputs, ``encode`` makes an input of a value of theirs;
    ``seeds`` are whole inputs, ``words`` what an input may be worth having in it.
    """

    run: Callable[[bytes], object]
    tables: tuple[str, ...] = ()
    encode: Encode = plain
    seeds: tuple[bytes, ...] = ()
    words: tuple[bytes, ...] = ()


@contextmanager
def refusing(
    kind: type[Exception], pattern: str, *, statuses: tuple[int, ...] = (), secret: bytes = b""
) -> Iterator[None]:
    """Let through errors of exactly this kind, whose text begins as the pattern says and does not show the secret."""
    try:
        yield
    except kind as error:
        _judge(error, kind, pattern, statuses, secret.decode())


def _judge(error: Exception, kind: type[Exception], pattern: str, statuses: tuple[int, ...], secret: str) -> None:
    assert type(error) is kind or kind is ValueError, f"{type(error).__name__} instead of {kind.__name__}"
    text = str(error)
    assert re.match(pattern, text, re.DOTALL), f"the error does not say what is wrong: {text}"
    assert not secret or secret not in text
    assert not statuses or getattr(error, "status", None) in statuses


def read_head(data: bytes) -> tuple[Fields, bytes]:
    """Fields as a parser of HTTP gives them, one in each line, and behind an empty line a body."""
    head, _, body = data.partition(b"\n\n")
    pairs = (line.translate(None, _CONTROLS).partition(b":") for line in head.split(b"\n"))
    return tuple((name, value.strip(b" \t")) for name, colon, value in pairs if colon and name), body


def write_head(fields: object, body: bytes = b"") -> bytes | None:
    """The input that `read_head` makes these fields of; None if the value is no fields."""
    if not isinstance(fields, tuple) or not all(isinstance(one, tuple) and len(one) == 2 for one in fields):
        return None
    if not all(isinstance(name, bytes) and isinstance(value, bytes) for name, value in fields):
        return None
    return b"".join([b"%b: %b\n" % pair for pair in fields]) + b"\n" + body


def is_clean(data: bytes) -> bool:
    """Whether the bytes cannot end a line, nor a field."""
    return not re.search(rb"[\r\n\0]", data)


class Choices:
    """Bytes as a row of decisions; when they are used up everything is 0 or empty."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def number(self, below: int) -> int:
        """A number from 0."""
        self._at += 1
        return self._data[self._at - 1] % below if self._at <= len(self._data) else 0

    def take(self) -> bytes:
        """A few bytes: one that says how many, and those."""
        size = self.number(256)
        self._at += size
        return self._data[self._at - size : self._at]
