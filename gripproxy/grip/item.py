"""What publishers send: an item for one channel, in up to three formats, one for each kind of subscriber.

A published text becomes bytes here, once. A body of items is read whole or not at all, and a value of this module is
always legal: what would break a client's connection (a field with a line end, a close code that must not be sent) is
the publisher's error, not the subscribers'.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import json

from gripproxy.errors import ItemError
from gripproxy.grip import members
from gripproxy.grip.fields import REASONS, Fields
from gripproxy.grip.members import WrongError, member, shown

ITEMS_MAX = 10_000  # in one body: a bound for the time that one body takes; the libraries' batches are of ten

ACTIONS = ("send", "hint", "close", "refresh")
MESSAGE_TYPES = ("text", "binary", "ping", "pong")
PATCH_OPERATIONS = ("add", "remove", "replace", "move", "copy", "test")  # RFC 6902 section 4

# RFC 6455 section 7.4 and IANA's registry: those that an endpoint may put on the wire.
CLOSE_CODES: frozenset[int] = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
CLOSE_REASON_MAX = 123  # bytes; RFC 6455 section 5.5: a control frame holds 125, and the code is two of them
PING_MAX = 125  # bytes; the same


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What ends a response hold: a whole response, or a JSON Patch (``patch``) of the one that the hold came with.

    ``body`` is None if ``patch`` is given and for actions other than ``send``. ``content_filters`` are those that a
    subscription must have to be sent this; None is any. ``exposed`` are the only fields, by lower-case names, that the
    client is to get of ``fields`` and those that the hold came with; None is all.
    """

    action: str
    code: int = 200
    reason: str = "OK"
    fields: Fields = ()
    body: bytes | None = None
    patch: list[Any] | None = None
    content_filters: tuple[str, ...] | None = None
    exposed: frozenset[bytes] | None = None

    def __post_init__(self) -> None:
        _require(self.action, ACTIONS, "action")
        if not 200 <= self.code <= 999:
            raise ItemError(f"code must be from 200 to 999, not {self.code}")


@dataclass(frozen=True, slots=True)
class HttpStream:
    """Bytes to append to the body of a stream hold."""

    action: str
    content: bytes = b""
    content_filters: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _require(self.action, ACTIONS, "action")


@dataclass(frozen=True, slots=True)
class WsMessage:
    """A WebSocket message, or (action ``close``) a close with ``reason`` and ``code``; None is the usual code."""

    action: str
    type: str = "text"
    content: bytes = b""
    code: int | None = None
    reason: str = ""
    content_filters: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _require(self.action, ACTIONS, "action")
        _require(self.type, MESSAGE_TYPES, "type")
        if len(self.content) > PING_MAX and self.type in ("ping", "pong"):
            raise ItemError(f"content of a {self.type} must have at most {PING_MAX} bytes, not {len(self.content)}")
        if self.code is not None and self.code not in CLOSE_CODES:
            raise ItemError(f"code must be a close code that may be sent, not {self.code}")
        if self.reason and len(self.reason.encode()) > CLOSE_REASON_MAX:
            raise ItemError(f"reason must have at most {CLOSE_REASON_MAX} bytes, not {len(self.reason.encode())}")


@dataclass(frozen=True, slots=True)
class Item:
    """One published item: ``response``, ``stream`` and ``message`` are its formats, as far as it has them.

    ``prev_id`` is the id of the item before it on its channel; ``no_seq`` asks to leave the order alone; ``meta`` is
    for filters.
    """

    channel: str
    id: str | None = None
    prev_id: str | None = None
    response: HttpResponse | None = None
    stream: HttpStream | None = None
    message: WsMessage | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    no_seq: bool = False

    def __post_init__(self) -> None:
        try:
            members.channel_name(self.channel)
        except WrongError as wrong:
            raise ItemError(f"channel {wrong.problem}") from None

    @property
    def content_size(self) -> int:
        """Bytes of the largest of its contents."""
        response = self.response.body if self.response is not None else None
        stream = self.stream.content if self.stream is not None else b""
        message = self.message.content if self.message is not None else b""
        return max(len(response or b""), len(stream), len(message))


def parse_items(body: bytes, *, items_max: int = ITEMS_MAX) -> tuple[Item, ...]:
    """Read ``{"items": [...]}``, all or nothing (GRIP protocol; Pushpin's control server and publishitem.cpp).

    Raises:
        ItemError: The body is not JSON, has too many items, or an item is malformed; the text leads to the member.
    """
    try:
        document = json.decode(body)
    except (ValueError, RecursionError) as error:
        raise ItemError(f"Body is not valid JSON: {error}") from None
    if type(document) is not dict:
        raise ItemError(f"Invalid format: body must be an object, not {shown(document)}")
    return read_items(document, items_max=items_max)


def read_items(
    document: Mapping[str, Any], read: Callable[[Any, str], Item] | None = None, *, items_max: int = ITEMS_MAX
) -> tuple[Item, ...]:
    """Read the member ``items`` of an object, all or nothing, each by ``read``, which is `parse_item` by default.

    Raises:
        ItemError: There is none, it has too many items, or one is malformed; the text leads to the member.
    """
    if "items" not in document:
        raise ItemError("Invalid format: object does not contain 'items'")
    items = document["items"]
    if type(items) is not list:
        raise ItemError(f"Invalid format: items: must be a list, not {shown(items)}")
    if len(items) > items_max:
        raise ItemError(f"Invalid format: items: must be at most {items_max}, not {len(items)}")
    if read is not None:
        return tuple([read(item, f"Invalid format: items[{index}]") for index, item in enumerate(items)])
    return tuple([parse_item(item, f"Invalid format: items[{index}]", index) for index, item in enumerate(items)])


