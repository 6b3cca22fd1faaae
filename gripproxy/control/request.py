"""Requests at the control door: what they are about, who sent them, and their bodies.

Each check raises ``RefusalError`` with the answer; none of them believes a field about where the request came from.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from urllib.parse import unquote_to_bytes

from aiohttp import HttpVersion11, StreamReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from gripproxy.config import DEFAULT_REALM
from gripproxy.control.answer import JSON, TEXT, RefusalError
from gripproxy.grip.coding import TooLargeError, decode_body
from gripproxy.grip.fields import media_type, split_list, text

# Seconds between two log lines about the same.
LOG_EVERY = 60.0

# Seconds for a whole body to arrive. Publishers are near, and the libraries send at once.
BODY_TIMEOUT = 30.0

# Content types of a publish besides JSON's other names: what curl -d and scripts send without being told to. Pushpin
# looks at none. A page in a browser can send some of them anywhere; what stops it is Origin, see Control.
LENIENT_TYPES = frozenset({"", TEXT, JSON, "application/x-www-form-urlencoded", "application/octet-stream"})

# Content encodings that are decoded, one of them, and the one that changes nothing.
ENCODINGS = frozenset({"identity", "gzip", "x-gzip", "deflate"})

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# Path -> endpoint; "*" stands for a name. One slash at the end and the query do not count.
PATHS = {
    (): "about",
    ("health",): "health",
    ("ready",): "ready",
    ("metrics",): "metrics",
    ("publish",): "publish",
    ("realm", "*", "publish"): "publish",
    ("service", "*", "publish"): "publish",
    ("recover",): "recover",
    ("realm", "*", "recover"): "recover",
    ("reload",): "reload",
    ("publish", "publish"): "twice",
    ("realm", "*", "publish", "publish"): "twice",
    ("realm", "*", "publish", "*"): "channel",
    ("subscriptions", "items"): "subscriptions",
    ("subscriptions", "stream"): "subscription-stream",
    ("realm", "*", "subscriptions", "items"): "subscriptions",
    ("realm", "*", "subscriptions", "stream"): "subscription-stream",
    ("channels",): "channels",
    ("channels", "*"): "audience",
    ("realm", "*", "channels"): "channels",
    ("realm", "*", "channels", "*"): "audience",
    ("routes",): "routes",
}

# Endpoint -> methods; the others take any.
METHODS = {
    "health": ("GET", "HEAD"),
    "ready": ("GET", "HEAD"),
    "metrics": ("GET", "HEAD"),
    "publish": ("POST",),
    "recover": ("POST",),
    "reload": ("POST",),
    "subscriptions": ("GET", "HEAD"),
    "subscription-stream": ("GET",),
    "channels": ("GET", "HEAD"),
    "audience": ("GET", "HEAD"),
    "routes": ("GET", "HEAD"),
}

NOT_FOUND = {
    "nothing": "Not Found. This is the control door, for publishers: POST /publish/. Clients connect to server.listen.",
    "twice": "Not Found. The control URL (GRIP_URL) has to end before /publish/, which libraries append.",
    "channel": "Publishing to a channel's own URL (FPP) is not served; POST to /realm/NAME/publish/.",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about: an endpoint, the realm that it concerns, and the channel if it is about one."""

    endpoint: str
    realm: str = DEFAULT_REALM
    channel: str = ""


@lru_cache(maxsize=256)
def resolve(path: str) -> Target:
    """Return what a request target is about; "nothing" for a path that is not served.

    Also takes the absolute form (RFC 9112 3.2.2). Names are percent-decoded, and text as channels in fields are.
    """
    path = path.partition("?")[0].partition("#")[0]
    if not path.startswith("/"):
        path = "/" + path.partition("://")[2].partition("/")[2]
    octets = path.removesuffix("/").encode("utf-8", "surrogateescape")
    parts = [text(unquote_to_bytes(part)) for part in octets.split(b"/")[1:]]
    patterns = (_pattern(parts, *names) for names in ((), (1,), (1, 3)))
    endpoint = next((PATHS[pattern] for pattern in patterns if pattern in PATHS), "nothing")
    realm = parts[1] if len(parts) > 2 else DEFAULT_REALM
    return Target(endpoint, realm, parts[-1] if endpoint == "audience" else "")


def _pattern(parts: list[str], *names: int) -> tuple[str, ...]:
    """Put a star for the parts that are names."""
    return tuple("*" if index in names else part for index, part in enumerate(parts))


def check_method(method: str, endpoint: str) -> None:
    """Raises: RefusalError for what is not served at all, or not with this method."""
    if endpoint in NOT_FOUND:
        raise RefusalError(404, NOT_FOUND[endpoint])
    methods = METHODS.get(endpoint)
    if methods and method not in methods:
        raise RefusalError(405, f"Method not allowed: {method}.", ((b"Allow", ", ".join(methods).encode()),))


