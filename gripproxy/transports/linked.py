"""A stream hold that is more than a copy of what is published: reliable channels, filters, next links.

The hub hands it every item by itself (the slow road). An item that follows what the client has is written at once. A
gap is closed from the channel's history, else by the next link: the hold asks for it (`Follow`), and goes on writing
what is in order on other channels meanwhile. If anything reliable was written while the link was under way, its answer
may repeat that; so it is thrown away and the link asked once more, and that time everything waits for it.
"""

import asyncio
import random
from collections import deque

from gripproxy.errors import FilterError
from gripproxy.grip import wire
from gripproxy.grip.instruct import NEXT_LINK_TIMEOUT, Instruct, Link
from gripproxy.grip.item import Item
from gripproxy.grip.reception import Reception
from gripproxy.hub import EACH, GONE
from gripproxy.routes import Route
from gripproxy.transports import Done, Follow
from gripproxy.transports.holds import Holds, log
from gripproxy.transports.stream import StreamHold

# Items that wait while a link is under way; Pushpin's. More, and the link is asked for once more instead.
QUEUE_MAX = 100

# Pushpin's: how often a link that failed is tried again, and the first pause in seconds, which doubles.
RETRIES = 5
RETRY_DELAY = 1.0

# Gaps in a row that links did not close: after these the stream is cut, so that the client starts anew.
GAPS_MAX = 5

# Seconds over which the links of many streams with the same gap are spread.
GAP_SPREAD = 0.5


