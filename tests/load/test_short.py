"""Every scenario of the benchmark set in short: for correctness, never for time."""

import pytest

from tests.load.scenarios import SCENARIOS, Scenario, run_scenario

CONNECTIONS, MESSAGES = 100, 10


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_nothing_is_lost_and_nobody_refused(scenario: Scenario) -> None:
    outcome = run_scenario(scenario.shortened(CONNECTIONS, MESSAGES))

    assert {} == outcome.faults
    assert 0 < outcome.report["deliveries"] == outcome.report["expected"] - outcome.report["ledger"]["skipped"]
