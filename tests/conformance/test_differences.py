"""The table of differences names existing cases only."""

import pathlib

import pytest

from tests.conformance.differences import DIFFERENCES, GAPS, key_of
from tests.conformance.tables import written


def test_differences_name_cases(request: pytest.FixtureRequest) -> None:
    """Every listed difference belongs to a case, as far as its file was collected."""
    cases = [item for item in request.session.items if item.path.parent == request.path.parent]
    known = {key for item in cases for key in key_of(item.path.stem, item.name)}
    collected = {key.partition("::")[0] for key in known}
    option = request.config.option
    if option.keyword or option.markexpr or any("::" in argument for argument in request.config.args):
        pytest.skip("only a selection of cases was collected")
    assert [] == [key for key in [*DIFFERENCES, *GAPS] if key.partition("::")[0] in collected and key not in known]


def test_document_is_up_to_date() -> None:
    """The differences in docs/protocol.md are those of the table."""
    document = (pathlib.Path(__file__).parents[2] / "docs/protocol.md").read_text()
    assert written(document) == document, "run python -m tests.conformance --write docs/protocol.md"
