"""What travels over Pushpin's ZeroMQ sockets: one item to a message, in two codings, and a question for addresses.

    J{"channel": ..., "formats": ...}         JSON, as at the control door
    T123:7:channel,...}   123:7:channel,...}  a typed netstring, with and without its letter

A typed netstring has only bytes for strings: contents are taken as they are, all else must be UTF-8.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import json

from gripproxy.errors import ItemError
from gripproxy.grip import members, tnetstring
from gripproxy.grip.item import Item, parse_item


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
    item = parse_item(value, "item")
    if item.message is not None and item.message.type == "text" and not members.is_utf8(item.message.content):
        raise ItemError("item.formats.ws-message.content: must be UTF-8 in a message of type 'text'")
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


def answer_question(data: bytes, addresses: Mapping[str, str]) -> bytes:
    """Answer what a library asks at the command socket: the addresses of the others, by the method get-zmq-uris.

    Pushpin has more methods there; they are answered like any that does not exist.
    """
    try:
        request = tnetstring.parse(data)
    except ValueError:
        request = None
    if type(request) is not dict or type(request.get("method")) is not bytes:
        return tnetstring.encode({"success": False, "condition": "bad-request"})
    identity = {"id": request["id"]} if type(request.get("id")) is bytes else {}
    if request["method"] != b"get-zmq-uris":
        return tnetstring.encode({**identity, "success": False, "condition": "method-not-found"})
    return tnetstring.encode({**identity, "success": True, "value": addresses})
