"""WebSocket-over-HTTP sessions, as playbooks: a list of what goes in and of what must come out, in order."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from gripproxy.grip import events as ev
from gripproxy.grip.commands import Accept, BadControl, Close, Command, Control, Disconnect, Reject, Send
from gripproxy.grip.events import Event, encode_close, encode_events
from gripproxy.grip.fields import Fields
from gripproxy.grip.limits import DEFAULT_LIMITS, Limits
from gripproxy.grip.websocket import Session

TYPE = (b"Content-Type", b"application/websocket-events")
TEXT = (b"Content-Type", b"text/plain")
GRIP = (b"Sec-WebSocket-Extensions", b"grip")
EVERY_30_S = (b"Keep-Alive-Interval", b"30")
FIXED = ((b"Accept", b"application/websocket-events"), TYPE, (b"Connection-Id", b"c1"))
REFUSED = Reject(502, "Bad Gateway", (TEXT,), b"The backend did not accept the WebSocket.\n")


class Play:
    """A session at work, and the time."""

    def __init__(self, limits: Limits, jitter: float) -> None:
        self.session = Session("c1", limits, jitter)
        self.now = 0.0


Step = Callable[[Play], None]


def play(*steps: Step, limits: Limits = DEFAULT_LIMITS, jitter: float = 0.0) -> Session:
    stage = Play(limits, jitter)
    for number, step in enumerate(steps):
        try:
            step(stage)
        except AssertionError as error:
            error.add_note(f"in step {number + 1} of {len(steps)}, at {stage.now} s")
            raise
    return stage.session


def posts(*events: Event, fields: Fields = ()) -> Step:
    """The session asks for a POST with these events, and these fields beside the usual ones."""

    def step(stage: Play) -> None:
        request = stage.session.next_request(stage.now)
        assert request is not None
        assert encode_events(events) == request.body
        assert (*FIXED, *fields) == request.fields
        assert stage.session.is_in_flight
        assert stage.session.next_request(stage.now) is None

    return step


def silent(until: float | None = None) -> Step:
    """The session wants nothing, before that time."""

    def step(stage: Play) -> None:
        assert stage.session.next_request(stage.now) is None
        assert until == stage.session.deadline
        assert not stage.session.is_closed

    return step


def over(stage: Play) -> None:
    """The conversation has ended."""
    assert stage.session.is_closed
    assert stage.session.next_request(stage.now + 1e9) is None
    assert stage.session.deadline is None


def at(time: float) -> Step:
    def step(stage: Play) -> None:
        stage.now = time

    return step


def client(kind: str, content: bytes = b"") -> Step:
    return lambda stage: stage.session.receive(Event(kind, content))


def refresh(stage: Play) -> None:
    stage.session.refresh()


def answers(*events: Event, fields: Fields = (), gives: tuple[Command, ...] = ()) -> Step:
    """The backend answers with these events; these commands follow."""
    return answers_plain(200, (TYPE, *fields), encode_events(events), gives=gives)


def answers_plain(status: int, fields: Fields = (), body: bytes = b"", gives: tuple[Command, ...] = ()) -> Step:
    def step(stage: Play) -> None:
        commands = stage.session.receive_response(status, "Some Reason", fields, body, stage.now)
        assert gives == tuple(commands)

    return step


def fails(gives: tuple[Command, ...] = (), status: int = 502) -> Step:
    """The POST gets no answer."""

    def step(stage: Play) -> None:
        commands = stage.session.receive_failure("backend did not answer", False, stage.now, status)
        assert gives == tuple(commands)

    return step


OPEN = Event("OPEN")
CLOSE = Event("CLOSE")
DISCONNECT = Event("DISCONNECT")


def says(content: bytes) -> Event:
    return Event("TEXT", content)


def opened(*fields: tuple[bytes, bytes]) -> list[Step]:
    return [posts(OPEN), answers(OPEN, fields=(GRIP, *fields), gives=(Accept((), True),))]


# --- opening ---------------------------------------------------------------------------------------------------------


def test_the_first_request_is_open_and_its_answer_accepts() -> None:
    play(
        posts(OPEN),
        answers(
            OPEN,
            says(b'c:{"channel": "headline-1", "type": "subscribe"}'),
            says(b"m:hello"),
            fields=(GRIP,),
            gives=(Accept((), True), Control(ev.Subscribe("headline-1")), Send("text", b"hello")),
        ),
        silent(),
    )


def test_a_plain_answer_to_open_is_the_refused_handshake() -> None:
    refusal = Reject(403, "Some Reason", (TEXT,), b"nope")
    play(posts(OPEN), answers_plain(403, (TEXT,), b"nope", gives=(refusal,)), over)


@pytest.mark.parametrize(
    "events",
    [(), (says(b"m:hi"),), (Event("CLOSE", b"\x00\x00"),), (DISCONNECT,), (says(b"m:hi"), OPEN)],
)
def test_events_without_open_in_front_are_a_refusal(events: tuple[Event, ...]) -> None:
    play(posts(OPEN), answers(*events, gives=(REFUSED,)), over)


@pytest.mark.parametrize(("status", "reason"), [(502, "Bad Gateway"), (504, "Gateway Timeout")])
def test_opening_is_not_repeated(status: int, reason: str) -> None:
    refusal = Reject(status, reason, (TEXT,), b"Error while proxying to origin.\n")
    play(posts(OPEN), fails((refusal,), status), over)


def test_a_backend_may_put_its_decision_off() -> None:
    play(
        posts(OPEN),
        answers(fields=(EVERY_30_S,)),
        silent(until=30),
        at(30),
        posts(OPEN),
        answers(),
        silent(until=60),
        at(60),
        posts(OPEN),
        answers(OPEN, fields=(GRIP,), gives=(Accept((), True),)),
        silent(until=90),
    )


def test_a_client_lost_before_anything_was_sent_concerns_nobody() -> None:
    play(client("DISCONNECT"), over)


def test_a_client_lost_while_opening_is_reported_when_the_backend_accepted() -> None:
    play(
        posts(OPEN),
        client("DISCONNECT"),
        answers(OPEN, says(b"m:hi"), fields=(GRIP,)),
        posts(DISCONNECT),
        answers(),
        over,
    )


def test_a_client_lost_while_opening_is_not_reported_when_the_backend_refused() -> None:
    play(posts(OPEN), client("DISCONNECT"), answers_plain(403, (), b"nope"), over)


def test_a_client_lost_while_the_decision_is_put_off_is_reported() -> None:
    play(posts(OPEN), answers(fields=(EVERY_30_S,)), client("DISCONNECT"), posts(DISCONNECT), answers(), over)
    play(posts(OPEN), client("CLOSE"), answers(fields=(EVERY_30_S,)), posts(DISCONNECT), answers(), over)


# --- prefixes and control messages -----------------------------------------------------------------------------------


def test_without_the_extension_everything_is_relayed_as_it_is() -> None:
    play(
        posts(OPEN),
        answers(
            OPEN,
            says(b'c:{"type":"detach"}'),
            says(b"hello"),
            gives=(Accept((), False), Send("text", b'c:{"type":"detach"}'), Send("text", b"hello")),
        ),
        silent(),
    )


@pytest.mark.parametrize(
    ("extensions", "content", "command"),
    [
        (b"grip", b"m:hi", Send("text", b"hi")),
        (b"grip", b"hi", BadControl("TEXT without the prefix b'm:'")),
        (b'grip; message-prefix=""', b"hi", Send("text", b"hi")),
        (b"grippy", b"m:hi", Send("text", b"m:hi")),
        (b'grip; a="b, m', b"m:hi", Send("text", b"m:hi")),
    ],
)
def test_the_prefix_of_the_open_response_decides(extensions: bytes, content: bytes, command: Command) -> None:
    is_grip = content != command.content if isinstance(command, Send) and b"message-prefix" not in extensions else True
    fields = ((b"Sec-WebSocket-Extensions", extensions),)
    play(posts(OPEN), answers(OPEN, says(content), fields=fields, gives=(Accept((), is_grip), command)))


def test_the_prefix_holds_for_the_whole_connection() -> None:
    play(
        *opened(),
        client("TEXT", b"x"),
        posts(says(b"x")),
        answers(
            says(b"m:hi"),
            fields=((b"Sec-WebSocket-Extensions", b'grip; message-prefix=""'),),
            gives=(Send("text", b"hi"),),
        ),
    )


def test_binary_content_has_the_prefix_too_and_is_never_a_control_message() -> None:
    play(
        *opened(),
        refresh,
        posts(),
        answers(
            Event("BINARY", b"m:\xff\x00"),
            Event("BINARY", b'c:{"type":"detach"}'),
            gives=(Send("binary", b"\xff\x00"), BadControl("BINARY without the prefix b'm:'")),
        ),
    )


# --- messages --------------------------------------------------------------------------------------------------------


def test_messages_before_the_handshake_is_done_are_ignored() -> None:
    limits = Limits(message_size=4)
    play(client("TEXT", b"12345"), posts(OPEN), client("TEXT", b"1"), *opened()[1:], silent(), limits=limits)


def test_what_arrives_during_a_request_goes_as_one_batch_in_the_next() -> None:
    play(
        *opened(),
        client("TEXT", b"one"),
        posts(says(b"one")),
        client("TEXT", b"two"),
        client("BINARY", b"\xff"),
        client("PONG"),
        client("TEXT"),
        answers(says(b"m:1"), gives=(Send("text", b"1"),)),
        posts(says(b"two"), Event("BINARY", b"\xff"), Event("PONG"), says(b"")),
        answers(),
        silent(),
    )


def test_one_event_a_request_where_the_backend_wants_it() -> None:
    play(
        *opened(),
        client("TEXT", b"one"),
        client("TEXT", b""),
        client("CLOSE"),
        posts(says(b"one")),
        answers(),
        posts(says(b"")),
        answers(),
        posts(CLOSE),
        answers(CLOSE, gives=(Close(None, ""),)),
        over,
        limits=Limits(one_event=True),
    )


def test_a_batch_has_no_more_content_than_the_buffer() -> None:
    play(
        *opened(),
        client("TEXT", b"12345"),
        client("TEXT", b"67890"),
        client("TEXT", b"x"),
        posts(says(b"12345"), says(b"67890")),
        answers(),
        posts(says(b"x")),
        answers(),
        silent(),
        limits=Limits(buffered=10),
    )


@pytest.mark.parametrize(
    ("limits", "messages"),
    [(Limits(buffered=10), (b"12345", b"67890")), (Limits(queued=2), (b"", b""))],
)
def test_a_session_is_full_when_much_waits_for_the_backend(limits: Limits, messages: tuple[bytes, bytes]) -> None:
    session = play(*opened(), client("TEXT", messages[0]), limits=limits)
    assert not session.is_full
    session.receive(says(messages[1]))
    assert session.is_full
    session.next_request(0)
    assert session.is_full
    session.receive_response(200, "OK", (TYPE,), b"", 0)
    assert not session.is_full


def test_too_long_a_message_ends_the_connection_with_1009() -> None:
    play(
        *opened(),
        client("TEXT", b"1234"),
        client("BINARY", b"12345"),
        client("TEXT", b"x"),
        posts(says(b"1234")),
        client("CLOSE", encode_close(1009)),
        answers(says(b"m:hi"), gives=(Close(1009, "message exceeds 4 bytes"),)),
        posts(DISCONNECT),
        answers(),
        over,
        limits=Limits(message_size=4),
    )


def test_pongs_of_the_backend_are_swallowed_where_the_owner_answered_the_ping() -> None:
    play(
        *opened(),
        client("PING", b"hi"),
        client("PING"),
        posts(Event("PING", b"hi"), Event("PING")),
        answers(Event("PONG", b"hi")),
        refresh,
        posts(),
        answers(
            Event("PONG"), Event("PONG", b"own"), Event("PING", b"?"), gives=(Send("pong", b"own"), Send("ping", b"?"))
        ),
        silent(),
    )


def test_refresh_asks_the_backend_once() -> None:
    play(*opened(), refresh, refresh, posts(), answers(says(b"m:news"), gives=(Send("text", b"news"),)), silent())


def test_refresh_during_a_request_asks_again_after_it() -> None:
    play(*opened(), client("TEXT", b"x"), posts(says(b"x")), refresh, answers(), posts(), answers(), silent())


def test_refresh_needs_an_open_connection() -> None:
    play(refresh, posts(OPEN), refresh, answers(OPEN, fields=(GRIP,), gives=(Accept((), True),)), silent())
    play(*opened(), client("CLOSE"), posts(CLOSE), refresh, answers(CLOSE, gives=(Close(None, ""),)), over)


# --- keep-alive and meta ---------------------------------------------------------------------------------------------


def test_the_backend_is_polled_at_its_interval_while_there_is_no_traffic() -> None:
    play(
        *opened(EVERY_30_S),
        silent(until=30),
        at(10),
        client("TEXT", b"x"),
        posts(says(b"x")),
        answers(),
        silent(until=40),
        at(39.9),
        silent(until=40),
        at(40),
        posts(),
        answers(says(b"m:hi"), gives=(Send("text", b"hi"),)),
        silent(until=70),
    )


@pytest.mark.parametrize(
    ("value", "until"),
    [(b"60", 60.0), (b"5", 20.0), (b"0", None), (b"-1", None), (b"x", None), (b"1.5", None), (b"9" * 5000, None)],
)
def test_intervals_have_a_floor_and_nonsense_ends_them(value: bytes, until: float | None) -> None:
    play(
        *opened(EVERY_30_S),
        refresh,
        posts(),
        answers(fields=((b"keep-alive-interval", value),)),
        silent(until),
    )


def test_the_floor_of_intervals_can_be_lowered() -> None:
    play(*opened((b"Keep-Alive-Interval", b"1")), silent(until=1), limits=Limits(keep_alive_floor=0.1))


def test_jitter_brings_a_poll_forward_but_not_below_the_floor() -> None:
    play(*opened((b"Keep-Alive-Interval", b"100")), silent(until=95), jitter=0.5)
    play(*opened((b"Keep-Alive-Interval", b"20")), silent(until=20), jitter=1.0)


def test_meta_is_stored_replaced_and_deleted() -> None:
    play(
        *opened(
            (b"Set-Meta-User", b"bob"), (b"set-meta-n", b"1"), (b"Set-Meta-", b"nameless"), (b"Set-Meta-gone", b"")
        ),
        refresh,
        posts(fields=((b"Meta-User", b"bob"), (b"meta-n", b"1"))),
        answers(fields=((b"Set-Meta-user", b"alice"), (b"Set-Meta-n", b""))),
        refresh,
        posts(fields=((b"Meta-user", b"alice"),)),
        answers(),
        client("DISCONNECT"),
        posts(DISCONNECT, fields=((b"Meta-user", b"alice"),)),
    )


def test_meta_has_a_limit() -> None:
    play(
        *opened((b"Set-Meta-a", b"1"), (b"Set-Meta-b", b"2"), (b"Set-Meta-a", b"3")),
        refresh,
        posts(fields=((b"Meta-a", b"3"),)),
        limits=Limits(meta=1),
    )


# --- acceptance ------------------------------------------------------------------------------------------------------


def takes(number: int) -> Fields:
    return ((b"Content-Bytes-Accepted", b"%d" % number),)


def replayed(number: int) -> Fields:
    return ((b"Content-Bytes-Replayed", b"%d" % number),)


def test_what_was_not_accepted_goes_again_with_what_follows() -> None:
    """Pushpin's websocketoverhttptest.cpp, replay."""
    play(
        *opened(),
        client("TEXT", b"[foo][hello"),
        posts(says(b"[foo][hello")),
        answers(fields=takes(5)),
        silent(),
        client("TEXT", b" world]"),
        posts(says(b"[hello"), says(b" world]"), fields=replayed(6)),
        answers(says(b"m:[ok]"), gives=(Send("text", b"[ok]"),)),
        silent(),
        client("TEXT", b"x"),
        posts(says(b"x")),
    )


