"""The syntax of Pushpin's routes file: lines of sections between blanks, sections of parts between commas."""

from collections.abc import Iterator


class LineError(ValueError):
    """A line that cannot be taken over."""


def sections_of(source: str) -> list[list[str]]:
    """The sections of a line, each a list of its parts between commas; quotes and comments are gone."""
    sections: list[list[str]] = []
    part: str | None = None  # None between sections
    parts: list[str] = []
    for character, is_quoted in _characters(source):
        if character in " \r" and not is_quoted:
            if part is not None:
                sections.append([*parts, part])
            part, parts = None, []
        elif character == "," and not is_quoted:
            parts.append(part or "")
            part = ""
        else:
            part = (part or "") + character
    if part is not None:
        sections.append([*parts, part])
    return sections


def properties_of(section: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """The value of a section and its properties; a first part with = is a property already."""
    value = "" if "=" in section[0] else section[0]
    rest = section if "=" in section[0] else section[1:]
    pairs = [(name, content) for name, _, content in (part.partition("=") for part in rest)]
    if any(not name for name, _ in pairs):
        raise LineError("a property has no name")
    return value, pairs


def _characters(source: str) -> Iterator[tuple[str, bool]]:
    """Each character that counts, and whether it stood in quotes; an empty text stands for empty quotes."""
    is_quoted = False
    is_escaped = False
    for character in source:
        if is_escaped:
            yield character, True
            is_escaped = False
        elif is_quoted and character == "\\":
            is_escaped = True
        elif character == '"':
            is_quoted = not is_quoted
            yield "", True
        elif character == "#" and not is_quoted:
            return
        else:
            yield character, is_quoted
    if is_quoted:
        raise LineError("a quote is not closed")
