"""The configuration: TOML, environment and command line, read once into frozen structs.

Every default stands here and nowhere else. What ``load`` returns is legal: whoever reads it need not check again. Keys
stay texts, read from their files; the modules that use them make keys of them.
"""

import difflib
import ipaddress
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct, field

from gripproxy.errors import ConfigError

ENVIRONMENT_PREFIX = "GRIPPROXY__"
DEFAULT_REALM = "default"
# What Pushpin ships with: everybody knows it.
WELL_KNOWN_KEY = "changeme"

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]
PositiveSeconds = Annotated[float, Meta(gt=0)]


class Secret(str):
    """The text of a key, with ``file:`` already replaced by what the file holds; never shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(...)"


class File(str):
    """The path of a file that exists; a relative one starts from the folder of the configuration file."""

    __slots__ = ()


class SettingError(ValueError):
    """A struct's field holds what it must not; ``load`` turns it into a ConfigError."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


class Server(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where and how clients are served."""

    # host:port, [ipv6]:port, :port (every interface) or unix:/path. Pushpin's port, on loopback only.
    listen: tuple[str, ...] = ("127.0.0.1:7999",)
    # Connections the kernel holds until they are accepted. Large: all clients of a host may reconnect at once.
    backlog: Positive = 4096
    # Networks (CIDR) whose X-Forwarded-* fields are believed and appended to; those of others are replaced.
    trusted_proxies: tuple[str, ...] = ()
    # Seconds an idle connection stays open. Above the 60 s that load balancers keep theirs.
    keepalive_timeout: Seconds = 75.0
    # Seconds over which held connections are ended at shutdown, so that clients do not come back all at once.
    shutdown_timeout: Seconds = 10.0
    # PEM files. With a certificate clients are served over TLS; the key may stand in the certificate's file.
    certificate: File = File("")
    certificate_key: File = File("")

    def __post_init__(self) -> None:
        for index, text in enumerate(self.listen):
            _check(f"listen[{index}]", parse_address, text)
        for index, text in enumerate(self.trusted_proxies):
            _check(f"trusted_proxies[{index}]", _network, text)
        if self.certificate_key and not self.certificate:
            raise SettingError("certificate", "is missing, though certificate_key is given")


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

    def __post_init__(self) -> None:
        _check("listen", parse_address, self.listen)


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
    # Bytes not yet taken by one client before it is cut: it is dead or too slow for its channels.
    unsent: Positive = 1_048_576
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

    # http(s)://host[:port], tried as `balance` says. The only setting without default.
    backends: tuple[str, ...]
    # A host without port, "*.example.org" (any host below it) or "*".
    host: str = "*"
    # A path as it is in the URL; "/a" also takes "/a/b" and "/a?x", never "/abc".
    path: str = "/"
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
    # What replaces the matched path towards the backend.
    rewrite: str | None = None
    # Host field towards the backend; empty = what the client sent.
    host_header: str = ""
    headers_set: dict[str, str] = field(default_factory=dict)
    headers_remove: tuple[str, ...] = ()
    # Origins that get CORS fields, or "*".
    cors: tuple[str, ...] = ()
    # The first backend that can be reached, or each in turn.
    balance: Literal["first", "round-robin"] = "first"
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
    ca: File = File("")
    client_cert: File = File("")
    client_key: File = File("")
    # Reasons in the bodies of error answers; None = the global `debug`.
    debug: bool | None = None

    def __post_init__(self) -> None:
        if not self.backends:
            raise SettingError("backends", "needs at least one URL")
        for index, url in enumerate(self.backends):
            _check(f"backends[{index}]", parse_backend, url)
        for key, pattern, meaning in _ROUTE_TEXTS:
            value = getattr(self, key)
            if value is not None and (value or key in ("host", "path", "rewrite")) and not pattern.fullmatch(value):
                raise SettingError(key, f"{meaning}, not {value!r}")
        for name, value in self.headers_set.items():
            _check("headers_set", _header_name, name)
            if not _HEADER_VALUE.fullmatch(value):
                raise SettingError("headers_set", f"{name} has a control character or a blank at an end")
        for index, name in enumerate(self.headers_remove):
            _check(f"headers_remove[{index}]", _header_name, name)
        for index, origin in enumerate(self.cors):
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise SettingError(
                    f"cors[{index}]", f'must be "*" or scheme://host[:port] in lower case, not {origin!r}'
                )
        if bool(self.client_key) and not self.client_cert:
            raise SettingError("client_cert", "is missing, though client_key is given")


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it."""

    server: Server = Server()
    control: Control = Control()
    log: Log = Log()
    limits: Limits = Limits()
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
            if not _REALM_NAME.fullmatch(name):
                raise SettingError(f"realms.{name}", "a realm's name is letters, digits and . _ - ~")
            if WELL_KNOWN_KEY in realm.key and not parse_address(self.control.listen).is_loopback:
                reason = f"{WELL_KNOWN_KEY!r} is known to everyone, and control.listen is not on loopback"
                raise SettingError(f"realms.{name}.key", reason)
        seen: dict[tuple[str, str], int] = {}
        for index, route in enumerate(self.routes):
            if route.realm not in self.realms:
                raise SettingError(
                    f"routes[{index}].realm", f"there is no realm {route.realm!r}{_hint(route.realm, self.realms)}"
                )
            first = seen.setdefault((route.host.lower(), route.path), index)
            if first != index:
                raise SettingError(f"routes[{index}].path", f"routes[{first}] has the same host and path")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a host (empty = every interface) and port, or the path of a Unix socket."""

    host: str
    port: int
    path: str = ""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """``host:port``, ``[ipv6]:port``, ``:port``, ``*:port`` or ``unix:/path``.

    Raises: ValueError
    """
    if text.startswith("unix:"):
        if len(text) == len("unix:"):
            raise ValueError("unix: needs a path")
        return Address("", 0, text.removeprefix("unix:"))
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError(f"must be host:port, [ipv6]:port, :port or unix:/path, not {text!r}")
    host = match["ipv6"] or match["host"]
    if match["ipv6"]:
        ipaddress.IPv6Address(host)
    return Address("" if host == "*" else host, int(match["port"]))


def parse_backend(url: str) -> tuple[str, str, int]:
    """Scheme, host (IPv6 without brackets) and port of ``http(s)://host[:port]``.

    Raises: ValueError
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or not _HOSTNAME.fullmatch(parts.hostname):
        raise ValueError(f"must be http(s)://host[:port], not {_without_password(url)!r}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not carry a user name or password; set an Authorization field with headers_set")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"must end after the port (a path is set with rewrite), not {url!r}")
    return parts.scheme, parts.hostname, _PORTS[parts.scheme] if parts.port is None else parts.port


