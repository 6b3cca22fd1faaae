"""What GRIP's client libraries send, oddities and faults included, and what browsers then get."""

import base64
import json
import time

import pytest

from tests.conformance import frames
from tests.conformance.backend import EVENTS, Reply, Request, control, events, opened
from tests.conformance.case import Case, held

# --- publishing

TOKEN = ("Authorization", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJyIiwiZXhwIjoxfQ.c2ln")
REQUESTS = {
    "Python": [
        ("User-Agent", "python-requests/2.34.2"),
        ("Accept-Encoding", "gzip, deflate"),
        ("Accept", "*/*"),
        ("Connection", "keep-alive"),
        TOKEN,
        ("Content-Type", "application/json"),
    ],
    "JavaScript": [
        ("connection", "keep-alive"),
        ("Content-Type", "application/json"),
        TOKEN,
        ("accept", "*/*"),
        ("accept-language", "*"),
        ("sec-fetch-mode", "cors"),
        ("user-agent", "node"),
        ("accept-encoding", "gzip, deflate"),
    ],
    "Go": [
        ("User-Agent", "Go-http-client/1.1"),
        ("Authorization", ""),
        ("Content-Type", "application/json"),
        ("Accept-Encoding", "gzip"),
    ],
    "Ruby": [
        ("Accept-Encoding", "gzip;q=1.0,deflate;q=0.6,identity;q=0.3"),
        ("Accept", "*/*"),
        ("User-Agent", "Ruby"),
        ("Content-Type", "application/json"),
        ("Connection", "keep-alive"),
        ("Keep-Alive", "30"),
    ],
    "PHP": [("Content-Type", "application/json"), TOKEN],
    "Java": [
        ("Content-Type", "application/json"),
        ("Cache-Control", "no-cache"),
        ("Pragma", "no-cache"),
        ("User-Agent", "Java/17"),
        ("Accept", "text/html, image/gif, image/jpeg, */*; q=0.2"),
        ("Connection", "keep-alive"),
    ],
}


@pytest.mark.grip("client libraries")
@pytest.mark.parametrize("shape", ["flat", "wrapped"])
@pytest.mark.parametrize("library", REQUESTS)
def test_request_of_a_library(case: Case, library: str, shape: str) -> None:
    """A library's request publishes, with all the fields that it has, in either shape of items."""
    case.answer(held(case.channel))
    connection = case.stream()
    formats = {"http-stream": {"content": "x"}, "http-response": {"body": "x"}, "ws-message": {"content": "x"}}
    item = {"channel": case.channel} | (formats if shape == "flat" else {"formats": formats})
    response = case.control("/publish/", fields=REQUESTS[library], body=json.dumps({"items": [item]}).encode())
    assert (200, b"Published\n") == (response.status, response.body)
    assert b"x" == connection.read_data(1)


@pytest.mark.grip("client libraries")
@pytest.mark.parametrize(
    ("text", "content"),
    [
        (base64.encodebytes(bytes(range(256))).decode(), bytes(range(256))),
        ("AQI", b"\1\2"),
        ("ab", b"i"),
        ("", b""),
    ],
    ids=["line ends of Ruby", "no padding", "plain text of Go", "nothing"],
)
def test_base64_is_read_leniently(case: Case, text: str, content: bytes) -> None:
    """Binary contents are whatever base64 is in them: libraries add line ends, and one sends plain text."""
    case.answer(held(case.channel), at="/stream")
    case.answer(held(case.channel, b"", "response"), at="/poll")
    case.answer(opened(control(type="subscribe", channel=case.channel)), events(), at="/socket")
    stream, poll, socket = case.stream("/stream"), case.poll("/poll"), case.socket("/socket")
    coded = {"content-bin": text}
    case.publish({"http-stream": coded, "http-response": {"body-bin": text}, "ws-message": coded})
    case.say("|")
    assert content + b"|" == stream.read_data(len(content) + 1)
    assert content == poll.read_response().body
    assert frames.Frame(frames.BINARY, content) == socket.read_frame()


@pytest.mark.grip("client libraries")
@pytest.mark.parametrize(
    "text",
    ['"<&\\">/"', '"\\u003c\\u0026\\"\\u003e\\/"', '"\\u003C&\\u0022\\u003e/"'],
    ids=["Python", "Go and PHP", "both"],
)
def test_escapes_of_json(case: Case, text: str) -> None:
    """Whatever a library escapes in JSON, the text is the same."""
    case.answer(held(case.channel))
    connection = case.stream()
    item = f'{{"items": [{{"channel": "{case.channel}", "http-stream": {{"content": {text}}}}}]}}'
    assert 200 == case.post(item.encode()).status
    assert b'<&">/' == connection.read_data(5)


@pytest.mark.grip("client libraries")
def test_characters_beyond_the_first_plane(case: Case) -> None:
    """A surrogate pair of Python's JSON is one character."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.say("\U0001f600")
    assert "\U0001f600".encode() == connection.read_data(4)


@pytest.mark.grip("client libraries")
def test_body_that_is_not_utf_8(case: Case) -> None:
    """A body with bytes that are no text, as Java's library makes of what is not ASCII, is refused as a whole."""
    case.answer(held(case.channel))
    connection = case.stream()
    good = json.dumps({"channel": case.channel, "http-stream": {"content": "never"}})
    bad = good.replace("never", "caf\xe9")
    assert 400 == case.post(f'{{"items": [{good}, {bad}]}}'.encode("latin-1")).status
    case.say("x")
    assert b"x" == connection.read_data(1)


@pytest.mark.grip("client libraries")
def test_response_without_body(case: Case) -> None:
    """A response without a body, as most libraries send an empty one, is an empty 200."""
    case.answer(held(case.channel, b"held", "response"))
    connection = case.poll()
    case.publish({"http-response": {}})
    response = connection.read_response()
    assert (200, b"", "0") == (response.status, response.body, response.value("Content-Length"))


@pytest.mark.grip("client libraries")
def test_path_of_fastly(case: Case) -> None:
    """Fastly's path names a service, which is a realm here."""
    case.answer(held(case.channel))
    connection = case.stream()
    body = {"items": [{"channel": case.channel, "formats": {"http-stream": {"content": "x"}}}]}
    assert 200 == case.post(json.dumps(body).encode(), "/service/default/publish/").status
    assert b"x" == connection.read_data(1)


@pytest.mark.grip("client libraries")
def test_publish_that_is_repeated(case: Case) -> None:
    """A library that repeats a publish whose answer it missed does no harm, if the items have ids."""
    case.answer(held(case.channel))
    connection = case.stream()
    for content in ("a", "a", "b", "b"):
        case.say(content, id=content)
    assert b"ab" == connection.read_data(2)
    assert not connection.readable(0.3)


# --- holds


@pytest.mark.grip("client libraries")
def test_article_of_a_long_poll(case: Case) -> None:
    """What django-grip makes of a 304 and an article publishes over it: just the fields of both, and nothing added."""
    fields = [("ETag", '"1"'), ("Grip-Status", "304"), ("Grip-Hold", "response"), ("Grip-Channel", case.channel)]
    case.answer(Reply(b"", [*fields, ("Grip-Timeout", "10")]))
    connection = case.poll(fields=[("If-None-Match", '"1"'), ("Wait", "10")])
    case.publish({"http-response": {"headers": {"ETag": '"2"'}, "body": "{\n}\n"}})
    response = connection.read_response()
    assert (200, "OK", b"{\n}\n", ['"2"']) == (
        response.status,
        response.head.reason,
        response.body,
        response.head.values("ETag"),
    )
    assert {"etag", "content-length"} == {name.lower() for name, _ in response.head.fields}


@pytest.mark.grip("client libraries")
def test_channel_name_in_latin_1(case: Case) -> None:
    """A channel name that a framework wrote in Latin-1 is the one that its library publishes to in UTF-8."""
    case.answer(held(case.channel + "-caf\xe9"))
    connection = case.stream()
    case.say("x", channel=case.channel + "-caf\xe9")
    assert b"x" == connection.read_data(1)


@pytest.mark.grip("client libraries")
@pytest.mark.parametrize(
    ("value", "expected"),
    [("a\\\\\\b; format=cstring", b"a\\\b"), ("a\\tb; format=cstring", b"a\tb"), ("b'AP8='; format=base64", b"\0\xff")],
    ids=["backslashes of Python", "tab of JavaScript", "bytes of Python"],
)
def test_keep_alive_of_a_library(case: Case, value: str, expected: bytes) -> None:
    """A keep-alive that a library has spoilt is as near to what was meant as can be, and the stream is held."""
    case.answer(held(case.channel, Grip_Keep_Alive=f"{value}; timeout=1"))
    connection = case.stream()
    assert expected in connection.read_data(len(expected) or 1)


@pytest.mark.grip("client libraries")
def test_quotes_in_meta(case: Case) -> None:
    """Quotes and commas in meta come back out of their escapes."""
    meta = f'id_format="a:%({case.channel})s,\\"q\\"", user="5"'
    link = f"<{case.path}/next?x=1>; rel=next; timeout=30"
    channel = f"{case.channel}; prev-id=1; filter=build-id; filter=skip-users"
    case.answer(held(channel, b"begin|", Grip_Set_Meta=meta, Grip_Link=link))
    connection = case.stream()
    assert b"begin|" == connection.read_data(6)
    case.say("%I ", id="2", prev_id="1")
    assert b'a:2,"q" ' == connection.read_data(8)


# --- requests to the library


@pytest.mark.grip("client libraries")
@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH"])
def test_chunked_upload_gets_a_length(case: Case, method: str) -> None:
    """A small body that a client sends in chunks has a length for the backend: WSGI knows no chunks."""
    case.answer(Reply(b"ok"))
    connection = case.ask(method=method, fields=[("Transfer-Encoding", "chunked")])
    connection.send(b"5\r\nhello\r\n0\r\n\r\n")
    assert b"ok" == connection.read_response().body
    request = case.taken()
    assert (b"hello", "5", None) == (request.body, request.value("Content-Length"), request.value("Transfer-Encoding"))


@pytest.mark.grip("client libraries")
def test_backend_of_http_1_0(case: Case) -> None:
    """Instructions of a server that speaks HTTP/1.0 and ends its connections count as any other's."""
    fields = f"Content-Type: text/plain\r\nGrip-Hold: stream\r\nGrip-Channel: {case.channel}\r\n"
    case.answer(Reply(f"HTTP/1.0 200 OK\r\n{fields}\r\nbegin|".encode(), raw=True))
    connection = case.stream()
    assert b"begin|" == connection.read_data(6)
    case.settle()
    case.say("x")
    assert b"x" == connection.read_data(1)


# --- WebSockets


@pytest.mark.grip("client libraries")
def test_events_of_http_1_0(case: Case) -> None:
    """Events of a server that speaks HTTP/1.0 and ends its connections count as any other's."""
    head = f"HTTP/1.0 200 OK\r\nContent-Type: {EVENTS}\r\n"
    opening = f"{head}Sec-WebSocket-Extensions: grip\r\n\r\nOPEN\r\nTEXT 3\r\nm:1\r\n"
    case.answer(Reply(opening.encode(), raw=True), Reply(f"{head}\r\nTEXT 3\r\nm:2\r\n".encode(), raw=True))
    connection = case.socket()
    assert "1" == connection.read_text()
    connection.send_text("x")
    assert "2" == connection.read_text()


@pytest.mark.grip("client libraries")
def test_handshake_that_is_refused_without_a_body(case: Case) -> None:
    """A view that answers 204 refuses the handshake with it."""
    case.answer(Reply(status=204, framing="none"))
    connection = case.connect()
    head = connection.upgrade(case.path)
    assert (204, b"") == (head.status, connection.read_rest())


@pytest.mark.grip("client libraries")
def test_event_without_length(case: Case) -> None:
    """An event without a length, as Go's library writes an empty message, is an empty message."""
    case.answer(opened(b"TEXT\r\n", ("TEXT", "next"), extension='grip; message-prefix=""'), events())
    connection = case.socket()
    assert ("", "next") == (connection.read_text(), connection.read_text())


@pytest.mark.grip("client libraries")
def test_ping_that_is_answered_without_its_content(case: Case) -> None:
    """A ping gets its content back, though some libraries answer without it."""

    def answer(request: Request) -> Reply:
        return events("PONG") if request.body.startswith(b"PING") else events(("TEXT", "m:end"))

    case.answer(opened(), answer)
    connection = case.socket()
    connection.send_frame(frames.PING, b"hi")
    assert frames.Frame(frames.PONG, b"hi") == connection.read_frame()
    connection.send_text("x")
    assert "end" == connection.read_text()


@pytest.mark.grip("client libraries")
def test_disconnect_that_is_answered_by_an_error(case: Case) -> None:
    """Libraries raise an error for DISCONNECT: it was told, and is not told again."""
    case.answer(opened(), Reply(b"<h1>Server Error</h1>", [("Content-Type", "text/html")], 500))
    connection = case.socket()
    case.taken()
    connection.reset()
    assert b"DISCONNECT\r\n" == case.taken().body
    time.sleep(2.5)
    assert 0 == case.backend.waiting(case.path)


@pytest.mark.grip("client libraries")
def test_close_of_the_article(case: Case) -> None:
    """A reason behind the code does not keep a library from closing: its answer of bare zeros counts."""
    case.answer(opened(), Reply(b"CLOSE 2\r\n\0\0\r\n", [("Content-Type", EVENTS)]))
    connection = case.socket()
    case.taken()
    connection.send_close(4000, "bye")
    assert b"CLOSE 5\r\n\x0f\xa0bye\r\n" == case.taken().body
    assert connection.read_frame().code in (4000, 1000)
    assert connection.ended()
