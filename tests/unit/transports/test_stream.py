"""A plain stream: published content as it is, keep-alives, and the ways in which it ends."""

import pytest

from gripproxy.config import Limits
from gripproxy.grip.history import Moments
from gripproxy.grip.instruct import KeepAlive
from gripproxy.grip.item import HttpStream, Item
from gripproxy.hub import GONE
from gripproxy.transports import Done
from gripproxy.transports.stream import StreamHold
from tests.unit.transports.world import REALM, Transport, World, item


@pytest.fixture
def world() -> World:
    return World()


def written(hold: StreamHold) -> bytes:
    transport = hold.connection
    assert isinstance(transport, Transport)
    return transport.take()


def test_published_content_is_written_in_chunks(world: World) -> None:
    hold = world.stream("c", "d", is_chunked=True)
    world.publish(item(content="one"), item(content="two", channel="d"), item(content="x", channel="e"))
    assert b"3\r\none\r\n3\r\ntwo\r\n" == written(hold)


def test_without_chunks_content_is_written_as_it_is(world: World) -> None:
    hold = world.stream("c")
    world.publish(item(content="one"), item(content="two"))
    assert b"onetwo" == written(hold)


def test_other_formats_templates_and_hints_are_not_for_it(world: World) -> None:
    hold = world.stream("c")
    template = Item("c", stream=HttpStream("send", b"%I", ("build-id",)))
    world.publish(Item("c"), template, item(action="hint"), item(action="refresh"), item(content="end"))
    assert (b"end", []) == (written(hold), world.outcomes)


# --- the moment between the answer and the subscription


@pytest.mark.parametrize("is_watched", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2])
def test_what_came_since_the_answer_is_written_once(world: World, is_watched: bool, turns: int) -> None:
    """However far the item has got on its way to others: not at all, half, or whole."""
    if is_watched:
        world.stream("c")
    world.publish(item(content="before"))
    moments = Moments(0, world.delivery.moment)
    world.delivery.receive(REALM, (item(content="1"), Item("c"), item("a", content="2")))
    for _ in range(turns):
        world.loop.turn()
    world.delivery.receive(REALM, (item(content="3"),))
    hold = world.stream("c", moments=moments)
    world.publish(item(content="4"))
    assert b"1234" == written(hold)


def test_a_close_that_came_since_the_answer_ends_it(world: World) -> None:
    moments = world.moments()
    world.publish(item(content="1"), item(action="close"), item(content="2"))
    hold = world.stream("c", moments=moments)
    assert (Done("closed"), b"1") == (world.take_outcome(), written(hold))


# --- keep-alives


@pytest.mark.parametrize(("is_chunked", "expected"), [(True, b"1\r\n.\r\n"), (False, b".")])
def test_a_quiet_stream_is_kept_alive(world: World, is_chunked: bool, expected: bytes) -> None:
    hold = world.stream("c", keep_alive=KeepAlive(b".", 20), is_chunked=is_chunked)
    world.advance(17.5)
    assert b"" == written(hold)
    world.advance(3)
    assert expected == written(hold)
    world.advance(100)
    assert 5 <= written(hold).count(b".") <= 6


def test_idle_keep_alives_wait_while_something_is_sent(world: World) -> None:
    hold = world.stream("c", keep_alive=KeepAlive(b".", 10))
    for _ in range(20):
        world.advance(5)
        world.publish(item(content="x"))
    assert b"x" * 20 == written(hold)


def test_interval_keep_alives_do_not(world: World) -> None:
    hold = world.stream("c", keep_alive=KeepAlive(b".", 10, "interval"))
    for _ in range(20):
        world.advance(5)
        world.publish(item(content="x"))
    assert 10 <= written(hold).count(b".") <= 12


def test_equal_keep_alives_are_one_object(world: World) -> None:
    first = world.stream("c", keep_alive=KeepAlive(b".", 10))
    second = world.stream("c", keep_alive=KeepAlive(b".", 10))
    assert first.keep_alive is second.keep_alive


# --- ends


@pytest.mark.parametrize(
    ("is_chunked", "is_kept", "expected", "closing"),
    [(True, True, b"0\r\n\r\n", ""), (True, False, b"0\r\n\r\n", "closed"), (False, True, b"", "closed")],
)
def test_a_published_close_ends_the_body(
    world: World, is_chunked: bool, is_kept: bool, expected: bytes, closing: str
) -> None:
    """The connection lives on where HTTP allows it."""
    hold = world.stream("c", is_chunked=is_chunked, is_kept=is_kept)
    transport = hold.connection
    assert isinstance(transport, Transport)
    world.publish(item(action="close"), item(content="late"))
    assert (expected, closing, Done("closed")) == (transport.take(), transport.closing, world.take_outcome())
    assert 0 == world.hub.subscriptions


def test_shutdown_closes_the_connection(world: World) -> None:
    hold = world.stream("c", is_chunked=True)
    transport = hold.connection
    assert isinstance(transport, Transport)
    hold.end("shutdown")
    assert (b"0\r\n\r\n", "closed") == (transport.take(), transport.closing)


def test_a_client_that_leaves_is_unsubscribed_at_once(world: World) -> None:
    hold = world.stream("c", keep_alive=KeepAlive(b".", 10))
    transport = hold.connection
    assert isinstance(transport, Transport)
    transport.leave()
    assert (0, 0, {}) == (world.hub.subscriptions, world.wheel.size, world.holds.open)
    assert (Done("left"), GONE) == (world.take_outcome(), hold.transport)
    world.publish(item(content="x"))
    assert b"" == transport.take()


def test_a_client_that_leaves_in_the_middle_of_a_pass_gets_no_more(world: World) -> None:
    hold = world.stream("c")
    world.delivery.receive(REALM, (item(content="x"),))
    transport = hold.connection
    assert isinstance(transport, Transport)
    transport.leave()
    world.loop.run()
    world.check()
    assert b"" == transport.take()


def test_a_client_with_too_much_unread_is_cut() -> None:
    world = World(Limits(unsent=1000))
    hold = world.stream("c", is_chunked=True)
    transport = hold.connection
    assert isinstance(transport, Transport)
    transport.stall(1001)
    assert (b"", "aborted", Done("slow")) == (transport.take(), transport.closing, world.take_outcome())
    assert 0 == world.hub.subscriptions


def test_bytes_of_the_client_are_kept_for_its_next_request(world: World) -> None:
    hold = world.stream("c", is_chunked=True)
    transport = hold.connection
    assert isinstance(transport, Transport)
    hold.data_received(b"GET / HTTP/1.1\r\n\r\n")
    hold.end("closed")
    world.holds.settle(hold)
    assert [(transport, b"GET / HTTP/1.1\r\n\r\n")] == world.server.given


def test_there_is_no_link_to_refresh(world: World) -> None:
    world.stream("c").refresh()
    assert [] == world.outcomes
