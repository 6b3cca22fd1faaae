"""A WebSocket-over-HTTP conversation: a client's WebSocket on one side, a row of POST requests on the other.

    OPENING --OPEN--> OPEN --CLOSE from the client, or detach--> CLOSING --CLOSE from the backend--> DONE
       |               |---- CLOSE from the backend -----------> ANSWERED --CLOSE from the client--> LEAVING
       '-refused-> DONE'---- client lost, or backend failed ---> LEAVING --any answer to the last event--> DONE

The session does no I/O and knows no clock. Its owner gives it what comes from the client (`Session.receive`) and from
the backend (`Session.receive_response`, `Session.receive_failure`), does the returned commands in order, and after
each of these calls, and at `Session.deadline`, asks `Session.next_request` what to POST.

The one invariant: at most one request is under way, and an event leaves the queue only when an answer accepted it.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto

from gripproxy.errors import EventError
from gripproxy.grip import events as ev
from gripproxy.grip.events import Event
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
CONTROL_PREFIX = b"c:"
MESSAGE_PREFIX = b"m:"  # unless the OPEN response names another

# A gateway between us and the backend is at fault, or the backend is starting: the next try may work.
RETRIED = frozenset((502, 503, 504))
KEEP_ALIVE_JITTER = 0.1  # share of the interval by which polls of many connections are drawn apart

_REQUEST_FIELDS: Fields = ((b"Accept", EVENTS_TYPE.encode()), (b"Content-Type", EVENTS_TYPE.encode()))
# Between backend and proxy, never for the client.
_PRIVATE = HOP_BY_HOP | {
    b"content-length",
    b"content-bytes-accepted",
    b"keep-alive-interval",
    b"sec-websocket-accept",
    b"sec-websocket-extensions",
}
_PRIVATE_PREFIXES = (b"set-meta-", b"grip-")
_OF_EVENTS_BODY = frozenset((b"content-type", b"content-encoding"))
_NUMBER = re.compile(rb"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one session may use.

    message_size: bytes in one message of the client; a longer one ends the connection with code 1009.
    buffered: content bytes that wait for the backend; beyond it the client must not be read (`Session.is_full`).
    retries: repetitions of one request, `retry_delay` * 2**n seconds apart.
    response_size: bytes in one response body, for the owner to check.
    queued: events that wait for the backend, for the same purpose: empty messages have no content bytes.
    keep_alive_floor: seconds; a shorter Keep-Alive-Interval is raised to it.
    meta: number of stored Set-Meta-* values; more are ignored.
    one_event: one event in a request, for backends that cannot read more.
    """

    message_size: int = 1_048_576
    buffered: int = 1_048_576
    retries: int = 5  # as Pushpin
    response_size: int = 1_048_576
    queued: int = 8192
    retry_delay: float = 1.0  # seconds, as Pushpin
    keep_alive_floor: float = 20.0  # seconds, as Pushpin
    meta: int = 64
    one_event: bool = False

    def __post_init__(self) -> None:
        for name in ("message_size", "buffered", "response_size", "queued"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive")
        for name in ("retries", "retry_delay", "keep_alive_floor", "meta"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} is negative")


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Request:
    """What to POST: `fields` are those that the session adds to the handshake's."""

    fields: Fields
    body: bytes


@dataclass(frozen=True, slots=True)
class Accept:
    """Answer the handshake with 101 and these fields; `is_grip`: published and control messages are wanted."""

    fields: Fields
    is_grip: bool


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

    message: ev.Control


@dataclass(frozen=True, slots=True)
class BadControl:
    """Nothing to do: the backend sent a control message or content that was ignored, for this reason."""

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

_BAD_GATEWAY = Reject(
    502, "Bad Gateway", ((b"Content-Type", b"text/plain"),), b"The backend did not accept the WebSocket.\n"
)
_UNREACHED = {
    502: Reject(502, "Bad Gateway", _BAD_GATEWAY.fields, b"Error while proxying to origin.\n"),
    504: Reject(504, "Gateway Timeout", _BAD_GATEWAY.fields, b"Error while proxying to origin.\n"),
}


class Phase(Enum):
    """How far a conversation is; see the picture above."""

    OPENING = auto()  # OPEN is not answered yet
    OPEN = auto()
    CLOSING = auto()  # our CLOSE is queued or accepted, the backend's is awaited
    ANSWERED = auto()  # the backend's CLOSE went to the client, whose own is awaited; nothing else is
    LEAVING = auto()  # what is queued goes out, its last event is DISCONNECT or CLOSE
    DONE = auto()


class Session:
    """One client's conversation with its backend.

    `jitter` is a random number from 0 to 1; it spreads retries and keep-alives of many sessions. `deadline` is the
    time to call `next_request` though nothing else happened, or None.
    """

    __slots__ = (
        "_commands",
        "_is_detached",
        "_is_gone",
        "_is_in_flight",
        "_is_refresh_due",
        "_jitter",
        "_keep_alive",
        "_limits",
        "_meta",
        "_offered",
        "_phase",
        "_pings",
        "_prefix",
        "_queue",
        "_queue_size",
        "_replayed",
        "_request",
        "_retries",
        "connection_id",
        "deadline",
    )

    def __init__(self, connection_id: str, limits: Limits = DEFAULT_LIMITS, jitter: float = 0.0) -> None:
        self.connection_id = connection_id
        self.deadline: float | None = None
        self._limits = limits
        self._jitter = jitter
        self._phase = Phase.OPENING
        self._queue: list[Event] | None = None  # None when empty: most sessions are idle
        self._queue_size = 0  # content bytes in the queue
        self._offered = 0  # how many events of the queue the request under way carries
        self._replayed = 0  # how many the backend saw and did not accept
        self._request: Request | None = None  # under way, or waiting to be repeated
        self._is_in_flight = False
        self._retries = 0
        self._keep_alive: float | None = None
        self._prefix: bytes | None = None  # None: not GRIP, everything is relayed as it is
        self._meta: Fields = ()
        self._pings = 0  # pings that the owner answered and the backend has not
        self._is_refresh_due = False
        self._is_gone = False  # there is no client to command any more
        self._is_detached = False
        self._commands: list[Command] | None = None

    @property
    def is_full(self) -> bool:
        """Whether so much waits for the backend that the client should not be read."""
        return self._queue_size >= self._limits.buffered or len(self._queue or ()) >= self._limits.queued

    @property
    def is_in_flight(self) -> bool:
        """Whether a request is under way: its answer or failure is to be given before the next one."""
        return self._is_in_flight

    @property
    def is_closed(self) -> bool:
        """Whether the conversation with the backend is over."""
        return self._phase is Phase.DONE

    # --- from the client ---------------------------------------------------------------------------------------------

    def receive(self, event: Event) -> None:
        """Take what the client sent: a message, CLOSE with its payload, or DISCONNECT when it is lost or was cut.

        The owner answers the client's pings itself; they are given here all the same, for the backend.
        """
        if self._phase is not Phase.DONE:
            _FROM_CLIENT[event.type](self, event)

    def refresh(self) -> None:
        """Ask the backend as soon as possible whether it has something to say."""
        if self._phase is Phase.OPEN:
            self._is_refresh_due = True

    def _queue_message(self, event: Event) -> None:
        if self._phase not in (Phase.OPENING, Phase.OPEN):
            return  # after a CLOSE of either side nobody reads
        if len(event.content) > self._limits.message_size:
            self._command(Close(1009, f"message exceeds {self._limits.message_size} bytes"))
            self._lose_client(event)
            return
        if event.type == "PING":
            self._pings += 1
        self._append(event)

    def _close_client(self, event: Event) -> None:
        close = Event("CLOSE", ev.encode_close(*ev.parse_close(event.content)))
        if self._phase is Phase.OPEN:
            self._append(close)
            self._phase = Phase.CLOSING
        elif self._phase is Phase.ANSWERED:
            self._is_gone = True
            self._leave_with(close)
        elif self._phase is Phase.OPENING:
            self._lose_client(event)

    def _lose_client(self, event: Event) -> None:
        if self._is_gone or self._is_detached:
            return
        self._is_gone = True
        disconnect = Event("DISCONNECT")
        if self._phase is Phase.OPEN:
            # Behind the messages that wait: the client did send them.
            self._append(disconnect)
            self._phase = Phase.LEAVING
        elif self._is_in_flight:
            pass  # while opening and closing the answer decides
        elif self._phase is Phase.OPENING and self.deadline is None:
            self._finish()  # the backend never heard of this client
        elif self._phase is not Phase.CLOSING or not self._has_news():
            self._leave_with(disconnect)

    # --- to the backend ----------------------------------------------------------------------------------------------

    def next_request(self, now: float) -> Request | None:
        """What to POST at this time (seconds, of any clock that does not go back), or None."""
        if self._is_in_flight or self._phase is Phase.DONE:
            return None
        is_time = self.deadline is not None and now >= self.deadline
        if self._request is None:
            if not self._is_due(is_time):
                return None
            self._request = self._make_request()
        elif not is_time:
            return None  # waits to be repeated
        self._is_in_flight = True
        self.deadline = None
        return self._request

    def _is_due(self, is_time: bool) -> bool:
        if self._phase is Phase.OPENING:
            # A deadline is there only when the backend puts its decision off.
            return is_time or self.deadline is None
        return is_time or self._is_refresh_due or self._has_news()

    def _has_news(self) -> bool:
        return len(self._queue or ()) > self._replayed

    def _make_request(self) -> Request:
        fields = [*_REQUEST_FIELDS, (b"Connection-Id", self.connection_id.encode())]
        if self._phase is Phase.OPENING:
            batch = [Event("OPEN")]
        else:
            batch = self._batch()
            self._offered = len(batch)
            if replayed := _content_size(batch[: self._replayed]):
                fields.append((b"Content-Bytes-Replayed", b"%d" % replayed))
        self._is_refresh_due = False
        return Request((*fields, *self._meta), ev.encode_events(batch))

    def _batch(self) -> list[Event]:
        """As much of the front of the queue as goes into one request."""
        batch: list[Event] = []
        size = 0
        for event in self._queue or ():
            size += len(event.content)
            # Alone, because django-grip answers 500 to a body with DISCONNECT, whatever else is in it.
            is_apart = event.type == "DISCONNECT" or self._limits.one_event
            if batch and (is_apart or size > self._limits.buffered):
                break
            batch.append(event)
        return batch

    # --- from the backend --------------------------------------------------------------------------------------------

    def receive_response(self, status: int, reason: str, fields: Fields, body: bytes, now: float) -> list[Command]:
        """Take the answer to the request under way; returns what to do to the client, in order."""
        assert self._is_in_flight, "no request is under way"
        self._is_in_flight = False
        if self._phase is Phase.OPENING:
            self._request = None
            self._read_opening(status, reason, fields, body, now)
        elif status not in RETRIED or not self._put_off(now):
            self._end_request()
            if self._is_at_last_event():
                self._finish()
            else:
                self._read_answer(status, fields, body, now)
        return self._take_commands()

    def receive_failure(self, reason: str, is_repeatable: bool, now: float, status: int = 502) -> list[Command]:
        """Take notice that the request under way got no answer; `status` is what a refused handshake then says.

        The request is repeated even when it is not `is_repeatable`, that is, when the backend may have acted upon it:
        a batch that comes twice is better than a lost conversation. `reason` may reach the client in a close frame.
        """
        assert self._is_in_flight, "no request is under way"
        self._is_in_flight = False
        if self._phase is Phase.OPENING:
            self._command(_UNREACHED.get(status, _UNREACHED[502]))
            self._finish()
        elif not self._put_off(now):
            self._end_request()
            self._fail(reason)
        return self._take_commands()

    def _put_off(self, now: float) -> bool:
        """Repeat the request later, if it was not repeated too often."""
        if self._retries >= self._limits.retries:
            return False
        self.deadline = now + self._limits.retry_delay * (2**self._retries + self._jitter)
        self._retries += 1
        return True

    def _end_request(self) -> None:
        self._request = None
        self._retries = 0

    def _is_at_last_event(self) -> bool:
        return self._phase is Phase.LEAVING and self._offered == len(self._queue or ())

    def _read_opening(self, status: int, reason: str, fields: Fields, body: bytes, now: float) -> None:
        if status != 200 or media_type(field(fields, b"content-type") or b"") != EVENTS_TYPE:
            # No client takes anything but 101 for success, so 200 and 204 may stay; another 1xx is no answer.
            refusal = Reject(status, reason, _public(fields), body) if 200 <= status <= 599 else _BAD_GATEWAY
            self._command(refusal)
            self._finish()
            return
        self._read_settings(fields)
        try:
            events = ev.parse_events(body)
            if not events and self._keep_alive is None:
                raise EventError("neither OPEN nor a Keep-Alive-Interval")
            if events and events[0].type != "OPEN":
                raise EventError(f"{events[0].type} instead of OPEN")
        except EventError:
            self._command(_BAD_GATEWAY)
            self._finish()
            return
        if events:
            self._open(fields, events[1:], now)
        elif self._is_gone:
            self._leave_with(Event("DISCONNECT"))
        else:
            self._wait(now)

    def _open(self, fields: Fields, events: Iterable[Event], now: float) -> None:
        self._prefix = _message_prefix(fields)
        public = tuple(pair for pair in _public(fields) if pair[0].lower() not in _OF_EVENTS_BODY)
        self._command(Accept(public, self._prefix is not None))
        self._phase = Phase.OPEN
        if self._is_gone:
            self._leave_with(Event("DISCONNECT"))
            return
        try:
            self._relay(events)
            self._settle(now, has_progressed=True)
        except EventError as error:
            self._fail(f"backend: {error}")

    def _read_answer(self, status: int, fields: Fields, body: bytes, now: float) -> None:
        if status != 200:
            self._fail(f"backend answered {status}")
            return
        try:
            if (kind := media_type(field(fields, b"content-type") or b"")) != EVENTS_TYPE:
                raise EventError(f"Content-Type {kind[:32]!r} instead of events")
            # Everything that can be wrong is read before anything changes.
            events = ev.parse_events(body)
            accepted = self._accepted(fields)
            self._read_settings(fields)
            has_progressed = self._remove(accepted)
            self._relay(events)
            self._settle(now, has_progressed)
        except EventError as error:
            self._fail(f"backend: {error}")

    def _read_settings(self, fields: Fields) -> None:
        interval = field(fields, b"keep-alive-interval")
        if interval is not None:
            seconds = int(interval) if _NUMBER.fullmatch(interval) else 0
            self._keep_alive = max(float(seconds), self._limits.keep_alive_floor) if seconds else None
        changed = [(name[4:], value) for name, value in fields if name[:9].lower() == b"set-meta-" and len(name) > 9]
        if changed:
            meta = {name.lower(): (name, value) for name, value in self._meta}
            for name, value in changed:
                meta.pop(name.lower(), None)
                if value and len(meta) < self._limits.meta:
                    meta[name.lower()] = (name, value)
            self._meta = tuple(meta.values())

    # --- acceptance --------------------------------------------------------------------------------------------------

    def _accepted(self, fields: Fields) -> int:
        """How many of the offered content bytes the backend took: all, unless it says otherwise."""
        offered = (self._queue or [])[: self._offered]
        size = _content_size(offered)
        given = field(fields, b"content-bytes-accepted")
        if given is None or not _NUMBER.fullmatch(given):
            return size
        accepted = int(given)
        if accepted > size:
            raise EventError(f"Content-Bytes-Accepted: {accepted} of {size}")
        if offered and offered[-1].type == "CLOSE" and size - len(offered[-1].content) <= accepted < size:
            # Partial acceptance is for waiting for more, and after CLOSE there is no more.
            raise EventError("the CLOSE was not accepted")
        return accepted

    def _remove(self, accepted: int) -> bool:
        """Take what was accepted off the queue, and half of an event if need be; returns whether that was anything."""
        offered, self._offered = self._offered, 0
        queue = self._queue
        if queue is None:
            return True
        left = accepted
        count = 0
        while count < offered and len(queue[count].content) <= left:
            left -= len(queue[count].content)
            count += 1
        if left:
            queue[count] = Event(queue[count].type, queue[count].content[left:])
        del queue[:count]
        self._queue = queue or None
        self._queue_size -= accepted
        self._replayed = offered - count
        return bool(accepted or count or not offered)

    def _settle(self, now: float, has_progressed: bool) -> None:
        """Decide what the session waits for, after an answer was read."""
        if self._phase is Phase.DONE or self._phase is Phase.ANSWERED:
            return
        if not has_progressed and self._has_news() and len(self._batch()) <= self._replayed:
            raise EventError("nothing of a full batch was accepted")
        if self._phase is not Phase.CLOSING:
            self._wait(now)
        elif self._queue is None:
            self._settle_close(now)
        elif self._has_news() or has_progressed:
            self._is_refresh_due = True  # no message will come to push the rest, and the CLOSE, out
        elif self._keep_alive is None or self._is_gone:
            raise EventError("neither content nor the CLOSE was accepted")
        else:
            self._wait(now)

    def _settle_close(self, now: float) -> None:
        """The backend took our CLOSE and did not answer with its own."""
        if self._is_detached:
            self._finish()
        elif self._is_gone:
            self._leave_with(Event("DISCONNECT"))
        elif self._keep_alive is None:
            # Nothing will ask it again (as Pushpin).
            self._command(Disconnect("backend did not answer the CLOSE"))
            self._finish()
        else:
            self._wait(now)

    def _wait(self, now: float) -> None:
        self.deadline = None
        if self._keep_alive is not None:
            interval = self._keep_alive * (1 - KEEP_ALIVE_JITTER * self._jitter)
            self.deadline = now + max(interval, self._limits.keep_alive_floor)

    # --- the backend's events ----------------------------------------------------------------------------------------

    def _relay(self, events: Iterable[Event]) -> None:
        for event in events:
            _FROM_BACKEND[event.type](self, event)
            if event.type in ("CLOSE", "DISCONNECT"):
                return

    def _relay_message(self, event: Event) -> None:
        prefix = self._prefix
        if self._is_gone:
            return
        if prefix is None:
            self._send(event.type.lower(), event.content)
        elif event.type == "TEXT" and event.content.startswith(CONTROL_PREFIX):
            self._relay_control(event.content[len(CONTROL_PREFIX) :])
        elif event.content.startswith(prefix):
            self._send(event.type.lower(), event.content[len(prefix) :])
        else:
            self._command(BadControl(f"{event.type} without the prefix {prefix!r}"))

    def _relay_control(self, content: bytes) -> None:
        try:
            message = ev.parse_control(content)
        except EventError as error:
            self._command(BadControl(str(error)))
            return
        if isinstance(message, ev.Detach):
            if self._phase is not Phase.OPEN:
                self._command(BadControl("detach after CLOSE"))
                return
            self._is_detached = True
            self._phase = Phase.CLOSING
            self._append(Event("CLOSE"))
        self._command(Control(message))

    def _relay_ping(self, event: Event) -> None:
        self._send("ping", event.content)

    def _relay_pong(self, event: Event) -> None:
        if self._pings:
            self._pings -= 1  # the client has its answer already
        else:
            self._send("pong", event.content)

    def _send(self, kind: str, content: bytes) -> None:
        ev.check_frame(kind, content)
        self._command(Send(kind, content))

    def _relay_open(self, event: Event) -> None:
        raise EventError("OPEN came twice")

    def _relay_close(self, event: Event) -> None:
        if not self._is_detached:
            self._command(Close(*ev.parse_close(event.content)))
        if self._phase is Phase.OPEN:
            self._phase = Phase.ANSWERED
            self._clear()
        elif self._queue is None:
            self._finish()
        else:
            # It has not seen our CLOSE or DISCONNECT yet, which is the last of the queue.
            self._is_gone = True
            self._leave_with(self._queue[-1])

    def _relay_disconnect(self, event: Event) -> None:
        if not self._is_detached:
            self._command(Disconnect("backend disconnected"))
        self._finish()

    # --- ends --------------------------------------------------------------------------------------------------------

    def _fail(self, reason: str) -> None:
        """The conversation broke: part with the client politely, and tell the backend, if it can hear."""
        if self._is_detached or self._is_at_last_event():
            self._finish()
            return
        self._command(Close(1011, reason))
        self._is_gone = True
        self._leave_with(Event("DISCONNECT"))

    def _leave_with(self, event: Event) -> None:
        self._clear()
        self._append(event)
        self._phase = Phase.LEAVING

    def _finish(self) -> None:
        self._clear()
        self._phase = Phase.DONE

    def _clear(self) -> None:
        self._queue = None
        self._queue_size = self._offered = self._replayed = 0
        self._end_request()
        self._is_refresh_due = False
        self.deadline = None

    def _append(self, event: Event) -> None:
        if self._queue is None:
            self._queue = []
        self._queue.append(event)
        self._queue_size += len(event.content)

    def _command(self, command: Command) -> None:
        if self._is_gone:
            return
        if self._commands is None:
            self._commands = []
        self._commands.append(command)

    def _take_commands(self) -> list[Command]:
        commands, self._commands = self._commands, None
        return commands or []


_FROM_CLIENT: dict[str, Callable[[Session, Event], None]] = {
    "TEXT": Session._queue_message,
    "BINARY": Session._queue_message,
    "PING": Session._queue_message,
    "PONG": Session._queue_message,
    "CLOSE": Session._close_client,
    "DISCONNECT": Session._lose_client,
}

_FROM_BACKEND: dict[str, Callable[[Session, Event], None]] = {
    "OPEN": Session._relay_open,
    "TEXT": Session._relay_message,
    "BINARY": Session._relay_message,
    "PING": Session._relay_ping,
    "PONG": Session._relay_pong,
    "CLOSE": Session._relay_close,
    "DISCONNECT": Session._relay_disconnect,
}


def _content_size(events: Iterable[Event]) -> int:
    return sum(len(event.content) for event in events)


def _public(fields: Fields) -> Fields:
    """The fields of a backend's answer that are for the client."""
    private = _PRIVATE | connection_options(fields)
    return tuple(
        (name, value)
        for name, value in fields
        if name.lower() not in private and not name.lower().startswith(_PRIVATE_PREFIXES)
    )


def _message_prefix(fields: Fields) -> bytes | None:
    """The prefix of content in a GRIP conversation, None when the OPEN response does not make it one."""
    for value in field_values(fields, b"sec-websocket-extensions"):
        for extension in split_list(text(value)):
            name, parameters = parse_parameters(extension) or ("", [])
            if name.lower() == "grip":
                given = [value for key, value in parameters if key.lower() == "message-prefix"]
                return given[0].encode() if given else MESSAGE_PREFIX
    return None
