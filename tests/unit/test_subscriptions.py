"""Channels that publishers are told of: the first subscriber at once, the last later, and nothing is told twice."""

import asyncio
import base64
import heapq
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.subscriptions import CHANGES_KEPT, LEAVE_EVERY, Change, Subscriptions, Watch

LINGER = 60.0


class Timer:
    def __init__(self) -> None:
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """Time that goes on when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, int, Callable[[], None], Timer]] = []
        self.fired = 0

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return self.call_at(self.now + seconds, callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = Timer()
        heapq.heappush(self.timers, (when, len(self.timers) + self.fired, callback, timer))
        return timer

    def go_on(self, seconds: float) -> None:
        end = self.now + seconds
        while self.timers and self.timers[0][0] <= end:
            self.now, _, callback, timer = heapq.heappop(self.timers)
            self.fired += 1
            if not timer.is_cancelled:
                callback()
        self.now = end


class Hub:
    """The realm ``r`` of a hub and who watches it."""

    def __init__(self, linger: float = LINGER, **counts: int) -> None:
        self.loop = Loop()
        loop: Any = self.loop
        self.counts = {("r", channel): count for channel, count in counts.items()}
        self.subscriptions = Subscriptions(loop, self.counts, linger, "ab")

    def watch(self) -> Watch:
        return self.subscriptions.watch("r")

    def change(self, *changes: str) -> None:
        """``+a``: the channel a has its first subscriber; ``-a``: it lost its last."""
        for change in changes:
            self.subscriptions.on_channel("r", change[1:], change[0] == "+")


def told(watch: Watch) -> list[str]:
    return ["-+"[change.is_subscribed] + change.channel for change in watch.changes(0, 1000) or ()]


def test_a_watch_begins_with_the_channels_that_are_there() -> None:
    hub = Hub(a=1, b=5)
    hub.counts["other", "c"] = 1

    assert (["a", "b"], 0) == (list(hub.watch().channels), hub.watch().end)


def test_a_first_subscriber_is_told_at_once_and_the_end_of_the_last_later() -> None:
    hub = Hub(a=1)
    watch = hub.watch()
    hub.change("+b", "-a")
    hub.loop.go_on(LINGER - 0.1)
    assert (["+b"], ["a", "b"]) == (told(watch), list(watch.channels))

    hub.loop.go_on(0.2)
    assert (["+b", "-a"], ["b"]) == (told(watch), list(watch.channels))


def test_who_comes_back_in_time_was_never_away() -> None:
    hub = Hub(a=1)
    watch = hub.watch()
    for _ in range(10):
        hub.change("-a")
        hub.loop.go_on(LINGER - 1)
        hub.change("+a")
    hub.loop.go_on(10 * LINGER)

    assert ([], ["a"]) == (told(watch), list(watch.channels))


def test_a_channel_leaves_a_linger_after_its_latest_end() -> None:
    hub = Hub(a=1, b=1)
    watch = hub.watch()
    hub.change("-a")
    hub.loop.go_on(30)
    hub.change("-b", "+a", "-a")
    hub.loop.go_on(LINGER - 1)
    assert [] == told(watch)

    hub.loop.go_on(2)
    assert ["-b", "-a"] == told(watch)


def test_many_that_leave_need_few_timers() -> None:
    hub = Hub(**{f"c{number}": 1 for number in range(1000)})
    watch = hub.watch()
    for number in range(1000):
        hub.change(f"-c{number}")
        hub.loop.go_on(0.01)
    hub.loop.go_on(2 * LINGER)

    assert 1000 == watch.end
    assert hub.loop.fired <= 10 / LEAVE_EVERY + 2


def test_without_linger_the_end_is_told_at_once() -> None:
    hub = Hub(linger=0.0, a=1)
    watch = hub.watch()
    hub.change("-a", "+a", "-a")

    assert ["-a", "+a", "-a"] == told(watch)


def test_realms_are_apart_and_cost_nothing_unwatched() -> None:
    hub = Hub()
    watch = hub.watch()
    hub.subscriptions.on_channel("other", "a", True)

    assert [] == told(watch)
    assert 0 == hub.subscriptions.watch("other").end


def test_a_listener_is_told_of_all_channels_and_then_of_changes() -> None:
    hub = Hub(linger=0.0, a=1)
    heard: list[tuple[str, str, bool]] = []
    hub.watch().tell(lambda *change: heard.append(change))
    hub.change("+b", "-a")

    assert [("r", "a", True), ("r", "b", True), ("r", "a", False)] == heard


def test_changes_are_read_in_parts() -> None:
    hub = Hub()
    watch = hub.watch()
    hub.change("+a", "+b", "+c")

    assert [Change("b", True)] == watch.changes(1, 1)
    assert [Change("b", True), Change("c", True)] == watch.changes(1, 10)
    assert [] == watch.changes(3, 10)
    assert None is watch.changes(4, 10) is watch.changes(-1, 10)


def test_the_latest_changes_are_kept() -> None:
    hub = Hub()
    watch = hub.watch()
    for number in range(CHANGES_KEPT + 5):
        hub.change(f"+{number}")

    assert None is watch.changes(4, 1)
    assert [Change("5", True)] == watch.changes(5, 1)
    assert [Change(str(CHANGES_KEPT + 4), True)] == watch.changes(CHANGES_KEPT + 4, 9)
    assert [str(number) for number in range(5, CHANGES_KEPT + 5)] == [
        change.channel for change in watch.changes(5, CHANGES_KEPT) or ()
    ]


def test_a_cursor_has_the_form_of_fanout_cloud() -> None:
    watch = Hub().watch()

    assert b"ab_7" == base64.b64decode(watch.cursor(7))
    assert 7 == watch.position(watch.cursor(7))


@pytest.mark.parametrize(
    "cursor", ["", "x", "YWJfNw", base64.b64encode(b"cd_7").decode(), base64.b64encode(b"ab_-7").decode()]
)
def test_another_cursor_means_nothing(cursor: str) -> None:
    assert None is Hub().watch().position(cursor)


@given(st.text() | st.binary().map(lambda data: base64.b64encode(b"ab_" + data).decode()))
def test_any_cursor_means_a_position_or_nothing(cursor: str) -> None:
    watch = Hub().watch()
    position = watch.position(cursor)

    assert position is None or position >= 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0, 100)), max_size=40))
def test_what_was_told_is_what_counts_as_subscribed(steps: list[tuple[str, bool, float]]) -> None:
    """Whatever comes and goes: no change is told twice, and in the end all agree."""
    hub = Hub()
    watch = hub.watch()
    there: set[str] = set()
    believed: set[str] = set()
    for channel, is_there, seconds in steps:
        if is_there != (channel in there):
            hub.change(("+" if is_there else "-") + channel)
            (there.add if is_there else there.discard)(channel)
        hub.loop.go_on(seconds)
        assert there <= set(watch.channels)
    hub.loop.go_on(2 * LINGER)
    for change in watch.changes(0, 1000) or ():
        assert change.is_subscribed != (change.channel in believed)
        (believed.add if change.is_subscribed else believed.discard)(change.channel)

    assert there == believed == set(watch.channels)


def test_waiting_ends_with_a_change_and_at_the_end() -> None:
    hub = Hub()
    watch = hub.watch()

    async def main() -> list[int]:
        ends = []

        async def follow() -> None:
            position = 0
            while not watch.is_closed:
                await watch.wait(position)
                position = watch.end
                ends.append(position)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(follow())
            await asyncio.sleep(0)
            hub.change("+a", "+b")
            await asyncio.sleep(0)
            hub.change("+c")
            await asyncio.sleep(0)
            hub.subscriptions.close()
        return ends

    assert [2, 2, 3, 3, 3, 3] == asyncio.run(main())


def test_after_the_end_nothing_waits_and_no_timer_is_left() -> None:
    hub = Hub(a=1)
    watch = hub.watch()
    hub.change("-a")
    hub.subscriptions.close()
    hub.loop.go_on(2 * LINGER)

    assert ([], True) == (told(watch), hub.subscriptions.watch("later").is_closed)
    asyncio.run(watch.wait(0))


@pytest.mark.parametrize(("linger", "seconds"), [(10.0, 10.0), (90.0, 90.0), (0.0, 0.0)])
def test_another_linger_counts_for_channels_that_linger_too(linger: float, seconds: float) -> None:
    hub = Hub(a=1, b=1)
    watch = hub.watch()
    hub.change("-a")
    hub.subscriptions.configure(linger)
    hub.loop.go_on(max(0.0, seconds - 0.1))
    hub.change("-b")
    assert ([] if linger else ["-a", "-b"]) == told(watch)

    hub.loop.go_on(LEAVE_EVERY)
    assert "-a" in told(watch)
    hub.loop.go_on(seconds)
    assert ["-a", "-b"] == told(watch)
