"""GRIP sessions: the item of each channel that a client was sent last, whichever of its connections it came by.

A session is a name that the backend gives to a client, and its channels' last ids; the backend learns of both with
the requests that its rules assign to the session.

What is published costs one look-up, however many sessions follow a channel: there is one `Trail` for each channel
that any follows, where the latest item leaves its id. Serial numbers tell what is newer, so that a session takes over
from the trail when somebody asks, or when its member leaves. Holds that look at every item (long-polls, linked
streams) tell by themselves what their client has got, with `reach`.

Invariant: a session with an open hold (a member) lives on. Of the others those that were used last are kept.
"""

import logging
from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass, field

from gripproxy.config import Limits
from gripproxy.grip.detection import DetectRule, detect, session_fields
from gripproxy.grip.fields import Fields
from gripproxy.grip.instruct import Instruct
from gripproxy.grip.item import Item

log = logging.getLogger("gripproxy.sessions")

# Seconds between two warnings of the same limit.
LOG_EVERY = 60.0

# Bytes of a host that may have rules: no name is longer (RFC 1035 2.3.4), but clients choose what they send.
HOST_MAX = 255

# How a member takes items: as they are published, by stream or as messages; or it tells by itself.
STREAM, MESSAGE, BY_ITSELF = "stream", "message", ""

# Realm and session id, realm and channel, realm and host.
Key = tuple[str, str]

# The serial number of a note, and the id that it is of.
Place = tuple[int, str]

_NOWHERE: Place = (0, "")


class Trail:
    """A channel that sessions follow: the latest item of each format."""

    __slots__ = ("followers", "message", "stream")

    def __init__(self) -> None:
        self.followers = 0
        self.stream = self.message = _NOWHERE

    def place(self, kind: str) -> Place:
        """Where members of a kind are."""
        return self.stream if kind == STREAM else self.message


@dataclass(slots=True)
class _Member:
    """A hold; ``starts`` are the serial numbers at which it began to follow its channels."""

    key: Key
    kind: str
    starts: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Session:
    places: dict[str, Place] = field(default_factory=dict)
    members: dict[Hashable, _Member] = field(default_factory=dict)
    used_at: float = 0.0


