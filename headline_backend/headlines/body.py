"""Request bodies: JSON from outside becomes checked fields of a headline, or a `BodyError` that says what is wrong."""

import json
from collections.abc import Mapping

from .models import Headline

FIELDS: Mapping[str, int] = {name: Headline._meta.get_field(name).max_length for name in ("type", "title", "text")}


class BodyError(Exception):
    """The body cannot be used; the text is meant for the client."""


def parse_fields(body: bytes, defaults: Mapping[str, str]) -> dict[str, str]:
    """Reads type, title and text from a JSON object; a field without a default is required, others are ignored.

    Raises: BodyError.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise BodyError("the body must be a JSON object, in UTF-8") from None
    if not isinstance(value, dict):
        raise BodyError("the body must be a JSON object")
    given = {**defaults, **value}
    return {name: _field(name, given) for name in FIELDS}


def _field(name: str, given: Mapping[str, object]) -> str:
    if name not in given:
        raise BodyError(f'"{name}" is required')
    value = given[name]
    if not isinstance(value, str):
        raise BodyError(f'"{name}" must be a string')
    if len(value) > FIELDS[name]:
        raise BodyError(f'"{name}" has {len(value)} characters, at most {FIELDS[name]} are allowed')
    # JSON's escapes can spell what no UTF-8 can carry (half a surrogate pair) and what databases refuse (NUL).
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise BodyError(f'"{name}" holds characters that are not text')
    return value