def check_content(request: web.BaseRequest) -> None:
    """Raises: RefusalError for a body that says that it is not JSON, or is encoded in a way that is not decoded."""
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
    if not is_publishable(content_type):
        raise RefusalError(415, f"Content-Type {content_type!r} is not JSON; send application/json.")
    encoding = encoding_of(request)
    names = split_list(encoding.lower()) if encoding else []
    if not ENCODINGS.issuperset(names) or len(names) - names.count("identity") > 1:
        raise RefusalError(415, f"Content-Encoding {encoding!r} is not decoded; send gzip, deflate or none.")


def encoding_of(request: web.BaseRequest) -> str:
    """Return how the body is encoded, "" where it is not."""
    headers = request.headers
    return ", ".join(headers.getall(hdrs.CONTENT_ENCODING)) if hdrs.CONTENT_ENCODING in headers else ""


@lru_cache(maxsize=256)
def is_publishable(content_type: str) -> bool:
    """Whether a publish may say this of its body: JSON in any of its names, or what tools send when not told."""
    name = media_type(content_type.encode("utf-8", "surrogateescape"))
    return name in LENIENT_TYPES or name.endswith(("/json", "+json"))


async def read_body(request: web.BaseRequest, body_max: int) -> bytes:
    """Return the body, decoded from its content encoding; the limit holds for what is decoded, too.

    Raises: RefusalError
    """
    content = request.content
    try:
        if content.is_eof():
            body = content.read_nowait(-1)
        else:
            length = request.content_length
            if length is not None and length > body_max:
                raise too_large(body_max)
            await answer_expectation(request)
            async with asyncio.timeout(BODY_TIMEOUT):
                body = await _read_parts(content, body_max)
    except TimeoutError:
        raise RefusalError(408, f"The body did not arrive within {BODY_TIMEOUT:g} s.", is_last=True) from None
    except (HttpProcessingError, web.RequestPayloadError) as error:
        raise RefusalError(400, f"The body cannot be read: {first_line(error)}", is_last=True) from error
    except (OSError, RuntimeError) as error:
        # The client has left in the middle of the body; aiohttp finds that out when it writes the answer.
        raise RefusalError(400, "The body ended early.", is_last=True) from error
    if len(body) > body_max:
        raise too_large(body_max)
    if encoding := encoding_of(request):
        try:
            return decode_body(encoding.encode("utf-8", "surrogateescape"), body, body_max)
        except TooLargeError:
            raise too_large(body_max, is_last=False) from None
        except ValueError as error:
            raise RefusalError(400, f"The body cannot be decoded: Content-Encoding {error}.") from None
    return body


async def _read_parts(content: StreamReader, body_max: int) -> bytes:
    parts, size = [], 0
    while part := await content.readany():
        parts.append(part)
        size += len(part)
        if size > body_max:
            raise too_large(body_max)
    return b"".join(parts)


def too_large(body_max: int, *, is_last: bool = True) -> RefusalError:
    """Return the answer to a body over the limit; ``is_last`` when the rest of it is not read."""
    return RefusalError(413, f"The body is larger than {body_max} bytes (control.max_body).", is_last=is_last)


def first_line(error: Exception) -> str:
    """Return the first line of an error of aiohttp's: the next ones show the offending bytes."""
    lines = str(getattr(error, "message", "") or error).splitlines()
    return lines[0] if lines else type(error).__name__


async def answer_expectation(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to go on (RFC 9110 10.1.1); a bare aiohttp server leaves that to its handler.

    Raises: RefusalError for another expectation.
    """
    expectation = request.headers.get(hdrs.EXPECT)
    if expectation is None or request.version < HttpVersion11:
        return
    if expectation.lower() != "100-continue":
        raise RefusalError(417, f"Expectation {expectation!r} is not known.", is_last=True)
    await request.writer.write(CONTINUE)


def is_local(request: web.BaseRequest) -> bool:
    """Whether the peer is on this machine: a loopback address or a Unix socket. No field of the request is believed."""
    protocol = request.protocol
    peer = protocol.peername
    if isinstance(peer, tuple):
        return is_loopback(peer[0])
    # A Unix socket's peer has no name; nor has one that has gone.
    return protocol.transport is not None


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether an address is the machine's own, IPv4 inside IPv6 included."""
    address = ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


class Malformed:
    """A log filter for what aiohttp says of requests that are not HTTP: a line a minute, with their number.

    aiohttp logs each with a traceback that shows the bytes, and so perhaps a token, to whoever sends them.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._logged_at = -LOG_EVERY
        self._unlogged = 0

    def __call__(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return True
        now = self._clock()
        if now - self._logged_at < LOG_EVERY:
            self._unlogged += 1
            return False
        peer = record.args[0] if isinstance(record.args, tuple) and record.args else "unknown"
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg = "refused a malformed request from %s: %s (%d more before it)"
        record.args = (peer, type(error).__name__, self._unlogged)
        record.exc_info = record.exc_text = None
        self._logged_at, self._unlogged = now, 0
        return True


def request_log(name: str, clock: Callable[[], float] = time.monotonic) -> logging.Logger:
    """Return a logger for ``aiohttp.web.Server(logger=...)`` that cannot be flooded from outside."""
    log = logging.getLogger(name)
    log.filters = [Malformed(clock)]
    return log
