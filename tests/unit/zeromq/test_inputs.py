"""The ZeroMQ inputs without sockets: what becomes of messages, and what is said of those that are wrong."""

import asyncio

import pytest

from gripproxy.bus.local import LocalBus
from gripproxy.config import Config, Realm, Route
from gripproxy.config import Zeromq as Settings
from gripproxy.errors import ItemError
from gripproxy.grip.item import HttpStream, Item
from gripproxy.metrics import Metrics
from gripproxy.zeromq.inputs import Intake, read_pull, read_sub

ROUTES = (Route(backends=("http://127.0.0.1:8000",)),)
GOOD = b'J{"channel":"a","formats":{"http-stream":{"content":"12345"}}}'
ITEM = Item("a", stream=HttpStream("send", b"12345"))


class Bus:
    """Keeps what is published, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.published: list[tuple[str, tuple[Item, ...]]] = []
        self.recovered: list[str] = []
        self.error = error
        self.is_full = False

    async def publish(self, realm: str, items: tuple[Item, ...]) -> None:
        if self.error is not None:
            raise self.error
        self.published.append((realm, items))

    async def recover(self, realm: str) -> None:
        if self.error is not None:
            raise self.error
        self.recovered.append(realm)

    async def run(self) -> None: ...

    async def close(self) -> None: ...


def take(bus: Bus, messages: list[list[bytes]], max_item: int = 0) -> Metrics:
    settings = Settings(pull="tcp://127.0.0.1:1", realm="r")
    config = Config(routes=ROUTES, zeromq=settings, realms={"r": Realm(max_item=max_item)})
    metrics = Metrics()
    asyncio.run(Intake(config, bus, metrics).publish("pull", messages, read_pull))
    return metrics


def test_the_items_of_messages_are_published_together() -> None:
    bus = Bus()
    metrics = take(bus, [[GOOD], [GOOD]])

    assert [("r", (ITEM, ITEM))] == bus.published
    assert (2, 2) == (metrics.zeromq_messages["published"], metrics.publish_items["http-stream", "accepted"])


def test_a_wrong_message_is_dropped_and_the_others_are_not(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus()
    metrics = take(bus, [[b"J{}"], [GOOD], [b"\x1b[31m"]])

    assert [("r", (ITEM,))] == bus.published
    assert (1, 2) == (metrics.zeromq_messages["published"], metrics.zeromq_messages["refused"])
    assert [
        "zeromq.pull: dropped a message: item: does not contain 'channel'",
        "zeromq.pull: dropped a message: neither JSON after J nor a typed netstring: byte 0: a length is missing",
    ] == caplog.messages


def test_nothing_is_published_of_wrong_messages_alone() -> None:
    bus = Bus()
    take(bus, [[b""]])

    assert [] == bus.published


@pytest.mark.parametrize(("max_item", "published"), [(4, 0), (5, 1), (0, 1)])
def test_the_limit_of_the_realm_counts(max_item: int, published: int) -> None:
    bus = Bus()
    metrics = take(bus, [[GOOD]], max_item)

    assert published == len(bus.published) == metrics.zeromq_messages["published"]


@pytest.mark.parametrize(("error", "lines"), [(ConnectionError(), 1), (RuntimeError("a defect"), 2)])
def test_what_the_bus_does_not_take_is_lost_and_counted(
    error: Exception, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = take(Bus(error), [[GOOD], [GOOD]])

    assert (2, 1, 0) == (metrics.zeromq_messages["lost"], metrics.bus_errors, metrics.zeromq_messages["published"])
    assert f"zeromq.pull to the bus: lost 2 items ({type(error).__name__})" == caplog.messages[0]
    assert lines == len(caplog.messages)


@pytest.mark.parametrize(("parts", "problem"), [([], "one part, not 0"), ([GOOD, b""], "one part, not 2")])
def test_a_pushed_message_is_one_part(parts: list[bytes], problem: str) -> None:
    assert ITEM == read_pull([GOOD])
    with pytest.raises(ItemError, match=problem):
        read_pull(parts)


@pytest.mark.parametrize("parts", [[], [b"b"], [b"b", GOOD, b""]])
def test_a_message_to_subscribers_is_channel_and_item(parts: list[bytes]) -> None:
    assert Item("b", stream=HttpStream("send", b"12345")) == read_sub([b"b", GOOD])
    with pytest.raises(ItemError, match=f"channel and item, not {len(parts)}"):
        read_sub(parts)


def test_an_intake_is_full_when_its_bus_is() -> None:
    has_room = True
    bus = LocalBus(lambda realm, items: None, Metrics(), has_room=lambda: has_room)
    intake = Intake(Config(routes=ROUTES), bus, Metrics())
    assert not intake.is_full
    has_room = False
    assert intake.is_full
