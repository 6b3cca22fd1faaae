"""The fan-out: who gets what, joined how, in which order; the loop is a list of callbacks."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.audience import Audience
from gripproxy.grip import wire
from gripproxy.grip.history import size_of
from gripproxy.grip.item import HttpStream, Item, WsMessage
from gripproxy.hub import EACH, ENTRY_OVERHEAD, GONE, PASS_BYTES, WRITES_WHEN_BUSY, WRITES_WHEN_QUIET, Hub

REALM = "r"


class Loop:
    """The part of an event loop that a hub uses."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None], *arguments: Any) -> None:
        assert not arguments
        self.soon.append(callback)

    def turn(self) -> None:
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()

    def run(self) -> int:
        """Turn until nothing is left to do; return how many turns it took."""
        turns = 0
        while self.soon:
            self.turn()
            turns += 1
        return turns


class Client:
    """A subscriber and its transport in one."""

    def __init__(self) -> None:
        self.transport: Any = self
        self.writes: list[bytes] = []
        self.received: list[Item] = []
        self.is_gone = False
        self.error: Exception | None = None

    def is_closing(self) -> bool:
        return self.is_gone

    def write(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.writes.append(data)

    def receive(self, channel: str, item: Item) -> None:
        assert channel == item.channel
        if self.error is not None:
            raise self.error
        self.received.append(item)


def stream(content: bytes, action: str = "send", filters: tuple[str, ...] | None = None, channel: str = "c") -> Item:
    return Item(channel, stream=HttpStream(action, content, filters))


def message(content: bytes) -> Item:
    return Item("c", message=WsMessage("send", "text", content))


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def errors() -> list[tuple[Client, Exception]]:
    return []


@pytest.fixture
def hub(loop: Loop, errors: list[tuple[Client, Exception]]) -> Hub:
    return Hub(loop, lambda subscriber, error: errors.append((subscriber, error)))  # type: ignore[arg-type]


def subscribed(hub: Hub, framing: str = wire.PLAIN, channel: str = "c", realm: str = REALM) -> Client:
    client = Client()
    hub.subscribe(client, realm, channel, framing)
    return client


def test_each_framing_gets_its_bytes(hub: Hub, loop: Loop) -> None:
    clients = {framing: subscribed(hub, framing) for framing in (wire.PLAIN, wire.CHUNK, wire.FRAME, wire.DEFLATED)}
    hub.deliver(REALM, Item("c", stream=HttpStream("send", b"s"), message=WsMessage("send", "text", b"m")))
    loop.run()
    frame = wire.frame(wire.TEXT, b"m")
    expected = {wire.PLAIN: [b"s"], wire.CHUNK: [b"1\r\ns\r\n"], wire.FRAME: [frame], wire.DEFLATED: [frame]}
    assert expected == {framing: client.writes for framing, client in clients.items()}


def test_nothing_is_written_before_the_next_turn(hub: Hub, loop: Loop) -> None:
    client = subscribed(hub)
    hub.deliver(REALM, stream(b"a"))
    assert [] == client.writes
    loop.turn()
    assert [b"a"] == client.writes


def test_what_gathered_since_the_last_pass_is_one_write(hub: Hub, loop: Loop) -> None:
    client = subscribed(hub)
    for content in (b"a", b"b", b"c"):
        hub.deliver(REALM, stream(content))
    loop.run()
    assert [b"abc"] == client.writes


def test_a_write_has_a_limit(hub: Hub, loop: Loop) -> None:
    client = subscribed(hub)
    content = b"x" * (PASS_BYTES // 2)
    for _ in range(3):
        hub.deliver(REALM, stream(content))
    loop.run()
    assert [2 * len(content), len(content)] == [len(data) for data in client.writes]


@pytest.mark.parametrize(("channel", "realm"), [("other", REALM), ("c", "other")])
def test_other_channels_and_realms_hear_nothing(hub: Hub, loop: Loop, channel: str, realm: str) -> None:
    client = subscribed(hub, channel=channel, realm=realm)
    hub.deliver(REALM, stream(b"a"))
    loop.run()
    assert [] == client.writes


def test_formats_do_not_reach_the_other_kind_of_client(hub: Hub, loop: Loop) -> None:
    streaming, socket = subscribed(hub, wire.CHUNK), subscribed(hub, wire.FRAME)
    hub.deliver(REALM, stream(b"a"))
    hub.deliver(REALM, message(b"b"))
    loop.run()
    assert ([b"1\r\na\r\n"], [wire.frame(wire.TEXT, b"b")]) == (streaming.writes, socket.writes)


def test_the_slow_road_hands_over_items(hub: Hub, loop: Loop) -> None:
    client = subscribed(hub, EACH)
    items = [stream(b"a"), message(b"b"), Item("c")]
    for item in items:
        hub.deliver(REALM, item)
    loop.run()
    assert items == client.received


def test_other_actions_keep_their_place_among_content(hub: Hub, loop: Loop) -> None:
    """A close behind content comes behind it, and not in front of what follows."""
    log: list[bytes | Item] = []
    client = subscribed(hub)
    client.writes = client.received = log  # type: ignore[assignment]
    close = stream(b"", "close")
    for item in (stream(b"a"), close, stream(b"b")):
        hub.deliver(REALM, item)
    loop.run()
    assert [b"a", close, b"b"] == log


@pytest.mark.parametrize("item", [stream(b""), stream(b"%I", filters=("build-id",))])
def test_nothing_is_written_for_empty_content_and_templates(hub: Hub, loop: Loop, item: Item) -> None:
    """Content with filters is for subscriptions with filters, which are on the slow road."""
    client = subscribed(hub)
    hub.deliver(REALM, item)
    assert 0 == loop.run()
    assert [] == client.writes


@pytest.mark.parametrize("is_gone", [True, False])
def test_who_has_gone_is_not_written_to(hub: Hub, loop: Loop, is_gone: bool) -> None:
    client = subscribed(hub)
    if is_gone:
        client.transport = GONE
    else:
        client.is_gone = True
    hub.deliver(REALM, stream(b"a"))
    loop.run()
    assert [] == client.writes


@pytest.mark.parametrize("framing", [wire.PLAIN, EACH])
def test_a_fault_of_one_does_not_stop_the_others(
    hub: Hub, loop: Loop, errors: list[tuple[Client, Exception]], framing: str
) -> None:
    clients = [subscribed(hub, framing) for _ in range(5)]
    clients[1].error = clients[4].error = RuntimeError("fault")
    hub.deliver(REALM, stream(b"a"))
    loop.run()
    assert [1, 0, 1, 1, 0] == [0 if client.error else len(client.writes + client.received) for client in clients]
    assert [clients[1], clients[4]] == [client for client, _ in errors]


def test_a_large_channel_is_served_in_slices(hub: Hub, loop: Loop) -> None:
    """No turn of the loop has more writes than its budget."""
    clients = [subscribed(hub) for _ in range(WRITES_WHEN_QUIET + 1)]
    hub.deliver(REALM, stream(b"a"))
    loop.turn()
    assert WRITES_WHEN_QUIET == sum(len(client.writes) for client in clients)
    loop.turn()
    assert [[b"a"]] * len(clients) == [client.writes for client in clients]


def test_what_comes_during_a_pass_waits_for_the_next(hub: Hub, loop: Loop) -> None:
    """It is joined there, and everybody has the same order."""
    clients = [subscribed(hub) for _ in range(WRITES_WHEN_QUIET + 1)]
    hub.deliver(REALM, stream(b"a"))
    loop.turn()
    hub.deliver(REALM, stream(b"b"))
    hub.deliver(REALM, stream(b"c"))
    loop.run()
    assert [[b"a", b"bc"]] * len(clients) == [client.writes for client in clients]


def test_channels_take_turns(hub: Hub, loop: Loop) -> None:
    """A small channel does not wait until a large one has been served."""
    large = [subscribed(hub, channel="large") for _ in range(WRITES_WHEN_QUIET * 3)]
    small = subscribed(hub, channel="small")
    hub.deliver(REALM, stream(b"a", channel="large"))
    hub.deliver(REALM, stream(b"b", channel="small"))
    loop.turn()
    loop.turn()
    assert [b"b"] == small.writes
    assert [] == large[-1].writes


def test_a_subscriber_during_a_pass_hears_from_the_next(hub: Hub, loop: Loop) -> None:
    clients = [subscribed(hub) for _ in range(WRITES_WHEN_QUIET + 1)]
    hub.deliver(REALM, stream(b"a"))
    loop.turn()
    late = subscribed(hub)
    hub.deliver(REALM, stream(b"b"))
    loop.run()
    assert [b"b"] == late.writes
    assert [b"a", b"b"] == clients[-1].writes


def test_subscribing_twice_is_subscribing_once(hub: Hub, loop: Loop) -> None:
    client = subscribed(hub)
    hub.subscribe(client, REALM, "c", wire.PLAIN)
    hub.deliver(REALM, stream(b"a"))
    loop.run()
    assert ([b"a"], 1) == (client.writes, hub.subscriptions)


def test_who_unsubscribed_hears_nothing(hub: Hub, loop: Loop) -> None:
    client = subscribed(hub)
    hub.unsubscribe(client, REALM, "c", wire.PLAIN)
    hub.unsubscribe(client, REALM, "c", wire.PLAIN)
    hub.deliver(REALM, stream(b"a"))
    loop.run()
    assert ([], 0, {}) == (client.writes, hub.subscriptions, hub.channels)


def test_the_first_and_the_last_subscriber_of_a_channel_are_told(loop: Loop) -> None:
    """Whatever their framings are."""
    told: list[tuple[str, str, bool]] = []
    hub = Hub(loop, lambda subscriber, error: None, lambda *about: told.append(about))  # type: ignore[arg-type]
    first, second = subscribed(hub, wire.PLAIN), subscribed(hub, wire.FRAME)
    hub.unsubscribe(first, REALM, "c", wire.PLAIN)
    assert [(REALM, "c", True)] == told
    hub.unsubscribe(second, REALM, "c", wire.FRAME)
    assert [(REALM, "c", True), (REALM, "c", False)] == told


def test_a_pass_notes_the_tick_of_its_channel(hub: Hub, loop: Loop) -> None:
    """Idle keep-alives compare it with the wheel's."""
    subscribed(hub)
    hub.tick = 7
    hub.deliver(REALM, stream(b"a"))
    loop.run()
    assert (7, 0) == (hub.passed_at(REALM, "c", wire.PLAIN), hub.passed_at(REALM, "other", wire.PLAIN))


def test_counters(hub: Hub, loop: Loop) -> None:
    for _ in range(3):
        subscribed(hub)
    subscribed(hub, EACH)
    hub.deliver(REALM, stream(b"a"))
    hub.deliver(REALM, stream(b"b"))
    loop.run()
    assert (2, 6, 2, 2) == (hub.items, hub.deliveries[wire.PLAIN], hub.deliveries[EACH], hub.passes)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("deliver"), st.sampled_from(["a", "b"])),
            st.tuples(st.just("join"), st.sampled_from(["a", "b"])),
            st.tuples(st.just("leave"), st.integers(0, 50)),
            st.tuples(st.just("turn"), st.none()),
        ),
        max_size=60,
    ),
    st.integers(0, 2 * WRITES_WHEN_BUSY),
)
def test_everybody_hears_each_item_of_their_time_once_and_in_order(steps: list[tuple[str, Any]], crowd: int) -> None:
    """Whoever stays to the end has a run of the channel's items without gaps that ends with the last."""
    loop = Loop()
    hub = Hub(loop, lambda subscriber, error: None)  # type: ignore[arg-type]
    clients = [(subscribed(hub, channel="a"), "a") for _ in range(crowd)]
    sent: dict[str, list[bytes]] = {"a": [], "b": []}
    since = {id(client): 0 for client, _ in clients}
    for step, argument in steps:
        if step == "deliver":
            sent[argument].append(b"%d," % len(sent[argument]))
            hub.deliver(REALM, stream(sent[argument][-1], channel=argument))
        elif step == "join":
            client = subscribed(hub, channel=argument)
            clients.append((client, argument))
            since[id(client)] = len(sent[argument])
        elif step == "leave" and argument < len(clients):
            client, channel = clients.pop(argument)
            hub.unsubscribe(client, REALM, channel, wire.PLAIN)
        elif step == "turn":
            loop.turn()
    loop.run()
    for client, channel in clients:
        heard = b"".join(client.writes).split(b",")[:-1]
        everything = [content.rstrip(b",") for content in sent[channel]]
        # A subscriber also gets what was pending when it came: that is published before, and sent after.
        assert len(heard) >= len(everything) - since[id(client)]
        assert everything[len(everything) - len(heard) :] == heard
    assert len(clients) == hub.subscriptions


