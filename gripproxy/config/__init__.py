"""The configuration: TOML, environment and command line, read once into frozen structs.

Every default stands here and nowhere else. What ``load`` returns is legal: whoever reads it need not check again. Keys
stay texts, read from their files; the modules that use them make keys of them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from gripproxy.config import conditions, texts
from gripproxy.config.backends import Backend
from gripproxy.config.bus import Bus
from gripproxy.config.checks import Count, Positive, Seconds, check, check_text
from gripproxy.config.limits import Limits
from gripproxy.config.reader import (
    ENVIRONMENT_PREFIX,
    File,
    Reader,
    Secret,
    SettingError,
    Stamp,
    hint,
    setting_error,
    setting_types,
    unread_variables,
)
from gripproxy.config.route import Route
from gripproxy.config.texts import DEFAULT_REALM, Address, parse_address, parse_backend, parse_endpoint
from gripproxy.config.zeromq import Zeromq
from gripproxy.errors import ConfigError

__all__ = [
    "DEFAULT_REALM",
    "ENVIRONMENT_PREFIX",
    "Address",
    "Backend",
    "Bus",
    "Config",
    "Control",
    "File",
    "Limits",
    "Log",
    "Realm",
    "Route",
    "Secret",
    "Server",
    "SettingError",
    "Zeromq",
    "load",
    "parse_address",
    "parse_backend",
    "parse_endpoint",
    "setting_types",
    "unread",
    "warnings",
]

# What Pushpin ships with: everybody knows it.
WELL_KNOWN_KEY = "changeme"
# A proxy that is busy for a moment must not seem to be unfit.
CANARY_INTERVAL_MIN = 0.1


class Server(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where and how clients are served."""

    # host:port, [ipv6]:port, :port (every interface) or unix:/path. Pushpin's port, on loopback only.
    listen: tuple[str, ...] = ("127.0.0.1:7999",)
    # Connections the kernel holds until they are accepted. Large: all clients of a host may reconnect at once.
    backlog: Positive = 4096
    # Networks (CIDR) whose X-Forwarded-* fields are believed and appended to; those of others are replaced.
    trusted_proxies: tuple[str, ...] = ()
    # Field with the id of a request, for backends, logs and error answers; empty = none. What clients say there counts
    # from trusted_proxies only.
    request_id: str = "X-Request-Id"
    # What this proxy is called in CDN-Loop, a host or a word; empty = the field is only passed on (RFC 8586).
    cdn_loop: str = ""
    # Whether the Pushpin-Route of trusted_proxies chooses the route by its id. Pushpin believes every client.
    accept_pushpin_route: bool = False
    # Fields that routes with orig_headers hand on marked only where they came marked.
    orig_headers_need_mark: tuple[str, ...] = ()
    # Seconds an idle connection stays open. Above the 60 s that load balancers keep theirs.
    keepalive_timeout: Seconds = 75.0
    # Seconds over which held connections are ended at shutdown, so that clients do not come back all at once; requests
    # under way get drain.HANDLER_GRACE more.
    shutdown_timeout: Seconds = 10.0
    # PEM files. With certificates clients are served over TLS: the one that has the name they ask for, or the first.
    # A key for each, "" where it stands in the certificate's file; none at all if all do.
    certificate: tuple[File, ...] = ()
    certificate_key: tuple[File, ...] = ()
    # Whether a change of this file, or of one that it names, is a reload. Off: half an edit may be legal, and obeyed.
    watch: bool = False

    def __post_init__(self) -> None:
        if not self.listen:
            raise SettingError("listen", "needs at least one address")
        check(self, _SERVER_CHECKS)
        for name in ("certificate", "certificate_key"):
            if getattr(self, name) == ("",):  # how one says that there is none, in a variable above all
                msgspec.structs.force_setattr(self, name, ())
        if self.certificate_key and not self.certificate:
            raise SettingError("certificate", "is missing, though certificate_key is given")
        if self.certificate_key and len(self.certificate_key) != len(self.certificate):
            counts = f"{len(self.certificate_key)} for {len(self.certificate)}"
            raise SettingError("certificate_key", f'must be one for each certificate, not {counts}; "" if in its file')
        if "" in self.certificate:
            raise SettingError(f"certificate[{self.certificate.index(File(''))}]", "must be the path of a file")

    @property
    def certificate_pairs(self) -> tuple[tuple[File, File], ...]:
        """Each certificate with its key, "" where that stands in the certificate's file."""
        keys = self.certificate_key or (File(""),) * len(self.certificate)
        return tuple(zip(self.certificate, keys, strict=True))


