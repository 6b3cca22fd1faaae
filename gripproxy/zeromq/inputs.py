"""What comes in by PULL and SUB: items, in messages of one and of two parts."""

import logging
from collections.abc import Callable

from gripproxy.bus import Bus, cause_of
from gripproxy.config import Config
from gripproxy.errors import ItemError
from gripproxy.grip.item import Item
from gripproxy.grip.zeromq import parse_message
from gripproxy.metrics import Metrics
from gripproxy.zeromq.faults import log_fault

log = logging.getLogger("gripproxy.zeromq")

# Messages and bytes of one turn of the loop, which go to the bus together. ZeroMQ has the next message at hand under
# load, and waiting for what is at hand does not let anything else run.
TURN_MESSAGES = 64
TURN_BYTES = 262_144

# Seconds between two looks whether there is room again (limits.backlog).
FULL_TICK = 0.01


class Intake:
    """What becomes of messages: their items go to the bus, what is wrong is dropped."""

    def __init__(self, config: Config, bus: Bus, metrics: Metrics) -> None:
        self._realm = config.zeromq.realm
        self._bus = bus
        self._metrics = metrics
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take items by other limits from now on."""
        self._item_max = config.realms[self._realm].max_item

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read for now."""
        return self._bus.is_full

    async def publish(self, name: str, messages: list[list[bytes]], read: Callable[[list[bytes]], Item]) -> None:
        """Publish the items of messages, each a list of parts, in one batch; ``name`` is the input's, for the log."""
        items = []
        for parts in messages:
            try:
                item = read(parts)
                check_size(item, self._item_max, "item")
            except ItemError as error:
                self._metrics.zeromq_messages["refused"] += 1
                log_fault(name, f"dropped a message: {error}")
            else:
                items.append(item)
        if not items:
            return
        try:
            await self._bus.publish(self._realm, tuple(items))
        except Exception as error:
            self._metrics.bus_errors += 1
            self._metrics.zeromq_messages["lost"] += len(items)
            log_fault(f"{name} to the bus", f"lost {len(items)} items ({cause_of(error)})")
            if not isinstance(error, OSError):
                log.exception("the bus failed")
            return
        self._metrics.zeromq_messages["published"] += len(items)
        self._metrics.count_items(items)


def check_size(item: Item, item_max: int, where: str) -> None:
    """Raises: ItemError when a content is larger than the realm allows; 0 is without limit."""
    if item_max and item.content_size > item_max:
        raise ItemError(f"{where}: a content is larger than {item_max} bytes (the realm's max_item)")


def read_pull(parts: list[bytes]) -> Item:
    """Read what a PULL socket received. Raises: ItemError"""
    if len(parts) != 1:
        raise ItemError(f"a message must be one part, not {len(parts)}")
    return parse_message(parts[0])


def read_sub(parts: list[bytes]) -> Item:
    """Read what a SUB socket received. Raises: ItemError"""
    if len(parts) != 2:
        raise ItemError(f"a message must be two parts, channel and item, not {len(parts)}")
    return parse_message(parts[1], parts[0])
