"""The small grammars of settings: addresses, URLs, hosts, paths, fields, origins.

Each function takes one text and raises ValueError with what it must be; those named ``parse_`` return what it says.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

# The realm that is always there.
DEFAULT_REALM = "default"

_PORTS = {"http": 80, "https": 443}
_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>\*|[A-Za-z0-9._-]*)):(?P<port>[0-9]{1,5})")
_ENDPOINT = re.compile(r"(?:tcp://(?P<address>[!-~]+)|ipc://(?P<path>/[!-~]+))")
_BACKEND = re.compile(r"[!-~]+")
_HOSTNAME = re.compile(r"[a-z0-9._:-]+")
# Fields that only this proxy can know for the connection it makes.
_FRAMING = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
# Fields that proxies set, and what begins so.
_OF_PROXIES = ("grip-", "x-forwarded-", "forwarded", "eb9bf0f5-", "pushpin-route")
# Those that requests for links have anyway.
_OF_LINKS = ("grip-", "x-forwarded-proto", "pushpin-route", "cdn-loop")
_NO_FIELD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_EVERYWHERE = frozenset(("", "0.0.0.0", "::"))  # noqa: S104  # is compared with
_LOCALHOST = frozenset(("localhost", "127.0.0.1", "::1"))
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


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

    def is_at(self, host: str, port: int) -> bool:
        """Whether who connects to a host and port comes here, as far as that shows without asking for names."""
        if self.path or self.port != port:
            return False
        if self.host in _EVERYWHERE:
            return Address(host, port).is_loopback
        return self.host == host or ("localhost" in (self.host, host) and {self.host, host} <= _LOCALHOST)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """``host:port``, ``[ipv6]:port``, ``:port``, ``*:port`` or ``unix:/path``.

    Raises: ValueError
    """
    if text.startswith("unix:") and text != "unix:":
        return Address("", 0, text.removeprefix("unix:"))
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535 or (match["ipv6"] and not _is_ipv6(match["ipv6"])):
        raise ValueError(f"must be host:port, [ipv6]:port, :port or unix:/path, not {text!r}")
    host = match["ipv6"] or match["host"]
    return Address("" if host == "*" else host, int(match["port"]))


def parse_endpoint(text: str) -> Address:
    """A ZeroMQ endpoint: ``tcp://host:port``, ``tcp://*:port`` (every interface) or ``ipc:///path``.

    Raises: ValueError
    """
    expected = f"must be tcp://host:port, tcp://*:port or ipc:///path, not {text!r}"
    match = _ENDPOINT.fullmatch(text)
    if match is None:
        raise ValueError(expected)
    if match["path"]:
        return Address("", 0, match["path"])
    try:
        address = parse_address(match["address"])
    except ValueError:
        raise ValueError(expected) from None
    # ZeroMQ takes port 0 for any that is free, and nobody would know which.
    if address.port == 0 or match["address"].startswith(":"):
        raise ValueError(expected)
    return address


def parse_backend(url: str) -> tuple[str, str, int]:
    """Scheme, host (IPv6 without brackets) and port of ``http(s)://host[:port]``.

    Raises: ValueError, without the password that somebody may have put into the URL.
    """
    shown = "...@" * ("@" in url) + url.rpartition("@")[2]
    expected = f"must be http(s)://host[:port], not {shown!r}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(expected) from None
    # urlsplit drops line ends and tabs, and takes any characters for a host.
    if not _BACKEND.fullmatch(url) or parts.scheme not in _PORTS or not _HOSTNAME.fullmatch(parts.hostname or ""):
        raise ValueError(expected)
    if "@" in parts.netloc:
        raise ValueError("must not carry a user name or password; set an Authorization field with headers_set")
    if parts.path not in ("", "/") or "?" in url or "#" in url:
        raise ValueError(f"must end after the port (rewrite sets a path), not {shown!r}")
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError(expected)
    return parts.scheme, parts.hostname or "", _PORTS[parts.scheme] if port is None else port


# What a rediss:// URL may say in its query, as the library takes it. More of it would change how the bus reads and
# writes, and a name that the library does not know ends it.
BUS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})


def bus(url: str) -> None:
    """The URL of a bus; it may hold a password, so that the error does not show it."""
    if url.lower() in ("local", "local:"):
        return
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right or not re.fullmatch(r"(?:/[0-9]{0,4})?", parts.path) or not _BACKEND.fullmatch(url):
        raise ValueError("must be local: or redis(s)://[user:password@]host[:port][/db]")
    if parts.fragment:
        raise ValueError("must not have a #; one in the password is %23")
    if parts.query:
        names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
        if parts.scheme != "rediss" or not names or not BUS_OPTIONS.issuperset(names):
            raise ValueError(f"must have no query, but for {', '.join(sorted(BUS_OPTIONS))} of rediss://")


def network(text: str) -> None:
    """An IP address or network in CIDR notation."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"must be an IP network like 10.0.0.0/8, not {text!r}") from None


