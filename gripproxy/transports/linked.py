"""A stream hold that is more than a copy of what is published: reliable channels and next links; and filters.

The hub hands it every item by itself (the slow road). An item that follows what the client has is written at once. A
gap is closed from the channel's history, else by the next link: the hold asks for it (`Follow`), and goes on writing
what is in order on other channels meanwhile. Where the link's answer would repeat what was written while it was under
way, that is thrown away; if it may have more, the link is asked once more, and that time everything waits for it.

What the client is told of a reliable channel is true because of the order of things: a backend stores an item, then
publishes it. So whatever had come before a link was asked for is in its answer, and only what came later can be news.
Still, a backend that seems to be behind has to say so twice before it is believed (it may publish too early, or answer
from a replica).
"""

import asyncio
from collections.abc import Mapping, Set
from dataclasses import replace

from gripproxy.grip.history import Moments, has_no_place
from gripproxy.grip.instruct import NEXT_LINK_TIMEOUT, Instruct
from gripproxy.grip.item import Item
from gripproxy.grip.reception import Reception
from gripproxy.hub import EACH, GONE
from gripproxy.routes import Route
from gripproxy.transports import Follow
from gripproxy.transports.filtered import FilteredStream
from gripproxy.transports.holds import Holds, log
from gripproxy.transports.inquiry import Inquiry
from gripproxy.transports.lag import Lag
from gripproxy.transports.pace import GAP_REPEAT, PAGE_DELAY, gap_pause, retry_pause
from gripproxy.transports.waiting import WAITING_MAX, Waiting

# The moment of a hint that did not come.
NEVER = -1

# Shared by all streams while there is nothing to remember: most are quiet, and there may be many.
_NOWHERE: frozenset[str] = frozenset()
_NO_IDS: Mapping[str, str] = {}


