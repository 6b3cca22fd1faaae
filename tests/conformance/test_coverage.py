"""Every row of what Pushpin does has its cases, or says why it has none."""

import pathlib

import pytest

from tests.conformance.coverage import PARTS, Row, Unseen, unseen
from tests.conformance.tables import parts
from tests.test_docs import names_in, rows

TESTS = pathlib.Path(__file__).parents[1]
DOCUMENT = (TESTS.parent / "docs/protocol.md").read_text()


@pytest.mark.parametrize(
    ("name", "row"), [(name, row) for table in PARTS.values() for name, row in table.items()], ids=lambda value: value
)
def test_row_has_cases_that_exist(name: str, row: Row) -> None:
    """A row names functions of the suite, or a reason and a test elsewhere."""
    if isinstance(row, Unseen):
        path, _, function = row.test.partition("::")
        assert row.reason
        assert not row.test or function in names_in(TESTS / path)
    else:
        assert row
        assert all(parts(case) for case in row)


@pytest.mark.parametrize("part", ["Limits", "Timers"])
def test_what_pushpin_limits_too_has_a_case(part: str) -> None:
    """Of the limits and timers of docs/protocol.md, those that Pushpin has are shown by a case or named as unseen."""
    text = DOCUMENT.partition(f"\n## {part}\n")[2].partition("\n## ")[0]
    without = [
        feature
        for feature, _, _, tests, pushpin, _ in list(rows(text))[1:]
        if "`conformance/" not in tests and not pushpin.startswith(("none", "no", "not in")) and feature not in unseen()
    ]
    assert [] == without
