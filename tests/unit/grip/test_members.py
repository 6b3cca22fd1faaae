"""The checks of plain values: what each takes, and how it names what it does not."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.grip import members
from gripproxy.grip.members import WrongError, shown

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CHECKS = [
    members.obj,
    members.array,
    members.string,
    members.boolean,
    members.strings,
    members.string_map,
    members.integer(0, 9),
    members.utf8,
    members.base64,
    members.reason,
    members.identifier,
    members.channel_name,
    members.header_fields,
]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        ([[]], "a list"),
        ({"a": 1}, "an object"),
        (b"x" * 100, "bytes"),
        ("x" * 100, "'" + "x" * 77 + "'..."),
        ("x", "'x'"),
        (5, "5"),
        (2**31, "a larger number"),
        (1.5, "1.5"),
    ],
)
def test_shown_is_short_and_speaks_json(value: object, expected: str) -> None:
    assert expected == shown(value)


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (9, 9), ("5", 5), ("007", 7), (5.0, 5), (-0.0, 0)])
def test_integers_may_be_decimal_strings_and_whole_floats(value: Any, expected: int) -> None:
    assert expected == members.integer(0, 9)(value)


@pytest.mark.parametrize(
    "value",
    [-1, 10, "-1", "x", "", " 5", "5 ", "٣", "1" * 5000, 5.5, float("inf"), float("nan"), True, None, [], 2**63],
)
def test_integers_out_of_bounds_and_other_types_are_refused(value: Any) -> None:
    with pytest.raises(WrongError, match="must be an integer from 0 to 9, not "):
        members.integer(0, 9)(value)


def test_integer_without_an_upper_bound_ends_at_32_bits() -> None:
    assert members.integer(0)(2**31 - 1) == 2**31 - 1
    with pytest.raises(WrongError, match="must be an integer of 0 or more, not a larger number"):
        members.integer(0)(2**31)


def test_member_is_the_default_only_if_absent() -> None:
    assert members.member({}, "a", members.string, "d") == "d"
    assert members.member({"a": "x"}, "a", members.string, "d") == "x"
    with pytest.raises(WrongError, match=r"\.a must be a string, not null"):
        members.member({"a": None}, "a", members.string, "d")


@pytest.mark.parametrize(
    ("value", "path", "problem"),
    [
        ("x", "", "must be an object or a list of pairs, not 'x'"),
        ([["a"]], "[0]", "must be a list of name and value, not a list"),
        ([["a", "b"], "x"], "[1]", "must be a list of name and value, not 'x'"),
        ([["a b", "c"]], "[0]", "must be a field name, not 'a b'"),
        ([[1, "c"]], "[0]", "must be a field name, not 1"),
        ({"": "c"}, "", "must be a field name, not ''"),
        ({"é": "c"}, "", "must be a field name, not 'é'"),
        ({"a": None}, " (a)", "must be a string, not null"),
        ({"a": ["b"]}, " (a)", "must be a string, not a list"),
        ([["a", "b\r\nSet-Cookie: c"]], "[0] (a)", "must not have CR, LF or NUL: 'b\\r\\nSet-Cookie: c'"),
        ({"a": "b\0"}, " (a)", "must not have CR, LF or NUL: 'b\\x00'"),
    ],
)
def test_header_fields_name_what_is_wrong(value: Any, path: str, problem: str) -> None:
    with pytest.raises(WrongError) as caught:
        members.header_fields(value)
    assert (path, problem) == (caught.value.path, caught.value.problem)


def test_header_fields_are_taken_from_objects_and_pairs() -> None:
    expected = ((b"ETag", b'"1"'), (b"X", "é".encode()))
    assert expected == members.header_fields({"ETag": ' "1" ', "X": "é"})
    assert expected == members.header_fields([["ETag", '"1"'], ["X", "é"]])


def test_header_fields_leave_out_what_no_sender_may_set() -> None:
    value = {
        "Content-Length": "5",
        "transfer-ENCODING": "chunked",
        "Connection": "X-Hop",
        "X-Hop": "1",
        "grip-hold": "stream",
        "Content-Encoding": "br",
    }
    assert ((b"Content-Encoding", b"br"),) == members.header_fields(value)


@pytest.mark.parametrize("value", ["a\nb", "a\r", "\0"])
def test_a_reason_with_control_characters_is_refused(value: str) -> None:
    with pytest.raises(WrongError, match="must not have control characters"):
        members.reason(value)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("x" * 1025, "must have at most 1024 bytes, not 1025"),
        ("é" * 513, "must have at most 1024 bytes, not 1026"),
        ("a\n", "must not have control characters: 'a\\n'"),
        (5, "must be a string, not 5"),
    ],
)
def test_identifiers_and_channel_names_are_bounded_and_fit_a_field(value: Any, problem: str) -> None:
    for check in (members.identifier, members.channel_name):
        with pytest.raises(WrongError) as caught:
            check(value)
        assert problem == caught.value.problem


def test_only_a_channel_name_must_not_be_empty() -> None:
    assert members.identifier("") == ""
    assert members.channel_name("é" * 512) == "é" * 512
    with pytest.raises(WrongError, match="must not be empty"):
        members.channel_name("")


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(WrongError, match="half a surrogate pair"):
        members.utf8("\ud800")


@pytest.mark.parametrize("check", CHECKS)
@given(value=JSON)
def test_any_value_is_taken_or_refused(check: Any, value: Any) -> None:
    with suppress(WrongError):
        check(value)
