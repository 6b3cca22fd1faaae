"""Lines of Pushpin's routes file come apart as Pushpin takes them apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.routes_file import LineError, properties_of, sections_of


@pytest.mark.parametrize(
    ("line", "sections"),
    [
        ("", []),
        ("   ", []),
        ("# comment", []),
        ("a b", [["a"], ["b"]]),
        ("a  b\r", [["a"], ["b"]]),
        ("a b#c d", [["a"], ["b"]]),
        ("a\tb", [["a\tb"]]),
        ("a,b=c,d e", [["a", "b=c", "d"], ["e"]]),
        ('"a b","c,d"', [["a b", "c,d"]]),
        ('a"#"b', [["a#b"]]),
        (r'"\"\\"', [['"\\']]),
        ('""', [[""]]),
        ("a,", [["a", ""]]),
        (",a", [["", "a"]]),
    ],
)
def test_sections(line: str, sections: list[list[str]]) -> None:
    assert sections == sections_of(line)


def test_a_quote_has_to_end() -> None:
    with pytest.raises(LineError, match="a quote is not closed"):
        sections_of('a "b')


@pytest.mark.parametrize(
    ("section", "value", "properties"),
    [
        (["a"], "a", []),
        (["a", "b=c=d", "e"], "a", [("b", "c=d"), ("e", "")]),
        (["b=c", "e"], "", [("b", "c"), ("e", "")]),
        (["", "b=c"], "", [("b", "c")]),
    ],
)
def test_properties(section: list[str], value: str, properties: list[tuple[str, str]]) -> None:
    assert (value, properties) == properties_of(section)


@pytest.mark.parametrize("section", [["a", ""], ["a", "=b"], ["=b"]])
def test_a_property_has_to_have_a_name(section: list[str]) -> None:
    with pytest.raises(LineError, match="a property has no name"):
        properties_of(section)


@given(st.text())
def test_any_line_comes_apart_or_is_refused(line: str) -> None:
    try:
        for section in sections_of(line):
            properties_of(section)
    except LineError:
        pass
