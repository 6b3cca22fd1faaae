"""The response hold: a long-poll, answered by the first publish, or after its timeout by the response that was held.

Nothing is written before. What is kept for the answer is packed: the held fields are bytes already, and the client's
request is kept only as it will be asked again (a hint, a gap in a reliable channel).
"""

import asyncio
import random
from collections.abc import Mapping

from gripproxy.backend import Request
from gripproxy.errors import FilterError
from gripproxy.grip import wire
from gripproxy.grip.cors import Cors
from gripproxy.grip.fields import pack_fields, unpack_fields
from gripproxy.grip.history import has_no_place
from gripproxy.grip.instruct import Instruct
from gripproxy.grip.item import HttpResponse, Item
from gripproxy.grip.reception import Reception
from gripproxy.hub import EACH, GONE
from gripproxy.routes import Route
from gripproxy.transports import Outcome, Replay, done
from gripproxy.transports.answers import complete, encode
from gripproxy.transports.holds import Hold, Holds, log
from gripproxy.transports.line import Line
from gripproxy.transports.patch import PatchError, patch_body
from gripproxy.transports.wheel import Wheel

# Seconds over which the requests of many long-polls with the same gap are spread. Often the gap closes by itself
# meanwhile: the backend was ahead of what it had published.
GAP_SPREAD = 0.2

# Requests because of gaps at one id of a channel; a backend that says five times that there is no more is right.
REPLAYS_MAX = 5


# The request of a hold that is over.
_FORGOTTEN = ("", b"", b"", b"")


