"""From the bus to the hub: once, in order, and late rather than never."""

import asyncio
import logging
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from gripproxy.config import Limits
from gripproxy.delivery import Delivery
from gripproxy.grip import wire
from gripproxy.grip.item import HttpStream, Item
from gripproxy.hub import Hub
from gripproxy.metrics import Metrics
from gripproxy.receipts import Receipt


class Loop:
    """The part of an event loop that a delivery uses: a clock that the test moves, and one timer."""

    def __init__(self) -> None:
        self.clock = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.soon: list[Callable[[], None]] = []

    def time(self) -> float:
        return self.clock

    def call_at(self, when: float, callback: Callable[[], None]) -> Any:
        timer = (when, callback)
        self.timers.append(timer)

        class Handle:
            def cancel(handle) -> None:  # noqa: N805 - `self` is the loop's
                self.timers.remove(timer)

        return Handle()

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def turn(self) -> None:
        """Begin the next turn."""
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()

    def advance(self, seconds: float) -> None:
        self.clock += seconds
        for timer in [timer for timer in self.timers if timer[0] <= self.clock]:
            self.timers.remove(timer)
            timer[1]()


class FakeHub:
    """Remembers what it is to deliver."""

    def __init__(self) -> None:
        self.channels: dict[tuple[str, str], int] = {("r", "c"): 1}
        self.delivered: list[tuple[str, str | None]] = []

    def deliver(self, realm: str, item: Item) -> None:
        self.delivered.append((realm, item.id))


def item(identifier: str | None, prev_id: str | None = None, channel: str = "c") -> Item:
    return Item(channel, identifier, prev_id, stream=HttpStream("send", b"x"))


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def delivery(loop: Loop, hub: FakeHub, metrics: Metrics) -> Delivery:
    return Delivery(hub, Limits(message_wait=5.0), metrics, loop)  # type: ignore[arg-type]


def test_items_are_delivered_in_their_order(delivery: Delivery, hub: FakeHub) -> None:
    delivery.receive("r", (item("1"), item("2", "1")))
    delivery.receive("r", (item("3", "2"),))
    assert [("r", "1"), ("r", "2"), ("r", "3")] == hub.delivered


def test_what_the_bounds_of_its_tables_cost_is_counted(delivery: Delivery, metrics: Metrics) -> None:
    sequencer = delivery._sequencer
    sequencer._duplicates_max = sequencer._last_ids_max = sequencer._pending_max = 1
    sequencer._history._total = 2500  # of which two items have room
    delivery.receive("r", (item("1"), item("3", "2"), item("4", "3")))

    assert {
        b'gripproxy_gaps_total{kind="early"} 1.0',
        b'gripproxy_forgotten_total{what="id"} 2.0',
        b'gripproxy_forgotten_total{what="last-id"} 0.0',
        b'gripproxy_forgotten_total{what="item"} 1.0',
    } <= set(metrics.exposition().splitlines())


def test_the_same_item_is_delivered_once(delivery: Delivery, hub: FakeHub, metrics: Metrics) -> None:
    delivery.receive("r", (item("1"),))
    delivery.receive("r", (item("1"),))
    assert [("r", "1")] == hub.delivered
    assert b"\ngripproxy_duplicates_total 1.0\n" in metrics.exposition()


def test_realms_do_not_know_each_others_ids(delivery: Delivery, hub: FakeHub) -> None:
    hub.channels["s", "c"] = 1
    delivery.receive("r", (item("1"),))
    delivery.receive("s", (item("1"),))
    assert [("r", "1"), ("s", "1")] == hub.delivered


def test_an_item_waits_for_the_one_before_it(delivery: Delivery, hub: FakeHub, loop: Loop) -> None:
    delivery.receive("r", (item("1"), item("3", "2")))
    assert [("r", "1")] == hub.delivered
    delivery.receive("r", (item("2", "1"),))
    assert [("r", "1"), ("r", "2"), ("r", "3")] == hub.delivered
    loop.advance(10)
    assert 3 == len(hub.delivered)


def test_it_does_not_wait_for_ever(delivery: Delivery, hub: FakeHub, loop: Loop) -> None:
    delivery.receive("r", (item("1"), item("3", "2")))
    loop.advance(4.9)
    assert [("r", "1")] == hub.delivered
    loop.advance(0.2)
    assert [("r", "1"), ("r", "3")] == hub.delivered


def test_each_of_several_that_wait_has_its_own_time(delivery: Delivery, hub: FakeHub, loop: Loop) -> None:
    hub.channels["r", "d"] = 1
    delivery.receive("r", (item("1"), item("3", "2")))
    loop.advance(2)
    delivery.receive("r", (item("1", channel="d"), item("3", "2", channel="d")))
    loop.advance(3.1)
    assert 3 == len(hub.delivered)
    loop.advance(2)
    assert 4 == len(hub.delivered)


def test_what_was_delivered_can_be_asked_for(delivery: Delivery) -> None:
    delivery.receive("r", (item("1"), item("2", "1"), item("3", "2")))
    missed = delivery.since("r", "c", "1")
    assert missed is not None
    assert ["2", "3"] == [one.id for one in missed]
    assert delivery.since("r", "c", "unknown") is None


