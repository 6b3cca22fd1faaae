"""Records that are alike: the first are written, the others counted."""

import logging
from typing import Any

import pytest

from gripproxy import repeats
from gripproxy.repeats import PERIOD, Repeats

WRITTEN_MAX = 10


class World:
    """Repeats with a clock that the test moves."""

    def __init__(self, most: int = WRITTEN_MAX) -> None:
        self.now = 1000.0
        self.repeats = Repeats(most, lambda: self.now)

    def log(
        self, message: str, *arguments: Any, level: int = logging.WARNING, name: str = "gripproxy.x", **members: Any
    ) -> bool:
        """Whether a record is written."""
        record = logging.LogRecord(name, level, "", 0, message, arguments, None)
        record.__dict__.update(members)
        return self.repeats.admit(record)

    def sums(self, **options: bool) -> list[tuple[str, int]]:
        return [(one.getMessage(), vars(one)["repeats"]) for one in self.repeats.sum_up(**options)]


@pytest.fixture
def world() -> World:
    return World()


def test_the_first_are_written_and_the_others_summed_up_when_their_time_is_over(world: World) -> None:
    written = [number for number in range(5000) if world.log("the backend %s is down: %d", "b", number)]

    assert list(range(WRITTEN_MAX)) == written
    world.now += PERIOD - 1
    assert [] == world.sums()
    world.now += 1
    assert [(f"the backend b is down: {WRITTEN_MAX}", 5000 - WRITTEN_MAX)] == world.sums()
    assert [] == world.sums()


def test_after_its_time_a_kind_begins_anew(world: World) -> None:
    for _ in range(WRITTEN_MAX + 1):
        world.log("again")
    world.now += PERIOD
    world.sums()
    assert world.log("again")


def test_what_was_written_whole_needs_no_sum(world: World) -> None:
    for _ in range(WRITTEN_MAX):
        world.log("once")
    world.now += PERIOD
    assert [] == world.sums()


def test_at_the_end_all_is_summed_up(world: World) -> None:
    for _ in range(WRITTEN_MAX + 3):
        world.log("late")
    assert [("late", 3)] == world.sums(is_last=True)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"route": "web"}, {"route": "api"}),
        ({"status": 401}, {"status": 403}),
        ({"level": logging.WARNING}, {"level": logging.ERROR}),
        ({"name": "gripproxy.x"}, {"name": "gripproxy.y"}),
    ],
)
def test_kinds_do_not_keep_each_other_back(world: World, first: dict[str, Any], second: dict[str, Any]) -> None:
    for _ in range(WRITTEN_MAX + 1):
        is_written = world.log("text", **first)
    assert (False, True) == (is_written, world.log("text", **second))


@pytest.mark.parametrize("members", [{"peer": "10.0.0.1"}, {"channel": "c"}, {"realm": "r"}, {"request_id": "i"}])
def test_what_strangers_choose_does_not_tell_kinds_apart(world: World, members: dict[str, str]) -> None:
    written = [
        world.log("%s is wrong", number, **{name: f"{value}{number}" for name, value in members.items()})
        for number in range(100)
    ]
    assert WRITTEN_MAX == sum(written)


def test_texts_from_elsewhere_are_told_apart_by_what_they_say(world: World) -> None:
    """As warnings of a configuration are, which are logged as they stand."""
    assert all(world.log("%s", f"warning {number}") for number in range(100))


@pytest.mark.parametrize(("level", "name"), [(logging.DEBUG, "gripproxy.x"), (logging.INFO, "gripproxy.access")])
def test_whoever_asks_for_all_gets_all(world: World, level: int, name: str) -> None:
    assert all(world.log("GET /", level=level, name=name) for _ in range(100))


def test_all_are_written_where_that_is_wanted() -> None:
    world = World(0)
    assert all(world.log("text") for _ in range(100))
    assert [] == world.sums(is_last=True)


def test_a_sum_has_the_members_that_its_records_share(world: World) -> None:
    for number in range(WRITTEN_MAX + 2):
        world.log("down", route="web", backend="http://b", peer=f"10.0.0.{number}", level=logging.ERROR)
    (record,) = world.repeats.sum_up(is_last=True)
    found = vars(record)
    assert ("web", "http://b", 2, "ERROR", "gripproxy.x") == (
        found["route"],
        found["backend"],
        found["repeats"],
        record.levelname,
        record.name,
    )
    assert "peer" not in found


def test_there_is_an_end_to_the_kinds_that_are_told_apart(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "KINDS_MAX", 50)
    written = sum(world.log("text", route=f"route-{number}") for number in range(1000))
    assert 50 + WRITTEN_MAX == written
    assert [("text", 1000 - written)] == world.sums(is_last=True)
