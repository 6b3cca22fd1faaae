"""What a client's request becomes on its way to a backend: the target, and the fields.

Rules (RFC 9110 7.6, RFC 9112 3.2 and 9.6; GRIP): hop-by-hop fields and those that Connection names end here; so do the
client's own Grip-* fields (and marked ones), which only proxies may set. X-Forwarded-* and Forwarded are believed only
from trusted proxies: theirs go on, X-Forwarded-For with their own address appended, while those of all others are
replaced by what the proxy knows itself. All other fields go on, byte for byte and in their order.

Likewise only trusted proxies may name a request (its id) and its route (Pushpin-Route).

"_" counts as "-" in the names of those fields: CGI and WSGI servers can't tell the two apart.
"""

import ipaddress
import itertools
import logging
import re
import secrets
import time
from collections.abc import Iterator
from functools import lru_cache, partial

from aiohttp import HttpVersion10, HttpVersion11, web

from gripproxy.config import Server
from gripproxy.errors import AuthError
from gripproxy.grip.answer import EVENTS_TYPE
from gripproxy.grip.fields import HOP_BY_HOP, Fields, connection_options, field_values, media_type, text
from gripproxy.grip.tokens import verify
from gripproxy.routes import Route

log = logging.getLogger("gripproxy.proxy")

# Fields that end at the proxy: those of the hop, those that frame a body (the backend's request is framed anew), and
# Expect, which is answered here.
_ENDING = HOP_BY_HOP | {b"content-length", b"expect"}

# On a GRIP route the proxy has to be able to read, patch and go on with a body, so that it must not be compressed.
_ENDING_WITH_GRIP = _ENDING | {b"accept-encoding"}

# RFC 3986 3.2.2 and 3.2.3; user information is an error (RFC 9110 4.2.4).
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{0,5}))?")

# By which a GRIP proxy hands on a client's original fields; backends may look for it. Pushpin's.
MARK = b"eb9bf0f5-"

# The first letters, in lower case and with "-" for "_", of the fields that only proxies may set.
_SET_BY_PROXIES = (b"grip-", b"x-forwarded-", b"forwarded", MARK)
_SUSPECT = frozenset({b"g", b"x", b"f", b"e"})
# Of these, those that are taken from trusted proxies.
_TRUSTED = frozenset({b"x", b"f"})

# Fields that Connection can't name away: the request needs a host, and CDN-Loop has to reach every proxy (RFC 8586 2).
_STAYING = frozenset({b"host", b"cdn-loop"})

_ROUTE = b"pushpin-route"

# Schemes of requests over TLS; Pushpin's for WebSockets is the second.
_SECURE = frozenset({b"https", b"wss"})

# What a proxy in front may call a request: visible, so that it makes no second line of a log, and not long.
_is_id = re.compile(rb"[!-~]{1,128}").fullmatch


@lru_cache(maxsize=1024)
def _is_authority(text: str) -> bool:
    """Whether the text is a host with or without a port, such as everything that reads a URI understands."""
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return False
    address, port = match.groups()
    try:
        return (not address or bool(ipaddress.IPv6Address(address))) and int(port or 0) <= 65535
    except ValueError:
        return False


