"""From a backend's response to the Instruct that its route makes of it: read, its channels named, its body filtered.

Many clients ask for the same, most of all when they all come back at once, and are answered the same: what was read
lately is not read again. Invariant: an Instruct is a function of the route and the response, and never changed.
"""

import logging
from dataclasses import replace

from gripproxy.config import Limits
from gripproxy.errors import BackendError, FilterError, InstructError
from gripproxy.grip.fields import Fields
from gripproxy.grip.instruct import Channel, Instruct
from gripproxy.grip.reception import Reception
from gripproxy.metrics import Metrics
from gripproxy.routes import Route

log = logging.getLogger("gripproxy.proxy")

# Responses that are remembered, and the bytes that the body of one may have; their heads are bounded by the backend's.
KEPT_MAX = 256
KEPT_BODY_MAX = 1024

Key = tuple[int, int, str, Fields, bytes]


class Instructs:
    """Reads the responses of backends."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        # The route is kept with what was read, so that its `id` stays its own.
        self._kept: dict[Key, tuple[Route, Instruct]] = {}

    def read(self, route: Route, status: int, reason: str, fields: Fields, body: bytes) -> Instruct:
        """Return what a response says, as the route has it.

        Raises:
            InstructError: It is malformed.
            BackendError: It does not fit the route: see `prepare`.
        """
        key = (id(route), status, reason, fields, body)
        kept = self._kept.get(key)
        if kept is not None:
            return kept[1]
        instruct = prepare(route, Instruct.from_response(status, reason, fields, body), self._limits, self._metrics)
        # Where channels may have been left out, that is to be logged and counted each time; a session is one client's.
        is_shared = instruct.session_id is None and len(instruct.channels) < self._limits.channels_per_connection
        if is_shared and len(body) <= KEPT_BODY_MAX:
            if len(self._kept) >= KEPT_MAX:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = (route, instruct)
        return instruct


def prepare(route: Route, instruct: Instruct, limits: Limits, metrics: Metrics) -> Instruct:
    """Return an instruct with the channels that the route makes of it, and its body filtered.

    Raises: BackendError when a filter can't be applied to the body, or a name is too long behind the prefix.
    """
    channels = instruct.channels
    names = dict.fromkeys(name for channel in channels for name in channel.filters)
    body = instruct.body
    if names:
        try:
            body = Reception(channels, instruct.meta).response(channels, body)
        except FilterError as error:
            raise BackendError(f"the response can't be filtered: {error}") from error
    if route.prefix:
        try:
            channels = tuple([replace(channel, name=route.prefix + channel.name) for channel in channels])
        except InstructError as error:
            raise BackendError(f"a channel does not fit behind the route's prefix: {error}") from error
    if route.subscribe and instruct.hold is not None:
        given = {channel.name for channel in channels}
        channels += tuple(Channel(name) for name in route.subscribe if name not in given)
    most = limits.channels_per_connection
    if len(channels) > most:
        metrics.channels_left_out += len(channels) - most
        text = "%s: a hold asks for %d channels; limits.channels_per_connection is %d"
        log.warning(text, route.id, len(channels), most, extra={"route": route.id})
    return replace(instruct, channels=channels[:most], body=body)
