"""The end of holds and requests, in good order and in bounded time."""

import asyncio
import selectors
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gripproxy.drain import CUT_GRACE, ENDED_PER_SECOND, HANDLER_GRACE, drain, finish


class Hold:
    """A hold that says when it ends; ``others`` are those that end with it."""

    def __init__(self, holds: Any, others: tuple["Hold", ...] = ()) -> None:
        self._holds, self._others = holds, others

    def end(self, reason: str) -> None:
        self._holds.ended.append(reason)
        for one in (self, *self._others):
            self._holds.open.pop(one, None)


def crowd(count: int) -> Any:
    holds = SimpleNamespace(open={}, ended=[], talking=0)
    holds.open.update(dict.fromkeys(Hold(holds) for _ in range(count)))
    return holds


@pytest.mark.parametrize("seconds", [0.0, 10.0])
def test_few_holds_end_at_once(seconds: float) -> None:
    holds = crowd(ENDED_PER_SECOND // 100)
    asyncio.run(drain(holds, seconds, asyncio.Event()))
    assert (["shutdown"] * (ENDED_PER_SECOND // 100), {}) == (holds.ended, holds.open)


def test_nobody_is_ended_twice() -> None:
    holds = crowd(3)
    first, second, _ = holds.open
    first._others = (second,)
    asyncio.run(drain(holds, 10.0, asyncio.Event()))
    assert (2, {}) == (len(holds.ended), holds.open)


def test_a_second_signal_ends_all_at_once() -> None:
    async def test() -> None:
        holds, hurry = crowd(10 * ENDED_PER_SECOND), asyncio.Event()
        hurry.set()
        await drain(holds, 3600.0, hurry)
        assert 10 * ENDED_PER_SECOND == len(holds.ended)

    asyncio.run(asyncio.wait_for(test(), 10))


class Jumping(selectors.SelectSelector):
    """Where nothing comes in, a loop's waits are over at once: its clock jumps."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.passed += timeout or 0.0
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = Jumping()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.passed


class Server:
    """Like aiohttp's: shutdown waits for a request, and as long again for what it told to end."""

    def __init__(self, seconds: float) -> None:
        self._left = asyncio.create_task(asyncio.sleep(seconds))
        self.is_cut = False

    @property
    def connections(self) -> list[object]:
        return [] if self._left.done() else [self]

    async def shutdown(self, timeout: float) -> None:
        await asyncio.wait([self._left], timeout=timeout)
        await asyncio.wait([self._left], timeout=timeout)
        self.is_cut = not self._left.done()


def time_to_finish(request: float, *, talking: int = 0, hurry_after: float | None = None) -> tuple[float, bool]:
    """Return how long it takes with a request of so many seconds under way, and whether that was cut."""
    loop = JumpingLoop()

    async def test() -> tuple[float, bool]:
        holds, hurry = crowd(0), asyncio.Event()
        holds.talking = talking
        if hurry_after is not None:
            loop.call_later(hurry_after, hurry.set)
        server: Any = Server(request)
        await finish(holds, server, hurry, 10.0)
        return loop.time(), server.is_cut

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(test())


def test_requests_under_way_are_waited_for() -> None:
    seconds, is_cut = time_to_finish(9.0)
    assert (9.0, False) == (pytest.approx(seconds), is_cut)


@pytest.mark.parametrize("talking", [0, 1])
def test_nothing_outlives_its_time(talking: int) -> None:
    """Whether or not a backend is still being told something."""
    seconds, is_cut = time_to_finish(3600.0, talking=talking)
    assert is_cut
    assert 10.0 + 2 * CUT_GRACE == pytest.approx(seconds)


def test_backends_are_told_what_they_are_still_to_know_within_the_grace() -> None:
    seconds, _ = time_to_finish(0.0, talking=1)
    assert pytest.approx(HANDLER_GRACE, abs=0.1) == seconds


def test_a_second_signal_cuts_what_is_under_way() -> None:
    seconds, is_cut = time_to_finish(3600.0, talking=1, hurry_after=0.5)
    assert is_cut
    assert 0.5 + 2 * CUT_GRACE == pytest.approx(seconds)


def test_who_is_held_meanwhile_is_told_too() -> None:
    async def test() -> None:
        holds, server = crowd(3), Server(0.0)
        await finish(holds, cast(Any, server), asyncio.Event(), 10.0)
        assert (["shutdown"] * 3, {}) == (holds.ended, holds.open)

    asyncio.run(test())