# --- what is not written yet


def test_the_backlog_is_what_is_pending_and_in_passes_under_way(hub: Hub, loop: Loop) -> None:
    """A payload counts once, however many it is for."""
    for _ in range(WRITES_WHEN_QUIET + 1):
        subscribed(hub)
    hub.deliver(REALM, stream(b"abc"))
    assert 3 + ENTRY_OVERHEAD == hub.backlog
    loop.turn()
    hub.deliver(REALM, stream(b"de"))
    assert 5 + 2 * ENTRY_OVERHEAD == hub.backlog
    loop.turn()
    loop.turn()
    assert 2 + ENTRY_OVERHEAD == hub.backlog
    loop.run()
    assert 0 == hub.backlog


def test_each_framing_and_the_slow_road_have_a_backlog_of_their_own(hub: Hub, loop: Loop) -> None:
    item, close = stream(b"abc"), stream(b"", "close")
    for framing in (wire.PLAIN, wire.CHUNK, EACH):
        subscribed(hub, framing)
    hub.deliver(REALM, item)
    hub.deliver(REALM, close)
    assert 3 + len(wire.chunk(b"abc")) + 2 * ENTRY_OVERHEAD + size_of(item) + 3 * size_of(close) == hub.backlog
    loop.run()
    assert 0 == hub.backlog


