"""Which session a request belongs to: rules, and bodies of clients that want to find out what they can do."""

from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from gripproxy.errors import InstructError
from gripproxy.grip.detection import (
    PARAMETERS_MAX,
    DetectRule,
    asked_again,
    detect,
    session_fields,
    session_id,
)
from gripproxy.grip.members import NAME_MAX, WrongError
from gripproxy.grip.wire import encode_last_ids

# --- rules


@pytest.mark.parametrize("pointer", ["", "/", "/sid", "/a/0/b", "/a~1b/~0", "/ünï"])
def test_a_pointer_is_taken(pointer: str) -> None:
    assert DetectRule("/", pointer).sid_ptr == pointer


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (("", "/sid"), "path-prefix must begin with a slash, not ''"),
        (("x", "/sid"), "path-prefix must begin with a slash, not 'x'"),
        (("/\r", "/sid"), "path-prefix must not have control characters"),
        (("/" + NAME_MAX * "x", "/sid"), f"path-prefix must have at most {NAME_MAX} bytes"),
        (("/", "sid"), "sid-ptr must be a JSON pointer, not 'sid'"),
        (("/", "/a~2"), "sid-ptr must be a JSON pointer, not '/a~2'"),
        (("/", "/a~"), "sid-ptr must be a JSON pointer, not '/a~'"),
        (("/", "/" + NAME_MAX * "x"), f"sid-ptr must have at most {NAME_MAX} bytes"),
        (("/", "/sid", ""), "json-param must not be empty"),
        (("/", "/sid", "a\0"), "json-param must not have control characters"),
    ],
)
def test_a_rule_that_is_not_legal_is_an_error_that_names_the_parameter(rule: tuple[str, ...], problem: str) -> None:
    with pytest.raises(InstructError, match=problem.replace("(", r"\(")):
        DetectRule(*rule)


# --- bodies


@pytest.mark.parametrize(
    ("pointer", "body", "expected"),
    [
        ("/sid", b'{"sid": "a"}', "a"),
        ("/sid", '{"sid": "ünï"}'.encode(), "ünï"),
        ("/a/1/b", b'{"a": [0, {"b": "deep"}]}', "deep"),
        ("/a~1b/~0", b'{"a/b": {"~": "escaped"}}', "escaped"),
        ("/", b'{"": "empty name"}', "empty name"),
        ("", b'"whole"', "whole"),
        ("/-", b'{"-": "a name like others"}', "a name like others"),
        ("/sid", b'{"sid": "1", "sid": "2"}', "2"),
        # nothing there
        ("/sid", b"{}", None),
        ("/sid", b"[]", None),
        ("/sid", b"null", None),
        ("/sid/x", b'{"sid": "a"}', None),
        ("/sid/0", b'{"sid": "a"}', None),
        ("/-", b'["a"]', None),
        ("/1", b'["a"]', None),
        ("/00", b'["a"]', None),
        ("/-1", b'["a"]', None),
        ("/" + 500 * "9", b'["a"]', None),
        # no id
        ("/sid", b'{"sid": ""}', None),
        ("/sid", b'{"sid": 1}', None),
        ("/sid", b'{"sid": null}', None),
        ("/sid", b'{"sid": {"a": "b"}}', None),
        ("/sid", b'{"sid": " a"}', None),
        ("/sid", b'{"sid": "a\\r\\nX: y"}', None),
        ("/sid", b'{"sid": "\\u0000"}', None),
        ("/sid", b'{"sid": "\\ud800"}', None),
        ("/sid", b'{"sid": "' + b"x" * (NAME_MAX + 1) + b'"}', None),
        # no JSON
        ("/sid", b"", None),
        ("/sid", b'{"sid": "a"', None),
        ("/sid", b'{"sid": "\xff"}', None),
        ("/sid", b"\x1f\x8b\x08", None),
        ("/sid", b'{"sid":' * 20_000, None),
        ("/sid", b"[" * 100_000, None),
        ("/sid", b'{"sid": ' + b"9" * 90_000 + b"}", None),
    ],
)
def test_an_id_is_found_where_the_pointer_leads(pointer: str, body: bytes, expected: str | None) -> None:
    assert expected == detect((DetectRule("/", pointer),), body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (urlencode({"x": "1", "data": '{"sid": "a b"}'}).encode(), "a b"),
        (b'data={"sid":"raw"}', "raw"),
        (b'data={"sid":"%C3%BC"}', "ü"),
        (b'data={"sid":"1"}&data={"sid":"2"}', "1"),
        (b'date={"sid":"a"}', None),
        (b"data=", None),
        (b'{"data": {"sid": "a"}}', None),
        (b'data={"sid":"%ff"}', None),
        (b'data={"sid":"%+%2"}', "% %2"),
        (b'd%61ta={"sid":"a"}', "a"),
        (b'=x&&data={"sid":"a"}', "a"),
        (b"&" * PARAMETERS_MAX + b'data={"sid":"too many"}', None),
    ],
)
def test_an_id_is_found_in_a_parameter_of_a_form(body: bytes, expected: str | None) -> None:
    assert expected == detect((DetectRule("/", "/sid", "data"),), body)


def test_the_first_rule_that_finds_an_id_counts() -> None:
    rules = (DetectRule("/", "/a"), DetectRule("/", "/b", "data"), DetectRule("/", "/b"), DetectRule("/", "/c"))
    assert "2" == detect(rules, b'{"a": 1, "b": "2", "c": "3"}')
    assert None is detect((), b'{"a": "1"}')


@given(st.binary(max_size=300) | st.recursive(st.text(), lambda one: st.lists(one) | st.dictionaries(st.text(), one)))
def test_whatever_a_client_sends_an_id_can_be_a_fields_value(given_body: Any) -> None:
    body = given_body if isinstance(given_body, bytes) else json.encode(given_body)
    for parameter in (None, "a"):
        sid = detect([DetectRule("/", pointer, parameter) for pointer in ("", "/", "/a", "/0", "/0/0")], body)
        assert sid is None or (sid == sid.strip() and sid == session_id(sid))
        assert sid is None or not set(sid.encode()) & {0, 10, 13}


@pytest.mark.parametrize("value", ["", " a", "a\n", "a\x7f", 1, None, "\ud800", "ü" * NAME_MAX])
def test_what_is_no_id(value: Any) -> None:
    with pytest.raises(WrongError, match="must"):
        session_id(value)


# --- fields


def test_a_backend_is_told_of_a_session() -> None:
    expected = (
        (b"Grip-Session-Id", b"s"),
        (b"Grip-Last", b"a; last-id=1"),
        (b"Grip-Last", b"\xc3\xbc; last-id=2"),
    )
    assert expected == session_fields("s", {"a": "1", "ü": "2"})


def test_a_request_is_asked_again_with_where_the_client_is_now() -> None:
    fields = ((b"Host", b"h"), (b"Grip-Last", b"a; last-id=1"), (b"Grip-Last", b"b; last-id=1"))
    assert ((b"Host", b"h"), (b"Grip-Last", b"a; last-id=2")) == asked_again(fields, {"a": "2"})
    assert ((b"Host", b"h"),) == asked_again(fields, {})


def test_a_request_of_a_session_keeps_what_is_known_of_other_channels() -> None:
    fields = ((b"Host", b"h"), *session_fields("s", {"a": "1", "b": "1"}))
    again = asked_again(fields, {"a": "2", "c": "3"})
    expected = ((b"Host", b"h"), *session_fields("s", {"b": "1", "a": "2", "c": "3"}))
    assert expected == again
    assert encode_last_ids({"c": "4"}) == asked_again(again, {"c": "4"})[-1:]
