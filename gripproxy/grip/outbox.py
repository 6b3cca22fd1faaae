"""Events that wait for a WebSocket-over-HTTP backend, and how much of them it has accepted.

An event leaves the outbox only when an answer accepted it. What was offered and not accepted stays in front, in place,
cut where the backend stopped, and goes out again with whatever follows it.
"""

from collections.abc import Iterable

from gripproxy.errors import EventError
from gripproxy.grip.events import Event


class Outbox:
    """A queue of events of which the front may be on its way.

    ``size`` is the number of content bytes in it. An empty outbox, which most are, holds no list.
    """

    __slots__ = ("_events", "_offered", "_replayed", "size")

    def __init__(self) -> None:
        self._events: list[Event] | None = None
        self._offered = 0  # events in the request under way
        self._replayed = 0  # events that the backend has seen and left
        self.size = 0

    def __len__(self) -> int:
        return len(self._events or ())

    @property
    def last(self) -> Event:
        """The newest event; there must be one."""
        assert self._events
        return self._events[-1]

    @property
    def has_news(self) -> bool:
        """Whether there is an event that the backend has not left behind already."""
        return len(self) > self._replayed

    @property
    def is_offered(self) -> bool:
        """Whether everything is on its way."""
        return self._offered == len(self)

    @property
    def replayed_size(self) -> int:
        """Content bytes that the backend has seen and left."""
        return _content_size((self._events or [])[: self._replayed])

    def append(self, event: Event) -> None:
        """Put an event at the end."""
        if self._events is None:
            self._events = []
        self._events.append(event)
        self.size += len(event.content)

    def clear(self) -> None:
        """Forget everything."""
        self._events = None
        self.size = self._offered = self._replayed = 0

    def batch(self, size: int, is_single: bool) -> list[Event]:
        """The events of the next request: as many as have `size` bytes, at least one if there is one."""
        batch: list[Event] = []
        left = size
        for event in self._events or ():
            left -= len(event.content)
            # Alone, because django-grip answers 500 to a body with DISCONNECT, whatever else is in it.
            is_apart = is_single or event.type == "DISCONNECT"
            if batch and (is_apart or left < 0):
                break
            batch.append(event)
        return batch

    def is_replay(self, batch: list[Event]) -> bool:
        """Whether the backend has left all of that batch behind already."""
        return len(batch) <= self._replayed

    def offer(self, size: int, is_single: bool) -> list[Event]:
        """The same, and note that they are on their way."""
        batch = self.batch(size, is_single)
        self._offered = len(batch)
        return batch

    def accept(self, accepted: int | None) -> bool:
        """Take away what the backend accepted, in bytes of what was offered (None: all), half an event if need be.

        Returns whether the backend made progress. (Pushpin's removeContentFromFrames.)

        Raises: EventError, with nothing taken, when that is more than was offered, or everything but the CLOSE.
        """
        events = self._events or []
        offered = events[: self._offered]
        size = _content_size(offered)
        left = size if accepted is None else accepted
        if left > size:
            raise EventError(f"Content-Bytes-Accepted: {left} of {size}")
        if offered and offered[-1].type == "CLOSE" and size - len(offered[-1].content) <= left < size:
            # Partial acceptance is for waiting for more, and after CLOSE there is no more.
            raise EventError("Content-Bytes-Accepted leaves the CLOSE")
        self.size -= left
        count = 0
        while count < len(offered) and len(offered[count].content) <= left:
            left -= len(offered[count].content)
            count += 1
        if left:
            events[count] = Event(offered[count].type, offered[count].content[left:])
        del events[:count]
        self._events = events or None
        self._offered = 0
        self._replayed = len(offered) - count
        return bool(count or left or not offered)


def _content_size(events: Iterable[Event]) -> int:
    return sum(len(event.content) for event in events)
