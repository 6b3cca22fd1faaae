"""The log of what goes wrong."""

import pytest

from gripproxy.zeromq.faults import REASON_MAX, Faults


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_faults_are_logged_once_a_minute_for_each_input(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    faults = Faults(clock)
    for now, name, reason in [
        (0, "pull", "a"),
        (1, "pull", "b"),
        (2, "sub", "c"),
        (59, "pull", "d"),
        (60, "pull", "e"),
        (120, "pull", "f\n\x1b" + "x" * 1000),
    ]:
        clock.now = now
        faults.add(name, reason)

    assert ["zeromq.pull: a", "zeromq.sub: c", "zeromq.pull: e (2 more before it)"] == caplog.messages[:3]
    assert caplog.messages[3] == "zeromq.pull: f\\n\\x1b" + "x" * (REASON_MAX - 3)