def test_what_nobody_gets_is_no_backlog(hub: Hub, loop: Loop) -> None:
    hub.deliver(REALM, stream(b"abc"))
    client = subscribed(hub)
    hub.deliver(REALM, stream(b"%I", filters=("build-id",)))
    assert 0 == hub.backlog
    hub.deliver(REALM, stream(b"abc"))
    hub.unsubscribe(client, REALM, "c", wire.PLAIN)
    loop.run()
    assert 0 == hub.backlog


@given(
    st.lists(
        st.sampled_from(["send", "close", "message", "turn", "join", "leave", "mark"]),
        max_size=60,
    )
)
def test_the_backlog_ends_at_nothing_and_every_mark_is_reached(steps: list[str]) -> None:
    loop = Loop()
    hub = Hub(loop, lambda subscriber, error: None)  # type: ignore[arg-type]
    clients: list[tuple[Client, str]] = []
    expected, told = 0, []
    for number, step in enumerate(steps):
        framing = (wire.PLAIN, wire.FRAME, EACH)[number % 3]
        if step == "turn":
            loop.turn()
        elif step == "join":
            clients.append((subscribed(hub, framing), framing))
        elif step == "leave" and clients:
            client, framing = clients.pop()
            hub.unsubscribe(client, REALM, "c", framing)
        elif step == "mark":
            expected += Audience(hub).mark(REALM, "c", lambda: told.append(None))
        elif step == "message":
            hub.deliver(REALM, message(b"x" * number))
        elif step in ("send", "close"):
            hub.deliver(REALM, stream(b"x" * number, step))
    loop.run()
    assert (0, expected) == (hub.backlog, len(told))


