"""Whatever comes in whatever order: a client that long-polls with ids gets every item once and in order.

The machine is a backend with two channels of numbered items, a bus that reorders, repeats and loses what it publishes,
requests that are sent, read from the state and answered at moments of their own, and a client that polls again and
again.
"""

import re
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gripproxy.config import Limits
from gripproxy.grip.instruct import Channel
from gripproxy.grip.item import HttpResponse, Item
from gripproxy.transports import Done, Replay
from gripproxy.transports.response import REPLAYS_MAX, ResponseHold
from tests.unit.transports.world import REALM, World, item, waiting

RELIABLE = ("a", "b")
SHOWN = re.compile(rb"([ab])(\d+);")


@dataclass
class Asked:
    """A request on its way: what its sender has, when it was sent, and the state that the backend read for it."""

    last_ids: dict[str, int]
    moment: int
    transport: Any
    replay: Replay | None = None
    state: dict[str, int] | None = None


class Polls(RuleBasedStateMachine):
    """One client."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.state = dict.fromkeys(RELIABLE, 0)
        self.on_the_way: list[tuple[Item, int]] = []
        self.received = dict.fromkeys(RELIABLE, 0)
        self.shown: dict[str, int] = dict.fromkeys(RELIABLE, 0)
        self.asked: Asked | None = None
        self.hold: ResponseHold | None = None
        self.transport: Any = None

    @initialize(start=st.integers(0, 3), history_items=st.sampled_from([1, 3, 100]))
    def start(self, start: int, history_items: int) -> None:
        self.world = World(Limits(history_items=history_items))
        self.state = dict.fromkeys(RELIABLE, start)
        self.shown = dict.fromkeys(RELIABLE, start)

    # The backend and the bus

    def store(self, channel: str, **how: Any) -> Item:
        number = self.state[channel] = self.state[channel] + 1
        return item(str(number), str(number - 1), f"{channel}{number};", channel=channel, **how)

    def send(self, one: Item) -> None:
        self.on_the_way.append((one, self.state[one.channel]))

    @rule(channel=st.sampled_from(RELIABLE), count=st.integers(1, 3))
    def publish(self, channel: str, count: int) -> None:
        for _ in range(count):
            self.send(self.store(channel))

    @rule(channel=st.sampled_from(RELIABLE))
    def lose(self, channel: str) -> None:
        self.store(channel)

    @rule(channel=st.sampled_from(RELIABLE), has_id=st.booleans())
    def publish_without_ids(self, channel: str, has_id: bool) -> None:
        one = self.store(channel)
        self.send(Item(channel, one.id if has_id else None, response=one.response))

    @rule(channel=st.sampled_from(RELIABLE), has_ids=st.booleans())
    def hint(self, channel: str, has_ids: bool) -> None:
        one = self.store(channel) if has_ids else item(None, channel=channel)
        self.send(Item(channel, one.id, one.prev_id, response=HttpResponse("hint")))

    @rule()
    def recover(self) -> None:
        self.world.delivery.recover()
        if self.hold is not None:
            self.hold.refresh()

    @rule(channel=st.sampled_from(RELIABLE))
    def publish_for_streams_only(self, channel: str) -> None:
        """The item is in the backend's state; a long-poll passes it over, and is told of it with the next one."""
        self.on_the_way.append((item(channel=channel, no_seq=True, action="refresh"), 0))

    @precondition(lambda self: self.on_the_way)
    @rule(data=st.data(), is_repeated=st.booleans())
    def deliver(self, data: st.DataObject, is_repeated: bool) -> None:
        index = data.draw(st.integers(0, len(self.on_the_way) - 1))
        self.take(*(self.on_the_way[index] if is_repeated else self.on_the_way.pop(index)))

    @rule()
    def deliver_all(self) -> None:
        while self.on_the_way:
            self.take(*self.on_the_way.pop(0))

    def take(self, one: Item, number: int) -> None:
        self.received[one.channel] = max(self.received[one.channel], number)
        self.world.delivery.receive(REALM, (one,))

    # Time

    @rule()
    def turn(self) -> None:
        self.world.loop.turn()
        self.world.check()

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.0, 6.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.world.advance(seconds)

    # The client

    @precondition(lambda self: self.hold is None and self.asked is None)
    @rule()
    def ask(self) -> None:
        self.asked = Asked(dict(self.shown), self.world.delivery.moment, self.world.transport())

    @precondition(lambda self: self.asked is not None)
    @rule()
    def read(self) -> None:
        assert self.asked is not None
        self.asked.state = dict(self.state)

    @precondition(lambda self: self.asked is not None and self.asked.state is not None)
    @rule()
    def answer(self) -> None:
        asked, self.asked = self.asked, None
        assert asked is not None
        assert asked.state is not None
        news = [
            f"{name}{number};" for name in RELIABLE for number in range(asked.last_ids[name] + 1, asked.state[name] + 1)
        ]
        if news:
            self.see("".join(news).encode())
            return
        channels = [Channel(name, str(asked.state[name])) for name in RELIABLE]
        again = dict(asked.replay.asked) if asked.replay is not None else {}
        assert all(count <= REPLAYS_MAX + 3 for count in again.values()), "it must not ask for ever"
        self.transport = asked.transport
        # The outcome may be there before `poll` returns.
        self.hold = self.world.poll(waiting(*channels), asked.moment, asked_again=again, transport=asked.transport)
        self.look()

    def look(self) -> None:
        outcomes, self.world.outcomes = self.world.outcomes, []
        assert len(outcomes) <= 1
        for _, outcome in outcomes:
            self.hold = None
            if isinstance(outcome, Done):
                assert outcome.reason in ("published", "timeout"), outcome.reason
                self.see(self.transport.take().partition(b"\r\n\r\n")[2])
            else:
                assert isinstance(outcome, Replay)
                assert b"" == self.transport.take()
                last_ids = {name: int(last) for name, last in outcome.last_ids.items()}
                self.asked = Asked(last_ids, self.world.delivery.moment, self.transport, outcome)

    def see(self, body: bytes) -> None:
        for name, number in SHOWN.findall(body):
            assert self.shown[name.decode()] + 1 == int(number), body
            self.shown[name.decode()] = int(number)

    @invariant()
    def every_item_once_and_in_order(self) -> None:
        self.look()

    def teardown(self) -> None:
        """Let everything come to rest: soon the client has all that was published, and after a while the rest."""
        self.deliver_all()
        for _ in range(20):
            self.settle(2.0)
        if self.hold is not None:
            assert all(self.received[name] <= self.shown[name] for name in RELIABLE), (self.received, self.shown)
        for _ in range(20):
            self.settle(60.0)
        assert self.state == self.shown

    def settle(self, seconds: float) -> None:
        self.world.loop.run()
        self.look()
        if self.asked is not None:
            self.read()
            self.answer()
        elif self.hold is not None:
            self.world.advance(seconds)
        else:
            self.ask()


Polls.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestPolls = Polls.TestCase
