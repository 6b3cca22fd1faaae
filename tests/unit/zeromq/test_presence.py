"""Who is held, and by which id."""

from dataclasses import replace
from typing import Any

import pytest

from gripproxy.grip.instruct import Channel, Instruct
from gripproxy.grip.item import HttpResponse, Item
from gripproxy.grip.websocket import Session
from gripproxy.transports import Follow, Replay
from gripproxy.transports.over_http import OverHttp
from gripproxy.transports.websocket import WebSocketHold
from gripproxy.zeromq.presence import SWEEP_EVERY, Connection, Presence
from tests.unit.transports.websocket_fakes import FakeLeg
from tests.unit.transports.world import REALM, World

POLL = Instruct(hold="response", channels=(Channel("a"),), timeout=50)
HINT = Item("a", response=HttpResponse("hint"))


class Watched(World):
    """A world whose holds are noted; ``events`` is what was told of it."""

    def __init__(self, realm: str = REALM) -> None:
        super().__init__()
        self.events: list[tuple[str, str]] = []
        self.presence = Presence(
            self.loop,  # type: ignore[arg-type]
            realm,
            "p",
            lambda connection: self.events.append(("open", connection.id)),
            lambda connection: self.events.append(("close", connection.id)),
        )
        self.holds.on_begin = self.presence.begin
        self.holds.on_end = self.presence.end

    def websocket(self, leg: Any) -> WebSocketHold:
        return WebSocketHold(self.holds, self.route, leg, self.transport(), is_deflated=False)

    def connection(self) -> Connection:
        """Return the only one."""
        (connection,) = self.presence.take_turn(2)
        return connection


@pytest.fixture
def world() -> Watched:
    return Watched()


def test_a_stream_is_there_until_it_ends(world: Watched) -> None:
    first, second = world.stream("a"), world.stream("a")
    assert 2 == len(world.presence)
    assert "p:1" in world.presence

    first.end("closed")
    second.transport.leave()  # type: ignore[attr-defined]
    assert [("open", "p:1"), ("open", "p:2"), ("close", "p:1"), ("close", "p:2")] == world.events
    assert 0 == len(world.presence)


def test_a_websocket_over_http_goes_by_its_connection_id(world: Watched) -> None:
    leg = OverHttp(None, world.route, b"/", (), Session("its-id"), None)  # type: ignore[arg-type]
    hold = world.websocket(leg)

    assert hold is world.presence.websocket("its-id")
    assert "ws" == world.connection().kind
    hold.connection.abort()  # type: ignore[union-attr]
    assert "its-id" in world.presence  # until the connection is gone


def test_a_websocket_that_is_passed_through_has_an_id_of_ours(world: Watched) -> None:
    hold = world.websocket(FakeLeg())
    name = world.connection().id

    assert 36 == len(name)
    assert hold is world.presence.websocket(name)


def test_only_websockets_are_websockets(world: Watched) -> None:
    world.stream("a")

    assert "http" == world.connection().kind
    assert (None, None) == (world.presence.websocket("p:1"), world.presence.websocket("p:2"))


def test_other_realms_are_not_noted() -> None:
    world = Watched("other")
    world.stream("a").end("closed")

    assert ([], 0) == (world.events, len(world.presence))


def test_a_long_poll_that_is_asked_and_held_again_is_the_same(world: Watched) -> None:
    hold = world.poll(POLL)
    transport = hold.connection
    world.publish(HINT)
    assert "p:1" in world.presence

    again = world.poll(POLL, transport=transport)
    world.advance(2 * SWEEP_EVERY)
    assert again is world.connection().hold

    again.end("shutdown")
    assert [("open", "p:1"), ("close", "p:1")] == world.events


def test_a_long_poll_that_is_asked_again_and_answered_is_over(world: Watched) -> None:
    hold = world.poll(POLL)
    transport: Any = hold.connection
    world.publish(HINT)
    world.advance(3 * SWEEP_EVERY)
    assert "p:1" in world.presence  # the backend has not answered yet

    transport.set_protocol(object())
    world.advance(SWEEP_EVERY)
    assert [("open", "p:1"), ("close", "p:1")] == world.events
    assert [] == [timer for timer in world.loop.timers if timer[1] == world.presence._sweep]


def test_a_long_poll_whose_client_leaves_while_it_is_asked_again_is_over(world: Watched) -> None:
    transport: Any = world.poll(POLL).connection
    world.publish(HINT)
    transport.closing = "left"
    world.advance(SWEEP_EVERY)

    assert 0 == len(world.presence)


def test_a_link_is_no_end(world: Watched) -> None:
    hold = world.stream("a")
    world.presence.end(hold, Follow(None, {}, 0))  # type: ignore[arg-type]

    assert "p:1" in world.presence


def test_an_end_is_told_once(world: Watched) -> None:
    hold = world.poll(POLL)
    hold.connection.closing = "left"  # type: ignore[union-attr]
    world.presence.end(hold, Replay({}, {}))
    world.presence.end(hold, Replay({}, {}))

    assert [("open", "p:1"), ("close", "p:1")] == world.events


def test_turns_go_round(world: Watched) -> None:
    for _ in range(3):
        world.stream("a")
    turns = [[one.id for one in world.presence.take_turn(2)] for _ in range(3)]

    assert [["p:1", "p:2"], ["p:3", "p:1"], ["p:2", "p:3"]] == turns
    assert 3 == len(world.presence.take_turn(10))


@pytest.mark.parametrize(
    ("peer", "expected"),
    [(("192.0.2.1", 1), "192.0.2.1"), (("fe80::1%eth0", 1, 0, 2), "fe80::1"), ("", ""), (None, "")],
)
def test_the_peer_is_an_address_or_nothing(peer: Any, expected: str, world: Watched) -> None:
    world.stream("a")
    connection = replace(world.connection())
    connection.transport.get_extra_info = lambda name: peer if name == "peername" else None  # type: ignore[method-assign,assignment,misc]

    assert (expected, False) == (connection.peer, connection.is_secure)


def test_closing_ends_the_waiting(world: Watched) -> None:
    world.poll(POLL)
    world.publish(HINT)
    world.presence.close()
    world.advance(2 * SWEEP_EVERY)

    assert [("open", "p:1")] == world.events
