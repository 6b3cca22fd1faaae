"""Clients over TLS: each case has a proxy of its own that serves them."""

import pytest

from tests.conformance.backend import Reply, control, events, opened
from tests.conformance.case import Case, held


@pytest.mark.slow
@pytest.mark.grip("TLS")
def test_requests_over_tls(case: Case) -> None:
    """Requests over TLS pass, and the backend is told so, whatever the client says of it."""
    case.answer(Reply(b"ok"))
    with case.with_another_proxy(tls=True) as own:
        connection = own.connect()
        for _ in range(2):
            connection.request(own.path, "POST", [("X-Forwarded-Proto", "http")], b"x" * 100_000)
            assert b"ok" == connection.read_response().body
            request = own.taken()
            assert (["https"], 100_000) == (request.values("X-Forwarded-Proto"), len(request.body))


@pytest.mark.slow
@pytest.mark.grip("TLS")
def test_holds_over_tls(case: Case) -> None:
    """Streams and long-polls are held over TLS as without it."""
    case.answer(held(case.channel, b"begin|"), at="/stream")
    case.answer(held(case.channel, b"", "response"), at="/poll")
    with case.with_another_proxy(tls=True) as own:
        stream, poll = own.stream("/stream"), own.poll("/poll")
        assert b"begin|" == stream.read_data(6)
        content = "x" * 200_000
        own.publish({"http-stream": {"content": content}, "http-response": {"body": content}})
        assert content.encode() == stream.read_data(200_000) == poll.read_response().body


@pytest.mark.slow
@pytest.mark.grip("TLS")
def test_websocket_over_tls(case: Case) -> None:
    """A WebSocket over TLS reaches the backend as one, which is told so."""
    case.answer(opened(control(type="subscribe", channel=case.channel), ("TEXT", "m:hello")), events())
    with case.with_another_proxy(tls=True) as own:
        connection = own.socket()
        assert "hello" == connection.read_text()
        assert own.taken().value("X-Forwarded-Proto") in ("https", "wss")
        own.tell("published")
        assert "published" == connection.read_text()
