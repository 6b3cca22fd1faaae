"""Whatever comes in whatever order: a reliable stream shows every item once and in order, or it is cut.

The machine is a backend with two channels of numbered items, a bus that reorders, repeats and loses what it publishes,
requests that are sent, read from the state and answered at moments of their own, with a hold or page by page, and
clients that come and go, and that sometimes take nothing for a while. A third channel has items without ids; they are
shown as they come, once.

Hypothesis looks for short ways to a fault. Some faults have only long ones, in which many steps have to be likely ones:
those are for the walks.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gripproxy.config import Limits
from gripproxy.grip.history import Moments
from gripproxy.grip.instruct import Channel, Instruct, Link
from gripproxy.grip.item import HttpStream, Item
from gripproxy.hub import GONE
from gripproxy.transports import Done, Follow
from gripproxy.transports.linked import LinkedStream
from tests.unit.transports.world import NEXT, REALM, World, item, streaming

RELIABLE = ("a", "b")
LOOSE = "u"
# Bytes that a client may have unsent: four items.
UNSENT = 12
SHOWN = re.compile(rb"(.)(\d+);")


@dataclass
class Asked:
    """A request on its way: where the client is, when it was sent, and the state that the backend read for it."""

    last_ids: dict[str, int]
    follow: Follow | None = None
    moment: int | None = None
    state: dict[str, int] | None = None


@dataclass
class Answered:
    """An answer that another stream may share."""

    last_ids: dict[str, int]
    moment: int
    state: dict[str, int]


@dataclass
class Client:
    """A client's stream, and what it must show."""

    hold: LinkedStream
    moments: Moments
    base: dict[str, int]
    # Of the loose channel: what had come at the beginning of the turn, and when the subscription was made.
    loose_from: int
    loose_until: int
    is_begun: bool = False
    is_slow: bool = False
    is_ever_slow: bool = False
    shown: dict[str, list[int]] = field(default_factory=dict)


