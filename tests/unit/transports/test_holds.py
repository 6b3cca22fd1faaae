"""What holds share: what a late subscription missed, times that drift apart, and connections that go on."""

import logging
from typing import Any

import pytest

from gripproxy.grip.instruct import KeepAlive
from gripproxy.grip.item import Item
from gripproxy.hub import EACH
from gripproxy.transports.holds import KEEP_ALIVES_MAX, SPREAD
from tests.unit.transports.world import REALM, World, item, streaming, waiting


@pytest.fixture
def world() -> World:
    return World()


def test_who_is_held_is_counted_by_route_from_the_beginning_to_the_end(world: World) -> None:
    metrics = world.holds.metrics
    begun, held = metrics.holds["test", "stream"], metrics.connections["test", "stream"]
    first, _ = world.stream("c"), world.stream("c")
    assert (begun + 2, held + 2) == (metrics.holds["test", "stream"], metrics.connections["test", "stream"])
    first.end("closed")
    first.leave()  # once more
    assert (begun + 2, held + 1) == (metrics.holds["test", "stream"], metrics.connections["test", "stream"])


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("is_watched", [False, True])
def test_what_was_missed_and_what_comes_make_the_whole(world: World, is_watched: bool, turns: int) -> None:
    """Whatever pass is under way when the subscription is made."""

    class Watcher:
        def __init__(self) -> None:
            self.transport: Any = None
            self.received: list[str | None] = []

        def receive(self, channel: str, one: Item) -> None:
            self.received.append(one.id)

    if is_watched:
        world.hub.subscribe(Watcher(), REALM, "c", EACH)
    world.publish(item("0"))
    moment = world.delivery.moment
    for number in range(1, 4):
        world.delivery.receive(REALM, (item(str(number), str(number - 1)),))
        if turns >= number:
            world.loop.turn()
    watcher = Watcher()
    group = world.hub.subscribe(watcher, REALM, "c", EACH)
    missed = world.holds.missed(group, REALM, "c", moment, lambda one: True)
    world.publish(item("4", "3"))
    assert ["1", "2", "3", "4"] == [one.id for one in missed] + watcher.received


def test_only_what_a_group_carries_was_missed(world: World) -> None:
    world.publish(item("1"), item("2", "1"))
    group = world.hub.subscribe(world.stream("x"), REALM, "c", EACH)
    assert ["2"] == [one.id for one in world.holds.missed(group, REALM, "c", 0, lambda one: one.id == "2")]


def test_times_are_spread_downwards(world: World) -> None:
    times = [world.holds.spread(100.0) for _ in range(200)]
    assert 100 * (1 - SPREAD) <= min(times) < max(times) <= 100
    assert len(set(times)) > 100


def test_shared_keep_alives_are_bounded(world: World) -> None:
    first = world.holds.share(KeepAlive(b"x"))
    assert first is world.holds.share(KeepAlive(b"x"))
    for number in range(KEEP_ALIVES_MAX):
        world.holds.share(KeepAlive(b"%d" % number))
    assert first is not world.holds.share(KeepAlive(b"x"))
    assert world.holds.share(None) is None


@pytest.fixture(params=["stream", "long-poll"])
def over(request: pytest.FixtureRequest, world: World) -> Any:
    """The connection of a hold that has ended well."""
    hold = world.stream("c", is_chunked=True) if request.param == "stream" else world.poll(waiting("c"))
    transport: Any = hold.connection
    world.publish(item(action="close") if request.param == "stream" else item())
    world.holds.settle(hold)
    return transport


def test_a_connection_is_given_back_with_its_next_bytes(world: World, over: Any) -> None:
    over.protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
    assert ([(over, b"GET / HTTP/1.1\r\n\r\n")], 0) == (world.server.given, world.wheel.size)


def test_a_connection_that_stays_idle_is_closed(world: World, over: Any) -> None:
    world.advance(74)
    assert "" == over.closing
    world.advance(2)
    assert "closed" == over.closing


def test_a_connection_that_ends_while_it_is_idle_leaves_no_timer(world: World, over: Any) -> None:
    over.leave()
    assert (0, []) == (world.wheel.size, world.server.given)


def test_what_came_during_a_long_poll_is_given_back_at_once(world: World) -> None:
    transport = world.transport()
    hold = world.poll(waiting("c"), transport=transport)
    transport.protocol.data_received(b"GET /a")
    world.publish(item())
    world.holds.settle(hold)
    assert [(transport, b"GET /a")] == world.server.given


def test_a_long_poll_that_is_over_takes_nothing_more(world: World) -> None:
    """Though the pass that answered it has another item for it."""
    transport = world.transport()
    hold = world.poll(waiting("c"), transport=transport)
    world.publish(item())
    transport.take()
    world.holds.settle(hold)
    hold.receive("c", item())
    hold.on_overflow()
    assert b"" == transport.take()


def test_a_connection_that_is_gone_is_left_alone(world: World) -> None:
    hold = world.stream("c", is_chunked=True)
    transport: Any = hold.connection
    transport.leave()
    world.holds.settle(hold)
    assert [] == world.server.given


def test_the_log_says_who_is_too_slow(world: World, caplog: pytest.LogCaptureFixture) -> None:
    hold = world.stream("c")
    transport: Any = hold.connection
    with caplog.at_level(logging.WARNING):
        transport.stall(2_000_000)
    for part in ("stream 127.0.0.1:4711", "channels c", "route test", "2000000 bytes"):
        assert part in caplog.text


def test_each_hold_is_told_as_it_begins(world: World) -> None:
    begun: list[object] = []
    world.holds.on_begin = begun.append
    holds = [world.stream("a"), world.linked(streaming("a")), world.poll(waiting("a"))]

    assert holds == begun == list(world.holds.open)
