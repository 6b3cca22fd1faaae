"""What a backend's answer to OPEN means for the client."""

import pytest

from gripproxy.grip.acceptance import UNDECIDED, accept, read_decision, unreached
from gripproxy.grip.answer import Answer
from gripproxy.grip.commands import Accept, Reject
from gripproxy.grip.events import Event
from gripproxy.grip.fields import Fields

TYPE = (b"Content-Type", b"application/websocket-events")
TEXT = (b"Content-Type", b"text/plain")
GRIP = (b"Sec-WebSocket-Extensions", b"grip")


@pytest.mark.parametrize(
    ("body", "events"),
    [(b"OPEN\r\n", (Event("OPEN"),)), (b"OPEN\r\nPING\r\n", (Event("OPEN"), Event("PING"))), (b"", ())],
)
def test_open_in_front_accepts_and_no_event_is_for_later(body: bytes, events: tuple[Event, ...]) -> None:
    assert Answer(events) == read_decision(200, "OK", (TYPE,), body)


def test_parameters_of_the_media_type_do_not_matter() -> None:
    kind = (b"content-type", b"Application/WebSocket-Events; charset=utf-8")
    assert Answer((Event("OPEN"),)) == read_decision(200, "OK", (kind,), b"OPEN\r\n")


@pytest.mark.parametrize("status", [200, 204, 302, 403, 500, 503])
def test_a_plain_answer_is_the_refused_handshake(status: int) -> None:
    fields = (TEXT, (b"Content-Length", b"4"), (b"Set-Meta-A", b"b"))
    assert Reject(status, "Some Reason", (TEXT,), b"nope") == read_decision(status, "Some Reason", fields, b"nope")


@pytest.mark.parametrize(
    ("status", "fields", "body", "fault"),
    [
        (101, (), b"", "the status 101"),
        (200, (TYPE,), b"OPEN", "events: offset 0: no CRLF after the type"),
        (200, (TYPE,), b"CLOSE\r\n", "CLOSE in place of OPEN"),
        (200, (TYPE,), b"PING\r\nOPEN\r\n", "PING in place of OPEN"),
    ],
)
def test_what_is_no_answer_to_open_is_a_refusal_that_says_what_it_was(
    status: int, fields: Fields, body: bytes, fault: str
) -> None:
    decision = read_decision(status, "OK", fields, body)
    assert UNDECIDED == decision
    assert isinstance(decision, Reject)
    assert fault == decision.fault


def test_fields_between_backend_and_proxy_do_not_reach_the_client() -> None:
    fields = (
        TYPE,
        GRIP,
        (b"Set-Cookie", b"a=b"),
        (b"sec-websocket-protocol", b"graphql-ws"),
        (b"Content-Length", b"6"),
        (b"Content-Encoding", b"identity"),
        (b"keep-alive-interval", b"30"),
        (b"Set-Meta-User", b"bob"),
        (b"Grip-Status", b"200"),
        (b"Sec-WebSocket-Accept", b"x"),
        (b"Content-Bytes-Accepted", b"0"),
        (b"Connection", b"close, x-hop"),
        (b"X-Hop", b"1"),
        (b"Transfer-Encoding", b"chunked"),
    )
    public = ((b"Set-Cookie", b"a=b"), (b"sec-websocket-protocol", b"graphql-ws"))
    assert (Accept(public, True), b"m:") == accept(fields, is_grip=True)


def test_backend_that_does_not_speak_grip_has_no_prefix() -> None:
    assert (Accept((), False), None) == accept((TYPE,), is_grip=True)


def test_extensions_are_for_the_proxy_in_front_where_the_route_is_without_grip() -> None:
    assert (Accept((), False, (GRIP,)), None) == accept((TYPE, GRIP), is_grip=False)


@pytest.mark.parametrize(("status", "expected"), [(502, 502), (504, 504), (500, 502)])
def test_no_answer_is_502_or_504(status: int, expected: int) -> None:
    assert expected == unreached(status).status