class LinkedStream(FilteredStream):
    """A stream with reliable channels, filters or a next link."""

    __slots__ = (
        "_attempts",
        "_gap_at",
        "_gapped",
        "_hinted",
        "_inquiry",
        "_instruct",
        "_is_ending",
        "_is_exclusive",
        "_is_remembered",
        "_keep_alive_at",
        "_link_at",
        "_needed",
        "_page_ids",
        "_poll_at",
        "_seen",
        "_told",
        "_waiting",
        "host",
        "link_fields",
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
        self.uri, self.host, self.link = uri, host, instruct.next_link
        self.link_fields = b""  # of the client's request, packed, for the links of routes with link_headers
        self.reception = Reception(instruct.channels, instruct.meta, route.prefix)
        self._instruct: Instruct | None = instruct
        if instruct.hold is None:
            self.channels = ()
        self._waiting = Waiting()
        self._gapped = _NOWHERE
        # Where the client was on a channel when a link had nothing for it.
        self._told = _NO_IDS
        self._seen = _NOWHERE
        # The link that is under way; None while none is.
        self._inquiry: Inquiry | None = None
        # The moments before which the next link must not have been asked for: for the gaps, and for a hint that was not
        # answered yet.
        self._needed, self._hinted = 0, NEVER
        self._attempts = 0
        self.is_begun = False
        # Whether an item has closed the stream, which waits for others.
        self._is_ending = False
        # Whether everything waits: for the body that the hold begins with, for pages, for a link that is asked again.
        self._is_exclusive = True
        # Whether all that came since the last answer was asked for was known when it was taken.
        self._is_remembered = True
        # Of the last answer, where it was a page: a next link without a hold.
        self._page_ids: Mapping[str, str] | None = None
        self._line = self.lag = None
        self._keep_alive_at = self._gap_at = self._link_at = self._poll_at = 0.0

    def begin(self, moments: Moments) -> list[tuple[str, Item]]:
        """Subscribe. What comes waits until `proceed`, behind the body, and so does what came since the request."""
        missed = super().begin(moments)
        self._is_remembered = self.holds.history.reaches(moments.asked)
        for channel, item in missed:
            self._waiting.put(channel, item, moments.asked + 1)
        self._arm()
        return []

    def moment(self, channel: str, moments: Moments) -> int:
        """Since when items of a channel matter: ids tell what of it the answer has."""
        return moments.asked if channel in self.reception.ids else moments.answered

    def proceed(self, moments: Moments) -> None:
        """Go on behind the body that the hold began with: catch up, or where nothing is held follow the link."""
        if self.transport is GONE:
            return
        self.is_begun = True
        if self.link is not None and self.unsent > self.holds.limits.unsent:
            self.on_overflow()  # there will be no other sign before the client has caught up
        instruct, self._instruct = self._instruct, None
        assert instruct is not None
        if instruct.hold is None:
            self._turn_page(instruct)
        else:
            self._start_keep_alive()
            self._take_up(moments, 0.0)
            self._follow_hint(moments.asked)

    def _start_keep_alive(self) -> None:
        keep_alive = self.keep_alive
        self._keep_alive_at = self._now() + self.holds.spread(keep_alive.timeout) if keep_alive is not None else 0.0
        self._arm()

    # Items

    def receive(self, channel: str, item: Item) -> None:
        """Write an item that is in order, or keep it until it is."""
        if self.transport is GONE or channel not in self.channels:
            return
        if self._is_ending and channel not in self._gapped:
            return
        if self._is_hint(item):
            self._hint()  # at once, or there might be more of them than may wait
        elif self.lag is not None:
            self._skip(self.lag, channel, item)
        elif self._is_exclusive:
            self._keep(channel, item)
        elif channel in self._gapped:
            self._keep(channel, item)
            self._close_gap(channel)
        else:
            self._admit(channel, item, self.holds.history.moment)

    def _admit(self, channel: str, item: Item, moment: int) -> None:
        if self._is_hint(item):
            self._hint()  # what it announces comes with the link, and so does its id
            return
        due = self.reception.admit(channel, item, self._since)
        if due is None and item.id is None and self.link is None:
            due = [item]  # nobody could tell more of it
        if due is None:
            self._note_gap(channel, 0.0 if self.link is not None else GAP_REPEAT)
            self._keep(channel, item, moment)
            return
        if channel not in self._seen:
            self._seen |= {channel}
        self._pass_all(channel, due)

    def _pass_all(self, channel: str, items: list[Item], *, is_answered: bool = False) -> None:
        for item in items:
            if self.lag is not None:
                self._skip(self.lag, channel, item)
                continue
            at = self.reception.ids.get(channel)
            if self._is_hint(item) and at is not None and not (is_answered and self._told.get(channel) == at):
                # What it announces is in no history; and those behind it wait for that.
                self._gapped |= {channel}
                if self._told.get(channel) != at:
                    self._told = {**self._told, channel: at}
                    self._hint()
                return
            if self.link is None and at is not None and item.id is not None and _announces(item) and not is_answered:
                self._note_gap(channel, 0.0)  # nor does anybody tell it
                return
            if self.reception.reach(channel, item) and self._inquiry is not None:
                self._inquiry.note(channel, self.reception.ids[channel])
            self.pass_on(channel, item)

    def _is_hint(self, item: Item) -> bool:
        return self.link is not None and _announces(item)

    def _since(self, channel: str, last_id: str) -> list[Item] | None:
        return self.holds.history.since(self.route.realm, channel, last_id)

    def _keep(self, channel: str, item: Item, moment: int | None = None) -> None:
        if len(self._waiting) >= WAITING_MAX:
            self.holds.metrics.gaps["queue"] += 1
            dropped, one = self._waiting.drop_oldest()
            if dropped not in self.reception.ids or has_no_place(one):
                # Nothing would ever show that it is missing.
                extra = {**self.log_extra, "channels": (dropped,)}
                log.info("%s: channel %s: too much waits; the stream is cut", self.route.id, dropped, extra=extra)
                self.break_off("gap")
                return
        self._waiting.put(channel, item, self.holds.history.moment if moment is None else moment)

    # Gaps

    def _note_gap(self, channel: str, pause: float) -> None:
        self.holds.metrics.gaps["link" if self.link is not None else "cut"] += 1
        self._gapped |= {channel}
        self._needed = self.holds.history.moment
        at = self._now() + gap_pause(pause)
        if not self._gap_at or at < self._gap_at:
            self._gap_at = at
            self._arm()

    def _close_gap(self, channel: str) -> bool:
        """Close a gap from memory, if it has come there by now."""
        missed = self.reception.catch_up(channel, self._since)
        if missed is None:
            return False
        self._gapped -= {channel}
        self._seen |= {channel}
        self._pass_all(channel, missed)
        self._let_go()
        return True

    def _let_go(self) -> None:
        """Take up what waits, but for channels that still have a gap."""
        for channel, item, moment in self._waiting.take():
            if channel in self._gapped or self.lag is not None:
                self._waiting.put(channel, item, moment)
            elif self.transport is not GONE and channel in self.channels:
                self._admit(channel, item, moment)
        self._end_at_last()

    def _take_up(self, moments: Moments, pause: float) -> None:
        """Begin to hold where an answer says that the client is: write what came since, and ask where that is unknown.

        ``pause`` is the time in seconds before that.
        """
        self._is_exclusive = False
        self._page_ids = None
        ids = self.reception.ids
        believed = set() if self.link is not None else set(ids)
        for channel in list(ids):
            at = ids[channel]
            missed = self._since(channel, at)
            if missed is not None:
                self._pass_all(channel, missed, is_answered=self._is_answered(channel, moments.asked))
                continue
            if self._told.get(channel) == at:
                believed.add(channel)
            if self._is_behind(channel, at, moments.asked, is_believed=channel in believed):
                self._note_gap(channel, pause)
                self._told = {**self._told, channel: at}
            if self.transport is GONE:
                return
        self._waiting.settle(moments.asked, ids, believed, has_link=self.link is not None)
        self._let_go()
        self._told = {**self._told, **{channel: ids[channel] for channel in self._gapped if channel in ids}}
        self._set_poll()

    def _is_answered(self, channel: str, asked: int) -> bool:
        """Whether an answer that was asked for at this moment knew of all hints on a channel."""
        if self.link is not None:
            return asked >= self._hinted
        return not any(map(_announces, self.holds.history.arrived(self.route.realm, channel, asked)))

    def _is_behind(self, channel: str, at: str, asked: int, *, is_believed: bool) -> bool:
        """Whether a client may lack something of a channel according to memory, which does not know where it is."""
        history, realm = self.holds.history, self.route.realm
        if not is_believed:
            return history.is_behind(realm, channel, at) or not self._is_remembered
        arrived = history.arrived(realm, channel, asked)
        return any(item.id is not None for item in arrived) or (self.link is None and not self._is_remembered)

    # Links

    def refresh(self) -> None:
        """Ask the next link whether something was missed."""
        if self.link is not None:
            self._hint()

    def _hint(self) -> None:
        self._hinted = self.holds.history.moment
        if not self._is_exclusive:
            self._follow(self._hinted)

    def _follow_hint(self, asked: int) -> None:
        """Ask the link because of a hint that came after the one was asked for that has answered now."""
        if self._hinted <= asked or self.link is None:
            self._hinted = NEVER
        else:
            self._follow(self._hinted)

    def _follow(self, moment: int) -> None:
        """Ask for the link, or share what others were answered after a moment."""
        link = self.link
        if self._inquiry is not None or self.transport is GONE or link is None:
            return
        if self.lag is not None:
            self.lag.is_asking = True
            return
        self._inquiry = Inquiry(self.reception.ids)
        self._gap_at = self._link_at = self._poll_at = 0.0
        self._arm()
        self.holds.metrics.recoveries["link"] += 1
        if self._page_ids is None:
            self._tell(Follow(link, self.reception.last_ids(), moment))
        else:  # never what was answered before: pages may go round in circles
            self._tell(Follow(link, self._page_ids, self.holds.history.moment + 1))

    def advance(self, instruct: Instruct, uri: str, moments: Moments) -> None:
        """Take what a link answered: append its body, and hold as it says now."""
        inquiry, self._inquiry = self._inquiry, None
        if self.transport is GONE:
            return
        assert inquiry is not None, "no link is under way"
        if self.lag is not None:
            self.lag.is_asking = True  # it is asked again: an answer must not wait for the client's sake
            return
        self._attempts = 0
        if inquiry.repeats(instruct.channels, instruct.body):
            if instruct.hold != "stream" or not self.reception.has_all(instruct.channels, self._since, inquiry.has):
                self._is_exclusive = True
                self._follow(self._needed)
                return
            instruct = replace(instruct, body=b"")
        self.uri = uri
        if instruct.hold == "response":
            text = "%s: the next link %s asks for a response hold; the stream ends"
            log.warning(text, self.route.id, uri, extra=self.log_extra)
            self.break_off("link")
            return
        if instruct.hold is not None:
            self._adopt(instruct, moments, inquiry.moved.keys())
        self.in_turn(lambda: self.write(instruct.body))
        if instruct.hold is not None:
            self._take_up(moments, GAP_REPEAT)
            self._follow_hint(moments.asked)
            self._end_at_last()
        elif instruct.next_link is not None:
            self._turn_page(instruct, inquiry.moved.keys())
        else:
            self.in_turn(lambda: self.end("ended"))

    def _turn_page(self, instruct: Instruct, moved: Set[str] = _NOWHERE) -> None:
        """Go on with the next page; until there is one with a hold, everything waits.

        Where a page has nothing, or leads to itself, that takes a moment: it may go on so for ever. On ``moved``
        channels something was written since it was asked for, which the next one must not repeat.
        """
        prefix, before = len(self.route.prefix), (self.link, self._page_ids)
        self._is_exclusive = True
        self.link = instruct.next_link
        ids = {one.name: one.prev_id for one in instruct.channels if one.prev_id is not None}
        ids |= {name: self.reception.ids[name] for name in moved & ids.keys()}
        self._page_ids = {name[prefix:]: at for name, at in ids.items()}
        if before[1] is not None and (not instruct.body or before == (self.link, self._page_ids)):
            self._link_at = self._now() + PAGE_DELAY
            self._arm()
        else:
            self._follow(self.holds.history.moment)

    def _adopt(self, instruct: Instruct, moments: Moments, moved: Set[str]) -> None:
        """Change to the subscriptions, meta, keep-alive and link of an instruct.

        On ``moved`` channels something was written since it was asked for, of which it had nothing.
        """
        self._is_remembered = self.holds.history.reaches(moments.asked)
        places = {name: self.reception.ids[name] for name in moved if name in self.reception.ids}
        self.reception = Reception(instruct.channels, instruct.meta, self.route.prefix)
        names = tuple(channel.name for channel in instruct.channels)
        self._told = {name: at for name, at in self._told.items() if name in names} or _NO_IDS
        for name, item in self.subscribe(names, moments):
            self._waiting.put(name, item, moments.asked + 1)
        for name in places.keys() & self.reception.ids.keys():
            self.reception.ids[name] = places[name]
        for name, at in self.reception.ids.items():
            self.holds.sessions.reach(self, name, at, self._now())
        self.link = instruct.next_link
        self._gapped = _NOWHERE
        self.keep_alive = self.holds.share(instruct.keep_alive)
        self._start_keep_alive()

    def fail(self, reason: str) -> None:
        """Take notice that the link did not answer as it should: try again later, or give up."""
        self._inquiry = None
        if self.transport is GONE:
            return
        pause = retry_pause(self._attempts)
        if pause is None:
            log.warning("%s: gave up on a next link: %s", self.route.id, reason, extra=self.log_extra)
            self.break_off("link")
            return
        self._attempts += 1
        self._link_at = self._now() + pause
        if self._is_exclusive and self._page_ids is None:
            self._is_exclusive = False
            self._let_go()
        self._arm()

    def _set_poll(self) -> None:
        link = self.link
        if link is None or self.transport is GONE:
            return
        timeout = link.timeout if link.timeout is not None else NEXT_LINK_TIMEOUT
        self._seen = _NOWHERE
        self._poll_at = self._now() + self.holds.spread(timeout)
        self._arm()

    # Slow clients

    def end(self, reason: str) -> None:
        """End the body; where an item asks for that, once the client has what was published before it."""
        if reason == "closed" and (self._gapped or len(self._waiting) or self._hinted != NEVER):
            self._is_ending = True
        else:
            super().end(reason)

    def _end_at_last(self) -> None:
        if self._is_ending and self.transport is not GONE:
            self.end("closed")

    def _skip(self, lag: Lag, channel: str, item: Item) -> None:
        if self._is_hint(item):
            lag.is_hinted = True
        else:
            lag.skip(channel, item)

    def catch_up(self, lag: Lag) -> None:
        """Take up what the client was not sent, from memory or by the link; it may begin to lag again at any item."""
        if not self._is_exclusive:
            self._let_go()
        realm = self.route.realm
        for channel, skipped in lag.skipped(lambda channel: self.holds.history.arrived(realm, channel, -1)):
            if skipped is None and channel not in self.reception.ids:
                # Nothing would ever show that it is missing.
                text, extra = "%s: cut a slow client: channel %r is not remembered that long", {"channels": (channel,)}
                log.warning(text, self.route.id, channel, extra={**self.log_extra, **extra})
                self.break_off("slow")
                return
            for item in skipped or ():
                self.receive(channel, item)
            if self.transport is GONE:
                return
            if not self._is_exclusive and channel not in self._gapped and not self._close_gap(channel):
                self._note_gap(channel, 0.0)
        if lag.is_hinted:
            self._hint()
        if lag.is_asking:
            self._follow(max(self._needed, self._hinted))
        self._arm()

    # Timers

    def on_due(self) -> None:
        """Do what is due: a keep-alive, a gap to close, a link to try again, or to ask as nothing came for long."""
        if self.lag is not None:
            self.look_at_lag(self.lag)
            self._arm()
            return
        now = self._now()
        if self._keep_alive_at and self._keep_alive_at <= now and self.keep_alive is not None:
            self._keep_alive_at = now + self.send_keep_alive(self.keep_alive)
        if self._gap_at and self._gap_at <= now:
            self._gap_at = 0.0
            self._ask_for_gaps()
        if self._link_at and self._link_at <= now:
            self._link_at = 0.0
            self._follow(max(self._needed, self._hinted))
        if self._poll_at and self._poll_at <= now:
            self._poll_at = 0.0
            if self._seen.issuperset(self.channels) and self.channels:
                self._set_poll()
            else:
                self._follow(self.holds.history.moment)
        self._arm()

    def _ask_for_gaps(self) -> None:
        for channel in self._gapped:
            if channel in self._gapped:
                self._close_gap(channel)
        if not self._gapped or self.transport is GONE:
            return
        if self.link is None:
            names = ", ".join(sorted(self._gapped))
            extra = {**self.log_extra, "channels": sorted(self._gapped)[:5]}
            log.info(
                "%s: channels %s: a gap that nothing can close; the stream is cut", self.route.id, names, extra=extra
            )
            self.break_off("gap")
        elif not self._link_at:
            self._follow(self._needed)

    def _now(self) -> float:
        return self.holds.wheel.now()

    def _arm(self) -> None:
        lag, all_times = self.lag, (self._keep_alive_at, self._gap_at, self._link_at, self._poll_at)
        times = [at for at in all_times if at] if lag is None else [lag.look_at]
        if self.transport is GONE or not times:
            self.holds.wheel.drop(self)
        else:
            self.holds.wheel.set(self, max(0.0, min(times) - self._now()))


def _announces(item: Item) -> bool:
    """Whether an item is a hint: there is something new, which it does not bring."""
    return item.stream is not None and item.stream.action == "hint"
