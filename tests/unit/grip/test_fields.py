"""HTTP field syntax, as tables and as properties."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import parse_options_header

from gripproxy.grip.fields import (
    Fields,
    connection_options,
    decode_base64,
    decode_cstring,
    field,
    field_values,
    has_control,
    is_base64,
    is_token,
    media_type,
    parse_parameters,
    quote_parameter,
    split_list,
    text,
)

FIELDS: Fields = ((b"Via", b"a"), (b"VIA", b"b"), (b"ETag", b'"1"'))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"plain", "plain"), ("grün".encode(), "grün"), ("grün".encode("latin-1"), "grün"), (b"\xff\xfe", "ÿþ")],
)
def test_text_is_utf8_and_else_latin1(value: bytes, expected: str) -> None:
    assert expected == text(value)


def test_field_is_the_first_of_its_name() -> None:
    assert field(FIELDS, b"via") == b"a"
    assert field(FIELDS, b"etag") == b'"1"'
    assert field(FIELDS, b"date") is None


def test_field_values_are_all_of_that_name() -> None:
    assert field_values(FIELDS, b"via") == [b"a", b"b"]
    assert field_values(FIELDS, b"date") == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        (" , ,", []),
        ("a", ["a"]),
        (" a ,b\t, c", ["a", "b", "c"]),
        ('a="1,2", b', ['a="1,2"', "b"]),
        (r'a="1\",2", b', [r'a="1\",2"', "b"]),
        (r'a="1\\", b', [r'a="1\\"', "b"]),
        ('a="1, b', ['a="1, b']),
        ('a="1\\', ['a="1\\']),
        ('"a,b"c,d', ['"a,b"c', "d"]),
    ],
)
def test_split_list_splits_outside_quotes(value: str, expected: list[str]) -> None:
    assert expected == split_list(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", ("a", [])),
        (" a ; prev-id=5", ("a", [("prev-id", "5")])),
        ('"a b"; x=1', ('"a b"', [("x", "1")])),
        ("a; x = 1 ; y", ("a", [("x", "1"), ("y", "")])),
        (r'a; x="1\";2" junk; y=2', ("a", [("x", '1";2'), ("y", "2")])),
        ('a; x= "1"', ("a", [("x", "1")])),
        ("a;;; x=1;", ("a", [("x", "1")])),
        ("; x=1", ("", [("x", "1")])),
        ('a; x=1"2', ("a", [("x", '1"2')])),
        ('a; x="', None),
        ('a; x= "1', None),
        ('a; x="1\\', None),
        ('a"; x=1', ('a"', [("x", "1")])),
        ("a; x=b=c", ("a", [("x", "b=c")])),
    ],
)
def test_parse_parameters(value: str, expected: tuple[str, list[tuple[str, str]]] | None) -> None:
    assert expected == parse_parameters(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("5", "5"),
        ("a.b-c_d~1!", "a.b-c_d~1!"),
        ("", '""'),
        ("a b", '"a b"'),
        ("2026-01-31T12:00:00", '"2026-01-31T12:00:00"'),
        ("a;b,c", '"a;b,c"'),
        ('say "x"', '"say \\"x\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("é", '"é"'),
    ],
)
def test_quote_parameter(value: str, expected: str) -> None:
    assert expected == quote_parameter(value)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_what_is_quoted_is_read_back(value: str) -> None:
    """By Pushpin's rules, which are ours, and by the parser that django-grip uses."""
    written = f"c; last-id={quote_parameter(value)}"
    assert ("c", [("last-id", value)]) == parse_parameters(written)
    assert [written] == split_list(written)
    assert ("c", {"last-id": value}) == parse_options_header(written)


@given(st.text(alphabet='ab ;,="\\\t\n'))
def test_any_text_splits_and_parses_without_an_exception(value: str) -> None:
    for part in split_list(value):
        parse_parameters(part)