def test_a_mark_is_reached_when_all_subscribers_have_what_was_there(hub: Hub, loop: Loop) -> None:
    """In each group; what comes later does not count."""
    clients = [subscribed(hub) for _ in range(WRITES_WHEN_QUIET + 1)]
    socket = subscribed(hub, wire.FRAME)
    told: list[list[bytes]] = []
    assert 0 == Audience(hub).mark(REALM, "c", lambda: None)
    hub.deliver(REALM, Item("c", stream=HttpStream("send", b"s"), message=WsMessage("send", "text", b"m")))
    assert 2 == Audience(hub).mark(REALM, "c", lambda: told.append(clients[-1].writes + socket.writes))
    loop.turn()
    assert [] == told
    hub.deliver(REALM, stream(b"later"))
    loop.run()
    frame = wire.frame(wire.TEXT, b"m")
    assert [[b"s"], [b"s", frame]] == sorted(told, key=len) or [[frame], [b"s", frame]] == sorted(told, key=len)


# --- subscribers that change their group


class Changing(Client):
    """A subscriber that notes in one order what comes on both roads."""

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def receive(self, channel: str, item: Item) -> None:
        assert item.stream is not None
        self.writes.append(item.stream.content)


def change(hub: Hub, client: Client, before: str, after: str) -> None:
    hub.hand_over(client, REALM, "c", before)
    hub.subscribe(client, REALM, "c", after, is_ahead=True)
    hub.unsubscribe(client, REALM, "c", before)


