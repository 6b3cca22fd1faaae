"""Order, duplicates and history of items; the clock is a number."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.grip.item import HttpResponse, HttpStream, Item, WsMessage
from gripproxy.grip.sequencer import ITEM_OVERHEAD, Sequencer, size_of


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
    sequencer.push("k", item("3", "2"), 2.0, True)
    assert [] == sequencer.due(5.9)
    assert [("k", item("4", "3"))] == sequencer.due(6.0)
    assert [("k", item("3", "2"))] == sequencer.due(7.0)
    assert (None, 2) == (sequencer.deadline, sequencer.overtakers)


def test_those_that_waited_for_a_late_item_follow_it() -> None:
    sequencer = filled(Sequencer(), item("1"))
    sequencer.push("k", item("3", "2"), 1.0, True)
    sequencer.push("k", item("4", "3"), 2.0, True)
    assert [("k", item("3", "2")), ("k", item("4", "3"))] == sequencer.due(6.0)
    assert (None, "4", 1) == (sequencer.deadline, sequencer.last_id("k"), sequencer.overtakers)


def test_no_seq_leaves_the_order_alone() -> None:
    sequencer = filled(Sequencer(), item("1"), item("9", "8", no_seq=True), item("2", "1"))
    assert "2" == sequencer.last_id("k")


def test_without_subscribers_there_is_no_order_and_no_last_id() -> None:
    sequencer = Sequencer()
    for one in (item("3", "2"), item("1"), item("2", "1")):
        assert [one] == sequencer.push("k", one, 0.0, False)
    assert sequencer.last_id("k") is None


def test_forget_drops_the_last_id_and_what_waits() -> None:
    sequencer = filled(Sequencer(), item("1"))
    sequencer.push("k", item("3", "2"), 0.0, True)
    sequencer.forget("k")
    sequencer.forget("unknown")
    assert (None, None) == (sequencer.last_id("k"), sequencer.deadline)
    assert [] == sequencer.due(100.0)


def test_forget_last_id_leaves_what_waits() -> None:
    sequencer = filled(Sequencer(), item("1"))
    sequencer.push("k", item("3", "2"), 0.0, True)
    sequencer.forget_last_id("k")
    assert (None, 5.0) == (sequencer.last_id("k"), sequencer.deadline)
    assert [item("2", "1"), item("3", "2")] == sequencer.push("k", item("2", "1"), 0.0, True)


def test_clear_forgets_all_last_ids_and_the_history() -> None:
    sequencer = filled(Sequencer(), *chain(1, 3))
    sequencer.push("k", item("9", "8"), 0.0, True)
    sequencer.clear()
    assert (None, None, 5.0) == (sequencer.last_id("k"), sequencer.since("k", "1"), sequencer.deadline)
    assert [("k", item("9", "8"))] == sequencer.due(5.0)


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
    for number in (3, 4, 5):
        assert [] == sequencer.push("k", item(str(number), str(number - 1)), 0.0, True)
    assert 1 == sequencer.overflowed
    assert chain(2, 5) == sequencer.push("k", item("2", "1"), 0.0, True)
    assert [item("5", "4")] == sequencer.push("k", item("5", "4"), 0.0, True), "the dropped one may be published again"


def test_only_one_item_waits_for_a_predecessor() -> None:
    sequencer = filled(Sequencer(), item("1"))
    sequencer.push("k", item("3", "2"), 0.0, True)
    assert [] == sequencer.push("k", item("4", "2"), 0.0, True)
    assert 1 == sequencer.overflowed
    assert [item("2", "1"), item("3", "2")] == sequencer.push("k", item("2", "1"), 0.0, True)


def test_waiting_items_are_bounded_in_bytes() -> None:
    sequencer = Sequencer(pending_total=2 * ITEM_OVERHEAD)
    for key in "abc":
        filled(sequencer, item("1"), key=key)
        sequencer.push(key, item("3", "2"), 0.0, True)
    assert 1 == sequencer.overflowed
    assert ["a", "b"] == [key for key, _ in sequencer.due(5.0)]
    sequencer.push("c", item("4", "2"), 6.0, True)
    assert 1 == sequencer.overflowed, "those that went out make room"


def test_last_ids_are_bounded_and_the_least_recent_goes() -> None:
    sequencer = Sequencer(last_ids_max=2)
    for key, identifier in (("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")):
        filled(sequencer, item(identifier), key=key)
    assert ["2", None, "1"] == [sequencer.last_id(key) for key in "abc"]
    assert 1 == sequencer.forgotten_last_ids


# --- history


def test_since_is_what_came_after_an_id() -> None:
    sequencer = filled(Sequencer(), *chain(1, 5))
    assert chain(3, 5) == sequencer.since("k", "2")
    assert [] == sequencer.since("k", "4")
    assert chain(1, 5) == sequencer.since("k", "0"), "the oldest item says what it follows"
    assert sequencer.since("k", "9") is None
    assert sequencer.since("unknown", "1") is None


def test_since_survives_the_last_subscriber_and_their_absence() -> None:
    sequencer = filled(Sequencer(), *chain(1, 3))
    sequencer.forget("k")
    sequencer.push("k", item("3", "2"), 1.0, False)
    assert chain(2, 4) == sequencer.since("k", "1")


@pytest.mark.parametrize("breaker", [item(), item("9", "8")])
def test_since_does_not_reach_over_a_gap(breaker: Item) -> None:
    sequencer = filled(Sequencer(), item("1"))
    sequencer.push("k", breaker, 0.0, False)
    sequencer.push("k", item("10", "9"), 0.0, False)
    assert sequencer.since("k", "1") is None
    assert [item("10", "9")] == sequencer.since("k", "9")


def test_an_overtaker_breaks_the_history() -> None:
    sequencer = filled(Sequencer(), item("1"))
    sequencer.push("k", item("3", "2"), 0.0, True)
    sequencer.due(5.0)
    assert sequencer.since("k", "1") is None
    assert [item("3", "2")] == sequencer.since("k", "2")


def test_no_seq_items_are_not_kept() -> None:
    sequencer = filled(Sequencer(), item("1"), item("x", no_seq=True), item("2", "1"))
    assert [item("2", "1")] == sequencer.since("k", "1")
    assert sequencer.since("k", "x") is None


def test_history_is_kept_for_a_minute() -> None:
    sequencer = filled(Sequencer(), *chain(1, 3))
    filled(sequencer, item("3", "2"), now=30.0)
    filled(sequencer, item("1"), key="other", now=60.0)
    assert [item("3", "2")] == sequencer.since("k", "2")
    assert sequencer.since("k", "1") is None
    filled(sequencer, item("2"), key="other", now=90.0)
    assert sequencer.since("k", "2") is None
    assert [] == sequencer.since("k", "3"), "it is still the newest"
    assert 0 == sequencer.forgotten_history


def test_history_of_a_channel_is_bounded_in_items_and_bytes() -> None:
    sequencer = filled(Sequencer(history_items=2), *chain(1, 5))
    assert chain(3, 5) == sequencer.since("k", "2")
    assert sequencer.since("k", "1") is None
    sequencer = filled(Sequencer(history_bytes=2 * ITEM_OVERHEAD), *chain(1, 5))
    assert chain(3, 5) == sequencer.since("k", "2")
    assert sequencer.since("k", "1") is None


def test_an_item_that_is_too_large_empties_the_history() -> None:
    sequencer = filled(Sequencer(history_bytes=5000), item("1"), item("2", "1", size=5000))
    assert sequencer.since("k", "1") is None
    assert [] == sequencer.since("k", "2")


def test_history_is_bounded_over_all_channels_and_the_oldest_goes() -> None:
    sequencer = Sequencer(history_total=3 * ITEM_OVERHEAD)
    filled(sequencer, item("1"), key="a")
    filled(sequencer, *chain(1, 4), key="b")
    filled(sequencer, item("4", "3"), key="b")
    assert 2 == sequencer.forgotten_history
    assert [] == sequencer.since("a", "1"), "its last id is known still"
    assert chain(2, 5) == sequencer.since("b", "1")


def test_no_history_at_all() -> None:
    sequencer = filled(Sequencer(history_items=0), *chain(1, 3))
    assert (None, []) == (sequencer.since("k", "1"), sequencer.since("k", "2"))


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
            assert one.prev_id in (None, previous)
            previous = one.id
    out += len(sequencer.due(now + 100))
    assert len(pushes) == out + sequencer.duplicates + sequencer.overflowed
    assert sequencer.deadline is None
    assert [] == sequencer.due(now + 1000)
