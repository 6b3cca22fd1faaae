"""A stream with links: what is written when, when a link is asked for, and what becomes of its answer."""

from typing import Any

import pytest

from gripproxy.config import Limits
from gripproxy.grip.history import Moments
from gripproxy.grip.instruct import Channel, Instruct, KeepAlive, Link
from gripproxy.grip.item import Item
from gripproxy.transports import Done, Follow
from gripproxy.transports.pace import GAP_REPEAT, GAP_SPREAD, RETRIES
from gripproxy.transports.waiting import WAITING_MAX
from tests.unit.transports.world import NEXT, REALM, World, answer, follow, item, streaming, written

SOON = GAP_SPREAD + 0.2


@pytest.fixture
def world() -> World:
    return World()


# --- order


def test_items_in_order_are_written_at_once(world: World) -> None:
    hold = world.linked(streaming(Channel("c", "1")))
    world.publish(item("1", "0"), item("2", "1"), item("3", "2"))
    assert (b"23", []) == (written(hold), world.outcomes)


def test_a_gap_asks_the_link_in_a_moment(world: World) -> None:
    hold = world.linked(streaming(Channel("c", "1"), Channel("d", "7")))
    world.publish(item("3", "2"))
    assert (b"", []) == (written(hold), world.outcomes)
    world.advance(SOON)
    assert Follow(Link("/next"), {"c": "1", "d": "7"}, world.delivery.moment) == follow(world)
    answer(world, hold, streaming(Channel("c", "3"), Channel("d", "7"), body=b"two three "))
    world.publish(item("4", "3"))
    assert b"two three 4" == written(hold)


def test_what_waited_follows_the_answer(world: World) -> None:
    hold = world.linked(streaming(Channel("c", "1")))
    world.publish(item("3", "2"))
    world.advance(SOON)
    follow(world)
    asked = world.delivery.moment
    world.publish(item("4", "3"), item("5", "4"))
    answer(world, hold, streaming(Channel("c", "4"), body=b"2 3 4 "), asked)
    assert b"2 3 4 5" == written(hold)


def test_a_gap_of_one_channel_does_not_delay_others(world: World) -> None:
    hold = world.linked(streaming(Channel("c", "1"), Channel("d", "1"), "e"))
    world.publish(item("3", "2"), item("2", "1", "d2 ", channel="d"), item(content="e ", channel="e"))
    assert b"d2 e " == written(hold)
    world.advance(SOON)
    follow(world)
    world.publish(item("3", "2", "d3 ", channel="d"), item(content="e ", channel="e"))
    assert b"d3 e " == written(hold)


def test_an_answer_that_repeats_what_was_written_is_asked_again(world: World) -> None:
    hold = world.linked(streaming(Channel("c", "1"), Channel("d", "1")))
    world.publish(item("3", "2"))
    world.advance(SOON)
    assert {"c": "1", "d": "1"} == follow(world).last_ids
    world.publish(item("2", "1", "d2 ", channel="d"))
    answer(world, hold, streaming(Channel("c", "3"), Channel("d", "2"), body=b"c2 c3 d2 "))
    assert (b"d2 ", {"c": "1", "d": "2"}) == (written(hold), follow(world).last_ids)
    world.publish(item("3", "2", "d3 ", channel="d"))
    assert b"" == written(hold), "this time it waits"
    answer(world, hold, streaming(Channel("c", "3"), Channel("d", "2"), body=b"c2 c3 "))
    assert b"c2 c3 d3 " == written(hold)


def test_an_answer_with_nothing_but_what_was_written_does_not_delay_anything(world: World) -> None:
    """A poll of a stream on which one channel moves all the time and another does not."""
    hold = world.linked(streaming(Channel("c", "1"), Channel("d", "1")))
    world.publish(item(action="hint", no_seq=True))
    asked = follow(world).moment
    world.publish(item("2", "1", "c2 "), item("3", "2", "c3 "), item("4", "3", "c4 "))
    answer(world, hold, streaming(Channel("c", "3"), Channel("d", "1"), body=b"c2 c3 "), asked)
    world.publish(item("5", "4", "c5 "), item("2", "1", "d2 ", channel="d"))
    assert (b"c2 c3 c4 c5 d2 ", []) == (written(hold), world.outcomes)


