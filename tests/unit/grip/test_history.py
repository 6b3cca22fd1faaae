"""What is remembered of the items that went out; the clock is a number."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.grip.history import ITEM_OVERHEAD, History, has_no_place, size_of
from gripproxy.grip.item import HttpResponse, HttpStream, Item, WsMessage


def item(identifier: str | None = None, prev_id: str | None = None, no_seq: bool = False, size: int = 0) -> Item:
    """An item with these ids and so many bytes of content."""
    return Item("c", identifier, prev_id, stream=HttpStream("send", b"x" * size), no_seq=no_seq)


def chain(start: int, stop: int) -> list[Item]:
    """Items that follow one another: ids start to stop - 1."""
    return [item(str(number), str(number - 1)) for number in range(start, stop)]


def filled(history: History, *items: Item, key: str = "k", now: float = 0.0) -> History:
    """The history after these items."""
    for one in items:
        history.add(key, one, now)
    return history


# --- the chain


def test_since_is_the_chain_behind_an_id() -> None:
    history = filled(History(), *chain(1, 5))
    assert chain(3, 5) == history.since("k", "2")
    assert [] == history.since("k", "4")
    assert chain(1, 5) == history.since("k", "0"), "the oldest item says what it follows"
    assert history.since("k", "9") is None
    assert history.since("unknown", "1") is None


def test_of_an_id_that_came_twice_the_later_one_counts() -> None:
    history = filled(History(), item("1", "0"), item("2", "1"), item("1", "2"), item("3", "1"))
    assert [item("3", "1")] == history.since("k", "1")


@pytest.mark.parametrize("breaker", [item("9", "8"), item("9")])
def test_an_item_that_does_not_follow_begins_a_chain(breaker: Item) -> None:
    history = filled(History(), item("1"), breaker, item("10", "9"))
    assert (None, [item("10", "9")]) == (history.since("k", "1"), history.since("k", "9"))


def test_items_without_a_place_are_no_links() -> None:
    history = filled(History(), item("1"), item("x", no_seq=True), item(no_seq=True), item("2", "1"))
    assert [item("2", "1")] == history.since("k", "1")
    assert history.since("k", "x") is None


def test_an_item_that_went_out_of_its_turn_ends_the_chain() -> None:
    """It says what it follows, so whoever is before that lacks something."""
    history = filled(History(), item("1"), item("5", "4", no_seq=True))
    assert (None, []) == (history.since("k", "1"), history.since("k", "5"))


def test_an_item_without_id_ends_the_order_but_not_the_chain() -> None:
    history = filled(History(), item("1"), item())
    assert ("1", 0.0, True) == history.newest("k")
    assert ("2", 0.0, False) == filled(history, item("2", "1")).newest("k")
    assert [item("2", "1")] == history.since("k", "1")
    assert ("2", 0.0, False) == filled(history, item(no_seq=True)).newest("k")


def test_an_item_that_comes_late_leaves_the_chain_alone() -> None:
    history = filled(History(), item("4", "3"))
    assert history.is_late("k", item("3", "2"))
    filled(history, item("3", "2"))
    assert (None, [item("4", "3")]) == (history.since("k", "2"), history.since("k", "3"))
    assert history.is_late("k", item("2", "1"))
    assert not history.is_late("k", item("3", "2"))
    assert not history.is_late("other", item("2", "1"))


def test_broken_chains_are_still_there_as_items() -> None:
    history = filled(History(), *chain(1, 3))
    before = history.serial
    history.break_chains()
    assert (None, None) == (history.since("k", "1"), history.newest("k"))
    assert (chain(1, 3), []) == (history.arrived("k", 0), history.arrived("k", before))
    assert before < history.serial
    assert [] == filled(history, item("3", "2")).since("k", "3")


# --- moments


def test_arrived_is_what_came_after_a_moment() -> None:
    history = filled(History(), item("1"))
    moment = history.serial
    filled(history, item(), key="other")
    filled(history, item(), item("x", no_seq=True), item("2", "1"))
    assert [item(), item("x", no_seq=True), item("2", "1")] == history.arrived("k", moment)
    assert [] == history.arrived("k", history.serial)
    assert [] == history.arrived("unknown", 0)


# --- bounds


def test_items_are_kept_for_a_minute() -> None:
    history = filled(filled(History(), *chain(1, 3)), item("3", "2"), now=30.0)
    history.expire(60.0)
    assert [item("3", "2")] == history.since("k", "2")
    assert history.since("k", "1") is None
    history.expire(90.0)
    assert (None, []) == (history.since("k", "2"), history.arrived("k", 0))
    assert (0, 3) == (history.forgotten, history.expired)


def test_a_channel_is_bounded_in_items_and_bytes() -> None:
    for history in (History(items_max=2), History(bytes_max=2 * ITEM_OVERHEAD)):
        filled(history, *chain(1, 5))
        assert chain(3, 5) == history.since("k", "2")
        assert history.since("k", "1") is None


def test_an_item_that_is_too_large_empties_its_channel() -> None:
    history = filled(History(bytes_max=5000), item("1"), item("2", "1", size=5000))
    assert (None, None) == (history.newest("k"), history.since("k", "1"))
    assert [] == filled(history, item("3", "2")).since("k", "3")


def test_the_total_is_bounded_and_the_oldest_goes() -> None:
    history = filled(History(total=3 * ITEM_OVERHEAD), item("1"), key="a")
    filled(history, *chain(1, 5), key="b")
    assert 2 == history.forgotten
    assert history.since("a", "1") is None
    assert chain(2, 5) == history.since("b", "1")


def test_without_items_there_are_moments_only() -> None:
    history = filled(History(items_max=0), *chain(1, 3))
    assert (2, None, []) == (history.serial, history.newest("k"), history.arrived("k", 0))


@pytest.mark.parametrize(
    ("formats", "expected"),
    [
        ({}, 0),
        ({"stream": HttpStream("send", b"12345")}, 5),
        ({"message": WsMessage("send", content=b"1234")}, 4),
        ({"response": HttpResponse("send", fields=((b"A", b"b"),), body=b"123")}, 5),
        ({"response": HttpResponse("send", patch=[{}])}, 4),
        ({"meta": {"a": "bc"}}, 3),
    ],
)
def test_size_of_counts_what_is_large(formats: dict[str, Any], expected: int) -> None:
    assert ITEM_OVERHEAD + expected == size_of(Item("c", **formats))


# --- anything at all

IDS = st.none() | st.integers(0, 6).map(str)
ITEMS = st.lists(st.tuples(st.sampled_from("ab"), IDS, IDS, st.booleans(), st.floats(0, 30)), max_size=40)


@given(ITEMS)
def test_a_chain_has_no_gap_and_nothing_newer_is_left_out(
    items: list[tuple[str, str | None, str | None, bool, float]],
) -> None:
    history = History(items_max=4, total=6 * ITEM_OVERHEAD)
    now = 0.0
    for key, identifier, prev_id, no_seq, pause in items:
        now += pause
        history.expire(now)
        one = item(identifier, prev_id, no_seq)
        was_late = history.is_late(key, one)
        history.add(key, one, now)
        for last_id in map(str, range(7)):
            following = history.since(key, last_id)
            if following is None:
                continue
            previous = last_id
            for later in following:
                assert previous == later.prev_id
                assert later.id is not None
                previous = later.id
            if identifier is not None and not has_no_place(one) and not was_late:
                assert following == [] or following[-1] == one
                assert following or last_id == identifier


# --- other bounds


def test_another_time_counts_for_what_is_kept_too() -> None:
    history = filled(History(60.0), *chain(1, 3))
    history.configure(10.0, 100, 1 << 20)
    assert ("2", 0.0, False) == history.newest("k"), "when it came does not change"
    filled(history, item("3", "2"), now=5.0)
    history.expire(10.0)
    assert ([item("3", "2")], None) == (history.since("k", "2"), history.since("k", "0"))
    assert not history.arrived("k", 3)


def test_fewer_items_are_kept_from_the_next_one_on() -> None:
    history = filled(History(), *chain(1, 9))
    history.configure(60.0, 2, 1 << 20)
    filled(history, item("9", "8"))
    assert chain(8, 10) == history.since("k", "7")
    assert history.since("k", "6") is None


def test_who_keeps_nothing_any_more_pretends_nothing() -> None:
    """Without the next item, the newest kept one would seem to be the newest of all."""
    history = filled(History(), *chain(1, 3))
    history.configure(60.0, 0, 1 << 20)
    filled(history, item("3", "2"))
    assert (None, 2, 3) == (history.since("k", "2"), history.expired, history.serial)


def test_behind_a_break_only_what_came_since_is_known() -> None:
    """2 and 3 went out before 1, and that was forgotten: who is at 0 lacks more than 1."""
    history = filled(History(items_max=1), item("2", "1"), item("3", "2"))
    history.break_chains()
    filled(history, item("1", "0"))
    assert (None, []) == (history.since("k", "0"), history.since("k", "1"))


def test_what_the_total_bound_pushes_out_is_expired() -> None:
    """Of its channel nothing may be left, so only the number tells that something was there."""
    history = History(total=2 * ITEM_OVERHEAD)
    for serial in range(1, 4):
        history.add(f"channel-{serial}", item(str(serial)), 0.0)
    assert (1, 1) == (history.expired, history.forgotten)