def parse_item(value: Any, where: str, place: int | None = None) -> Item:
    """Read one item from plain values; ``where`` is what errors call it, ``place`` its number in a batch.

    Contents may also be bytes, as they are in Pushpin's tnetstring items.

    Raises:
        ItemError: It is malformed; the text leads to the member.
    """
    try:
        return _item(value)
    except WrongError as wrong:
        raise ItemError(f"{where}{wrong.path}: {wrong.problem}", place, wrong.path.removeprefix(".")) from None


def _item(value: Any) -> Item:
    plain = members.obj(value)
    if "channel" not in plain:
        raise WrongError("does not contain 'channel'")
    channel = member(plain, "channel", members.channel_name)
    if "formats" in plain:
        formats, path = member(plain, "formats", members.obj), ".formats"
    else:  # the older style, in which most libraries publish
        formats, path = {name: plain[name] for name in _FORMATS if name in plain}, ""
    if not formats:
        raise WrongError("no formats specified")
    parsed: dict[str, Any] = {}
    for name, (attribute, read) in _FORMATS.items():
        if name in formats:
            try:
                parsed[attribute] = read(formats[name])
            except WrongError as wrong:
                raise wrong.under(f"{path}.{name}") from None
            except ItemError as error:
                raise WrongError(str(error), f"{path}.{name}") from None
    return Item(
        channel,
        member(plain, "id", members.identifier),
        member(plain, "prev-id", members.identifier),
        meta=member(plain, "meta", members.string_map) or {},
        no_seq=member(plain, "no-seq", members.boolean, False),
        **parsed,
    )


def _require(value: str, known: tuple[str, ...], name: str) -> None:
    if value not in known:
        raise ItemError(f"{name} must be one of {', '.join(known)}, not {shown(value)}")


def _action(plain: dict[str, Any]) -> str:
    return str(member(plain, "action", members.string)) if "action" in plain else "send"


_code = members.integer(200, 999)  # Pushpin takes 0 to 999, but what is below 200 cannot end a request
_close_code = members.integer(0)


def _response(value: Any) -> HttpResponse:
    plain = members.obj(value)
    action = _action(plain)
    if action != "send":
        return HttpResponse(action)
    code = member(plain, "code", _code, 200)
    body = patch = None
    if "body-bin" in plain:
        body = member(plain, "body-bin", members.base64)
    elif "body" in plain or "body-patch" not in plain:
        # Pushpin wants one of the three, but five libraries leave out a body that is empty.
        body = member(plain, "body", members.utf8, b"")
    else:
        patch = member(plain, "body-patch", _patch)
    return HttpResponse(
        action,
        code,
        member(plain, "reason", members.reason) or REASONS.get(code, "Undefined Reason"),
        member(plain, "headers", members.header_fields, ()),
        body,
        patch,
        member(plain, "content-filters", members.strings),
        member(plain, "headers", members.exposed_names),
    )


def _patch(value: Any) -> list[Any]:
    """A JSON Patch: what can be checked without the document (RFC 6902 section 4)."""
    operations = members.array(value)
    for index, operation in enumerate(operations):
        where = f"[{index}]"
        if type(operation) is not dict:
            raise WrongError(f"must be an object, not {shown(operation)}", where)
        op = operation.get("op")
        if type(op) is not str or op not in PATCH_OPERATIONS:
            raise WrongError(f"must be one of {', '.join(PATCH_OPERATIONS)}, not {shown(op)}", f"{where}.op")
        for name in ("path", "from") if op in ("move", "copy") else ("path",):
            pointer = operation.get(name)
            if type(pointer) is not str or pointer[:1] not in ("", "/"):
                raise WrongError(f"must be a JSON pointer, not {shown(pointer)}", f"{where}.{name}")
        if op in ("add", "replace", "test") and "value" not in operation:
            raise WrongError(f"does not contain 'value', which {op} needs", where)
    return operations


def _stream(value: Any) -> HttpStream:
    plain = members.obj(value)
    action = _action(plain)
    if action != "send":
        return HttpStream(action)
    content = _content(plain)
    if content is None:
        raise WrongError("does not contain 'content' or 'content-bin'")
    return HttpStream(action, content, member(plain, "content-filters", members.strings))


def _content(plain: dict[str, Any]) -> bytes | None:
    if "content-bin" in plain:
        return bytes(member(plain, "content-bin", members.base64))
    return bytes(member(plain, "content", members.utf8)) if "content" in plain else None


def _message(value: Any) -> WsMessage:
    plain = members.obj(value)
    action = _action(plain)
    if action == "close":
        code = member(plain, "code", _close_code) or None  # every library sends 0 for "no code"
        return WsMessage(action, code=code, reason=member(plain, "reason", members.string, ""))
    if action != "send":
        return WsMessage(action)
    content = _content(plain)
    kind = member(plain, "type", members.string, "binary" if "content-bin" in plain else "text")
    if content is None:
        if kind not in ("ping", "pong"):
            raise WrongError("does not contain 'content' or 'content-bin'")
        content = b""
    if kind == "text" and "content-bin" in plain and not members.is_utf8(content):
        raise WrongError("must be UTF-8 in a message of type 'text'", ".content-bin")
    return WsMessage(action, kind, content, content_filters=member(plain, "content-filters", members.strings))


_FORMATS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "http-response": ("response", _response),
    "http-stream": ("stream", _stream),
    "ws-message": ("message", _message),
}