def test_for_that_nothing_has_to_be_remembered() -> None:
    world = World(Limits(history_items=0))
    hold = world.linked(streaming(Channel("c", "1"), Channel("d", "1")))
    world.publish(item(action="hint", no_seq=True))
    asked = follow(world).moment
    world.publish(item("2", "1", "c2 "), item("3", "2", "c3 "))
    answer(world, hold, streaming(Channel("c", "2"), Channel("d", "1"), body=b"c2 "), asked)
    world.publish(item("4", "3", "c4 "))
    assert (b"c2 c3 c4 ", []) == (written(hold), world.outcomes)


@pytest.mark.parametrize(
    "news",
    [
        streaming(Channel("c", "2"), Channel("d", "2"), body=b"c2 d2 "),
        streaming(Channel("c", "3"), Channel("d", "1"), body=b"c2 c3 "),
        streaming(Channel("c", "2"), Channel("d", "1"), "e", body=b"c2 e "),
        streaming(Channel("c", "2"), body=b"c2 d2 "),
        streaming(Channel("c", "2"), Channel("d", "1"), hold=None, body=b"c2 "),
    ],
)
def test_an_answer_that_may_have_news_is_asked_again(world: World, news: Instruct) -> None:
    hold = world.linked(streaming(Channel("c", "1"), Channel("d", "1")))
    world.publish(item(action="hint", no_seq=True))
    asked = follow(world).moment
    world.publish(item("2", "1", "c2 "))
    answer(world, hold, news, asked)
    assert (b"c2 ", {"c": "2", "d": "1"}) == (written(hold), follow(world).last_ids)


def test_an_answer_without_news_of_what_was_written_is_taken(world: World) -> None:
    hold = world.linked(streaming(Channel("c", "1"), Channel("d", "1")))
    world.publish(item("3", "2"))
    world.advance(SOON)
    follow(world)
    world.publish(item("2", "1", "d2 ", channel="d"))
    answer(world, hold, streaming(Channel("c", "3"), Channel("d", "1"), body=b"c2 c3 "))
    world.publish(item("3", "2", "d3 ", channel="d"))
    assert (b"d2 c2 c3 d3 ", []) == (written(hold), world.outcomes)


def test_a_gap_closes_from_memory(world: World) -> None:
    world.stream("c")
    world.publish(item("1"), item("2", "1"), item("3", "2"))
    hold = world.linked(streaming(Channel("c", "1")))
    assert (b"23", []) == (written(hold), world.outcomes)


def test_a_gap_may_close_by_itself(world: World) -> None:
    """The backend's answer was ahead of what it had published."""
    hold = world.linked(streaming(Channel("c", "3")))
    world.publish(item("2", "1"))
    world.publish(item("3", "2"), item("4", "3"))
    world.advance(1)
    assert (b"4", []) == (written(hold), world.outcomes)


def test_a_stale_answer_asks_the_link_which_is_then_believed(world: World) -> None:
    world.publish(item("9", "8"))
    hold = world.linked(streaming(Channel("c", "4")))
    world.advance(SOON)
    follow(world)
    answer(world, hold, streaming(Channel("c", "4")))
    world.advance(10)
    world.publish(item("5", "4"))
    world.advance(6)
    assert (b"5", []) == (written(hold), world.outcomes)


def test_a_backend_that_does_not_know_of_an_item_is_asked_again(world: World) -> None:
    """It may have published it before it stored it."""
    hold = world.linked(streaming(Channel("c", "4")))
    world.publish(item("9", "8"))
    world.advance(SOON)
    follow(world)
    answer(world, hold, streaming(Channel("c", "4")))
    world.advance(0.5)
    assert [] == world.outcomes, "not at once"
    world.advance(GAP_REPEAT + SOON)
    assert {"c": "4"} == follow(world).last_ids
    answer(world, hold, streaming(Channel("c", "4")))
    world.advance(10)
    assert [] == world.outcomes, "now it is believed"


@pytest.mark.parametrize("one", [item("9"), item(None)])
def test_an_item_that_follows_nothing_is_asked_for(world: World, one: Item) -> None:
    """It is in the answer of a link that was asked for after it came, or the backend does not know it."""
    hold = world.linked(streaming(Channel("c", "1")))
    world.publish(one)
    world.advance(SOON)
    follow(world)
    answer(world, hold, streaming(Channel("c", "9"), body=b"nine "))
    world.advance(10)
    world.publish(item("10", "9"))
    assert (b"nine 10", []) == (written(hold), world.outcomes)


