"""Fanout Cloud's subscription monitor: which channels of a realm have subscribers, and what changes.

    GET /realm/NAME/subscriptions/items/?since=cursor:C    {"items": [{"channel", "state"}, ...], "last_cursor": C}
    GET /realm/NAME/subscriptions/stream/                  lines of {"prev_cursor": C, "cursor": D, "item": {...}}

A client opens the stream, asks for the items, and from then on compares each line's ``prev_cursor`` with where it is.
Nobody makes this process keep more for being slow: the changes are kept once for all, and who falls behind them has
to start over.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from aiohttp import HttpVersion11, web
from msgspec import json

from gripproxy.control.answer import RefusalError
from gripproxy.subscriptions import Change, Subscriptions, Watch

# Changes in one answer, or in one write to a stream.
PAGE = 1000

# Seconds between two lines at the most: pubcontrol gives a stream up that is silent for 60.
HEARTBEAT = 30.0

# Seconds that a client may take to read what is written to it.
WRITE_TIMEOUT = 30.0

# Streams of one realm: one for each process of a backend.
FOLLOWERS_MAX = 1000

# A change of no channel. pubcontrol passes over blank lines, but then believes for a minute that it has not caught up,
# and connects again; a line that says where the stream stands saves it that.
NO_CHANGE = Change("", False)

STATES = {True: "subscribed", False: "unsubscribed"}


class Monitor:
    """Answers for the subscriptions of realms whose clients were let in already."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions

    def items(self, realm: str, since: str | None) -> bytes:
        """Return all channels that have subscribers, or the next changes since a cursor (``cursor:C``).

        Raises: RefusalError, 404 when the changes since then are not known any more.
        """
        watch = self._subscriptions.watch(realm)
        if since is None:
            changes: list[Change] | None = [Change(channel, True) for channel in watch.channels]
            end = watch.end
        else:
            kind, _, cursor = since.partition(":")
            if kind != "cursor":
                raise RefusalError(400, f"since must be cursor:CURSOR, not {since!r}.")
            start = watch.position(cursor)
            changes = watch.changes(start, PAGE) if start is not None else None
            if start is None or changes is None:
                raise RefusalError(404, "The changes since that cursor are not known; ask without since.")
            end = start + len(changes)
        return json.encode({"items": [_item(change) for change in changes or ()], "last_cursor": watch.cursor(end)})

    async def stream(
        self, realm: str, request: web.BaseRequest, is_welcome: Callable[[], bool] = lambda: True
    ) -> web.StreamResponse:
        """Write changes to a client as they come, until it leaves, falls behind or is not welcome, or all ends.

        Raises: RefusalError when there are too many already.
        """
        watch = self._subscriptions.watch(realm)
        connection = request.transport
        # Whose client has left is noticed when it is written to, but does not count until then.
        if len(watch.followers) >= FOLLOWERS_MAX <= sum(not one.is_closing() for one in watch.followers):
            raise RefusalError(503, f"There are {FOLLOWERS_MAX} streams for this realm already.")
        if connection is None:
            raise RefusalError(400, "The client has left.")
        watch.followers.append(connection)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
        if request.version >= HttpVersion11:
            response.enable_chunked_encoding()
        try:
            await response.prepare(request)
            async for lines in follow(watch):
                if not is_welcome():
                    break
                async with asyncio.timeout(WRITE_TIMEOUT):
                    await response.write(lines)
        except TimeoutError:
            connection.abort()
        except ConnectionError:
            pass  # The client has left; there is nobody to tell.
        finally:
            watch.followers.remove(connection)
        return response


async def follow(watch: Watch, heartbeat: float = HEARTBEAT) -> AsyncIterator[bytes]:
    """Yield lines for the changes from now on, and at least one every ``heartbeat`` seconds, the first at once."""
    position = watch.end
    yield _line(watch, position, position, NO_CHANGE)
    while not watch.is_closed:
        try:
            async with asyncio.timeout(heartbeat):
                await watch.wait(position)
        except TimeoutError:
            yield _line(watch, position, position, NO_CHANGE)
            continue
        changes = watch.changes(position, PAGE)
        if changes is None:
            return
        lines = [_line(watch, position + n, position + n + 1, change) for n, change in enumerate(changes)]
        position += len(changes)
        if lines:
            yield b"".join(lines)


def _line(watch: Watch, start: int, end: int, change: Change) -> bytes:
    line = {"prev_cursor": watch.cursor(start), "cursor": watch.cursor(end), "item": _item(change)}
    return json.encode(line) + b"\n"


def _item(change: Change) -> dict[str, str]:
    return {"channel": change.channel, "state": STATES[change.is_subscribed]}
