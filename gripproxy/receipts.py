"""What became of a batch of items, for a publisher who asks: its receipt.

Delivery fills it while it takes the batch; the hub says when the passes that carry the items are done. Without a
receipt neither of them does anything for it.
"""

import asyncio
from collections.abc import Mapping

from gripproxy.grip.item import Item

# The formats of items, which are also the words for who takes them.
HTTP_RESPONSE, HTTP_STREAM, WS_MESSAGE = "http-response", "http-stream", "ws-message"

# Given to all who are subscribed; not given, because its id had been seen; held back for the item before it. Unknown is
# what this process has not been told of yet.
DELIVERED, DUPLICATE, WAITING, UNKNOWN = "delivered", "duplicate", "waiting", "unknown"

NOBODY: Mapping[str, int] = {HTTP_RESPONSE: 0, HTTP_STREAM: 0, WS_MESSAGE: 0}


class Receipt:
    """One batch in one process; ``results`` and ``receivers`` are in the order of ``items``."""

    def __init__(self, items: tuple[Item, ...]) -> None:
        self.items = items
        self.results = [UNKNOWN] * len(items)
        self.receivers = [NOBODY] * len(items)
        # Equal items are different ones.
        self._places = {id(item): place for place, item in enumerate(items)}
        self._unknown = len(items)
        self._passes = 0
        self._is_known = asyncio.Event()
        self._is_written = asyncio.Event()
        self._check()

    def __contains__(self, item: object) -> bool:
        return id(item) in self._places

    def note(self, item: Item, result: str, audience: Mapping[str, int] = NOBODY) -> None:
        """Note what became of an item, and who is subscribed to its channel."""
        place = self._places[id(item)]
        if self.results[place] == UNKNOWN:
            self._unknown -= 1
        self.results[place] = result
        has = {
            HTTP_RESPONSE: item.response is not None,
            HTTP_STREAM: item.stream is not None,
            WS_MESSAGE: item.message is not None,
        }
        self.receivers[place] = {name: number if has[name] else 0 for name, number in audience.items()}

    def expect(self, passes: int) -> None:
        """Note that so many groups have to be done before all is written."""
        self._passes += passes
        self._check()

    def on_written(self) -> None:
        """Note that one of them is done."""
        self._passes -= 1
        self._check()

    def _check(self) -> None:
        if not self._unknown:
            self._is_known.set()
            if not self._passes:
                self._is_written.set()

    async def known(self) -> None:
        """Return when it is known what became of each item: over a bus they come to this process a moment later."""
        await self._is_known.wait()

    async def written(self) -> None:
        """Return when the items are with the connections of all who were to get them."""
        await self._is_written.wait()