def test_what_arrived_meanwhile_follows_at_once() -> None:
    play(
        *opened(),
        client("TEXT", b"ab"),
        posts(says(b"ab")),
        client("TEXT", b""),
        answers(fields=takes(0)),
        posts(says(b"ab"), says(b""), fields=replayed(2)),
        answers(fields=takes(1)),
        silent(),
    )


def test_a_poll_carries_what_was_not_accepted() -> None:
    play(
        *opened(EVERY_30_S),
        client("TEXT", b"ab"),
        posts(says(b"ab")),
        answers(fields=takes(1)),
        silent(until=30),
        at(30),
        posts(says(b"b"), fields=replayed(1)),
        answers(),
        silent(until=60),
    )


@pytest.mark.parametrize("value", [b"", b"-1", b"x", b"1" * 20])
def test_a_wrong_number_of_accepted_bytes_means_all(value: bytes) -> None:
    play(
        *opened(),
        client("TEXT", b"ab"),
        posts(says(b"ab")),
        answers(fields=((b"Content-Bytes-Accepted", value),)),
        client("TEXT", b"c"),
        posts(says(b"c")),
    )


def test_more_cannot_be_accepted_than_was_offered() -> None:
    play(
        *opened(),
        client("TEXT", b"ab"),
        posts(says(b"ab")),
        client("TEXT", b"cd"),
        answers(says(b"m:hi"), fields=takes(3), gives=(Close(1011, "Content-Bytes-Accepted: 3 of 2"),)),
        posts(DISCONNECT),
    )


