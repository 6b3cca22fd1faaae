"""The response hold: a long-poll, answered by the first publish, or after its timeout by the response that was held.

Nothing is written before. What is kept for the answer is packed: the held fields are bytes already, and the client's
request is kept only as it will be asked again (a hint, a gap in a reliable channel).
"""

import asyncio

from gripproxy.backend import Request
from gripproxy.grip import wire
from gripproxy.grip.fields import Fields
from gripproxy.grip.instruct import Instruct
from gripproxy.grip.item import HttpResponse, Item
from gripproxy.hub import EACH, GONE
from gripproxy.routes import Route
from gripproxy.transports import Done, Outcome, Replay
from gripproxy.transports.holds import Holds
from gripproxy.transports.patch import PatchError, patch_body
from gripproxy.transports.takeover import Held


class ResponseHold(Held):
    """A client that waits for its response."""

    __slots__ = (
        "_body",
        "_fields",
        "_reason",
        "_status",
        "channels",
        "holds",
        "is_head",
        "is_kept",
        "request",
        "route",
        "timeout",
    )

    def __init__(
        self,
        holds: Holds,
        route: Route,
        instruct: Instruct,
        request: Request,
        connection: asyncio.Transport,
        received: bytes,
        *,
        is_head: bool,
        is_kept: bool,
    ) -> None:
        super().__init__(holds.server, connection, received)
        self.holds = holds
        self.route = route
        self.request = request
        self.is_head = is_head
        self.is_kept = is_kept
        self.timeout = instruct.timeout
        self.channels = tuple(channel.name for channel in instruct.channels)
        self._status = instruct.status
        self._reason = instruct.reason
        self._fields = wire.encode_fields(instruct.fields)
        self._body = instruct.body

    def begin(self) -> None:
        """Subscribe, and set the timer."""
        holds = self.holds
        for channel in self.channels:
            holds.hub.subscribe(self, self.route.realm, channel, EACH)
        holds.wheel.set(self, self.timeout)
        holds.open[self] = None

    def receive(self, channel: str, item: Item) -> None:
        """Answer with the first item that has a response."""
        response = item.response
        if response is None or self.transport is GONE:
            return
        if response.action == "hint":
            self.replay("hint")
        elif response.action == "send":
            self._answer(response)

    def on_due(self) -> None:
        """Answer with the response that was held."""
        self._finish(self._status, self._reason, self._fields, self._body, "timeout")

    def replay(self, reason: str) -> None:
        """End the hold by asking the backend the client's request again."""
        self.holds.metrics.recoveries[reason] += 1
        self.leave()
        self._tell(Replay({}))

    def end(self, reason: str) -> None:
        """Answer now with the response that was held (at shutdown)."""
        self.is_kept = False
        self._finish(self._status, self._reason, self._fields, self._body, reason)

    def leave(self) -> None:
        """Unsubscribe and drop the timer."""
        holds = self.holds
        self.transport = GONE
        holds.wheel.drop(self)
        for channel in self.channels:
            holds.hub.unsubscribe(self, self.route.realm, channel, EACH)
        holds.open.pop(self, None)

    def on_lost(self) -> None:
        """The client left: unsubscribe."""
        if self in self.holds.open:
            self.leave()
            self._tell(Done("left"))

    def on_overflow(self) -> None:
        """A hold writes nothing before its answer, and that may be of any size."""

    def _answer(self, response: HttpResponse) -> None:
        body = response.body
        if response.patch is not None:
            try:
                body = patch_body(self._body, response.patch)
            except PatchError:
                # Only the backend knows the body that this client should have now.
                self.replay("patch")
                return
        self._finish(response.code, response.reason, _merge(self._fields, response.fields), body or b"", "published")

    def _finish(self, status: int, reason: str, fields: bytes, body: bytes, why: str) -> None:
        connection = self.connection
        self.leave()
        if connection is not None and not connection.is_closing():
            parts = [wire.encode_status_line(status, reason), fields]
            has_body = status >= 200 and status not in (204, 304)
            if has_body:
                parts.append(b"Content-Length: %d\r\n" % len(body))
            if not self.is_kept:
                parts.append(b"Connection: close\r\n")
            parts.append(b"\r\n")
            if has_body and not self.is_head:
                parts.append(body)
            connection.write(b"".join(parts))
            if not self.is_kept:
                connection.close()
        self._tell(Done(why))

    def _tell(self, outcome: Outcome) -> None:
        self.holds.on_end(self, outcome)


def _merge(held: bytes, published: Fields) -> bytes:
    """Return the held fields, each name that was published replaced by what was published."""
    if not published:
        return held
    names = {name.lower() for name, _ in published}
    lines = [line + b"\r\n" for line in held.split(b"\r\n") if line and line.partition(b":")[0].lower() not in names]
    lines.append(wire.encode_fields(published))
    return b"".join(lines)
