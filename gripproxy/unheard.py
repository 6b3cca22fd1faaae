"""Channels that are published to and that nobody has ever been subscribed to.

Mostly that is a name or a prefix on which publisher and subscribers do not agree: a publish to nobody succeeds, so
without a word in the log there is nothing to find it by.
"""

import logging

log = logging.getLogger("gripproxy.unheard")

# Seconds between two log lines about a realm: some applications publish to whoever may be there.
LOG_EVERY = 600.0

# Channels of which a line gives the name, and the characters of a name.
NAMES_MAX = 5
NAME_MAX = 100

# Channels of which is known that they had subscribers, or that were told already. The oldest are forgotten, and told
# again when it comes to that.
KNOWN_MAX = 10_000


class Unheard:
    """Tells each such channel once, several in a line. There is no clock: ``now`` is in seconds."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], None] = {}
        self._logged_at: dict[str, float] = {}
        # Realm -> channels that are not told yet: the first names, and the number of all.
        self._names: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def had(self, realm: str, channel: str) -> None:
        """Note that a channel had subscribers."""
        known = self._known
        known.pop((realm, channel), None)
        known[realm, channel] = None
        if len(known) > KNOWN_MAX:
            del known[next(iter(known))]

    def add(self, realm: str, channel: str, now: float) -> None:
        """Note that an item was published to a channel without subscribers."""
        if (realm, channel) in self._known:
            return
        self.had(realm, channel)
        names = self._names.setdefault(realm, [])
        self._counts[realm] = self._counts.get(realm, 0) + 1
        if len(names) < NAMES_MAX:
            names.append(channel[:NAME_MAX].encode("unicode_escape").decode())
        logged_at = self._logged_at.get(realm)
        if logged_at is None or now - logged_at >= LOG_EVERY:
            self._logged_at[realm] = now
            self._tell(realm, self._names.pop(realm), self._counts.pop(realm))

    def _tell(self, realm: str, names: list[str], count: int) -> None:
        shown = ", ".join(names) + (", ..." if count > len(names) else "")
        log.info(
            "realm %s: published to %d channel%s that nobody has been subscribed to (%s): is the prefix right?",
            realm,
            count,
            "s" if count > 1 else "",
            shown,
        )