class Control(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where publishers and operators are served."""

    # As in [server], one address. Pushpin's port.
    listen: str = "127.0.0.1:5561"
    # Bytes of one publish request. Pushpin's push_in_http_max_body_size.
    max_body: Positive = 1_000_000
    # Seconds an idle connection stays open. Well above the 4 s after which Node's fetch drops its side.
    keepalive_timeout: Seconds = 75.0
    # Whether GET /metrics answers.
    metrics: bool = True
    # Seconds between two canaries, items that the proxy publishes to itself; 0 = none. When one takes as long to
    # arrive, /ready answers 503.
    canary_interval: Seconds = 5.0
    # PEM files. With a certificate the door speaks TLS; the key may stand in the certificate's file.
    certificate: File = File("")
    certificate_key: File = File("")
    # PEM file with authorities: only clients with a certificate of theirs are served, whatever keys they know.
    client_ca: File = File("")

    def __post_init__(self) -> None:
        check(self, {"listen": parse_address})
        if 0 < self.canary_interval < CANARY_INTERVAL_MIN:
            raise SettingError("canary_interval", f"must be 0 or at least {CANARY_INTERVAL_MIN:g}")
        for key in ("certificate_key", "client_ca"):
            if getattr(self, key) and not self.certificate:
                raise SettingError("certificate", f"is missing, though {key} is given")


class Log(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is logged, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    # One line for each request. Off: at the rates this proxy is for, the log would cost more than the work.
    access: bool = False
    # One JSON object a line instead of text.
    json: bool = False
    # Lines that are alike in a minute, then one with the number of the others; 0 = all. Enough to see whether it is one
    # client or many.
    repeats: Count = 10


class Realm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tenant: its channels are its own."""

    # "text", "base64:...", "hex:...", "file:PATH" or PEM. Several while keys are rotated: all verify, the first signs.
    key: tuple[Secret, ...] = ()
    # Key and issuer of Grip-Sig where they differ from the realm's key and name.
    sig_key: Secret = Secret("")
    sig_iss: str = ""
    # Issuer of publishers' tokens; empty = the realm's name.
    control_iss: str = ""
    # Bytes of one published item's content; 0 = what a publish request holds. Fanout Cloud had 65536.
    max_item: Count = 0


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it."""

    server: Server = field(default_factory=Server)
    control: Control = field(default_factory=Control)
    log: Log = field(default_factory=Log)
    limits: Limits = field(default_factory=Limits)
    zeromq: Zeromq = field(default_factory=Zeromq)
    bus: Bus = field(default_factory=Bus)
    realms: dict[str, Realm] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    # Reasons in the bodies of error answers. Off: they name backends.
    debug: bool = False
    # The file it was read from, for errors that show later; no setting.
    source: str = ""

    def __post_init__(self) -> None:
        # The realm of POST /publish/ exists always: without key, so that it takes publishes from loopback only.
        if DEFAULT_REALM not in self.realms:
            msgspec.structs.force_setattr(self, "realms", {**self.realms, DEFAULT_REALM: Realm()})
        for name, realm in self.realms.items():
            check_text(f"realms.{name}", texts.realm_name, name)
            if WELL_KNOWN_KEY in realm.key and not parse_address(self.control.listen).is_loopback:
                reason = f"{WELL_KNOWN_KEY!r} is known to everyone, and control.listen is not on loopback"
                raise SettingError(f"realms.{name}.key", reason)
        self._check_realm("zeromq.realm", self.zeromq.realm)
        self._check_doors()
        for index, route in enumerate(self.routes):
            self._check_realm(f"routes[{index}].realm", route.realm)
            self._check_circle(f"routes[{index}].backends", route)
        conditions.check([(route.condition, route.id) for route in self.routes], by_id=self.server.accept_pushpin_route)

    def _check_doors(self) -> None:
        doors: dict[Address, str] = {}
        listening = {f"server.listen[{index}]": text for index, text in enumerate(self.server.listen)}
        for key, text in {**listening, "control.listen": self.control.listen}.items():
            address = parse_address(text)
            first = doors.setdefault(address, key)
            if first != key and (address.path or address.port):
                raise SettingError(key, f"{first} is {text!r}, too")

    def _check_circle(self, key: str, route: Route) -> None:
        """Refuse a backend that is the client door, where requests come back as they went: one would use up all files.

        With ``cdn_loop`` such a request is answered, and with another host, path or name of a route it is another one.
        """
        if self.server.cdn_loop or self.server.accept_pushpin_route or self.server.certificate:
            return
        if route.rewrite is not None or route.tls is not None or route.protocol == "websocket":
            return
        doors = [parse_address(text) for text in self.server.listen]
        for index, backend in enumerate(route.complete_backends()):
            _, host, port = parse_backend(backend.url)
            if not backend.host_header and any(door.is_at(host, port) for door in doors):
                raise SettingError(f"{key}[{index}]", f"{backend.url!r} is this proxy itself (server.listen)")

    def _check_realm(self, key: str, name: str) -> None:
        if name not in self.realms:
            raise SettingError(key, f"there is no realm {name!r}{hint(name, self.realms)}")

    def error(self, key: str, reason: str) -> ConfigError:
        """What to raise when a setting turns out to be wrong only where it is used."""
        return setting_error(self.source, key, reason)


def load(
    path: Path | None,
    environment: Mapping[str, str] = {},
    overrides: Mapping[str, Any] = {},
    stamps: dict[str, Stamp] | None = None,
) -> Config:
    """The configuration from a file, overridden by the environment, overridden by the command line.

    Overrides are keyed like ``server.listen``; None is passed over. ``backend`` stands for one route that takes every
    request to that URL, in place of all routes of the file. ``stamps`` gets those of all files that are looked at.

    Raises: ConfigError, ``FILE: KEY: reason``, in one line.
    """
    reader = Reader(path, stamps)
    tables = reader.tables()
    reader.put_environment(tables, environment, Config)
    for key, value in overrides.items():
        if key == "backend" and value is not None:
            tables["routes"] = [{"backends": [_checked_backend(value)]}]
        elif value is not None:
            reader.put(tables, key, value)
    config = reader.struct(Config, tables)
    if not config.routes:
        raise reader.error("routes", "there is none; give [[routes]] with backends, or --backend URL")
    return msgspec.structs.replace(config, source=reader.source)


def _checked_backend(url: str) -> str:
    """The backend of the command line. Raises: ConfigError that names the option: its user may have no file."""
    try:
        parse_backend(url)
    except ValueError as error:
        raise setting_error("", "--backend", str(error)) from None
    return url


def warnings(config: Config) -> list[str]:
    """What is legal but maybe not meant, one line each."""
    found = []
    remote = not parse_address(config.control.listen).is_loopback
    used = {route.realm for route in config.routes}
    for name, realm in config.realms.items():
        if name not in used and name != DEFAULT_REALM:
            found.append(f"realms.{name}: no route is of this realm, so nobody can be subscribed in it")
        if remote and not realm.key and (name in used or name != DEFAULT_REALM):
            found.append(f"realms.{name}.key: none, so only publishes from loopback are taken")
        if WELL_KNOWN_KEY in (*realm.key, realm.sig_key):
            found.append(f"realms.{name}: the key {WELL_KNOWN_KEY!r} is known to everyone")
    unsent, body = config.limits.unsent, config.control.max_body
    if any(min(config.realms[name].max_item or body, body) > unsent for name in used):
        text = f"an item of more than limits.unsent, {unsent} bytes, cuts every client it is for"
        found.append(f"control.max_body: {text}")
    server = config.server
    if server.accept_pushpin_route and not server.trusted_proxies:
        found.append("server.accept_pushpin_route: nobody is believed, as server.trusted_proxies is empty")
    for index, route in enumerate(config.routes):
        if route.tls and not server.certificate and not server.trusted_proxies:
            found.append(f"routes[{index}].tls: no request has TLS without server.certificate or trusted_proxies")
        if any(not one.verify and one.url.startswith("https:") for one in route.complete_backends()):
            found.append(f"routes[{index}].verify: the backend's certificate is not verified")
    found += config.zeromq.warnings()
    return found


def unread(environment: Mapping[str, str]) -> list[str]:
    """What looks like a variable of ours and is none, for want of an underscore; one line each."""
    return unread_variables(environment, Config)


_SERVER_CHECKS: dict[str, Callable[[str], object]] = {
    "listen": parse_address,
    "trusted_proxies": texts.network,
    "request_id": texts.request_id,
    "cdn_loop": texts.cdn_id,
    "orig_headers_need_mark": texts.any_field_name,
}
