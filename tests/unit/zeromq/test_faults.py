"""The log of what goes wrong."""

import pytest

from gripproxy.zeromq.faults import REASON_MAX, log_fault


def test_what_a_stranger_sent_is_escaped_and_cut(caplog: pytest.LogCaptureFixture) -> None:
    log_fault("pull", "a")
    log_fault("sub", "f\n\x1b" + "x" * 1000)

    assert ["zeromq.pull: a", "zeromq.sub: f\\n\\x1b" + "x" * (REASON_MAX - 3)] == caplog.messages


def test_each_input_is_a_kind_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """So that a flood at one does not keep quiet what goes wrong at another."""
    log_fault("pull", "a")
    log_fault("pull", "b")
    log_fault("sub", "a")

    first, second, third = (record.msg for record in caplog.records)
    assert first == second != third