def test_an_item_outside_of_the_order_is_written_at_once(world: World) -> None:
    hold = world.linked(streaming(Channel("c", "1")))
    world.publish(item("x", no_seq=True), item(content="y", no_seq=True), item("2", "1"))
    assert (b"xy2", []) == (written(hold), world.outcomes)


# --- without a link


def test_an_item_that_goes_out_of_its_turn_shows_a_gap(world: World) -> None:
    """By no-seq, with a prev-id: the proxy does not wait for what it follows, and the client must not miss it."""
    hold = world.linked(streaming(Channel("c", "1")))
    world.publish(item("2", "1"), item("4", "3", no_seq=True))
    world.advance(SOON)
    assert (b"2", {"c": "2"}) == (written(hold), follow(world).last_ids)


def test_without_a_link_the_history_helps(world: World) -> None:
    moments = world.moments()
    world.publish(item("2", "1"), item("3", "2"))
    hold = world.linked(streaming(Channel("c", "1"), next_link=None), moments)
    world.publish(item(content="x"))
    assert b"23x" == written(hold)


def test_without_a_link_a_gap_cuts_the_stream(world: World) -> None:
    hold = world.linked(streaming(Channel("c", "1"), next_link=None), is_chunked=True)
    transport: Any = hold.connection
    world.publish(item("3", "2"))
    assert "" == transport.closing, "it may close by itself"
    world.advance(GAP_REPEAT + SOON)
    assert (b"", "closed", Done("gap")) == (transport.take(), transport.closing, world.take_outcome())


@pytest.mark.parametrize("is_early", [False, True])
def test_without_a_link_a_hint_is_a_gap(world: World, is_early: bool) -> None:
    """It has an id, so there is something that the client does not have, and nobody tells it."""
    moments, items = world.moments(), (item("2", "1", action="hint"), item("3", "2"))
    if is_early:
        world.publish(*items)
    hold = world.linked(streaming(Channel("c", "1"), next_link=None), moments)
    transport: Any = hold.connection
    if not is_early:
        world.publish(*items)
    world.advance(SOON)
    assert (b"", Done("gap")) == (transport.written, world.take_outcome())


def test_without_a_link_a_backend_that_knew_of_a_hint_is_believed(world: World) -> None:
    """Clients would come again and again otherwise."""
    world.publish(item("2", "1", action="hint"), item("3", "2"))
    hold = world.linked(streaming(Channel("c", "1"), next_link=None))
    world.advance(SOON)
    assert (b"3", []) == (written(hold), world.outcomes)


def test_without_a_link_a_backend_is_believed(world: World) -> None:
    world.publish(item("9", "8"))
    hold = world.linked(streaming(Channel("c", "4"), next_link=None))
    world.advance(10)
    world.publish(item("5", "4"))
    world.advance(10)
    assert ([], b"5") == (world.outcomes, written(hold))


# --- the beginning


def test_what_comes_while_the_body_is_written_follows_it(world: World) -> None:
    moments = world.moments()
    hold = world.linked_at_body(streaming(Channel("c", "1"), "d"), moments)
    world.publish(item("2", "1"), item(content="d", channel="d"), item(action="hint", channel="d"))
    hold.write(b"body ")
    assert (b"body ", []) == (written(hold), world.outcomes)
    hold.proceed(moments)
    assert b"2d" == written(hold)
    follow(world)


@pytest.mark.parametrize("turns", [0, 1, 2])
@pytest.mark.parametrize("is_watched", [False, True])
def test_what_came_since_the_answer_is_written_once(world: World, is_watched: bool, turns: int) -> None:
    if is_watched:
        world.linked(streaming("c", "d"))
    moments = Moments(world.delivery.moment, world.delivery.moment)
    world.delivery.receive(REALM, (item("2", "1"), item(content="x", channel="d"), item("3", "2")))
    for _ in range(turns):
        world.loop.turn()
    hold = world.linked(streaming(Channel("c", "1"), "d"), moments)
    world.publish(item("4", "3"), item(content="y", channel="d"))
    assert b"234xy" == bytes(sorted(written(hold)))