def test_a_full_batch_must_be_accepted_in_part() -> None:
    play(
        *opened(),
        client("TEXT", b"1234"),
        client("TEXT", b"5678"),
        posts(says(b"1234")),
        answers(fields=takes(1)),
        posts(says(b"234"), fields=replayed(3)),
        answers(fields=takes(0), gives=(Close(1011, "backend accepted nothing of a full batch"),)),
        posts(DISCONNECT),
        limits=Limits(buffered=5),
    )


def test_a_full_buffer_that_nothing_will_empty_is_a_failure() -> None:
    stuck = Close(1011, "backend accepted nothing, and nothing more will come")
    limits = Limits(buffered=4)
    play(
        *opened(),
        client("TEXT", b"1234"),
        posts(says(b"1234")),
        answers(fields=takes(0), gives=(stuck,)),
        limits=limits,
    )
    play(
        *opened(EVERY_30_S),
        client("TEXT", b"1234"),
        posts(says(b"1234")),
        answers(fields=takes(0)),
        silent(until=30),
        limits=limits,
    )


def test_close_waits_until_the_content_before_it_is_accepted() -> None:
    play(
        *opened(),
        client("TEXT", b"ab"),
        client("CLOSE", encode_close(1000)),
        posts(says(b"ab"), Event("CLOSE", b"\x03\xe8")),
        answers(fields=takes(1)),
        posts(says(b"b"), Event("CLOSE", b"\x03\xe8"), fields=replayed(3)),
        answers(Event("CLOSE", b"\x03\xe8"), fields=takes(3), gives=(Close(1000, ""),)),
        over,
    )


