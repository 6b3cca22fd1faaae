"""A backend's answer to a WebSocket-over-HTTP request, read whole before anything is done about it.

Fields that steer the conversation are for the proxy; only `public_fields` may reach a client.
"""

import re
from dataclasses import dataclass

from gripproxy.errors import EventError
from gripproxy.grip.events import Event, parse_events
from gripproxy.grip.fields import (
    HOP_BY_HOP,
    Fields,
    connection_options,
    field,
    field_values,
    media_type,
    parse_parameters,
    split_list,
    text,
)

EVENTS_TYPE = "application/websocket-events"
MESSAGE_PREFIX = b"m:"  # unless the OPEN response names another

_SET_META = b"set-meta-"
_PRIVATE_PREFIXES = (_SET_META, b"grip-")
_PRIVATE = HOP_BY_HOP | {
    b"content-length",
    b"content-bytes-accepted",
    b"keep-alive-interval",
    b"sec-websocket-accept",
    b"sec-websocket-extensions",
}
# Nine digits fit Pushpin's int; what does not fit it is no number there.
_NUMBER = re.compile(rb"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a response says.

    accepted: content bytes that the backend took, None for all.
    interval: seconds between keep-alive polls, 0 to end them, None to leave them as they are.
    meta: ``Meta-*`` fields for the requests to come; an empty value deletes.
    """

    events: tuple[Event, ...]
    accepted: int | None = None
    interval: int | None = None
    meta: Fields = ()

    @classmethod
    def from_response(cls, status: int, fields: Fields, body: bytes) -> "Answer":
        """Raises: EventError when the response is not one of events, or one that is malformed."""
        if status != 200:
            raise EventError(f"backend answered {status}")
        kind = media_type(field(fields, b"content-type") or b"")
        if kind != EVENTS_TYPE:
            raise EventError(f"backend answered Content-Type {kind[:64]!r}")
        interval = field(fields, b"keep-alive-interval")
        return cls(
            parse_events(body),
            _number(field(fields, b"content-bytes-accepted")),
            None if interval is None else _number(interval) or 0,
            tuple((name[4:], value) for name, value in fields if name.lower().startswith(_SET_META) and name[9:]),
        )

    def change(self, meta: Fields, most: int) -> Fields:
        """The ``Meta-*`` fields after this answer, where they were `meta`; `most` is how many may be kept."""
        if not self.meta:
            return meta
        kept = {name.lower(): (name, value) for name, value in meta}
        for name, value in self.meta:
            kept.pop(name.lower(), None)
            if value and len(kept) < most:
                kept[name.lower()] = (name, value)
        return tuple(kept.values())


def is_events(status: int, fields: Fields) -> bool:
    """Whether a response is one of events at all; parameters of the media type do not matter."""
    return status == 200 and media_type(field(fields, b"content-type") or b"") == EVENTS_TYPE


def public_fields(fields: Fields) -> Fields:
    """The fields of a response that are for the client."""
    private = _PRIVATE | connection_options(fields)
    return tuple(
        (name, value)
        for name, value in fields
        if name.lower() not in private and not name.lower().startswith(_PRIVATE_PREFIXES)
    )


def message_prefix(fields: Fields) -> bytes | None:
    """The prefix of content, or None when the OPEN response does not make this a GRIP conversation."""
    for value in field_values(fields, b"sec-websocket-extensions"):
        for extension in split_list(text(value)):
            name, parameters = parse_parameters(extension) or ("", [])
            if name.lower() == "grip":
                given = [value for key, value in parameters if key.lower() == "message-prefix"]
                return given[0].encode() if given else MESSAGE_PREFIX
    return None


def _number(value: bytes | None) -> int | None:
    return int(value) if value is not None and _NUMBER.fullmatch(value) else None
