"""HTTP field syntax: lists, parameters, cstring, base64, and the fields that end at each hop.

A field is a pair of raw bytes, name and value as they were received, value without surrounding blanks. Names are
compared in lower case. Nothing here knows what a GRIP field means.
"""

import re
from binascii import a2b_base64
from collections.abc import Callable
from http import HTTPStatus

Fields = tuple[tuple[bytes, bytes], ...]

# RFC 9110 section 7.6.1, plus the two proxy credentials, which are for one hop as well (section 11.7).
HOP_BY_HOP: frozenset[bytes] = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

REASONS: dict[int, str] = {status.value: status.phrase for status in HTTPStatus}

is_token: Callable[[bytes], object] = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
"""Whether the bytes are an RFC 9110 token, which every field name must be (the result's truth counts)."""

has_control: Callable[[str], object] = re.compile(r"[\x00-\x1f\x7f]").search
"""Whether the text has a control character (the result's truth counts)."""

_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{2}|[0-3]?[0-7]{1,2}|.|$)", re.DOTALL)
_ESCAPES = {
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
    b"\\": b"\\",
    b"'": b"'",
    b'"': b'"',
    b"?": b"?",
}
# Possessive quantifiers: a hostile value costs one pass, whatever it holds.
_LIST_PART = re.compile(r'(?:[^",]++|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))++', re.DOTALL)
_PARAMETER = re.compile(r'([^=;]*+)(?:=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"[^;]*+|((?!")[^;]*+)))?(?:;|\Z)', re.DOTALL)
_TO_ESCAPE = re.compile(r'["\\]')
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BASE64_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_NOT_BASE64 = bytes(set(range(256)) - set(_BASE64) - set(b"-_"))


def text(value: bytes) -> str:
    """A field value as text: UTF-8 if it is that, else Latin-1 (which frameworks fall back to)."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def field(fields: Fields, name: bytes) -> bytes | None:
    """The value of the first field with that lower-case name."""
    for key, value in fields:
        if key.lower() == name:
            return value
    return None


def field_values(fields: Fields, name: bytes) -> list[bytes]:
    """The values of all fields with that lower-case name, in order."""
    return [value for key, value in fields if key.lower() == name]


def split_list(text: str) -> list[str]:
    """The parts of a comma list, trimmed, without empty ones; commas in double quotes do not split.

    A quote that is never closed runs to the end.
    """
    parts = text.split(",") if '"' not in text else _LIST_PART.findall(text)
    return [part for part in map(str.strip, parts) if part]


def parse_parameters(text: str) -> tuple[str, list[tuple[str, str]]] | None:
    """Split ``value; name=value; name="quoted \\" value"`` into the value and its parameters in order.

    The value is everything before the first semicolon, quotes included; a parameter without ``=`` has the value "";
    what follows a closing quote up to the next semicolon is ignored. Returns None for a quote that is not closed or a
    backslash that escapes nothing. (GRIP protocol; Pushpin's httpheaders.cpp.)
    """
    value, semicolon, rest = text.partition(";")
    parameters: list[tuple[str, str]] = []
    if not semicolon:
        return value.strip(), parameters
    position = 0
    while position < len(rest):
        match = _PARAMETER.match(rest, position)
        if match is None:
            return None
        name, quoted, bare = match.groups()
        if name := name.strip():
            given = (bare or "").strip() if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)
            parameters.append((name, given))
        position = match.end()
    return value.strip(), parameters


def quote_parameter(value: str) -> str:
    """A parameter's value as it is written: what is no token needs quotes (RFC 9110 section 5.6.6).

    Pushpin writes any value as it is. Then a quote or semicolon in it is syntax to whoever reads it, and parsers that
    go by the RFC, such as the one of django-grip, take no more than what is before the first colon or blank.
    """
    if is_token(value.encode()):
        return value
    return '"' + _TO_ESCAPE.sub(r"\\\g<0>", value) + '"'


def decode_cstring(text: str) -> bytes:
    """Decode the escapes of a C string literal: ``\\n \\r \\t \\\\ \\" \\0 \\x1b`` and so on; ``\\x`` takes two digits.

    Bytes that a lenient decoder smuggled in as surrogates come out as they were.

    Raises:
        ValueError: An escape is unknown or incomplete. (Pushpin deletes unknown ones silently.)
    """
    return _ESCAPE.sub(_decode_escape, text.encode("utf-8", "surrogateescape"))


def _decode_escape(match: re.Match[bytes]) -> bytes:
    escape = match[1]
    if (known := _ESCAPES.get(escape)) is not None:
        return known
    if escape[:1] == b"x" and len(escape) == 3:
        return bytes((int(escape[1:], 16),))
    if escape.isdigit() and escape not in (b"8", b"9"):
        return bytes((int(escape, 8),))
    if not escape:
        raise ValueError("a backslash at the end escapes nothing")
    if escape == b"x":
        raise ValueError("\\x must be followed by two hexadecimal digits")
    raise ValueError(f"unknown escape {chr(92) + escape.decode('latin-1')!r}")


def decode_base64(text: str) -> bytes:
    """Decode base64 of either alphabet, skipping whatever is not base64: line ends, padding, missing padding.

    Never fails: publishing libraries send line ends (Ruby) and even plain text (Go) where base64 belongs, and Pushpin
    takes it. A caller that wants to refuse nonsense asks `is_base64` first.
    """
    try:
        return a2b_base64(text, strict_mode=True)
    except ValueError:
        digits = text.encode("utf-8", "replace").translate(_BASE64_URL_SAFE, _NOT_BASE64)
        if len(digits) % 4 == 1:  # six bits make no byte
            digits = digits[:-1]
        return a2b_base64(digits + b"=" * (-len(digits) % 4))


is_base64: Callable[[str], object] = re.compile(r"[A-Za-z0-9+/\-_\s]*+[=\s]*+").fullmatch
"""Whether the text is base64 of either alphabet, padded or not, blanks allowed (the result's truth counts)."""


def connection_options(fields: Fields) -> frozenset[bytes]:
    """The lower-case names that ``Connection`` lists: those fields end at this hop too (RFC 9110 section 7.6.1)."""
    options = [option.strip().lower() for value in field_values(fields, b"connection") for option in value.split(b",")]
    return frozenset(option for option in options if option)


def media_type(value: bytes) -> str:
    """The media type of a ``Content-Type`` value in lower case, without its parameters."""
    return value.partition(b";")[0].strip().lower().decode("latin-1")


def pack_fields(fields: Fields) -> bytes:
    """Return fields as one value, for keeping many: pairs of small objects take five times as much memory."""
    return b"\n".join([part for field in fields for part in field])


def unpack_fields(packed: bytes) -> Fields:
    """Return the fields that `pack_fields` was given."""
    parts = packed.split(b"\n") if packed else []
    return tuple(zip(parts[::2], parts[1::2], strict=True))
