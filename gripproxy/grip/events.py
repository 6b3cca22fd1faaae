"""Events and control messages of WebSocket-over-HTTP, read and written.

A body is a row of events, each ``TYPE CRLF`` or ``TYPE SP HEXLEN CRLF content CRLF``; sizes count bytes. A control
message is a TEXT event that begins with ``c:``, with a JSON object behind it. Anything that a backend can send is
either read whole or refused with an `EventError`: there is no half-read body.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from gripproxy.errors import EventError
from gripproxy.grip.detection import session_id
from gripproxy.grip.fields import decode_base64, is_base64
from gripproxy.grip.members import WrongError, channel_name, is_decimal, shown, strings

TYPES = frozenset(("OPEN", "TEXT", "BINARY", "PING", "PONG", "CLOSE", "DISCONNECT"))
# The types that carry a size even when it is zero; the others have one only with content (as Pushpin sends them).
_ALWAYS_SIZED = frozenset(("TEXT", "BINARY"))
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")

FRAME_TYPES = frozenset(("text", "binary", "ping", "pong"))
CONTROL_FRAME_SIZE = 125  # bytes in a ping, pong or close frame (RFC 6455 5.5)

KEEP_ALIVE_TIMEOUT = 55  # seconds; Pushpin's default for every keep-alive
SEND_DELAYED_TIMEOUT = 1  # seconds; Pushpin's default
TIMEOUT_MAX = 2**31 - 1  # seconds; what Pushpin's int holds


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `content` is empty where the type has none."""

    type: str
    content: bytes = b""

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise EventError(f"event type {self.type!r} is unknown")


def encode_events(events: Iterable[Event]) -> bytes:
    """The body that carries `events`, sizes in lower-case hex."""
    parts = []
    for event in events:
        kind, content = event.type.encode(), event.content
        if content or event.type in _ALWAYS_SIZED:
            parts.append(b"%b %x\r\n%b\r\n" % (kind, len(content), content))
        else:
            parts.append(kind + b"\r\n")
    return b"".join(parts)


def parse_events(body: bytes, content_size: int | None = None, count: int | None = None) -> tuple[Event, ...]:
    """The events of `body`; those of an unknown type are left out.

    `content_size` limits the bytes of one event's content, `count` the number of events; None is no limit.

    Raises: EventError, naming the offset, when the body is malformed, cut short or beyond a limit.
    """
    events: list[Event] = []
    start = 0
    while start < len(body):
        end = body.find(b"\r\n", start)
        if end < 0:
            raise EventError(f"events: offset {start}: no CRLF after the type")
        kind, space, size_text = body[start:end].partition(b" ")
        content = b""
        following = end + 2
        # Go's library leaves the size away when it is zero.
        if space:
            content, following = _parse_content(body, end, start, size_text)
            if content_size is not None and len(content) > content_size:
                raise EventError(f"events: offset {start}: content of {len(content)} bytes exceeds {content_size}")
        name = kind.decode("latin-1")
        if name in TYPES:
            events.append(Event(name, content))
            if count is not None and len(events) > count:
                raise EventError(f"events: offset {start}: more than {count} events")
        start = following
    return tuple(events)


def _parse_content(body: bytes, line_end: int, start: int, size_text: bytes) -> tuple[bytes, int]:
    if not _SIZE.fullmatch(size_text):
        raise EventError(f"events: offset {start}: size {size_text[:32]!r} is not hexadecimal")
    begin = line_end + 2
    end = begin + int(size_text, 16)
    if end > len(body):
        raise EventError(f"events: offset {begin}: {end - begin} bytes announced, {len(body) - begin} left")
    if body[end : end + 2] != b"\r\n":
        raise EventError(f"events: offset {end}: no CRLF after the content")
    return body[begin:end], end + 2


# --- close payloads --------------------------------------------------------------------------------------------------


def is_close_code(code: int) -> bool:
    """Whether `code` may stand in a close frame (RFC 6455 7.4 and the IANA registry)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def encode_close(code: int | None, reason: str = "") -> bytes:
    """The payload of a close frame or CLOSE event; empty without a code, the reason cut to fit a control frame."""
    if code is None:
        return b""
    text = reason.encode("utf-8", "replace")[: CONTROL_FRAME_SIZE - 2]
    # Cut before a character, not within one.
    return code.to_bytes(2, "big") + text.decode("utf-8", "ignore").encode()


def parse_close(payload: bytes) -> tuple[int | None, str]:
    """Code and reason of a close payload; the code is None where there is no legal one.

    Every client library writes code 0 for "no code", which a close frame must not carry.
    """
    if len(payload) < 2:
        return None, ""
    code = int.from_bytes(payload[:2], "big")
    return code if is_close_code(code) else None, payload[2:].decode("utf-8", "replace")


# --- control messages ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Subscribe the connection to a channel, with these filters."""

    channel: str
    filters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """End a subscription."""

    channel: str


@dataclass(frozen=True, slots=True)
class Detach:
    """End the conversation with the backend, keep the client."""


@dataclass(frozen=True, slots=True)
class SetSession:
    """Name the session that the connection belongs to, or (None) no session."""

    id: str | None = None


@dataclass(frozen=True, slots=True)
class SetMeta:
    """Set a value that filters read, or (None) delete it."""

    name: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class SetKeepAlive:
    """Send `content` every `timeout` seconds ("interval") or after so many without traffic ("idle"); None: stop."""

    content: bytes | None
    type: str = "text"
    timeout: int = KEEP_ALIVE_TIMEOUT
    mode: str = "idle"