class Streams(RuleBasedStateMachine):
    """One client at a time, whose connection may be cut and made anew."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(Limits(unsent=UNSENT))
        self.state = dict.fromkeys(RELIABLE, 0)
        self.announced = dict.fromkeys(RELIABLE, 0)
        self.on_the_way: list[Item] = []
        self.received = dict.fromkeys(RELIABLE, 0)
        self.loose = 0
        self.loose_before_turn = 0
        self.client: Client | None = None
        self.opening: Asked | None = None
        self.following: Asked | None = None
        self.answers: list[Answered] = []
        self.has_link = True

    @initialize(has_link=st.booleans(), start=st.integers(0, 3), history_items=st.sampled_from([1, 3, 100]))
    def start(self, has_link: bool, start: int, history_items: int) -> None:
        self.world = World(Limits(unsent=UNSENT, history_items=history_items))
        self.has_link = has_link
        for channel in RELIABLE:
            self.state[channel] = self.announced[channel] = start

    # The backend

    def announce(self, channel: str, **how: Any) -> Item:
        number = self.announced[channel] + 1
        self.announced[channel] = number
        return item(str(number), str(number - 1), f"{channel}{number};", channel=channel, **how)

    def commit(self) -> None:
        self.state = dict(self.announced)

    @rule(channel=st.sampled_from(RELIABLE), count=st.integers(1, 3))
    def publish(self, channel: str, count: int) -> None:
        for _ in range(count):
            self.on_the_way.append(self.announce(channel))
        self.commit()

    @rule(channel=st.sampled_from(RELIABLE))
    def lose(self, channel: str) -> None:
        self.announce(channel)
        self.commit()

    # A backend that publishes too early can be asked again. Without a link there is memory alone, and it has an end.
    @precondition(lambda self: self.has_link)
    @rule(channel=st.sampled_from(RELIABLE))
    def publish_before_storing(self, channel: str) -> None:
        self.on_the_way.append(self.announce(channel))

    @rule()
    def store(self) -> None:
        self.commit()

    @precondition(lambda self: self.has_link)
    @rule(channel=st.sampled_from(RELIABLE), has_id=st.booleans())
    def publish_without_ids(self, channel: str, has_id: bool) -> None:
        one = self.announce(channel)
        self.commit()
        self.on_the_way.append(Item(channel, one.id if has_id else None, stream=one.stream))

    @rule(channel=st.sampled_from(RELIABLE), has_ids=st.booleans())
    def hint(self, channel: str, has_ids: bool) -> None:
        """Without a link, one without ids shows nobody what is missing."""
        has_ids = has_ids or not self.has_link
        one = self.announce(channel) if has_ids else item(None, channel=channel)
        self.commit()
        self.on_the_way.append(Item(channel, one.id, one.prev_id, stream=HttpStream("hint")))

    # The bus

    @precondition(lambda self: self.on_the_way)
    @rule(chance=st.randoms(), is_repeated=st.booleans())
    def deliver(self, chance: Random, is_repeated: bool) -> None:
        index = chance.randrange(len(self.on_the_way))
        one = self.on_the_way[index] if is_repeated else self.on_the_way.pop(index)
        self.take(one)

    @precondition(lambda self: self.on_the_way)
    @rule()
    def deliver_all(self) -> None:
        while self.on_the_way:
            self.take(self.on_the_way.pop(0))

    def take(self, one: Item) -> None:
        if one.id is not None:
            self.received[one.channel] = max(self.received[one.channel], int(one.id))
        self.world.delivery.receive(REALM, (one,))

    @rule(no_seq=st.booleans())
    def publish_loose(self, no_seq: bool) -> None:
        self.loose += 1
        content = f"{LOOSE}{self.loose};"
        self.world.delivery.receive(REALM, (item(None, None, content, channel=LOOSE, no_seq=no_seq),))

    # Time

    @rule()
    def turn(self) -> None:
        self.world.loop.turn()
        self.loose_before_turn = self.loose
        self.world.check()

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.0, 2.5, 6.0, 30.0, 61.0, 130.0]))
    def wait(self, seconds: float) -> None:
        self.world.loop.run()
        self.loose_before_turn = self.loose
        self.world.advance(seconds)

    # Clients

    @precondition(lambda self: self.client is None and self.opening is None)
    @rule()
    def ask(self) -> None:
        self.opening = Asked({}, moment=self.world.delivery.moment)

    @precondition(lambda self: self.opening is not None)
    @rule()
    def read(self) -> None:
        assert self.opening is not None
        self.opening.state = dict(self.state)

    @precondition(lambda self: self.opening is not None and self.opening.state is not None)
    @rule(is_begun=st.booleans())
    def answer(self, is_begun: bool) -> None:
        assert self.opening is not None
        assert self.opening.state is not None
        assert self.opening.moment is not None
        moments = Moments(self.opening.moment, self.world.delivery.turn)
        hold = self.world.linked_at_body(self.instruct(self.opening.state), moments)
        self.client = Client(hold, moments, self.opening.state, self.loose_before_turn, self.loose)
        self.opening = None
        if is_begun:
            self.begin()

    @precondition(lambda self: self.client is not None and not self.client.is_begun)
    @rule()
    def begin(self) -> None:
        assert self.client is not None
        self.client.is_begun = True
        self.client.hold.proceed(self.client.moments)

    @precondition(lambda self: self.client is not None)
    @rule()
    def leave(self) -> None:
        assert self.client is not None
        transport: Any = self.client.hold.connection
        if transport is not None:
            transport.leave()
        self.look()

    @precondition(lambda self: self.client is not None and not self.client.is_slow)
    @rule()
    def take_nothing(self) -> None:
        assert self.client is not None
        transport: Any = self.client.hold.connection
        if transport is not None:
            self.client.is_slow = self.client.is_ever_slow = True
            transport.stall(0)

    @precondition(lambda self: self.client is not None and self.client.is_slow)
    @rule()
    def take_it_all(self) -> None:
        assert self.client is not None
        transport: Any = self.client.hold.connection
        if transport is not None:
            self.client.is_slow = False
            transport.go_on()

    @rule()
    def recover(self) -> None:
        self.world.delivery.recover()
        if self.client is not None:
            self.client.hold.refresh()

    def instruct(self, state: dict[str, int], body: bytes = b"") -> Instruct:
        channels = [Channel(name, str(state[name])) for name in RELIABLE]
        return streaming(*channels, LOOSE, next_link="/next" if self.has_link else None, body=body)

    # Links

    @precondition(lambda self: self.following is not None and self.following.moment is None)
    @rule()
    def send_link(self) -> None:
        assert self.following is not None
        self.following.moment = self.world.delivery.moment

    @precondition(lambda self: self.following is not None and self.following.moment is not None)
    @rule()
    def read_link(self) -> None:
        assert self.following is not None
        self.following.state = dict(self.state)

    @precondition(lambda self: self.following is not None and self.following.state is not None)
    @rule()
    def answer_link(self) -> None:
        asked = self.following
        assert asked is not None
        assert asked.state is not None
        assert asked.moment is not None
        self.answers.append(Answered(asked.last_ids, asked.moment, asked.state))
        self.advance(self.answers[-1])

    @precondition(lambda self: self.following is not None and self.following.state is not None)
    @rule(chance=st.randoms())
    def answer_with_a_page(self, chance: Random) -> None:
        asked = self.following
        assert asked is not None
        assert asked.state is not None
        assert asked.moment is not None
        upto = {name: chance.randint(last, max(last, asked.state[name])) for name, last in asked.last_ids.items()}
        page = self.instruct(upto, self.body(asked.last_ids, upto))
        self.advance_to(replace(page, hold=None), asked.moment)

    @precondition(lambda self: self.following is not None and self.sharable())
    @rule(chance=st.randoms())
    def share_answer(self, chance: Random) -> None:
        self.advance(chance.choice(self.sharable()))

    def sharable(self) -> list[Answered]:
        asked = self.following
        assert asked is not None
        assert asked.follow is not None
        moment = asked.follow.moment
        return [one for one in self.answers if one.last_ids == asked.last_ids and one.moment >= moment]

    @precondition(lambda self: self.following is not None)
    @rule()
    def fail_link(self) -> None:
        self.following = None
        if self.client is not None:
            self.client.hold.fail("no answer")
        self.look()

    def advance(self, answered: Answered) -> None:
        self.following = None
        if self.client is None:
            return
        state, last_ids = answered.state, answered.last_ids
        later = {name: max(state[name], last_ids[name]) for name in RELIABLE}
        self.advance_to(self.instruct(later, self.body(last_ids, state)), answered.moment)

    def body(self, after: dict[str, int], until: dict[str, int]) -> bytes:
        parts = [
            b"%b%d;" % (name.encode(), number)
            for name in RELIABLE
            for number in range(after[name] + 1, until[name] + 1)
        ]
        return b"".join(parts)

    def advance_to(self, instruct: Instruct, asked: int) -> None:
        self.following = None
        if self.client is None:
            return
        self.client.hold.advance(instruct, NEXT, Moments(asked, self.world.delivery.turn))
        self.look()

    # What has to hold

    def look(self) -> None:
        """Take what holds have said."""
        outcomes, self.world.outcomes = self.world.outcomes, []
        for hold, outcome in outcomes:
            assert self.client is not None
            assert hold is self.client.hold
            if isinstance(outcome, Follow):
                assert self.following is None, "one link at a time"
                assert outcome.link == Link("/next")
                self.following = Asked({name: int(last) for name, last in outcome.last_ids.items()}, outcome)
            else:
                assert isinstance(outcome, Done)
                assert outcome.reason in ("left", "gap", "link", "slow"), outcome.reason
                assert self.client.is_ever_slow or outcome.reason != "slow"
                assert hold.transport is GONE
                self.following = None
                self.check_shown()
                self.client = None
                return

    @invariant()
    def every_item_once_and_in_order(self) -> None:
        self.look()
        self.check_shown()

    def check_shown(self) -> None:
        client = self.client
        if client is None:
            return
        transport: Any = client.hold.connection
        if transport is not None:
            assert 0 == transport.queued
            found = SHOWN.findall(transport.take())
            for name, number in found:
                client.shown.setdefault(name.decode(), []).append(int(number))
        for name in RELIABLE:
            shown, base = client.shown.get(name, []), client.base[name]
            assert list(range(base + 1, base + 1 + len(shown))) == shown, name
        shown = client.shown.get(LOOSE, [])
        if shown:
            assert client.loose_from < shown[0] <= client.loose_until + 1
            assert list(range(shown[0], shown[0] + len(shown))) == shown

    def teardown(self) -> None:
        """Let everything come to rest: soon everything published is shown, and the rest by polls; or it is cut."""
        self.commit()
        while self.on_the_way:
            self.take(self.on_the_way.pop(0))
        if self.client is not None and self.client.is_slow:
            self.take_it_all()
        self.settle(6.0)
        if self.client is None:
            return
        assert all(self.received[name] <= self.newest(name) for name in RELIABLE), self.received
        assert self.loose == self.client.shown.get(LOOSE, [self.client.loose_until])[-1]
        if self.has_link:
            self.settle(130.0)
            assert self.state == {name: self.newest(name) for name in RELIABLE}

    def newest(self, channel: str) -> int:
        """Tell what the client has got of a channel."""
        assert self.client is not None
        return self.client.base[channel] + len(self.client.shown.get(channel, []))

    def settle(self, seconds: float) -> None:
        for _ in range(12):
            self.world.loop.run()
            self.every_item_once_and_in_order()
            client = self.client
            if client is None:
                return
            if not client.is_begun:
                self.begin()
            elif self.following is not None:
                self.following.moment = self.world.delivery.moment
                self.read_link()
                self.answer_link()
            else:
                self.world.advance(seconds)


Streams.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestStreams = Streams.TestCase


# --- walks

WALKS = 150
STEPS = 60


def steps(machine: Streams, chance: Random) -> list[tuple[float, Callable[[], None]]]:
    """What may be done next, and how likely that is to be."""
    channel, is_odd = chance.choice(RELIABLE), chance.random() < 0.3
    client, following, opening = machine.client, machine.following, machine.opening

    def go_on() -> None:
        """Publish in good order."""
        machine.deliver_all()
        machine.publish(channel, 1)
        machine.deliver_all()
        machine.turn()

    def lose_one() -> None:
        """Have a link asked for."""
        machine.lose(channel)
        go_on()
        machine.wait(0.3)

    found = [
        (6, go_on),
        (3, lose_one),
        (2, lambda: machine.publish(channel, chance.randint(1, 3))),
        (1, lambda: machine.lose(channel)),
        (1, lambda: machine.publish_loose(is_odd)),
        (1, lambda: machine.hint(channel, is_odd)),
        (1, machine.store),
        (3, machine.turn),
        (2, machine.deliver_all),
        (2, lambda: machine.wait(chance.choice([0.05, 0.3, 1.0, 2.5]))),
        (0.3, lambda: machine.wait(chance.choice([6.0, 30.0, 61.0, 130.0]))),
        (0.2, machine.recover),
    ]
    if machine.has_link:
        found += [
            (1, lambda: machine.publish_before_storing(channel)),
            (0.7, lambda: machine.publish_without_ids(channel, is_odd)),
        ]
    if machine.on_the_way:
        found.append((2, lambda: machine.deliver(chance, is_odd)))
    if client is not None:
        found.append((0.2, machine.leave))
        found.append((0 if client.is_begun else 4, machine.begin))
        found.append((3, machine.take_it_all) if client.is_slow else (0.5, machine.take_nothing))
    elif opening is None:
        found.append((10, machine.ask))
    else:
        found.append((4, machine.read))
        if opening.state is not None:
            found.append((4, lambda: machine.answer(not is_odd)))
    if following is not None:
        found.append((0.5, machine.fail_link))
        found.append((4, machine.send_link if following.moment is None else machine.read_link))
        if following.state is not None:
            found += [(4, machine.answer_link), (4, lambda: machine.answer_with_a_page(chance))]
        if machine.sharable():
            found.append((2, lambda: machine.share_answer(chance)))
    return found


@pytest.mark.parametrize("seed", range(WALKS))
def test_a_walk(seed: int) -> None:
    """In the end nothing is left of it."""
    chance = Random(seed)
    random.seed(seed)  # what the holds spread
    machine = Streams()
    machine.start(chance.random() < 0.8, chance.randint(0, 3), chance.choice([1, 3, 100]))
    for _ in range(STEPS):
        weights, actions = zip(*steps(machine, chance), strict=True)
        chance.choices(actions, weights)[0]()
        machine.every_item_once_and_in_order()
    machine.teardown()
    world = machine.world
    if machine.client is not None:
        machine.leave()
    world.advance(1.0)
    assert ({}, {}, 0, 0) == (world.holds.open, world.hub.channels, world.hub.backlog, world.wheel.size)
