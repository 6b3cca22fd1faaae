"""What all holds of a process share: the hub, the timers, the limits, and who is told when one ends."""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from gripproxy.config import Limits
from gripproxy.errors import FilterError
from gripproxy.grip.filters import Question, Reply
from gripproxy.grip.instruct import KeepAlive
from gripproxy.grip.item import Item
from gripproxy.hub import EACH, Group, Hub
from gripproxy.metrics import Metrics
from gripproxy.routes import Route
from gripproxy.sessions import Sessions
from gripproxy.transports import Outcome
from gripproxy.transports.answers import Answers
from gripproxy.transports.connections import Connections
from gripproxy.transports.held import Held, peer_of
from gripproxy.transports.line import Line
from gripproxy.transports.wheel import Wheel

log = logging.getLogger("gripproxy.hold")

# How much earlier than asked a keep-alive may be sent, as a share of its timeout: connections that were opened
# together drift apart instead of being written to in one tick. Pushpin: up to one second.
SPREAD = 0.1

# Different keep-alives remembered, so that connections share one object; backends use a handful.
KEEP_ALIVES_MAX = 1024


class History(Protocol):
    """What is remembered of the items that came; a moment is the number of items that had come by then."""

    @property
    def moment(self) -> int:
        """Now."""

    @property
    def turn(self) -> int:
        """The moment at which this turn of the loop began."""

    def since(self, realm: str, channel: str, last_id: str) -> list[Item] | None:
        """Return the items after an id, [] if it is the newest, None if it is not known."""

    def arrived(self, realm: str, channel: str, moment: int) -> list[Item]:
        """Return all items that came after a moment."""

    def remembering(self) -> AbstractContextManager[None]:
        """Remember all that comes within it."""

    def reaches(self, moment: int) -> bool:
        """Whether all that came after a moment is remembered still."""

    def is_behind(self, realm: str, channel: str, prev_id: str) -> bool:
        """Whether a client that is at ``prev_id`` may lack something."""


class Hold(Held):
    """What all holds have in common for those who look at them from outside."""

    __slots__ = ("channels", "route")

    # The word for the metrics
    transport_name = ""
    channels: tuple[str, ...]
    route: Route

    @property
    def log_extra(self) -> dict[str, object]:
        """What log records about the hold have beside their message."""
        return {"route": self.route.id, "peer": peer_of(self.connection)}

    def end(self, reason: str) -> None:
        """End the hold in good order."""

    def refresh(self) -> None:
        """Ask the backend whether something was missed."""


# Requests at one time that tell a backend of clients that have left.
PARTING_MAX = 64

# Requests at one time that only ask whether there is something new: a publish can cause one for each subscriber.
REFRESHING_MAX = 256


