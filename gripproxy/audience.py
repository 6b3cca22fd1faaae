"""Who is there: the subscribers of a channel, counted by the format of items that they take.

Nothing is kept for it; the hub's groups are counted when somebody asks. On the fast road that is a length. Those on the
slow road (long-polls, filters, reliable streams) are looked at one by one.
"""

import asyncio
import heapq
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from gripproxy.grip import wire
from gripproxy.hub import EACH, Hub
from gripproxy.receipts import HTTP_RESPONSE, HTTP_STREAM, WS_MESSAGE

# The format that a group's subscribers take, and those of one on the slow road by its word for the metrics.
_OF_FRAMING = {
    **dict.fromkeys(wire.STREAM_FRAMINGS, HTTP_STREAM),
    **dict.fromkeys(wire.MESSAGE_FRAMINGS, WS_MESSAGE),
}
_OF_TRANSPORT = {"response": HTTP_RESPONSE, "stream": HTTP_STREAM, "websocket": WS_MESSAGE}

# Channels, or subscribers on the slow road, that are looked at in one turn of the loop: about a millisecond.
SLICE = 5_000


class Channel(NamedTuple):
    """A channel, and how many take each format there."""

    name: str
    subscribers: dict[str, int]


class Audience:
    """The subscribers of a process."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def count(self, realm: str, channel: str) -> dict[str, int]:
        """Return how many subscribers of a channel take each format, 0 included."""
        counts = {HTTP_RESPONSE: 0, HTTP_STREAM: 0, WS_MESSAGE: 0}
        for group in self._hub.groups(realm, channel):
            framing = group.key[0]
            if framing != EACH:
                counts[_OF_FRAMING[framing]] += len(group.subscribers)
                continue
            # By class first: it is ten times as fast as asking each of them.
            for kind, number in Counter(map(type, group.subscribers)).items():
                # Who has no transport is no client.
                format_ = _OF_TRANSPORT.get(getattr(kind, "transport_name", ""))
                if format_ is not None:
                    counts[format_] += number
        return counts

    def mark(self, realm: str, channel: str, on_written: Callable[[], None]) -> int:
        """Call ``on_written`` once for each group of a channel that has work, when the work that it has now is done.

        Return how many they are.
        """
        groups = [group for group in self._hub.groups(realm, channel) if group.is_queued]
        for group in groups:
            taken = group.taken if group.members is not None else 0
            self._hub.marks.add(group, taken + len(group.pending), on_written)
        return len(groups)

    async def page(self, realm: str, prefix: str, after: str, limit: int) -> tuple[list[Channel], bool]:
        """Return the next channels of a realm behind ``after``, in the order of their names, and whether more follow.

        All channels are looked at, since they have no order; the loop goes on meanwhile.
        """
        keys = iter(list(self._hub.channels))
        names: list[str] = []
        while batch := list(islice(keys, SLICE)):
            fitting = [name for own, name in batch if own == realm and name > after and name.startswith(prefix)]
            names = heapq.nsmallest(limit + 1, [*names, *fitting])
            await asyncio.sleep(0)
        return [await self._look(realm, name) for name in names[:limit]], len(names) > limit

    async def _look(self, realm: str, name: str) -> Channel:
        if self._hub.channels.get((realm, name), 0) > SLICE:
            await asyncio.sleep(0)
        return Channel(name, self.count(realm, name))