def test_a_close_alone_must_be_accepted() -> None:
    refused = Close(1011, "Content-Bytes-Accepted leaves the CLOSE")
    play(
        *opened(),
        client("TEXT", b"ab"),
        client("CLOSE", encode_close(1000)),
        posts(says(b"ab"), Event("CLOSE", b"\x03\xe8")),
        answers(fields=takes(2), gives=(refused,)),
        posts(DISCONNECT),
        answers(),
        over,
    )


def test_content_before_a_close_that_is_never_accepted_is_a_failure() -> None:
    stuck = Close(1011, "backend accepted nothing, and nothing more will come")
    play(
        *opened(),
        client("TEXT", b"ab"),
        client("CLOSE"),
        posts(says(b"ab"), CLOSE),
        answers(fields=takes(0), gives=(stuck,)),
        posts(DISCONNECT),
    )


def test_content_before_a_close_is_offered_at_every_poll() -> None:
    play(
        *opened(EVERY_30_S),
        client("TEXT", b"ab"),
        client("CLOSE"),
        posts(says(b"ab"), CLOSE),
        answers(fields=takes(0)),
        silent(until=30),
        at(30),
        posts(says(b"ab"), CLOSE, fields=replayed(2)),
        answers(CLOSE, gives=(Close(None, ""),)),
        over,
    )


