"""The collector looks at what is young, and at everything only when nobody would notice."""

import gc
import weakref
from collections.abc import Callable, Iterator

import pytest

from gripproxy import collector
from gripproxy.collector import Collector


class FakeHandle:
    def cancel(self) -> None:
        """Nothing runs by itself here."""


class FakeLoop:
    def call_later(self, delay: float, callback: Callable[[], None]) -> FakeHandle:
        return FakeHandle()


class Cycle:
    """Garbage that only a collection can free."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def activity() -> list[int]:
    return [0]


@pytest.fixture
def subject(activity: list[int]) -> Iterator[Collector]:
    subject = Collector(FakeLoop(), lambda: activity[0])  # type: ignore[arg-type]
    subject.start()
    yield subject
    subject.stop()


def test_no_full_collection_happens_by_itself(subject: Collector) -> None:
    """The third threshold is out of reach."""
    assert collector.NEVER == gc.get_threshold()[2]


def test_a_round_frees_what_is_young(subject: Collector) -> None:
    """A cycle made since the last round is gone after the next."""
    cycle = weakref.ref(Cycle())
    subject.round()
    assert cycle() is None


def test_a_round_freezes_what_has_survived(subject: Collector) -> None:
    """What lives is not looked at again, so that a cycle made of it stays."""
    survivor = Cycle()
    cycle = weakref.ref(survivor)
    subject.round()
    del survivor
    subject.round()
    assert cycle() is not None


def test_everything_is_collected_when_idle(subject: Collector, activity: list[int]) -> None:
    """After some rounds without work nothing is hidden any more."""
    survivor = Cycle()
    cycle = weakref.ref(survivor)
    subject.round()
    del survivor
    for _ in range(collector.FULL_EVERY):
        activity[0] += 1
        subject.round()
    assert cycle() is not None
    for _ in range(collector.IDLE_ROUNDS):
        subject.round()
    assert cycle() is None


def test_stopping_gives_the_rules_back(activity: list[int]) -> None:
    """Thresholds are those from before."""
    before = gc.get_threshold()
    subject = Collector(FakeLoop(), lambda: activity[0])  # type: ignore[arg-type]
    subject.start()
    subject.stop()
    assert before == gc.get_threshold()
    assert gc.get_freeze_count() == 0
