"""What the backend sees of a request: the fields that a GRIP proxy adds, drops and leaves alone."""

import time

import jwt
import pytest

from tests.conformance.backend import RESET, Reply, opened
from tests.conformance.case import Case

FEATURES = (
    "status, session, link:next, link:gone, filter:skip-self, filter:skip-users, filter:require-sub, "
    "filter:build-id, filter:var-subst, filter:http-check, filter:http-modify"
)


@pytest.fixture
def seen(case: Case):
    """Sends a request and returns what the backend saw of it."""
    case.answer(Reply(b"ok"))

    def send(at: str = "", query: str = "", **options):
        case.connect().request(case.path + at + query, **options).read_response(options.get("method", "GET"))
        return case.backend.take(case.path + at, 1.0)

    return send


@pytest.mark.grip("requests")
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "PURGE", "REPORT"])
def test_method_reaches_backend(seen, method: str) -> None:
    """Every method is passed on."""
    assert method == seen(method=method, body=b"x" if method in ("POST", "PUT", "PATCH") else None).method


@pytest.mark.grip("requests")
def test_unknown_method_reaches_backend(seen) -> None:
    """A method that nobody registered is passed on."""
    assert "FROBNICATE" == seen(method="FROBNICATE").method


@pytest.mark.grip("requests")
@pytest.mark.parametrize(
    "query", ["?a=1&b=2", "?a=%2f%20+x&&b", "?x=%e2%82%ac", "?", "?a=b?c=d", "?q='()*;,:@!$"], ids=range(6)
)
def test_query_reaches_backend_unchanged(seen, case: Case, query: str) -> None:
    """The query is passed on byte for byte."""
    assert (case.path + query).removesuffix("?") == seen(query=query).target.removesuffix("?")


@pytest.mark.grip("requests")
@pytest.mark.parametrize("at", ["/%41%2Fb", "//double", "/a%20b", "/a;b=c,d", "/~x/%7ey", "/a/../b", "/."])
def test_path_reaches_backend_unchanged(seen, case: Case, at: str) -> None:
    """The path is passed on byte for byte: no decoding, no normalising."""
    case.answer(Reply(b"ok"), at=at)
    assert case.path + at == seen(at=at).target


@pytest.mark.grip("requests")
def test_host_is_kept(seen) -> None:
    """The Host field is the client's."""
    assert ["api.example.org:81"] == seen(host="api.example.org:81").values("Host")


@pytest.mark.grip("requests")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Accept-Encoding", "gzip"),
        ("Keep-Alive", "timeout=5"),
        ("Expect", "100-continue"),
        ("TE", "trailers"),
        ("Trailer", "X-Own"),
        ("Upgrade", "h2c"),
        ("Proxy-Authorization", "Basic eDp5"),
    ],
)
def test_field_is_dropped(seen, name: str, value: str) -> None:
    """Fields between neighbours, and the one that would make backends compress, are dropped."""
    assert [] == seen(method="POST", fields=[(name, value)], body=b"x").values(name)


@pytest.mark.grip("requests")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Cookie", "a=1; b=2"),
        ("Authorization", "Bearer abc"),
        ("Origin", "http://x.example"),
        ("User-Agent", "conformance/1"),
        ("Accept", "text/html;q=0.5, */*"),
        ("Accept-Language", "de"),
        ("If-None-Match", 'W/"1"'),
        ("Referer", "http://a/b"),
        ("Last-Event-ID", "5"),
        ("Content-Type", "text/x-own; charset=utf-8"),
        ("Content-Encoding", "gzip"),
        ("X-Latin", "caf\xe9"),
        ("X-Utf8", "caf\xc3\xa9"),
        ("Range", "bytes=0-1"),
        ("X-Empty", ""),
    ],
    ids=lambda value: value if value.isascii() and value.replace("-", "").isalnum() else "",
)
def test_field_is_passed_on(seen, name: str, value: str) -> None:
    """Everything else of the client's is passed on byte for byte."""
    assert [value] == seen(fields=[(name, value)]).values(name)


