"""Streams with a link whose clients are slow: nothing is queued for them, and they miss nothing."""

from typing import Any

import pytest

from gripproxy.config import Limits
from gripproxy.grip.instruct import Channel, Instruct, KeepAlive, Link
from gripproxy.grip.item import Item
from gripproxy.transports import Done
from gripproxy.transports.lag import LOOK, PATIENCE
from gripproxy.transports.linked import LinkedStream
from gripproxy.transports.pace import GAP_SPREAD
from tests.unit.transports.world import World, answer, follow, item, streaming, written

SOON = GAP_SPREAD + 0.2
SLOW = Limits(unsent=10)


def stall(hold: LinkedStream) -> Any:
    """Have the client take nothing any more; the next 11 bytes are too many."""
    transport: Any = hold.connection
    transport.stall(0)
    return transport


def numbered(first: int, last: int, channel: str = "c") -> list[Item]:
    return [item(str(number), str(number - 1), f"{channel}{number};", channel=channel) for number in range(first, last)]


def shown(first: int, last: int, channel: str = "c") -> bytes:
    return b"".join(one.stream.content for one in numbered(first, last, channel) if one.stream is not None)


def test_a_slow_client_is_written_nothing_until_it_has_caught_up() -> None:
    world = World(SLOW)
    before = world.holds.metrics.recoveries["slow"]
    hold = world.linked(streaming(Channel("c", "1")))
    transport = stall(hold)
    world.publish(*numbered(2, 50))
    assert shown(2, 6) == written(hold), "no more than was too much"
    world.publish(*numbered(50, 60))
    world.advance(30)
    assert (b"", []) == (written(hold), world.outcomes)
    transport.go_on()
    world.publish(*numbered(60, 62))
    assert (shown(6, 62), []) == (written(hold), world.outcomes), "from memory, without asking"
    assert before + 1 == world.holds.metrics.recoveries["slow"]


def test_a_client_may_be_slow_again_and_again() -> None:
    """Also in the middle of what it is sent from memory."""
    world = World(SLOW)
    hold = world.linked(streaming(Channel("c", "1"), "d"))
    transport = stall(hold)
    for number in range(2, 40):
        world.publish(*numbered(number, number + 1), item(content=f"d{number};", channel="d"))
    got = b""
    while part := written(hold):
        got += part
        transport.go_on()
        transport.stall(0)
    ours, others = ([int(part[1:]) for part in got.split(b";") if part[:1] == one] for one in (b"c", b"d"))
    assert (list(range(2, 40)), list(range(2, 40))) == (ours, others)


def test_what_is_remembered_is_written_at_the_client_s_pace() -> None:
    world = World(SLOW)
    moments = world.moments()
    world.publish(*numbered(2, 40))
    hold = world.linked_at_body(streaming(Channel("c", "1")), moments)
    transport = stall(hold)
    hold.proceed(moments)
    assert shown(2, 6) == written(hold)
    transport.go_on()
    assert (shown(6, 40), []) == (written(hold), world.outcomes)


def test_what_a_slow_client_missed_is_asked_for_where_memory_does_not_reach() -> None:
    world = World(Limits(unsent=10, history_items=5))
    hold = world.linked(streaming(Channel("c", "1"), Channel("d", "1")))
    transport = stall(hold)
    world.publish(*numbered(2, 30), *numbered(2, 4, "d"))
    assert shown(2, 6) == written(hold)
    transport.go_on()
    assert shown(2, 4, "d") == written(hold), "what is in order goes out"
    world.advance(SOON)
    assert {"c": "5", "d": "3"} == follow(world).last_ids
    answer(world, hold, streaming(Channel("c", "29"), Channel("d", "3"), body=b"all;"))
    world.publish(*numbered(30, 31))
    assert b"all;c30;" == written(hold)


def test_what_has_no_place_in_the_order_comes_from_memory_too() -> None:
    world = World(SLOW)
    hold = world.linked(streaming(Channel("c", "1"), "d"))
    transport = stall(hold)
    loose = [item(content=f"d{number};", channel="d") for number in range(4)]
    world.publish(*numbered(2, 6), item(content="x;", no_seq=True), *loose, *numbered(6, 8))
    assert shown(2, 6) == written(hold)
    transport.go_on()
    assert sorted(b"x;c6;c7;d0;d1;d2;d3;".split(b";")) == sorted(written(hold).split(b";"))
    assert [] == world.outcomes


def test_a_slow_client_is_cut_where_nothing_would_show_what_it_missed(caplog: pytest.LogCaptureFixture) -> None:
    """A channel without ids, of which more came than is remembered."""
    world = World(Limits(unsent=10, history_items=3))
    hold = world.linked(streaming("d"))
    transport = stall(hold)
    world.publish(*(item(content=f"d{number};", channel="d") for number in range(20)))
    transport.go_on()
    assert (Done("slow"), "closed") == (world.take_outcome(), transport.closing)
    assert "'d' is not remembered that long" in caplog.text


def test_hints_for_a_slow_client_are_one_question() -> None:
    world = World(SLOW)
    hold = world.linked(streaming("c"))
    transport = stall(hold)
    world.publish(item(content="too much;;;"))
    for _ in range(200):
        world.publish(item(action="hint"))
    assert [] == world.outcomes
    transport.go_on()
    follow(world)