def load(
    path: Path | None, environment: Mapping[str, str] = {}, overrides: Mapping[str, Any] = {}
) -> Config:  # the defaults are never written to
    """The configuration from a file, overridden by the environment, overridden by the command line.

    Overrides are keyed like ``server.listen``; None is passed over. ``backend`` stands for one route that takes every
    request to that URL, in place of all routes of the file.

    Raises: ConfigError, ``FILE: KEY: reason``, in one line.
    """
    reader = _Reader(path)
    tables = reader.tables()
    for name in sorted((name for name in environment if name.startswith(ENVIRONMENT_PREFIX)), key=_natural):
        reader.put_text(tables, name, environment[name])
    for key, value in overrides.items():
        if key == "backend" and value is not None:
            tables["routes"] = [{"backends": [value]}]
        elif value is not None:
            table, _, name = key.rpartition(".")
            (tables.setdefault(table, {}) if table else tables)[name] = value
    config: Config = reader.struct(Config, tables, "")
    if not config.routes:
        raise reader.error("routes", "there is none; give [[routes]] with backends, or --backend URL")
    return config


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
    for index, route in enumerate(config.routes):
        if not route.verify and any(url.startswith("https:") for url in route.backends):
            found.append(f"routes[{index}].verify: the backend's certificate is not verified")
    return found


def setting_types(kind: type[Struct]) -> dict[str, Any]:
    """The settings of a table and their types."""
    return {one.name: one.type for one in msgspec.structs.fields(kind) if one.name != "source"}


