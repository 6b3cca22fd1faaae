"""What is done for a command, and what is replied to it."""

import asyncio
import logging
from typing import Any

import pytest
import tnetstring  # of tnetstring3
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.config import Config, Realm, Route
from gripproxy.config import Zeromq as Settings
from gripproxy.grip.item import HttpStream, Item
from gripproxy.grip.websocket import Session
from gripproxy.metrics import Metrics
from gripproxy.transports.holds import Hold
from gripproxy.transports.over_http import OverHttp
from gripproxy.transports.websocket import WebSocketHold
from gripproxy.zeromq.commands import Commands
from gripproxy.zeromq.presence import Presence
from tests.unit.transports.websocket_fakes import FakeLeg
from tests.unit.transports.world import World
from tests.unit.zeromq.test_inputs import Bus

GOOD = {b"channel": b"a", b"formats": {b"http-stream": {b"content": b"12345\xff"}}}
ITEM = Item("a", stream=HttpStream("send", b"12345\xff"))
SETTINGS = Settings(pull="tcp://0.0.0.0:1", sub=("tcp://127.0.0.1:2", "ipc:///s"), command="ipc:///c", realm="default")


class Asked(World):
    """A world with somebody who asks."""

    def __init__(self, settings: Settings = SETTINGS, bus: Bus | None = None, max_item: int = 0) -> None:
        super().__init__()
        self.bus = bus or Bus()
        self.metrics = Metrics()
        self.refreshed: list[Hold] = []
        self.presence = Presence(self.loop, "default", "p")  # type: ignore[arg-type]
        self.holds.on_begin = self.presence.begin
        self.holds.on_end = self.presence.end
        config = Config(
            routes=(Route(backends=("http://127.0.0.1:1",)),),
            zeromq=settings,
            realms={"default": Realm(max_item=max_item)},
        )
        self.commands = Commands(
            config,
            self.bus,
            self.metrics,
            self.presence,
            self.holds,
            self.refreshed.extend,
        )

    def ask(self, method: bytes, **args: Any) -> dict[bytes, Any]:
        command: dict[bytes, Any] = {b"id": b"7", b"method": method}
        if args:
            command[b"args"] = {name.encode(): value for name, value in args.items()}
        reply = self.send(tnetstring.dumps(command))
        assert b"7" == reply.pop(b"id")
        return reply

    def send(self, *parts: bytes) -> dict[bytes, Any]:
        reply: dict[bytes, Any] = tnetstring.loads(asyncio.run(self.commands.answer(list(parts))))
        return reply

    def websocket(self, *channels: str, leg: Any = None) -> WebSocketHold:
        hold = WebSocketHold(self.holds, self.route, leg or FakeLeg(), self.transport(), is_deflated=False)
        for name in channels:
            hold.subscribe(name)
        return hold


@pytest.fixture
def world() -> Asked:
    return Asked()


DONE = {b"success": True, b"value": None}


def refused(condition: bytes, **more: bytes) -> dict[bytes, Any]:
    return {b"success": False, b"condition": condition, **{name.encode(): value for name, value in more.items()}}


@pytest.mark.parametrize(
    ("settings", "addresses"),
    [
        (
            SETTINGS,
            {
                b"command": b"ipc:///c",
                b"publish-pull": b"tcp://*:1",
                b"publish-sub": b"tcp://127.0.0.1:2",
            },
        ),
        (Settings(command="ipc:///c", sub=("tcp://a:1",), sub_connect=True), {b"command": b"ipc:///c"}),
    ],
)
def test_addresses(settings: Settings, addresses: dict[bytes, bytes]) -> None:
    assert {b"success": True, b"value": addresses} == Asked(settings).ask(b"get-zmq-uris")