@pytest.mark.parametrize("next_link", [None, "/next"])
def test_an_answer_that_took_longer_than_anything_is_remembered_is_asked_again(
    world: World, next_link: str | None
) -> None:
    """Without a link the stream is cut, so that the client comes again."""
    moments = world.moments()
    world.publish(item("2", "1"))
    world.advance(61)
    world.publish(item(channel="x"))
    world.linked(streaming(Channel("c", "1"), next_link=next_link), moments)
    world.advance(GAP_REPEAT + SOON)
    assert (Done("gap") if next_link is None else Follow(Link("/next"), {"c": "1"}, 2)) == world.take_outcome()


def test_a_body_may_take_longer_than_anything_is_remembered(world: World) -> None:
    moments = world.moments()
    hold = world.linked_at_body(streaming(Channel("c", "1"), next_link=None), moments)
    world.publish(item("2", "1"))
    world.advance(61)
    world.publish(item(channel="x"))
    hold.proceed(moments)
    world.advance(10)
    assert (b"2", []) == (written(hold), world.outcomes)


def test_keep_alives_wait_for_the_body(world: World) -> None:
    instruct = streaming("c", keep_alive=KeepAlive(b".", 10))
    hold = world.linked_at_body(instruct)
    world.advance(60)
    assert b"" == written(hold)
    hold.proceed(world.moments())
    world.advance(10.5)
    assert b"." == written(hold)


def test_a_client_that_left_during_the_body_is_not_taken_up(world: World) -> None:
    hold = world.linked_at_body(streaming(Channel("c", "1")))
    transport: Any = hold.connection
    transport.leave()
    world.take_outcome()
    hold.proceed(world.moments())
    hold.advance(streaming("c"), NEXT, world.moments())
    hold.fail("")
    hold.break_off("link")
    assert ([], 0, 0) == (world.outcomes, world.wheel.size, world.hub.subscriptions)


def test_a_client_may_take_its_time_with_the_body(world: World) -> None:
    """It is published content that must not pile up."""
    hold = world.linked_at_body(streaming(Channel("c", "1"), next_link=None))
    transport: Any = hold.connection
    transport.stall(2_000_000)
    assert "" == transport.closing
    hold.proceed(world.moments())
    transport.go_on()
    transport.stall(2_000_000)
    assert ("aborted", Done("slow")) == (transport.closing, world.take_outcome())


# --- pages


def test_pages_are_asked_for_one_after_the_other(world: World) -> None:
    hold = world.linked(Instruct(hold=None, next_link=Link("/2"), channels=(Channel("c", "1"),)))
    first = follow(world)
    assert (Link("/2"), {"c": "1"}) == (first.link, first.last_ids)
    assert first.moment > world.delivery.moment, "an older answer will not do: pages may lead back to themselves"
    answer(world, hold, Instruct(hold=None, next_link=Link("/3"), body=b"two "))
    assert (Link("/3"), {}) == (follow(world).link, {})
    answer(world, hold, Instruct(hold=None, body=b"three"))
    assert (Done("ended"), b"two three") == (world.take_outcome(), written(hold) if hold.connection else b"")


def test_between_pages_everything_waits(world: World) -> None:
    hold = world.linked(streaming(Channel("c", "1"), "d"))
    world.publish(item(action="hint"))
    follow(world)
    answer(world, hold, Instruct(hold=None, next_link=Link("/2"), body=b"page "))
    follow(world)
    asked = world.delivery.moment
    world.publish(item("5", "4"), item(content="d", channel="d"))
    answer(world, hold, streaming(Channel("c", "4"), "d", body=b"4 "), asked)
    assert b"page 4 5d" == written(hold)


@pytest.mark.parametrize("body", [b"c2 c3 ", b""])
def test_pages_do_not_repeat_what_was_written_while_the_first_was_asked_for(world: World, body: bytes) -> None:
    """The first page has news of one channel; the other one was quiet when the backend looked."""
    hold = world.linked(streaming(Channel("c", "1"), Channel("d", "7")))
    world.publish(item("3", "2"))
    world.advance(SOON)
    assert {"c": "1", "d": "7"} == follow(world).last_ids
    world.publish(item("8", "7", "d8 ", channel="d"))
    page = Instruct(None, (Channel("c", "3"), Channel("d", "7")), next_link=Link("/2"), body=body)
    answer(world, hold, page)
    assert {"c": "3", "d": "8"} == follow(world).last_ids
    assert b"d8 " + body == written(hold)


