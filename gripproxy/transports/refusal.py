"""A client for whom there is no room: told so in HTTP, and let go.

The answer waits for the client's request, so that it is taken for the answer to it, and the connection stays until the
client has closed it or a moment has passed: closing at once would reset it, and the answer might be lost.
"""

import asyncio

from gripproxy.grip.fields import Fields
from gripproxy.grip.wire import encode_response

# Seconds that a client has to send its request and to read the answer.
TIME = 2.0

# Clients that are being told at a time; more are cut, since each takes a file as long.
AT_ONCE_MAX = 100

FIELDS: Fields = ((b"Content-Type", b"text/plain; charset=utf-8"), (b"Retry-After", b"5"))
ANSWER = encode_response(503, b"", FIELDS, b"Too many connections.\n", is_last=True)


class Refusal(asyncio.Protocol):
    """The protocol of one such connection; ``waiting`` are all of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, waiting: set["Refusal"]) -> None:
        self._loop = loop
        self._waiting = waiting
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._has_answered = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvloop's is one
        """Wait for the request, where not too many do."""
        if len(self._waiting) >= AT_ONCE_MAX:
            transport.abort()
            return
        self._waiting.add(self)
        self._transport = transport
        self._timer = self._loop.call_later(TIME, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Answer; whatever else comes is dropped."""
        transport = self._transport
        if self._has_answered or transport is None:
            return
        self._has_answered = True
        transport.write(ANSWER)
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()  # TLS has no half-closed connections

    def connection_lost(self, error: Exception | None) -> None:
        """Forget it."""
        self._transport = None
        self._waiting.discard(self)
        if self._timer is not None:
            self._timer.cancel()
