"""The realtime half: what goes out to whoever listens to a headline.

One update is published once, in three formats, and the proxy picks the one that each listener can hear. A publish
that fails is logged and harms nobody: the headline is stored, and clients that ask find it.
"""

import json
import logging
from functools import partial
from typing import Any

from django_grip import publish
from gripcontrol import HttpResponseFormat, HttpStreamFormat, WebSocketMessageFormat

from .models import Headline

logger = logging.getLogger("headlines")

LIST_CHANNEL = "all"


def channel_of(headline: Headline) -> str:
    """The channel of one headline. Digits only: names go into header fields as they are."""
    return str(headline.pk)


def pretty(data: Any) -> str:
    """JSON for people."""
    return json.dumps(data, indent=4) + "\n"


def publish_update(headline: Headline, previous: str) -> None:
    """Tells the headline's listeners, and the list's, about the revision that followed `previous`.

    The ids let the proxy drop a repeated publish, put back in order what two workers sent in the wrong one, and
    notice that a long-poll was read before an update and held after it.
    """
    headers = {"Content-Type": "application/json", "ETag": headline.etag}
    formats = [HttpResponseFormat(body=pretty(headline.to_data()), headers=headers), *_live_formats(headline)]
    channel = channel_of(headline)
    publish(channel, formats, id=headline.revision, prev_id=previous, callback=partial(_report, channel))
    publish_to_list(headline)


def publish_to_list(headline: Headline) -> None:
    """Tells the list's listeners about a new or changed headline."""
    publish(
        LIST_CHANNEL,
        _live_formats(headline),
        id=f"{headline.pk}-{headline.revision}",
        callback=partial(_report, LIST_CHANNEL),
    )


def _live_formats(headline: Headline) -> list[Any]:
    message = json.dumps(headline.to_data())  # one line, ASCII: safe in an event stream
    return [HttpStreamFormat(f"event: update\ndata: {message}\n\n"), WebSocketMessageFormat(message)]


def _report(channel: str, success: bool, message: str) -> None:
    if not success:
        logger.warning("publishing to channel %s failed: %s", channel, message)
