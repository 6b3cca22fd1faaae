"""Checks of plain values, from JSON or from fields: each takes a value and returns it legal, or says what is wrong.

A check does not know where its value came from: it raises `WrongError` with the problem and the path below the value,
and the caller puts its own name before it.
"""

import re
from collections.abc import Callable
from typing import Any

from gripproxy.grip.fields import (
    HOP_BY_HOP,
    Fields,
    connection_options,
    decode_base64,
    has_control,
    is_token,
    split_list,
    text,
)

NAME_MAX = 1024  # bytes of a channel name or an id; libraries make none near it, and tables keep a million of them
INTEGER_MAX = 2**31 - 1  # Pushpin's integers have 32 bits

is_decimal = re.compile(r"-?[0-9]{1,10}").fullmatch

# The transport frames the body itself, so its length is not the sender's to say.
UNSENT: frozenset[bytes] = HOP_BY_HOP | {b"content-length"}


class WrongError(ValueError):
    """A plain value is not legal: ``path`` leads to it (``.headers[2]``), ``problem`` reads "must be ..., not ..."."""

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(f"{path} {problem}" if path else problem)
        self.problem = problem
        self.path = path

    def under(self, path: str) -> "WrongError":
        """The same, seen from one step further out."""
        return WrongError(self.problem, path + self.path)


def shown(value: object) -> str:
    """The value as an error text shows it: JSON's names, and not more than a line of it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case list():
            return "a list"
        case dict():
            return "an object"
        case bytes():
            return "bytes"
        case str() if len(value) > 80:
            return f"{value[:77]!r}..."
        case int() if abs(value) > INTEGER_MAX:
            return "a larger number"
    return repr(value)


def below(name: str) -> str:
    """The path to a member whose name its sender chose: it may be as long as a body, and hold line ends."""
    return f".{name}" if len(name) <= 80 and name.isprintable() else f"[{shown(name)}]"


def member(plain: dict[str, Any], name: str, check: Callable[[Any], Any], default: Any = None) -> Any:
    """The checked member of an object, or the default if it is absent; a JSON null is a wrong type, not absence."""
    if name not in plain:
        return default
    try:
        return check(plain[name])
    except WrongError as wrong:
        raise wrong.under(f".{name}") from None


def obj(value: Any) -> dict[str, Any]:
    """A JSON object."""
    if type(value) is not dict:
        raise WrongError(f"must be an object, not {shown(value)}")
    return value


def array(value: Any) -> list[Any]:
    """A JSON list."""
    if type(value) is not list:
        raise WrongError(f"must be a list, not {shown(value)}")
    return value


def string(value: Any) -> str:
    """A string."""
    if type(value) is not str:
        raise WrongError(f"must be a string, not {shown(value)}")
    return value


def boolean(value: Any) -> bool:
    """A boolean."""
    if type(value) is not bool:
        raise WrongError(f"must be true or false, not {shown(value)}")
    return value


def strings(value: Any) -> tuple[str, ...]:
    """A list of strings."""
    for index, element in enumerate(array(value)):
        if type(element) is not str:
            raise WrongError(f"must be a string, not {shown(element)}", f"[{index}]")
    return tuple(value)


def string_map(value: Any) -> dict[str, str]:
    """An object whose members are strings."""
    for name, element in obj(value).items():
        if type(element) is not str:
            raise WrongError(f"must be a string, not {shown(element)}", below(name))
    return dict(value)


def integer(low: int, high: int = INTEGER_MAX) -> Callable[[Any], int]:
    """A check for an integer between two bounds, both included; decimal strings and 5.0 are integers (js-grip, Qt)."""
    bounds = f"from {low} to {high}" if high != INTEGER_MAX else f"of {low} or more"

    def check(value: Any) -> int:
        number = None
        if type(value) is int:
            number = value
        elif type(value) is str:
            if is_decimal(value):
                number = int(value)
        elif type(value) is float and value.is_integer():
            number = int(value)
        if number is None or not low <= number <= high:
            raise WrongError(f"must be an integer {bounds}, not {shown(value)}")
        return number

    return check


def utf8(value: Any) -> bytes:
    """A string, as UTF-8; bytes are taken as they are (tnetstring has no other strings)."""
    if type(value) is str:
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise WrongError("must not have half a surrogate pair") from None
    if type(value) is bytes:
        return value
    raise WrongError(f"must be a string, not {shown(value)}")


def is_utf8(content: bytes) -> bool:
    """Whether the bytes are UTF-8."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def base64(value: Any) -> bytes:
    """A string of base64, decoded as leniently as Pushpin does (see `decode_base64`); bytes are taken as they are."""
    return value if type(value) is bytes else decode_base64(string(value))


def identifier(value: Any) -> str:
    """An item's id: not long, and without control characters, because ids travel in ``Grip-Last`` fields."""
    if type(value) is not str:
        raise WrongError(f"must be a string, not {shown(value)}")
    if len(value) * 4 > NAME_MAX and len(utf8(value)) > NAME_MAX:
        raise WrongError(f"must have at most {NAME_MAX} bytes, not {len(utf8(value))}")
    if has_control(value):
        raise WrongError(f"must not have control characters: {shown(value)}")
    return value


def channel_name(value: Any) -> str:
    """A channel's name: like an id, and not empty."""
    if value == "":
        raise WrongError("must not be empty")
    return identifier(value)


def reason(value: Any) -> str:
    """A reason phrase; one with control characters would let its sender write fields or a whole response."""
    if has_control(string(value).replace("\t", " ")):
        raise WrongError(f"must not have control characters: {shown(value)}")
    return str(value)


def header_fields(value: Any) -> Fields:
    """Fields given as an object or as a list of pairs, less what no sender may set.

    Names must be tokens, values must not have CR, LF or NUL (either would let the sender write fields or a whole
    response). ``Grip-*``, hop-by-hop fields and ``Content-Length`` are left out.
    """
    fields = []
    for where, name, content in _pairs(value):
        key = name.encode("utf-8", "replace") if type(name) is str else b""
        if not is_token(key):
            raise WrongError(f"must be a field name, not {shown(name)}", where)
        try:
            data = utf8(content)
        except WrongError as wrong:
            raise wrong.under(f"{where} ({name[:80]})") from None
        if b"\r" in data or b"\n" in data or b"\0" in data:
            raise WrongError(f"must not have CR, LF or NUL: {shown(content)}", f"{where} ({name[:80]})")
        fields.append((key, data.strip(b" \t")))
    unsent = UNSENT | connection_options(tuple(fields))
    return tuple(pair for pair in fields if pair[0].lower() not in unsent and pair[0][:5].lower() != b"grip-")


def exposed_names(value: Any) -> frozenset[bytes] | None:
    """The names, in lower case, in ``Grip-Expose-Headers`` among given fields; None where there is none."""
    given = [utf8(content) for _, name, content in _pairs(value) if str(name).lower() == "grip-expose-headers"]
    return frozenset(name.lower().encode() for one in given for name in split_list(text(one))) or None


def _pairs(value: Any) -> list[tuple[str, Any, Any]]:
    if type(value) is dict:
        return [("", name, content) for name, content in value.items()]
    if type(value) is not list:
        raise WrongError(f"must be an object or a list of pairs, not {shown(value)}")
    pairs = []
    for index, pair in enumerate(value):
        if type(pair) is not list or len(pair) != 2:
            raise WrongError(f"must be a list of name and value, not {shown(pair)}", f"[{index}]")
        pairs.append((f"[{index}]", pair[0], pair[1]))
    return pairs