@pytest.mark.parametrize(("prev_id", "expected"), [("1", True), ("2", False), ("unknown", True)])
def test_a_hold_is_behind_when_its_client_is(delivery: Delivery, prev_id: str, expected: bool) -> None:
    delivery.receive("r", (item("1"), item("2", "1")))
    assert expected == delivery.is_behind("r", "c", prev_id)


def test_nobody_is_behind_on_a_channel_without_items(delivery: Delivery) -> None:
    assert not delivery.is_behind("r", "quiet", "1")


def test_moments_tell_what_came_between(delivery: Delivery) -> None:
    delivery.receive("r", (item("1"),))
    moment = delivery.moment
    delivery.receive("r", (item(None), item("2", "1")))
    assert [None, "2"] == [one.id for one in delivery.arrived("r", "c", moment)]
    assert [] == delivery.arrived("s", "c", moment)
    assert [] == delivery.arrived("r", "c", delivery.moment)


def test_what_is_not_remembered_any_more_is_known(delivery: Delivery, loop: Loop) -> None:
    moment = delivery.moment
    delivery.receive("r", (item("1"),))
    assert delivery.reaches(moment)
    loop.advance(61)
    delivery.receive("r", (item("2", "1"),))
    assert [False, True] == [delivery.reaches(moment), delivery.reaches(moment + 1)]


def test_who_waits_for_a_body_may_ask_for_all_that_came_meanwhile(delivery: Delivery) -> None:
    items = tuple(item(str(number)) for number in range(Limits().history_items + 50))
    moment = delivery.moment
    with delivery.remembering():
        delivery.receive("r", items)
        assert list(items) == delivery.arrived("r", "c", moment)
    delivery.receive("r", (item("x"),))
    assert [*items[51:], item("x")] == delivery.arrived("r", "c", moment)


def test_what_came_in_this_turn_of_the_loop_is_after_its_beginning(delivery: Delivery, loop: Loop) -> None:
    delivery.receive("r", (item("1"),))
    loop.turn()
    assert delivery.moment == delivery.turn
    delivery.receive("r", (item("2", "1"),))
    delivery.receive("r", (item("3", "2"),))
    assert ["2", "3"] == [one.id for one in delivery.arrived("r", "c", delivery.turn)]
    loop.turn()
    assert delivery.moment == delivery.turn


def test_what_comes_too_late_comes_in_a_turn_of_its_own(delivery: Delivery, loop: Loop) -> None:
    delivery.receive("r", (item("1"), item("3", "2")))
    loop.turn()
    loop.advance(5)
    assert ["3"] == [one.id for one in delivery.arrived("r", "c", delivery.turn)]


def test_what_was_not_waited_for_any_longer_is_counted(delivery: Delivery, metrics: Metrics, loop: Loop) -> None:
    delivery.receive("r", (item("1"), item("3", "2")))
    assert 0 == sum(metrics.gaps.values())
    loop.advance(5)
    assert (1, 1) == (metrics.gaps["late"], sum(metrics.gaps.values()))


def test_the_last_subscriber_takes_the_order_along(delivery: Delivery, hub: FakeHub, loop: Loop) -> None:
    delivery.receive("r", (item("1"),))
    delivery.forget_channel("r", "c")
    hub.channels.clear()
    loop.advance(6)
    delivery.receive("r", (item("9", "8"),))
    assert [("r", "1"), ("r", "9")] == hub.delivered


def test_after_recovering_nothing_is_compared_with_what_was(delivery: Delivery, hub: FakeHub) -> None:
    delivery.receive("r", (item("1"),))
    delivery.recover()
    assert not delivery.is_behind("r", "c", "0")


def test_recovering_one_realm_leaves_what_is_known_of_others(delivery: Delivery, hub: FakeHub) -> None:
    hub.channels[("s", "c")] = 1
    for realm in ("r", "s"):
        delivery.receive(realm, (item("1"), item("2", "1")))
    delivery.recover("r")
    assert (None, ["2"]) == (delivery.since("r", "c", "1"), [one.id for one in delivery.since("s", "c", "1") or ()])
    assert (False, True) == (delivery.is_behind("r", "c", "1"), delivery.is_behind("s", "c", "1"))


def test_a_closed_delivery_waits_for_nothing(delivery: Delivery, hub: FakeHub, loop: Loop) -> None:
    delivery.receive("r", (item("1"), item("3", "2")))
    delivery.close()
    loop.advance(10)
    assert [("r", "1")] == hub.delivered


def test_other_limits_count_for_what_waits_too(delivery: Delivery, hub: FakeHub, loop: Loop) -> None:
    delivery.receive("r", (item("1"), item("3", "2")))
    delivery.configure(Limits(message_wait=1.0))
    loop.advance(1.0)
    assert [("r", "1"), ("r", "3")] == hub.delivered


# --- receipts, and channels without subscribers


