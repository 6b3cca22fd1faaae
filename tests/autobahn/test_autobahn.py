"""Autobahn's cases against both WebSocket doors: the quick ones; `make autobahn` runs all."""

from pathlib import Path

import pytest

from tests.autobahn.suite import DOORS, QUICK, run


@pytest.mark.parametrize("door", DOORS)
def test_every_verdict_is_good_or_known(door: str, tmp_path: Path) -> None:
    verdicts = run(tmp_path, door, QUICK)

    assert [] == [verdict for verdict in verdicts if not verdict.is_expected]
    assert 300 < len(verdicts)