class MalformedRequestError(Exception):
    """The request is well-formed to the parser but not to HTTP, or too large; its connection is closed.

    ``status`` is what it is answered with.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Forwarding:
    """The rules of one proxy: whom it trusts to say who the client is, and what it adds to requests."""

    def __init__(self, server: Server) -> None:
        self._trusted = tuple(ipaddress.ip_network(network, strict=False) for network in server.trusted_proxies)
        self._scheme = b"https" if server.certificate else b"http"
        # Not a method of its own: it would be a cycle, and be left behind when the rules change.
        self.trusts = lru_cache(maxsize=4096)(partial(_is_within, self._trusted))
        self._cdn_id = server.cdn_loop
        self._need_mark = frozenset(name.lower().encode() for name in server.orig_headers_need_mark)
        self._id_name = server.request_id.encode()
        self._id_key = self._id_name.lower()
        # The first part tells processes apart, the second requests. Nobody needs to be kept from guessing one.
        self._id_start = secrets.token_hex(5).encode()
        self._id_numbers = itertools.count(1)
        self.takes_route_names = server.accept_pushpin_route
        # Fields that end here whoever sends them, as _SET_BY_PROXIES are written.
        self._replaced = frozenset({self._id_key.replace(b"_", b"-")} if self._id_name else ())
        if self.takes_route_names:
            self._replaced |= {_ROUTE}
        self._suspect = _SUSPECT | {name[:1] for name in self._replaced}

    def check(self, request: web.BaseRequest) -> tuple[str, str]:
        """Return the host and the origin-form target that a request names.

        Raises: MalformedRequestError, for what aiohttp's parser lets pass and a proxy must not
        (RFC 9112 2.5, 3.2, 6.1), and a request that has come through here before.
        """
        headers, version = request.headers, request.version
        if version != HttpVersion11 and version != HttpVersion10:
            raise MalformedRequestError(f"HTTP/{version.major}.{version.minor} is not spoken here", 505)
        coding = headers.get("Transfer-Encoding")
        if coding is not None and (coding.lower() != "chunked" or version == HttpVersion10):
            raise MalformedRequestError("Transfer-Encoding can only be chunked, in HTTP/1.1")
        hosts = headers.getall("Host", ())
        if len(hosts) > 1:
            raise MalformedRequestError("Host is given more than once")
        if not hosts and version == HttpVersion11:
            raise MalformedRequestError("Host is missing")
        host = hosts[0] if hosts else ""
        if host and not _is_authority(host):
            raise MalformedRequestError("Host is not a host")
        target = request.raw_path
        if "#" in target:
            raise MalformedRequestError("the request target has a fragment")
        if self._cdn_id and "CDN-Loop" in headers and self._is_looping(request.raw_headers):
            raise MalformedRequestError(f"the request has come through {self._cdn_id} before (CDN-Loop)", 508)
        if target.startswith("/"):
            return host, target
        scheme, separator, rest = target.partition("://")
        if separator and scheme.lower() in ("http", "https"):
            # RFC 9112 3.2.2: the target's host stands above the Host field.
            end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
            path = rest[end:]
            host = rest[:end]
            if not _is_authority(host):
                raise MalformedRequestError("the request target's host is not a host")
            return host, path if path.startswith("/") else "/" + path
        if target == "*" and request.method == "OPTIONS":
            return host, target
        raise MalformedRequestError(f"the request target is not a path: {target[:100]!r}")

    def is_websocket(self, request: web.BaseRequest) -> bool:
        """Whether a request asks to be upgraded to WebSocket (RFC 6455 4.1)."""
        return (
            "Upgrade" in request.headers
            and any(part.strip().lower() == "websocket" for part in request.headers["Upgrade"].split(","))
            and b"upgrade" in connection_options(request.raw_headers)
        )

    def is_secure(self, request: web.BaseRequest) -> bool:
        """Whether the client speaks TLS, to a trusted proxy that says so or to this one."""
        if self._trusted and "X-Forwarded-Proto" in request.headers and self.trusts(request.remote or ""):
            return request.headers.getall("X-Forwarded-Proto")[-1].lower().encode() in _SECURE
        return self._scheme == b"https"

    def id_fields(self, request: web.BaseRequest) -> Fields:
        """Return the field with the request's id, if requests have one: what a trusted proxy calls it, or a new id."""
        if not self._id_name:
            return ()
        if self._trusted and self.trusts(request.remote or ""):
            given = field_values(request.raw_headers, self._id_key)
            if len(given) == 1 and _is_id(given[0]):
                return ((self._id_name, given[0]),)
        return ((self._id_name, b"%b-%x" % (self._id_start, next(self._id_numbers))),)

    def route_name(self, request: web.BaseRequest) -> str:
        """Return the id of the route that a trusted proxy chooses for a request, "" if none does.

        Raises: MalformedRequestError when there are two: one may be the client's.
        """
        if "Pushpin-Route" not in request.headers or not self.trusts(request.remote or ""):
            return ""
        names = request.headers.getall("Pushpin-Route")
        if len(names) > 1:
            raise MalformedRequestError("Pushpin-Route is given more than once")
        return names[0]

    def fields(self, request: web.BaseRequest, route: Route, host: str, id_fields: Fields = ()) -> Fields:
        """Return the fields of the request to the backend, without those that say how its body is framed."""
        raw = request.raw_headers
        ending = _ENDING_WITH_GRIP if route.grip else _ENDING
        named: frozenset[bytes] | None = None
        forwarded: list[tuple[bytes, bytes]] | None = None
        has_host = False
        kept: list[tuple[bytes, bytes]] = []
        for field in raw:
            name = field[0].lower()
            if name in ending:
                if name == b"connection":
                    named = connection_options(raw)
                continue
            if name[:1] in self._suspect:
                plain = name.replace(b"_", b"-")
                if plain in self._replaced:
                    continue
                if plain.startswith(_SET_BY_PROXIES):
                    if plain == name and name[:1] in _TRUSTED:
                        forwarded = forwarded or []
                        forwarded.append(field)
                    continue
            if name == b"host":
                has_host = True
                if field[1] != host.encode("utf-8", "surrogateescape"):
                    kept.append((b"Host", host.encode("utf-8", "surrogateescape")))
                    continue
            kept.append(field)
        if not has_host:
            kept.insert(0, (b"Host", host.encode() or route.targets[0].authority))
        if named and not named <= {b"close", b"keep-alive", b"upgrade"}:
            kept = [field for field in kept if (name := field[0].lower()) not in named or name in _STAYING]
        peer = request.remote or ""
        kept += self._forwarded(peer, host, forwarded)
        kept += id_fields
        if self._cdn_id:
            kept = _with_cdn_id(kept, self._cdn_id.encode())
        changed = route.changed(kept)
        if route.orig_headers:
            changed += tuple(self._marked(raw, peer, is_marked=route.is_trusted))
        return changed

    def _marked(self, raw: Fields, peer: str, *, is_marked: bool) -> Iterator[tuple[bytes, bytes]]:
        """Yield the client's own fields under marked names; ``is_marked``: a GRIP proxy in front has marked them.

        Marks that come in are taken from trusted proxies only, as everything that they say.
        """
        are_taken = is_marked or self.trusts(peer)
        for field in raw:
            name = field[0].lower()
            if name.startswith(MARK):
                if are_taken:
                    yield field
            elif not is_marked and name not in self._need_mark and name not in _ENDING and name != _ROUTE:
                yield MARK + field[0], field[1]

    def _is_looping(self, fields: Fields) -> bool:
        """Whether CDN-Loop says that a request was here before; parameters are of no interest (RFC 8586 2).

        Quotes are none either: behind one that a client left open the proxy's own name would not count.
        """
        parts = (part for value in field_values(fields, b"cdn-loop") for part in text(value).split(","))
        return any(part.partition(";")[0].strip().lower() == self._cdn_id.lower() for part in parts)

    def _forwarded(self, peer: str, host: str, given: list[tuple[bytes, bytes]] | None) -> Fields:
        """Return the fields that say who the client is: the peer's own facts, behind what a trusted peer says."""
        address, scheme, origin = peer.encode(), self._scheme, host.encode("utf-8", "surrogateescape")
        others: list[tuple[bytes, bytes]] = []
        if given and self.trusts(peer):
            chain = []
            for name, value in given:
                match name.lower():
                    case b"x-forwarded-for":
                        chain.append(value)
                    case b"x-forwarded-proto":
                        scheme = value
                    case b"x-forwarded-host":
                        origin = value
                    case _:
                        others.append((name, value))
            address = b", ".join([*chain, address] if address else chain)
        fields = ((b"X-Forwarded-Proto", scheme), (b"X-Forwarded-Host", origin), *others)
        return ((b"X-Forwarded-For", address), *fields) if address else fields