def test_a_hold_behind_pages_misses_nothing(world: World) -> None:
    hold = world.linked(Instruct(hold=None, next_link=Link("/2")))
    follow(world)
    moments = world.moments()
    world.publish(item("2", "1"), item(content="d", channel="d"))
    hold.advance(streaming(Channel("c", "1"), "d", body=b"1 "), NEXT, moments)
    world.publish(item("3", "2"))
    assert b"1 2d3" == written(hold)


# --- links


def test_a_hint_asks_the_link_now(world: World) -> None:
    hold = world.linked(streaming(Channel("c", "4")))
    world.publish(item("5", "4", action="hint"))
    assert {"c": "4"} == follow(world).last_ids
    answer(world, hold, streaming(Channel("c", "5"), body=b"five "))
    world.publish(item("6", "5"))
    assert b"five 6" == written(hold)


def test_a_hint_during_a_link_asks_once_more(world: World) -> None:
    hold = world.linked(streaming("c"))
    world.publish(item(action="hint"))
    asked = follow(world).moment
    world.publish(item(action="hint"))
    assert [] == world.outcomes
    answer(world, hold, streaming("c"), asked)
    assert asked < follow(world).moment
    answer(world, hold, streaming("c"))
    assert [] == world.outcomes


def test_a_hint_in_the_history_asks_the_link_once(world: World) -> None:
    moments = world.moments()
    world.publish(item("2", "1", action="hint"), item("3", "2"))
    hold = world.linked(streaming(Channel("c", "1")), moments)
    assert (b"", {"c": "1"}) == (written(hold), follow(world).last_ids)
    answer(world, hold, streaming(Channel("c", "1")))
    assert (b"3", []) == (written(hold), world.outcomes), "the backend has nothing to say of it"


def test_a_link_that_was_asked_before_a_hint_does_not_answer_it(world: World) -> None:
    """Though it says that the client is where the hint is: it could not know what that announces."""
    hold = world.linked(streaming(Channel("c", "4"), Channel("d", "1")))
    world.publish(item("3", "2", channel="d"))
    world.advance(SOON)
    follow(world)
    asked = world.delivery.moment
    world.publish(item("5", "4", action="hint"), item("6", "5"))
    answer(world, hold, streaming(Channel("c", "4"), Channel("d", "3"), body=b"d2 d3 "), asked)
    assert {"c": "4", "d": "3"} == follow(world).last_ids
    answer(world, hold, streaming(Channel("c", "6"), Channel("d", "3"), body=b"c5 c6 "))
    assert (b"d2 d3 c5 c6 ", []) == (written(hold), world.outcomes)


def test_a_quiet_stream_polls_its_link(world: World) -> None:
    hold = world.linked(streaming("c", "d"))
    world.advance(107)
    assert [] == world.outcomes
    world.advance(14)
    follow(world)
    answer(world, hold, Instruct(hold="stream", channels=(Channel("c"),), next_link=Link("/next", 10)))
    world.advance(10.5)
    follow(world)


def test_a_stream_on_which_everything_moves_need_not_poll(world: World) -> None:
    world.linked(streaming("c", "d"))
    for _ in range(4):
        world.advance(60)
        world.publish(item(content="x"), item(content="x", channel="d"))
    assert [] == world.outcomes


def test_one_quiet_channel_is_enough_to_poll(world: World) -> None:
    world.linked(streaming("c", "d"))
    world.publish(item(content="x"))
    world.advance(121)
    follow(world)


def test_refresh_asks_the_link(world: World) -> None:
    world.linked(streaming("c")).refresh()
    follow(world)
    world.linked(streaming("c", next_link=None)).refresh()
    assert [] == world.outcomes


def test_links_that_fail_are_asked_again_with_longer_pauses(world: World) -> None:
    hold = world.linked(streaming(Channel("c", "1"), "d"))
    transport: Any = hold.connection
    world.publish(item(action="hint"))
    for attempt in range(RETRIES):
        follow(world)
        hold.fail("refused")
        world.publish(item(content=".", channel="d"))
        world.advance(2**attempt - 0.2)
        assert [] == world.outcomes
        world.advance(1.5)
    follow(world)
    hold.fail("refused")
    assert (Done("link"), b"." * RETRIES, "closed") == (world.take_outcome(), transport.take(), transport.closing)


