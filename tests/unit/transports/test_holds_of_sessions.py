"""What each kind of hold tells a session: where its client is, and that it is over."""

import pytest

from gripproxy.errors import FilterError
from gripproxy.grip import events as ev
from gripproxy.grip.instruct import Channel, Instruct
from gripproxy.grip.item import HttpStream, Item, WsMessage
from gripproxy.sessions import BY_ITSELF, STREAM
from gripproxy.transports import Follow, Replay
from gripproxy.transports.holds import Hold
from gripproxy.transports.stream import StreamHold
from tests.unit.transports.websocket_fakes import Stage, client_frame
from tests.unit.transports.world import REALM, World, item, streaming, waiting


@pytest.fixture
def world() -> World:
    return World()


def known(world: World, sid: str = "s") -> dict[str, str]:
    return world.sessions.last_ids(REALM, sid, world.loop.time())


def join(world: World, hold: Hold, kind: str = BY_ITSELF) -> None:
    world.sessions.join(hold, REALM, "s", kind, hold.channels, world.loop.time())


def is_clean(world: World) -> bool:
    """Whether nothing is left of holds."""
    return not world.sessions.members and not world.sessions.trails


# --- streams


def test_a_stream_is_where_its_channels_are(world: World) -> None:
    hold = world.stream("c", "d")
    join(world, hold, STREAM)
    world.publish(item("1"), item("2"), item("3", channel="e"))
    assert {"c": "2"} == known(world)
    world.publish(item("4", channel="d"))
    hold.end("closed")
    world.publish(item("5"))
    assert ({"c": "2", "d": "4"}, True) == (known(world), is_clean(world))


def test_a_stream_has_what_came_since_the_answer(world: World) -> None:
    moments = world.moments()
    world.publish(item("1"), item(), item("2", action="hint"))
    instruct = Instruct(hold="stream", channels=(Channel("c"),))
    hold = StreamHold(world.holds, world.route, instruct, world.transport(), b"", is_chunked=True, is_kept=True)
    join(world, hold, STREAM)
    hold.resume(hold.begin(moments))
    assert {"c": "1"} == known(world)


def test_an_item_that_waits_for_another_is_not_there_yet(world: World) -> None:
    hold = world.stream("c")
    join(world, hold, STREAM)
    world.publish(item("1", "0"), item("3", "2"))
    assert {"c": "1"} == known(world)
    world.advance(6)
    assert {"c": "3"} == known(world)


def test_a_client_that_leaves_leaves_its_session(world: World) -> None:
    hold = world.stream("c")
    join(world, hold, STREAM)
    world.publish(item("1"))
    hold.connection.leave()  # type: ignore[union-attr]
    assert ({"c": "1"}, True) == (known(world), is_clean(world))


def test_a_linked_stream_is_where_its_client_is(world: World) -> None:
    """Behind a gap nothing was written, so that the session must not be there."""
    hold = world.linked(streaming(Channel("c", "1"), "d"))
    join(world, hold)
    world.publish(item("2", "1"), item("9", channel="d"), item("4", "3"))
    world.advance(6)
    assert {"c": "2", "d": "9"} == known(world)
    assert any(isinstance(outcome, Follow) for _, outcome in world.outcomes)
    moments = world.moments()
    hold.advance(streaming(Channel("c", "4"), body=b"34"), "http://client.test/next", moments)
    assert {"c": "4", "d": "9"} == known(world)
    hold.break_off("gap")
    assert ({"c": "4", "d": "9"}, True) == (known(world), is_clean(world))


# --- long-polls


def test_a_poll_has_the_item_that_answered_it(world: World) -> None:
    """Not the one published right behind it, which its client did not get."""
    hold = world.poll(waiting("c"))
    join(world, hold)
    world.publish(Item("c", "0", stream=HttpStream("send", b"not for it")), item("1"), item("2"))
    assert ({"c": "1"}, True) == (known(world), is_clean(world))


@pytest.mark.parametrize("name", ["skip-self", "http-check"])
def test_a_poll_has_not_what_a_filter_kept_back(world: World, name: str) -> None:
    hold = world.poll(waiting(Channel("c", filters=(name,)), meta={"user": "u", "url": "/f"}))
    join(world, hold)
    world.publish(item("1", sender="u"))
    if name == "http-check":
        assert {} == known(world)
        world.reply(FilterError("no"))
    assert {} == known(world)
    hold.end("shutdown")
    assert is_clean(world)


def test_a_poll_that_times_out_or_asks_again_is_where_it_was(world: World) -> None:
    for reason in ("timeout", "hint"):
        hold = world.poll(waiting("c", timeout=20))
        join(world, hold)
        world.publish(item(action="hint")) if reason == "hint" else world.advance(21)
        assert ({}, True) == (known(world), is_clean(world))
    assert isinstance(world.outcomes[-1][1], Replay)


# --- WebSockets


def note(stage: Stage, channel: str, item_id: str) -> None:
    message = WsMessage("send", "text", b"x")
    stage.holds.sessions.note(("default", channel), Item(channel, item_id, message=message))


def seen(stage: Stage, sid: str = "s") -> dict[str, str]:
    return stage.holds.sessions.last_ids("default", sid, stage.wheel.now())


def test_a_websocket_is_named_and_follows_its_subscriptions() -> None:
    stage = Stage()
    stage.hold.obey(ev.Subscribe("a"))
    stage.hold.obey(ev.SetSession("s"))
    stage.hold.obey(ev.Subscribe("b"))
    for channel in "abc":
        note(stage, channel, "1")
    stage.hold.obey(ev.Unsubscribe("a"))
    note(stage, "a", "2")
    note(stage, "b", "2")
    assert {"a": "1", "b": "2"} == seen(stage)


@pytest.mark.parametrize("session_id", [None, "t"])
def test_a_websocket_leaves_its_session(session_id: str | None) -> None:
    stage = Stage()
    stage.hold.obey(ev.SetSession("s"))
    stage.hold.obey(ev.Subscribe("a"))
    note(stage, "a", "1")
    stage.hold.obey(ev.SetSession(session_id))
    note(stage, "a", "2")
    assert ({"a": "1"}, {"a": "2"} if session_id else {}) == (seen(stage), seen(stage, "t"))


def test_channels_have_the_routes_prefix() -> None:
    stage = Stage(prefix="p-", subscribe=("own",))
    stage.hold.obey(ev.SetSession("s"))
    stage.hold.obey(ev.Subscribe("a"))
    note(stage, "p-a", "1")
    note(stage, "own", "1")
    assert {"p-a": "1", "own": "1"} == seen(stage)


def test_nothing_is_left_of_a_websocket_that_closes() -> None:
    stage = Stage()
    stage.hold.obey(ev.SetSession("s"))
    stage.hold.obey(ev.Subscribe("a"))
    note(stage, "a", "1")
    stage.hold.data_received(client_frame(8, b"\x03\xe8"))
    stage.hold.close(1000)
    sessions = stage.holds.sessions
    assert ({"a": "1"}, {}, {}) == (seen(stage), sessions.members, sessions.trails)


def test_a_websocket_that_is_over_belongs_to_no_session() -> None:
    """A backend may still answer to what the client sent last."""
    stage = Stage()
    stage.hold.connection_lost(None)
    stage.hold.obey(ev.SetSession("s"))
    assert {} == stage.holds.sessions.members
