"""How the handshake of a WebSocket-over-HTTP conversation ends: what the backend's answer to OPEN means for the client.

A backend accepts the WebSocket, refuses it with a response of its own, or puts its decision off by an answer without
events.
"""

from gripproxy.errors import EventError
from gripproxy.grip.answer import Answer, is_events, message_prefix, public_fields
from gripproxy.grip.commands import Accept, Reject
from gripproxy.grip.fields import Fields

EXTENSIONS = b"sec-websocket-extensions"

_TEXT: Fields = ((b"Content-Type", b"text/plain"),)
_REFUSED_BODY = b"The backend did not accept the WebSocket.\n"
UNDECIDED = Reject(502, "Bad Gateway", _TEXT, _REFUSED_BODY, "no events, and no Keep-Alive-Interval to ask again")
_UNREACHED = {
    502: Reject(502, "Bad Gateway", _TEXT, b"Error while proxying to origin.\n"),
    504: Reject(504, "Gateway Timeout", _TEXT, b"Error while proxying to origin.\n"),
}

# They describe the body of events, which the client does not get.
_OF_EVENTS_BODY = frozenset((b"content-type", b"content-encoding"))


def read_decision(status: int, reason: str, fields: Fields, body: bytes) -> Answer | Reject:
    """What the backend decided: an answer that begins with OPEN, one without events for later, or the refusal."""
    if not is_events(status, fields):
        # No client takes anything but 101 for success, so 200 and 204 may stay; another 1xx is no answer.
        if 200 <= status <= 599:
            return Reject(status, reason, public_fields(fields), body)
        return _refuse(f"the status {status}")
    try:
        answer = Answer.from_response(status, fields, body)
    except EventError as error:
        return _refuse(str(error))
    if answer.events and answer.events[0].type != "OPEN":
        return _refuse(f"{answer.events[0].type} in place of OPEN")
    return answer


def _refuse(fault: str) -> Reject:
    return Reject(502, "Bad Gateway", _TEXT, _REFUSED_BODY, fault)


def accept(fields: Fields, *, is_grip: bool) -> tuple[Accept, bytes | None]:
    """What the client is answered, and the prefix of content for it, None where everything is relayed as it is.

    Without `is_grip` the backend is not asked whether it speaks GRIP, and its extensions are for whoever is in front.
    """
    prefix = message_prefix(fields) if is_grip else None
    extensions = () if is_grip else tuple(pair for pair in fields if pair[0].lower() == EXTENSIONS)
    public = tuple(pair for pair in public_fields(fields) if pair[0].lower() not in _OF_EVENTS_BODY)
    return Accept(public, prefix is not None, extensions), prefix


def unreached(status: int) -> Reject:
    """The refusal where the backend gave no answer; `status` is 504 when it took too long, else 502."""
    return _UNREACHED.get(status, _UNREACHED[502])
