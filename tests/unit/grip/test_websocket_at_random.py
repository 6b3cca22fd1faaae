"""WebSocket-over-HTTP sessions in any order of events: what must hold whatever happens.

A machine plays client, network and backend at random against one session and keeps books of its own.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gripproxy.grip import events as ev
from gripproxy.grip.commands import Accept, BadControl, Close, Command, Control, Disconnect, Reject, Send
from gripproxy.grip.events import Event, encode_events, parse_events
from gripproxy.grip.limits import Limits
from gripproxy.grip.websocket import Session

TYPE = (b"Content-Type", b"application/websocket-events")
GRIP = (b"Sec-WebSocket-Extensions", b"grip")
MESSAGES = ("TEXT", "BINARY", "PING", "PONG")
LIMITS = Limits(message_size=12, buffered=16, retries=2, queued=6, meta=2)

backend_events = st.lists(
    st.one_of(
        st.builds(Event, st.sampled_from(sorted(ev.TYPES - {"OPEN"})), st.binary(max_size=8)),
        st.sampled_from(
            [
                Event("OPEN"),
                Event("TEXT", b"m:hello"),
                Event("TEXT", b'c:{"type":"detach"}'),
                Event("TEXT", b'c:{"type":"subscribe","channel":"a"}'),
                Event("CLOSE", b"\x03\xe8"),
            ]
        ),
    ),
    max_size=3,
)
backend_fields = st.lists(
    st.one_of(
        st.sampled_from([GRIP, (b"Set-Meta-a", b"1"), (b"Set-Meta-b", b""), (b"Content-Bytes-Accepted", b"0")]),
        st.tuples(st.just(b"Content-Bytes-Accepted"), st.integers(0, 9).map(lambda number: b"%d" % number)),
        st.tuples(st.just(b"Keep-Alive-Interval"), st.integers(-1, 40).map(lambda number: b"%d" % number)),
    ),
    max_size=3,
)


class Conversation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.body: bytes | None = None  # of the request under way
        self.is_repeat_due = False
        self.failures = 0
        self.commands: list[Command] = []
        self.is_client_silent = False  # it closed or was lost
        self.waiting: list[bytes] = []  # contents that the backend has not accepted, as long as nothing ended
        self.is_simple = True  # nothing but messages so far
        self.last_body = b""

    @initialize(is_single=st.booleans(), jitter=st.floats(0, 1))
    def start(self, is_single: bool, jitter: float) -> None:
        limits = Limits(**{name: getattr(LIMITS, name) for name in LIMITS.__slots__} | {"one_event": is_single})
        self.session = Session("c1", limits, jitter)

    # --- the client ---

    @rule(kind=st.sampled_from(MESSAGES), content=st.binary(max_size=14))
    def send(self, kind: str, content: bytes) -> None:
        self.session.receive(Event(kind, content))

    @rule(payload=st.binary(max_size=6))
    def close(self, payload: bytes) -> None:
        self.session.receive(Event("CLOSE", payload))

    @rule()
    def lose(self) -> None:
        self.session.receive(Event("DISCONNECT"))
        self.is_client_silent = True

    @rule()
    def refresh(self) -> None:
        self.session.refresh()

    # --- the owner ---

    @rule(seconds=st.sampled_from([0, 0.5, 1, 5, 60]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        was_in_flight = self.body is not None
        request = self.session.next_request(self.now)
        if request is None:
            return
        assert not was_in_flight, "two requests at once"
        if self.is_repeat_due:
            assert self.last_body == request.body, "a repeated request differs"
        self.is_repeat_due = False
        self.body = self.last_body = request.body
        batch = parse_events(request.body)
        assert len(batch) <= 1 or not self.session.limits.one_event
        contents = [event.content for event in batch]
        assert sum(map(len, contents)) <= LIMITS.buffered or len(contents) == 1
        assert [event.type for event in batch[:-1] if event.type in ("OPEN", "CLOSE", "DISCONNECT")] == []
        names = [name for name, _ in request.fields]
        assert len(set(names)) == len(names)

    # --- the backend ---

    def obey(self, commands: list[Command]) -> None:
        for command in commands:
            assert isinstance(command, Accept | Reject | Send | Control | BadControl | Close | Disconnect)
            if isinstance(command, Accept | Reject):
                assert not self.commands, "the handshake was answered twice"
            else:
                assert isinstance(self.commands[0], Accept), "a message before the handshake's answer"
            if isinstance(command, Send):
                ev.check_frame(command.type, command.content)
            if isinstance(command, Close):
                assert command.code is None or ev.is_close_code(command.code)
            ended = [each for each in self.commands if isinstance(each, Reject | Close | Disconnect)]
            assert not ended, f"{command} after {ended}"
            self.commands.append(command)
        if self.is_client_silent:
            assert all(isinstance(each, Close) and each.code == 1009 for each in commands), "a lost client is commanded"

    @precondition(lambda self: self.body == b"OPEN\r\n")
    @rule(events=backend_events, fields=backend_fields)
    def accept(self, events: list[Event], fields: list[tuple[bytes, bytes]]) -> None:
        self.answer(200, (TYPE, *fields), encode_events([Event("OPEN"), *events]))

    @precondition(lambda self: self.body is not None)
    @rule(
        status=st.sampled_from([200, 200, 200, 200, 500, 503]),
        fields=backend_fields,
        body=backend_events.map(encode_events) | st.binary(max_size=12),
    )
    def respond(self, status: int, fields: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.answer(status, (TYPE, *fields), body)

    def answer(self, status: int, fields: tuple[tuple[bytes, bytes], ...], body: bytes) -> None:
        self.body = None
        self.obey(self.session.receive_response(status, "OK", fields, body, self.now))
        self.note_repeat(status == 503)

    @precondition(lambda self: self.body is not None)
    @rule(is_repeatable=st.booleans())
    def fail(self, is_repeatable: bool) -> None:
        self.body = None
        self.obey(self.session.receive_failure("no answer", is_repeatable, self.now))
        self.note_repeat(True)

    def note_repeat(self, is_failure: bool) -> None:
        self.is_repeat_due = is_failure and self.session._request is not None

    # --- what always holds ---

    @invariant()
    def books_are_right(self) -> None:
        if not hasattr(self, "session"):
            return
        session = self.session
        assert session.is_in_flight == (self.body is not None)
        outbox = session._outbox
        assert outbox.size == sum(len(event.content) for event in outbox._events or ())
        assert outbox._events is None or outbox._events
        assert outbox._replayed <= len(outbox)
        assert outbox._offered <= len(outbox)
        assert len(session._meta) <= LIMITS.meta
        if session.is_closed:
            assert not session.is_in_flight
            assert session.deadline is None
            assert not outbox

    def teardown(self) -> None:
        """Whatever happened, a lost client and a backend that answers bring every conversation to its end."""
        if not hasattr(self, "session"):
            return
        self.lose()
        for _ in range(40):
            if self.body is not None:
                self.answer(200, (TYPE,), b"OPEN\r\n" if self.body == b"OPEN\r\n" else b"")
            self.now += 1000
            self.ask()
        assert self.session.is_closed


Conversation.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestConversation = Conversation.TestCase
