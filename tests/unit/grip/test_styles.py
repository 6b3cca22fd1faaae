"""The two styles of instructions become the same mapping of plain values."""

from typing import Any

import pytest
from msgspec import json

from gripproxy.errors import InstructError
from gripproxy.grip.members import WrongError
from gripproxy.grip.styles import checked, read_fields, read_json


def given_by_fields(*lines: tuple[bytes, bytes]) -> dict[str, Any]:
    """The mapping that fields make."""
    given: dict[str, Any] = {}
    read_fields(lines, given)
    return given


def given_by_json(document: Any) -> dict[str, Any]:
    """The mapping that JSON makes."""
    given: dict[str, Any] = {}
    read_json(json.encode(document), given)
    return given


def without_labels(given: dict[str, Any]) -> dict[str, Any]:
    """The values alone."""
    return {
        name: [value for _, value in labelled] if isinstance(labelled, list) else labelled[1]
        for name, labelled in given.items()
    }


def test_fields_become_labelled_plain_values() -> None:
    expected = {
        "hold": ("Grip-Hold", "stream"),
        "channels": [("Grip-Channel", {"name": "a", "prev-id": "1", "filters": ["f"]})],
        "keep-alive": ("Grip-Keep-Alive", {"content": "x", "timeout": "5"}),
        "meta": [("Grip-Set-Meta m", {"m": "1"})],
        "next": ("Grip-Link", {"uri": "/n", "rel": "next", "timeout": "7"}),
        "exposed": {b"etag"},
    }
    assert expected == given_by_fields(
        (b"Grip-Hold", b"stream"),
        (b"Grip-Channel", b"a; prev-id=1; filter=f"),
        (b"Grip-Keep-Alive", b"x; timeout=5"),
        (b"Grip-Set-Meta", b"m=1"),
        (b"Grip-Link", b"</n>; rel=next; timeout=7"),
        (b"Grip-Expose-Headers", b"ETag"),
    )


def test_both_styles_make_the_same_mapping() -> None:
    by_fields = given_by_fields(
        (b"Grip-Hold", b"response"),
        (b"Grip-Channel", b"a, b; prev-id=1"),
        (b"Grip-Timeout", b"10"),
        (b"Grip-Set-Meta", b"m=1"),
        (b"Grip-Status", b"304 NM"),
    )
    by_json = given_by_json(
        {
            "hold": {
                "mode": "response",
                "channels": [{"name": "a"}, {"name": "b", "prev-id": "1"}],
                "timeout": "10",
                "meta": {"m": "1"},
            },
            "response": {"code": "304", "reason": "NM"},
        }
    )
    assert without_labels(by_fields) == without_labels(by_json)


def test_fields_for_the_client_are_kept_in_order_and_json_is_announced() -> None:
    fields = ((b"B", b"1"), (b"Content-Type", b"application/grip-instruct"), (b"Grip-X", b""), (b"A", b"2"))
    kept = ((b"B", b"1"), (b"Content-Type", b"application/grip-instruct"), (b"A", b"2"))
    assert (kept, True) == read_fields(fields, {})
    assert (((b"B", b"1"),), False) == read_fields(fields[:1], {})


def test_many_links_are_read_in_one_pass() -> None:
    """As many as a field can have; looking at all of the rest for each would take seconds here."""
    given: dict[str, Any] = {}
    read_fields(((b"Grip-Link", b"<a>;r," * 50_000 + b"</n>; rel=next"),), given)
    assert {"next": ("Grip-Link", {"rel": "next", "uri": "/n"})} == given


def test_checked_puts_the_label_before_the_problem() -> None:
    def refuse(value: Any) -> Any:
        raise WrongError("must be better", ".part")

    with pytest.raises(InstructError, match=r"^hold\.meta\.part must be better$"):
        checked("hold.meta", refuse, 1)
    assert checked("hold", str, 1) == "1"