@given(
    st.lists(st.sampled_from(["publish", "turn", "change", "hand over", "join", "leave"]), max_size=60),
    st.integers(0, 2 * WRITES_WHEN_BUSY),
    st.integers(0, 2 * WRITES_WHEN_BUSY),
    st.booleans(),
)
def test_who_changes_the_group_misses_and_doubles_nothing(
    steps: list[str], before_it: int, behind_it: int, is_filtered: bool
) -> None:
    loop, faults = Loop(), list[Exception]()
    hub = Hub(loop, on_error=lambda _, error: faults.append(error))  # type: ignore[arg-type]
    roads = [wire.PLAIN, EACH] if is_filtered else [EACH, wire.PLAIN]
    others: list[tuple[Changing, str, int]] = []
    client, published = Changing(), 0

    def join() -> None:
        for road in roads:
            other = Changing()
            hub.subscribe(other, REALM, "c", road, is_ahead=True)
            others.append((other, road, published))

    for _ in range(before_it):
        join()
    hub.subscribe(client, REALM, "c", roads[0])
    for _ in range(behind_it):
        join()
    for step in steps:
        if step == "publish":
            hub.deliver(REALM, stream(b"%d," % published))
            published += 1
        elif step == "turn":
            loop.turn()
        elif step == "change":
            change(hub, client, *roads)
            roads.reverse()
        elif step == "hand over":
            hub.hand_over(client, REALM, "c", roads[0])
        elif step == "join":
            join()
        elif others:
            other, road, _ = others.pop()
            hub.unsubscribe(other, REALM, "c", road)
    loop.run()
    items = [b"%d," % number for number in range(published)]
    assert (b"".join(items), []) == (b"".join(client.writes), faults)
    assert 0 == hub.backlog
    for other, _, since in others:
        assert b"".join(items[since:]) == b"".join(other.writes)


@pytest.mark.parametrize("turns", [0, 1])
def test_what_is_handed_over_is_counted_once(hub: Hub, loop: Loop, turns: int) -> None:
    """Whether the pass has begun or not."""
    clients = [Client() for _ in range(WRITES_WHEN_QUIET + 2)]
    for client in clients:
        hub.subscribe(client, REALM, "c", wire.PLAIN)
    hub.deliver(REALM, stream(b"x"))
    for _ in range(turns):
        loop.turn()
    hub.hand_over(clients[-1], REALM, "c", wire.PLAIN)
    assert [[], [b"x"]] == [client.writes for client in clients[-2:]]
    loop.run()
    assert {(b"x",)} == {tuple(client.writes) for client in clients}
    assert len(clients) == hub.deliveries[wire.PLAIN]


def test_who_is_closing_is_handed_nothing(hub: Hub, loop: Loop) -> None:
    client = Client()
    hub.subscribe(client, REALM, "c", wire.PLAIN)
    hub.deliver(REALM, stream(b"x"))
    client.is_gone = True
    hub.hand_over(client, REALM, "c", wire.PLAIN)
    hub.hand_over(client, REALM, "d", wire.PLAIN)
    loop.run()
    assert [] == client.writes


def test_who_comes_again_gets_what_is_pending(hub: Hub, loop: Loop) -> None:
    client = Client()
    hub.deliver(REALM, stream(b"x"))
    hub.subscribe(Client(), REALM, "c", wire.PLAIN)
    hub.subscribe(client, REALM, "c", wire.PLAIN)
    hub.deliver(REALM, stream(b"y"))
    hub.hand_over(client, REALM, "c", wire.PLAIN)
    hub.unsubscribe(client, REALM, "c", wire.PLAIN)
    hub.subscribe(client, REALM, "c", wire.PLAIN)
    loop.run()
    assert [b"y", b"y"] == client.writes


def test_each_subscription_and_each_item_is_told_once(hub: Hub, loop: Loop) -> None:
    told: list[object] = []
    hub.on_subscription = lambda subscriber, realm, channel, begins: told.append((subscriber, realm, channel, begins))
    hub.on_item = lambda realm, item: told.append((realm, item.channel))
    client = Client()
    hub.subscribe(client, REALM, "c", wire.CHUNK)
    hub.subscribe(client, REALM, "c", wire.CHUNK)
    hub.deliver(REALM, stream(b"x"))
    loop.run()
    hub.unsubscribe(client, REALM, "c", wire.CHUNK)
    hub.unsubscribe(client, REALM, "c", wire.CHUNK)

    assert [(client, REALM, "c", True), (REALM, "c"), (client, REALM, "c", False)] == told


def test_the_subscribers_of_a_channel_are_those_of_all_framings(hub: Hub) -> None:
    clients = [Client() for _ in range(4)]
    for client, framing in zip(clients, (wire.CHUNK, wire.FRAME, wire.DEFLATED, EACH), strict=True):
        hub.subscribe(client, REALM, "c", framing)
    hub.subscribe(clients[0], REALM, "c", EACH)  # on its way from one to the other
    hub.subscribe(Client(), REALM, "other", EACH)
    hub.subscribe(Client(), "other", "c", EACH)

    assert clients == hub.subscribers(REALM, "c")
    assert [] == hub.subscribers(REALM, "nobody")
