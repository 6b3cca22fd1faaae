"""A long-poll: what answers it, what makes it ask again, and what its answer looks like."""

from typing import Any

import pytest

from gripproxy.grip.cors import Cors
from gripproxy.grip.instruct import Channel
from gripproxy.grip.item import HttpResponse, Item
from gripproxy.hub import GONE
from gripproxy.transports import Done, Replay
from gripproxy.transports.response import GAP_SPREAD, REPLAYS_MAX
from tests.unit.transports.world import REALM, World, item, waiting


@pytest.fixture
def world() -> World:
    return World()


def answer(transport: Any) -> tuple[bytes, list[bytes], bytes]:
    """Return what a client got: status line, fields and body."""
    head, _, body = transport.take().partition(b"\r\n\r\n")
    status, *fields = head.split(b"\r\n")
    return status, fields, body


def response(body: bytes = b"new", channel: str = "c", **parts: Any) -> Item:
    return Item(channel, response=HttpResponse("send", **({"body": body} | parts)))


# --- answers


def test_nothing_is_written_before_the_answer(world: World) -> None:
    hold = world.poll(waiting("c", "d"))
    world.publish(Item("c"), item(channel="e"), item(action="close"), item(action="refresh"))
    world.advance(54)
    assert (b"", []) == (hold.connection.written, world.outcomes)  # type: ignore[union-attr]


def test_the_first_response_answers(world: World) -> None:
    transport = world.transport()
    world.poll(waiting("c", "d", fields=((b"X-Held", b"1"),)), transport=transport)
    world.publish(response(b"one", "d"), response(b"two"))
    assert (b"HTTP/1.1 200 OK", [b"X-Held: 1", b"Content-Length: 3"], b"one") == answer(transport)
    assert (Done("published"), 0, {}) == (world.take_outcome(), world.hub.subscriptions, world.holds.open)


def test_the_timeout_answers_with_what_was_held(world: World) -> None:
    transport = world.transport()
    world.poll(waiting("c", timeout=20, status=203, reason="So", fields=((b"X-Held", b"1"),)), transport=transport)
    world.advance(19.9)
    assert [] == world.outcomes
    world.advance(0.4)
    assert (b"HTTP/1.1 203 So", [b"X-Held: 1", b"Content-Length: 4"], b"held") == answer(transport)
    assert Done("timeout") == world.take_outcome()


def test_published_fields_replace_held_ones(world: World) -> None:
    transport = world.transport()
    held = ((b"X-A", b"1"), (b"x-b", b"1"), (b"X-B", b"2"), (b"X-C", b"1"))
    world.poll(waiting("c", fields=held), transport=transport)
    published = ((b"X-B", b"3"), (b"X-B", b"4"), (b"X-D", b"5"))
    world.publish(response(code=201, reason="Made", fields=published))
    fields = [b"X-A: 1", b"X-C: 1", b"X-B: 3", b"X-B: 4", b"X-D: 5", b"Content-Length: 3"]
    assert (b"HTTP/1.1 201 Made", fields, b"new") == answer(transport)


@pytest.mark.parametrize(("code", "fields"), [(204, []), (304, []), (200, [b"Content-Length: 3"])])
def test_what_has_no_body_gets_none(world: World, code: int, fields: list[bytes]) -> None:
    transport = world.transport()
    world.poll(waiting("c"), transport=transport)
    world.publish(response(code=code))
    assert (fields, b"new" if fields else b"") == answer(transport)[1:]


def test_the_answer_to_head_has_a_length_only(world: World) -> None:
    transport = world.transport()
    world.poll(waiting("c"), transport=transport, is_head=True)
    world.publish(response())
    assert ([b"Content-Length: 3"], b"") == answer(transport)[1:]


def test_a_connection_that_can_not_be_kept_is_closed(world: World) -> None:
    transport = world.transport()
    world.poll(waiting("c"), transport=transport, is_kept=False)
    world.publish(response())
    assert [b"Content-Length: 3", b"Connection: close"] == answer(transport)[1]
    assert "closed" == transport.closing


def test_shutdown_answers_with_what_was_held_and_closes(world: World) -> None:
    transport = world.transport()
    world.poll(waiting("c"), transport=transport).end("shutdown")
    assert ([b"Content-Length: 4", b"Connection: close"], b"held") == answer(transport)[1:]


def test_answers_for_other_origins_are_completed(world: World) -> None:
    transport = world.transport()
    hold = world.poll(waiting("c"), transport=transport)
    hold.cors = Cors(b"https://a.test", varies=True)
    world.publish(response())
    assert b"Access-Control-Allow-Origin: https://a.test" in answer(transport)[1]


