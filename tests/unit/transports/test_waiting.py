"""The items of a stream that wait for a link, and which of them an answer settles."""

import pytest

from gripproxy.grip.item import Item
from gripproxy.transports.waiting import Waiting
from tests.unit.transports.world import item


def test_items_leave_in_the_order_in_which_they_came() -> None:
    waiting = Waiting()
    assert (0, []) == (len(waiting), waiting.take())
    first, second = ("c", item("1"), 4), ("d", item("2"), 5)
    waiting.put(*first)
    waiting.put(*second)
    assert 2 == len(waiting)
    assert [first, second] == waiting.take()
    assert (0, []) == (len(waiting), waiting.take())


def test_the_oldest_makes_room() -> None:
    waiting = Waiting()
    waiting.put("c", item("1"), 4)
    waiting.put("d", item("2"), 5)
    assert ("c", item("1")) == waiting.drop_oldest()
    assert [("d", item("2"), 5)] == waiting.take()


@pytest.mark.parametrize(
    ("one", "believed", "is_settled"),
    [
        (item("3", "2"), {"c"}, False),  # follows what the client has
        (item("5", "4"), {"c"}, True),
        (item("5", "4"), set(), False),
        (item(content="x"), set(), True),  # without id it is in the answer, or nobody can tell
        (item(content="x", no_seq=True), {"c"}, False),
        (item("5", "4", channel="d"), {"c"}, False),  # not reliable
    ],
)
def test_an_answer_settles_what_had_come_before_it_was_asked_for(
    one: Item, believed: set[str], is_settled: bool
) -> None:
    waiting = Waiting()
    waiting.put(one.channel, one, 7)
    waiting.put(one.channel, one, 8)
    waiting.settle(7, {"c": "2"}, believed, has_link=True)
    assert [(one.channel, one, moment) for moment in ((8,) if is_settled else (7, 8))] == waiting.take()


@pytest.mark.parametrize("has_link", [True, False])
def test_a_hint_is_settled_by_the_answer_of_a_link(has_link: bool) -> None:
    waiting = Waiting()
    waiting.put("d", item("1", action="hint", channel="d"), 7)
    waiting.settle(7, {}, set(), has_link=has_link)
    assert (0 if has_link else 1) == len(waiting)