class ResponseHold(Hold):
    """A client that waits for its response."""

    transport_name = "response"

    __slots__ = (
        "_asked",
        "_body",
        "_fields",
        "_gapped",
        "_is_resting",
        "_is_unsure",
        "_line",
        "_reason",
        "_reception",
        "_replay_at",
        "_request",
        "_status",
        "_timeout_at",
        "_unanswered",
        "cors",
        "gone_link",
        "holds",
        "is_head",
        "is_kept",
        "origin",
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
        asked_again: Mapping[tuple[str, str], int],
        cors: Cors | None,
        uri: str,
    ) -> None:
        """``uri`` is what the client asked for.

        ``asked_again`` tells how often the backend was asked again already for a channel and an id on it.
        """
        super().__init__(holds.server, connection, received)
        self.holds = holds
        self.route = route
        self._request = (request.method, request.target, pack_fields(request.fields), request.body)
        self.is_head = is_head
        self.cors = cors
        self.is_kept = is_kept
        self.timeout = instruct.timeout
        self.channels = tuple(channel.name for channel in instruct.channels)
        reception = Reception(instruct.channels, instruct.meta, route.prefix)
        self._reception = None if reception.is_plain else reception
        self._asked = asked_again
        self._gapped: tuple[str, ...] = ()
        # Whether an item came that does not say what it is or follows, so that only the backend can tell.
        self._is_unsure = False
        # Whether all is over, and the client's next bytes begin another request.
        self._is_resting = False
        self._timeout_at = self._replay_at = 0.0
        # For items that wait for a filter's answer; most long-polls have none.
        self._line: Line | None = None
        # Where the client was before the first of them.
        self._unanswered: dict[str, str] | None = None
        self.origin = uri
        # Absolute, to be posted to when the hold is over; None for most.
        self.gone_link: str | None = None
        self._status = instruct.status
        self._reason = instruct.reason
        self._fields = wire.encode_fields(instruct.fields)
        self._body = instruct.body

    def begin(self, moment: int) -> None:
        """Subscribe, and set the timer; ``moment`` is when the backend was asked.

        What came since may be what it did not know yet. A long-poll waits for news, so that is rather told twice than
        not at all; a backend that gives ids has it told once.
        """
        holds, realm = self.holds, self.route.realm
        holds.begin(self)
        self._timeout_at = holds.wheel.now() + self.timeout
        self._arm()
        missed: list[tuple[str, Item]] = []
        for channel in self.channels:
            group = holds.hub.subscribe(self, realm, channel, EACH)
            missed += [(channel, item) for item in holds.missed(group, realm, channel, moment, _is_carried)]
        reception = self._reception
        if reception is not None:
            self._catch_up(reception, moment)
            missed = [one for one in missed if one[0] not in reception.ids or has_no_place(one[1])]
        for channel, item in missed:
            self.receive(channel, item)

    def receive(self, channel: str, item: Item) -> None:
        """Answer with the first item that has a response."""
        if self.transport is GONE:
            return
        reception = self._reception
        if reception is None or channel not in reception.ids or has_no_place(item) or _is_hint(item):
            self._take(channel, item)
            return
        due = reception.admit(channel, item, self._since)
        if due is None:
            self._is_unsure = self._is_unsure or item.id is None
            self._note_gap(channel)
        else:
            self._take_all(channel, due, reception)

    def _take_all(self, channel: str, items: list[Item], reception: Reception) -> None:
        """Take items that are in order; so there is no gap any more."""
        if channel in self._gapped:
            self._gapped = tuple(name for name in self._gapped if name != channel)
        for item in items:
            if self.transport is GONE:
                return
            if not _is_hint(item):  # what that announces the client does not have
                reception.reach(channel, item)
            self._take(channel, item)

    def _take(self, channel: str, item: Item) -> None:
        reception, response = self._reception, item.response
        if response is None or response.action not in ("hint", "send"):
            return
        if reception is not None and reception.filters(channel).drops(item, reception.scope()):
            self.holds.metrics.filtered += 1
        elif response.action == "hint":
            self.replay("hint")
        else:
            self._answer(channel, item, response)

    def _catch_up(self, reception: Reception, moment: int) -> None:
        """Answer at once with what came behind the state that the backend gave; where that is not known, ask again.

        A backend that was asked again is believed: what had come before that is known to it.
        """
        history, realm = self.holds.history, self.route.realm
        for channel, at in list(reception.ids.items()):
            missed = reception.catch_up(channel, self._since)
            if missed is not None:
                self._take_all(channel, missed, reception)
            elif (channel, at) not in self._asked:
                if history.is_behind(realm, channel, at) or not history.reaches(moment):
                    self._note_gap(channel)
            elif any(not has_no_place(item) for item in history.arrived(realm, channel, moment)):
                self._note_gap(channel)
            if self.transport is GONE:
                return

    def _note_gap(self, channel: str) -> None:
        """Ask the backend again in a moment; until then the gap may close by itself."""
        reception = self._reception
        assert reception is not None
        if self._asked.get((channel, reception.ids[channel]), 0) >= REPLAYS_MAX:
            return
        if channel not in self._gapped:
            self._gapped += (channel,)
        if not self._replay_at:
            self.holds.metrics.gaps["replay"] += 1
            self._replay_at = self.holds.wheel.now() + GAP_SPREAD * random.random()  # noqa: S311  # spreads requests
            self._arm()

    def _since(self, channel: str, last_id: str) -> list[Item] | None:
        return self.holds.history.since(self.route.realm, channel, last_id)

    def on_due(self) -> None:
        """Ask again because of a gap, or answer with the response that was held."""
        if self._is_resting:
            if self.connection is not None:
                self.connection.close()
            return
        now = self.holds.wheel.now()
        reception = self._reception
        if self._replay_at and self._replay_at <= now and reception is not None:
            self._replay_at = 0.0
            for channel in self._gapped:
                missed = reception.catch_up(channel, self._since)
                if missed is not None:
                    self._take_all(channel, missed, reception)
                if self.transport is GONE:
                    return
            if self._gapped or self._is_unsure:
                self.replay("gap")
                return
        if self._timeout_at <= now:
            self._finish_held("timeout")
        else:
            self._arm()

    def _arm(self) -> None:
        wheel = self.holds.wheel
        at = min(self._timeout_at, self._replay_at) if self._replay_at else self._timeout_at
        wheel.set(self, max(0.0, at - wheel.now()))

    def replay(self, reason: str) -> None:
        """End the hold by asking the backend the client's request again."""
        self.holds.metrics.recoveries[reason] += 1
        reception = self._reception
        if (
            reception is not None
            and self._unanswered is not None
            and self._line is not None
            and not self._line.is_empty
        ):
            reception.ids = self._unanswered  # what a filter is still asked about the client does not have
        self.leave()
        if reception is None:
            self._tell(Replay({}, {}))
            return
        asked = dict(self._asked)
        for place in reception.ids.items():
            asked[place] = asked.get(place, 0) + 1
        self._tell(Replay(reception.last_ids(), asked))

    @property
    def request(self) -> Request:
        """The client's request, to be asked again."""
        method, target, packed, body = self._request
        return Request(method, target, unpack_fields(packed), body)

    def refresh(self) -> None:
        """Ask the backend whether something was missed."""
        self.replay("recover")

    def end(self, reason: str) -> None:
        """Answer now with the response that was held (at shutdown)."""
        self.is_kept = False
        self._finish_held(reason)

    def leave(self) -> None:
        """Unsubscribe and drop the timer."""
        holds = self.holds
        self.transport = GONE
        holds.wheel.drop(self)
        if holds.sessions.members:
            holds.sessions.leave(self, holds.wheel.now())
        for channel in self.channels:
            holds.hub.unsubscribe(self, self.route.realm, channel, EACH)
        holds.leave(self)
        if self._line is not None:
            self._line.clear()

    def on_lost(self) -> None:
        """The client left: unsubscribe."""
        if self in self.holds.open:
            self.leave()
            self._tell(done("left"))
        elif self._is_resting:
            self.holds.wheel.drop(self)

    def rest(self, wheel: Wheel, seconds: float) -> None:
        """Wait for the client's next request in place of an `Idle`: making one costs as much as half the answer."""
        self._is_resting = True
        self._request = _FORGOTTEN
        self._fields = self._body = b""
        self._line = self._reception = None
        wheel.set(self, seconds)

    def data_received(self, data: bytes) -> None:
        """Keep what the client sends while it is held; give the connection back when that is over."""
        if self._is_resting:
            self.holds.wheel.drop(self)
            self._received = data
            self.give_back()
        else:
            super().data_received(data)

    def on_overflow(self) -> None:
        """A hold writes nothing before its answer, and that may be of any size."""

    def _answer(self, channel: str, item: Item, response: HttpResponse) -> None:
        body = response.body
        if response.patch is not None:
            try:
                body = patch_body(self._body, response.patch)
            except PatchError:
                # Only the backend knows the body that this client should have now.
                self.replay("patch")
                return
        reception = self._reception
        if reception is None:
            if not response.content_filters:  # else it is a template for filters that this client does not have
                self._publish(channel, item, response, body)
            return
        conversation = reception.conversation(channel, item, body or b"", response.content_filters)
        if conversation is not None:
            if self._line is None:
                self._line = self.holds.line(self, self.origin, lambda: self.replay("filter"))
            if self._line.is_empty:
                self._unanswered = dict(reception.ids)
                if item.prev_id is not None and reception.ids.get(channel) == item.id:
                    self._unanswered[channel] = item.prev_id
            self._line.put(conversation, lambda content: self._publish(channel, item, response, content))
            return
        try:
            content = reception.content(channel, item, body or b"", response.content_filters)
        except FilterError as error:
            log.debug("%s: channel %r: skipped an item: %s", self.route.id, channel, error)
            content = None
        if self._line is None:
            self._publish(channel, item, response, content)
        else:
            self._line.put(None, lambda _: self._publish(channel, item, response, content))

    def _publish(self, channel: str, item: Item, response: HttpResponse, body: bytes | None) -> None:
        """Answer with what was published, unless a filter has kept it back."""
        if body is None:
            self.holds.metrics.filtered += 1
        elif self.transport is not GONE:
            if self.holds.sessions.members:
                self.holds.sessions.reach(self, channel, item.id, self.holds.wheel.now())
            answer = self.holds.answers.published(response, body, self._fields, self.is_head, self.is_kept, self.cors)
            self._finish(answer, "published")

    def _finish_held(self, why: str) -> None:
        """Answer with the response that was held."""
        fields = complete(self._fields, self.cors)
        self._finish(encode(self._status, self._reason, fields, self._body, self.is_head, self.is_kept), why)

    def _finish(self, answer: bytes, why: str) -> None:
        connection = self.connection
        self.leave()
        if connection is not None and not connection.is_closing():
            connection.write(answer)
            if not self.is_kept:
                connection.close()
        self._tell(done(why))

    def _tell(self, outcome: Outcome) -> None:
        self.holds.on_end(self, outcome)


def _is_hint(item: Item) -> bool:
    return item.response is not None and item.response.action == "hint"


def _is_carried(item: Item) -> bool:
    """Whether the hub hands over this item: any."""
    return True
