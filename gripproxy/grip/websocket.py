"""A WebSocket-over-HTTP conversation: a client's WebSocket on one side, a row of POST requests on the other.

    OPENING --OPEN--> OPEN --CLOSE from the client, or detach--> CLOSING --CLOSE from the backend--> DONE
       |               |---- CLOSE from the backend -----------> ANSWERED --CLOSE from the client--> LEAVING
       '-refused-> DONE'---- client lost, or backend failed ---> LEAVING --any answer to the last event--> DONE

The session does no I/O and knows no clock. Its owner gives it what comes from the client (`Session.receive`) and from
the backend (`Session.receive_response`, `Session.receive_failure`), does the returned commands in order, and after
each of these calls, and at `Session.deadline`, asks `Session.next_request` what to POST.

The one invariant: at most one request is under way, and an event leaves the queue only when an answer accepted it.
"""

from collections.abc import Callable, Iterable
from enum import Enum, auto

from gripproxy.errors import EventError
from gripproxy.grip import events as ev
from gripproxy.grip.acceptance import UNDECIDED, accept, read_decision, unreached
from gripproxy.grip.answer import EVENTS_TYPE, Answer
from gripproxy.grip.commands import (
    BadControl,
    Close,
    Command,
    Control,
    Disconnect,
    Reject,
    Request,
    Send,
    command_of,
)
from gripproxy.grip.events import Event
from gripproxy.grip.fields import Fields
from gripproxy.grip.limits import DEFAULT_LIMITS, Limits
from gripproxy.grip.outbox import Outbox

# A gateway between us and the backend is at fault, or the backend is starting: the next try may work.
RETRIED = frozenset((502, 503, 504))

