"""Host, path, protocol and TLS -> Route: the configuration's routes with all resolved that a request needs.

The rules of the exact host come first, then those of the longest wildcard, then those of ``*``. Within each Pushpin's
order holds: those for the request's protocol alone, then the longest path, then those for its TLS alone. For each kind
of request they stand in one flat tuple for each host, so that a lookup is a dictionary and mostly one comparison.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from gripproxy import config
from gripproxy.grip.fields import Fields, text
from gripproxy.grip.tokens import Key, Signer
from gripproxy.targets import Health, Kind, Target

# Host fields remembered. Clients choose what they send, so the memory has an end; it is emptied when full.
_REMEMBERED_HOSTS = 1024


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes and how; the names and units are those of ``config.Route``.

    ``host`` is empty where a request names the route by its id: its links are for the same route then, since its own
    host says nothing. ``request_id`` is the name of the field with a request's id, in lower case; b"" = there is none.
    ``signer`` makes its Grip-Sig and is None where ``grip`` is False; ``signed_with`` says whose key that is.
    ``trusted`` is the same route for requests of a GRIP proxy in front, whose Grip-Sig ``upstream_key`` verifies: it
    hands requests and responses through, instructions included. Both are None where no key is given.

    ``subscribe`` and what concerns connections (``verify`` to ``public_only``) are the route's own settings, which a
    target may differ from: see `at`. Where targets differ in how they take WebSockets, ``parts`` has a route for each
    kind, with those targets alone.
    """

    id: str
    host: str
    path: str
    protocol: str
    tls: bool | None
    realm: str
    targets: tuple[Target, ...]
    pings: str
    prefix: str
    subscribe: tuple[str, ...]
    grip: bool
    session: bool
    rewrite: str | None
    headers_set: tuple[tuple[bytes, bytes], ...]
    headers_remove: frozenset[bytes]
    orig_headers: bool
    request_id: bytes
    link_headers: frozenset[bytes]
    cors: frozenset[str]
    balance: str
    health: Health | None
    connect_timeout: float
    response_timeout: float
    idle_timeout: float
    max_request_body: int
    signer: Signer | None
    signed_with: str
    upstream_key: Key | None
    verify: bool
    ca: str
    client_cert: str
    client_key: str
    public_only: bool
    debug: bool
    is_trusted: bool = False
    # Its id where it was given one, for statistics; others count as one there.
    given_id: str = ""
    trusted: "Route | None" = field(default=None, compare=False, repr=False)
    target: Target | None = None
    parts: "dict[Kind, Route]" = field(default_factory=dict, compare=False, repr=False)
    variants: "dict[Target, Route]" = field(default_factory=dict, compare=False, repr=False)

    def at(self, target: Target) -> "Route":
        """The route for what a target's response begins: with the target's settings where it has its own."""
        return self.variants.get(target, self) if self.variants else self

    def part(self, kind: Kind) -> "Route | None":
        """The route with those targets alone that take WebSockets in this way; None where there are none."""
        if self.parts:
            return self.parts.get(kind)
        return self if self.targets[0].kind == kind else None

    def is_of(self, other: "Route") -> bool:
        """Whether both are one route of the configuration, as it is or with what one of its targets has."""
        return self.targets is other.targets

    @property
    def modes(self) -> frozenset[str]:
        """How WebSockets reach its targets; clients must not send events where they are sent as such."""
        return frozenset(target.websocket for target in self.targets)

    def rewritten(self, target: str) -> str:
        """The request target (path and query) as the backend is to see it."""
        if self.rewrite is None:
            return target
        prefix = self.path.removesuffix("*")
        rest = target[len(prefix) :]
        is_open = prefix != self.path or prefix.endswith("/")
        if not target.startswith(prefix) or (rest and not is_open and rest[0] not in "/?"):
            return target  # of a request that names the route, whose path may be any
        if self.rewrite.endswith("/") and rest.startswith("/"):
            rest = rest[1:]
        elif not self.rewrite.endswith("/") and self.path.endswith("/") and rest and rest[0] != "?":
            rest = "/" + rest
        return self.rewrite + rest

    def changed(self, fields: Iterable[tuple[bytes, bytes]]) -> Fields:
        """Return a request's fields as the route sets and removes them."""
        if not self.headers_set and not self.headers_remove:
            return tuple(fields)
        changed = self.headers_remove | {name.lower() for name, _ in self.headers_set}
        return (*(field for field in fields if field[0].lower() not in changed), *self.headers_set)

    def id_fields(self, fields: Fields) -> Fields:
        """Return the field with a request's id, of all its fields."""
        return tuple(one for one in fields if one[0].lower() == self.request_id) if self.request_id else ()