# --- closing ---------------------------------------------------------------------------------------------------------


def test_the_client_closes_and_the_backend_answers() -> None:
    play(
        *opened(),
        client("TEXT", b"bye"),
        client("CLOSE", encode_close(4000, "done")),
        client("TEXT", b"ignored"),
        client("CLOSE"),
        posts(says(b"bye"), Event("CLOSE", b"\x0f\xa0done")),
        answers(says(b"m:bye"), Event("CLOSE", b"\x0f\xa1ok"), gives=(Send("text", b"bye"), Close(4001, "ok"))),
        over,
        client("DISCONNECT"),
        over,
    )


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\x00\x00"])
def test_a_close_without_a_legal_code_stays_without_one(payload: bytes) -> None:
    play(
        *opened(),
        client("CLOSE", payload),
        posts(CLOSE),
        answers(Event("CLOSE", b"\x00\x00"), gives=(Close(None, ""),)),
        over,
    )


def test_a_backend_without_keep_alive_has_one_chance_to_answer_a_close() -> None:
    play(
        *opened(),
        client("CLOSE"),
        posts(CLOSE),
        answers(gives=(Disconnect("backend did not answer the CLOSE"),)),
        over,
    )


def test_a_backend_with_keep_alive_may_answer_a_close_later() -> None:
    play(
        *opened(EVERY_30_S),
        client("CLOSE"),
        posts(CLOSE),
        answers(says(b"m:wait"), gives=(Send("text", b"wait"),)),
        silent(until=30),
        at(30),
        posts(),
        answers(CLOSE, gives=(Close(None, ""),)),
        over,
    )