class _Reader:
    """Tables of one file into structs; keeps the names that errors need."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._folder = path.parent if path is not None else Path()

    def error(self, key: str, reason: str, source: str = "") -> ConfigError:
        source = source or (str(self._path) if self._path is not None else "")
        return ConfigError(": ".join(" ".join(part.split()) for part in (source, key, reason) if part))

    def tables(self) -> dict[str, Any]:
        if self._path is None:
            return {}
        try:
            return tomllib.loads(self._path.read_bytes().decode())
        except OSError as error:
            raise self.error("", f"cannot be read: {error.strerror}") from None
        except (UnicodeDecodeError, RecursionError) as error:
            raise self.error("", f"is not TOML: {error}") from None
        except tomllib.TOMLDecodeError as error:
            raise self.error("", f"is not TOML: {error}") from None

    def struct(self, kind: type[Struct], value: Any, path: str) -> Any:
        """A struct from a table, each value named by its own key in errors."""
        if not isinstance(value, Mapping):
            raise self.error(path, f"must be a table, not {value!r}")
        types = setting_types(kind)
        values: dict[str, Any] = {"source": str(self._path or "")} if kind is Config else {}
        for name, part in value.items():
            key = f"{path}.{name}" if path else name
            if name not in types:
                raise self.error(key, f"there is no such setting{_hint(name, types)}")
            values[name] = self._value(types[name], part, key)
        try:
            return kind(**values)
        except SettingError as error:
            raise self.error(f"{path}.{error.key}" if path else error.key, error.reason) from None
        except TypeError:
            missing = next(one.name for one in msgspec.structs.fields(kind) if one.required and one.name not in values)
            raise self.error(f"{path}.{missing}", "is missing") from None

    def _value(self, kind: Any, value: Any, key: str) -> Any:
        inner = _inner_struct(kind)
        if inner is None:
            return self._leaf(kind, value, key)
        if get_origin(kind) is dict:
            if not isinstance(value, Mapping):
                raise self.error(key, "must be a table of tables")
            return {name: self.struct(inner, part, f"{key}.{name}") for name, part in value.items()}
        if get_origin(kind) is tuple:
            if not isinstance(value, list | tuple):
                raise self.error(key, f"must be a list of tables, [[{key}]]")
            return tuple(self.struct(inner, part, f"{key}[{index}]") for index, part in enumerate(value))
        return self.struct(inner, value, key)

    def _leaf(self, kind: Any, value: Any, key: str, source: str = "", strict: bool = True) -> Any:
        if get_origin(kind) is tuple and isinstance(value, str):
            value = [value]  # a list of one is often written as its one text
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise self.error(key, f"must be one of {', '.join(get_args(kind))}, not {value!r}", source)
        try:
            converted = msgspec.convert(value, kind, strict=strict, dec_hook=self._custom)
        except msgspec.ValidationError as error:
            reason, _, where = str(error).partition(" - at `$")
            shown = "" if "Secret" in str(kind) or "File" in str(kind) else f", not {value!r}"
            raise self.error(key + where.rstrip("`"), reason[:1].lower() + reason[1:] + shown, source) from None
        if isinstance(converted, float) and not math.isfinite(converted):
            raise self.error(key, "must be finite", source)
        return converted

    def _custom(self, kind: type, value: Any) -> Any:
        if not isinstance(value, str):
            raise TypeError("expected a text")
        if kind is File:
            return File(self._existing(value)) if value else File("")
        if not value.startswith("file:"):
            return Secret(value)
        try:
            content = self._existing(value.removeprefix("file:")).read_text("utf-8", "surrogateescape").strip()
        except OSError as error:
            raise ValueError(f"the key's file cannot be read: {error.strerror}") from None
        if not content:
            raise ValueError("the key's file is empty")
        return Secret(content)

    def _existing(self, text: str) -> Path:
        path = self._folder / Path(text).expanduser()
        if not path.is_file():
            raise ValueError(f"there is no file {str(path)!r}")
        return path

    def put_text(self, tables: dict[str, Any], variable: str, text: str) -> None:
        """Set what one environment variable names; its text is read as its type needs."""
        kind: Any = Config
        at: Any = tables
        name: Any = ""
        place: Any = tables
        parts = variable.removeprefix(ENVIRONMENT_PREFIX).split("__")
        for depth, part in enumerate(parts):
            place = at
            name, kind = self._step(kind, place, part, variable)
            if depth < len(parts) - 1:
                if _inner_struct(kind) is None:
                    raise self.error(variable, f"{part} is not a table", "environment")
                empty: Any = [] if get_origin(kind) is tuple else {}
                at = place[name] if isinstance(place, list) else place.setdefault(name, empty)
        place[name] = self._from_text(kind, text, variable)

    def _step(self, kind: Any, place: Any, part: str, variable: str) -> tuple[Any, Any]:
        """The key that a part of a variable's name means in a table, and the type of what is there."""
        if get_origin(kind) is dict:
            return _matching_name(part, place), _inner_struct(kind)
        if get_origin(kind) is tuple:
            if not part.isdecimal() or int(part) > len(place):
                raise self.error(variable, f"{part} must be an index up to {len(place)}", "environment")
            if int(part) == len(place):
                place.append({})
            return int(part), _inner_struct(kind)
        types = setting_types(kind)
        name = part.lower()
        if name not in types:
            raise self.error(variable, f"there is no setting {name!r}{_hint(name, types)}", "environment")
        if not isinstance(place, dict):
            raise self.error(variable, "the file has something else than a table there", "environment")
        return name, types[name]

    def _from_text(self, kind: Any, text: str, variable: str) -> Any:
        value: Any = text
        is_list = get_origin(kind) is tuple and _inner_struct(kind) is None
        if is_list and not text.lstrip().startswith("["):
            # A key may hold commas, so a list of keys is either one text or JSON.
            value = [text] if "Secret" in str(kind) else [one for one in map(str.strip, text.split(",")) if one]
        elif is_list or get_origin(kind) is dict or _inner_struct(kind) is not None:
            try:
                value = msgspec.json.decode(text)
            except msgspec.DecodeError as error:
                raise self.error(variable, f"is not JSON: {error}", "environment") from None
        if _inner_struct(kind) is None:
            # Converted here to name the variable in an error, and kept as plain text where conversion reads a file.
            converted = self._leaf(kind, value, variable, "environment", strict=False)
            return value if "Secret" in str(kind) or "File" in str(kind) else converted
        return value


