"""The bus of one process: a batch is delivered at once, in the turn of the loop in which it was published.

By the time ``publish`` returns, everybody who was subscribed when it was called has been served. It never raises: a
publisher who is told of a failure repeats the batch, and those who had been served would get it twice.
"""

import logging
from collections.abc import Callable
from typing import Protocol

from gripproxy.grip.item import Item
from gripproxy.metrics import Metrics
from gripproxy.receipts import Receipt

log = logging.getLogger("gripproxy.bus")


class Sink(Protocol):
    """Where a bus leaves a realm's items in this process: what delivery begins with."""

    def __call__(self, realm: str, items: tuple[Item, ...], receipt: Receipt | None = None, /) -> None: ...


class LocalBus:
    """Calls ``sink(realm, items)`` for each batch, and ``sink(realm, items, receipt)`` where one is asked for."""

    __slots__ = ("_has_room", "_metrics", "_on_recover", "_sink")

    def __init__(
        self,
        sink: Sink,
        metrics: Metrics | None = None,
        on_recover: Callable[[str | None], None] = lambda realm: None,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        """``has_room`` tells whether this process can take more."""
        self._sink = sink
        self._on_recover = on_recover
        self._has_room = has_room
        self._metrics = metrics if metrics is not None else Metrics()

    @property
    def is_full(self) -> bool:
        """Whether publishers should wait, because too much is not written yet."""
        return not self._has_room()

    async def publish(self, realm: str, items: tuple[Item, ...], receipt: Receipt | None = None) -> None:
        """Deliver a batch to this process's subscribers; what goes wrong there is logged and counted."""
        try:
            if receipt is None:
                self._sink(realm, items)
            else:
                self._sink(realm, items, receipt)
        except Exception:
            self._metrics.sink_errors += 1
            log.exception("realm %s: delivering a batch of %d items failed; some may be lost", realm, len(items))

    async def recover(self, realm: str) -> None:
        """Have this process find out what a realm may have missed."""
        self._on_recover(realm)

    async def run(self) -> None:
        """Return at once: there are no other processes to listen to."""
        self._metrics.bus_up = 1

    async def close(self) -> None:
        """Return at once: nothing is ever underway."""