def test_a_client_that_does_not_wait_for_the_answer_to_its_close_is_reported_lost() -> None:
    play(
        *opened(EVERY_30_S),
        client("CLOSE"),
        posts(CLOSE),
        answers(),
        client("DISCONNECT"),
        posts(DISCONNECT),
        answers(),
        over,
    )
    play(
        *opened(),
        client("TEXT", b"x"),
        client("CLOSE"),
        client("DISCONNECT"),
        posts(says(b"x"), CLOSE),
        answers(),
        posts(DISCONNECT),
        answers(),
        over,
    )


def test_a_client_lost_after_its_close_was_answered_was_not_lost() -> None:
    play(*opened(), client("CLOSE"), posts(CLOSE), client("DISCONNECT"), answers(CLOSE), over)


def test_the_backend_closes_and_the_client_answers() -> None:
    play(
        *opened(EVERY_30_S),
        client("TEXT", b"x"),
        posts(says(b"x")),
        client("TEXT", b"too late"),
        answers(
            Event("CLOSE", b"\x03\xf0no"),
            says(b"m:after"),
            DISCONNECT,
            gives=(Close(1008, "no"),),
        ),
        silent(),
        refresh,
        client("TEXT", b"too late as well"),
        silent(),
        client("CLOSE", encode_close(1008)),
        posts(Event("CLOSE", b"\x03\xf0")),
        answers(CLOSE),
        over,
    )


def test_the_backend_closes_and_the_client_does_not_answer() -> None:
    play(
        *opened(),
        refresh,
        posts(),
        answers(Event("CLOSE", b"\x00\x00"), gives=(Close(None, ""),)),
        client("DISCONNECT"),
        posts(DISCONNECT),
        answers_plain(500),
        over,
    )


def test_a_client_that_answered_the_backends_close_may_go() -> None:
    play(
        *opened(),
        refresh,
        posts(),
        answers(CLOSE, gives=(Close(None, ""),)),
        client("CLOSE"),
        client("DISCONNECT"),
        posts(CLOSE),
        answers(),
        over,
    )


def test_the_backend_may_close_with_its_first_answer() -> None:
    play(
        posts(OPEN),
        answers(OPEN, Event("CLOSE", b"\x0f\xa0"), fields=(GRIP,), gives=(Accept((), True), Close(4000, ""))),
        silent(),
    )


def test_both_close_at_once() -> None:
    play(
        *opened(),
        client("TEXT", b"x"),
        posts(says(b"x")),
        client("CLOSE", encode_close(1000)),
        answers(Event("CLOSE", b"\x0f\xa0"), gives=(Close(4000, ""),)),
        client("DISCONNECT"),
        posts(Event("CLOSE", b"\x03\xe8")),
        answers(),
        over,
    )


def test_the_backend_disconnects() -> None:
    play(
        *opened(),
        refresh,
        posts(),
        answers(says(b"m:x"), DISCONNECT, says(b"m:y"), gives=(Send("text", b"x"), Disconnect("backend disconnected"))),
        over,
    )


def test_a_lost_client_is_reported_after_what_it_sent() -> None:
    play(
        *opened(),
        client("TEXT", b"one"),
        posts(says(b"one")),
        client("TEXT", b"two"),
        client("DISCONNECT"),
        client("DISCONNECT"),
        client("TEXT", b"never"),
        answers(says(b"m:hi")),
        posts(says(b"two")),
        answers(says(b'c:{"type":"detach"}')),
        posts(DISCONNECT),
        answers(CLOSE),
        over,
    )


def test_a_backend_that_closed_hears_only_that_the_client_is_lost() -> None:
    play(
        *opened(),
        client("TEXT", b"one"),
        posts(says(b"one")),
        client("TEXT", b"two"),
        client("DISCONNECT"),
        answers(CLOSE),
        posts(DISCONNECT),
        answers(),
        over,
    )


