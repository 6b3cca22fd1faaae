"""HTTP/1.1 at its edges: what must not confuse a proxy that stands between strangers."""

import pytest

from tests.conformance.backend import Reply
from tests.conformance.case import Case


@pytest.mark.grip("HTTP")
def test_absolute_target(case: Case) -> None:
    """A request target in absolute form asks for its path (RFC 9112 section 3.2.2)."""
    case.answer(Reply(b"here"))
    connection = case.connect().request(f"http://conformance.test{case.path}?a=1")
    assert b"here" == connection.read_response().body
    assert f"{case.path}?a=1" == case.taken().target


@pytest.mark.grip("HTTP")
def test_body_of_get(case: Case) -> None:
    """A GET may have a body."""
    case.answer(Reply(b"ok"))
    assert 200 == case.get(body=b"unusual").status
    assert b"unusual" == case.taken().body


@pytest.mark.grip("HTTP")
@pytest.mark.parametrize(
    "fields",
    [
        [("Content-Length", "5"), ("Content-Length", "6")],
        [("Content-Length", "-5")],
        [("Content-Length", "5x")],
        [("Transfer-Encoding", "gzip")],
        [("Transfer-Encoding", "chunked, gzip")],
    ],
    ids=["two lengths", "negative", "no number", "unknown coding", "not chunked last"],
)
def test_ambiguous_framing_is_refused(case: Case, fields: list[tuple[str, str]]) -> None:
    """A request whose end is not certain does not reach the backend, and its connection ends."""
    case.answer(Reply(b"ok"))
    connection = case.ask(method="POST", fields=fields)
    connection.send(b"hello\r\n\r\n")
    answer = connection.read_all()
    assert (0, True) == (case.backend.waiting(case.path), answer[9:12] in (b"400", b"411", b"501", b""))


@pytest.mark.grip("HTTP")
def test_length_beside_chunks_smuggles_nothing(case: Case) -> None:
    """Of Content-Length and chunks, chunks count or the request is refused; no second request appears."""
    case.answer(Reply(b"ok"))
    case.answer(Reply(b"smuggled"), at="/smuggled")
    connection = case.ask(method="POST", fields=[("Content-Length", "4"), ("Transfer-Encoding", "chunked")])
    connection.send(f"0\r\n\r\nGET {case.path}/smuggled HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    first = connection.read_response()
    if first.status == 200:
        assert b"" == case.taken().body
    else:
        assert (400, 0) == (first.status, case.backend.waiting(case.path))
        assert b"smuggled" not in connection.read_all()


@pytest.mark.grip("HTTP")
@pytest.mark.parametrize("raw", ["X-Own : 1", " folded", "X-Own\r\n", "Bad Name: 1", "X-Nul: a\0b"], ids=range(5))
def test_malformed_field_is_refused(case: Case, raw: str) -> None:
    """A field that is none makes the request malformed; it does not reach the backend as another field."""
    case.answer(Reply(b"ok"))
    connection = case.connect()
    connection.send(f"GET {case.path} HTTP/1.1\r\nHost: x\r\n{raw}\r\n\r\n".encode("latin-1"))
    answer = connection.read_all() if connection.readable(1.0) and not case.backend.waiting(case.path) else b""
    assert (0, True) == (case.backend.waiting(case.path), answer[9:12] in (b"400", b""))


@pytest.mark.grip("HTTP")
def test_trailing_fields_do_not_count(case: Case) -> None:
    """Fields behind a chunked body are no part of the head: they cannot forge anything."""
    case.answer(Reply(b"ok"))
    connection = case.ask(method="POST", fields=[("Transfer-Encoding", "chunked")])
    connection.send(b"2\r\nhi\r\n0\r\nGrip-Last: x; last-id=1\r\nX-Own: 1\r\n\r\n")
    assert 200 == connection.read_response().status
    request = case.taken()
    assert (b"hi", set(), None) == (request.body, request.last_ids, request.value("X-Own"))


@pytest.mark.grip("HTTP")
def test_client_that_leaves_before_the_answer(case: Case) -> None:
    """A client that leaves while the backend still works does no harm."""
    gate = case.backend.gate()
    case.answer(Reply(b"late", before=[gate]))
    connection = case.ask()
    case.taken()
    connection.reset()
    gate.open()
    case.answer(Reply(b"fine"))
    assert b"fine" == case.get().body


@pytest.mark.grip("HTTP")
def test_empty_line_before_a_request(case: Case) -> None:
    """An empty line in front of a request is passed over (RFC 9112 section 2.2)."""
    case.answer(Reply(b"ok"))
    connection = case.connect()
    connection.send(b"\r\n")
    assert b"ok" == connection.request(case.path).read_response().body
