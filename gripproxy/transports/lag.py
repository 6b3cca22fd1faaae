"""What a stream knows of a client that has too much unsent: nothing is written to it until it has caught up.

Nothing is queued for it either. Of each channel only the first and the last item that it was not sent are noted: what
lies between them the channel's history still has then, or the stream's link.
"""

from collections.abc import Callable, Sequence

from gripproxy.grip.item import Item

# Seconds in which a client that lags has to take something; nginx's send_timeout is the same. A phone that changes from
# one network to another is back sooner, and whoever is not has lost the connection, without the kernel knowing it yet.
PATIENCE = 60.0

# Seconds between two looks at whether it has.
LOOK = 5.0

# How often `limits.unsent` may be unsent after all, by what was under way when the client began to lag.
UNSENT_TIMES = 2


class Lag:
    """One client's lag.

    ``is_asking``: the link has to be asked once it is over, for what could not be taken or asked meanwhile.
    ``is_hinted``: a hint came.
    """

    __slots__ = ("_moved_at", "_size", "_spans", "is_asking", "is_hinted", "look_at")

    def __init__(self, size: int, now: float) -> None:
        """``size`` is how many bytes are unsent."""
        self._spans: dict[str, tuple[Item, Item]] = {}
        self.is_asking = self.is_hinted = False
        self._size = size
        self._moved_at = now
        self.look_at = now + LOOK

    def skip(self, channel: str, item: Item) -> None:
        """Note that the client was not sent an item."""
        first, _ = self._spans.get(channel, (item, item))
        self._spans[channel] = first, item

    def skipped(self, arrived: Callable[[str], Sequence[Item]]) -> list[tuple[str, Sequence[Item] | None]]:
        """Return channels and the items of them that were skipped, None where not all of them are remembered.

        ``arrived`` tells what is remembered of a channel. Those come last that may close the stream.
        """
        skipped = [(channel, _between(first, last, arrived(channel))) for channel, (first, last) in self._spans.items()]
        return sorted(skipped, key=lambda one: any(map(_closes, one[1] or ())))

    def is_dead(self, size: int, now: float) -> bool:
        """Look how much is unsent now; return whether the client has taken nothing for too long."""
        if size < self._size:
            self._moved_at = now
        self._size = size
        self.look_at = now + LOOK
        return now - self._moved_at >= PATIENCE


def _between(first: Item, last: Item, items: Sequence[Item]) -> Sequence[Item] | None:
    """Return the items from one to another, both included; None if the first is not among them."""
    begin = next((at for at, one in enumerate(items) if one is first), None)
    if begin is None:
        return None
    end = next((at for at, one in enumerate(items) if one is last), begin)
    return items[begin : end + 1]


def _closes(item: Item) -> bool:
    return item.stream is not None and item.stream.action == "close"
