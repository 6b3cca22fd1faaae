"""The client door as a plain reverse proxy: what each side sees of the other's head, and how connections go on."""

import pytest

from tests.integration.door import Case
from tests.integration.raw_backend import OK

METHODS = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PROPFIND",
    "PURGE",
    "QUERY",
    "M-SEARCH",
    "FROBNICATE",
    "get",
    "DESCRIBE",
]


@pytest.mark.parametrize("method", METHODS)
def test_methods_reach_the_backend(case: Case, method: str) -> None:
    case.ask("/", method)
    assert method.encode() == case.backend.accept().read_head().method


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/a%2Fb/%2e%2E/./..//c",
        "/%41%zz%",
        "/a?",
        "/?a=1&&a=2&%20+=%C3%A9;x",
        "/a?b=c?d=/../e",
        "/~'()*!$,;:@&=+[]{}|^`\"<>\\",
        "//double//slash",
        "/" + "x" * 16_000,
    ],
    ids=range(9),
)
def test_targets_reach_the_backend_byte_for_byte(case: Case, target: str) -> None:
    case.ask(target)
    assert target.encode() == case.backend.accept().read_head().target


def test_the_form_of_a_target_for_proxies_becomes_that_for_servers(case: Case) -> None:
    """RFC 9112 3.2.2: the host of an absolute target stands above the Host field."""
    case.raw(b"GET http://{host}/a?b HTTP/1.1\r\nHost: other.test\r\n\r\n")
    head = case.backend.accept().read_head()
    assert (b"/a?b", [case.host.encode()]) == (head.target, head.values(b"Host"))


def test_the_target_of_a_whole_server_reaches_the_backend(case: Case) -> None:
    case.ask("*", "OPTIONS")
    assert b"*" == case.backend.accept().read_head().target


def test_fields_keep_case_order_and_bytes(case: Case) -> None:
    """Repeated fields stay apart; values may be empty, Latin-1 or UTF-8."""
    lines = [
        "X-B: 1",
        "x-a: two  words",
        "X-B: 2",
        "X-Empty:",
        "X-Latin: caf\xe9",
        "X-Utf8: caf\xc3\xa9",
        "Cookie: a=b",
    ]
    lines += ["Cookie: c=d", "Range: bytes=0-1", 'If-None-Match: W/"1"', "Authorization: Basic eDp5"]
    case.ask("/", "GET", *lines)
    head = case.backend.accept().read_head()
    expected = [tuple(part.strip().encode("latin-1") for part in line.split(":", 1)) for line in lines]
    assert expected == [field for field in head.fields if field[0] in dict(expected)]


@pytest.mark.parametrize(
    "line",
    [
        "Connection: keep-alive",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic eDp5",
        "TE: trailers",
        "Upgrade: h2c",
        "Trailer: X-After",
        "Expect: 100-continue",
        "Grip-Sig: forged",
        "grip-hold: stream",
        "Grip_Sig: forged",
        "X-Forwarded-Port: 81",
        "X_Forwarded_For: 9.9.9.9",
        "X-Forwarded-Protocol: https",
        "Forwarded: for=9.9.9.9",
    ],
)
def test_a_field_ends_at_the_proxy(case: Case, line: str) -> None:
    """Fields of the hop, those that only proxies may set, and their doubles to servers that map "-" to "_"."""
    name, _, value = line.partition(": ")
    case.ask("/", "GET", line)
    assert value.encode() not in case.backend.accept().read_head().values(name.encode())


def test_fields_that_connection_names_end_at_the_proxy(case: Case) -> None:
    """RFC 9110 7.6.1; Host, framing and what the proxy says itself can't be named away."""
    case.ask(
        "/", "POST", "X-One: 1", "Connection: x-one, Host", "X-Two: 2", "Connection: X-Two, Content-Length", body=b""
    )
    names = [name.lower() for name in case.backend.accept().read_head().names]
    assert {b"x-one", b"x-two", b"connection"}.isdisjoint(names)
    assert {b"host", b"content-length", b"x-forwarded-for", b"grip-sig"} <= set(names)


