"""A backend with feeds: numbered items that it stores, publishes (or not), and gives to whoever asks what follows.

`/NAME?after=N` is a stream, or with `&wait` a long-poll, on the feeds that NAME lists with `+` between; the feed's name
is its channel. Content is `NAME.NUMBER;`, so that what a client got can be checked to the last item.
"""

import re
import threading
from urllib.parse import parse_qs, urlsplit

from tests.conformance.backend import Reply, Request
from tests.conformance.case import Case

ITEM = re.compile(rb"([^;]+)\.(\d+);")


class Feeds:
    """The feeds of one test, at the path and channels of its case."""

    def __init__(self, case: Case, *names: str, has_link: bool = True) -> None:
        self.case = case
        self.names = names
        self.has_link = has_link
        self.numbers = dict.fromkeys(names, 0)
        self.requests = 0
        # What has to happen before links are answered, and which answers come first.
        self.before: list[object] = []
        self.failures: list[Reply] = []
        self._lock = threading.Lock()
        case.answer(self.answer)
        case.answer(self.answer_link, at="/next")

    def channel(self, name: str) -> str:
        return f"{self.case.channel}-{name}"

    # For the backend's thread

    def answer(self, request: Request) -> Reply:
        """Answer a client."""
        query = parse_qs(urlsplit(request.target).query, keep_blank_values=True)
        known = {name: int(query[name][0]) if name in query else None for name in self.names}
        known |= self.last_ids(request)
        with self._lock:
            now = dict(self.numbers)
        body = b"".join(self.content(name, known[name], now[name]) for name in self.names)
        if "wait" in query:
            return Reply(body) if body else Reply(b"", self.instructions(now, "response"))
        return Reply(body, self.instructions(now, "stream"))

    def answer_link(self, request: Request) -> Reply:
        """Answer the proxy with what follows its last ids."""
        with self._lock:
            self.requests += 1
            now = dict(self.numbers)
            failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            return failure
        known = self.last_ids(request)
        body = b"".join(self.content(name, known.get(name), now[name]) for name in self.names)
        return Reply(body, self.instructions(now, "stream"), before=tuple(self.before))  # type: ignore[arg-type]

    def last_ids(self, request: Request) -> dict[str, int]:
        found = {}
        for one in request.last_ids:
            channel, _, last = one.partition("; last-id=")
            found[channel.removeprefix(self.case.channel + "-")] = int(last)
        return found

    def instructions(self, now: dict[str, int], hold: str) -> list[tuple[str, str]]:
        channels = ", ".join(f"{self.channel(name)}; prev-id={now[name]}" for name in self.names)
        fields = [("Content-Type", "text/plain"), ("Grip-Hold", hold), ("Grip-Channel", channels)]
        if self.has_link and hold == "stream":
            fields.append(("Grip-Link", f"<{self.case.path}/next>; rel=next"))
        return fields

    def content(self, name: str, after: int | None, until: int) -> bytes:
        first = max(1, until) if after is None else after + 1
        return b"".join(b"%b.%d;" % (name.encode(), number) for number in range(first, until + 1))

    # For the test

    def store(self, name: str) -> int:
        """Add an item to the state; return its number."""
        with self._lock:
            self.numbers[name] += 1
            return self.numbers[name]

    def publish(self, name: str, number: int, **more: object) -> None:
        """Publish an item that is in the state."""
        content = f"{name}.{number};"
        formats = {"http-stream": {"content": content}, "http-response": {"body": content}}
        ids = {"id": str(number), "prev-id": str(number - 1)}
        self.case.publish(formats | ids | more, channel=self.channel(name))

    def add(self, name: str) -> int:
        """Store and publish the next item."""
        number = self.store(name)
        self.publish(name, number)
        return number


def items_of(data: bytes) -> dict[str, list[int]]:
    """The numbers of what a client got, by feed."""
    found: dict[str, list[int]] = {}
    for name, number in ITEM.findall(data):
        found.setdefault(name.decode(), []).append(int(number))
    return found


def is_whole(numbers: list[int], newest: int) -> bool:
    """Whether these are all items from the first of them up to the newest, each once and in order."""
    return bool(numbers) and numbers == list(range(numbers[0], newest + 1))