def test_a_backend_that_leaves_content_hears_of_the_loss_all_the_same() -> None:
    play(
        *opened(),
        client("TEXT", b"ab"),
        posts(says(b"ab")),
        answers(fields=takes(1)),
        client("DISCONNECT"),
        posts(says(b"b"), fields=replayed(1)),
        answers(fields=takes(0)),
        posts(DISCONNECT),
        answers(),
        over,
    )


# --- detach ----------------------------------------------------------------------------------------------------------

DETACH = says(b'c:{"type":"detach"}')


def test_detach_closes_the_backend_and_keeps_the_client() -> None:
    play(
        *opened(EVERY_30_S),
        client("TEXT", b"x"),
        posts(says(b"x")),
        client("TEXT", b"before"),
        answers(DETACH, says(b"m:last"), gives=(Control(ev.Detach()), Send("text", b"last"))),
        client("TEXT", b"after"),
        client("CLOSE"),
        client("DISCONNECT"),
        posts(says(b"before"), CLOSE),
        answers(says(b"m:nobody there")),
        over,
    )


@pytest.mark.parametrize("end", [CLOSE, DISCONNECT])
def test_the_end_of_a_detached_backend_is_not_the_clients(end: Event) -> None:
    play(*opened(), refresh, posts(), answers(DETACH, gives=(Control(ev.Detach()),)), posts(CLOSE), answers(end), over)


def test_a_backend_that_detaches_and_closes_gets_its_close() -> None:
    play(
        *opened(),
        refresh,
        posts(),
        answers(DETACH, CLOSE, gives=(Control(ev.Detach()),)),
        posts(CLOSE),
        answers(),
        over,
    )


def test_a_detached_backend_that_fails_does_not_hurt_the_client() -> None:
    play(
        *opened(),
        refresh,
        posts(),
        answers(DETACH, gives=(Control(ev.Detach()),)),
        posts(CLOSE),
        answers_plain(500),
        over,
    )


def test_detach_comes_too_late_after_a_close() -> None:
    play(
        *opened(),
        client("CLOSE"),
        posts(CLOSE),
        answers(DETACH, CLOSE, gives=(BadControl("detach after CLOSE"), Close(None, ""))),
        over,
    )


# --- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [fails(), *(answers_plain(status) for status in (502, 503, 504))])
def test_a_passing_failure_is_not_the_clients_end(failure: Step) -> None:
    hello = posts(says(b"hello"))
    play(
        *opened(),
        client("TEXT", b"hello"),
        hello,
        client("TEXT", b"meanwhile"),
        failure,
        silent(until=1.5),
        at(1.5),
        hello,
        failure,
        silent(until=4),
        at(4),
        hello,
        answers(says(b"m:world"), gives=(Send("text", b"world"),)),
        posts(says(b"meanwhile")),
        failure,
        silent(until=5.5),  # counted anew
        jitter=0.5,
    )


@pytest.mark.parametrize(
    ("failure", "reason"), [(fails, "backend did not answer"), (answers_plain, "backend answered 503")]
)
def test_a_lasting_failure_ends_the_connection_after_five_repeats(failure: Callable[..., Step], reason: str) -> None:
    arguments = () if failure is fails else (503,)
    steps = list[Step]()
    for time in (0, 1, 3, 7, 15):
        steps += [at(time), posts(says(b"x")), failure(*arguments)]
    play(
        *opened(),
        client("TEXT", b"x"),
        *steps,
        silent(until=31),
        at(31),
        posts(says(b"x")),
        failure(*arguments, gives=(Close(1011, reason),)),
        client("CLOSE", encode_close(1011)),
        posts(DISCONNECT),
        answers(),
        over,
    )


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (lambda gives: answers_plain(500, gives=gives), "backend answered 500"),
        (lambda gives: answers_plain(404, (TYPE,), gives=gives), "backend answered 404"),
        (lambda gives: answers_plain(204, (TYPE,), gives=gives), "backend answered 204"),
        (lambda gives: answers_plain(200, gives=gives), "backend answered Content-Type ''"),
        (
            lambda gives: answers_plain(200, ((b"Content-Type", b"text/html"),), b"<html>", gives),
            "backend answered Content-Type 'text/html'",
        ),
        (lambda gives: answers_plain(200, (TYPE,), b"TEXT", gives), "events: offset 0: no CRLF after the type"),
        (lambda gives: answers(OPEN, gives=gives), "backend sent OPEN again"),
        (lambda gives: answers(says(b"m:\xff"), gives=gives), "text content is not UTF-8 at offset 0"),
        (lambda gives: answers(Event("PING", b"x" * 126), gives=gives), "ping content of 126 bytes exceeds 125"),
    ],
)
def test_an_answer_that_makes_no_sense_ends_the_connection_at_once(
    failure: Callable[[tuple[Command, ...]], Step], reason: str
) -> None:
    play(
        *opened((b"Set-Meta-a", b"1")),
        client("TEXT", b"x"),
        posts(says(b"x"), fields=((b"Meta-a", b"1"),)),
        client("TEXT", b"y"),
        failure((Close(1011, reason),)),
        client("DISCONNECT"),
        posts(DISCONNECT, fields=((b"Meta-a", b"1"),)),
        answers_plain(500),
        over,
    )


