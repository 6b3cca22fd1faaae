"""The numbers of subscribers, and when they are told."""

from typing import Any

import pytest

from gripproxy.zeromq import audience
from gripproxy.zeromq.audience import Audiences


class Told(list[tuple[str, dict[str, Any]]]):
    """What was told."""

    def __call__(self, kind: str, members: dict[str, Any]) -> None:
        self.append((kind, members))

    def take(self) -> list[dict[str, Any]]:
        """Return the members of what was told since the last time; all of it must be of one kind."""
        taken = [members for kind, members in self if kind == "sub"]
        assert len(taken) == len(self)
        self.clear()
        return taken


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def audiences(told: Told) -> Audiences:
    return Audiences(told, ttl=60, linger=5.0)


def subscribed(mode: str, channel: str, count: int) -> dict[str, Any]:
    return {"mode": mode, "channel": channel, "ttl": 60, "subscribers": count}


def gone(mode: str, channel: str) -> dict[str, Any]:
    return {"mode": mode, "channel": channel, "unavailable": True}


def test_the_first_subscriber_is_told_at_once_and_others_later(audiences: Audiences, told: Told) -> None:
    audiences.add("ws", "a", "")
    audiences.add("ws", "a", "named")
    audiences.add("stream", "a", "")
    assert [subscribed("ws", "a", 1), subscribed("stream", "a", 1)] == told.take()

    audiences.tick(1.0, 0.0)
    assert subscribed("ws", "a", 2) in told.take()
    assert {"": 1, "named": 1} == audiences.counts("ws", "a")


@pytest.mark.parametrize("mode", ["ws", "stream"])
def test_the_end_of_the_last_is_told_at_once(mode: str, audiences: Audiences, told: Told) -> None:
    audiences.add(mode, "a", "")
    audiences.add(mode, "a", "")
    audiences.remove(mode, "a", "", 1.0)
    audiences.remove(mode, "a", "", 1.0)
    assert [subscribed(mode, "a", 1), gone(mode, "a")] == told.take()
    assert ({}, 0) == (audiences.counts(mode, "a"), len(audiences))

    audiences.tick(2.0, 1.0)
    assert [] == told.take()


def test_long_polls_linger(audiences: Audiences, told: Told) -> None:
    audiences.add("response", "a", "")
    audiences.remove("response", "a", "", 10.0)
    told.take()
    audiences.tick(14.9, 1.0)
    assert [] == told.take()

    audiences.tick(15.0, 1.0)
    assert [gone("response", "a")] == told.take()
    assert 0 == len(audiences)


def test_a_long_poll_that_is_back_in_time_is_told_as_subscribed(audiences: Audiences, told: Told) -> None:
    audiences.add("response", "a", "")
    audiences.remove("response", "a", "", 10.0)
    audiences.add("response", "a", "")
    assert 2 * [subscribed("response", "a", 1)] == told.take()

    audiences.tick(16.0, 0.0)
    assert gone("response", "a") not in told.take()


def test_without_a_linger_long_polls_are_gone_at_once(told: Told) -> None:
    audiences = Audiences(told, ttl=60, linger=0.0)
    audiences.add("response", "a", "")
    audiences.remove("response", "a", "", 10.0)

    assert [subscribed("response", "a", 1), gone("response", "a")] == told.take()


def test_every_channel_is_told_again_in_its_turn(audiences: Audiences, told: Told) -> None:
    for name in "abcdefgh":
        audiences.add("ws", name, "")
    told.take()
    turns = []
    for _ in range(4):
        audiences.tick(1.0, 0.25)
        turns.append([members["channel"] for members in told.take()])

    assert set("abcdefgh") == {name for turn in turns for name in turn}
    assert [3, 3, 3, 3] == [len(turn) for turn in turns]


def test_one_tick_does_not_tell_too_much(audiences: Audiences, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "CHANGES_PER_TICK", 2)
    for name in "abc":
        audiences.add("ws", name, "")
        audiences.add("ws", name, "")
    told.take()
    counts = []
    for _ in range(3):
        audiences.tick(1.0, 0.0)
        counts.append(len(told.take()) - 1)  # one is told again

    assert [2, 1, 0] == counts
