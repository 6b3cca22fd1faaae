"""The bus of one process."""

import asyncio
import logging

import pytest

from gripproxy.bus.local import LocalBus
from gripproxy.grip.item import Item, parse_items
from gripproxy.metrics import Metrics
from gripproxy.receipts import Receipt

ITEMS = parse_items(b'{"items":[{"channel":"a","http-stream":{"content":"x"}}]}')


def test_a_batch_is_at_the_sink_when_publish_returns() -> None:
    got: list[tuple[str, tuple[Item, ...]]] = []
    bus = LocalBus(lambda realm, items: got.append((realm, items)))

    asyncio.run(bus.publish("headline", ITEMS))

    assert [("headline", ITEMS)] == got


def test_a_batch_is_delivered_in_the_turn_of_its_publish() -> None:
    """Nothing else of the loop comes between, so a batch cannot be torn apart."""
    order: list[str] = []
    bus = LocalBus(lambda realm, items: order.append("sink"))

    async def publish() -> None:
        asyncio.get_running_loop().call_soon(order.append, "loop")
        await bus.publish("headline", ITEMS)

    asyncio.run(publish())

    assert "sink" == order[0]


def test_a_receipt_goes_to_the_sink_with_its_batch() -> None:
    got: list[Receipt | None] = []

    def sink(realm: str, items: tuple[Item, ...], receipt: Receipt | None = None) -> None:
        got.append(receipt)

    receipt = Receipt(ITEMS)
    bus = LocalBus(sink)
    asyncio.run(bus.publish("headline", ITEMS, receipt))
    asyncio.run(bus.publish("headline", ITEMS))

    assert [receipt, None] == got


def test_it_is_full_when_the_process_has_no_room() -> None:
    has_room = True
    bus = LocalBus(lambda *_: None, has_room=lambda: has_room)
    assert not bus.is_full
    has_room = False
    assert bus.is_full


def test_a_failing_sink_is_logged_and_counted_and_the_publisher_does_not_hear_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Some subscribers may have the items already: a publisher who repeats them would send them twice."""

    def fail(realm: str, items: tuple[Item, ...]) -> None:
        raise ZeroDivisionError("a defect")

    metrics = Metrics()
    with caplog.at_level(logging.ERROR):
        asyncio.run(LocalBus(fail, metrics).publish("headline", ITEMS))

    assert 1 == metrics.sink_errors
    assert "realm headline" in caplog.text
    assert "ZeroDivisionError: a defect" in caplog.text


def test_it_has_nothing_to_run_and_nothing_to_close() -> None:
    metrics = Metrics()

    async def use() -> None:
        bus = LocalBus(lambda realm, items: None, metrics)
        await bus.run()
        await bus.close()

    asyncio.run(use())
    assert 1 == metrics.bus_up
