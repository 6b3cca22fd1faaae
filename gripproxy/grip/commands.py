"""What a WebSocket-over-HTTP session wants done: one request to POST, commands for the client's side.

`gripproxy.grip.websocket` makes them, its owner does them, in order.
"""

from dataclasses import dataclass, field

from gripproxy.errors import EventError
from gripproxy.grip import events
from gripproxy.grip.events import Event
from gripproxy.grip.fields import Fields

CONTROL_PREFIX = b"c:"


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
    """Answer the handshake with this refusal; ``fault`` says what is wrong with the backend's answer, for the log."""

    status: int
    reason: str
    fields: Fields
    body: bytes
    fault: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Send:
    """Send the client one message; `type` is text, binary, ping or pong.

    Raises: EventError when a frame of that type must not have that content.
    """

    type: str
    content: bytes

    def __post_init__(self) -> None:
        events.check_frame(self.type, self.content)


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


def command_of(event: Event, prefix: bytes | None) -> Send | Control | BadControl:
    """The command that a TEXT or BINARY of the backend's is; with `prefix` None it is relayed as it is.

    Raises: EventError when its content can't be sent.
    """
    if prefix is None:
        return Send(event.type.lower(), event.content)
    if event.type == "TEXT" and event.content.startswith(CONTROL_PREFIX):
        try:
            return Control(events.parse_control(event.content[len(CONTROL_PREFIX) :]))
        except EventError as error:
            return BadControl(str(error))
    if event.content.startswith(prefix):
        return Send(event.type.lower(), event.content[len(prefix) :])
    return BadControl(f"{event.type} without the prefix {prefix!r}")
