"""A canary: every few seconds one item is published that nobody sees, to know how long items take, and whether they do.

    publish ──> the real bus ──> sink ──┬── the canary's realm: hub ──> the canary, if it is this process's own
                                        └── all others: delivery, as ever

So it waits wherever clients' items wait: for Redis, behind its entries, in the hub's queue, for a turn of the loop.
Nothing on the way looks at a clock for that; only the canary does. No publisher, client or setting can name its realm,
and it is in no history.
"""

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable

from gripproxy.bus import Bus, Sink
from gripproxy.grip.item import Item, WsMessage
from gripproxy.hub import EACH, GONE, Hub
from gripproxy.metrics import Metrics
from gripproxy.receipts import Receipt

log = logging.getLogger("gripproxy.canary")

# No realm can be called so: `config.texts.realm_name` has neither brackets nor spaces.
REALM = "(canary)"

# Seconds until the next one at the most, while they do not arrive: the end of an outage should be seen soon.
RETRY = 1.0

# Canaries under way that are remembered; of those that are lost the oldest are forgotten.
ABROAD_MAX = 10

NOT_YET = "Nothing has been delivered yet."
LATE = "Deliveries are late: what was published {:g} seconds ago has not arrived."
REFUSED = "The bus does not take what is published."


class Canary:
    """One process's canary; ``doubt`` says why the process is not fit for clients, "" when it is."""

    transport = GONE

    def __init__(
        self,
        hub: Hub,
        metrics: Metrics,
        interval: float,
        clock: Callable[[], float],
        name: str = "",
    ) -> None:
        """``interval`` is in seconds, 0 for none at all; a canary that is late by as much is given up.

        ``name`` tells this process from the others on the bus.
        """
        self._hub = hub
        self._metrics = metrics
        self._interval = interval
        self._clock = clock
        self._name = name or secrets.token_hex(8)
        self._number = 0
        # When those were published that have not arrived, by their id, the oldest first.
        self._abroad: OrderedDict[str, float] = OrderedDict()
        self._arrived = asyncio.Event()
        self._lag = 0.0
        self.doubt = NOT_YET if interval else ""
        # What the hub has counted for it, and no client.
        self.subscriptions = 0
        self.deliveries = 0

    @property
    def lag(self) -> float:
        """Seconds that the latest one took to arrive, or that the one which is awaited has taken by now."""
        waiting = self._clock() - next(iter(self._abroad.values())) if self._abroad else 0.0
        return max(self._lag, waiting)

    def sink(self, deliver: Sink) -> Sink:
        """Return what is to take items from the bus in place of ``deliver``, which gets all but the canaries."""
        hub, name = self._hub, self._name

        def take(realm: str, items: tuple[Item, ...], receipt: Receipt | None = None, /) -> None:
            if realm != REALM:
                deliver(realm, items, receipt)
                return
            for item in items:
                if item.channel == name:
                    hub.deliver(REALM, item)

        return take

    def receive(self, channel: str, item: Item) -> None:
        """Note that a canary has arrived; those before it will not any more."""
        self.deliveries += 1
        if item.id not in self._abroad:
            return
        while True:
            identifier, sent_at = self._abroad.popitem(last=False)
            if identifier == item.id:
                break
        self._lag = self._clock() - sent_at
        self._metrics.delivery_seconds.observe(self._lag)
        self._arrived.set()

    async def run(self, bus: Bus) -> None:
        """Publish one after the other, until cancelled."""
        if not self._interval:
            return
        self._hub.subscribe(self, REALM, self._name, EACH)
        self.subscriptions = 1
        try:
            while True:
                began = self._clock()
                self._judge(*await self.send(bus))
                pause = self._interval if not self.doubt else min(self._interval, RETRY)
                await self._rest(began + pause - self._clock())
        finally:
            self._hub.unsubscribe(self, REALM, self._name, EACH)
            self.subscriptions = 0

    async def send(self, bus: Bus) -> tuple[str, str]:
        """Publish one, and wait for it; return what became of it, and why, if it did not arrive in time."""
        self._number += 1
        identifier = str(self._number)
        sent_at = self._abroad[identifier] = self._clock()
        if len(self._abroad) > ABROAD_MAX:
            self._abroad.popitem(last=False)
        try:
            await bus.publish(REALM, (Item(self._name, id=identifier, message=WsMessage("send")),))
        except OSError as error:
            self._abroad.pop(identifier, None)
            return "refused", str(error)
        try:
            async with asyncio.timeout(max(0.0, sent_at + self._interval - self._clock())):
                while identifier in self._abroad:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            return "late", ""
        return "arrived", ""

    def _judge(self, result: str, why: str) -> None:
        self._metrics.canaries[result] += 1
        doubt = {"arrived": "", "late": LATE.format(self._interval), "refused": REFUSED}[result]
        if doubt and doubt != self.doubt:
            log.warning("not ready for clients: %s%s", doubt, f" ({why})" if why else "")
        elif self.doubt not in ("", NOT_YET) and not doubt:
            log.info("ready for clients: deliveries are in time again")
        self.doubt = doubt

    async def _rest(self, seconds: float) -> None:
        """Sleep, and note how much longer the loop made it."""
        due = self._clock() + max(0.0, seconds)
        await asyncio.sleep(due - self._clock())
        self._metrics.loop_delay_seconds.observe(max(0.0, self._clock() - due))
