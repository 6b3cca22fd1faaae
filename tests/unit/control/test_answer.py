"""Answers of the control door: which form, and which bytes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.control.answer import JSON, TEXT, encode_answer, encode_body, negotiate


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", TEXT),
        (" , ", TEXT),
        ("*/*", TEXT),
        ("*", TEXT),
        ("text/*", TEXT),
        ("text/plain", TEXT),
        ("TEXT/Plain; charset=utf-8", TEXT),
        ("application/json", JSON),
        ("application/*", JSON),
        ("application/*, text/*", JSON),
        ("application/json, text/plain, */*", JSON),  # axios
        ("text/plain, application/json", TEXT),
        ("*/*, application/json", JSON),
        ("text/plain;q=0.5, application/json", JSON),
        ("application/json;q=0.1, text/plain;q=0.2", TEXT),
        ("text/html, image/gif, image/jpeg, */*; q=0.2", TEXT),  # Java
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT),  # browsers
        ("text/plain;q=0, */*", JSON),
        ("application/json;q=0, */*", TEXT),
        ("text/*;q=0.9, text/plain;q=0.1, application/json;q=0.5", JSON),
        ("application/json;q=huge", JSON),
        ("application/json;q=nan, text/plain;q=0.3", JSON),
        ("text/html", None),
        ("*/*;q=0", None),
        ("text/plain;q=0, application/json;q=0.0", None),
        ("image/*, text/html", None),
    ],
)
def test_the_preferred_form_is_chosen(accept: str, expected: str | None) -> None:
    assert expected == negotiate(accept)


@given(st.one_of(st.text(), st.text(alphabet='*/;,=q0.19 "\\textplainjso')))
def test_any_accept_has_an_answer(accept: str) -> None:
    assert negotiate(accept) in (TEXT, JSON, None)


@pytest.mark.parametrize(
    ("status", "form", "keep_alive", "fields", "head_only", "expected"),
    [
        (
            200, TEXT, 75, (), False,
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: keep-alive\r\n"
            b"Keep-Alive: timeout=75\r\nContent-Length: 10\r\n\r\nPublished\n",
        ),
        (
            200, JSON, None, (), False,
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 24\r\nConnection: close\r\n\r\n"
            b'{"message":"Published"}\n',
        ),
        (
            405, JSON, None, ((b"Allow", b"POST"),), False,
            b"HTTP/1.1 405 Method Not Allowed\r\nContent-Type: application/json\r\nAllow: POST\r\n"
            b'Content-Length: 22\r\nConnection: close\r\n\r\n{"error":"Published"}\n',
        ),
        (
            200, None, None, (), True,
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 10\r\n"
            b"Connection: close\r\n\r\n",
        ),
    ],
)  # fmt: skip
def test_an_answer_is_these_bytes(
    status: int,
    form: str | None,
    keep_alive: int | None,
    fields: tuple[tuple[bytes, bytes], ...],
    head_only: bool,
    expected: bytes,
) -> None:
    answer = encode_answer(status, form, "Published", keep_alive, fields, head_only)

    assert (status, expected, keep_alive is not None) == (answer.status, answer.wire, answer.keep_alive)


@given(st.text(st.characters(exclude_categories=[])), st.sampled_from([TEXT, JSON, None]))
def test_any_text_can_be_sent_and_its_length_is_right(text: str, form: str | None) -> None:
    """A text may quote what a publisher sent, halves of surrogate pairs included."""
    head, _, body = encode_answer(400, form, text, None).wire.partition(b"\r\n\r\n")

    assert f"Content-Length: {len(body)}".encode() in head
    if form == JSON:
        assert {"error": text} == json.loads(body)


def test_an_error_may_have_members_of_its_own() -> None:
    members = (("item", 1), ("field", "channel"))
    answer = encode_answer(400, JSON, "wrong", None, (), False, members)
    assert answer.wire.endswith(b'{"error":"wrong","item":1,"field":"channel"}\n')
    assert encode_answer(400, TEXT, "wrong", None, (), False, members).wire.endswith(b"\r\n\r\nwrong\n")


def test_the_same_answer_is_encoded_once() -> None:
    assert encode_answer(200, TEXT, "Published", 75) is encode_answer(200, TEXT, "Published", 75)


def test_a_body_is_sent_as_it_is() -> None:
    assert encode_body(200, b"a/b", b"\x00\xff", None).wire.endswith(
        b"Content-Length: 2\r\nConnection: close\r\n\r\n\x00\xff"
    )