@pytest.mark.parametrize(
    ("held", "patch", "expected"),
    [
        (b'{"a": [1]}\n', [{"op": "add", "path": "/a/-", "value": 2}], b'{"a":[1,2]}\n'),
        (b'{"a": 1}', [{"op": "remove", "path": "/a"}], b"{}"),
    ],
)
def test_a_patch_changes_the_held_body(world: World, held: bytes, patch: list[Any], expected: bytes) -> None:
    transport = world.transport()
    world.poll(waiting("c", body=held), transport=transport)
    world.publish(response(body=None, patch=patch))
    assert expected == answer(transport)[2]


@pytest.mark.parametrize(("held", "path"), [(b"no JSON", "/a"), (b"{}", "/nothing")])
def test_a_patch_that_does_not_fit_asks_the_backend(world: World, held: bytes, path: str) -> None:
    world.poll(waiting("c", body=held))
    world.publish(response(body=None, patch=[{"op": "remove", "path": path}]))
    assert Replay({}, {}) == world.take_outcome()


# --- filters


def test_a_filter_keeps_an_item_from_its_client(world: World) -> None:
    transport = world.transport()
    channel = Channel("c", filters=("skip-self", "var-subst"))
    world.poll(waiting(channel, meta={"user": "alice"}), transport=transport)
    world.publish(item(content="own", sender="alice"), item(action="hint", sender="alice"))
    world.publish(item(content="%(nobody)s"), item(content="for %(user)s"))
    assert b"for alice" == answer(transport)[2]


def test_templates_are_for_those_with_the_filters(world: World) -> None:
    world.poll(waiting("c"))
    world.publish(response(b"%(user)s", content_filters=("var-subst",)))
    assert [] == world.outcomes


def test_a_filter_may_ask(world: World) -> None:
    """The first item that passes it answers; what comes meanwhile waits."""
    transport = world.transport()
    channel = Channel("c", filters=("http-modify",))
    world.poll(waiting(channel, "d", meta={"url": "http://check.test/"}), transport=transport)
    world.publish(item(content="1"), item(content="2"), item(content="3", channel="d"))
    assert b"" == transport.take()
    assert ("http://check.test/", b"1") == world.reply((200, ((b"Action", b"drop"),), b""))[::2]
    assert b"2" == world.reply((200, (), b"two"))[2]
    assert (b"two", Done("published")) == (answer(transport)[2], world.take_outcome())
    assert [] == world.questions


def test_the_timeout_does_not_wait_for_a_filter(world: World) -> None:
    transport = world.transport()
    world.poll(waiting(Channel("c", filters=("http-check",)), meta={"url": "/"}), transport=transport)
    world.publish(item(content="1"))
    world.advance(60)
    assert (b"held", Done("timeout")) == (answer(transport)[2], world.take_outcome())
    world.reply((204, (), b""))
    assert b"" == transport.take()


@pytest.mark.parametrize(("replies", "last_id"), [(0, "4"), (1, "4"), (2, "6")])
def test_what_a_filter_is_still_asked_about_the_client_does_not_have(world: World, replies: int, last_id: str) -> None:
    """A request that is asked again meanwhile says from where on the client may lack something."""
    world.poll(waiting(Channel("c", "4", filters=("http-check",)), meta={"url": "/check"}))
    world.publish(item("5", "4"), item("6", "5"))
    for _ in range(replies):
        world.reply((200, ((b"Action", b"drop"),), b""))
    world.publish(item(action="hint"))
    assert Replay({"c": last_id}, {("c", last_id): 1}) == world.take_outcome()


def test_too_much_that_waits_for_a_filter_asks_the_backend_again(world: World) -> None:
    world.poll(waiting(Channel("c", "0", filters=("http-check",)), meta={"url": "/check"}))
    world.publish(*(item(str(at), str(at - 1)) for at in range(1, 102)))
    assert Replay({"c": "0"}, {("c", "0"): 1}) == world.take_outcome()


# --- asking again


def test_a_hint_asks_the_backend_again(world: World) -> None:
    hold = world.poll(waiting("c"), fields=((b"Host", b"x"), (b"X-Own", b"1")))
    world.publish(item(action="hint"))
    assert (Replay({}, {}), GONE) == (world.take_outcome(), hold.transport)
    request = hold.request
    expected = ("GET", b"/path", ((b"Host", b"x"), (b"X-Own", b"1")), b"body")
    assert expected == (request.method, request.target, request.fields, request.body)


def test_a_hint_tells_where_the_client_is(world: World) -> None:
    world.poll(waiting(Channel("c", "4"), Channel("d", "7")))
    world.publish(item("5", "4", action="hint"))
    assert Replay({"c": "4", "d": "7"}, {("c", "4"): 1, ("d", "7"): 1}) == world.take_outcome()


