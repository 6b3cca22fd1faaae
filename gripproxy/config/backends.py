"""One of a route's backends, where it is more than a URL; whatever it leaves out is the route's."""

from typing import Literal

import msgspec
from msgspec import Struct

from gripproxy.config import texts
from gripproxy.config.checks import Positive, check
from gripproxy.config.reader import File, SettingError
from gripproxy.config.texts import parse_backend


class Backend(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A URL, and what differs there from the route; None and "not set" mean the route's own."""

    # http(s)://host[:port].
    url: str
    # How many requests it gets beside the others, where `balance` divides them.
    weight: Positive = 1
    host_header: str | None = None
    websocket: Literal["over-http", "passthrough"] | None = None
    one_event: bool | None = None
    # Channels of the holds that its responses make.
    subscribe: tuple[str, ...] | None = None
    verify: bool | None = None
    verify_host: str | None = None
    ca: File | None = None
    client_cert: File | None = None
    client_key: File | None = None
    public_only: bool | None = None

    def __post_init__(self) -> None:
        check(self, _CHECKS)
        if self.client_key and not self.client_cert:
            raise SettingError("client_cert", "is missing, though client_key is given")


# What a route says for all of its backends.
INHERITED = (
    "host_header",
    "websocket",
    "one_event",
    "subscribe",
    "verify",
    "verify_host",
    "ca",
    "client_cert",
    "public_only",
)


def complete(backend: str | Backend, route: Struct) -> Backend:
    """A backend with the route's settings in place of those that it leaves out."""
    own = Backend(url=backend) if isinstance(backend, str) else backend
    left_out = {name: getattr(route, name) for name in INHERITED if getattr(own, name) is None}
    if "client_cert" in left_out:
        # The two belong together: the route's key is not that of another certificate.
        left_out["client_key"] = getattr(route, "client_key", None)
    return msgspec.structs.replace(own, **left_out)


_CHECKS = {
    "url": parse_backend,
    "host_header": texts.host_field,
    "subscribe": texts.channel,
    "verify_host": texts.certificate_name,
}