def test_an_answer_ends_the_count_of_failures(world: World) -> None:
    hold = world.linked(streaming("c"))
    for _ in range(RETRIES + 2):
        world.publish(item(action="hint"))
        follow(world)
        hold.fail("refused")
        world.advance(3)
        follow(world)
        answer(world, hold, streaming("c"))
    assert [] == world.outcomes


def test_a_repeated_link_that_fails_lets_go_what_waits(world: World) -> None:
    hold = world.linked(streaming(Channel("c", "1"), Channel("d", "1")))
    world.publish(item(action="hint"))
    follow(world)
    world.publish(item("2", "1", "d2 ", channel="d"))
    answer(world, hold, streaming(Channel("c", "2"), Channel("d", "2"), body=b"c2 d2 "))
    follow(world)
    world.publish(item("3", "2", "d3 ", channel="d"))
    hold.fail("refused")
    assert b"d2 d3 " == written(hold)


def test_an_answer_with_a_response_hold_ends_the_stream(world: World) -> None:
    hold = world.linked(streaming("c"), is_chunked=True)
    transport: Any = hold.connection
    world.publish(item(action="hint"))
    follow(world)
    answer(world, hold, streaming("c", hold="response", body=b"bad"))
    assert (Done("link"), b"", "closed") == (world.take_outcome(), transport.take(), transport.closing)


def test_an_answer_changes_channels_link_and_keep_alive(world: World) -> None:
    hold = world.linked(streaming("c", "d"))
    world.publish(item(action="hint"))
    follow(world)
    moments = world.moments()
    world.delivery.receive(REALM, (item(content="e1", channel="e"), item(content="c1", channel="c")))
    instruct = streaming("d", "e", next_link=None, keep_alive=KeepAlive(b".", 10), body=b"new ")
    hold.advance(instruct, NEXT, moments)
    world.publish(item(content="d", channel="d"), item(content="e2", channel="e"), item(content="c2", channel="c"))
    assert b"new e1de2" == written(hold)
    assert (("d", "e"), None, NEXT, 2) == (hold.channels, hold.link, hold.uri, world.hub.subscriptions)
    world.advance(10.5)
    assert b"." == written(hold)


def test_grip_last_names_channels_as_the_backend_does() -> None:
    world = World(prefix="pre-")
    world.linked(streaming(Channel("pre-c", "1")))
    world.publish(item(action="hint", channel="pre-c"))
    assert {"c": "1"} == follow(world).last_ids


# --- bounds


def test_too_much_that_waits_on_a_reliable_channel_is_asked_for(world: World) -> None:
    hold = world.linked(streaming(Channel("c", "1")))
    world.publish(*(item(str(number), str(number - 1)) for number in range(3, WAITING_MAX + 50)))
    world.advance(SOON)
    follow(world)
    newest = WAITING_MAX + 49
    answer(world, hold, streaming(Channel("c", str(newest)), body=b"all "))
    world.publish(item(str(newest + 1), str(newest)))
    assert f"all {newest + 1}".encode() == written(hold)


