"""The items of one client on their way through filters that ask by HTTP, in order.

While an answer is awaited, everything that comes later waits in line; with nothing to wait for, it goes straight
through. The line has an end: a client whose filter is so slow that more than WAITING_MAX items wait is given up.
"""

from collections import deque
from collections.abc import Callable

from gripproxy.errors import FilterError
from gripproxy.grip.filters import Conversation, Question, Reply

# Items that wait, as many as those that wait for a link.
WAITING_MAX = 100

# What asks: the question, and who is told the reply (or why there is none).
Ask = Callable[[Question, Callable[[Reply | FilterError], None]], None]

# What is done with an item's content; None: the client does not get it.
Then = Callable[[bytes | None], None]


class Line:
    """One client's items in line."""

    __slots__ = ("_ask", "_entries", "_is_asking", "_on_error", "_on_overflow")

    def __init__(self, ask: Ask, on_error: Callable[[FilterError], None], on_overflow: Callable[[], None]) -> None:
        """``on_error`` is told why an item was skipped; ``on_overflow`` is called when too many wait."""
        self._ask = ask
        self._on_error = on_error
        self._on_overflow = on_overflow
        self._entries: deque[tuple[Conversation | None, Then]] = deque()
        self._is_asking = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._entries

    def put(self, conversation: Conversation | None, then: Then) -> None:
        """Add an item's way through its filters, or (None) something that only has to wait for its turn."""
        if len(self._entries) >= WAITING_MAX:
            self._on_overflow()
            self.clear()
            return
        self._entries.append((conversation, then))
        self._go_on()

    def clear(self) -> None:
        """Forget everything: the client is gone."""
        self._entries.clear()

    def _go_on(self) -> None:
        while self._entries and not self._is_asking:
            conversation, then = self._entries[0]
            if conversation is None:
                self._entries.popleft()
                then(None)
            else:
                self._continue(conversation, None)

    def _continue(self, conversation: Conversation, reply: Reply | FilterError | None) -> None:
        """Go on with the first item; a conversation begins with None."""
        content: bytes | None = None
        try:
            if isinstance(reply, FilterError):
                raise reply
            question = next(conversation) if reply is None else conversation.send(reply)
        except StopIteration as stop:
            content = stop.value
        except FilterError as error:
            self._on_error(error)
        else:
            self._is_asking = True
            self._ask(question, lambda reply: self._take(conversation, reply))
            return
        _, then = self._entries.popleft()
        then(content)

    def _take(self, conversation: Conversation, reply: Reply | FilterError) -> None:
        self._is_asking = False
        if self._entries and self._entries[0][0] is conversation:
            self._continue(conversation, reply)
        self._go_on()
