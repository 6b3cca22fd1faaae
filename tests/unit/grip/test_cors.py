"""What a response is completed with, by the request's origin, the list of the route and what the backend said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.grip.cors import Cors, exposed
from gripproxy.grip.fields import Fields

PAGE = "https://app.example"
LISTED = frozenset({PAGE, "http://localhost:8000"})
ANY = frozenset({"*"})
BOTH = LISTED | ANY

VARY = (b"Vary", b"Origin")
CREDENTIALS = (b"Access-Control-Allow-Credentials", b"true")
ALL = (b"Access-Control-Allow-Origin", b"*")
ALLOWED = (b"Access-Control-Allow-Origin", PAGE.encode())


def added(
    request: Fields, listed: frozenset[str], response: Fields = (), method: str = "GET"
) -> list[tuple[bytes, bytes]]:
    """What comes to a response, in order."""
    completed = Cors.of(method, request, listed).complete(response)
    assert response == completed[: len(response)]
    return list(completed[len(response) :])


def origin(text: str) -> Fields:
    return ((b"Origin", text.encode()),)


@pytest.mark.parametrize(
    ("request_fields", "listed", "expected"),
    [
        (origin(PAGE), LISTED, [VARY, ALLOWED, CREDENTIALS]),
        (origin(PAGE), BOTH, [VARY, ALLOWED, CREDENTIALS]),
        (origin(PAGE), ANY, [ALL]),
        (origin("https://evil.example"), LISTED, [VARY]),
        (origin("https://evil.example"), BOTH, [VARY, ALL]),
        (origin(PAGE + ".evil.example"), LISTED, [VARY]),
        (origin(PAGE + ":443"), LISTED, [VARY]),
        (origin("null"), LISTED, [VARY]),
        (origin("null"), ANY, [ALL]),
        (origin("*"), LISTED, [VARY]),
        (origin("*"), BOTH, [VARY, ALL]),
        ((), LISTED, [VARY]),
        ((), ANY, [ALL]),
    ],
)
def test_an_origin_is_allowed_as_the_list_says(
    request_fields: Fields, listed: frozenset[str], expected: list[tuple[bytes, bytes]]
) -> None:
    assert expected == added(request_fields, listed)


def test_what_the_backend_says_stays() -> None:
    """A backend that names an origin has decided about credentials too."""
    response = ((b"access-control-allow-origin", b"https://other.example"), (b"vary", b"Accept, origin"))
    assert [] == added(origin(PAGE), LISTED, response)


@pytest.mark.parametrize("value", [b"Origin", b"*", b"accept-language, ORIGIN"])
def test_a_response_that_varies_already_is_not_told_so_again(value: bytes) -> None:
    assert VARY not in added(origin(PAGE), LISTED, ((b"Vary", value),))


def test_another_vary_is_not_enough() -> None:
    assert VARY in added(origin(PAGE), LISTED, ((b"Vary", b"X-Origin"),))


PREFLIGHT = (*origin(PAGE), (b"Access-Control-Request-Method", b"PUT"))


def test_a_preflight_is_granted_what_it_asks_for() -> None:
    request = (*PREFLIGHT, (b"Access-Control-Request-Headers", b"content-type,x-own"))
    expected = [
        VARY,
        ALLOWED,
        CREDENTIALS,
        (b"Access-Control-Allow-Methods", b"PUT"),
        (b"Access-Control-Allow-Headers", b"content-type, x-own"),
        (b"Access-Control-Max-Age", b"3600"),
    ]
    assert expected == added(request, LISTED, method="OPTIONS")


def test_a_preflight_from_elsewhere_is_granted_nothing() -> None:
    request = (*origin("https://evil.example"), (b"Access-Control-Request-Method", b"PUT"))
    assert [VARY] == added(request, LISTED, method="OPTIONS")


def test_a_preflight_is_granted_no_more_than_the_backend_does() -> None:
    response = ((b"Access-Control-Allow-Methods", b"GET"), (b"Access-Control-Max-Age", b"5"))
    request = (*PREFLIGHT, (b"Access-Control-Request-Headers", b"x-own"))
    assert [VARY, ALLOWED, CREDENTIALS, (b"Access-Control-Allow-Headers", b"x-own")] == added(
        request, LISTED, response, "OPTIONS"
    )


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_only_options_is_a_preflight(method: str) -> None:
    assert [VARY, ALLOWED, CREDENTIALS] == added(PREFLIGHT, LISTED, method=method)


def test_what_is_no_name_is_not_sent_back() -> None:
    request = (*PREFLIGHT, (b"Access-Control-Request-Headers", b"a b, x-own, <script>, ,"))
    assert (b"Access-Control-Allow-Headers", b"x-own") in added(request, LISTED, method="OPTIONS")
    bad = (*origin(PAGE), (b"Access-Control-Request-Method", b"A B"))
    assert [VARY, ALLOWED, CREDENTIALS] == added(bad, LISTED, method="OPTIONS")


def test_the_fields_of_a_response_are_exposed() -> None:
    """All but those that a page may read anyway, may never read, or that are GRIP's."""
    response = (
        (b"Content-Type", b"a/b"),
        (b"ETag", b"1"),
        (b"X-Own", b"1"),
        (b"x-own", b"2"),
        (b"Set-Cookie", b"a=b"),
        (b"Grip-Hold", b"stream"),
        (b"Access-Control-Max-Age", b"1"),
        (b"Date", b"now"),
    )
    assert b"ETag, X-Own, Date" == exposed(response)
    assert (b"Access-Control-Expose-Headers", b"ETag, X-Own, Date") in added(origin(PAGE), LISTED, response)


field = st.tuples(
    st.sampled_from([b"Origin", b"Access-Control-Request-Method", b"Access-Control-Request-Headers", b"Vary", b"X"]),
    st.binary(max_size=20),
)


@given(st.lists(field).map(tuple), st.lists(field).map(tuple), st.sampled_from([LISTED, ANY, BOTH]))
def test_no_unlisted_origin_ever_gets_credentials(request: Fields, response: Fields, listed: frozenset[str]) -> None:
    values = dict(added(request, listed, response, "OPTIONS"))
    if b"Access-Control-Allow-Credentials" in values:
        assert values[b"Access-Control-Allow-Origin"].decode() in LISTED
