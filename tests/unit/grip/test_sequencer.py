"""Order and duplicates of items; the clock is a number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.grip.history import ITEM_OVERHEAD
from gripproxy.grip.item import HttpStream, Item
from gripproxy.grip.sequencer import Sequencer


def item(identifier: str | None = None, prev_id: str | None = None, no_seq: bool = False, size: int = 0) -> Item:
    """An item with these ids and so many bytes of content."""
    return Item("c", identifier, prev_id, stream=HttpStream("send", b"x" * size), no_seq=no_seq)


def chain(start: int, stop: int) -> list[Item]:
    """Items that follow one another: ids start to stop - 1."""
    return [item(str(number), str(number - 1)) for number in range(start, stop)]


def filled(sequencer: Sequencer, *items: Item, key: str = "k", now: float = 0.0) -> Sequencer:
    """The sequencer after these items went out."""
    for one in items:
        assert [one] == sequencer.push(key, one, now, True)
    return sequencer


# --- order


def test_the_first_item_of_a_channel_goes_out_at_once() -> None:
    assert [item("5", "4")] == Sequencer().push("k", item("5", "4"), 0.0, True)


def test_items_in_order_go_out_at_once() -> None:
    sequencer = filled(Sequencer(), *chain(1, 5))
    assert ("4", None) == (sequencer.last_id("k"), sequencer.deadline)


def test_items_without_ids_go_out_at_once_and_forget_the_last_id() -> None:
    sequencer = filled(Sequencer(), item("1"), item(), item("9", "8"))
    assert "9" == sequencer.last_id("k")


def test_an_item_without_prev_id_goes_out_at_once() -> None:
    assert "7" == filled(Sequencer(), item("1"), item("7")).last_id("k")


def test_an_item_waits_for_its_predecessor_and_then_follows_it() -> None:
    sequencer = filled(Sequencer(), item("1"))
    assert [] == sequencer.push("k", item("4", "3"), 1.0, True)
    assert [] == sequencer.push("k", item("3", "2"), 2.0, True)
    assert 6.0 == sequencer.deadline
    assert [item("2", "1"), item("3", "2"), item("4", "3")] == sequencer.push("k", item("2", "1"), 3.0, True)
    assert ("4", None, 0) == (sequencer.last_id("k"), sequencer.deadline, sequencer.overtakers)


def test_channels_do_not_wait_for_one_another() -> None:
    sequencer = filled(Sequencer(), item("1"), key="a")
    assert [] == sequencer.push("a", item("3", "2"), 0.0, True)
    assert [item("3", "2")] == sequencer.push("b", item("3", "2"), 0.0, True)
    assert ("1", "3") == (sequencer.last_id("a"), sequencer.last_id("b"))


def test_an_item_goes_out_without_its_predecessor_when_its_wait_is_over() -> None:
    sequencer = filled(Sequencer(), item("1"))
    sequencer.push("k", item("4", "3"), 1.0, True)
    sequencer.push("k", item("7", "6"), 2.0, True)
    assert [] == sequencer.due(5.9)
    assert [("k", item("4", "3"))] == sequencer.due(6.0)
    assert [("k", item("7", "6"))] == sequencer.due(7.0)
    assert (None, 2) == (sequencer.deadline, sequencer.overtakers)


def test_an_item_whose_wait_is_over_goes_out_behind_those_that_it_waits_for() -> None:
    sequencer = filled(Sequencer(), item("1"))
    for number, now in ((5, 1.0), (4, 2.0), (3, 3.0), (6, 4.0)):
        assert [] == sequencer.push("k", item(str(number), str(number - 1)), now, True)
    assert [("k", one) for one in chain(3, 7)] == sequencer.due(6.0)
    assert (None, "6", 1) == (sequencer.deadline, sequencer.last_id("k"), sequencer.overtakers)


def test_items_that_wait_for_each_other_in_a_circle_go_out() -> None:
    sequencer = filled(Sequencer(), item("1"))
    for one in (item("3", "2"), item("2", "4"), item("4", "3")):
        assert [] == sequencer.push("k", one, 0.0, True)
    assert ["3", "4", "2"] == [one.id for _, one in sequencer.due(5.0)]


def test_those_that_waited_for_a_late_item_follow_it() -> None:
    sequencer = filled(Sequencer(), item("1"))
    sequencer.push("k", item("3", "2"), 1.0, True)
    sequencer.push("k", item("4", "3"), 2.0, True)
    assert [("k", item("3", "2")), ("k", item("4", "3"))] == sequencer.due(6.0)
    assert (None, "4", 1) == (sequencer.deadline, sequencer.last_id("k"), sequencer.overtakers)


def test_no_seq_leaves_the_order_alone() -> None:
    sequencer = filled(Sequencer(), item("1"), item("9", "8", no_seq=True), item("2", "1"))
    assert "2" == sequencer.last_id("k")


def test_no_seq_that_follows_is_in_the_order() -> None:
    sequencer = filled(Sequencer(), item("1"), item("2", "1", no_seq=True), item("3", "2"))
    assert "3" == sequencer.last_id("k")


def test_an_item_that_comes_after_its_successor_went_out_goes_out_at_once() -> None:
    sequencer = filled(Sequencer(), item("1"))
    sequencer.push("k", item("3", "2"), 0.0, True)
    assert [("k", item("3", "2"))] == sequencer.due(5.0)
    assert [item("2", "1")] == sequencer.push("k", item("2", "1"), 6.0, True)
    assert [item("4", "3")] == sequencer.push("k", item("4", "3"), 6.0, True)


def test_without_subscribers_what_comes_together_is_put_in_order() -> None:
    sequencer = Sequencer()
    assert [item("1")] == sequencer.push("k", item("1"), 0.0, False)
    assert [] == sequencer.push("k", item("3", "2"), 1.0, False)
    assert [item("2", "1"), item("3", "2")] == sequencer.push("k", item("2", "1"), 2.0, False)
    assert chain(2, 4) == sequencer.since("k", "1")


def test_without_subscribers_nothing_waits_for_what_is_long_over() -> None:
    sequencer = Sequencer()
    sequencer.push("k", item("1"), 0.0, False)
    assert [item("9", "8")] == sequencer.push("k", item("9", "8"), 5.1, False)


def test_the_first_subscriber_finds_the_last_id_of_the_history() -> None:
    sequencer = Sequencer()
    sequencer.push("k", item("1"), 0.0, False)
    assert "1" == sequencer.last_id("k")
    assert [] == sequencer.push("k", item("3", "2"), 59.0, True)
    assert [item("2", "1"), item("3", "2")] == sequencer.push("k", item("2", "1"), 59.0, True)


def test_forget_forgets_the_last_id_and_leaves_what_waits() -> None:
    sequencer = filled(Sequencer(history_items=0), item("1"))
    sequencer.push("k", item("3", "2"), 0.0, True)
    sequencer.forget("k")
    sequencer.forget("unknown")
    assert (None, 5.0) == (sequencer.last_id("k"), sequencer.deadline)
    assert [item("2", "1"), item("3", "2")] == sequencer.push("k", item("2", "1"), 0.0, True)


def test_clear_forgets_all_last_ids_and_the_history() -> None:
    sequencer = filled(Sequencer(), *chain(1, 3))
    sequencer.push("k", item("9", "8"), 0.0, True)
    sequencer.clear()
    assert (None, None, 5.0) == (sequencer.last_id("k"), sequencer.since("k", "1"), sequencer.deadline)
    assert chain(1, 3) == sequencer.arrived("k", 0)
    assert [("k", item("9", "8"))] == sequencer.due(5.0)


def test_clear_may_concern_some_channels_alone() -> None:
    sequencer = Sequencer()
    for key in ("a", "b"):
        filled(sequencer, *chain(1, 3), key=key)
    sequencer.clear(lambda key: key == "a")
    assert (None, None) == (sequencer.last_id("a"), sequencer.since("a", "1"))
    assert ("2", chain(2, 3)) == (sequencer.last_id("b"), sequencer.since("b", "1"))


# --- duplicates


def test_an_id_is_taken_once_in_a_minute() -> None:
    sequencer = filled(Sequencer(), item("1"))
    assert [] == sequencer.push("k", item("1"), 59.9, True)
    assert [item("1")] == sequencer.push("k", item("1"), 60.0, True)
    assert 1 == sequencer.duplicates


@pytest.mark.parametrize(("no_seq", "has_subscribers"), [(True, True), (False, False)])
def test_duplicates_are_dropped_whatever_the_order(no_seq: bool, has_subscribers: bool) -> None:
    sequencer = Sequencer()
    one = item("1", no_seq=no_seq)
    assert [one] == sequencer.push("k", one, 0.0, has_subscribers)
    assert [] == sequencer.push("k", one, 0.0, has_subscribers)


def test_a_waiting_item_is_seen_already() -> None:
    sequencer = filled(Sequencer(), item("1"))
    assert [] == sequencer.push("k", item("3", "2"), 0.0, True)
    assert [] == sequencer.push("k", item("3", "2"), 0.0, True)
    assert (1, 0) == (sequencer.duplicates, sequencer.overflowed)


def test_ids_are_of_a_channel_and_items_without_id_are_no_duplicates() -> None:
    sequencer = filled(Sequencer(), item("1"), key="a")
    filled(sequencer, item("1"), item(), item(), key="b")
    assert 0 == sequencer.duplicates


def test_no_duplicates_are_known_without_a_time_for_them() -> None:
    filled(Sequencer(duplicate_ttl=0), item("1"), item("1"))


def test_the_table_of_ids_is_bounded_and_the_oldest_goes() -> None:
    sequencer = filled(Sequencer(duplicates_max=2), item("1"), item("2"), item("3"))
    assert 1 == sequencer.forgotten_duplicates
    assert [] == sequencer.push("k", item("2"), 0.0, True)
    assert [item("1")] == sequencer.push("k", item("1"), 0.0, True)


# --- bounds


def test_only_so_many_items_of_a_channel_wait() -> None:
    sequencer = filled(Sequencer(pending_max=2), item("1"))
    for number in (3, 4):
        assert [] == sequencer.push("k", item(str(number), str(number - 1)), 0.0, True)
    assert chain(3, 6) == sequencer.push("k", item("5", "4"), 0.0, True), "then they go out, rather than be lost"
    assert 1 == sequencer.overflowed
    assert "5" == sequencer.last_id("k")
    assert sequencer.deadline is None


def test_items_for_which_there_is_no_room_go_out_in_order() -> None:
    sequencer = filled(Sequencer(pending_max=2), item("1"))
    for number in (4, 3):
        assert [] == sequencer.push("k", item(str(number), str(number - 1)), 0.0, True)
    assert chain(3, 6) == sequencer.push("k", item("5", "4"), 0.0, True)


def test_only_one_item_waits_for_a_predecessor() -> None:
    sequencer = filled(Sequencer(), item("1"))
    sequencer.push("k", item("3", "2"), 0.0, True)
    assert [item("3", "2"), item("4", "2")] == sequencer.push("k", item("4", "2"), 0.0, True)
    assert 1 == sequencer.overflowed


def test_waiting_items_are_bounded_in_bytes() -> None:
    sequencer = Sequencer(pending_total=2 * ITEM_OVERHEAD)
    for key in "abc":
        filled(sequencer, item("1"), key=key)
        assert key == "c" or [] == sequencer.push(key, item("3", "2"), 0.0, True)
    assert [item("3", "2")] == sequencer.push("c", item("3", "2"), 0.0, True)
    assert 1 == sequencer.overflowed
    assert ["a", "b"] == [key for key, _ in sequencer.due(5.0)]
    sequencer.push("c", item("5", "4"), 6.0, True)
    assert 1 == sequencer.overflowed, "those that went out make room"


def test_last_ids_are_bounded_and_the_least_recent_goes() -> None:
    sequencer = Sequencer(last_ids_max=2, history_items=0)
    for key, identifier in (("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")):
        filled(sequencer, item(identifier), key=key)
    assert ["2", None, "1"] == [sequencer.last_id(key) for key in "abc"]
    assert 1 == sequencer.forgotten_last_ids


# --- history


def test_since_is_what_came_after_an_id() -> None:
    sequencer = filled(Sequencer(), *chain(1, 5))
    assert chain(3, 5) == sequencer.since("k", "2")
    assert [] == sequencer.since("k", "4")
    assert sequencer.since("k", "9") is None
    assert sequencer.since("unknown", "1") is None


def test_since_survives_the_last_subscriber_and_their_absence() -> None:
    sequencer = filled(Sequencer(), *chain(1, 3))
    sequencer.forget("k")
    sequencer.push("k", item("3", "2"), 1.0, False)
    assert chain(2, 4) == sequencer.since("k", "1")


@pytest.mark.parametrize("breaker", [item("9", "8"), item("9")])
def test_since_does_not_reach_over_a_gap(breaker: Item) -> None:
    sequencer = filled(Sequencer(), item("1"))
    sequencer.push("k", breaker, 10.0, False)
    sequencer.push("k", item("10", "9"), 10.0, False)
    assert sequencer.since("k", "1") is None
    assert [item("10", "9")] == sequencer.since("k", "9")


def test_an_overtaker_breaks_the_history() -> None:
    sequencer = filled(Sequencer(), item("1"))
    sequencer.push("k", item("3", "2"), 0.0, True)
    sequencer.due(5.0)
    assert sequencer.since("k", "1") is None
    assert [item("3", "2")] == sequencer.since("k", "2")


def test_the_newest_item_is_known_longer_than_the_history() -> None:
    sequencer = filled(Sequencer(), *chain(1, 3))
    filled(sequencer, item("1"), key="other", now=60.0)
    assert (None, []) == (sequencer.since("k", "1"), sequencer.since("k", "2"))


def test_no_history_at_all() -> None:
    sequencer = filled(Sequencer(history_items=0), *chain(1, 3))
    assert (None, [], []) == (sequencer.since("k", "1"), sequencer.since("k", "2"), sequencer.arrived("k", 0))


def test_history_that_a_bound_pushed_out_is_counted() -> None:
    sequencer = filled(Sequencer(history_total=3 * ITEM_OVERHEAD), *chain(1, 6))
    assert 2 == sequencer.forgotten_history


def test_every_item_that_goes_out_is_a_moment() -> None:
    sequencer = filled(Sequencer(), item("1"))
    moment = sequencer.serial
    sequencer.push("k", item("3", "2"), 0.0, True)
    assert [] == sequencer.arrived("k", moment)
    sequencer.push("k", item("2", "1"), 0.0, True)
    assert (chain(2, 4), [item("3", "2")]) == (sequencer.arrived("k", moment), sequencer.arrived("k", moment + 1))
    assert [] == sequencer.arrived("other", 0)


# --- anything at all

IDS = st.none() | st.integers(0, 9).map(str)
PUSHES = st.lists(
    st.tuples(st.sampled_from("ab"), IDS, IDS, st.booleans(), st.booleans(), st.floats(0, 4)), max_size=40
)


@given(PUSHES)
def test_every_item_goes_out_once_or_is_counted(
    pushes: list[tuple[str, str | None, str | None, bool, bool, float]],
) -> None:
    sequencer = Sequencer(
        pending_max=3, duplicates_max=5, last_ids_max=1, history_items=4, history_total=6 * ITEM_OVERHEAD
    )
    now, out = 0.0, 0
    for key, identifier, prev_id, no_seq, has_subscribers, pause in pushes:
        now += pause
        out += len(sequencer.due(now))
        out += len(sequencer.push(key, item(identifier, prev_id, no_seq), now, has_subscribers))
        assert sequencer.deadline is None or sequencer.deadline > now
        following = sequencer.since(key, prev_id or "")
        previous = prev_id
        for one in following or ():
            assert one.id is not None
            assert previous == one.prev_id
            previous = one.id
    out += len(sequencer.due(now + 100))
    assert len(pushes) == out + sequencer.duplicates
    assert sequencer.deadline is None
    assert [] == sequencer.due(now + 1000)


# --- other bounds


def configured(sequencer: Sequencer, **others: float) -> Sequencer:
    """The sequencer with other bounds than the usual ones."""
    bounds = {"wait": 5.0, "duplicate_ttl": 60.0, "history_ttl": 60.0, "history_items": 100, "history_bytes": 1 << 20}
    sequencer.configure(**{**bounds, **others})  # type: ignore[arg-type]
    return sequencer


def test_another_wait_counts_for_what_waits_too() -> None:
    sequencer = filled(Sequencer(), item("1"))
    assert [] == sequencer.push("k", item("3", "2"), 1.0, True)
    configured(sequencer, wait=1.0)
    assert [] == sequencer.push("k", item("5", "4"), 1.5, True)
    assert 2.0 == sequencer.deadline
    assert [("k", item("3", "2"))] == sequencer.due(2.0)
    assert [("k", item("5", "4"))] == sequencer.due(2.5)


def test_another_time_for_duplicates_counts_for_known_ids_too() -> None:
    sequencer = configured(filled(Sequencer(), item("1")), duplicate_ttl=10.0)
    assert [] == sequencer.push("k", item("1"), 9.0, True)
    assert [item("1")] == sequencer.push("k", item("1"), 10.0, True)
    assert [item("1")] == configured(sequencer, duplicate_ttl=0.0).push("k", item("1"), 11.0, True)


def test_the_history_gets_its_bounds() -> None:
    sequencer = configured(filled(Sequencer(), *chain(1, 4)), history_items=0)
    assert sequencer.since("k", "1") is None