def test_what_came_before_the_nonsense_is_done() -> None:
    play(
        posts(OPEN),
        answers(
            OPEN,
            says(b"m:a"),
            OPEN,
            fields=(GRIP,),
            gives=(Accept((), True), Send("text", b"a"), Close(1011, "backend sent OPEN again")),
        ),
        posts(DISCONNECT),
    )


def test_an_answer_that_makes_no_sense_changes_no_setting() -> None:
    play(
        *opened(),
        refresh,
        posts(),
        answers_plain(
            200,
            (TYPE, (b"Set-Meta-a", b"1")),
            b"TEXT",
            gives=(Close(1011, "events: offset 0: no CRLF after the type"),),
        ),
        posts(DISCONNECT),
    )


def test_disconnect_is_repeated_until_there_is_an_answer() -> None:
    play(
        *opened(),
        client("DISCONNECT"),
        posts(DISCONNECT),
        fails(),
        silent(until=1),
        at(1),
        posts(DISCONNECT),
        answers_plain(503),
        silent(until=3),
        at(3),
        posts(DISCONNECT),
        answers_plain(500),  # django-grip's answer
        over,
    )


def test_disconnect_is_not_repeated_for_ever() -> None:
    play(*opened(), client("DISCONNECT"), posts(DISCONNECT), fails(), over, limits=Limits(retries=0))


def test_a_client_lost_while_a_request_waits_to_be_repeated_is_reported_after_it() -> None:
    play(
        *opened(),
        client("TEXT", b"x"),
        posts(says(b"x")),
        fails(),
        client("DISCONNECT"),
        silent(until=1),
        at(1),
        posts(says(b"x")),
        answers(),
        posts(DISCONNECT),
        answers(),
        over,
    )


def test_a_loss_while_a_poll_waits_to_be_repeated_is_reported_at_once() -> None:
    play(
        *opened(EVERY_30_S),
        client("CLOSE"),
        posts(CLOSE),
        answers(),
        at(30),
        posts(),
        fails(),
        silent(until=31),
        client("DISCONNECT"),
        posts(DISCONNECT),
        fails(),
        silent(until=31),  # the first repetition of this request
    )


def test_a_closing_handshake_survives_a_passing_failure() -> None:
    play(
        *opened(),
        client("CLOSE"),
        posts(CLOSE),
        fails(),
        silent(until=1),
        at(1),
        posts(CLOSE),
        answers(CLOSE, gives=(Close(None, ""),)),
        over,
    )


def test_the_last_close_of_a_handshake_needs_no_sensible_answer() -> None:
    play(
        *opened(),
        refresh,
        posts(),
        answers(CLOSE, gives=(Close(None, ""),)),
        client("CLOSE"),
        posts(CLOSE),
        answers_plain(500),
        over,
    )


# --- values ----------------------------------------------------------------------------------------------------------


def test_an_idle_session_is_small() -> None:
    """Measured as what is allocated for it and only it."""
    session = play(*opened(EVERY_30_S), client("TEXT", b"x"), posts(says(b"x")), answers(), silent(until=30))
    slots = [getattr(session, name) for name in Session.__slots__]
    own = [session, session._outbox, *(slot for slot in slots if isinstance(slot, float))]
    assert 500 > sum(map(sys.getsizeof, own))
