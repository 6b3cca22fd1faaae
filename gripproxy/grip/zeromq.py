"""What travels over Pushpin's ZeroMQ sockets: items, commands and their replies, statistics.

    J{"channel": ..., "formats": ...}         an item as JSON, as at the control door
    T123:7:channel,...}   123:7:channel,...}  a typed netstring, with and without its letter
    45:6:method,9:conncheck,4:args,...}       a command; its reply is one, too
    conn T89:...}   conn J{...}               statistics: their kind, for subscribers to choose by, and their members

A typed netstring has only bytes for strings: contents are taken as they are, all else must be UTF-8.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import json

from gripproxy.errors import ItemError
from gripproxy.grip import members, tnetstring
from gripproxy.grip.item import Item, parse_item, read_items


def parse_message(data: bytes, channel: bytes | None = None) -> Item:
    """Read the item of a message (Pushpin's handlerengine.cpp and publishformat.cpp).

    ``channel`` is the part before it where it came with one; it counts instead of the item's own.

    Raises: ItemError
    """
    try:
        value = json.decode(data[1:]) if data[:1] == b"J" else _texts(tnetstring.parse(data.removeprefix(b"T")))
        if channel is not None and type(value) is dict:
            value["channel"] = channel.decode()
    except UnicodeDecodeError:
        raise ItemError("a channel, name or other text is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise ItemError(f"neither JSON after J nor a typed netstring: {error}") from None
    return _read_item(value, "item")


def _read_item(value: Any, where: str) -> Item:
    item = parse_item(value, where)
    if item.message is not None and item.message.type == "text" and not members.is_utf8(item.message.content):
        raise ItemError(f"{where}.formats.ws-message.content: must be UTF-8 in a message of type 'text'")
    return item


def _texts(value: Any, kept: str = "", is_patch: bool = False) -> Any:
    """Turn bytes into text where they are UTF-8; those that are not stay, for a content or field that may hold them.

    The member ``kept`` stays bytes in any case. A JSON Patch has no place for bytes.
    """
    if type(value) is bytes:
        if is_patch or members.is_utf8(value):
            return value.decode()
        return value
    if type(value) is list:
        return [_texts(element, "", is_patch) for element in value]
    if type(value) is dict:
        return {
            name: element if name == kept else _texts(element, _KEPT.get(name, ""), is_patch or name == "body-patch")
            for name, element in value.items()
        }
    return value


# Pushpin takes this member as it is, where JSON has base64. Not so in the HTTP formats, where Pushpin looks only at
# `content` and `body`: if a library sends `content-bin` or `body-bin` there, it is base64 (pubcontrol).
_KEPT = {"ws-message": "content-bin"}


@dataclass(frozen=True, slots=True)
class Command:
    """What somebody wants to have done or to know; ``id`` is handed back with the reply."""

    method: str
    args: Mapping[str, Any] = field(default_factory=dict)
    id: bytes | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What comes of a command: a value, or, where ``condition`` says why not, a text or nothing."""

    value: Any = None
    condition: str = ""


# Pushpin's conditions; the proxy is one process, so that there is none for what happens between several.
BAD_REQUEST, ITEM_NOT_FOUND, METHOD_NOT_FOUND, SERVICE_UNAVAILABLE = CONDITIONS = (
    "bad-request",
    "item-not-found",
    "method-not-found",
    "service-unavailable",
)


def parse_command(data: bytes) -> Command | None:
    """Read a command (Pushpin's zrpcrequestpacket.cpp); None when it is none.

    Strings of ``args`` stay bytes. ``from``, which is for Pushpin's own processes, is passed over.
    """
    try:
        plain = tnetstring.parse(data)
    except (ValueError, RecursionError):
        return None
    if type(plain) is not dict:
        return None
    method, args, identity = plain.get("method"), plain.get("args", {}), plain.get("id")
    if type(method) is not bytes or type(args) is not dict or ("id" in plain and type(identity) is not bytes):
        return None
    return Command(method.decode("utf-8", "replace"), args, identity)


def encode_reply(command: Command | None, reply: Reply) -> bytes:
    """Write a reply (Pushpin's zrpcresponsepacket.cpp): there is a value always with success, and at times without."""
    plain: dict[str, Any] = {"id": command.id} if command is not None and command.id is not None else {}
    plain["success"] = not reply.condition
    if reply.condition:
        plain["condition"] = reply.condition
    if not reply.condition or reply.value is not None:
        plain["value"] = reply.value
    return tnetstring.encode(plain)


def parse_published(args: Mapping[str, Any]) -> tuple[Item, ...]:
    """Read the items of the command ``publish``, all or nothing.

    Raises: ItemError
    """

    def read(value: Any, where: str) -> Item:
        try:
            return _read_item(_texts(value), where)
        except UnicodeDecodeError:
            raise ItemError(f"{where}: a text is not UTF-8") from None

    return read_items(args, read)


def _encode_typed(kind: str, plain: dict[str, Any]) -> bytes:
    return kind.encode() + b" T" + tnetstring.encode(plain)


def _encode_json(kind: str, plain: dict[str, Any]) -> bytes:
    return kind.encode() + b" J" + json.encode(plain)


# By the name of the coding in the configuration, as in Pushpin's.
STATISTICS_FORMATS: dict[str, Callable[[str, dict[str, Any]], bytes]] = {
    "tnetstring": _encode_typed,
    "json": _encode_json,
}
