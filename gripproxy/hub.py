"""Channels, subscribers and the fan-out: the hot path.

A publish does not write to anybody. It encodes the item once for each framing and appends the bytes to what is
`pending` for the group of subscribers that share that framing on that channel; a **pass** then takes all that is
pending as one payload and writes that same payload to each of them, a slice for each turn of the loop:

    deliver(item) ──> pending: [bytes, bytes, …]          (per group; no write yet)
                          │ joined
    turn of the loop ──> payload ──> member, member, … │ loop is free │ member, member, … ──> next pass

With little load an item goes out at once and alone. Under load each `write` carries all that was published during
the last pass, so the cost of a delivery falls as the rate grows, and nobody waits for a timer.

Invariants: order on a channel is the order of `deliver`; a subscriber is in one group of a channel; nothing in a pass
awaits, logs, formats or looks at a clock; a subscriber is never waited for (its transport's buffer limit cuts it).
What is pending has no limit here: it is counted (``backlog``), and the doors take nothing while it is too much.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from gripproxy.grip import wire
from gripproxy.grip.history import size_of
from gripproxy.grip.item import Item
from gripproxy.marks import Marks

# The slow road: every item is handed to each subscriber by itself (filters, long-polls, reliable streams).
EACH = "each"

# Writes in one turn of the loop. Fewer let publishes in sooner (one takes about three turns to be read, published and
# answered), so that the next pass carries more of them; more cost fewer turns when there is nothing to gather. Measured
# on 1,000 streams: with 8 a burst costs two thirds of the processor time that it costs with 16, and half of that with
# 24; 256 when each message is waited for is as good as one turn for all.
WRITES_WHEN_BUSY = 8
WRITES_WHEN_QUIET = 256

# What handing one item to one subscriber costs on the slow road, in writes of the fast one.
RECEIVE_COST = 2

# Bytes that one pass joins at the most (one item may be larger): a joined write is counted against the subscriber's
# limit of unsent bytes, so it has to stay well below that.
PASS_BYTES = 65_536

# What a payload that waits takes beside its own bytes: the head of a bytes object and its place in a list.
ENTRY_OVERHEAD = 64


class Transport(Protocol):
    """The part of an asyncio transport that a pass uses."""

    def is_closing(self) -> bool: ...

    def write(self, data: bytes) -> None: ...


class _Gone:
    """Stands in for the transport of a subscriber that must not be written to any more."""

    __slots__ = ()

    def is_closing(self) -> bool:
        return True

    def write(self, data: bytes) -> None:
        raise ConnectionError("the client is gone")


GONE: Transport = _Gone()


class Subscriber(Protocol):
    """A held connection as the hub sees it.

    ``transport`` is set to GONE as soon as nothing may be written any more. ``receive`` takes what the fast road does
    not carry: any item in the group EACH, and items whose action is not ``send`` in the others.
    """

    transport: Transport

    def receive(self, channel: str, item: Item) -> None: ...


class _Nobody:
    """Has the place in a pass of a subscriber that was handed what the pass has for it."""

    transport = GONE

    def receive(self, channel: str, item: Item) -> None:
        """Take nothing."""


NOBODY = _Nobody()


class Group:
    """The subscribers that share one framing on one channel, and the pass that is under way for them."""

    __slots__ = (
        "ahead",
        "is_busy",
        "is_queued",
        "key",
        "members",
        "passed_at",
        "payload",
        "pending",
        "position",
        "subscribers",
        "taken",
        "work",
    )

    def __init__(self, key: tuple[str, str, str]) -> None:
        self.key = key
        self.subscribers: dict[Subscriber, None] = {}
        self.pending: list[bytes | Item] = []
        # Subscribers that have got some of what is pending already, from the first on, and how many; None for none.
        self.ahead: dict[Subscriber, int] | None = None
        self.is_queued = False
        self.is_busy = False
        self.passed_at = 0
        # The pass under way
        self.members: list[Subscriber] | None = None
        self.position = 0
        self.payload = b""
        self.work: list[Item] = []
        self.taken = 0  # entries of `pending` that it carries


class Hub:
    """Who is subscribed to what, and the passes that reach them.

    Channels belong to a realm: the key is (realm, channel), and nothing crosses from one realm to another.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_error: Callable[[Subscriber, Exception], None],
        on_channel: Callable[[str, str, bool], None] | None = None,
    ) -> None:
        """``on_channel(realm, channel, True)`` is called for a first subscriber, with False after the last."""
        self._loop = loop
        self._on_error = on_error
        self.on_channel = on_channel
        # For statistics, where they are wanted: each subscription as it begins (True) and ends, and each item.
        self.on_subscription: Callable[[Subscriber, str, str, bool], None] | None = None
        self.on_item: Callable[[str, Item], None] | None = None
        self._groups: dict[tuple[str, str, str], Group] = {}
        self._queue: deque[Group] = deque()
        self._is_running = False
        self.marks: Marks[Group] = Marks()
        # Bytes that are pending, and of passes under way, of all groups; a payload counts once for all its subscribers.
        self.backlog = 0
        # (realm, channel) -> subscriptions
        self.channels: dict[tuple[str, str], int] = {}
        # Counters for the metrics, kept incrementally.
        self.subscriptions = 0
        self.items = 0
        # By framing; each subscriber counts
        self.deliveries: dict[str, int] = dict.fromkeys((*wire.STREAM_FRAMINGS, *wire.MESSAGE_FRAMINGS, EACH), 0)
        self.passes = 0
        # The turn of the timer wheel; idle keep-alives compare a group's `passed_at` with it.
        self.tick = 0

    def subscribe(
        self, subscriber: Subscriber, realm: str, channel: str, framing: str, *, is_ahead: bool = False
    ) -> Group:
        """Add a subscriber; it gets what passes from now on. Subscribing again to the same group changes nothing.

        ``is_ahead``: what is pending it has got already, by `hand_over`.
        """
        key = (framing, realm, channel)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key)
        if subscriber not in group.subscribers:
            group.subscribers[subscriber] = None
            if is_ahead:
                _set_ahead(group, subscriber)
            self.subscriptions += 1
            count = self.channels.get((realm, channel), 0)
            self.channels[realm, channel] = count + 1
            if self.on_subscription is not None:
                self.on_subscription(subscriber, realm, channel, True)
            if count == 0 and self.on_channel is not None:
                self.on_channel(realm, channel, True)
        return group

    def unsubscribe(self, subscriber: Subscriber, realm: str, channel: str, framing: str) -> None:
        """Remove a subscriber, in the middle of a pass too; removing one that is not there changes nothing."""
        group = self._groups.get((framing, realm, channel))
        if group is None or subscriber not in group.subscribers:
            return
        del group.subscribers[subscriber]
        if group.ahead is not None:
            group.ahead.pop(subscriber, None)
        self.subscriptions -= 1
        if self.on_subscription is not None:
            self.on_subscription(subscriber, realm, channel, False)
        if not group.subscribers and not group.is_queued:
            del self._groups[group.key]
        count = self.channels[realm, channel] - 1
        if count:
            self.channels[realm, channel] = count
            return
        del self.channels[realm, channel]
        if self.on_channel is not None:
            self.on_channel(realm, channel, False)

    def hand_over(self, subscriber: Subscriber, realm: str, channel: str, framing: str) -> None:
        """Give a subscriber now what its group has for it.

        So it can change to another group, or how it takes items, and nothing is missed or doubled.
        """
        group = self._groups.get((framing, realm, channel))
        if group is None or subscriber not in group.subscribers:
            return
        entries: list[bytes | Item] = []
        members = group.members
        if members is not None and subscriber in members[group.position :]:
            members[members.index(subscriber, group.position)] = NOBODY
            entries += [group.payload] if group.payload else group.work
        has = group.ahead.get(subscriber, 0) if group.ahead is not None else 0
        entries += group.pending[has:]
        self.deliveries[framing] += len(group.pending) - has
        _set_ahead(group, subscriber)
        for entry in entries:
            if not isinstance(entry, bytes):
                subscriber.receive(channel, entry)
            elif not subscriber.transport.is_closing():
                subscriber.transport.write(entry)

    def passed_at(self, realm: str, channel: str, framing: str) -> int:
        """Return the tick of the latest pass, for keep-alives that are due only when nothing else was sent."""
        group = self._groups.get((framing, realm, channel))
        return group.passed_at if group is not None else 0

    def subscribers(self, realm: str, channel: str) -> list[Subscriber]:
        """Return everyone who is subscribed to a channel, those without filters first."""
        return list(dict.fromkeys(one for group in self.groups(realm, channel) for one in group.subscribers))

    def groups(self, realm: str, channel: str) -> list[Group]:
        """Return the groups that a channel has."""
        found = (self._groups.get((framing, realm, channel)) for framing in self.deliveries)
        return [group for group in found if group is not None]

    def deliver(self, realm: str, item: Item) -> None:
        """Put an item in the queue of each group that it concerns; the loop writes it from the next turn on."""
        self.items += 1
        if self.on_item is not None:
            self.on_item(realm, item)
        groups = self._groups
        channel = item.channel
        if item.stream is not None:
            for framing, encode in wire.STREAM_FRAMINGS.items():
                group = groups.get((framing, realm, channel))
                if group is not None:
                    self._put(group, item, encode, item.stream.action, item.stream.content_filters)
        if item.message is not None:
            for framing, encode in wire.MESSAGE_FRAMINGS.items():
                group = groups.get((framing, realm, channel))
                if group is not None:
                    self._put(group, item, encode, item.message.action, item.message.content_filters)
        group = groups.get((EACH, realm, channel))
        if group is not None:
            group.pending.append(item)
            self.backlog += size_of(item)
            self._start(group)

    def _put(
        self,
        group: Group,
        item: Item,
        encode: Callable[[Item], bytes],
        action: str,
        content_filters: tuple[str, ...] | None,
    ) -> None:
        if action != "send":
            group.pending.append(item)
            self.backlog += size_of(item)
        elif content_filters:
            return  # The content is a template for filters; the subscribers of the fast road have none.
        else:
            payload = encode(item)
            if not payload:
                return
            group.pending.append(payload)
            self.backlog += len(payload) + ENTRY_OVERHEAD
        self._start(group)

    def _start(self, group: Group) -> None:
        if not group.is_queued:
            group.is_queued = True
            self._queue.append(group)
            if not self._is_running:
                self._is_running = True
                self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Do a slice of the passes that are under way, each group in its turn, and leave the loop free again."""
        queue = self._queue
        budget = WRITES_WHEN_QUIET
        while queue and budget > 0:
            group = queue.popleft()
            if group.members is None:
                self._begin(group)
            if group.is_busy or group.pending:
                budget = min(budget, WRITES_WHEN_BUSY)
            budget -= self._slice(group, budget)
            if group.members is not None:
                queue.append(group)
            elif group.pending:
                # Items come faster than a pass goes round: leave the loop free more often, so that more of them
                # gather for the next one.
                group.is_busy = True
                queue.append(group)
            else:
                group.is_busy = group.is_queued = False
                if not group.subscribers:
                    self._groups.pop(group.key, None)
        if queue:
            self._loop.call_soon(self._turn)
        else:
            self._is_running = False

    def _begin(self, group: Group) -> None:
        """Start a pass with the longest run of pending entries that travel the same road."""
        pending, ahead = group.pending, group.ahead
        first = pending[0]
        # Who is ahead joins in where the others have come to.
        most = min(ahead.values()) if ahead else len(pending)
        end = 1
        if isinstance(first, bytes):
            size = len(first)
            while end < most:
                entry = pending[end]
                if not isinstance(entry, bytes) or (size := size + len(entry)) > PASS_BYTES:
                    break
                end += 1
            group.payload = first if end == 1 else b"".join(pending[:end])  # type: ignore[arg-type]
        else:
            while end < most and not isinstance(pending[end], bytes):
                end += 1
            group.payload = b""
            group.work = pending[:end]  # type: ignore[assignment]
        group.taken = end
        del pending[:end]
        if ahead:
            group.members = [subscriber for subscriber in group.subscribers if subscriber not in ahead]
            group.ahead = {subscriber: has - end for subscriber, has in ahead.items() if has > end} or None
        else:
            group.members = list(group.subscribers)
        group.position = 0
        group.passed_at = self.tick
        self.passes += 1
        self.deliveries[group.key[0]] += end * len(group.members)

    def _slice(self, group: Group, budget: int) -> int:
        """Write to the next members of a pass; return what it cost."""
        members, start, payload = group.members, group.position, group.payload
        assert members is not None
        count = budget if payload else max(1, budget // (RECEIVE_COST * len(group.work)))
        iterator = iter(members[start : start + count])
        subscriber: Subscriber
        while True:
            try:
                if payload:
                    for subscriber in iterator:
                        transport = subscriber.transport
                        if not transport.is_closing():
                            transport.write(payload)
                else:
                    channel, work = group.key[2], group.work
                    for subscriber in iterator:
                        for item in work:
                            subscriber.receive(channel, item)
                break
            except Exception as error:  # one subscriber's fault must not stop the others
                self._on_error(subscriber, error)
        group.position = start + count
        done = min(count, len(members) - start)
        if group.position >= len(members):
            if payload:
                self.backlog -= len(payload) + ENTRY_OVERHEAD * group.taken
            else:
                self.backlog -= sum(map(size_of, group.work))
            group.members = None
            group.payload = b""
            group.work = []
            if self.marks.waiting and group in self.marks.waiting:
                self.marks.count_down(group, group.taken)
        return done if payload else done * RECEIVE_COST


def _set_ahead(group: Group, subscriber: Subscriber) -> None:
    if group.pending:
        group.ahead = {**(group.ahead or {}), subscriber: len(group.pending)}