def log_extra(id_fields: Fields) -> dict[str, str]:
    """Return what log records about a request have beside their message: its id."""
    return {"request_id": text(id_fields[0][1])} if id_fields else {}


class Routes:
    """All routes. ``random_key`` signs Grip-Sig where no key is configured: libraries take its presence as proxied.

    A route that is as it was among ``earlier`` ones is the very same.

    Raises: ConfigError when a key is none, or cannot sign where it has to.
    """

    __slots__ = ("_all", "_exact", "_known", "_named", "_remembered", "_signers", "_wildcards", "generated_fields")

    def __init__(self, configuration: config.Config, random_key: bytes, earlier: "Routes | None" = None) -> None:
        known = earlier._signers if earlier is not None else {}
        signers = _Signers(configuration, Key.from_bytes(random_key), known)
        made = [_resolve(configuration, index, signers) for index in range(len(configuration.routes))]
        if earlier is not None:
            made = [route if (old := earlier.current(route)) != route else old for route in made]
        self._all = tuple(made)
        self._signers: dict[tuple[Key, str], Signer] = signers.made
        # By id; where several have the same, by id and place.
        ids = Counter(route.id for route in made)
        self._known = {route.id if ids[route.id] == 1 else _place(route): route for route in made}
        by_host: dict[str, list[Route]] = {}
        for route in self._all:
            by_host.setdefault(route.host, []).append(route)
        # Ids that were given; those of routes without one say where they are found, and are nobody's to name.
        names = (setting.id for setting in configuration.routes)
        self._named = {name: _by_name(route) for name, route in zip(names, self._all, strict=True) if name}
        by_host.pop("", None)
        tables = [{host: _rules(routes, *kind) for host, routes in by_host.items()} for kind in _KINDS]
        # ".example.org" and "" ("*" without its star): every host that ends so.
        self._wildcards = [
            sorted(((host[1:], rule) for host, rule in rules.items() if host[:1] == "*"), key=lambda one: -len(one[0]))
            for rules in tables
        ]
        self._exact = [{host: rule for host, rule in rules.items() if host[:1] != "*"} for rules in tables]
        remembered: list[dict[str, _Rules]] = [{} for _ in _KINDS]
        if all(rules == tables[0] for rules in tables):
            remembered = [remembered[0] for _ in _KINDS]  # no route asks for a kind
        self._remembered = tuple(remembered)
        # What requests say that the proxy makes of itself (RFC 8586 2).
        token = configuration.server.cdn_loop.encode()
        self.generated_fields: Fields = ((b"CDN-Loop", token),) if token else ()

    def match(self, host: str, path: str, *, is_websocket: bool = False, is_secure: bool = False) -> Route | None:
        """The route for a Host field as received (with or without port) and a request target as received.

        ``is_secure``: the client speaks TLS.
        """
        kind = is_websocket + 2 * is_secure
        rules = self._remembered[kind].get(host)
        if rules is None:
            rules = self._remember(host, kind)
        for prefix, length, route in rules:
            if path.startswith(prefix) and (length == len(path) or not length or path[length] in "/?"):
                return route
        return None

    def named(self, name: str) -> Route | None:
        """The route whose id was given so, for a request that names it; whatever its host, path and protocol."""
        return self._named.get(name)

    def current(self, route: Route, *, is_whole: bool = False) -> Route:
        """The route that has this one's id now; what else it takes too, where several have the id.

        It is itself where there is none, or one that its holds can't go on by: another realm has other channels, and
        the two ways of WebSockets are different conversations. One with the settings of a target becomes that with
        those that the target has now, or with ``is_whole`` the whole route, for requests that any target may answer.
        """
        named = None if route.host else self._named.get(route.id)
        now = named or self._known.get(route.id) or self._known.get(_place(route))
        if now is None or now.realm != route.realm or not now.modes & route.modes:
            return route
        if route.target is not None and not is_whole:
            own = next((target for target in now.targets if str(target) == str(route.target)), None)
            return route if own is None else now.at(own)
        return now if not route.is_trusted else now.trusted or route

    def become(self, other: "Routes") -> None:
        """Take the place of these with others, from the next request on."""
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    def __iter__(self) -> Iterator[Route]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def _remember(self, host: str, kind: int) -> "_Rules":
        name = host_name(host)
        rules = self._exact[kind].get(name, ())
        for suffix, more in self._wildcards[kind]:
            if name.endswith(suffix):
                rules += more
        remembered = self._remembered[kind]
        if len(remembered) >= _REMEMBERED_HOSTS:
            remembered.clear()
        remembered[host] = rules
        return rules