@dataclass(frozen=True, slots=True)
class SendDelayed:
    """Send `content` once, `timeout` seconds from now; one that still waits is sent first."""

    type: str
    content: bytes
    timeout: int = SEND_DELAYED_TIMEOUT


@dataclass(frozen=True, slots=True)
class FlushDelayed:
    """Send now what `SendDelayed` holds back."""


Control = Subscribe | Unsubscribe | Detach | SetSession | SetMeta | SetKeepAlive | SendDelayed | FlushDelayed


def parse_control(text: bytes) -> Control:
    """The control message in `text`, which is what follows the prefix ``c:``.

    Raises: EventError, naming the field, when it is not a JSON object, of an unknown type, or a field is wrong.
    Pushpin's wscontrolmessage.cpp decides what is wrong.
    """
    try:
        fields = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise EventError(f"control message: not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise EventError(f"control message: must be an object, not {shown(fields)}")
    kind = _text(fields, "type")
    if kind not in _CONTROLS:
        raise EventError(f"control message: type: {kind[:64]!r} is unknown")
    return _CONTROLS[kind](fields)


def _subscribe(fields: dict[str, Any]) -> Subscribe:
    filters = fields.get("filters", [])
    try:
        return Subscribe(_channel(fields), strings(filters))
    except WrongError as wrong:
        raise EventError(f"control message: {wrong.under('filters')}") from None


def _set_session(fields: dict[str, Any]) -> SetSession:
    given = _optional_text(fields, "id")
    try:
        return SetSession(session_id(given) if given else None)
    except WrongError as wrong:
        raise EventError(f"control message: id: {wrong.problem}") from None


def _set_keep_alive(fields: dict[str, Any]) -> SetKeepAlive:
    kind, content = _message(fields)
    # Without content the timeout says nothing, so Pushpin does not look at it.
    timeout = KEEP_ALIVE_TIMEOUT if content is None else _timeout(fields, KEEP_ALIVE_TIMEOUT)
    mode = "interval" if _optional_text(fields, "mode") == "interval" else "idle"
    return SetKeepAlive(content, kind, timeout, mode)


def _send_delayed(fields: dict[str, Any]) -> SendDelayed:
    kind, content = _message(fields)
    if content is None:
        raise EventError("control message: content: missing")
    return SendDelayed(kind, content, _timeout(fields, SEND_DELAYED_TIMEOUT))


_CONTROLS: dict[str, Callable[[dict[str, Any]], Control]] = {
    "subscribe": _subscribe,
    "unsubscribe": lambda fields: Unsubscribe(_channel(fields)),
    "detach": lambda fields: Detach(),
    "session": _set_session,
    "set-meta": lambda fields: SetMeta(_name(fields, "name"), _optional_text(fields, "value")),
    "keep-alive": _set_keep_alive,
    "send-delayed": _send_delayed,
    "flush-delayed": lambda fields: FlushDelayed(),
}


def _optional_text(fields: dict[str, Any], name: str) -> str | None:
    if name not in fields:
        return None
    value = fields[name]
    if not isinstance(value, str):
        raise EventError(f"control message: {name}: must be a string, not {shown(value)}")
    return value


def _text(fields: dict[str, Any], name: str) -> str:
    value = _optional_text(fields, name)
    if value is None:
        raise EventError(f"control message: {name}: missing")
    return value


def _name(fields: dict[str, Any], name: str) -> str:
    value = _text(fields, name)
    if not value:
        raise EventError(f"control message: {name}: empty")
    return value


def _channel(fields: dict[str, Any]) -> str:
    try:
        return channel_name(_name(fields, "channel"))
    except WrongError as wrong:
        raise EventError(f"control message: channel: {wrong.problem}") from None


def _message(fields: dict[str, Any]) -> tuple[str, bytes | None]:
    kind = _optional_text(fields, "message-type") or "text"
    if kind not in FRAME_TYPES:
        raise EventError(f"control message: message-type: {kind[:64]!r} is unknown")
    content: bytes | None = None
    encoded = _optional_text(fields, "content-bin")
    if encoded is not None:
        if not is_base64(encoded):
            raise EventError(f"control message: content-bin: {encoded[:64]!r} is not base64")
        content = decode_base64(encoded)
    elif (plain := _optional_text(fields, "content")) is not None:
        content = plain.encode()
    if content is not None:
        check_frame(kind, content)
    return kind, content


def check_frame(kind: str, content: bytes) -> None:
    """Raises: EventError when a frame of this kind must not have this content (RFC 6455 5.5 and 5.6)."""
    if kind == "text":
        try:
            content.decode()
        except UnicodeDecodeError as error:
            raise EventError(f"text content is not UTF-8 at offset {error.start}") from error
    elif kind != "binary" and len(content) > CONTROL_FRAME_SIZE:
        raise EventError(f"{kind} content of {len(content)} bytes exceeds {CONTROL_FRAME_SIZE}")


def _timeout(fields: dict[str, Any], default: int) -> int:
    value = fields.get("timeout", 0)
    if isinstance(value, str) and is_decimal(value):
        value = int(value)  # libraries that are loose with types send it so; Pushpin takes it
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EventError(f"control message: timeout: must be a number of seconds, not {shown(value)}")
    if not 0 <= value <= TIMEOUT_MAX:
        raise EventError(f"control message: timeout: {value} is not within 0 and {TIMEOUT_MAX}")
    return int(value) or default