def _is_within(networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...], peer: str) -> bool:
    """Whether a peer is in one of the networks."""
    if not networks:
        return False
    if not peer:
        return True  # a Unix socket: whoever may open it is this machine's
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    return any(address in network for network in networks)


def _with_cdn_id(fields: list[tuple[bytes, bytes]], cdn_id: bytes) -> list[tuple[bytes, bytes]]:
    """Return the fields with this proxy behind those that CDN-Loop names already."""
    values = [value for name, value in fields if name.lower() == b"cdn-loop" and value]
    others = [field for field in fields if field[0].lower() != b"cdn-loop"]
    return [*others, (b"CDN-Loop", b", ".join([*values, cdn_id]))]


def is_from_upstream(route: Route, request: web.BaseRequest) -> bool:
    """Whether a request comes through the GRIP proxy that the route's upstream_key is of."""
    given = request.headers.getall("Grip-Sig", ())
    if len(given) != 1 or route.upstream_key is None:
        return False
    try:
        verify((route.upstream_key,), given[0], time.time(), None)
    except AuthError as error:
        log.info("%s: not of the proxy in front: %s", route.id, error)
        return False
    return True


def grip_fields(fields: Fields) -> Fields:
    """Return those that GRIP proxies say, for one that is handed through."""
    return tuple(one for one in fields if one[0][:5].lower() == b"grip-")


def has_events(request: web.BaseRequest) -> bool:
    """Whether a request's body claims to be WebSocket events, which are the proxy's to send."""
    return request.method == "POST" and any(
        media_type(value) == EVENTS_TYPE for value in field_values(request.raw_headers, b"content-type")
    )