def test_nothing_is_added_but_what_the_documentation_says(case: Case) -> None:
    """No Accept, Accept-Encoding, User-Agent, Via, Content-Type, Connection of the proxy's (or its libraries')."""
    case.ask("/")
    head = case.backend.accept().read_head()
    added = {b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Request-Id"}
    added |= {b"Grip-Sig", b"Grip-Feature"}
    assert {b"Host", *added} == set(head.names)
    host = case.host.encode()
    assert [[host], [b"127.0.0.1"], [b"http"], [host]] == [
        head.values(name) for name in (b"Host", b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host")
    ]


def test_the_response_is_the_backends_and_nothing_else(case: Case) -> None:
    """No Date, Server, Content-Type, Connection of the proxy's; reason, cookies and compressed bytes untouched."""
    head = b"HTTP/1.1 299 Own  Reason\r\nSet-Cookie: a=1\r\nset-cookie: b=2; Path=/\r\nX-Utf8: \xc3\xa9 \xe9\r\n"
    head += b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n"
    client, _ = case.exchange(head + b"\x1f\x8bxx")
    assert head == client.read_exactly(len(head))
    assert b"\x1f\x8bxx" == client.read_exactly(4)
    assert not client.readable(0.05)


def test_cookies_are_not_kept(case: Case) -> None:
    """What a backend sets for one client is not sent for the next."""
    _, peer = case.exchange(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n\r\n")
    case.ask("/")
    assert [] == peer.read_head().values(b"Cookie")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300, 401, 407, 511, 999])
def test_a_status_means_nothing_to_the_proxy(case: Case, status: int) -> None:
    """Redirects are not followed, and no answer is replaced."""
    answer = b"HTTP/1.1 %d Own\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 2\r\n\r\nok" % status
    client, peer = case.exchange(answer)
    response = client.read_response()
    assert (status, "http://127.0.0.1:1/", b"ok") == (response.status, response.value("Location"), response.body)
    assert not peer.is_readable(0.05)


@pytest.mark.parametrize(
    "line", [b"Connection: close, X-Hop\r\nX-Hop: 1\r\n", b"Keep-Alive: timeout=1\r\n", b"Upgrade: h2\r\n"]
)
def test_fields_of_the_backends_hop_end_at_the_proxy(case: Case, line: bytes) -> None:
    client, _ = case.exchange(b"HTTP/1.1 200 OK\r\n" + line + b"Content-Length: 0\r\n\r\n")
    assert ["Content-Length"] == [name for name, _ in client.read_head().fields]


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("fields", [b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_status_without_body(case: Case, status: int, fields: bytes) -> None:
    """RFC 9110 8.6: 304 may say the length of what is not sent, 204 may not; the connection goes on."""
    client, peer = case.exchange(b"HTTP/1.1 %d X\r\n%b\r\n" % (status, fields))
    head = client.read_head()
    expected = "5" if status == 304 and fields.startswith(b"Content-Length") else None
    assert (status, expected, None) == (head.status, head.value("Content-Length"), head.value("Transfer-Encoding"))
    client.ask(case.host)
    peer.read_head()
    peer.send(OK)
    assert b"ok" == client.read_response().body


@pytest.mark.parametrize("framing", [b"Content-Length: 1234567\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_head_has_no_body(case: Case, framing: bytes) -> None:
    """A length is passed on, and the client's connection goes on."""
    client, peer = case.exchange(b"HTTP/1.1 200 OK\r\n%b\r\n" % framing, "/", "HEAD")
    length = client.read_response("HEAD").value("Content-Length")
    assert ("1234567" if b"1234567" in framing else None) == length
    client.ask(case.host)
    peer = peer if framing else case.backend.accept()
    assert b"GET" == peer.read_head().method
    peer.send(OK)
    assert b"ok" == client.read_response().body


def test_head_answered_with_a_body(case: Case) -> None:
    """Some backends answer HEAD as they answer GET; the client gets the head, and no one the rest."""
    client, peer = case.exchange(OK, "/", "HEAD")
    assert (200, "2") == ((response := client.read_response("HEAD")).status, response.value("Content-Length"))
    assert not client.readable(0.05)
    assert peer.ended()


def test_informational_responses_reach_the_client(case: Case) -> None:
    """RFC 9110 15.2: they are passed on, 100 aside, which nobody asked for."""
    hints = b"HTTP/1.1 103 \0\r\nLink: </a.css>\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\n"
    client, peer = case.exchange(b"HTTP/1.1 100 Continue\r\n\r\n" + hints)
    head = client.read_head()
    assert (103, "Early Hints", (("Link", "</a.css>"),)) == (head.status, head.reason, head.fields)
    peer.send(b"HTTP/1.1 102 Processing\r\n\r\n" + OK)
    assert 102 == client.read_head().status
    assert b"ok" == client.read_response().body


def test_informational_responses_are_kept_from_old_clients(case: Case) -> None:
    """RFC 9110 15.2: HTTP/1.0 knows none."""
    client = case.raw(b"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n")
    peer = case.backend.accept()
    peer.read_head()
    peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + OK)
    assert 200 == client.read_head().status


def test_old_clients_get_no_chunks(case: Case) -> None:
    """Without a length the end of the connection is the end of the body."""
    client = case.raw(b"GET / HTTP/1.0\r\nHost: {host}\r\nConnection: keep-alive\r\n\r\n")
    peer = case.backend.accept()
    peer.read_head()
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
    head = client.read_head()
    assert (None, "close") == (head.value("Transfer-Encoding"), head.value("Connection"))
    peer.send(b"3\r\nend\r\n0\r\n\r\n")
    assert b"okend" == client.read_all()


def test_old_clients_may_stay(case: Case) -> None:
    """An HTTP/1.0 client that asks for it keeps its connection where the length is known."""
    request = b"GET / HTTP/1.0\r\nHost: {host}\r\nConnection: keep-alive\r\n\r\n"
    client = case.raw(request)
    peer = case.backend.accept()
    peer.read_head()
    peer.send(OK)
    assert "keep-alive" == client.read_response().value("Connection")
    client.send(request.replace(b"{host}", case.host.encode()))
    peer.read_head()
    peer.send(OK)
    assert 200 == client.read_response().status


def test_old_clients_without_host(case: Case) -> None:
    """HTTP/1.0 knows no Host; the backend, asked with HTTP/1.1, needs one."""
    client = case.raw(b"GET http://{host}/ HTTP/1.0\r\n\r\n")
    peer = case.backend.accept()
    assert [case.host.encode()] == peer.read_head().values(b"Host")
    peer.send(OK)
    assert b"ok" == client.read_response().body
    assert client.ended()


def test_connections_are_kept_on_both_sides(case: Case) -> None:
    client = case.connect()
    client.ask(case.host)
    peer = case.backend.accept()
    for number in range(5):
        assert b"/" == peer.read_head().target
        peer.send(OK)
        assert b"ok" == client.read_response().body
        if number < 4:
            client.ask(case.host)
    assert not case.backend.is_asked(0.05)


def test_connection_close_is_honoured(case: Case) -> None:
    client, _ = case.exchange(OK, "/", "GET", "Connection: close")
    assert "close" == client.read_response().value("Connection")
    assert client.ended()


def test_pipelined_requests_are_answered_in_order(case: Case) -> None:
    """A body between them is read as a body, and behind `Connection: close` nothing is read at all."""
    client = case.raw(
        b"GET /1 HTTP/1.1\r\nHost: {host}\r\n\r\n"
        b"POST /2 HTTP/1.1\r\nHost: {host}\r\nContent-Length: 30\r\n\r\nGET /x HTTP/1.1\r\nHost: x\r\n\r\n!!"
        b"PUT /3 HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"
        b"GET /4 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    peer = case.backend.accept()
    asked = []
    for number in range(1, 5):
        if number == 4:
            client.ask(case.host, "/5")
        request = peer.read_request()
        asked.append((request.method, request.target, request.body))
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
    assert [b"1", b"2", b"3", b"4"] == [client.read_response().body for _ in range(4)]
    assert client.ended()
    assert (b"POST", b"/2", b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n!!") == asked[1]
    assert not peer.is_readable(0.05)


def test_many_pipelined_requests(case: Case) -> None:
    """More than are parsed ahead."""
    client = case.raw(b"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n" * 200)
    peer = case.backend.accept()
    for _ in range(200):
        peer.read_head()
        peer.send(OK)
    assert [b"ok"] * 200 == [client.read_response().body for _ in range(200)]


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"


@pytest.mark.parametrize("body", [b"", b"abc"])
def test_a_request_behind_one_that_offers_to_upgrade(case: Case, body: bytes) -> None:
    """As curl --http2 and Java's client do on every connection; what they offer is passed over (RFC 9110 7.8)."""
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    client = case.raw(
        (b"PUT /1 HTTP/1.1\r\nHost: {host}\r\n" + UPGRADE + length + b"\r\n" + body)
        + (b"PUT /2 HTTP/1.1\r\nHost: {host}\r\n" + UPGRADE + length + b"\r\n" + body)
        + b"GET /3 HTTP/1.1\r\nHost: {host}\r\n\r\n"
    )
    peer = case.backend.accept()
    for target, expected in ((b"/1", body), (b"/2", body), (b"/3", b"")):
        request = peer.read_request()
        assert (target, expected, []) == (request.target, request.body, request.values(b"Upgrade"))
        peer.send(OK)
        assert b"ok" == client.read_response().body


def test_a_request_in_chunks_that_offers_to_upgrade(case: Case) -> None:
    """The parser would drop what comes with its end, so there is no request behind it."""
    client = case.raw(
        b"POST /1 HTTP/1.1\r\nHost: {host}\r\n" + UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
    )
    client.send(b"0\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
    peer = case.backend.accept()
    assert b"x" == peer.read_request().body
    peer.send(OK)
    assert "close" == client.read_response().value("Connection")
    assert client.ended()


CHUNKED = b"POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"


@pytest.mark.parametrize("end", [b"\r\n", b"X-After: 1\r\n\r\n", b"A: 1\r\nB: 2\r\n\r\n"])
def test_the_trailer_of_one_request_is_no_header_of_the_next(case: Case, end: bytes) -> None:
    """Trailers are dropped (RFC 9110 6.5.1)."""
    client = case.raw(CHUNKED + end)
    peer = case.backend.accept()
    first = peer.read_request()
    assert (b"x", [b"1"]) == (first.body, first.values(b"Content-Length"))
    peer.send(OK)
    client.read_response()
    client.ask(case.host)
    head = peer.read_head()
    assert [] == [name for name in head.names if name in (b"X-After", b"A", b"B", b"Content-Length")]


def test_a_request_right_behind_a_body_in_chunks_is_not_taken(case: Case) -> None:
    """The parser would mix up trailer and header, so the client is told to send it again (RFC 9112 9.3.2)."""
    client = case.raw(CHUNKED + b"Grip-Sig: 9\r\n\r\n" + CHUNKED + b"\r\n")
    peer = case.backend.accept()
    peer.read_request()
    peer.send(OK)
    assert "close" == client.read_response().value("Connection")
    assert client.ended()
    assert not peer.is_readable(0.05)


@pytest.mark.parametrize(
    ("method", "path", "status", "is_told"),
    [
        ("POST", "/publish/", b"404 Not Found", True),
        ("POST", "/realm/news/publish", b"403 Forbidden", True),
        ("POST", "/publish/", b"200 OK", False),
        ("POST", "/publish/other", b"404 Not Found", False),
        ("GET", "/publish/", b"404 Not Found", False),
    ],
)
def test_a_publish_to_the_client_door_is_told_of(
    case: Case, method: str, path: str, status: bytes, is_told: bool
) -> None:
    """It goes on like any request, and libraries show nobody what the application says to it."""
    case.door.new_log()
    client, _ = case.exchange(b"HTTP/1.1 %b\r\nContent-Length: 2\r\n\r\nok" % status, path, method, "Content-Length: 0")
    assert b"ok" == client.read_response().body
    assert is_told == ("if it was a publish, send it to control.listen (GRIP_URL)" in case.door.new_log())
