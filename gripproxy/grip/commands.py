"""What a WebSocket-over-HTTP session wants done: one request to POST, commands for the client's side.

Values only; `gripproxy.grip.websocket` makes them, its owner does them, in order.
"""

from dataclasses import dataclass

from gripproxy.grip import events
from gripproxy.grip.fields import Fields


@dataclass(frozen=True, slots=True)
class Request:
    """What to POST: `fields` are those that the session adds to the handshake's."""

    fields: Fields
    body: bytes


@dataclass(frozen=True, slots=True)
class Accept:
    """Answer the handshake with 101 and these fields; `is_grip`: the backend speaks GRIP, so control messages work.

    `extensions` are the backend's own `Sec-WebSocket-Extensions`, for a proxy in front that is to do what they say.
    """

    fields: Fields
    is_grip: bool
    extensions: Fields = ()


@dataclass(frozen=True, slots=True)
class Reject:
    """Answer the handshake with this refusal."""

    status: int
    reason: str
    fields: Fields
    body: bytes


@dataclass(frozen=True, slots=True)
class Send:
    """Send the client one message; `type` is text, binary, ping or pong."""

    type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Control:
    """Obey a control message. After `Detach` the client is the owner's alone, its closing handshake included."""

    message: events.Control


@dataclass(frozen=True, slots=True)
class BadControl:
    """Nothing to do: a control message or content from the backend was ignored, for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Close:
    """Send a close frame and finish the closing handshake; code None: the client's own code, or 1000."""

    code: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Cut the connection without a close frame."""

    reason: str


Command = Accept | Reject | Send | Control | BadControl | Close | Disconnect