# Path prefix, the length at which a segment has to end (0 = anything may follow) and the route, the best first.
_Rules = tuple[tuple[str, int, Route], ...]

# Kinds of requests: whether for a WebSocket, whether over TLS; the place of each is what `match` computes.
_KINDS = ((False, False), (True, False), (False, True), (True, True))
_PROTOCOLS = {False: ("any", "http"), True: ("any", "websocket")}


class _Signers:
    """Keys of the configuration as keys, each signer once: routes of a realm share their signed tokens."""

    def __init__(self, configuration: config.Config, random_key: Key, earlier: dict[tuple[Key, str], Signer]) -> None:
        self._config = configuration
        self._random_key = random_key
        self._earlier = earlier
        self.made: dict[tuple[Key, str], Signer] = {}
        self._keys = {
            name: tuple(self.key(text, f"realms.{name}.key") for text in realm.key)
            for name, realm in configuration.realms.items()
        }

    def key(self, text: str, name: str) -> Key:
        try:
            return Key.from_text(text)
        except ValueError as error:
            raise self._config.error(name, str(error)) from None

    def signer(self, route: config.Route, path: str) -> tuple[Signer, str]:
        """The signer, and the setting its key is from: the route's sig_key, the realm's, the realm's key, or none."""
        realm = self._config.realms[route.realm]
        issuer = route.sig_iss or realm.sig_iss or route.realm
        name = "a random key"
        # With only public keys publishers alone sign: nobody could check Grip-Sig with them anyway.
        key = next((key for key in self._keys[route.realm] if key.can_sign), None)
        if route.sig_key:
            name = f"{path}.sig_key"
            key = self._signing(route.sig_key, name)
        elif realm.sig_key:
            name = f"realms.{route.realm}.sig_key"
            key = self._signing(realm.sig_key, name)
        elif key is not None:
            name = f"realms.{route.realm}.key"
        else:
            key = self._random_key
        signer = self._earlier.get((key, issuer)) or Signer(key, issuer)
        return self.made.setdefault((key, issuer), signer), name

    def _signing(self, text: str, name: str) -> Key:
        key = self.key(text, name)
        if not key.can_sign:
            raise self._config.error(name, "a public key cannot sign; give the private one")
        return key


