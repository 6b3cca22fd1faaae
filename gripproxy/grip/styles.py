"""The two styles of instructions, ``Grip-*`` fields and JSON, as one mapping of plain values.

Each value of the mapping comes with the name that an error calls it by: ``{"hold": ("Grip-Hold", "stream")}``. Nothing
is checked here but that it can be read at all; `Instruct.from_response` checks the values, whatever their style was.

    hold, timeout, keep-alive, code, reason, headers, body, body-bin, next, gone, session    a labelled value
    channels, meta, last, detect                                                             a list of labelled values
    exposed                                                                                  a set of lower-case names
    coding                                                                                   Content-Encoding, as it is
"""

import re
from collections.abc import Callable
from typing import Any

from msgspec import json

from gripproxy.errors import InstructError
from gripproxy.grip import members
from gripproxy.grip.fields import Fields, connection_options, media_type, parse_parameters, split_list, text
from gripproxy.grip.members import WrongError, shown

INSTRUCT_TYPE = "application/grip-instruct"

Plain = dict[str, Any]

# One link, up to the comma that ends it. Possessive, and never looked for again from the start: a hostile value costs
# one pass.
_LINK = re.compile(r'<([^>]*+)>((?:[^",]++|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))*+)[ \t,]*+', re.DOTALL)


def read_fields(fields: Fields, given: Plain) -> tuple[Fields, bool]:
    """Read instructions into ``given``; return the fields for the client, and whether the body is instructions.

    Raises:
        InstructError: A field cannot be parsed.
    """
    kept = []
    is_json = has_connection = False
    for pair in fields:
        key = pair[0].lower()
        if key[:5] == b"grip-":
            reader = _READERS.get(key)
            if reader is not None:
                reader(given, pair[1])
        elif key not in members.UNSENT:
            kept.append(pair)
            if key == b"content-type":
                is_json = media_type(pair[1]) == INSTRUCT_TYPE
            elif key == b"content-encoding":
                given["coding"] = pair[1]
        elif key == b"connection":
            has_connection = True
    if has_connection:
        options = connection_options(fields)
        kept = [pair for pair in kept if pair[0].lower() not in options]
    if exposed := given.get("exposed"):
        kept = [pair for pair in kept if pair[0].lower() in exposed]
    return tuple(kept), is_json


def _parameters(label: str, part: str) -> tuple[str, list[tuple[str, str]]]:
    parsed = parse_parameters(part)
    if parsed is None:
        raise InstructError(f"{label} must have closed quotes: {shown(part.removeprefix(';'))}")
    return parsed


def _first(name: str, label: str) -> Callable[[Plain, bytes], None]:
    def read(given: Plain, value: bytes) -> None:
        given.setdefault(name, (label, text(value)))

    return read


def _read_channel(given: Plain, value: bytes) -> None:
    channels = given.setdefault("channels", [])
    for part in split_list(text(value)):
        name, parameters = _parameters("Grip-Channel", part)
        plain: Plain = {"name": name}
        for key, content in parameters:
            if key == "filter":  # in this case only, as in Pushpin
                plain.setdefault("filters", []).append(content)
            elif key.lower() == "prev-id":
                plain.setdefault("prev-id", content)
        channels.append(("Grip-Channel", plain))


def _read_keep_alive(given: Plain, value: bytes) -> None:
    # Content is bytes rather than text: what is not UTF-8 travels as surrogates and comes out as it was.
    content, parameters = _parameters("Grip-Keep-Alive", value.decode("utf-8", "surrogateescape"))
    if content or parameters:
        plain = {key.lower(): given for key, given in reversed(parameters) if given}
        given.setdefault("keep-alive", ("Grip-Keep-Alive", plain | {"content": content}))


def _read_meta(given: Plain, value: bytes) -> None:
    for part in split_list(text(value)):
        _, parameters = _parameters("Grip-Set-Meta", ";" + part)  # a parameter in the place of the value
        if not parameters:
            raise InstructError(f"Grip-Set-Meta must have names: {shown(part)}")
        name, content = parameters[0]
        given.setdefault("meta", []).append((f"Grip-Set-Meta {name}", {name: content}))