def test_a_hint_with_ids_is_asked_for_when_a_slow_client_has_caught_up() -> None:
    world = World(SLOW)
    hold = world.linked(streaming(Channel("c", "1")))
    transport = stall(hold)
    world.publish(*numbered(2, 6), item("6", "5", action="hint"), *numbered(7, 9))
    written(hold)
    transport.go_on()
    assert {"c": "5"} == follow(world).last_ids
    answer(world, hold, streaming(Channel("c", "6"), body=b"six;"))
    assert b"six;c7;c8;" == written(hold)


def test_an_answer_does_not_wait_for_a_slow_client() -> None:
    """It is thrown away, and asked for again."""
    world = World(SLOW)
    hold = world.linked(streaming(Channel("c", "1"), "d"))
    world.publish(item(action="hint"))
    follow(world)
    transport = stall(hold)
    world.publish(item(content="too much;;;", channel="d"))
    answer(world, hold, streaming(Channel("c", "2"), "d", body=b"two;"))
    assert (b"too much;;;", []) == (written(hold), world.outcomes)
    transport.go_on()
    assert {"c": "1"} == follow(world).last_ids
    answer(world, hold, streaming(Channel("c", "2"), "d", body=b"two;"))
    assert b"two;" == written(hold)


def test_pages_wait_for_a_slow_client() -> None:
    world = World(SLOW)
    hold = world.linked(Instruct(hold=None, next_link=Link("/2")))
    transport = stall(hold)
    for number in range(2, 5):
        assert Link(f"/{number}") == follow(world).link
        answer(world, hold, Instruct(hold=None, next_link=Link(f"/{number + 1}"), body=b"a large page"))
        assert [] == world.outcomes
        world.advance(30)
        assert (b"a large page", []) == (written(hold), world.outcomes)
        transport.go_on()
        transport.stall(0)
    assert Link("/5") == follow(world).link


def test_a_link_that_fails_while_the_client_is_slow_is_asked_again_later() -> None:
    world = World(SLOW)
    hold = world.linked(streaming(Channel("c", "1")))
    world.publish(*numbered(3, 4))
    world.advance(SOON)
    follow(world)
    transport = stall(hold)
    transport.stall(11)
    hold.fail("refused")
    world.advance(10)
    assert [] == world.outcomes
    transport.go_on()
    world.advance(0.2)
    assert {"c": "1"} == follow(world).last_ids


def test_keep_alives_and_polls_wait_for_a_slow_client() -> None:
    world = World(SLOW)
    hold = world.linked(Instruct("stream", (Channel("c"),), next_link=Link("/next", 15), keep_alive=KeepAlive(b".", 5)))
    transport: Any = hold.connection
    transport.stall(11)
    world.advance(40)
    assert (b"", []) == (written(hold), world.outcomes)
    transport.go_on()
    world.advance(0.2)
    assert b"." == written(hold)
    follow(world)


def test_a_slow_client_that_takes_nothing_is_cut_in_the_end(caplog: pytest.LogCaptureFixture) -> None:
    world = World(SLOW)
    hold = world.linked(streaming(Channel("c", "1")))
    transport = stall(hold)
    world.publish(*numbered(2, 10))
    world.advance(PATIENCE - 1)
    assert ("", []) == (transport.closing, world.outcomes)
    world.advance(2 * LOOK)
    assert ("aborted", Done("slow"), 0) == (transport.closing, world.take_outcome(), world.wheel.size)
    assert "cut a slow client" in caplog.text


def test_a_slow_client_that_takes_a_little_is_not_cut() -> None:
    world = World(Limits(unsent=1000))
    hold = world.linked(streaming(Channel("c", "1")))
    transport: Any = hold.connection
    transport.stall(1001)
    for size in range(1000, 980, -1):
        transport.unread = size
        world.advance(20)
    assert ("", []) == (transport.closing, world.outcomes)


@pytest.mark.parametrize("action", ["close", "shutdown"])
def test_a_slow_client_does_not_take_the_end_for_a_whole_body(action: str) -> None:
    world = World(SLOW)
    hold = world.linked(streaming(Channel("c", "1"), "d"), is_chunked=True)
    transport = stall(hold)
    world.publish(*numbered(2, 5), item(action="close", channel="d"), *numbered(5, 7))
    if action == "shutdown":
        hold.end("shutdown")
        assert (Done("shutdown"), "aborted") == (world.take_outcome(), transport.closing)
        return
    assert [] == world.outcomes
    transport.take()
    transport.go_on()
    assert (Done("closed"), b"3\r\nc4;\r\n3\r\nc5;\r\n3\r\nc6;\r\n0\r\n\r\n") == (
        world.take_outcome(),
        transport.take(),
    )


def test_a_first_body_may_be_more_than_a_client_takes() -> None:
    world = World(SLOW)
    hold = world.linked_at_body(streaming(Channel("c", "1")))
    transport = stall(hold)
    hold.write(b"a long body;")
    hold.proceed(world.moments())
    world.publish(*numbered(2, 4))
    assert (b"a long body;", "") == (written(hold), transport.closing)
    transport.go_on()
    assert shown(2, 4) == written(hold)


def test_a_client_that_leaves_while_it_is_slow_is_forgotten() -> None:
    world = World(SLOW)
    hold = world.linked(streaming(Channel("c", "1")))
    transport = stall(hold)
    world.publish(*numbered(2, 10))
    transport.leave()
    hold.resume_writing()
    assert (Done("left"), 0, 0) == (world.take_outcome(), world.wheel.size, world.hub.subscriptions)
