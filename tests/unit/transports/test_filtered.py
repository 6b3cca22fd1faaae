"""A stream whose items go through filters: in order, also where a filter asks, and never without end."""

from typing import Any

import pytest

from gripproxy.config import Limits
from gripproxy.errors import FilterError
from gripproxy.grip.instruct import Channel
from gripproxy.grip.item import HttpStream, Item
from gripproxy.transports import Done
from gripproxy.transports.line import WAITING_MAX as LINE_MAX
from tests.unit.transports.world import World, answer, follow, item, streaming, written


@pytest.fixture
def world() -> World:
    return World()


def test_filters_see_each_item_where_it_stands(world: World) -> None:
    """An id that is built into an item is the one of that item, also when several come at once."""
    moments = world.moments()
    for number in (2, 3):
        stream = HttpStream("send", b"%I;", ("build-id",))
        world.publish(Item("c", str(number), str(number - 1), stream=stream))
    hold = world.linked(streaming(Channel("c", "1", ("build-id",)), meta={"id_format": "c:%(c)s"}), moments)
    assert b"c:2;c:3;" == written(hold)


def test_filters_skip_items_but_not_their_place(world: World) -> None:
    meta = {"user": "alice"}
    hold = world.linked(streaming(Channel("c", "1", ("skip-self", "var-subst")), meta=meta))
    world.publish(item("2", "1", sender="alice"), item("3", "2", "%(nobody)s"), item("4", "3", "%(user)s"))
    assert (b"alice", []) == (written(hold), world.outcomes)


def test_a_close_is_filtered_too(world: World) -> None:
    hold = world.linked(streaming(Channel("c", filters=("require-sub",)), "d"))
    world.publish(item(action="close", require_sub="other"))
    assert [] == world.outcomes
    world.publish(item(action="close", require_sub="d"))
    assert (Done("closed"), True) == (world.take_outcome(), hold.connection is None)


def test_an_answer_is_written_as_it_comes(world: World) -> None:
    """Its filters were applied before: a percent sign must not be looked at twice."""
    hold = world.linked(streaming(Channel("c", filters=("build-id",)), meta={"id_format": "x"}))
    world.publish(item(action="hint"))
    follow(world)
    answer(world, hold, streaming(Channel("c", filters=("build-id",)), body=b"100%", meta={"id_format": "x"}))
    assert b"100%" == written(hold)


CHECKED = Channel("c", "1", ("skip-self", "http-check", "http-modify", "var-subst"))
META = {"user": "alice", "url": "/check"}


def test_a_filter_may_ask(world: World) -> None:
    hold = world.linked(streaming(CHECKED, meta=META))
    world.publish(item("2", "1", "two for %(user)s", kind="x"))
    assert b"" == written(hold)
    url, fields, body = world.reply((200, (), b"ignored"))
    expected = (
        (b"Sub-Meta", b'{"user":"alice","url":"/check"}'),
        (b"Pub-Meta", b'{"kind":"x"}'),
        (b"Grip-Last", b"c; last-id=2"),
    )
    assert ("/check", expected, b"") == (url, fields, body)
    assert b"two for %(user)s" == world.reply((200, (), b"TWO for %(user)s"))[2]
    assert b"TWO for alice" == written(hold)


def test_everything_waits_for_a_filter_that_asks(world: World) -> None:
    hold = world.linked(streaming(CHECKED, "d", meta=META))
    for one in (item("2", "1"), item(content="d", channel="d"), item("3", "2"), item(action="close", channel="d")):
        world.publish(one)
    assert (b"", 1, []) == (written(hold), len(world.questions), world.outcomes)
    world.reply((204, (), b""))
    transport: Any = hold.connection
    world.reply((204, (), b""))
    assert (b"2d", 1) == (transport.take(), len(world.questions))
    world.reply((200, ((b"Action", b"drop"),), b""))
    assert (b"", Done("closed")) == (transport.take(), world.take_outcome())


@pytest.mark.parametrize("reply", [(404, (), b""), FilterError("no answer")])
def test_a_filter_without_a_good_answer_skips_the_item(world: World, reply: Any) -> None:
    hold = world.linked(streaming(CHECKED, meta=META))
    world.publish(item("2", "1"), item("3", "2", sender="alice"), item("4", "3"))
    world.reply(reply)
    world.reply((204, (), b""))
    world.reply((204, (), b""))
    assert (b"4", []) == (written(hold), world.questions)


def test_the_answer_of_a_link_waits_its_turn(world: World) -> None:
    hold = world.linked(streaming(CHECKED, meta=META))
    world.publish(item("2", "1"), item(action="hint"))
    follow(world)
    answer(world, hold, streaming(Channel("c", "3"), body=b" three "))
    world.publish(item("4", "3"))
    assert b"" == written(hold)
    world.reply((204, (), b""))
    world.reply((204, (), b""))
    assert b"2 three 4" == written(hold)


def test_too_much_that_waits_for_a_filter_cuts_the_stream(world: World) -> None:
    hold = world.linked(streaming(CHECKED, meta=META))
    transport: Any = hold.connection
    world.publish(*(item(str(number), str(number - 1)) for number in range(2, 2 + LINE_MAX)))
    assert [] == world.outcomes
    world.publish(item(str(2 + LINE_MAX), str(1 + LINE_MAX)))
    assert (Done("filter"), "closed") == (world.take_outcome(), transport.closing)
    world.reply((204, (), b""))
    assert ([], b"") == (world.questions, transport.take())


def test_the_answer_to_a_client_that_has_left_is_not_used(world: World) -> None:
    hold = world.linked(streaming(CHECKED, meta=META))
    transport: Any = hold.connection
    world.publish(item("2", "1"), item("3", "2"))
    transport.leave()
    world.reply((204, (), b""))
    assert ([], b"") == (world.questions, transport.take())


def test_what_filters_have_under_way_for_a_slow_client_has_an_end() -> None:
    world = World(Limits(unsent=10))
    hold = world.linked(streaming(CHECKED, "d", meta=META))
    transport: Any = hold.connection
    transport.stall(0)
    world.publish(*(item(str(number), str(number - 1), "12345;") for number in range(2, 7)))
    transport.stall(11)
    for expected in (b"12345;", b"12345;", b"12345;"):
        assert [] == world.outcomes
        world.reply((204, (), b""))
        world.reply((204, (), b""))
        assert expected == transport.take()
        if transport.closing:
            break
    assert (Done("slow"), "aborted") == (world.take_outcome(), transport.closing)
