"""Pages of other origins may read every kind of response of a route that lists them, and no other page may."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.backend import RESET, Reply
from tests.conformance.case import held
from tests.conformance.client import Head
from tests.integration.scripted import SETTLING, Ask, scripted

HOST = "cors.test"
PAGE = "https://app.example"
ORIGIN = [("Origin", PAGE)]
ROUTES: dict[str, dict[str, object]] = {
    HOST: {"cors": [PAGE], "max_request_body": 10},
    "any.test": {"cors": ["*"]},
    "off.test": {},
    SETTLING: {},
}


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    with scripted(tmp_path_factory.mktemp("cors"), ROUTES) as make:
        yield make


def is_readable(head: Head) -> bool:
    """Whether a browser shows a response to the page, and remembers it for that page alone."""
    allowed = (head.value("Access-Control-Allow-Origin"), head.value("Access-Control-Allow-Credentials"))
    assert "Origin" in (head.value("Vary") or "")
    return allowed == (PAGE, "true")


def test_a_response_that_passes_through(ask: Ask) -> None:
    response = ask(Reply(b"ok", [("X-Own", "1"), ("Vary", "Accept")])).get(host=HOST, fields=ORIGIN)
    assert is_readable(response.head)
    assert (["Accept", "Origin"], "X-Own") == (
        response.head.values("Vary"),
        response.value("Access-Control-Expose-Headers"),
    )


def test_an_instructed_response(ask: Ask) -> None:
    response = ask(Reply(b"ok", [("Grip-Status", "404 Nothing")])).get(host=HOST, fields=ORIGIN)
    assert is_readable(response.head)
    assert (404, None) == (response.status, response.value("Access-Control-Expose-Headers"))


def test_a_held_stream(ask: Ask) -> None:
    connection = ask(held("a", b"begin", ETag="1")).ask(host=HOST, fields=ORIGIN)
    head = connection.read_head()
    assert is_readable(head)
    assert "ETag" == head.value("Access-Control-Expose-Headers")


def test_a_published_response(ask: Ask) -> None:
    """What is exposed are the fields of the response that the page gets."""
    case = ask(held("poll", mode="response", X_Held="1"))
    connection = case.ask(host=HOST, fields=ORIGIN)
    case.taken()
    case.settle()
    case.resolve("news", channel="poll", headers={"X-Published": "1"})
    response = connection.read_response()
    assert is_readable(response.head)
    assert (b"news", "X-Held, X-Published") == (response.body, response.value("Access-Control-Expose-Headers"))


def test_a_long_poll_that_is_asked_again(ask: Ask) -> None:
    case = ask(held("again", mode="response"), Reply(b"news"))
    connection = case.ask(host=HOST, fields=ORIGIN)
    case.taken()
    case.settle()
    case.publish({"http-response": {"action": "hint"}}, channel="again")
    response = connection.read_response()
    assert is_readable(response.head)
    assert b"news" == response.body


def test_an_error_of_the_proxy(ask: Ask) -> None:
    """A page that can't read it can't tell a 502 from a network that is down."""
    response = ask(Reply(before=[RESET])).get(method="POST", body=b"x", host=HOST, fields=ORIGIN)
    assert is_readable(response.head)
    assert 502 == response.status


def test_a_refused_request(ask: Ask) -> None:
    response = ask(Reply()).get(method="POST", body=b"x" * 100, host=HOST, fields=ORIGIN)
    assert is_readable(response.head)
    assert 413 == response.status


def test_a_preflight_goes_to_the_backend_and_its_answer_is_completed(ask: Ask) -> None:
    case = ask(Reply(status=204, framing="none"))
    asked = [*ORIGIN, ("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", "x-own")]
    response = case.get(method="OPTIONS", host=HOST, fields=asked)
    assert is_readable(response.head)
    names = ("Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age")
    assert (204, "PUT", "x-own", "3600") == (response.status, *map(response.value, names))
    assert "OPTIONS" == case.taken().method


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{PAGE}.evil.example"])
def test_other_pages_are_told_nothing(ask: Ask, origin: str) -> None:
    head = ask(Reply(b"ok", [("X-Own", "1")])).get(host=HOST, fields=[("Origin", origin)]).head
    assert not is_readable(head)
    assert [] == [name for name, _ in head.fields if name.lower().startswith("access-control-")]


def test_everybody_may_read_without_credentials(ask: Ask) -> None:
    head = ask(Reply(b"ok")).get(host="any.test", fields=ORIGIN).head
    assert ("*", None, None) == (
        head.value("Access-Control-Allow-Origin"),
        head.value("Access-Control-Allow-Credentials"),
        head.value("Vary"),
    )


def test_a_backend_that_decides_itself_is_not_contradicted(ask: Ask) -> None:
    own = ("Access-Control-Allow-Origin", "https://other.example")
    head = ask(Reply(b"ok", [own])).get(host=HOST, fields=ORIGIN).head
    assert ([own[1]], []) == (head.values(own[0]), head.values("Access-Control-Allow-Credentials"))


def test_without_the_setting_nothing_is_added(ask: Ask) -> None:
    head = ask(Reply(b"ok")).get(host="off.test", fields=ORIGIN).head
    assert (("Content-Length", "2"),) == head.fields
