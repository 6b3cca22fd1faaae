"""From the bus to the hub: duplicates are dropped, order is restored, and what is due is delivered.

This is the one place of a process where items come in, and the one that remembers them: holds ask it what came after
the item that their client is at, and what came since a moment. A moment is a number: how many items had gone out.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from gripproxy.audience import Audience
from gripproxy.config import Limits
from gripproxy.grip.item import Item
from gripproxy.grip.sequencer import Sequencer
from gripproxy.hub import Hub
from gripproxy.metrics import Metrics
from gripproxy.receipts import DELIVERED, DUPLICATE, WAITING, Receipt
from gripproxy.sessions import Sessions
from gripproxy.unheard import Unheard

log = logging.getLogger("gripproxy.delivery")


class Delivery:
    """The items of all realms on their way to the hub."""

    def __init__(
        self,
        hub: Hub,
        limits: Limits,
        metrics: Metrics,
        loop: asyncio.AbstractEventLoop,
        sessions: Sessions | None = None,
    ) -> None:
        self._hub = hub
        self._sessions = sessions if sessions is not None else Sessions(limits)
        self._loop = loop
        self._metrics = metrics
        self._unheard = Unheard(hub.channels)
        self._sequencer = Sequencer()
        self._handle: asyncio.TimerHandle | None = None
        self.configure(limits)
        # The moment at which this turn of the loop began, once an item has come in it.
        self._turn: int | None = None
        metrics.watch("duplicates", lambda: self._sequencer.duplicates)
        metrics.watch("gaps", lambda: {**metrics.gaps, "early": self._sequencer.overflowed})
        metrics.watch("forgotten", self._forgotten)

    def _forgotten(self) -> dict[str, int]:
        """What the bounds of the sequencer's tables have cost."""
        sequencer = self._sequencer
        return {
            "id": sequencer.forgotten_duplicates,
            "last-id": sequencer.forgotten_last_ids,
            "item": sequencer.forgotten_history,
        }

    def configure(self, limits: Limits) -> None:
        """Remember by other limits from now on."""
        self._backlog_max = limits.backlog
        self._sequencer.configure(
            wait=limits.message_wait,
            duplicate_ttl=limits.duplicates_age,
            history_ttl=limits.history_age,
            history_items=limits.history_items,
            history_bytes=limits.history_bytes,
        )
        if self._handle is not None and self._sequencer.deadline is not None:
            self._handle.cancel()
            self._wait(self._sequencer.deadline)

    @property
    def is_full(self) -> bool:
        """Whether more waits to be written than may, so that publishers have to wait."""
        return self._hub.backlog >= self._backlog_max > 0

    def receive(self, realm: str, items: tuple[Item, ...], receipt: Receipt | None = None) -> None:
        """Take items from the bus, in their order; a receipt is told what becomes of those that it is for."""
        hub, sequencer, sessions = self._hub, self._sequencer, self._sessions
        self._begin_turn()
        now = self._loop.time()
        delivered: list[Item] = []
        for item in items:
            key = (realm, item.channel)
            has_subscribers, duplicates = key in hub.channels, sequencer.duplicates
            due = sequencer.push(key, item, now, has_subscribers)
            for one in due:
                if sessions.trails:
                    sessions.note(key, one)
                hub.deliver(realm, one)
            if due and not has_subscribers:
                self._metrics.unheard += len(due)
                self._unheard.add(realm, item.channel, now)
            if receipt is not None:
                receipt.note(item, DUPLICATE if sequencer.duplicates > duplicates else WAITING)
                delivered += [one for one in due if one in receipt]
        if receipt is not None:
            self._tell(receipt, realm, delivered)
        if sequencer.deadline is not None and self._handle is None:
            self._wait(sequencer.deadline)

    def _tell(self, receipt: Receipt, realm: str, items: list[Item]) -> None:
        """Tell a receipt of its items that went out: who gets them now, and when they are written."""
        audience = Audience(self._hub)
        counts = {channel: audience.count(realm, channel) for channel in {item.channel for item in items}}
        for item in items:
            receipt.note(item, DELIVERED, counts[item.channel])
        receipt.expect(sum(audience.mark(realm, channel, receipt.on_written) for channel in counts))

    @property
    def moment(self) -> int:
        """Now: what comes later has come after this."""
        return self._sequencer.serial

    @property
    def turn(self) -> int:
        """The moment at which this turn of the loop began.

        What a backend publishes right behind its answer may be read from the sockets before the answer is.
        """
        return self._turn if self._turn is not None else self._sequencer.serial

    def since(self, realm: str, channel: str, last_id: str) -> list[Item] | None:
        """Return the items that came after an id on a channel; None when that is not known."""
        return self._sequencer.since((realm, channel), last_id)

    def arrived(self, realm: str, channel: str, moment: int) -> list[Item]:
        """Return all items that came on a channel after a moment, as far as they are kept."""
        return self._sequencer.arrived((realm, channel), moment)

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Remember all that comes meanwhile, however much it is of one channel: who waits subscribes behind it only."""
        self._sequencer.await_all(1)
        try:
            yield
        finally:
            self._sequencer.await_all(-1)

    def reaches(self, moment: int) -> bool:
        """Whether all that came after a moment is remembered still, as far as there was room."""
        return moment >= self._sequencer.expired

    def is_behind(self, realm: str, channel: str, prev_id: str) -> bool:
        """Whether a hold whose client is at ``prev_id`` may lack something that only the backend can tell."""
        last_id = self._sequencer.last_id((realm, channel))
        return last_id is not None and last_id != prev_id

    def forget_channel(self, realm: str, channel: str) -> None:
        """Note that a channel's last subscriber has left."""
        self._sequencer.forget((realm, channel))
        self._unheard.had(realm, channel)

    def recover(self, realm: str | None = None) -> None:
        """Forget what was delivered in a realm, or in all, so that the next hold is compared with nothing."""
        self._sequencer.clear(None if realm is None else lambda key: isinstance(key, tuple) and key[0] == realm)

    def _begin_turn(self) -> None:
        if self._turn is None:
            self._turn = self._sequencer.serial
            self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._turn = None

    def _wait(self, deadline: float) -> None:
        self._handle = self._loop.call_at(deadline, self._deliver_late)

    def _deliver_late(self) -> None:
        """Deliver the items whose predecessor did not come in time."""
        self._handle = None
        self._begin_turn()
        for key, item in self._sequencer.due(self._loop.time()):
            assert isinstance(key, tuple)
            self._metrics.gaps["late"] += 1
            if key not in self._hub.channels:
                self._metrics.unheard += 1
            log.debug("channel %r: item %r has waited for %r long enough", item.channel, item.id, item.prev_id)
            self._sessions.note(key, item)
            self._hub.deliver(key[0], item)
        if self._sequencer.deadline is not None:
            self._wait(self._sequencer.deadline)

    def close(self) -> None:
        """Stop waiting."""
        if self._handle is not None:
            self._handle.cancel()