@given(st.lists(st.text(min_size=1, alphabet=st.characters(codec="utf-8")), min_size=1))
def test_quoted_values_come_back_from_a_list_as_they_were(values: list[str]) -> None:
    quoted = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    parts = split_list(", ".join(f'n; v="{value}"' for value in quoted))
    assert [("n", [("v", value)]) for value in values] == [parse_parameters(part) for part in parts]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", b"plain"),
        (r":\n\n", b":\n\n"),
        (r"\r\t\a\b\f\v\'\"\?\\", b"\r\t\a\b\f\v'\"?\\"),
        (r"\x41\xfF", b"A\xff"),
        (r"\0a\012\101\378", b"\0a\nA\x1f8"),
        (r"\400", b"\x200"),
        ("grün", "grün".encode()),
        (b"\xff".decode("utf-8", "surrogateescape"), b"\xff"),
    ],
)
def test_decode_cstring_decodes_what_c_does(value: str, expected: bytes) -> None:
    assert expected == decode_cstring(value)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (r"\q", r"unknown escape '\\\\q'"),
        (r"\9", "unknown escape"),
        ("a\\", "a backslash at the end"),
        (r"\x4", "two hexadecimal digits"),
        (r"\xg1", "two hexadecimal digits"),
        ("\\\n", "unknown escape"),
        ("\\é", "unknown escape"),
    ],
)
def test_decode_cstring_names_the_escape_that_is_wrong(value: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decode_cstring(value)


@given(st.text(alphabet="\\x01789abfnqr\"'?\n"))
def test_any_cstring_is_decoded_or_refused(value: str) -> None:
    with suppress(ValueError):
        decode_cstring(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("AQI=", b"\x01\x02"),
        ("AQI", b"\x01\x02"),
        ("////..\n///w==\n", b"\xff\xff\xff\xff\xff\xf0"),  # a dot is no digit
        ("_-8=", b"\xff\xef"),
        ("/+8=", b"\xff\xef"),
        ("ab", b"\x69"),
        ("a", b""),
        ("", b""),
        ("héllo wörld!", b"\x86Yh\xc2\xb9]"),
    ],
)
def test_decode_base64_is_lenient(value: str, expected: bytes) -> None:
    assert expected == decode_base64(value)


@given(st.binary())
def test_base64_of_every_alphabet_and_padding_comes_back(data: bytes) -> None:
    for encoded in (base64.b64encode(data), base64.urlsafe_b64encode(data), base64.encodebytes(data)):
        assert data == decode_base64(encoded.decode())
        assert data == decode_base64(encoded.decode().replace("=", ""))
        assert is_base64(encoded.decode())


@given(st.text())
def test_any_text_decodes_as_base64(value: str) -> None:
    decode_base64(value)


@pytest.mark.parametrize("value", ["b'AP8='", "AP8=x", "a.b", "é"])
def test_is_base64_refuses_other_characters(value: str) -> None:
    assert not is_base64(value)


def test_connection_options_are_the_names_of_all_connection_fields() -> None:
    fields = ((b"Connection", b"close, X-Hop"), (b"connection", b" Keep-Alive ,,"), (b"X-Hop", b"1"))
    assert frozenset({b"close", b"x-hop", b"keep-alive"}) == connection_options(fields)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"text/HTML; charset=utf-8", "text/html"), (b" a/b ", "a/b"), (b"", ""), (b"\xff;", "\xff")],
)
def test_media_type_is_lower_case_without_parameters(value: bytes, expected: str) -> None:
    assert expected == media_type(value)


@pytest.mark.parametrize("name", [b"ETag", b"x-1", b"!#$%&'*+-.^_`|~"])
def test_tokens(name: bytes) -> None:
    assert is_token(name)


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\n", b"\xc3\xa9", b"(a)"])
def test_what_is_no_token(name: bytes) -> None:
    assert not is_token(name)


@pytest.mark.parametrize(("value", "expected"), [("plain grün", False), ("a\n", True), ("\x7f", True), ("\t", True)])
def test_has_control(value: str, expected: bool) -> None:
    assert expected == bool(has_control(value))
