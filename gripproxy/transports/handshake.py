"""A client's opening handshake (RFC 6455 4.2): what may be wrong with it, and the head that accepts it.

The handshake is between the client and this proxy; the one with the backend, if there is any, is another.
"""

import base64
import hashlib

from gripproxy.backend import ACCEPT_GUID
from gripproxy.grip import wire
from gripproxy.grip.commands import Reject
from gripproxy.grip.fields import Fields, field_values, parse_parameters, split_list, text

VERSION = b"13"

# What is answered to an offer of permessage-deflate: without context takeover a frame is compressed once for all
# clients, and neither side keeps a window between messages (RFC 7692 7.1.1).
DEFLATE_ANSWER = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"

_TEXT: Fields = ((b"Content-Type", b"text/plain; charset=utf-8"),)

_WINDOWS = frozenset(map(str, range(8, 16)))

# Parameters of an offer of permessage-deflate, and their values that the answer fits. Frames are shared by all
# clients, so there is one window for all; a client that asks for a smaller one gets no compression.
_FITTING = {
    "server_no_context_takeover": frozenset(("",)),
    "client_no_context_takeover": frozenset(("",)),
    "client_max_window_bits": _WINDOWS | {""},
    "server_max_window_bits": frozenset(("15",)),
}

# A client that names a window has to be answered with one, or fails the connection (RFC 7692 7.1.2.1).
_WINDOW_ANSWER = b"; server_max_window_bits=15"


def refusal(method: str, version: tuple[int, int], fields: Fields, *, has_body: bool) -> Reject | None:
    """Return the answer to a request for a WebSocket that is not a right one (RFC 6455 4.2.1), None when it is."""
    fault = _fault(method, version, fields, has_body=has_body)
    if fault is not None:
        return Reject(400, "", _TEXT, f"Not a valid WebSocket request: {fault}.\n".encode())
    if field_values(fields, b"sec-websocket-version") != [VERSION]:
        about = (b"Sec-WebSocket-Version", VERSION)
        return Reject(426, "", (*_TEXT, about), b"Only version 13 of WebSocket is spoken here.\n")
    return None


def _fault(method: str, version: tuple[int, int], fields: Fields, *, has_body: bool) -> str | None:
    if method != "GET":
        return f"its method is {method}, not GET"
    if version < (1, 1):
        return "it is not HTTP/1.1"
    if has_body:
        return "it has a body"
    keys = field_values(fields, b"sec-websocket-key")
    try:
        if len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == 16:
            return None
    except ValueError:
        pass
    return "its Sec-WebSocket-Key is not 16 bytes in base64"


def deflate_answer(fields: Fields) -> bytes:
    """Return the answer to the first offer of permessage-deflate that it fits (RFC 7692 7), empty where none is."""
    for value in field_values(fields, b"sec-websocket-extensions"):
        for offer in split_list(text(value)):
            name, parameters = parse_parameters(offer) or ("", [])
            if name.lower() == "permessage-deflate" and _fits(parameters):
                has_window = any(name.lower() == "server_max_window_bits" for name, _ in parameters)
                return DEFLATE_ANSWER + _WINDOW_ANSWER if has_window else DEFLATE_ANSWER
    return b""


def _fits(parameters: list[tuple[str, str]]) -> bool:
    names = [name.lower() for name, _ in parameters]
    if len(names) != len(set(names)):
        return False
    return all(value in _FITTING.get(name, ()) for name, (_, value) in zip(names, parameters, strict=True))


def encode_accept(key: bytes, fields: Fields, deflate: bytes = b"") -> bytes:
    """Return the head of the 101 response to the handshake with that Sec-WebSocket-Key; see `deflate_answer`."""
    digest = base64.b64encode(hashlib.sha1(key + ACCEPT_GUID, usedforsecurity=False).digest())
    own = [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", digest),
    ]
    if deflate:
        own.append((b"Sec-WebSocket-Extensions", deflate))
    return wire.encode_status_line(101) + wire.encode_fields((*own, *fields)) + b"\r\n"
