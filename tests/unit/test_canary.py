"""The canary: it goes where items go, is seen by nobody, and its absence is noticed."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gripproxy.bus.local import LocalBus
from gripproxy.canary import ABROAD_MAX, LATE, NOT_YET, REALM, REFUSED, Canary
from gripproxy.config import Config, Realm, SettingError
from gripproxy.grip.item import Item
from gripproxy.hub import EACH, Hub
from gripproxy.metrics import Metrics
from gripproxy.receipts import Receipt

# Seconds after which one is late here.
INTERVAL = 0.01


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class World:
    """A hub, a canary of it, and a bus that may be as bad as the test wants."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.hub = Hub(asyncio.get_running_loop(), on_error=self._raise)
        self.canary = Canary(self.hub, self.metrics, INTERVAL, self.clock, "me")
        self.receipts: list[Receipt | None] = []
        self.delivered: list[tuple[str, tuple[Item, ...]]] = []
        self.sink = self.canary.sink(self._deliver)
        self.bus = LocalBus(self.sink)
        self.hub.subscribe(self.canary, REALM, "me", EACH)

    def _deliver(self, realm: str, items: tuple[Item, ...], receipt: Receipt | None = None, /) -> None:
        self.delivered.append((realm, items))
        self.receipts.append(receipt)

    @staticmethod
    def _raise(subscriber: object, error: Exception) -> None:
        raise error


class Keeper:
    """A bus that keeps what it takes until the test lets go."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, tuple[Item, ...]]] = []

    async def publish(self, realm: str, items: tuple[Item, ...], receipt: Receipt | None = None) -> None:
        self.kept.append((realm, items))


class Refuser:
    async def publish(self, realm: str, items: tuple[Item, ...], receipt: Receipt | None = None) -> None:
        raise OSError("Redis did not take it within 2 s")


def play(scene: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def all_of_it() -> None:
        await scene(World())

    asyncio.run(all_of_it())


def test_it_arrives_through_bus_and_hub_and_nobody_else_sees_it() -> None:
    async def scene(world: World) -> None:
        assert ("arrived", "") == await world.canary.send(world.bus)
        assert [] == world.delivered
        assert (1, 1) == (world.canary.deliveries, world.hub.deliveries[EACH])

    play(scene)


def test_it_tells_how_long_it_took() -> None:
    async def scene(world: World) -> None:
        keeper = Keeper()
        sending = asyncio.create_task(world.canary.send(keeper))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        world.clock.now += 0.004
        assert pytest.approx(0.004) == world.canary.lag  # by now
        world.sink(*keeper.kept[0])
        assert ("arrived", "") == await sending
        world.clock.now += 60
        assert pytest.approx(0.004) == world.canary.lag
        assert pytest.approx(0.004) == world.metrics.delivery_seconds.total

    play(scene)


def test_items_of_clients_are_delivered_as_ever() -> None:
    async def scene(world: World) -> None:
        items = (Item("c"),)
        receipt = Receipt(items)
        await world.bus.publish("default", items)
        await world.bus.publish("default", items, receipt)
        assert [("default", items)] * 2 == world.delivered
        assert [None, receipt] == world.receipts

    play(scene)


def test_canaries_of_other_processes_are_ignored() -> None:
    async def scene(world: World) -> None:
        world.sink(REALM, (Item("another", id="1"),))
        await asyncio.sleep(0)
        assert (0, [], 0) == (world.hub.items, world.delivered, world.canary.deliveries)

    play(scene)


def test_one_that_comes_twice_or_never_was_sent_means_nothing() -> None:
    async def scene(world: World) -> None:
        await world.canary.send(world.bus)
        world.sink(REALM, (Item("me", id="1"), Item("me", id="99"), Item("me")))
        await asyncio.sleep(0)
        assert [1] == [count for count in world.metrics.delivery_seconds.counts if count]

    play(scene)


def test_the_lag_of_one_that_is_lost_ends_with_the_next_that_arrives() -> None:
    async def scene(world: World) -> None:
        assert ("late", "") == await world.canary.send(Keeper())  # type: ignore[arg-type]
        world.clock.now += 7
        assert 7 == world.canary.lag
        await world.canary.send(world.bus)
        assert 0 == world.canary.lag

    play(scene)


def test_there_is_an_end_to_what_is_remembered_of_the_lost() -> None:
    async def scene(world: World) -> None:
        world.canary._interval = 0.0
        for _ in range(ABROAD_MAX + 5):
            await world.canary.send(Keeper())  # type: ignore[arg-type]
        assert ABROAD_MAX == len(world.canary._abroad)

    play(scene)


def test_doubts_come_and_go_with_what_becomes_of_it(caplog: pytest.LogCaptureFixture) -> None:
    """Each change is logged once, with the cause where it is known."""

    async def scene(world: World) -> None:
        canary = world.canary
        assert NOT_YET == canary.doubt
        doubts = []
        for bus in (world.bus, Keeper(), Keeper(), Refuser(), world.bus):
            canary._judge(*await canary.send(bus))  # type: ignore[arg-type]
            doubts.append(canary.doubt)
        late = LATE.format(INTERVAL)
        assert ["", late, late, REFUSED, ""] == doubts
        assert {"arrived": 2, "late": 2, "refused": 1} == world.metrics.canaries

    caplog.set_level(logging.INFO)
    play(scene)
    assert [
        "not ready for clients: Deliveries are late: what was published 0.01 seconds ago has not arrived.",
        "not ready for clients: The bus does not take what is published. (Redis did not take it within 2 s)",
        "ready for clients: deliveries are in time again",
    ] == caplog.messages


def test_it_is_a_subscriber_only_while_it_runs() -> None:
    async def scene(world: World) -> None:
        world.hub.unsubscribe(world.canary, REALM, "me", EACH)
        running = asyncio.create_task(world.canary.run(world.bus))
        while world.metrics.canaries["arrived"] < 2:
            world.clock.now += 1
            await asyncio.sleep(0)
        assert (1, 1, "") == (world.hub.subscriptions, world.canary.subscriptions, world.canary.doubt)
        assert sum(world.metrics.loop_delay_seconds.counts)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
        assert ({}, 0) == (world.hub.channels, world.canary.subscriptions)

    play(scene)


def test_without_an_interval_there_is_none_and_no_doubt() -> None:
    async def scene(world: World) -> None:
        canary = Canary(world.hub, world.metrics, 0.0, world.clock)
        await canary.run(world.bus)
        assert ("", 0.0, 0) == (canary.doubt, canary.lag, canary.subscriptions)

    play(scene)


def test_no_realm_can_be_called_as_its_own() -> None:
    with pytest.raises(SettingError, match="realms"):
        Config(realms={REALM: Realm()})