def _read_status(given: Plain, value: bytes) -> None:
    if value:
        code, _, reason = text(value).partition(" ")
        given.setdefault("code", ("Grip-Status", code))
        given.setdefault("reason", ("Grip-Status reason", reason.strip()))


def _read_link(given: Plain, value: bytes) -> None:
    """Like a list of parameters, but a URI may have commas and semicolons of its own (RFC 8288 section 3)."""
    links = text(value).strip(" \t,")
    position = 0
    while position < len(links):
        match = _LINK.match(links, position)
        if match is None:
            raise InstructError(f"Grip-Link must be <URI>; rel=..., not {shown(links[position:])}")
        uri, rest = match.groups()
        main, parameters = _parameters("Grip-Link", "-" + rest.strip())
        if main != "-":
            raise InstructError(f"Grip-Link must be <URI>; rel=..., not {shown(match[0])}")
        plain: Plain = {key.lower(): content for key, content in reversed(parameters)}
        rel = plain.get("rel", "").lower()
        if rel in ("next", "gone"):
            given[rel] = ("Grip-Link", plain | {"uri": uri})
        position = match.end()


def _read_expose(given: Plain, value: bytes) -> None:
    given.setdefault("exposed", set()).update(name.lower().encode() for name in split_list(text(value)))


def _read_last(given: Plain, value: bytes) -> None:
    for part in split_list(text(value)):
        name, parameters = _parameters("Grip-Last", part)
        plain = {key.lower(): content for key, content in reversed(parameters)}
        given.setdefault("last", []).append(("Grip-Last", {"name": name, "prev-id": plain.get("last-id", "")}))


def _read_detect(given: Plain, value: bytes) -> None:
    for part in split_list(text(value)):
        _, parameters = _parameters("Grip-Session-Detect", ";" + part)  # a parameter in the place of the value
        plain = {key.lower(): content for key, content in reversed(parameters)}
        given.setdefault("detect", []).append(("Grip-Session-Detect", plain))


_READERS: dict[bytes, Callable[[Plain, bytes], None]] = {
    b"grip-hold": _first("hold", "Grip-Hold"),
    b"grip-channel": _read_channel,
    b"grip-timeout": _first("timeout", "Grip-Timeout"),
    b"grip-keep-alive": _read_keep_alive,
    b"grip-set-meta": _read_meta,
    b"grip-status": _read_status,
    b"grip-link": _read_link,
    b"grip-expose-headers": _read_expose,
    b"grip-last": _read_last,
    b"grip-session-id": _first("session", "Grip-Session-Id"),
    b"grip-session-detect": _read_detect,
}


def read_json(body: bytes, given: Plain) -> None:
    """Read JSON instructions into ``given``, over those of the fields.

    Raises:
        InstructError: The body is not JSON, or not of the shape of instructions.
    """
    try:
        document = json.decode(body)
    except (ValueError, RecursionError) as error:
        raise InstructError(f"{INSTRUCT_TYPE} body is not valid JSON: {error}") from None
    document = checked("instruct", members.obj, document)
    if "hold" in document:
        hold = checked("hold", members.obj, document["hold"])
        given["hold"] = ("hold.mode", hold.get("mode", "response"))
        if "channels" not in hold:
            raise InstructError("hold does not contain 'channels'")
        channels = checked("hold.channels", members.array, hold["channels"])
        given.setdefault("channels", []).extend((f"hold.channels[{n}]", plain) for n, plain in enumerate(channels))
        for name in ("timeout", "keep-alive"):
            if name in hold:
                given[name] = (f"hold.{name}", hold[name])
        if "meta" in hold:
            given.setdefault("meta", []).append(("hold.meta", hold["meta"]))
    if "response" in document:
        response = checked("response", members.obj, document["response"])
        if "code" in response:
            given.pop("reason", None)  # it was that of another code
        for name in ("code", "reason", "headers", "body", "body-bin"):
            if name in response:
                given[name] = (f"response.{name}", response[name])


def checked(label: str, check: Callable[[Any], Any], value: Any) -> Any:
    """The value if the check takes it.

    Raises:
        InstructError: The check refuses it; the text begins with the label.
    """
    try:
        return check(value)
    except WrongError as wrong:
        raise InstructError(f"{label}{wrong.path} {wrong.problem}") from None
    except InstructError as error:
        raise InstructError(f"{label}: {error}") from None
