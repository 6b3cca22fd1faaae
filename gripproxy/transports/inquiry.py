"""A link of a stream that is under way: where the client was when it was asked for, and what was written since."""

from collections.abc import Iterable, Mapping

from gripproxy.grip.instruct import Channel

# Ids of a channel that are noted; the channel's history may know of more.
NOTED_MAX = 100


class Inquiry:
    """One question to a link. ``moved`` has the channels on which the client has got something since, and which ids."""

    __slots__ = ("_ids", "moved")

    def __init__(self, ids: Mapping[str, str]) -> None:
        """``ids`` is where the client is now on reliable channels."""
        self._ids = dict(ids)
        self.moved: dict[str, list[str]] = {}

    def note(self, channel: str, last_id: str) -> None:
        """Note that the client gets the item with this id."""
        ids = self.moved.setdefault(channel, [])
        ids.append(last_id)
        if len(ids) > NOTED_MAX:
            del ids[0]

    def has(self, channel: str, last_id: str) -> bool:
        """Whether the client was at this id of a channel when it was asked, or has come to it since."""
        return last_id == self._ids.get(channel) or last_id in self.moved.get(channel, ())

    def repeats(self, channels: Iterable[Channel], body: bytes) -> bool:
        """Whether an answer with these channels and body may have what was written while it was under way."""
        if not self.moved or not body:
            return False
        told = {channel.name: channel.prev_id for channel in channels}
        return any(told.get(name) != self._ids.get(name) for name in self.moved)
