"""Typed netstrings: every kind of value, and nothing that is not exactly one."""

from contextlib import suppress
from typing import Any

import pytest
import tnetstring as reference  # of tnetstring3, which pubcontrol publishes with
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.grip.tnetstring import DEPTH_MAX, encode, parse

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(10**19) + 1, 10**19 - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | NUMBERS | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text().map(str.encode), inner, max_size=3),
    max_leaves=10,
)


def with_texts_for_names(value: Any) -> Any:
    if isinstance(value, list):
        return [with_texts_for_names(element) for element in value]
    if isinstance(value, dict):
        return {name.decode(): with_texts_for_names(element) for name, element in value.items()}
    return value


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"0:,", b""),
        (b"5:hello,", b"hello"),
        (b"2:\xff:,", b"\xff:"),
        (b"2:42#", 42),
        (b"2:-1#", -1),
        (b"3:1.5^", 1.5),
        (b"4:-1e3^", -1000.0),
        (b"4:true!", True),
        (b"5:false!", False),
        (b"0:~", None),
        (b"0:]", []),
        (b"8:1:a,1:1#]", [b"a", 1]),
        (b"0:}", {}),
        (b"12:1:a,5:hello,}", {"a": b"hello"}),
        (b"16:1:a,1:1#1:a,1:2#}", {"a": 2}),
        ("9:2:ä,1:1#}".encode(), {"ä": 1}),
    ],
)
def test_a_value_is_read(data: bytes, expected: Any) -> None:
    assert expected == parse(data)
    assert type(expected) is type(parse(data))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "byte 0: a length is missing"),
        (b"5", "byte 0: a length is missing"),
        (b"-1:a,", "byte 0: a length is missing"),
        (b"01:a,", "byte 0: a length is missing"),
        (b"1000000000:a,", "byte 0: a length is missing"),
        (b"999999999:a,", "byte 0: there are less than 999999999 bytes and a type"),
        (b"1:a", "byte 0: there are less than 1 bytes and a type"),
        (b"0:", "byte 0: there are less than 0 bytes and a type"),
        (b"1:a?", "byte 3: b'?' is not a type"),
        (b"1:a,x", "1 bytes follow the value"),
        (b"0:,0:,", "3 bytes follow the value"),
        (b"0:#", "byte 2: not an integer"),
        (b"2:+1#", "byte 2: not an integer"),
        (b"2: 1#", "byte 2: not an integer"),
        (b"20:12345678901234567890#", "byte 3: not an integer"),
        (b"3:nan^", "byte 2: not a number"),
        (b"3:inf^", "byte 2: not a number"),
        (b"5:1e999^", "byte 2: not a number"),
        (b"4:True!", "byte 2: neither true nor false"),
        (b"1:a~", "byte 2: a null holds nothing"),
        (b"1:a]", "byte 2: a length is missing"),
        (b"4:9:a,]", "byte 2: there are less than 9 bytes and a type"),
        (b"4:1:a,}", "byte 6: a length is missing"),
        (b"8:1:1#1:1#}", "byte 2: a member's name must be a string"),
        (b"8:1:\xff,1:1#}", "byte 2: a member's name must be UTF-8"),
    ],
)
def test_what_is_not_exactly_one_value_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011, the text is compared whole
        parse(data)

    assert problem == str(caught.value)


def nested(levels: int) -> bytes:
    data = b"0:]"
    for _ in range(levels):
        data = b"%d:%b]" % (len(data), data)
    return data


def test_depth_has_a_bound() -> None:
    assert parse(nested(DEPTH_MAX))
    with pytest.raises(ValueError, match=f"deeper than {DEPTH_MAX} levels"):
        parse(nested(DEPTH_MAX + 1))


@given(VALUES)
def test_what_another_library_writes_is_read(value: Any) -> None:
    assert with_texts_for_names(value) == parse(reference.dumps(value))


@given(st.binary() | st.from_regex(rb"([0-9]{1,2}:.{0,6}[,#^!~\]}]){1,4}", fullmatch=True))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """And what is read, the other library reads too."""
    with suppress(ValueError):
        parse(data)
        reference.loads(data)


WRITTEN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(WRITTEN)
def test_an_answer_is_read_by_another_library(value: Any) -> None:
    def as_bytes(one: Any) -> Any:
        if isinstance(one, dict):
            return {name.encode(): as_bytes(element) for name, element in one.items()}
        if isinstance(one, list):
            return [as_bytes(element) for element in one]
        return one.encode() if isinstance(one, str) else one

    assert as_bytes(value) == reference.loads(encode(value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"ok": True}, b"12:2:ok,4:true!}"),
        (False, b"5:false!"),
        (-1, b"2:-1#"),
        (None, b"0:~"),
        ([1, "ä"], b"9:1:1#2:\xc3\xa4,]"),
    ],
)
def test_values_are_written(value: Any, expected: bytes) -> None:
    assert expected == encode(value)


def test_half_a_surrogate_pair_is_a_question_mark() -> None:
    assert b"1:?," == encode("\ud800")


@pytest.mark.parametrize("value", [1.5, (1,), {1}])
def test_other_values_are_not_written(value: Any) -> None:
    with pytest.raises(TypeError, match=f"{type(value).__name__} is not written"):
        encode(value)