def field_name(text: str) -> None:
    """A field that a route may set or remove."""
    any_field_name(text)
    if text.lower() == "cdn-loop":
        raise ValueError(f"{text} must reach every proxy (RFC 8586, 2), see server.cdn_loop")
    if text.lower() in _FRAMING:
        raise ValueError(f"{text} is this proxy's to set" + (", see host_header" if text.lower() == "host" else ""))


def any_field_name(text: str) -> None:
    """A field that a request may have."""
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"{text!r} is not a field name")


def request_id(text: str) -> None:
    """A field for the id of requests, or nothing."""
    if text:
        field_name(text)
        if text.lower().replace("_", "-").startswith(_OF_PROXIES):
            raise ValueError(f"{text} says something else of a request")


def client_field_name(text: str) -> None:
    """A field that clients send and that may go into requests of the proxy's own."""
    field_name(text)
    if text.lower().startswith(_OF_LINKS):
        raise ValueError(f"{text} is this proxy's to set")


def field_value(text: str) -> None:
    """The value of a field; it may be a credential, so that the error does not show it."""
    if _NO_FIELD_VALUE.search(text) or text != text.strip(" \t"):
        raise ValueError("must not hold control characters, nor blanks at its ends")


def _pattern(pattern: str, expected: str) -> Callable[[str], None]:
    compiled = re.compile(pattern)

    def check(text: str) -> None:
        if not compiled.fullmatch(text):
            raise ValueError(f"must be {expected}, not {text!r}")

    return check


_HOST = r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]"

# The dot that may end a host is left out before hosts are compared, so a pattern with one would match nothing.
host_pattern = _pattern(rf"(?!.*\.\Z)(?:|\*|\*\.[A-Za-z0-9._-]+|{_HOST})", 'a host without port, "*.host" or "*"')
host_field = _pattern(rf"(?:{_HOST})(?::[0-9]+)?", "host or host:port")
certificate_name = _pattern(r"|[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+", "a host name or an address, without port")
path = _pattern(r"/[!-\"$->@-~]*", "a path as in a URL, from its / and without query")
# RFC 8586 2: a host with or without port, or a pseudonym.
cdn_id = _pattern(rf"|(?:{_HOST})(?::[0-9]+)?|[A-Za-z0-9!#$%&'*+.^_`|~-]+", "a host or a word without blanks")
origin = _pattern(rf"\*|[a-z][a-z0-9+.-]*://(?:{_HOST})(?::[0-9]+)?", '"*" or scheme://host[:port]')
channel = _pattern(r"[^\x00-\x1f\x7f]+", "without control characters and not empty")
channel_prefix = _pattern(r"[^\x00-\x1f\x7f]*", "without control characters")
word = _pattern(r"[^\x00-\x20\x7f]*", "without blanks and control characters")
file_mode = _pattern(r"(?:0?[0-7]{3})?", 'octal digits like "0660"')
realm_name = _pattern(r"[A-Za-z0-9._~-]+", "letters, digits and . _ - ~")


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