@pytest.mark.grip("requests")
def test_repeated_field_is_passed_on(seen) -> None:
    """A field that comes several times is passed on with all its values in order."""
    request = seen(fields=[("X-Many", "1"), ("X-Other", "x"), ("X-Many", "2")])
    assert "1, 2" == request.value("X-Many")


@pytest.mark.grip("requests")
def test_field_named_by_connection_is_dropped(seen) -> None:
    """A field that Connection names is between neighbours (RFC 9110 section 7.6.1)."""
    assert [] == seen(fields=[("Connection", "x-private"), ("X-Private", "1")]).values("X-Private")


@pytest.mark.grip("requests")
def test_nothing_is_invented(seen) -> None:
    """A bare request gets no Accept, User-Agent, Accept-Encoding, Content-Type or Via of the proxy's."""
    request = seen()
    added = ("Accept", "User-Agent", "Accept-Encoding", "Content-Type", "Via", "Transfer-Encoding", "Cookie")
    assert [] == [name for name in added if request.values(name)]


@pytest.mark.grip("requests")
def test_get_without_body_has_no_length(seen) -> None:
    """A GET without a body is passed on without one."""
    request = seen()
    assert (None, b"") == (request.value("Content-Length"), request.body)


@pytest.mark.grip("requests")
@pytest.mark.parametrize("name", ["Grip-Sig", "grip-last", "GRIP-HOLD", "Grip-Feature", "Grip-Whatever"])
def test_grip_fields_of_clients_are_dropped(seen, name: str) -> None:
    """Clients cannot speak GRIP to the backend."""
    assert "forged" not in seen(fields=[(name, "forged")]).values(name)


@pytest.mark.grip("requests")
def test_features_are_named(seen) -> None:
    """Grip-Feature is one line of features, joined by a comma and one blank."""
    (value,) = seen().values("Grip-Feature")
    assert value == FEATURES


@pytest.mark.grip("Grip-Sig")
def test_signature_is_valid(case: Case, seen) -> None:
    """Grip-Sig is a token signed with the agreed key, with nothing but issuer and expiry, an hour ahead."""
    (token,) = seen().values("Grip-Sig")
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    key = case.proxy.sig_key
    claims = jwt.decode(token, key or "", algorithms=["HS256"], options={"verify_signature": key is not None})
    assert {"iss", "exp"} == set(claims)
    assert isinstance(claims["exp"], int)
    assert abs(claims["exp"] - time.time() - 3600) < 60
    assert case.proxy.sig_iss in (None, claims["iss"])


@pytest.mark.grip("requests")
def test_forwarded_protocol(seen) -> None:
    """X-Forwarded-Proto names the scheme of the client's request, whatever the client claims."""
    assert ["http"] == seen(fields=[("X-Forwarded-Proto", "https")]).values("X-Forwarded-Proto")


@pytest.mark.grip("requests")
@pytest.mark.parametrize("name", ["X-Forwarded-Proto", "X-Forwarded-Protocol"])
def test_forwarded_protocol_cannot_be_forged(seen, name: str) -> None:
    """A client cannot claim to have come over TLS, under the field's new name or its old one."""
    assert "https" not in seen(fields=[(name, "https")]).values(name)


@pytest.mark.grip("requests")
def test_forwarded_field_of_a_client(seen) -> None:
    """What a client claims in Forwarded does not count either (RFC 7239)."""
    assert [] == seen(fields=[("Forwarded", "for=192.0.2.1;proto=https")]).values("Forwarded")


@pytest.mark.grip("requests")
def test_forwarded_for(seen) -> None:
    """X-Forwarded-For names the client's address; claims of a client that is not trusted do not count."""
    (value,) = seen(fields=[("X-Forwarded-For", "192.0.2.1, 192.0.2.2")]).values("X-Forwarded-For")
    assert (False, 1) == ("192.0.2" in value, len(value.split(",")))


