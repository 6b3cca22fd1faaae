"""Who is there: the channels of a realm with subscribers, and how many of each kind they are in this process.

GET /realm/NAME/channels/?prefix=P&after=A&limit=N    {"channels": [{"channel", "subscribers"}, ...], "next": "A"}
GET /realm/NAME/channels/CHANNEL/                     {"channel", "subscribers"}
"""

from collections.abc import Mapping

from msgspec import json

from gripproxy.audience import Audience
from gripproxy.control.answer import RefusalError
from gripproxy.control.receipt import SCOPE

# Channels of one answer.
LIMIT, LIMIT_MAX = 100, 1000


class Presence:
    """Answers for realms whose clients were let in already."""

    def __init__(self, audience: Audience) -> None:
        self._audience = audience

    async def channels(self, realm: str, query: Mapping[str, str]) -> bytes:
        """Return a page of the channels that have subscribers. Raises: RefusalError"""
        limit = parse_limit(query.get("limit"))
        page, has_more = await self._audience.page(realm, query.get("prefix", ""), query.get("after", ""), limit)
        channels = [{"channel": name, "subscribers": subscribers} for name, subscribers in page]
        return json.encode({"channels": channels, "next": page[-1].name if has_more else None, "scope": SCOPE}) + b"\n"

    def channel(self, realm: str, channel: str) -> bytes:
        """Return who is subscribed to a channel; nobody is no error."""
        subscribers = self._audience.count(realm, channel)
        return json.encode({"channel": channel, "subscribers": subscribers, "scope": SCOPE}) + b"\n"


def parse_limit(text: str | None) -> int:
    """Return the channels that an answer may have. Raises: RefusalError"""
    if text is None:
        return LIMIT
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= LIMIT_MAX:
        raise RefusalError(400, f"limit must be from 1 to {LIMIT_MAX}, not {text!r}.")
    return int(text)