class LinkedStream(StreamHold):
    """A stream with reliable channels, filters or a next link."""

    __slots__ = (
        "_attempts",
        "_gapped",
        "_gaps",
        "_has_moved",
        "_instruct",
        "_is_exclusive",
        "_is_following",
        "_keep_alive_at",
        "_link_at",
        "_poll_at",
        "_queue",
        "_seen",
        "host",
        "link",
        "reception",
        "uri",
    )

    def __init__(
        self,
        holds: Holds,
        route: Route,
        instruct: Instruct,
        connection: asyncio.Transport,
        received: bytes,
        *,
        is_chunked: bool,
        is_kept: bool,
        uri: str,
        host: str,
    ) -> None:
        """``uri`` is the absolute one that the client asked for, of ``host``; links are relative to it."""
        super().__init__(
            holds, route, instruct, connection, received, is_chunked=is_chunked, is_kept=is_kept, road=EACH
        )
        self.uri = uri
        self.host = host
        self.link: Link | None = instruct.next_link
        self.reception = Reception(instruct.channels, instruct.meta, route.prefix)
        self._instruct = instruct
        self._queue: deque[tuple[str, Item]] = deque()
        self._gapped: set[str] = set()
        self._seen: set[str] = set()
        self._attempts = 0
        self._gaps = 0
        self._has_moved = False
        self._is_following = False
        self._is_exclusive = False
        self._keep_alive_at = 0.0
        self._link_at = 0.0
        self._poll_at = 0.0

    def begin(self) -> None:
        """Subscribe. What waits is written by `proceed`, behind the head."""
        super().begin()
        now = self.holds.wheel.now()
        if self.keep_alive is not None:
            self._keep_alive_at = now + self.holds.spread(self.keep_alive.timeout)
        self._arm()

    def wait(self) -> None:
        """Keep what is published: the body that the hold begins with is still being written."""
        self._is_exclusive = True

    def proceed(self) -> None:
        """Go on behind the body that the hold began with: catch up, or where nothing is held follow the link."""
        self._is_exclusive = False
        if self._instruct.hold is None:
            self._follow()
            return
        self._catch_up()
        self._let_go()
        self._set_poll()

    def _let_go(self) -> None:
        """Take up what was kept."""
        waiting, self._queue = self._queue, deque()
        for channel, item in waiting:
            self.receive(channel, item)

    # Items

    def receive(self, channel: str, item: Item) -> None:
        """Write an item that is in order, or keep it until it is."""
        if self.transport is GONE:
            return
        if self._is_exclusive or channel in self._gapped:
            self._keep(channel, item)
            return
        due = self.reception.admit(channel, item, self._since)
        if due is None:
            self._note_gap(channel)
            self._keep(channel, item)
            return
        self._seen.add(channel)
        for one in due:
            self._pass(channel, one)

    def _pass(self, channel: str, item: Item) -> None:
        stream = item.stream
        if stream is None or self.transport is GONE:
            return
        if stream.action == "close":
            if not self.reception.filters(channel).drops(item, self.reception.scope()):
                self.end("closed")
            return
        if stream.action == "hint":
            self._queue.clear()
            self._follow()
            return
        if stream.action != "send":
            return
        try:
            content = self.reception.content(channel, item, stream.content, stream.content_filters)
        except FilterError as error:
            log.debug("%s: channel %r: skipped an item: %s", self.route.id, channel, error)
            content = None
        if content is None:
            self.holds.metrics.filtered += 1
            return
        if channel in self.reception.ids:
            self._has_moved = True
        self._write(content)

    def _write(self, content: bytes) -> None:
        if content and not self.transport.is_closing():
            self.transport.write(wire.chunk(content) if self.framing == wire.CHUNK else content)
            self.written_at = self.holds.hub.tick

    def _since(self, channel: str, last_id: str) -> list[Item] | None:
        return self.holds.history.since(self.route.realm, channel, last_id)

    def _keep(self, channel: str, item: Item) -> None:
        if len(self._queue) >= QUEUE_MAX:
            self.holds.metrics.gaps["queue"] += 1
            oldest, _ = self._queue.popleft()
            if oldest not in self.reception.ids or self.link is None:
                # Nothing would ever show that it is missing.
                self.break_off("gap")
                return
        self._queue.append((channel, item))

    def _note_gap(self, channel: str) -> None:
        self.holds.metrics.gaps["link" if self.link is not None else "cut"] += 1
        self._gaps += 1
        if self.link is None or self._gaps > GAPS_MAX:
            log.info("%s: channel %r: a gap that nothing can close; the stream is cut", self.route.id, channel)
            self.break_off("gap")
            return
        self._gapped.add(channel)
        if not self._is_following and not self._link_at:
            self._link_at = self.holds.wheel.now() + GAP_SPREAD * random.random()  # noqa: S311  # spreads requests
            self._arm()

    def _catch_up(self) -> None:
        """Write what came on the reliable channels behind the state that the backend gave."""
        for channel in list(self.reception.ids):
            prev_id = self.reception.ids[channel]
            missed = self.reception.catch_up(channel, self._since)
            if missed is None:
                if prev_id is not None and self.holds.history.is_behind(self.route.realm, channel, prev_id):
                    self._note_gap(channel)
            else:
                for item in missed:
                    self._pass(channel, item)
            if self.transport is GONE:
                return

    # Links

    def refresh(self) -> None:
        """Ask the next link whether something was missed."""
        if self.link is not None:
            self._follow()

    def _follow(self) -> None:
        if self._is_following or self.transport is GONE:
            return
        if self.link is None:
            return
        self._is_following = True
        self._has_moved = False
        self._link_at = self._poll_at = 0.0
        self._arm()
        self.holds.metrics.recoveries["link"] += 1
        self._tell(Follow(self.link, self.reception.last_ids()))

    def advance(self, instruct: Instruct, uri: str) -> None:
        """Take what a link answered: append its body, and hold as it says now."""
        self._is_following = False
        if self.transport is GONE:
            return
        if self._has_moved and not self._is_exclusive:
            self._is_exclusive = True
            self._follow()
            return
        self._is_exclusive = False
        self._attempts = 0
        self.uri = uri
        if instruct.hold == "response":
            log.warning("%s: the next link %s asks for a response hold; the stream ends", self.route.id, uri)
            self.break_off("link")
            return
        self._adopt(instruct)
        try:
            body = self.reception.response(instruct.channels, instruct.body)
        except FilterError as error:
            log.warning("%s: the next link %s: %s; the stream ends", self.route.id, uri, error)
            self.break_off("link")
            return
        self._write(body)
        if instruct.hold is None and instruct.next_link is None:
            self.end("ended")
            return
        if instruct.hold is None:
            self._follow()
            return
        before = self._gaps
        self._catch_up()
        self._let_go()
        if self._gaps == before:
            self._gaps = 0
        self._set_poll()

    def _adopt(self, instruct: Instruct) -> None:
        """Change to the subscriptions, meta, keep-alive and link of an instruct."""
        hub, realm = self.holds.hub, self.route.realm
        names = tuple(channel.name for channel in instruct.channels)
        if instruct.hold is not None:
            for name in names:
                hub.subscribe(self, realm, name, self.road)
            for name in self.channels:
                if name not in names:
                    hub.unsubscribe(self, realm, name, self.road)
            self.channels = names
        self.reception = Reception(instruct.channels, instruct.meta, self.route.prefix)
        self.link = instruct.next_link
        self._gapped.clear()
        self._seen.clear()
        self.keep_alive = self.holds.share(instruct.keep_alive)
        now = self.holds.wheel.now()
        self._keep_alive_at = now + self.holds.spread(self.keep_alive.timeout) if self.keep_alive is not None else 0.0
        self._arm()

    def fail(self, reason: str) -> None:
        """Take notice that the link did not answer as it should: try again later, or give up."""
        self._is_following = False
        if self.transport is GONE:
            return
        if self._attempts >= RETRIES:
            log.warning("%s: gave up on a next link: %s", self.route.id, reason)
            self.break_off("link")
            return
        pause = RETRY_DELAY * (2**self._attempts + random.random())  # noqa: S311  # spreads retries
        self._attempts += 1
        self._link_at = self.holds.wheel.now() + pause
        self._arm()

    def _set_poll(self) -> None:
        link = self.link
        if link is None or self.transport is GONE:
            return
        timeout = link.timeout if link.timeout is not None else NEXT_LINK_TIMEOUT
        self._seen.clear()
        self._poll_at = self.holds.wheel.now() + self.holds.spread(timeout)
        self._arm()

    def write_body(self, content: bytes) -> None:
        """Write more of the body that the hold begins with."""
        self._write(content)

    def break_off(self, reason: str) -> None:
        """Cut the connection without ending the body, so that the client knows to come again."""
        connection = self.connection
        self.leave()
        if connection is not None:
            connection.close()
        self._tell(Done(reason))

    # Timers

    def on_due(self) -> None:
        """Do what is due: a keep-alive, a link to try again, or to ask because nothing came for long."""
        now = self.holds.wheel.now()
        if self._keep_alive_at and self._keep_alive_at <= now and self.keep_alive is not None:
            self._keep_alive_at = now + self.send_keep_alive(self.keep_alive)
        if self._link_at and self._link_at <= now:
            self._link_at = 0.0
            self._follow()
        if self._poll_at and self._poll_at <= now:
            self._poll_at = 0.0
            if self._seen.issuperset(self.channels) and self.channels:
                self._set_poll()
            else:
                self._follow()
        self._arm()

    def _arm(self) -> None:
        times = [at for at in (self._keep_alive_at, self._link_at, self._poll_at) if at]
        if self.transport is GONE or not times:
            self.holds.wheel.drop(self)
        else:
            self.holds.wheel.set(self, max(0.0, min(times) - self.holds.wheel.now()))