@pytest.mark.grip("requests")
def test_marked_original_fields_are_dropped(seen) -> None:
    """Fields with the mark of original ones are dropped, as no route asks for them."""
    assert [] == seen(fields=[("eb9bf0f5-X-Own", "1")]).values("eb9bf0f5-X-Own")


@pytest.mark.grip("requests")
def test_events_from_clients_are_refused(case: Case) -> None:
    """A client cannot post WebSocket events itself."""
    case.answer(opened())
    fields = [("Content-Type", "application/websocket-events")]
    response = case.get(method="POST", fields=fields, body=b"OPEN\r\n")
    assert 403 == response.status
    assert 0 == case.backend.waiting(case.path)


@pytest.mark.grip("request bodies and limits")
@pytest.mark.parametrize("size", [0, 1, 9_999, 10_001, 100_001, 1_000_000])
def test_body_reaches_backend(seen, size: int) -> None:
    """Request bodies of every size reach the backend."""
    body = bytes(i % 251 for i in range(size))
    request = seen(method="POST", body=body)
    assert body == request.body


@pytest.mark.grip("request bodies and limits")
def test_small_body_has_a_length(seen) -> None:
    """A body that came with a length is passed on with it, not chunked."""
    request = seen(method="POST", body=b"hello")
    assert ("5", None) == (request.value("Content-Length"), request.value("Transfer-Encoding"))


@pytest.mark.grip("request bodies and limits")
def test_chunked_body_reaches_backend(case: Case) -> None:
    """A chunked request body is passed on whole."""
    case.answer(Reply(b"ok"))
    connection = case.ask(method="POST", fields=[("Transfer-Encoding", "chunked")])
    connection.send(b"5\r\nhello\r\n7;ext=1\r\n, world\r\n0\r\n\r\n")
    assert 200 == connection.read_response().status
    assert b"hello, world" == case.taken().body


@pytest.mark.grip("request bodies and limits")
def test_expectation_is_met(case: Case) -> None:
    """A client that expects 100-continue gets its body through."""
    case.answer(Reply(b"ok"))
    connection = case.ask(method="POST", fields=[("Expect", "100-continue"), ("Content-Length", "5")])
    assert 100 == connection.read_head().status
    connection.send(b"hello")
    assert 200 == connection.read_response().status
    assert b"hello" == case.taken().body


@pytest.mark.grip("request bodies and limits")
def test_too_large_head_is_refused(case: Case) -> None:
    """A request head beyond the limit is refused with a client error, not passed on."""
    case.answer(Reply(b"ok"))
    response = case.get(fields=[("X-Large", "x" * 100_000)])
    assert response.status in (400, 431)


@pytest.mark.grip("request bodies and limits")
def test_malformed_request_is_refused(case: Case) -> None:
    """A request line that is none is answered 400."""
    connection = case.connect()
    connection.send(b"GET\r\n\r\n")
    assert 400 == connection.read_response().status


@pytest.mark.grip("request bodies and limits")
def test_backend_that_is_not_there(case: Case) -> None:
    """A backend that cannot be connected to makes a 502 with Pushpin's text, for a WebSocket as well."""
    spare = case.spare()
    response = case.get(host=spare.host)
    assert (502, b"Error while proxying to origin.\n") == (response.status, response.body)
    assert 502 == case.connect().upgrade(case.path, host=spare.host).status


@pytest.mark.grip("request bodies and limits")
def test_unreachable_backend(case: Case) -> None:
    """A backend that cuts the connection before answering makes a 502 with Pushpin's text."""
    case.answer(Reply(before=[RESET]))
    response = case.get(method="POST", body=b"x")
    assert (502, b"Error while proxying to origin.\n") == (response.status, response.body)
