"""One wheel for all timers; the loop's clock is a number that the test moves."""

from collections.abc import Callable
from typing import Any

import pytest

from gripproxy.transports.wheel import SLICE, SLOTS, TICK, Timed, Wheel


class Handle:
    def __init__(self) -> None:
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """The part of an event loop that a wheel uses."""

    def __init__(self) -> None:
        self.clock = 1000.0
        self.timers: list[tuple[float, Callable[[], None], Handle]] = []
        self.soon: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.clock

    def call_at(self, when: float, callback: Callable[[], None]) -> Handle:
        handle = Handle()
        self.timers.append((when, callback, handle))
        return handle

    def call_soon(self, callback: Callable[..., None], *arguments: Any) -> None:
        self.soon.append((callback, arguments))

    def run_soon(self) -> None:
        """Do one turn."""
        soon, self.soon = self.soon, []
        for callback, arguments in soon:
            callback(*arguments)

    def advance(self, seconds: float) -> None:
        """Let time pass, timer by timer."""
        end = self.clock + seconds
        while due := [timer for timer in self.timers if timer[0] <= end + 1e-9 and not timer[2].is_cancelled]:
            timer = min(due, key=lambda one: one[0])
            self.timers.remove(timer)
            self.clock = max(self.clock, timer[0] + 1e-6)
            timer[1]()
        self.clock = max(self.clock, end)


class Hold:
    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        self.due = 0
        self.calls = 0
        self.act = act

    def on_due(self) -> None:
        self.calls += 1
        self.act()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def errors() -> list[tuple[Timed, Exception]]:
    return []


@pytest.fixture
def ticks() -> list[int]:
    return []


@pytest.fixture
def wheel(loop: Loop, ticks: list[int], errors: list[tuple[Timed, Exception]]) -> Wheel:
    return Wheel(loop, ticks.append, lambda timed, error: errors.append((timed, error)))  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0.0, 0.1, 1.0, 55.0, SLOTS * TICK, SLOTS * TICK * 2 + 5])
def test_a_hold_is_due_once_and_never_early(loop: Loop, wheel: Wheel, seconds: float) -> None:
    """Not before its time, and at most a few ticks after it; also beyond one round of the wheel."""
    hold = Hold()
    wheel.set(hold, seconds)
    loop.advance(max(0.0, seconds - TICK))
    assert 0 == hold.calls
    loop.advance(4 * TICK)
    assert 1 == hold.calls
    loop.advance(2 * SLOTS * TICK)
    assert 1 == hold.calls


def test_setting_again_replaces(loop: Loop, wheel: Wheel) -> None:
    hold = Hold()
    wheel.set(hold, 1)
    wheel.set(hold, 5)
    loop.advance(2)
    assert 0 == hold.calls
    loop.advance(4)
    assert (1, 0) == (hold.calls, wheel.size)


def test_a_dropped_timer_is_not_due(loop: Loop, wheel: Wheel) -> None:
    hold = Hold()
    wheel.set(hold, 1)
    wheel.drop(hold)
    wheel.drop(hold)
    loop.advance(3)
    assert (0, 0) == (hold.calls, wheel.size)


def test_one_that_is_due_can_drop_another_that_is_due(loop: Loop, wheel: Wheel) -> None:
    """Whichever of two comes first ends the other, which then must not be called."""
    holds: list[Hold] = []
    for _ in range(2):
        holds.append(Hold(lambda: [wheel.drop(other) for other in holds if not other.calls] and None))
        wheel.set(holds[-1], 1)
    loop.advance(3)
    assert 1 == sum(hold.calls for hold in holds)


def test_one_that_is_due_can_set_itself_again(loop: Loop, wheel: Wheel) -> None:
    """As a keep-alive does."""
    hold = Hold(lambda: wheel.set(hold, 1))
    wheel.set(hold, 1)
    loop.advance(10.5)
    assert hold.calls in (8, 9)


def test_an_empty_wheel_stands_still_and_turns_again(loop: Loop, wheel: Wheel, ticks: list[int]) -> None:
    first, second = Hold(), Hold()
    wheel.set(first, 1)
    loop.advance(3)
    assert [] == loop.timers
    loop.advance(1000)
    wheel.set(second, 1)
    loop.advance(2)
    assert (1, 1) == (first.calls, second.calls)
    assert sorted(set(ticks)) == ticks


def test_no_hold_is_forgotten_when_the_loop_stalls(loop: Loop, wheel: Wheel) -> None:
    holds = [Hold() for _ in range(50)]
    for number, hold in enumerate(holds):
        wheel.set(hold, number * TICK)
    loop.clock += 60
    loop.advance(1)
    assert [1] * 50 == [hold.calls for hold in holds]


def test_many_at_once_are_worked_off_in_slices(loop: Loop, wheel: Wheel) -> None:
    """The loop is free between them."""
    holds = [Hold() for _ in range(2 * SLICE + 1)]
    for hold in holds:
        wheel.set(hold, 1)
    loop.advance(2)
    done = [sum(hold.calls for hold in holds)]
    while loop.soon:
        loop.run_soon()
        done.append(sum(hold.calls for hold in holds))
    assert [SLICE, 2 * SLICE, 2 * SLICE + 1] == done


def test_a_fault_of_one_hold_is_told_and_stops_no_other(
    loop: Loop, wheel: Wheel, errors: list[tuple[Timed, Exception]]
) -> None:
    def fail() -> None:
        raise RuntimeError("fault")

    holds = [Hold(fail), Hold(), Hold(fail)]
    for hold in holds:
        wheel.set(hold, 1)
    loop.advance(2)
    assert [1, 1, 1] == [hold.calls for hold in holds]
    assert {id(holds[0]), id(holds[2])} == {id(timed) for timed, _ in errors}


def test_a_closed_wheel_turns_no_more(loop: Loop, wheel: Wheel) -> None:
    hold = Hold()
    wheel.set(hold, 1)
    wheel.close()
    wheel.close()
    loop.advance(5)
    assert 0 == hold.calls
