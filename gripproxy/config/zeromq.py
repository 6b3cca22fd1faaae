"""The table ``[zeromq]``: Pushpin's sockets."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from gripproxy.config.reader import SettingError
from gripproxy.config.texts import DEFAULT_REALM, file_mode, parse_endpoint


class Zeromq(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Pushpin's sockets for programs that speak ZeroMQ; none is open unless it is given."""

    # tcp://host:port, tcp://*:port (every interface) or ipc:///path. Pushpin's is tcp://127.0.0.1:5560.
    pull: str = ""
    # The same, any number. Pushpin's is tcp://127.0.0.1:5562.
    sub: tuple[str, ...] = ()
    # Whether to connect to the publishers at `sub` instead of waiting there for them.
    sub_connect: bool = False
    # Where libraries ask for the addresses of the others, and operators for more. Pushpin's is tcp://127.0.0.1:5563.
    command: str = ""
    # Where subscribers are told what goes on (PUB). Pushpin's is ipc://{rundir}/pushpin-stats.
    stats: str = ""
    # How that is written. Pushpin's, like all that follow.
    stats_format: Literal["tnetstring", "json"] = "tnetstring"
    # Whether each held connection is told of; at many connections that is most of what is told.
    stats_connection_send: bool = True
    # Seconds for which subscribers believe what they were told of a connection and of a channel: it is told again when
    # three quarters are over.
    stats_connection_ttl: Annotated[int, Meta(ge=1)] = 120
    stats_subscription_ttl: Annotated[int, Meta(ge=1)] = 60
    # Seconds between two reports of a route; 0 = none.
    stats_report_interval: Annotated[int, Meta(ge=0)] = 10
    # Permissions of the Unix sockets (ipc:), in octal digits; empty = what the umask leaves.
    ipc_file_mode: str = ""
    # The realm of all that comes in, and of all that is told: a message does not name one.
    realm: str = DEFAULT_REALM

    def __post_init__(self) -> None:
        endpoints = {"pull": self.pull, "command": self.command, "stats": self.stats}
        endpoints |= {f"sub[{index}]": text for index, text in enumerate(self.sub)}
        checks = [(key, parse_endpoint, text) for key, text in endpoints.items() if text or key.startswith("sub")]
        for key, check, text in [*checks, ("ipc_file_mode", file_mode, self.ipc_file_mode)]:
            try:
                check(text)
            except ValueError as error:
                raise SettingError(key, str(error)) from None

    @property
    def is_used(self) -> bool:
        """Whether any of the sockets is given."""
        return bool(self.pull or self.sub or self.command or self.stats)

    def warnings(self) -> list[str]:
        """What other machines can reach, one line each."""
        bound = [("pull", self.pull), *(("sub", text) for text in self.sub if not self.sub_connect)]
        bound += [("command", self.command), ("stats", self.stats)]
        return [
            f"zeromq.{key}: {text} {_OPEN_TO[key]} whoever can reach it, as ZeroMQ asks for no key"
            for key, text in bound
            if text and not parse_endpoint(text).is_loopback
        ]


_OPEN_TO = {
    "pull": "takes items from",
    "sub": "takes items from",
    "command": "takes items and commands from",
    "stats": "tells of clients and channels to",
}