def _inner_struct(kind: Any) -> type[Struct] | None:
    """The struct that a setting's type is or holds, if any."""
    for one in (kind, *get_args(kind)):
        if isinstance(one, type) and issubclass(one, Struct):
            return one
    return None


def _matching_name(part: str, place: Mapping[str, Any]) -> str:
    """The name of a realm from a variable, which shells only allow letters, digits and underscores in."""
    for name in place:
        if name.replace("-", "_").replace(".", "_").lower() == part.lower():
            return name
    return part.lower() if part.isupper() else part


def _natural(variable: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in variable.split("__")]


def _hint(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, 1, 0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _check(key: str, parse: Callable[[str], object], text: str) -> None:
    try:
        parse(text)
    except ValueError as error:
        raise SettingError(key, str(error)) from None


def _network(text: str) -> None:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"must be an IP network like 10.0.0.0/8, not {text!r}") from None


def _header_name(name: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is not a field name")
    if name.lower() in _FRAMING:
        raise ValueError(f"{name} is this proxy's to set" + (" (see host_header)" if name.lower() == "host" else ""))


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//...@", url)


_PORTS = {"http": 80, "https": 443}
_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>\*|[A-Za-z0-9._-]*)):(?P<port>[0-9]{1,5})")
_HOSTNAME = re.compile(r"[A-Za-z0-9._:-]+")
_REALM_NAME = re.compile(r"[A-Za-z0-9._~-]+")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"(?:[^\x00-\x20\x7f](?:[^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?)?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]+)?")
_FRAMING = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
_ROUTE_TEXTS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (
        "host",
        re.compile(r"\*|(?:\*\.)?[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]"),
        'must be a host without port, "*.host" or "*"',
    ),
    ("path", re.compile(r"/[!-\"$->@-~]*"), "must begin with / and be written as in a URL, without query"),
    ("rewrite", re.compile(r"/[!-\"$->@-~]*"), "must begin with / and be written as in a URL, without query"),
    ("host_header", re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?"), "must be host or host:port"),
    ("prefix", re.compile(r"[^\x00-\x1f\x7f]+"), "must not hold control characters"),
    ("id", re.compile(r"[^\x00-\x20\x7f]+"), "must not hold blanks or control characters"),
)
