"""The configuration: TOML, environment and command line, read once into frozen structs.

Every default stands here and nowhere else. What ``load`` returns is legal: whoever reads it need not check again. Keys
stay texts, read from their files; the modules that use them make keys of them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from gripproxy.config import conditions, texts
from gripproxy.config.addresses import is_public, parse_ip
from gripproxy.config.backends import Backend, complete
from gripproxy.config.checks import Count, Positive, PositiveSeconds, Seconds, check, check_text
from gripproxy.config.conditions import Condition
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
    # PEM files. With a certificate the door speaks TLS; the key may stand in the certificate's file.
    certificate: File = File("")
    certificate_key: File = File("")
    # PEM file with authorities: only clients with a certificate of theirs are served, whatever keys they know.
    client_ca: File = File("")

    def __post_init__(self) -> None:
        check(self, {"listen": parse_address})
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


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one client, one channel or one backend may use; 0 means without limit where the comment says so."""

    # Bytes of a request line and header. As Node and HAProxy; Pushpin's 8192 is too small for tokens in cookies.
    request_header: Positive = 16_384
    # Bytes of a request body; 0 = without limit, as it is streamed. A route can set its own.
    request_body: Count = 0
    # Bytes of a request body kept to repeat the request after a hold. Pushpin's MAX_ACCEPT_REQUEST_BODY.
    replay_body: Count = 100_000
    # Bytes of a response that asks for a hold. Pushpin's.
    hold_body: Positive = 100_000
    # Bytes not yet taken by one client before it is cut (dead, or too slow for its channels), or recovers by its link.
    unsent: Positive = 1_048_576
    # Bytes that wait to be written, of all channels, before publishes are answered 429; 0 = without limit. It bounds
    # memory and is no speed limit: 64 of the largest requests, which a machine that is not overrun writes in a second.
    backlog: Count = 67_108_864
    # Bytes of one WebSocket message, either way.
    websocket_message: Positive = 1_048_576
    # Bytes of a client's WebSocket messages that wait for the backend before no more are read.
    websocket_buffered: Positive = 1_048_576
    # Seconds the backend has to accept or refuse a WebSocket.
    websocket_handshake_timeout: PositiveSeconds = 60.0
    # Channels of one connection. Pushpin's connection_subscription_max, which is 20 and cuts silently.
    channels_per_connection: Positive = 100
    # Client connections; 0 = as many as the process may open files.
    connections: Count = 0
    # Items, bytes and seconds that a channel's history keeps to fill gaps of reconnecting clients.
    history_items: Count = 100
    history_bytes: Count = 1_048_576
    history_age: Seconds = 60.0
    # Seconds in which an item id seen before is a duplicate. Pushpin's id_cache_ttl.
    duplicates_age: Seconds = 60.0
    # Seconds an item waits for the one before it. Pushpin's message_wait.
    message_wait: Seconds = 5.0
    # Seconds that publishers who ask are told that a channel has subscribers after it lost its last: a long-poller is
    # back soon. Pushpin's.
    subscription_linger: Seconds = 60.0
    # GRIP sessions, last ids of one, rules of a realm, and seconds that a session is kept without a hold or a request.
    sessions: Positive = 100_000
    session_last_ids: Positive = 100
    session_rules: Positive = 1000
    session_age: PositiveSeconds = 3600.0


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