def _resolve(configuration: config.Config, index: int, signers: _Signers) -> Route:
    route = configuration.routes[index]
    name = f"routes[{index}]"
    limit = configuration.limits.request_body if route.max_request_body is None else route.max_request_body
    host = route.host.lower()
    signer, signed_with = signers.signer(route, name) if route.grip else (None, "")
    made = Route(
        id=route.id or _id_of(route),
        given_id=route.id,
        host=host,
        path=route.path,
        protocol=route.protocol,
        tls=route.tls,
        realm=route.realm,
        targets=tuple(map(Target.from_setting, route.complete_backends())),
        pings=route.pings,
        prefix=route.prefix,
        subscribe=route.subscribe,
        grip=route.grip,
        session=route.session and route.grip,
        rewrite=route.rewrite,
        headers_set=tuple((name.encode(), value.encode()) for name, value in route.headers_set.items()),
        headers_remove=frozenset(name.lower().encode() for name in route.headers_remove),
        orig_headers=route.orig_headers,
        request_id=configuration.server.request_id.lower().encode(),
        link_headers=frozenset(name.lower().encode() for name in route.link_headers),
        cors=frozenset(origin.lower() for origin in route.cors),
        balance=route.balance,
        health=_health(route, host),
        connect_timeout=route.connect_timeout,
        response_timeout=route.response_timeout,
        idle_timeout=route.idle_timeout,
        max_request_body=limit,
        signer=signer,
        signed_with=signed_with,
        upstream_key=signers.key(route.upstream_key, f"{name}.upstream_key") if route.upstream_key else None,
        verify=route.verify,
        ca=route.ca,
        client_cert=route.client_cert,
        client_key=route.client_key,
        public_only=route.public_only,
        debug=configuration.debug if route.debug is None else route.debug,
    )
    made = _with_parts(_with_variants(made))
    if made.upstream_key is None:
        return made
    trusted = replace(
        made,
        is_trusted=True,
        grip=False,
        session=False,
        signer=None,
        signed_with="",
        subscribe=(),
        cors=frozenset(),
    )
    return replace(made, trusted=_with_parts(replace(trusted, variants={}, parts={})))


def _health(route: config.Route, host: str) -> Health | None:
    if route.health_path is None:
        return None
    return Health("" if "*" in host else host, route.health_path, route.health_interval, route.health_timeout)


def _with_variants(route: Route) -> Route:
    """The route that finds, by `Route.at`, itself as those of its targets have it that differ from it."""
    variants = {}
    for target in route.targets:
        settings = {name: getattr(target, name) for name in _OF_TARGETS}
        if any(value != getattr(route, name) for name, value in settings.items()):
            variants[target] = replace(route, target=target, **settings)
    return replace(route, variants=variants)


def _with_parts(route: Route) -> Route:
    """The route that knows its parts, where its targets take WebSockets in different ways.

    Neither parts nor variants refer back: routes that a reload has replaced go with their last hold.
    """
    parts = {}
    for kind in {target.kind for target in route.targets}:
        targets = tuple(target for target in route.targets if target.kind == kind)
        if targets != route.targets:
            parts[kind] = replace(route, targets=targets)
    return replace(route, parts=parts)


# Settings of a route that go on from its targets to what they begin: holds, and the links of holds.
_OF_TARGETS = ("subscribe", "verify", "ca", "client_cert", "client_key", "public_only")


def _id_of(route: config.Route) -> str:
    """The name of a route that was given none: the requests that it is for."""
    tls = {None: "", True: ",tls", False: ",no-tls"}[route.tls]
    return f"{route.host.lower()}{route.path}" + (f",{route.protocol}" if route.protocol != "any" else "") + tls


def _place(route: Route) -> tuple[str, str, str, str, bool | None]:
    """What tells a route from others of its id."""
    return route.id, route.host, route.path, route.protocol, route.tls


def _by_name(route: Route) -> Route:
    """The route as it is for requests that name it: see `Route.host`."""
    trusted = None if route.trusted is None else _with_parts(replace(route.trusted, host="", parts={}))
    return _with_parts(_with_variants(replace(route, host="", trusted=trusted, variants={}, parts={})))


def _rules(routes: Iterable[Route], is_websocket: bool, is_secure: bool) -> _Rules:
    """The rules for one kind of requests, in the order in which the first that fits is the best."""
    found = []
    for route in routes:
        if route.protocol in _PROTOCOLS[is_websocket] and route.tls in (None, is_secure):
            prefix = route.path.removesuffix("*")
            is_open = prefix != route.path or prefix.endswith("/")
            rank = (route.protocol == "any", -len(prefix), is_open, route.tls is None)
            # "/" takes the target "*" of OPTIONS too.
            prefix = "" if prefix == "/" else prefix
            found.append((rank, (prefix, 0 if is_open else len(prefix), route)))
    found.sort(key=lambda one: one[0])
    return tuple(rule for _, rule in found)


def host_name(field: str) -> str:
    """A Host field without port and final dot, in lower case; what is no host is that of no route but ``*``."""
    if field.startswith("["):
        return field[: field.find("]") + 1 or None].lower()
    return field.partition(":")[0].lower().rstrip(".")
