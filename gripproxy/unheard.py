"""Channels that are published to and that nobody has ever been subscribed to.

Mostly that is a name, a prefix or a realm on which publisher and subscribers do not agree: a publish to nobody
succeeds, so without a word in the log there is nothing to find it by.
"""

import logging
from collections.abc import Collection

log = logging.getLogger("gripproxy.unheard")

# Seconds between two log lines about a realm: some applications publish to whoever may be there.
LOG_EVERY = 600.0

# Channels of which a line gives the name, and the characters of a name.
NAMES_MAX = 5
NAME_MAX = 100

# Channels of which is known that they had subscribers, or that were told already. The oldest are forgotten, and told
# again when it comes to that.
KNOWN_MAX = 10_000


# Channels of other realms that are looked at, which takes a tenth of a millisecond for these: whose realm is the wrong
# one tries it out first, and after a restart each of a thousand realms may have a line at once.
LOOKED_AT_MAX = 2000


class Unheard:
    """Tells each such channel once, several in a line. There is no clock: ``now`` is in seconds.

    ``channels`` are those that have subscribers now: a publisher without a realm in its URL publishes to ``default``,
    and it helps to hear which realm has them.
    """

    def __init__(self, channels: Collection[tuple[str, str]] = ()) -> None:
        self._channels = channels
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
            "realm %s: published to %d channel%s that nobody has been subscribed to (%s): %s",
            realm,
            count,
            "s" if count > 1 else "",
            shown,
            self._question(realm, names),
        )

    def _question(self, realm: str, names: list[str]) -> str:
        """Ask what may be wrong."""
        channels = self._channels if len(self._channels) <= LOOKED_AT_MAX else ()
        elsewhere = next((key for key in channels if key[1] in names and key[0] != realm), None)
        if elsewhere is None:
            return "is the name right, with the route's prefix?"
        return f"realm {elsewhere[0]} has subscribers of {elsewhere[1]}; is it the one to publish to?"