_REQUEST_FIELDS: Fields = ((b"Accept", EVENTS_TYPE.encode()), (b"Content-Type", EVENTS_TYPE.encode()))
_DISCONNECT = Event("DISCONNECT")


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

    `jitter` is a random number from 0 to 1; it spreads retries and keep-alives of many sessions. Without `is_grip`
    every message is relayed as it is, control messages too. `deadline` is the time to call `next_request` though
    nothing else happened, or None.
    """

    __slots__ = (
        "_commands",
        "_is_detached",
        "_is_gone",
        "_is_grip",
        "_is_in_flight",
        "_is_refresh_due",
        "_jitter",
        "_keep_alive",
        "_meta",
        "_outbox",
        "_phase",
        "_pings",
        "_prefix",
        "_request",
        "_retries",
        "connection_id",
        "deadline",
        "limits",
    )

    def __init__(
        self, connection_id: str, limits: Limits = DEFAULT_LIMITS, jitter: float = 0.0, *, is_grip: bool = True
    ) -> None:
        self.connection_id = connection_id
        self.deadline: float | None = None
        self.limits = limits
        self._jitter = jitter
        self._is_grip = is_grip
        self._phase = Phase.OPENING
        self._outbox = Outbox()
        self._request: Request | None = None  # under way, or waiting to be repeated
        self._is_in_flight = False
        self._is_refresh_due = False
        self._retries = 0
        self._keep_alive: int | None = None  # seconds between polls, as the backend wants them
        self._meta: Fields = ()
        self._prefix: bytes | None = None  # None: not GRIP, everything is relayed as it is
        self._pings = 0  # pings that the owner answered and the backend has not
        self._is_gone = False  # there is no client to command any more
        self._is_detached = False
        self._commands: list[Command] | None = None

    @property
    def is_full(self) -> bool:
        """Whether so much waits for the backend that the client should not be read."""
        return self._outbox.size >= self.limits.buffered or len(self._outbox) >= self.limits.queued

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

        Whatever has no meaning any more, such as a message after a CLOSE, is ignored.

        The owner answers the client's pings itself; they are given here all the same, for the backend.
        """
        if self._phase is not Phase.DONE:
            _FROM_CLIENT[event.type](self, event)

    def refresh(self) -> None:
        """Ask the backend as soon as possible whether it has something to say."""
        if self._phase is Phase.OPEN:
            self._is_refresh_due = True

    def _queue_message(self, event: Event) -> None:
        if self._phase is not Phase.OPEN:
            return  # a client must wait for the 101, and after a CLOSE of either side nobody reads
        if len(event.content) > self.limits.message_size:
            self._command(Close(1009, f"message exceeds {self.limits.message_size} bytes"))
            self._lose_client(event)
            return
        if event.type == "PING":
            self._pings += 1
        self._outbox.append(event)

    def _close_client(self, event: Event) -> None:
        close = Event("CLOSE", ev.encode_close(*ev.parse_close(event.content)))
        if self._phase is Phase.OPEN:
            self._outbox.append(close)
            self._phase = Phase.CLOSING
        elif self._phase is Phase.ANSWERED:
            self._is_gone = True
            self._leave_with(close)
        elif self._phase is Phase.OPENING:
            self._lose_client(event)

    def _lose_client(self, event: Event) -> None:
        if self._is_gone:
            return
        self._is_gone = True
        if self._is_detached:
            pass  # a CLOSE is all that the backend is to hear
        elif self._phase is Phase.OPEN:
            # Behind the messages that wait: the client did send them.
            self._outbox.append(_DISCONNECT)
            self._phase = Phase.LEAVING
        elif self._is_in_flight:
            pass  # while opening and closing the answer decides
        elif self._phase is Phase.OPENING and self.deadline is None:
            self._finish()  # the backend never heard of this client
        elif self._phase is not Phase.CLOSING or not self._outbox.has_news:
            self._leave_with(_DISCONNECT)

    # --- to the backend ----------------------------------------------------------------------------------------------

    @property
    def has_events(self) -> bool:
        """Whether the next request has something to say, and does not only ask."""
        return bool(self._request.body if self._request is not None else self._outbox)

    def is_due(self, now: float) -> bool:
        """Whether there is something to POST at this time (seconds, of any clock that does not go back)."""
        if self._is_in_flight or self._phase is Phase.DONE:
            return False
        is_time = self.deadline is not None and now >= self.deadline
        if self._request is not None:
            return is_time  # waits to be repeated
        if self._phase is Phase.OPENING:
            # A deadline is there only when the backend puts its decision off.
            return is_time or self.deadline is None
        return is_time or self._is_refresh_due or self._outbox.has_news

    def next_request(self, now: float) -> Request | None:
        """What to POST at this time, or None."""
        if not self.is_due(now):
            return None
        if self._request is None:
            self._request = self._make_request()
        self._is_in_flight = True
        self.deadline = None
        return self._request

    def _make_request(self) -> Request:
        fields = (*_REQUEST_FIELDS, (b"Connection-Id", self.connection_id.encode()), *self._meta)
        if self._phase is Phase.OPENING:
            return Request(fields, ev.encode_events((Event("OPEN"),)))
        self._is_refresh_due = False
        if replayed := self._outbox.replayed_size:
            fields += ((b"Content-Bytes-Replayed", b"%d" % replayed),)
        return Request(fields, ev.encode_events(self._outbox.offer(self.limits.buffered, self.limits.one_event)))

    # --- from the backend --------------------------------------------------------------------------------------------

    def receive_response(self, status: int, reason: str, fields: Fields, body: bytes, now: float) -> list[Command]:
        """Take the answer to the request under way; returns what to do to the client, in order."""
        assert self._is_in_flight, "no request is under way"
        self._is_in_flight = False
        if self._phase is Phase.OPENING:
            self._end_request()
            self._read_opening(status, reason, fields, body, now)
        elif status not in RETRIED or not self._put_off(now):
            self._end_request()
            if self._is_last_event_offered():
                self._finish()  # whatever the answer is: django-grip's to DISCONNECT is 500
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
            self._refuse(unreached(status))
        elif not self._put_off(now):
            self._end_request()
            self._fail(reason)
        return self._take_commands()

    def _put_off(self, now: float) -> bool:
        """Repeat the request later, if it was not repeated too often."""
        pause = self.limits.retry_pause(self._retries, self._jitter)
        if pause is None:
            return False
        self.deadline = now + pause
        self._retries += 1
        return True

    def _end_request(self) -> None:
        self._request = None
        self._retries = 0

    def _is_last_event_offered(self) -> bool:
        return self._phase is Phase.LEAVING and self._outbox.is_offered

    def _read_opening(self, status: int, reason: str, fields: Fields, body: bytes, now: float) -> None:
        decision = read_decision(status, reason, fields, body)
        if isinstance(decision, Reject):
            self._refuse(decision)
            return
        self._read_settings(decision)
        if decision.events:
            self._open(fields, decision.events[1:], now)
        elif self._keep_alive is None:
            self._refuse(UNDECIDED)
        elif self._is_gone:
            self._leave_with(_DISCONNECT)
        else:
            self._wait(now)  # and ask again then

    def _refuse(self, refusal: Reject) -> None:
        self._command(refusal)
        self._finish()

    def _open(self, fields: Fields, events: Iterable[Event], now: float) -> None:
        acceptance, self._prefix = accept(fields, is_grip=self._is_grip)
        self._command(acceptance)
        self._phase = Phase.OPEN
        if self._is_gone:
            self._leave_with(_DISCONNECT)
            return
        try:
            self._relay(events)
        except EventError as error:
            self._fail(str(error))
        else:
            self._settle(now)

    def _read_answer(self, status: int, fields: Fields, body: bytes, now: float) -> None:
        try:
            answer = Answer.from_response(status, fields, body)
            has_progressed = self._outbox.accept(answer.accepted)
            self._read_settings(answer)
            self._relay(answer.events)
            if not has_progressed:
                self._check_stall()
        except EventError as error:
            self._fail(str(error))
        else:
            self._settle(now, has_progressed)

    def _read_settings(self, answer: Answer) -> None:
        if answer.interval is not None:
            self._keep_alive = answer.interval or None
        self._meta = answer.change(self._meta, self.limits.meta)

    # --- what to wait for after an answer ----------------------------------------------------------------------------

    def _check_stall(self) -> None:
        """Raises: EventError when the backend accepted nothing and the same batch would go out for ever."""
        if self._outbox.has_news:
            again = self._outbox.batch(self.limits.buffered, self.limits.one_event)
            if self._outbox.is_replay(again):
                raise EventError("backend accepted nothing of a full batch")
        elif self._is_stuck() and (self._keep_alive is None or self._is_gone):
            raise EventError("backend accepted nothing, and nothing more will come")

    def _is_stuck(self) -> bool:
        """Whether the client can send nothing more that would push out what is left."""
        return bool(self._outbox) and (self._phase is Phase.CLOSING or self.is_full)

    def _settle(self, now: float, has_progressed: bool = True) -> None:
        if self._phase is Phase.CLOSING and not self._outbox:
            self._settle_close(now)
        elif self._phase not in (Phase.ANSWERED, Phase.DONE):
            self._wait(now)
            if has_progressed and self._is_stuck():
                self._is_refresh_due = True

    def _settle_close(self, now: float) -> None:
        """The backend took our CLOSE and did not answer with its own."""
        if self._is_detached:
            self._finish()
        elif self._is_gone:
            self._leave_with(_DISCONNECT)
        elif self._keep_alive is None:
            # Nothing will ask it again (as Pushpin).
            self._command(Disconnect("backend did not answer the CLOSE"))
            self._finish()
        else:
            self._wait(now)

    def _wait(self, now: float) -> None:
        self.deadline = None
        if self._keep_alive is not None:
            self.deadline = now + self.limits.poll_pause(self._keep_alive, self._jitter)

    # --- the backend's events ----------------------------------------------------------------------------------------

    def _relay(self, events: Iterable[Event]) -> None:
        for event in events:
            _FROM_BACKEND[event.type](self, event)
            if event.type in ("CLOSE", "DISCONNECT"):
                return

    def _relay_message(self, event: Event) -> None:
        if self._is_gone:
            return
        command = command_of(event, self._prefix)
        if isinstance(command, Control) and isinstance(command.message, ev.Detach):
            self._detach(command)
        else:
            self._command(command)

    def _detach(self, command: Control) -> None:
        if self._phase is not Phase.OPEN:
            self._command(BadControl("detach after CLOSE"))
            return
        self._is_detached = True
        self._phase = Phase.CLOSING
        self._outbox.append(Event("CLOSE"))
        self._command(command)

    def _relay_ping(self, event: Event) -> None:
        self._command(Send("ping", event.content))

    def _relay_pong(self, event: Event) -> None:
        if self._pings:
            self._pings -= 1  # the client has its answer already
        else:
            self._command(Send("pong", event.content))

    def _relay_open(self, event: Event) -> None:
        raise EventError("backend sent OPEN again")

    def _relay_close(self, event: Event) -> None:
        if not self._is_detached:
            self._command(Close(*ev.parse_close(event.content)))
        if self._phase is Phase.OPEN:
            self._phase = Phase.ANSWERED
            self._clear()
        elif self._outbox:
            # It has not taken our CLOSE or DISCONNECT yet, which is the last there.
            self._is_gone = True
            self._leave_with(self._outbox.last)
        else:
            self._finish()

    def _relay_disconnect(self, event: Event) -> None:
        if not self._is_detached:
            self._command(Disconnect("backend disconnected"))
        self._finish()

    # --- ends --------------------------------------------------------------------------------------------------------

    def _fail(self, reason: str) -> None:
        """The conversation broke: part with the client politely, and tell the backend, if it can hear."""
        if self._is_detached or self._is_last_event_offered():
            self._finish()
            return
        self._command(Close(1011, reason))
        self._is_gone = True
        self._leave_with(_DISCONNECT)

    def _leave_with(self, event: Event) -> None:
        self._clear()
        self._outbox.append(event)
        self._phase = Phase.LEAVING

    def _finish(self) -> None:
        self._clear()
        self._phase = Phase.DONE

    def _clear(self) -> None:
        self._outbox.clear()
        self._end_request()
        self._is_refresh_due = False
        self.deadline = None

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
