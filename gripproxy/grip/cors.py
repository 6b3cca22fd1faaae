"""Cross-origin requests: which pages of other origins may read a response (Fetch standard, 3.2; Pushpin's cors.cpp).

The proxy completes what the backend says and never contradicts it: a field that is there stays as it is, and a backend
that names an origin itself has decided. Pushpin lets in every origin with its credentials; here they are listed, and
``*`` never comes with credentials.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from gripproxy.grip.fields import HOP_BY_HOP, Fields, field, field_values, is_token

ANY = "*"

MAX_AGE = b"3600"  # seconds for which a browser remembers the answer to a preflight; Pushpin's

# What a page may read of any response (Fetch 2.2.2.1), never may (2.2.6), or has no use for.
_NOT_EXPOSED = HOP_BY_HOP | {
    b"cache-control",
    b"content-language",
    b"content-length",
    b"content-type",
    b"expires",
    b"last-modified",
    b"pragma",
    b"set-cookie",
    b"set-cookie2",
    b"vary",
}
_NOT_EXPOSED_PREFIXES = (b"grip-", b"access-control-")


@dataclass(frozen=True, slots=True)
class Cors:
    """What one request may be told: made from its fields and the origins that its route lists.

    ``origin`` is what `Access-Control-Allow-Origin` says, b"" for nothing. ``method`` is what a preflight asks for,
    b"" for any other request; ``asked_fields`` are the names it asks for. ``varies``: another origin may be told
    something else.
    """

    origin: bytes
    varies: bool
    method: bytes = b""
    asked_fields: bytes = b""

    @classmethod
    def of(cls, method: str, fields: Fields, listed: frozenset[str]) -> "Cors":
        """Read a request's method and fields; ``listed`` are the origins of a route, or `ANY`."""
        given = field(fields, b"origin") or b""
        varies = listed != {ANY}
        if given and given.decode("latin-1") in listed and given != ANY.encode():
            origin = given
        else:
            origin = ANY.encode() if ANY in listed else b""
        asked = field(fields, b"access-control-request-method") if method == "OPTIONS" and given else None
        if not asked or not is_token(asked):
            return cls(origin, varies)
        names = b", ".join(_names(field_values(fields, b"access-control-request-headers")))
        return cls(origin, varies, asked, names)

    def complete(self, fields: Fields) -> Fields:
        """Return a response's fields with those that it lacks."""
        given = {name.lower() for name, _ in fields}
        added: list[tuple[bytes, bytes]] = []
        if self.varies and not _varies_by_origin(fields):
            added.append((b"Vary", b"Origin"))
        if not self.origin:
            return (*fields, *added)
        if b"access-control-allow-origin" not in given:
            added.append((b"Access-Control-Allow-Origin", self.origin))
            if self.origin != ANY.encode() and b"access-control-allow-credentials" not in given:
                added.append((b"Access-Control-Allow-Credentials", b"true"))
        lacking = [one for one in self._details(fields) if one[1] and one[0].lower() not in given]
        return (*fields, *added, *lacking)

    def _details(self, fields: Fields) -> Fields:
        if self.method:
            return (
                (b"Access-Control-Allow-Methods", self.method),
                (b"Access-Control-Allow-Headers", self.asked_fields),
                (b"Access-Control-Max-Age", MAX_AGE),
            )
        return ((b"Access-Control-Expose-Headers", exposed(fields)),)


def exposed(fields: Fields) -> bytes:
    """Return the names of a response's fields that a page could not read otherwise, each once."""
    names = {
        name.lower(): name
        for name, _ in reversed(fields)
        if name.lower() not in _NOT_EXPOSED and not name.lower().startswith(_NOT_EXPOSED_PREFIXES)
    }
    return b", ".join(reversed(names.values()))


def _names(values: Iterable[bytes]) -> list[bytes]:
    """The field names of a list; what is none is dropped, since the value is sent back."""
    return [name for value in values for name in map(bytes.strip, value.split(b",")) if is_token(name)]


def _varies_by_origin(fields: Fields) -> bool:
    names = {name.strip().lower() for value in field_values(fields, b"vary") for name in value.split(b",")}
    return not names.isdisjoint((b"origin", b"*"))
