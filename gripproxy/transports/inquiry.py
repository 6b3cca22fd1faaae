"""A link of a stream that is under way: where the client was when it was asked for, and what was written since."""

from collections.abc import Iterable, Mapping

from gripproxy.grip.instruct import Channel


class Inquiry:
    """One question to a link. ``moved`` are the channels on which the client has got something since."""

    __slots__ = ("_ids", "moved")

    def __init__(self, ids: Mapping[str, str]) -> None:
        """``ids`` is where the client is now on reliable channels."""
        self._ids = dict(ids)
        self.moved: set[str] = set()

    def repeats(self, channels: Iterable[Channel], body: bytes) -> bool:
        """Whether an answer with these channels and body may have what was written while it was under way."""
        if not self.moved or not body:
            return False
        told = {channel.name: channel.prev_id for channel in channels}
        return any(told.get(name) != self._ids.get(name) for name in self.moved)
