"""What is told, of the real holds of a world without sockets."""

from dataclasses import replace
from typing import Any

import pytest
import tnetstring  # of tnetstring3
from msgspec import json

from gripproxy.config import Config, Limits, Realm, Route
from gripproxy.config import Zeromq as Settings
from gripproxy.grip.instruct import Channel, Instruct
from gripproxy.grip.item import HttpResponse, HttpStream, Item, WsMessage
from gripproxy.transports.websocket import WebSocketHold
from gripproxy.zeromq.statistics import Statistics
from tests.unit.transports.websocket_fakes import FakeLeg
from tests.unit.transports.world import World, streaming

ITEM = Item(
    "a", "id-1", response=HttpResponse("send", body=b"r"), stream=HttpStream("send", b"s"), message=WsMessage("send")
)


class Told(World):
    """A world of which is told; ``take`` returns what."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        config = Config(
            routes=(Route(backends=("http://127.0.0.1:1",)),),
            limits=Limits(subscription_linger=5.0),
            zeromq=Settings(stats="ipc:///a", **settings),
            realms={"other": Realm()},
        )
        self.statistics = Statistics(config, self.loop, "p", self.sent.append)  # type: ignore[arg-type]
        self.holds.on_begin = self.statistics.presence.begin
        self.holds.on_end = self.statistics.presence.end
        self.hub.on_subscription = self.statistics.on_subscription
        self.hub.on_item = self.statistics.on_item
        self.statistics.start()

    def take(self, *kinds: str) -> list[tuple[str, dict[str, Any]]]:
        """Return what was told since the last time, of all kinds or of these, without who has told it."""
        taken = []
        for data in self.sent:
            kind, _, rest = data.partition(b" T")
            members = texts(tnetstring.loads(rest))
            assert "gripproxy_p" == members.pop("from")
            if not kinds or kind.decode() in kinds:
                taken.append((kind.decode(), members))
        self.sent.clear()
        return taken

    def websocket(self, *channels: str) -> WebSocketHold:
        hold = WebSocketHold(self.holds, self.route, FakeLeg(), self.transport(), is_deflated=False)  # type: ignore[arg-type]
        for name in channels:
            hold.subscribe(name)
        return hold

    def poll_of(self, channel: str) -> Any:
        return self.poll(Instruct(hold="response", channels=(Channel(channel),), timeout=50))


def texts(value: dict[bytes, Any]) -> dict[str, Any]:
    return {name.decode(): one.decode() if isinstance(one, bytes) else one for name, one in value.items()}


@pytest.fixture
def world() -> Told:
    return Told()


def test_a_hold_is_told_when_it_begins_and_when_it_is_over(world: Told) -> None:
    hold = world.stream("a")
    hold.end("closed")

    assert [
        ("sub", {"mode": "stream", "channel": "a", "ttl": 60, "subscribers": 1}),
        ("conn", {"id": "p:1", "type": "http", "peer-address": "127.0.0.1", "ttl": 120}),
        ("sub", {"mode": "stream", "channel": "a", "unavailable": True}),
        ("conn", {"id": "p:1", "unavailable": True}),
    ] == world.take()


def test_a_websocket_and_one_that_came_over_tls(world: Told) -> None:
    transport = world.transport()
    transport.get_extra_info = lambda name: object() if name == "ssl_object" else None
    WebSocketHold(world.holds, world.route, FakeLeg(), transport, is_deflated=False)  # type: ignore[arg-type]
    ((kind, members),) = world.take()

    assert 36 == len(members.pop("id"))
    assert ("conn", {"type": "ws", "ssl": True, "ttl": 120}) == (kind, members)


def test_a_named_route_is_named(world: Told) -> None:
    world.route = replace(world.route, given_id="mine")
    world.stream("a")
    world.statistics.on_request(world.route)
    world.advance(0.2)
    world.publish(ITEM)
    world.advance(10.0)
    told = world.take("conn", "activity", "counts", "report")

    assert {"mine"} == {members.get("route") for kind, members in told if kind in ("conn", "activity")}
    assert [None] == [members.get("route") for kind, members in told if kind == "counts"]
    reports = {members.get("route"): members for kind, members in told if kind == "report"}
    assert (1, 1, 1) == tuple(reports["mine"][name] for name in ("connections", "minutes", "sent"))
    assert (0, 1, 0) == tuple(reports[None][name] for name in ("connections", "received", "sent"))


def test_requests_are_gathered(world: Told) -> None:
    for _ in range(3):
        world.statistics.on_request(world.route)
    assert [] == world.take()

    world.advance(0.11)
    assert [("activity", {"count": 3}), ("counts", {"requests-received": 3})] == world.take()
    world.advance(0.2)
    assert [] == world.take("activity", "counts")


def test_an_item_is_told_for_each_format_that_has_receivers(world: Told) -> None:
    world.stream("a")
    world.stream("a", is_chunked=True)
    world.linked(streaming("a"))
    world.websocket("a", "b")
    world.poll_of("a")
    world.stream("c")
    world.take()
    world.publish(ITEM, Item("nobody", stream=HttpStream("send", b"x")), Item("b", stream=HttpStream("send", b"x")))

    assert [
        {"channel": "a", "item-id": "id-1", "count": 1, "transport": "http-response"},
        {"channel": "a", "item-id": "id-1", "count": 3, "transport": "http-stream"},
        {"channel": "a", "item-id": "id-1", "count": 1, "transport": "ws-message"},
    ] == [members for _, members in world.take("message")]


def test_an_item_without_an_id(world: Told) -> None:
    world.stream("c")
    world.publish(Item("c", stream=HttpStream("close")))

    assert [("message", {"channel": "c", "count": 1, "transport": "http-stream"})] == world.take("message")


def test_a_websocket_that_changes_its_filters_is_one_subscriber(world: Told) -> None:
    hold = world.websocket("a")
    world.take()
    hold.subscribe("a", ("skip-self",))
    assert [] == world.take()
    world.publish(ITEM)

    assert [1] == [members["count"] for _, members in world.take("message")]


def test_other_realms_are_not_told_of(world: Told) -> None:
    world.route = replace(world.route, realm="other")
    world.stream("a").end("closed")
    world.statistics.on_request(world.route)
    world.hub.deliver("other", ITEM)
    world.advance(11.0)

    assert [] == world.take()


def test_connections_are_told_again_before_their_time_is_over(world: Told) -> None:
    for _ in range(10):
        world.stream()
    world.take()
    for _ in range(4):
        world.advance(90.0)
        again = [members["id"] for _, members in world.take("conn")]
        assert {f"p:{number}" for number in range(1, 11)} == set(again)


def test_without_connections_all_else_is_told() -> None:
    world = Told(stats_connection_send=False)
    hold = world.stream("a")
    world.advance(200.0)
    hold.end("closed")
    world.advance(10.0)
    told = world.take()

    assert {"sub", "report"} == {kind for kind, _ in told}
    assert 3 == sum(members["minutes"] for kind, members in told if kind == "report")


def test_a_report_has_the_sums_of_its_time(world: Told) -> None:
    world.advance(5.0)
    first, second = world.stream("a"), world.stream("a")
    poll = world.poll_of("a")
    for _ in range(3):
        world.statistics.on_request(world.route)
    second.end("closed")
    world.publish(ITEM)
    assert poll.transport.is_closing()
    world.advance(5.0)
    report = {
        "connections": 3,
        "minutes": 3,
        "received": 1,
        "sent": 2,
        "http-response-sent": 1,
        "duration": 5000,
    }
    assert [("report", report)] == world.take("report")

    world.advance(10.0)
    quiet = dict.fromkeys(report, 0) | {"connections": 1, "duration": 10_000}
    assert [("report", quiet)] == world.take("report")

    first.end("closed")
    world.advance(10.0)
    world.take()
    world.advance(10.0)
    assert [0] == [members["connections"] for _, members in world.take("report")]
    world.advance(100.0)
    assert [] == world.take("report")


def test_minutes_of_a_hold_are_full_ones_and_the_first_is_the_request_s(world: Told) -> None:
    world.statistics.on_request(world.route)
    hold = world.stream("a")
    world.advance(185.0)
    hold.end("closed")
    world.advance(10.0)

    assert 4 == sum(members["minutes"] for _, members in world.take("report"))


def test_another_linger_counts_from_then_on(world: Told) -> None:
    world.statistics.configure(Config(limits=Limits(subscription_linger=1.0)))
    world.poll_of("a").end("shutdown")
    world.take()
    world.advance(1.5)

    assert [("sub", {"mode": "response", "channel": "a", "unavailable": True})] == world.take("sub")


def test_reports_can_be_switched_off() -> None:
    world = Told(stats_report_interval=0)
    world.stream("a")
    world.advance(60.0)

    assert [] == world.take("report")


def test_json() -> None:
    world = Told(stats_format="json")
    world.stream("ä")
    kind, _, rest = world.sent[0].partition(b" J")

    assert b"sub" == kind
    assert {
        "from": "gripproxy_p",
        "mode": "stream",
        "channel": "ä",
        "ttl": 60,
        "subscribers": 1,
    } == json.decode(rest)


def test_nothing_is_told_after_the_end(world: Told) -> None:
    world.stream("a")
    world.statistics.on_request(world.route)
    world.statistics.close()
    world.take()
    world.advance(300.0)

    assert [] == world.take()
