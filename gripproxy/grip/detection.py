"""Which session a request belongs to, and what the backend is told of it.

A backend gives rules for its host (``Grip-Session-Detect``): for which paths, and where in a request's body the
session's id stands. That is a JSON pointer (RFC 6901) into the body, or into one parameter of a form that has JSON in
it. Bodies come from clients: whatever is in them, there is an id that a field can carry, or there is none.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

from jsonpointer import JsonPointer, JsonPointerException
from msgspec import json

from gripproxy.errors import InstructError
from gripproxy.grip.fields import Fields
from gripproxy.grip.members import WrongError, identifier, shown, utf8
from gripproxy.grip.wire import encode_last_ids

# Parameters of a form that are looked at; those that carry JSON have a handful.
PARAMETERS_MAX = 1000

SESSION_ID = b"Grip-Session-Id"
LAST = b"Grip-Last"

_pointer = lru_cache(maxsize=1024)(JsonPointer)


def session_id(value: Any) -> str:
    """A session's id: like an item's, and such that it is the same behind a field's name."""
    identifier(value)
    utf8(value)
    if not value or value != value.strip():
        raise WrongError(f"must have no blanks around it and not be empty, not {shown(value)}")
    return str(value)


@dataclass(frozen=True, slots=True)
class DetectRule:
    """Where requests for a path that begins with ``path_prefix`` have their session's id.

    ``json_param`` is the parameter of the form that the body is; None where the body is the JSON itself.

    Raises:
        InstructError: A value is not legal.
    """

    path_prefix: str
    sid_ptr: str
    json_param: str | None = None

    def __post_init__(self) -> None:
        for name, value in (("path-prefix", self.path_prefix), ("sid-ptr", self.sid_ptr)):
            try:
                identifier(value)
            except WrongError as wrong:
                raise InstructError(f"{name} {wrong.problem}") from None
        if not self.path_prefix.startswith("/"):
            raise InstructError(f"path-prefix must begin with a slash, not {shown(self.path_prefix)}")
        try:
            JsonPointer(self.sid_ptr)
        except JsonPointerException:
            raise InstructError(f"sid-ptr must be a JSON pointer, not {shown(self.sid_ptr)}") from None
        if self.json_param is not None:
            try:
                identifier(self.json_param)
            except WrongError as wrong:
                raise InstructError(f"json-param {wrong.problem}") from None
            if not self.json_param:
                raise InstructError("json-param must not be empty")


def detect(rules: Iterable[DetectRule], body: bytes) -> str | None:
    """Return the session's id that a body has where the first of the rules finds one."""
    documents: dict[str | None, Any] = {}
    for rule in rules:
        if rule.json_param not in documents:
            documents[rule.json_param] = _document(body, rule.json_param)
        try:
            return session_id(_find(documents[rule.json_param], rule.sid_ptr))
        except (WrongError, JsonPointerException, ValueError):
            continue
    return None


def _document(body: bytes, parameter: str | None) -> Any:
    """The JSON of a body, or of a form's parameter; None, which has no id anywhere, where there is none."""
    content = body if parameter is None else _parameter(body, parameter.encode())
    try:
        return json.decode(content)
    except (ValueError, RecursionError):
        return None


def _parameter(body: bytes, name: bytes) -> bytes:
    """The first value of a form's parameter (URL standard 5.1), empty if it has none; the others are not decoded."""
    if body.count(b"&") < PARAMETERS_MAX:
        for pair in body.replace(b"+", b" ").split(b"&"):
            key, _, value = pair.partition(b"=")
            if unquote_to_bytes(key) == name:
                return unquote_to_bytes(value)
    return b""


def _find(document: Any, pointer: str) -> Any:
    """What a pointer leads to; the library also walks into texts, and behind the end of lists."""
    walker = _pointer(pointer)
    for part in walker.parts:
        if not isinstance(document, dict | list) or (part == "-" and isinstance(document, list)):
            raise JsonPointerException(part)
        document = walker.walk(document, part)
    return document


def session_fields(sid: str, last_ids: Mapping[str, str]) -> Fields:
    """Return the fields that tell a backend of a request's session."""
    return ((SESSION_ID, sid.encode()), *encode_last_ids(last_ids))


def asked_again(fields: Fields, last_ids: Mapping[str, str]) -> Fields:
    """Return the fields of a request that a hold has asked again, now that its client is at ``last_ids``.

    What they said of that before is over, but for what a session knows of other channels: as in Pushpin.
    """
    has_session = any(name == SESSION_ID for name, _ in fields)
    told = tuple(f"{channel}; last-id=".encode() for channel in last_ids)
    kept = [one for one in fields if one[0] != LAST or (has_session and not one[1].startswith(told))]
    return (*kept, *encode_last_ids(last_ids))
