"""The bus: how published items reach every process, this one included.

The control door hands a batch to its bus and does not know who delivers it. A batch is all or nothing: either every
item of it goes out, or ``publish`` raises and none did. A publisher may therefore safely repeat what was refused.
"""

from collections.abc import Callable
from typing import Protocol

from gripproxy.bus.local import LocalBus
from gripproxy.grip.item import Item
from gripproxy.metrics import Metrics

# Where a bus leaves a realm's items in this process: what delivery begins with.
Sink = Callable[[str, tuple[Item, ...]], None]


class Bus(Protocol):
    """Takes batches to every process's sink, in the order in which one publisher handed them over."""

    async def publish(self, realm: str, items: tuple[Item, ...]) -> None:
        """Hand a batch to every process.

        Raises: OSError when it could not be handed over; then no item of it was, to nobody.
        """

    async def run(self) -> None:
        """Bring what other processes publish to the sink, until cancelled."""

    async def close(self) -> None:
        """Let go of everything; what was published before is handed over first."""


# By the scheme of the configured URL; each entry takes the URL, this process's sink and its counters.
BUSES: dict[str, Callable[[str, Sink, Metrics], Bus]] = {
    "local": lambda url, sink, metrics: LocalBus(sink, metrics),
}
