"""Order by ids and prev-ids, and duplicates, before anybody is reached."""

import time

import pytest

from tests.conformance.case import Case, held


@pytest.mark.grip("order and duplicates")
def test_duplicates_are_dropped(case: Case) -> None:
    """An id that was published on the channel a moment ago is not delivered again."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.say("a", id="1")
    case.say("duplicate", id="1")
    case.say("b", id="2")
    assert b"ab" == connection.read_data(2)


@pytest.mark.grip("order and duplicates")
def test_ids_belong_to_channels(case: Case) -> None:
    """The same id on another channel is another item."""
    case.answer(held(f"{case.channel}-1, {case.channel}-2"))
    connection = case.stream()
    case.say("a", id="1", channel=case.channel + "-1")
    case.say("b", id="1", channel=case.channel + "-2")
    assert b"ab" == connection.read_data(2)


@pytest.mark.grip("order and duplicates")
def test_duplicates_in_one_batch_are_dropped(case: Case) -> None:
    """A duplicate within one publish is dropped, too."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.say("a", "a", id="1")
    case.say("b", id="2")
    assert b"ab" == connection.read_data(2)


@pytest.mark.grip("order and duplicates")
def test_order_is_restored(case: Case) -> None:
    """Items that came out of order are delivered in the order that their prev-ids tell."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.say("1", id="1")
    case.say("3", id="3", prev_id="2")
    case.say("4", id="4", prev_id="3")
    case.say("2", id="2", prev_id="1")
    assert b"1234" == connection.read_data(4)


@pytest.mark.grip("order and duplicates")
def test_first_item_needs_no_predecessor(case: Case) -> None:
    """The first item of a channel is delivered whatever its prev-id."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.say("x", id="8", prev_id="7")
    assert b"x" == connection.read_data(1)


@pytest.mark.grip("order and duplicates: message_wait")
def test_missing_item_is_waited_for(case: Case) -> None:
    """An item whose predecessor does not come waits about five seconds and is then delivered."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.say("1", id="1")
    assert b"1" == connection.read_data(1)
    started = time.monotonic()
    case.say("3", id="3", prev_id="2")
    assert not connection.readable(1.0)
    assert b"3" == connection.read_data(1)
    assert 3.5 < time.monotonic() - started < 10


@pytest.mark.grip("order and duplicates: no-seq")
def test_no_seq_passes_the_queue(case: Case) -> None:
    """An item with no-seq is delivered at once, gap or not."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.say("1", id="1")
    case.say("3", id="3", prev_id="2", no_seq=True)
    case.say("2", id="2", prev_id="1")
    assert b"132" == connection.read_data(3)


@pytest.mark.grip("order and duplicates")
def test_item_without_id_breaks_the_sequence(case: Case) -> None:
    """An item without an id makes the channel forget its last id, so that any item may follow."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.say("1", id="1")
    case.say("x")
    case.say("9", id="9", prev_id="8")
    assert b"1x9" == connection.read_data(3)


@pytest.mark.grip("order and duplicates")
def test_item_without_prev_id_is_not_held_back(case: Case) -> None:
    """An item without a prev-id follows anything."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.say("1", id="1")
    case.say("5", id="5")
    case.say("6", id="6", prev_id="5")
    assert b"156" == connection.read_data(3)


@pytest.mark.grip("order and duplicates")
def test_late_item_is_not_held_back(case: Case) -> None:
    """An item without which the one behind it was delivered already does not wait for anything."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.say("4", id="4", prev_id="3")
    case.say("3", id="3", prev_id="2")
    case.say("5", id="5", prev_id="4")
    assert connection.readable(2)
    assert b"435" == connection.read_data(3)


@pytest.mark.slow
@pytest.mark.grip("order and duplicates: message_wait")
def test_items_that_waited_keep_their_order(case: Case) -> None:
    """Items whose predecessor does not come are delivered in the order of their ids, each once."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.say("1", id="1")
    for number in (5, 4, 3):
        case.say(str(number), id=str(number), prev_id=str(number - 1))
    assert b"1345" == connection.read_data(4)
    case.say("2", id="2", prev_id="1")
    case.say("6", id="6", prev_id="5")
    assert b"2" in connection.read_data(1) + connection.read_data(1)
