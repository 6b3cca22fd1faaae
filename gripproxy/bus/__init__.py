"""The bus: how published items reach every process, this one included.

The control door hands a batch to its bus and does not know who delivers it. A batch is all or nothing: either every
item of it goes out, or ``publish`` raises and none did. A publisher may therefore safely repeat what was refused.
"""

from collections.abc import Callable
from typing import Protocol

from gripproxy.bus.local import LocalBus, Sink
from gripproxy.config import Bus as Settings
from gripproxy.config import Config
from gripproxy.grip.item import Item
from gripproxy.metrics import Metrics
from gripproxy.receipts import Receipt

__all__ = ["BUSES", "Bus", "Sink", "cause_of", "make_bus", "require_library"]

# What a realm (None: every one) does to find out what it may have missed.
OnRecover = Callable[[str | None], None]

# Whether this process can take more of what is published.
HasRoom = Callable[[], bool]


class Bus(Protocol):
    """Takes batches to every process's sink, in the order in which one publisher handed them over."""

    @property
    def is_full(self) -> bool:
        """Whether this process has more to write than it may (limits.backlog), so that its doors take nothing."""

    async def publish(self, realm: str, items: tuple[Item, ...], receipt: Receipt | None = None) -> None:
        """Hand a batch to every process.

        A receipt is filled by this process alone, when the batch is at its sink: before or after the return.

        Raises: OSError when it could not be handed over; then no item of it was, to nobody.
        """

    async def recover(self, realm: str) -> None:
        """Have every process find out what a realm may have missed.

        Raises: OSError when they could not be asked.
        """

    async def run(self) -> None:
        """Bring what other processes publish to the sink, until cancelled."""

    async def close(self) -> None:
        """Let go of everything; what was published before is handed over first."""


def cause_of(error: Exception) -> str:
    """Say why a bus took nothing, to publishers and the log; what is not for them is the name of a defect."""
    return (str(error) if isinstance(error, OSError) else "") or type(error).__name__


def _redis(settings: Settings, sink: Sink, on_recover: OnRecover, metrics: Metrics, has_room: HasRoom) -> Bus:
    from gripproxy.bus.redis import RedisBus  # the library is an extra

    return RedisBus(settings, sink, on_recover, metrics, has_room)


# By the scheme of the configured URL; each entry takes the settings, this process's ends of the bus and its counters.
BUSES: dict[str, Callable[[Settings, Sink, OnRecover, Metrics, HasRoom], Bus]] = {
    "local": lambda settings, sink, on_recover, metrics, has_room: LocalBus(sink, metrics, on_recover, has_room),
    "redis": _redis,
    "rediss": _redis,
}


def make_bus(config: Config, sink: Sink, on_recover: OnRecover, metrics: Metrics, has_room: HasRoom) -> Bus:
    """Return the bus that the configuration names.

    Raises: ConfigError when its library is missing.
    """
    require_library(config)
    return BUSES[config.bus.scheme](config.bus, sink, on_recover, metrics, has_room)


def require_library(config: Config) -> None:
    """Raises: ConfigError when the bus needs a library that is not there."""
    if config.bus.scheme == "local":
        return
    try:
        import redis.asyncio  # noqa: F401
    except ImportError as error:
        raise config.error("bus.url", f"needs pip install 'gripproxy[redis]' ({error})") from None