class Sessions:
    """The sessions and rules of all realms that keep any; times are the loop's, channels have their route's prefix."""

    def __init__(self, limits: Limits, realms: Collection[str] = ()) -> None:
        self._serial = 0
        self._held: dict[Key, _Session] = {}
        # Those without a member, the one used longest ago first.
        self._resting: OrderedDict[Key, _Session] = OrderedDict()
        # Empty while no hold has a session, so that asking for them costs others nothing.
        self.members: dict[Hashable, _Member] = {}
        self.trails: dict[Key, Trail] = {}
        self._rules: dict[Key, dict[DetectRule, None]] = {}
        # Realm -> hosts and rules, the one used longest ago first.
        self._rules_used: dict[str, OrderedDict[tuple[str, DetectRule], None]] = {}
        # What was forgotten, or had no room, for the metrics: "age" is a session that was not used for too long.
        self.drops = {"age": 0, "session": 0, "last-id": 0, "rule": 0}
        # Of these, when each may be warned of again
        self._quiet_until: dict[str, float] = {}
        self.configure(limits, realms)

    def configure(self, limits: Limits, realms: Collection[str]) -> None:
        """Go on with other limits, and for other realms; what is kept of one that is not among them goes with time."""
        self._limits = limits
        self._realms = frozenset(realms)
        while self._resting and len(self) > limits.sessions:
            self._resting.popitem(last=False)
            self.drops["session"] += 1

    def __len__(self) -> int:
        return len(self._held) + len(self._resting)

    # What responses say

    def obey(self, realm: str, prefix: str, host: str, instruct: Instruct, now: float) -> None:
        """Keep the rules and last ids of a response to a request for a host; ``prefix`` is the route's."""
        if realm not in self._realms:
            return
        for rule in instruct.detect_rules:
            self._set_rule(realm, host, rule, now)
        if instruct.session_id is not None and instruct.last_ids:
            key = (realm, instruct.session_id)
            session = self._open(key, now)
            if session is not None:
                self._settle(key, session, now)
                for channel, last_id in instruct.last_ids:
                    self._put(session, prefix + channel, last_id)
                self._trim(session, now)

    def _set_rule(self, realm: str, host: str, rule: DetectRule, now: float) -> None:
        if len(host) > HOST_MAX:
            self._drop("rule", f"realm {realm}: a host of more than {HOST_MAX} bytes gets no rules for sessions", now)
            return
        used = self._rules_used.setdefault(realm, OrderedDict())
        self._rules.setdefault((realm, host), {})[rule] = None
        used[host, rule] = None
        used.move_to_end((host, rule))
        if len(used) > self._limits.session_rules:
            (old_host, old), _ = used.popitem(last=False)
            rules = self._rules[realm, old_host]
            del rules[old]
            if not rules:
                del self._rules[realm, old_host]
            self._drop("rule", f"realm {realm} has more rules for sessions than limits.session_rules", now)

    # What requests are told

    def rules(self, realm: str, host: str, target: str) -> tuple[DetectRule, ...]:
        """Return the rules for a request's host and target, in the order in which they were given."""
        given = self._rules.get((realm, host))
        if not given:
            return ()
        path = target.partition("?")[0]
        found = tuple(rule for rule in given if path.startswith(rule.path_prefix))
        for rule in found:
            self._rules_used[realm].move_to_end((host, rule))
        return found

    def fields(self, realm: str, prefix: str, rules: Iterable[DetectRule], body: bytes, now: float) -> Fields:
        """Return what the backend is told of the session that rules find in a request's body.

        That is its id, known or not, and the last ids of the channels that have the route's prefix.
        """
        sid = detect(rules, body)
        if sid is None:
            return ()
        last_ids = self.last_ids(realm, sid, now).items()
        length = len(prefix)
        return session_fields(sid, {name[length:]: last for name, last in last_ids if name.startswith(prefix)})

    def last_ids(self, realm: str, sid: str, now: float) -> dict[str, str]:
        """Return the last ids of a session, none if it is not known; it counts as used."""
        self.expire(now)
        key = (realm, sid)
        session = self._held.get(key)
        if session is not None:
            self._settle(key, session, now)
        elif (session := self._resting.get(key)) is not None:
            session.used_at = now
            self._resting.move_to_end(key)
        else:
            return {}
        return {channel: place[1] for channel, place in session.places.items()}

    # Holds

    def join(
        self, member: Hashable, realm: str, sid: str | None, kind: str, channels: Iterable[str], now: float
    ) -> None:
        """Have a hold belong to a session, and no longer to another; None: to none."""
        self.leave(member, now)
        if sid is None or realm not in self._realms:
            return
        key = (realm, sid)
        session = self._open(key, now)
        if session is None:
            return
        self._held[key] = session
        self._resting.pop(key, None)
        self.members[member] = session.members[member] = _Member(key, kind)
        self.change(member, channels, now)

    def change(self, member: Hashable, channels: Iterable[str], now: float) -> None:
        """Note the channels that a hold has now."""
        one = self.members.get(member)
        if one is None or one.kind == BY_ITSELF:
            return
        realm, starts = one.key[0], one.starts
        names = dict.fromkeys(channels)
        if names.keys() == starts.keys():
            return
        for channel in starts.keys() - names.keys():
            self._unfollow(one, channel)
        for channel in names:
            if channel not in starts:
                trail = self.trails.get((realm, channel))
                if trail is None:
                    trail = self.trails[realm, channel] = Trail()
                trail.followers += 1
                starts[channel] = self._serial
        self._trim(self._held[one.key], now)

    def reach(self, member: Hashable, channel: str, last_id: str | None, now: float) -> None:
        """Note that a hold's client was sent an item."""
        one = self.members.get(member)
        if one is not None and last_id is not None:
            session = self._held[one.key]
            self._put(session, channel, last_id)
            self._trim(session, now)

    def leave(self, member: Hashable, now: float) -> None:
        """Note that a hold is over; one without a session changes nothing."""
        one = self.members.pop(member, None)
        if one is None:
            return
        session = self._held[one.key]
        for channel in list(one.starts):
            self._unfollow(one, channel)
        self._trim(session, now)
        del session.members[member]
        if session.members:
            return
        del self._held[one.key]
        if session.places:  # else nothing is known that could be told
            session.used_at = now
            self._resting[one.key] = session
            self.expire(now)

    # What is published

    def note(self, key: Key, item: Item) -> None:
        """Note that an item goes out to the holds on a channel, the key being its realm and name."""
        trail = self.trails.get(key)
        if trail is None or item.id is None:
            return
        self._serial += 1
        # Other actions bring nothing: what a hint announces comes with the backend's answer.
        if item.stream is not None and item.stream.action == "send":
            trail.stream = (self._serial, item.id)
        if item.message is not None and item.message.action == "send":
            trail.message = (self._serial, item.id)

    # Memory

    def expire(self, now: float) -> None:
        """Forget the sessions that were not used for too long."""
        resting, oldest = self._resting, now - self._limits.session_age
        while resting:
            key = next(iter(resting))
            if resting[key].used_at > oldest:
                return
            del resting[key]
            self.drops["age"] += 1
            log.debug("realm %s: a session was not used for limits.session_age", key[0])

    def count(self, now: float) -> int:
        """Return how many sessions are known."""
        self.expire(now)
        return len(self)

    def _open(self, key: Key, now: float) -> _Session | None:
        """Return a session, a new one if it is not known; None where there is no room for one more."""
        self.expire(now)
        session = self._held.get(key)
        if session is not None:
            return session
        session = self._resting.get(key)
        if session is None:
            if len(self) >= self._limits.sessions:
                self._drop("session", "there are more sessions than limits.sessions", now)
                if not self._resting:
                    return None
                self._resting.popitem(last=False)
            session = self._resting[key] = _Session()
        session.used_at = now
        self._resting.move_to_end(key)
        return session

    def _settle(self, key: Key, session: _Session, now: float) -> None:
        """Take over from the trails what the members have got until now."""
        for member in session.members.values():
            for channel, start in member.starts.items():
                self._take(session, channel, self.trails[key[0], channel].place(member.kind), start)
                member.starts[channel] = self._serial
        self._trim(session, now)

    def _unfollow(self, member: _Member, channel: str) -> None:
        """Let go of a channel, with what the member has got of it."""
        key = (member.key[0], channel)
        trail = self.trails[key]
        self._take(self._held[member.key], channel, trail.place(member.kind), member.starts.pop(channel))
        trail.followers -= 1
        if not trail.followers:
            del self.trails[key]

    @staticmethod
    def _take(session: _Session, channel: str, place: Place, start: int) -> None:
        if place[0] > max(start, session.places.get(channel, _NOWHERE)[0]):
            session.places[channel] = place

    def _put(self, session: _Session, channel: str, last_id: str) -> None:
        self._serial += 1
        session.places[channel] = (self._serial, last_id)

    def _trim(self, session: _Session, now: float) -> None:
        places = session.places
        while len(places) > self._limits.session_last_ids:
            del places[min(places, key=lambda channel: places[channel][0])]
            self._drop("last-id", "a session has more last ids than limits.session_last_ids", now)

    def _drop(self, what: str, text: str, now: float) -> None:
        self.drops[what] += 1
        if now >= self._quiet_until.get(what, now):
            self._quiet_until[what] = now + LOG_EVERY
            log.warning("%s (counted by session_drops_total)", text)
