"""Responses that ask for nothing: they pass through unharmed."""

import gzip

import pytest

from tests.conformance.backend import RESET, Reply
from tests.conformance.case import Case


@pytest.mark.grip("responses")
def test_response_passes_through(case: Case) -> None:
    """Status, reason, fields and body of a response without instructions reach the client as they are."""
    case.answer(Reply(b"hello\n", [("Content-Type", "text/plain"), ("X-Own", "a, b"), ("ETag", '"1"')]))
    response = case.get()
    assert (200, "OK", b"hello\n") == (response.status, response.head.reason, response.body)
    assert ("text/plain", "a, b", '"1"') == tuple(response.value(name) for name in ("Content-Type", "X-Own", "ETag"))


@pytest.mark.grip("responses")
@pytest.mark.parametrize("status", [201, 301, 307, 400, 401, 404, 418, 500, 503])
def test_status_passes_through(case: Case, status: int) -> None:
    """No status means anything to the proxy: redirects are not followed, errors not replaced."""
    case.answer(Reply(b"body", [("Location", "/elsewhere")], status, "Own Reason"))
    response = case.get()
    assert (status, "Own Reason", b"body") == (response.status, response.head.reason, response.body)
    assert "/elsewhere" == response.value("Location")


@pytest.mark.grip("HTTP")
@pytest.mark.parametrize("status", [204, 304])
def test_status_without_body(case: Case, status: int) -> None:
    """204 and 304 end with their head; the connection goes on."""
    case.answer(Reply(status=status, framing="none", fields=[("ETag", '"x"')]), Reply(b"next"))
    connection = case.ask()
    head = connection.read_head()
    assert (status, None) == (head.status, head.value("Transfer-Encoding"))
    assert '"x"' == head.value("ETag")
    assert b"next" == connection.request(case.path).read_response().body


@pytest.mark.grip("HTTP")
def test_head_has_no_body(case: Case) -> None:
    """The answer to HEAD has the length but no body; the connection goes on."""
    case.answer(Reply(b"hello", [("X-Own", "1")]))
    connection = case.ask(method="HEAD")
    response = connection.read_response("HEAD")
    assert (200, "5", "1") == (response.status, response.value("Content-Length"), response.value("X-Own"))
    assert b"hello" == connection.request(case.path).read_response().body


@pytest.mark.grip("responses")
def test_repeated_fields_stay_apart(case: Case) -> None:
    """Set-Cookie fields are not joined."""
    case.answer(Reply(b"x", [("Set-Cookie", "a=1, b"), ("X-Own", "1"), ("Set-Cookie", "c=2")]))
    assert ["a=1, b", "c=2"] == case.get().head.values("Set-Cookie")


@pytest.mark.grip("HTTP")
def test_nothing_is_added(case: Case) -> None:
    """The proxy adds no Date, Server, Content-Type, Via or caching fields of its own."""
    case.answer(Reply(b"x"))
    head = case.get().head
    added = ("Date", "Server", "Content-Type", "Via", "Cache-Control", "Age")
    assert [] == [name for name in added if head.values(name)]