def test_too_much_that_waits_elsewhere_cuts_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing would ever tell that something is missing."""
    world = World(Limits(history_items=0))
    caplog.set_level("INFO")
    hold = world.linked_at_body(streaming("c"))
    transport: Any = hold.connection
    world.publish(*(item(content="x") for _ in range(WAITING_MAX)))
    assert [] == world.outcomes
    world.publish(item(content="x"))
    assert (Done("gap"), "closed") == (world.take_outcome(), transport.closing)
    assert "channel c: too much waits; the stream is cut" in caplog.text


def test_a_client_that_leaves_is_unsubscribed_at_once(world: World) -> None:
    hold = world.linked(streaming(Channel("c", "1"), keep_alive=KeepAlive(b".")))
    transport: Any = hold.connection
    transport.leave()
    assert (0, 0, {}, Done("left")) == (
        world.hub.subscriptions,
        world.wheel.size,
        world.holds.open,
        world.take_outcome(),
    )


# --- the end


def test_a_close_waits_for_what_was_published_before_it(world: World) -> None:
    """On another channel there is a gap: it is closed first."""
    hold = world.linked(streaming(Channel("c", "1"), "d"))
    transport: Any = hold.connection
    world.publish(item("3", "2", "c3 "), item(action="close", channel="d"), item(content="late ", channel="d"))
    assert [] == world.outcomes
    world.advance(SOON)
    follow(world)
    answer(world, hold, streaming(Channel("c", "2"), "d", body=b"c2 "))
    assert (Done("closed"), b"c2 c3 ") == (world.take_outcome(), transport.take())


def test_a_close_waits_for_what_a_hint_announced(world: World) -> None:
    hold = world.linked(streaming(Channel("c", "1"), "d"))
    transport: Any = hold.connection
    world.publish(item(action="hint"), item(action="close", channel="d"))
    follow(world)
    hold.fail("refused")
    world.advance(2.5)
    follow(world)
    answer(world, hold, streaming(Channel("c", "2"), "d", body=b"c2 "))
    assert (Done("closed"), b"c2 ") == (world.take_outcome(), transport.take())


def test_a_close_does_not_wait_for_a_poll(world: World) -> None:
    hold = world.linked(streaming(Channel("c", "1"), "d"))
    world.advance(121)
    follow(world)
    world.publish(item(action="close", channel="d"))
    assert Done("closed") == world.take_outcome()
    answer(world, hold, streaming(Channel("c", "1"), "d"))
    assert [] == world.outcomes


def test_a_close_behind_a_gap_that_nothing_closes_cuts_the_stream(world: World) -> None:
    hold = world.linked(streaming(Channel("c", "1"), "d", next_link=None), is_chunked=True)
    transport: Any = hold.connection
    world.publish(item("3", "2", "c3 "), item(action="close", channel="d"))
    world.advance(GAP_REPEAT + SOON)
    assert (Done("gap"), b"", "closed") == (world.take_outcome(), transport.take(), transport.closing)


# --- what may come at any moment


def test_recovering_during_the_first_body_asks_the_link_behind_it(world: World) -> None:
    hold = world.linked_at_body(streaming("c"))
    moments = world.moments()
    world.delivery.recover()
    hold.refresh()
    assert [] == world.outcomes
    hold.proceed(moments)
    follow(world)


def test_an_item_without_a_place_is_not_lost_among_those_that_wait(world: World) -> None:
    """The link will not tell of it."""
    hold = world.linked_at_body(streaming(Channel("c", "1")))
    transport: Any = hold.connection
    world.publish(item(content="x", no_seq=True), *(item(str(n), str(n - 1)) for n in range(2, WAITING_MAX + 3)))
    assert (Done("gap"), "closed") == (world.take_outcome(), transport.closing)


# --- pages without end


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # to itself
        (Instruct(hold=None, next_link=Link("/2"), body=b"x"), Instruct(hold=None, next_link=Link("/2"), body=b"x")),
        # with nothing in them
        (Instruct(hold=None, next_link=Link("/2")), Instruct(hold=None, next_link=Link("/1"))),
    ],
)
def test_pages_that_lead_nowhere_are_asked_for_at_a_pace(world: World, first: Instruct, second: Instruct) -> None:
    hold = world.linked(Instruct(hold=None, next_link=Link("/2")))
    count = 0
    for _ in range(100):
        if world.outcomes:
            follow(world)
            count += 1
            answer(world, hold, second if count % 2 else first)
        world.advance(0.1)
    assert 5 <= count <= 12


def test_pages_with_something_in_them_are_asked_for_at_once(world: World) -> None:
    hold = world.linked(Instruct(hold=None, next_link=Link("/1")))
    for number in range(1, 50):
        assert Link(f"/{number}") == follow(world).link
        answer(world, hold, Instruct(hold=None, next_link=Link(f"/{number + 1}"), body=b"x"))


def test_hints_do_not_push_out_what_waits(world: World) -> None:
    """However many come while everything waits for a link, they are one more question."""
    hold = world.linked(streaming(Channel("c", "1"), "d"))
    world.publish(item(action="hint"))
    asked = follow(world).moment
    world.publish(item("2", "1", "c2 "))
    answer(world, hold, streaming(Channel("c", "2"), "d", body=b"c2 news "), asked)
    asked = follow(world).moment
    world.publish(item(content="d ", channel="d"))
    for _ in range(WAITING_MAX + 10):
        world.publish(item(action="hint", channel="d"))
    assert (b"c2 ", []) == (written(hold), world.outcomes)
    answer(world, hold, streaming(Channel("c", "2"), "d", body=b"news "), asked)
    assert b"news d " == written(hold)
    follow(world)
