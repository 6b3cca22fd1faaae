"""What the sockets are without pyzmq or without being asked for, and who is told of holds."""

import asyncio
import logging
import sys
from typing import Any

import pytest

from gripproxy.bus.local import LocalBus
from gripproxy.config import Config, Route
from gripproxy.config import Zeromq as Settings
from gripproxy.errors import ConfigError
from gripproxy.metrics import Metrics
from gripproxy.subscriptions import Subscriptions
from gripproxy.transports import Done
from gripproxy.zeromq import Zeromq
from tests.unit.transports.world import World

ROUTES = (Route(backends=("http://127.0.0.1:8000",)),)


def make(settings: Settings, world: World | None = None) -> Zeromq:
    world = world or World()

    async def within_a_loop() -> Zeromq:
        metrics = Metrics()
        bus = LocalBus(lambda realm, items: None, metrics)
        subscriptions = Subscriptions(asyncio.get_running_loop(), {}, 0.0, "x")
        config = Config(routes=ROUTES, zeromq=settings, source="file.toml")
        return Zeromq(
            config,
            bus,
            bus,
            subscriptions,
            metrics,
            world.holds,
            refresh=lambda holds: None,
            instance="x",
        )

    return asyncio.run(within_a_loop())


@pytest.fixture
def without_pyzmq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zmq.asyncio", None)
    monkeypatch.setitem(sys.modules, "zmq", None)


@pytest.mark.usefixtures("without_pyzmq")
@pytest.mark.parametrize("settings", [Settings(sub=("tcp://127.0.0.1:1",)), Settings(stats="tcp://127.0.0.1:1")])
def test_without_pyzmq_it_says_how_to_get_it(settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"^file\.toml: zeromq: needs pip install 'gripproxy\[zmq\]' \("):
        make(settings)


@pytest.mark.usefixtures("without_pyzmq")
def test_without_sockets_it_needs_nothing_and_does_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    inputs = make(Settings())
    inputs.open()
    result: Any = asyncio.run(inputs.run())
    inputs.close()

    assert (None, []) == (result, [record for record in caplog.records if record.name.startswith("gripproxy")])


@pytest.mark.parametrize("settings", [Settings(), Settings(pull="tcp://127.0.0.1:1", sub=("tcp://127.0.0.1:2",))])
def test_without_command_and_statistics_nobody_is_told_of_anything(settings: Settings) -> None:
    world = World()
    on_end = world.holds.on_end
    zeromq = make(settings, world)

    assert (None, None, None) == (world.holds.on_begin, world.hub.on_subscription, world.hub.on_item)
    assert (on_end, None) == (world.holds.on_end, zeromq.on_request)


def test_for_commands_alone_only_holds_are_noted() -> None:
    world = World()
    zeromq = make(Settings(command="tcp://127.0.0.1:1"), world)

    assert world.holds.on_begin is not None
    assert (None, None, None) == (world.hub.on_subscription, world.hub.on_item, zeromq.on_request)


def test_for_statistics_everything_is_told_and_holds_end_as_before() -> None:
    world = World()
    zeromq = make(Settings(stats="tcp://127.0.0.1:1"), world)
    stream = world.stream("a")
    stream.end("closed")

    assert zeromq.on_request is not None
    assert None not in (world.holds.on_begin, world.hub.on_subscription, world.hub.on_item)
    assert Done("closed") == world.take_outcome()
