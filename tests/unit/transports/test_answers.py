"""Long-polls' answers as bytes, and that one is never taken for another."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from gripproxy.grip.cors import Cors
from gripproxy.grip.item import HttpResponse
from gripproxy.transports.answers import Answers, complete, encode

HELD = b"Content-Type: text/plain\r\nX-Held: 1\r\n"
CORS = Cors(b"https://page.test", varies=True)


def published(**parts: Any) -> HttpResponse:
    return HttpResponse("send", **parts)


def answer(response: HttpResponse, fields: bytes = HELD, body: bytes = b"new", cors: Cors | None = None) -> bytes:
    return Answers().published(response, body, fields, False, True, cors)


@pytest.mark.parametrize(
    ("status", "is_head", "is_kept", "rest"),
    [
        (200, False, True, b"Content-Length: 3\r\n\r\nnew"),
        (200, True, True, b"Content-Length: 3\r\n\r\n"),
        (200, False, False, b"Content-Length: 3\r\nConnection: close\r\n\r\nnew"),
        (204, False, True, b"\r\n"),
        (304, False, False, b"Connection: close\r\n\r\n"),
    ],
)
def test_a_response_is_framed(status: int, is_head: bool, is_kept: bool, rest: bytes) -> None:
    assert b"HTTP/1.1 %d So\r\nA: b\r\n" % status + rest == encode(status, "So", b"A: b\r\n", b"new", is_head, is_kept)


@pytest.mark.parametrize(
    ("response", "fields"),
    [
        (published(), b"Content-Type: text/plain\r\nX-Held: 1\r\n"),
        (
            published(fields=((b"x-held", b"2"), (b"x-held", b"3"))),
            b"Content-Type: text/plain\r\nx-held: 2\r\nx-held: 3\r\n",
        ),
        (published(fields=((b"X-New", b"4"),)), b"Content-Type: text/plain\r\nX-Held: 1\r\nX-New: 4\r\n"),
        (published(fields=((b"X-New", b"4"),), exposed=frozenset({b"x-held"})), b"X-Held: 1\r\n"),
    ],
)
def test_what_is_published_replaces_what_was_held(response: HttpResponse, fields: bytes) -> None:
    assert b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 3\r\n\r\nnew" == answer(response)


def test_pages_of_other_origins_may_read_it() -> None:
    fields = complete(HELD, CORS)
    assert HELD in fields
    assert b"Access-Control-Allow-Origin: https://page.test\r\n" in fields
    assert b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 3\r\n\r\nnew" == answer(published(), cors=CORS)


def test_equal_holds_share_one_answer() -> None:
    answers, response = Answers(), published(body=b"new")
    first = answers.published(response, b"new", HELD, False, True, None)
    assert first is answers.published(response, b"new", bytes(bytearray(HELD)), False, True, None)


def test_an_answer_is_never_that_of_another() -> None:
    """Whatever came before."""
    responses = [published(code=200), published(code=404), published(fields=((b"x-held", b"2"),))]
    ways = product(
        responses,
        (b"new", b"old"),
        (HELD, b"", b"X-Held: 2\r\n"),
        (False, True),
        (False, True),
        (None, CORS, replace(CORS, origin=b"*")),
    )
    answers = Answers()
    for way in [*ways] * 2:
        assert Answers().published(*way) == answers.published(*way)
