"""The answers of long-polls, as bytes.

One publish answers many long-polls, nearly always with the same bytes: the latest answer is kept, and what it was made
of is compared rather than encoded again. Invariant: an answer is a function of its arguments alone.
"""

from gripproxy.grip import wire
from gripproxy.grip.cors import Cors
from gripproxy.grip.fields import Fields
from gripproxy.grip.item import HttpResponse


class Answers:
    """Encodes what is published; ``fields`` everywhere are lines that `wire.encode_fields` made."""

    __slots__ = ("_answer", "_body", "_how", "_response")

    def __init__(self) -> None:
        self._response: HttpResponse | None = None
        self._body = b""
        self._how: tuple[bytes, bool, bool, Cors | None] | None = None
        self._answer = b""

    def published(
        self, response: HttpResponse, body: bytes, fields: bytes, is_head: bool, is_kept: bool, cors: Cors | None
    ) -> bytes:
        """Return the answer with a published response and, of the held ``fields``, those that it does not replace."""
        how = (fields, is_head, is_kept, cors)
        if response is not self._response or body is not self._body or how != self._how:
            merged = complete(_merge(fields, response.fields, response.exposed), cors)
            self._answer = encode(response.code, response.reason, merged, body, is_head, is_kept)
            self._response, self._body, self._how = response, body, how
        return self._answer


def encode(status: int, reason: str, fields: bytes, body: bytes, is_head: bool, is_kept: bool) -> bytes:
    """Return a whole response with its Content-Length."""
    parts = [wire.encode_status_line(status, reason), fields]
    has_body = status >= 200 and status not in (204, 304)
    if has_body:
        parts.append(b"Content-Length: %d\r\n" % len(body))
    if not is_kept:
        parts.append(b"Connection: close\r\n")
    parts.append(b"\r\n")
    if has_body and not is_head:
        parts.append(body)
    return b"".join(parts)


def complete(fields: bytes, cors: Cors | None) -> bytes:
    """Return fields with those that a page of another origin needs."""
    return fields if cors is None else wire.encode_fields(cors.complete(_parse(fields)))


def _parse(encoded: bytes) -> Fields:
    parts = (line.partition(b": ") for line in encoded.split(b"\r\n")[:-1])
    return tuple((name, value) for name, _, value in parts)


def _merge(held: bytes, published: Fields, exposed: frozenset[bytes] | None) -> bytes:
    """Return the held fields, each name that was published replaced by what was published, as far as exposed."""
    if exposed is not None:
        published = tuple(field for field in published if field[0].lower() in exposed)
        held = wire.encode_fields(tuple(field for field in _parse(held) if field[0].lower() in exposed))
    if not published:
        return held
    names = {name.lower() for name, _ in published}
    lines = [line + b"\r\n" for line in held.split(b"\r\n") if line and line.partition(b":")[0].lower() not in names]
    lines.append(wire.encode_fields(published))
    return b"".join(lines)