@pytest.mark.grip("HTTP")
def test_date_and_server_are_the_backends(case: Case) -> None:
    """Date and Server are what the backend sent."""
    case.answer(Reply(b"x", [("Date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("Server", "own/1")]))
    head = case.get().head
    assert (["Thu, 01 Jan 1970 00:00:00 GMT"], ["own/1"]) == (head.values("Date"), head.values("Server"))


@pytest.mark.grip("responses")
def test_response_without_reason(case: Case) -> None:
    """A reason that is empty, as that of what came by HTTP/2, stays empty or becomes the registered one."""
    case.answer(Reply(b"x", status=404, reason=""))
    response = case.get()
    assert (404, True, b"x") == (response.status, response.head.reason in ("", "Not Found"), response.body)


@pytest.mark.grip("responses")
@pytest.mark.parametrize("name", ["Keep-Alive", "Proxy-Connection", "Trailer", "Upgrade"])
def test_fields_between_neighbours_are_dropped(case: Case, name: str) -> None:
    """Fields of the backend's connection do not reach the client."""
    case.answer(Reply(b"x", [(name, "own-value")]))
    assert "own-value" not in case.get().head.values(name)


@pytest.mark.grip("responses")
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("size", [0, 1, 99_999, 100_001, 1_000_000])
def test_body_passes_through(case: Case, framing: str, size: int) -> None:
    """Bodies of every size and framing reach the client whole, delimited, on a connection that goes on."""
    body = bytes(i % 251 for i in range(size))
    case.answer(Reply(body if framing == "length" else [body], framing=framing))
    connection = case.ask()
    assert body == connection.read_response().body
    assert body == connection.request(case.path).read_response().body


@pytest.mark.grip("responses")
def test_body_is_not_held_back(case: Case) -> None:
    """What the backend has sent reaches the client before the response is complete."""
    gate = case.backend.gate()
    case.answer(Reply([b"first", gate, b"second"], framing="chunked"))
    connection = case.ask()
    connection.read_head()
    assert b"first" == connection.read_data(5)
    gate.open()
    assert b"second" == connection.read_rest()


@pytest.mark.grip("responses")
def test_event_stream_is_not_held_back(case: Case) -> None:
    """A backend that streams itself, without a length and until the connection ends, is passed through as it goes."""
    gate = case.backend.gate()
    case.answer(Reply([b"data: 1\n\n", gate, b"data: 2\n\n"], [("Content-Type", "text/event-stream")], framing="close"))
    connection = case.ask()
    connection.read_head()
    assert b"data: 1\n\n" == connection.read_data(9)
    gate.open()
    assert b"data: 2\n\n" == connection.read_rest()


@pytest.mark.grip("responses")
def test_head_is_not_held_back(case: Case) -> None:
    """The head reaches the client before the first byte of the body."""
    gate = case.backend.gate()
    case.answer(Reply([gate, b"late"], framing="chunked"))
    connection = case.ask()
    assert 200 == connection.read_head().status
    gate.open()
    assert b"late" == connection.read_rest()


@pytest.mark.grip("HTTP")
def test_interim_responses_are_not_final(case: Case) -> None:
    """A 1xx response of the backend's does not end the exchange."""
    raw = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal"
    case.answer(Reply(raw, raw=True))
    response = case.get()
    assert (200, b"final") == (response.status, response.body)


@pytest.mark.grip("HTTP")
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_http_1_0_client(case: Case, framing: str) -> None:
    """An HTTP/1.0 client gets a response without chunks, and the end of the connection."""
    case.answer(Reply(b"hello" if framing == "length" else [b"hello"], framing=framing))
    connection = case.ask(version="1.0")
    response = connection.read_response()
    assert (b"hello", None) == (response.body, response.value("Transfer-Encoding"))
    assert connection.ended()


@pytest.mark.grip("HTTP")
def test_http_1_0_keep_alive(case: Case) -> None:
    """An HTTP/1.0 client that asks for it keeps its connection when the length is known."""
    case.answer(Reply(b"hello"))
    connection = case.ask(version="1.0", fields=[("Connection", "keep-alive")])
    assert "keep-alive" == (connection.read_response().value("Connection") or "").lower()
    assert b"hello" == connection.request(case.path).read_response().body


@pytest.mark.grip("HTTP")
def test_close_is_granted(case: Case) -> None:
    """A client that asks to close gets its response and the end of the connection."""
    case.answer(Reply(b"hello"))
    connection = case.ask(fields=[("Connection", "close")])
    response = connection.read_response()
    assert (b"hello", "close") == (response.body, (response.value("Connection") or "").lower())
    assert connection.ended()


@pytest.mark.grip("HTTP")
def test_pipelined_requests_are_answered_in_order(case: Case) -> None:
    """Requests that a client sends ahead are all answered, in order."""
    for number in range(3):
        case.answer(Reply(b"%d" % number), at=f"/{number}")
    connection = case.connect()
    requests = [f"GET {case.path}/{number} HTTP/1.1\r\nHost: x\r\n\r\n" for number in range(3)]
    connection.send("".join(requests).encode())
    assert [b"0", b"1", b"2"] == [connection.read_response().body for _ in range(3)]


@pytest.mark.grip("HTTP")
def test_broken_body_is_not_passed_off_as_whole(case: Case) -> None:
    """If the backend's body breaks off, the client's does not end cleanly."""
    case.answer(Reply([b"part", 0.05, RESET], framing="chunked"))
    connection = case.ask()
    connection.read_head()
    assert b"part" == connection.read_data(4)
    with pytest.raises((EOFError, ConnectionError, ValueError)):
        connection.read_rest()


@pytest.mark.grip("HTTP")
def test_early_answer(case: Case) -> None:
    """An answer that comes before the whole request body reaches the client."""
    head = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"
    case.backend.on(case.path, Reply(head, raw=True))
    connection = case.ask(method="POST", fields=[("Content-Length", "20")])
    connection.send(b"0123456789")
    connection.send(b"0123456789")
    assert (413, b"big") == ((response := connection.read_response()).status, response.body)


@pytest.mark.grip("responses")
def test_encoded_body_stays_decodable(case: Case) -> None:
    """A backend that compresses anyway is passed through with its Content-Encoding."""
    packed = gzip.compress(b"hello")
    case.answer(Reply(packed, [("Content-Encoding", "gzip")]))
    response = case.get()
    assert ("gzip", packed) == (response.value("Content-Encoding"), response.body)