@pytest.fixture
def real(loop: Loop, metrics: Metrics) -> tuple[Delivery, Hub]:
    """A delivery with a real hub and two streams on the channel c."""
    hub = Hub(loop, lambda subscriber, error: None)  # type: ignore[arg-type]
    for _ in range(2):
        hub.subscribe(Client(), "r", "c", wire.PLAIN)  # type: ignore[arg-type]
    return Delivery(hub, Limits(backlog=500), metrics, loop), hub  # type: ignore[arg-type]


class Client:
    """A stream that takes everything."""

    def __init__(self) -> None:
        self.transport = self

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None: ...


def test_a_receipt_says_what_became_of_each_item(real: tuple[Delivery, Hub]) -> None:
    """Whatever the order in which the batch has them."""
    batch = (item("1"), item("1"), item("3", "2"), item("2", "1"), item("9", "8"), item("1", channel="d"))
    receipt = Receipt(batch)
    real[0].receive("r", batch, receipt)
    assert ["delivered", "duplicate", "delivered", "delivered", "waiting", "delivered"] == receipt.results
    assert [2, 0, 2, 2, 0, 0] == [one["http-stream"] for one in receipt.receivers]


def test_a_receipt_is_done_when_the_passes_are(real: tuple[Delivery, Hub], loop: Loop) -> None:
    batch = (item("1"), item("1", channel="d"))
    receipt = Receipt(batch)
    real[0].receive("r", batch, receipt)
    assert not is_written(receipt)
    while loop.soon:
        loop.turn()
    assert is_written(receipt)


def test_what_waited_since_another_batch_is_not_of_this_receipt(real: tuple[Delivery, Hub]) -> None:
    real[0].receive("r", (item("1"), item("3", "2")))
    batch = (item("2", "1"),)
    receipt = Receipt(batch)
    real[0].receive("r", batch, receipt)
    assert ["delivered"] == receipt.results


def is_written(receipt: Receipt) -> bool:
    async def ask() -> bool:
        try:
            async with asyncio.timeout(0):
                await receipt.written()
        except TimeoutError:
            return False
        return True

    return asyncio.run(ask())


def test_it_is_full_while_too_much_is_not_written(real: tuple[Delivery, Hub], loop: Loop) -> None:
    delivery, _ = real
    assert not delivery.is_full
    delivery.receive("r", tuple(item(None) for _ in range(10)))
    assert delivery.is_full
    while loop.soon:
        loop.turn()
    assert not delivery.is_full


def test_without_a_limit_it_is_never_full(loop: Loop, metrics: Metrics) -> None:
    hub = Hub(loop, lambda subscriber, error: None)  # type: ignore[arg-type]
    hub.backlog = 1 << 40
    assert not Delivery(hub, Limits(backlog=0), metrics, loop).is_full  # type: ignore[arg-type]


def test_items_for_nobody_are_counted_and_their_channels_told_once(
    delivery: Delivery, metrics: Metrics, loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    delivery.receive("r", (item("1"), item("1", channel="d"), item("1", channel="d"), item("2", channel="d")))
    delivery.receive("s", (item("4", "3", channel="c"),))
    assert 3 == metrics.unheard
    assert ["realm r: published to 1", "realm s: published to 1"] == [
        message.partition(" channel")[0] for message in caplog.messages
    ]


def test_a_channel_whose_last_subscriber_has_left_is_not_told(
    delivery: Delivery, hub: FakeHub, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    hub.channels.clear()
    delivery.forget_channel("r", "c")
    delivery.receive("r", (item("1"),))
    assert (1, []) == (metrics.unheard, caplog.messages)


def test_what_was_late_for_nobody_is_counted(delivery: Delivery, hub: FakeHub, metrics: Metrics, loop: Loop) -> None:
    delivery.receive("r", (item("1"), item("3", "2")))
    hub.channels.clear()
    loop.advance(5)
    assert 1 == metrics.unheard


def test_memory_is_bounded_however_fast_publishers_are(loop: Loop, metrics: Metrics) -> None:
    """5,000 streams take some 600 turns for each pass, and a publish comes in each turn."""
    limit, size = 1_000_000, 10_000
    hub = Hub(loop, lambda subscriber, error: None)  # type: ignore[arg-type]
    for _ in range(5_000):
        hub.subscribe(Client(), "r", "c", wire.PLAIN)  # type: ignore[arg-type]
    delivery = Delivery(hub, Limits(backlog=limit), metrics, loop)  # type: ignore[arg-type]
    taken = most = 0
    tracemalloc.start()
    try:
        for number in range(2_000):
            if not delivery.is_full:
                delivery.receive("r", (Item("c", stream=HttpStream("send", b"%d" % number * (size // 4))),))
                taken += 1
            most = max(most, hub.backlog)
            loop.turn()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert limit < most < limit + 2 * size
    assert taken < 200  # of 2,000; some 110 fill the backlog, the others what the passes have taken from it
    assert peak < 4 * limit  # the backlog, and as much history
    while loop.soon:
        loop.turn()
    assert 0 == hub.backlog