def test_a_publish_is_published_whole(world: Asked) -> None:
    assert DONE == world.ask(b"publish", items=[GOOD, GOOD])
    assert [("default", (ITEM, ITEM))] == world.bus.published
    assert (1, 2) == (
        world.metrics.zeromq_commands["publish", "success"],
        world.metrics.publish_items["http-stream", "accepted"],
    )


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ({}, b"Invalid format: object does not contain 'items'"),
        ({"items": 1}, b"Invalid format: items: must be a list, not 1"),
        ({"items": [1]}, b"Invalid format: items[0]: must be an object, not 1"),
        ({"items": [GOOD, {b"channel": b"a"}]}, b"Invalid format: items[1]: no formats specified"),
        ({"items": [{b"channel": b"\xff"}]}, b"Invalid format: items[0].channel: must be a string, not bytes"),
        (
            {"items": [{b"channel": b"a", b"ws-message": {b"content": b"\xff"}}]},
            b"Invalid format: items[0].formats.ws-message.content: must be UTF-8 in a message of type 'text'",
        ),
        (
            {"items": [{b"channel": b"a", b"http-response": {b"body-patch": [b"\xff"]}}]},
            b"Invalid format: items[0]: a text is not UTF-8",
        ),
    ],
)
def test_nothing_of_a_wrong_publish_is_published(
    args: dict[str, Any], text: bytes, world: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    assert refused(b"bad-request", value=text) == world.ask(b"publish", **args)
    assert ([], 1) == (world.bus.published, world.metrics.zeromq_commands["publish", "bad-request"])
    assert caplog.messages[0].startswith("zeromq.command: refused to publish: Invalid format: ")


def test_the_limit_of_the_realm_counts() -> None:
    world = Asked(max_item=5)
    text = b"Invalid format: items[0]: a content is larger than 5 bytes (the realm's max_item)"

    assert refused(b"bad-request", value=text) == world.ask(b"publish", items=[GOOD])
    assert [] == world.bus.published


@pytest.mark.parametrize(("method", "args"), [(b"publish", {"items": [GOOD]}), (b"recover", {})])
def test_a_bus_that_is_down_is_said(method: bytes, args: dict[str, Any]) -> None:
    world = Asked(bus=Bus(ConnectionError()))
    reply = world.ask(method, **args)

    assert refused(b"service-unavailable", value=b"the bus is unavailable (ConnectionError)") == reply
    assert (1, 0) == (world.metrics.bus_errors, world.metrics.publish_items["http-stream", "accepted"])


def test_too_much_that_is_not_written_yet_refuses_a_publish(world: Asked) -> None:
    world.bus.is_full = True
    text = b"too much is published and not written yet (limits.backlog)"

    assert refused(b"service-unavailable", value=text) == world.ask(b"publish", items=[GOOD])
    assert [] == world.bus.published


def test_another_limit_counts_from_then_on(world: Asked) -> None:
    world.commands.configure(Config(zeromq=SETTINGS, realms={"default": Realm(max_item=5)}))

    assert b"bad-request" == world.ask(b"publish", items=[GOOD])[b"condition"]


def test_a_defect_is_replied_to_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    world = Asked(bus=Bus(RuntimeError("a defect")))

    assert refused(b"service-unavailable") == world.ask(b"publish", items=[GOOD])
    assert "zeromq.command: publish failed" in caplog.messages


def test_recover_is_for_the_realm(world: Asked, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    assert DONE == world.ask(b"recover")
    assert (["default"], ["realm default: recovering"]) == (world.bus.recovered, caplog.messages)


def test_a_websocket_is_refreshed_by_its_id(world: Asked) -> None:
    leg = OverHttp(None, world.route, b"/", (), Session("its-id"), None)  # type: ignore[arg-type]
    hold = world.websocket(leg=leg)
    refreshed: list[None] = []
    hold.leg = FakeLeg()
    hold.leg.refresh = lambda: refreshed.append(None)  # type: ignore[method-assign]

    assert DONE == world.ask(b"refresh", cid=b"its-id")
    assert [None] == refreshed


def test_only_websockets_are_refreshed_by_id(world: Asked) -> None:
    world.stream("a")

    assert refused(b"item-not-found") == world.ask(b"refresh", cid=b"p:1")
    assert refused(b"item-not-found") == world.ask(b"refresh", cid=b"\xff")


def test_the_websockets_of_a_channel_are_refreshed(world: Asked) -> None:
    plain, other = world.websocket("a"), world.websocket("b")
    filtered = world.websocket()
    filtered.subscribe("a", ("skip-self",))
    world.stream("a")

    assert DONE == world.ask(b"refresh", channel=b"a")
    assert [plain, filtered] == world.refreshed
    assert DONE == world.ask(b"refresh", channel=b"nobody")
    assert other not in world.refreshed


@pytest.mark.parametrize("args", [{}, {"cid": 1}, {"channel": None}, {"cid": 1, "channel": b"a"}])
def test_a_refresh_of_nothing(args: dict[str, Any], world: Asked) -> None:
    assert refused(b"bad-request") == world.ask(b"refresh", **args)


def test_connections_are_checked(world: Asked) -> None:
    world.stream("a")
    hold = world.stream("a")
    ids = [b"p:2", b"p:1", b"p:2", b"p:3", b"\xff"]
    assert {b"success": True, b"value": [b"p:2", b"p:1"]} == world.ask(b"conncheck", ids=ids)

    hold.end("closed")
    assert {b"success": True, b"value": [b"p:1"]} == world.ask(b"conncheck", ids=ids)
    assert {b"success": True, b"value": []} == world.ask(b"conncheck", ids=[])


@pytest.mark.parametrize("args", [{}, {"ids": b"p:1"}, {"ids": [1]}, {"ids": [b"p:1", []]}])
def test_a_check_of_nothing(args: dict[str, Any], world: Asked) -> None:
    assert refused(b"bad-request") == world.ask(b"conncheck", **args)


@pytest.mark.parametrize("method", [b"", b"PUBLISH", b"\xff"])
def test_a_method_that_there_is_not(method: bytes, world: Asked) -> None:
    assert refused(b"method-not-found") == world.ask(method)
    assert 1 == world.metrics.zeromq_commands["unknown", "method-not-found"]


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b""],
        [b"x"],
        [b"a", b"b"],
        [b"0:}"],
        [tnetstring.dumps([])],
        [tnetstring.dumps({b"method": 1})],
        [tnetstring.dumps({b"method": b"recover", b"args": []})],
        [tnetstring.dumps({b"method": b"recover", b"id": 1})],
    ],
)
def test_what_is_no_command_is_replied_to(parts: list[bytes], world: Asked) -> None:
    assert refused(b"bad-request") == world.send(*parts)
    assert [] == world.bus.recovered


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.binary() | st.sampled_from([b"a", b"p:1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([b"items", b"ids", b"cid", b"channel", b"formats"]), inner, max_size=3)
    ),
    max_leaves=8,
)
METHODS = st.sampled_from([b"get-zmq-uris", b"publish", b"recover", b"refresh", b"conncheck", b"x"])


COMMANDS = st.fixed_dictionaries({b"method": METHODS, b"args": VALUES}, optional={b"id": VALUES})


@given(st.binary() | COMMANDS.map(tnetstring.dumps))
def test_anything_is_replied_to(data: bytes) -> None:
    reply = Asked().send(data)

    assert reply[b"success"] is True or reply[b"condition"] in (b"bad-request", b"item-not-found", b"method-not-found")