def test_refresh_asks_again(world: World) -> None:
    world.poll(waiting("c")).refresh()
    assert Replay({}, {}) == world.take_outcome()


def test_the_item_that_follows_answers(world: World) -> None:
    transport = world.transport()
    world.poll(waiting(Channel("c", "4")), transport=transport)
    world.publish(item("4", "3"), item("3", "2"), item("5", "4"))
    assert b"5" == answer(transport)[2]


@pytest.mark.parametrize("one", [item("7", "6"), item("7"), item(None)])
def test_a_gap_asks_again_in_a_moment(world: World, one: Item) -> None:
    world.poll(waiting(Channel("c", "4")))
    world.publish(one)
    assert [] == world.outcomes
    world.advance(GAP_SPREAD + 0.2)
    assert Replay({"c": "4"}, {("c", "4"): 1}) == world.take_outcome()


def test_a_gap_may_close_meanwhile(world: World) -> None:
    """The backend's answer was ahead of what it had published."""
    world.poll(waiting(Channel("c", "4")))
    world.publish(item("2", "1"), item("3", "2"), item("4", "3"))
    world.advance(1)
    assert [] == world.outcomes


def test_a_gap_closes_with_the_history(world: World) -> None:
    transport = world.transport()
    world.stream("c")
    world.publish(item("4", "3"), item("5", "4"), item("6", "5"))
    world.poll(waiting(Channel("c", "4")), transport=transport)
    assert (b"5", Done("published")) == (answer(transport)[2], world.take_outcome())


def test_a_stale_answer_is_asked_again(world: World) -> None:
    world.publish(item("9", "8"))
    world.poll(waiting(Channel("c", "4"), Channel("d", "1")))
    world.advance(1)
    assert Replay({"c": "4", "d": "1"}, {("c", "4"): 1, ("d", "1"): 1}) == world.take_outcome()


def test_a_backend_that_says_so_again_is_believed(world: World) -> None:
    world.publish(item("9", "8"))
    world.poll(waiting(Channel("c", "4")), asked_again={("c", "4"): 1})
    world.advance(1)
    assert [] == world.outcomes


def test_but_not_when_something_came_meanwhile(world: World) -> None:
    moment = world.delivery.moment
    world.publish(item("9", "8"))
    world.poll(waiting(Channel("c", "4")), moment, asked_again={("c", "4"): 1})
    world.advance(1)
    assert Replay({"c": "4"}, {("c", "4"): 2}) == world.take_outcome()


def test_nobody_is_asked_for_ever(world: World) -> None:
    world.poll(waiting(Channel("c", "4")), asked_again={("c", "4"): REPLAYS_MAX})
    world.publish(item("9", "8"))
    world.advance(1)
    assert [] == world.outcomes


def test_one_gap_does_not_delay_other_channels(world: World) -> None:
    transport = world.transport()
    world.poll(waiting(Channel("c", "4"), "d"), transport=transport)
    world.publish(item("9", "8"), item(content="d", channel="d"))
    assert b"d" == answer(transport)[2]


# --- the moment between the request and the subscription


@pytest.mark.parametrize("turns", [0, 1])
@pytest.mark.parametrize("is_watched", [False, True])
def test_what_came_since_the_request_answers(world: World, is_watched: bool, turns: int) -> None:
    transport = world.transport()
    if is_watched:
        world.poll(waiting("c", "other"))
    world.publish(item(content="before", channel="x"))
    moment = world.delivery.moment
    world.delivery.receive(REALM, (Item("c"), item(content="1"), item(content="2")))
    for _ in range(turns):
        world.loop.turn()
    world.poll(waiting("c"), moment, transport=transport)
    world.loop.run()
    world.check()
    assert b"1" == answer(transport)[2]


def test_what_came_before_the_request_does_not(world: World) -> None:
    world.publish(item(content="1"))
    world.poll(waiting("c"))
    assert [] == world.outcomes


# --- the client


def test_a_client_that_leaves_is_unsubscribed_at_once(world: World) -> None:
    transport = world.transport()
    hold = world.poll(waiting("c"), transport=transport)
    transport.leave()
    assert (0, 0, {}) == (world.hub.subscriptions, world.wheel.size, world.holds.open)
    assert (Done("left"), GONE) == (world.take_outcome(), hold.transport)


def test_a_client_that_left_a_moment_ago_gets_nothing(world: World) -> None:
    transport = world.transport()
    world.poll(waiting("c"), transport=transport)
    world.delivery.receive(REALM, (response(),))
    transport.leave()
    world.loop.run()
    world.check()
    assert b"" == transport.take()


def test_overflow_is_no_reason_to_cut_it(world: World) -> None:
    transport = world.transport()
    world.poll(waiting("c"), transport=transport)
    transport.stall(1)
    assert "" == transport.closing
