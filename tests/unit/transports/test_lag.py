"""What is noted of a client that lags, and when it is given up."""

import pytest

from gripproxy.transports.lag import LOOK, PATIENCE, Lag
from tests.unit.transports.world import item

ITEMS = [item(str(number)) for number in range(6)]


@pytest.mark.parametrize(
    ("skipped", "remembered", "expected"),
    [
        ((2, 3, 4), range(6), (2, 3, 4)),
        ((2,), range(6), (2,)),
        ((0, 5), range(6), range(6)),
        ((2, 3), range(2, 6), (2, 3)),
        ((1, 2, 3), range(2, 6), None),
        ((4, 2), range(6), ()),
    ],
)
def test_what_was_skipped_is_found_among_what_arrived(
    skipped: tuple[int, ...], remembered: range, expected: range | None
) -> None:
    lag = Lag(100, 0.0)
    for number in skipped:
        lag.skip("c", ITEMS[number])
    found = lag.skipped(lambda channel: [ITEMS[number] for number in remembered])
    assert found == [("c", None if expected is None else [ITEMS[number] for number in expected])]


def test_items_are_told_apart_by_themselves() -> None:
    """Two without ids may be equal."""
    first, second = item(content="same"), item(content="same")
    lag = Lag(100, 0.0)
    lag.skip("c", second)
    assert [("c", [second])] == lag.skipped(lambda channel: [first, second])
    assert [("c", None)] == lag.skipped(lambda channel: [first])


def test_channels_that_close_the_stream_come_last() -> None:
    lag = Lag(100, 0.0)
    arrived = {
        "a": [item(action="close", channel="a"), item(content="x", channel="a")],
        "b": [item(content="x", channel="b")],
        "c": [item(content="x", channel="c"), item(action="close", channel="c")],
        "d": [item(content="x", channel="d")],
    }
    for channel, items in arrived.items():
        for one in items:
            lag.skip(channel, one)
    assert [(channel, arrived[channel]) for channel in "bdac"] == lag.skipped(arrived.__getitem__)


def test_a_client_that_takes_something_lives() -> None:
    lag, now, size = Lag(10_000, 0.0), 0.0, 10_000
    for _ in range(30):
        now, size = lag.look_at, size - 1
        assert not lag.is_dead(size, now)


def test_a_client_that_takes_nothing_dies() -> None:
    lag, now = Lag(10_000, 0.0), 0.0
    while now < PATIENCE:
        assert not lag.is_dead(10_000, now)
        assert lag.look_at == now + LOOK
        now = lag.look_at
    assert lag.is_dead(10_000, now)


def test_what_is_written_meanwhile_is_no_sign_of_death_nor_life() -> None:
    lag = Lag(1_000, 0.0)
    assert not lag.is_dead(2_000, 30.0)
    assert not lag.is_dead(1_900, 59.0)
    assert not lag.is_dead(1_900, 100.0)
    assert lag.is_dead(1_900, 120.0)