@dataclass(slots=True)
class Holds:
    """The surroundings of every hold.

    ``on_end(hold, outcome)`` is called once for each hold that ends, after it has unsubscribed.
    """

    hub: Hub
    wheel: Wheel
    history: History
    server: Connections
    limits: Limits
    metrics: Metrics
    keepalive_timeout: float
    on_end: Callable[[Hold, Outcome], None]
    # Called once for each hold that begins, where somebody wants to know.
    on_begin: Callable[[Hold], None] | None = None
    # Asks for a filter: hold, absolute URI that its URL is relative to, question, who is told the reply.
    ask: Callable[[Hold, str, Question, Callable[[Reply | FilterError], None]], None] = field(
        default=lambda hold, uri, question, then: then(FilterError("there is nobody to ask"))
    )
    answers: Answers = field(default_factory=Answers)
    # Whose client each hold is, where routes keep sessions.
    sessions: Sessions = field(default_factory=lambda: Sessions(Limits()))
    # Open holds, for the drain at shutdown: a set in the order of their beginning. `begin` and `leave` change it.
    open: dict[Hold, None] = field(default_factory=dict)
    # Conversations with backends that go on without a client waiting: events, gone links
    talking: int = 0
    # Places for telling backends of clients that have left
    parting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PARTING_MAX))
    # Places for asking backends whether there is something new
    refreshing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(REFRESHING_MAX))
    _keep_alives: dict[KeepAlive, KeepAlive] = field(default_factory=dict)

    def begin(self, hold: Hold) -> None:
        """Note that a hold is open."""
        self.open[hold] = None
        metrics = self.metrics
        key = metrics.route_names[hold.route.id], hold.transport_name
        metrics.holds[key] += 1
        metrics.connections[key] += 1
        if self.on_begin is not None:
            self.on_begin(hold)

    def leave(self, hold: Hold) -> None:
        """Note that a hold is over, once; what it ended with is for `on_end` to count."""
        if self.open.pop(hold, True) is None:
            metrics = self.metrics
            metrics.connections[metrics.route_names[hold.route.id], hold.transport_name] -= 1

    def share(self, keep_alive: KeepAlive | None) -> KeepAlive | None:
        """Return the one object for equal keep-alives."""
        if keep_alive is None:
            return None
        if len(self._keep_alives) >= KEEP_ALIVES_MAX:
            self._keep_alives.clear()
        return self._keep_alives.setdefault(keep_alive, keep_alive)

    def missed(
        self, group: Group, realm: str, channel: str, moment: int, is_carried: Callable[[Item], bool]
    ) -> list[Item]:
        """Return what came after a moment and before the subscription to a group, which will not bring it.

        ``is_carried`` tells which items the group carries at all.
        """
        items = [item for item in self.history.arrived(realm, channel, moment) if is_carried(item)]
        # What waits for the group's next pass reaches this subscriber, too.
        waiting = len(group.pending)
        return items[:-waiting] if waiting else items

    def missed_messages(self, group: Group, answered: int | None) -> list[Item]:
        """Return what a WebSocket's subscription to a group came too late for.

        ``answered`` is the moment of the backend's word for it, None for now.
        """
        framing, realm, channel = group.key
        moment = self.history.turn if answered is None else answered
        return self.missed(group, realm, channel, moment, _is_item if framing == EACH else _is_message)

    def line(self, hold: Hold, uri: str, on_overflow: Callable[[], None]) -> Line:
        """Return a line for the items of a hold, whose filters' URLs are relative to ``uri``."""

        def ask(question: Question, then: Callable[[Reply | FilterError], None]) -> None:
            self.ask(hold, uri, question, then)

        def on_error(error: FilterError) -> None:
            log.info("%s: skipped an item: %s", hold.route.id, error, extra=hold.log_extra)

        return Line(ask, on_error, on_overflow)

    @staticmethod
    def spread(seconds: float) -> float:
        """Return a time a little shorter than ``seconds``."""
        return seconds * (1 - SPREAD * random.random())  # noqa: S311  # nothing depends on its being hard to guess

    def settle(self, held: Held) -> None:
        """Leave a connection to its next request: aiohttp gets it back with the client's next bytes, now or later."""
        connection = held.connection
        if connection is None or connection.is_closing():
            return
        if held.has_received:
            held.give_back()
        else:
            held.rest(self.wheel, self.keepalive_timeout)

    def cut(self, held: Hold, kind: str) -> None:
        """Log that a client is cut because it holds too many unsent bytes; the hold's end is what is counted."""
        connection = held.connection
        peer = connection.get_extra_info("peername") if connection is not None else None
        size = connection.get_write_buffer_size() if connection is not None else 0
        log.warning(
            "cut a slow client: %s %s, channels %s, route %s, %d bytes unsent (limits.unsent is %d)",
            kind,
            f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix",
            ", ".join(held.channels[:5]),
            held.route.id,
            size,
            self.limits.unsent,
            extra={**held.log_extra, "channels": held.channels[:5]},
        )


def _is_item(item: Item) -> bool:
    """Whether a group that is handed each item has it: any."""
    return True


def _is_message(item: Item) -> bool:
    """Whether a group of frames has an item; what content filters make of it is for others."""
    message = item.message
    return message is not None and (message.action != "send" or not message.content_filters)