class Route(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests for a host and path, and the backends that answer them."""

    # http(s)://host[:port], or tables with a url, tried as `balance` says. The only setting without default.
    backends: tuple[str | Backend, ...]
    # A host without port, "*.example.org" (any host below it), "*", or "" for a route that is reached by its id only.
    host: str = "*"
    # A path as it is in the URL; "/a" also takes "/a/b" and "/a?x", never "/abc"; "/a*" takes whatever begins so.
    path: str = "/"
    # Requests of one kind only, and only those with TLS or those without.
    protocol: Literal["any", "http", "websocket"] = "any"
    tls: bool | None = None
    realm: str = DEFAULT_REALM
    # Name in logs and metrics; empty = host and path.
    id: str = ""
    websocket: Literal["over-http", "passthrough"] = "over-http"
    # Who answers a client's PING: the backend, as with Pushpin, or this proxy.
    pings: Literal["forward", "local"] = "forward"
    # One WebSocket event in each request instead of all that wait.
    one_event: bool = False
    # Put before the names of channels that are held or subscribed, not of those published to.
    prefix: str = ""
    # Channels that every hold of this route has beside those it asks for; without prefix.
    subscribe: tuple[str, ...] = ()
    # False: plain proxying, no Grip-Sig, and GRIP instructions are not acted on.
    grip: bool = True
    # Whether requests of sessions are found, and sessions kept (Grip-Session-Id, Grip-Session-Detect).
    session: bool = False
    # What replaces the matched path towards the backend.
    rewrite: str | None = None
    # Host field towards the backend; None = what the client sent.
    host_header: str | None = None
    headers_set: dict[str, str] = field(default_factory=dict)
    headers_remove: tuple[str, ...] = ()
    # Whether the backend gets the client's fields a second time, marked by eb9bf0f5-, as they came.
    orig_headers: bool = False
    # Fields of a held client's request that go into its next links, as long as those lead to this route.
    link_headers: tuple[str, ...] = ()
    # Origins that get CORS fields, or "*".
    cors: tuple[str, ...] = ()
    # The first backend that can be reached, each in turn, or the one with the fewest requests under way.
    balance: Literal["first", "round-robin", "least-requests"] = "first"
    # What each backend is asked for to see whether it is well; None = not asked.
    health_path: str | None = None
    # Seconds between two such questions, and for each answer.
    health_interval: PositiveSeconds = 5.0
    health_timeout: PositiveSeconds = 2.0
    # Seconds to connect to one backend.
    connect_timeout: PositiveSeconds = 5.0
    # Seconds from the request to the head of the response; 0 = without limit.
    response_timeout: Seconds = 60.0
    # Seconds without a byte in the middle of a response; 0 = without limit. Pushpin's --stream-timeout.
    idle_timeout: Seconds = 1800.0
    # Bytes of a request body; None = limits.request_body, 0 = without limit.
    max_request_body: Annotated[int, Meta(ge=0)] | None = None
    # Grip-Sig of this route where it differs from its realm's.
    sig_key: Secret = Secret("")
    sig_iss: str = ""
    # Key of a GRIP proxy in front of this one: requests with its Grip-Sig are handed through untouched.
    upstream_key: Secret = Secret("")
    # TLS towards https backends: whether to verify, against which authorities (PEM), with which certificate (PEM).
    verify: bool = True
    # The name that the certificate has to have; empty = that of `host_header`, else of the URL.
    verify_host: str = ""
    ca: File = File("")
    client_cert: File = File("")
    client_key: File = File("")
    # Whether only public addresses are connected to, whatever the names of backends and links resolve to.
    public_only: bool = False
    # Reasons in the bodies of error answers; None = the global `debug`.
    debug: bool | None = None

    def __post_init__(self) -> None:
        if not self.backends:
            raise SettingError("backends", "needs at least one URL")
        check(self, _ROUTE_CHECKS)
        for name, value in self.headers_set.items():
            check_text("headers_set", texts.field_name, name)
            check_text(f"headers_set.{name}", texts.field_value, value)
        if self.client_key and not self.client_cert:
            raise SettingError("client_cert", "is missing, though client_key is given")
        for index, backend in enumerate(self.complete_backends()):
            address = parse_ip(parse_backend(backend.url)[1])
            if backend.public_only and address is not None and not is_public(address):
                raise SettingError(f"backends[{index}]", f"{address} is not public, which public_only asks for")

    @property
    def condition(self) -> Condition:
        """Which requests it is for."""
        return Condition.of(self.host, self.path, self.protocol, self.tls)

    def complete_backends(self) -> tuple[Backend, ...]:
        """The backends as tables in which nothing is left out."""
        return tuple(complete(backend, self) for backend in self.backends)


class Bus(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How what is published reaches every process of a cluster."""

    # "local:" for this process alone, or redis://[user:password@]host[:port][/db], rediss:// over TLS.
    url: Secret = Secret("local:")
    # The stream; clusters that share a Redis have one each.
    key: str = "gripproxy"
    # Seconds for which entries are kept, so that a process that was cut off misses nothing.
    keep: PositiveSeconds = 60.0
    # Seconds that a publish waits for the bus before it is refused with 503. Below the 5 s of impatient publishers.
    timeout: PositiveSeconds = 2.0

    def __post_init__(self) -> None:
        check(self, {"url": texts.bus, "key": texts.word})
        if not self.key:
            raise SettingError("key", "must not be empty")

    @property
    def scheme(self) -> str:
        """What kind of bus it is."""
        return self.url.partition(":")[0].lower()

    @property
    def place(self) -> str:
        """The URL without its credentials."""
        return f"{self.scheme}://{self.url.rpartition('@')[2].rpartition('//')[2].partition('?')[0]}"


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
        conditions.check([(route.condition, route.id) for route in self.routes], by_id=self.server.accept_pushpin_route)

    def _check_doors(self) -> None:
        doors: dict[Address, str] = {}
        listening = {f"server.listen[{index}]": text for index, text in enumerate(self.server.listen)}
        for key, text in {**listening, "control.listen": self.control.listen}.items():
            address = parse_address(text)
            first = doors.setdefault(address, key)
            if first != key and (address.path or address.port):
                raise SettingError(key, f"{first} is {text!r}, too")

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
            tables["routes"] = [{"backends": [value]}]
        elif value is not None:
            reader.put(tables, key, value)
    config = reader.struct(Config, tables)
    if not config.routes:
        raise reader.error("routes", "there is none; give [[routes]] with backends, or --backend URL")
    return msgspec.structs.replace(config, source=reader.source)


def warnings(config: Config) -> list[str]:
    """What is legal but maybe not meant, one line each."""
    found = []
    remote = not parse_address(config.control.listen).is_loopback
    used = {route.realm for route in config.routes}
    for name, realm in config.realms.items():
        if remote and not realm.key and (name in used or name != DEFAULT_REALM):
            found.append(f"realms.{name}.key: none, so only publishes from loopback are taken")
        if WELL_KNOWN_KEY in (*realm.key, realm.sig_key):
            found.append(f"realms.{name}: the key {WELL_KNOWN_KEY!r} is known to everyone")
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
_ROUTE_CHECKS: dict[str, Callable[[str], object]] = {
    "backends": parse_backend,
    "host": texts.host_pattern,
    "path": texts.path,
    "id": texts.word,
    "prefix": texts.channel_prefix,
    "subscribe": texts.channel,
    "rewrite": texts.path,
    "health_path": texts.path,
    "host_header": texts.host_field,
    "verify_host": texts.certificate_name,
    "headers_remove": texts.field_name,
    "link_headers": texts.client_field_name,
    "cors": texts.origin,
}
