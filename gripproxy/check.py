"""The command ``gripproxy check``: what a configuration comes to, before anything listens.

Whatever ``gripproxy run`` would refuse at its start is refused here with the same words, for it asks here first. Only
what others have may still be in its way then: a port in use, an address that is not this machine's.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import asdict, fields

from gripproxy import config
from gripproxy.bus import require_library
from gripproxy.config import Config
from gripproxy.control.tls import control_tls
from gripproxy.grip.tokens import Key
from gripproxy.resolved import Resolved, resolve_config
from gripproxy.routes import Route
from gripproxy.zeromq import require_pyzmq

# Settings of a route that have a line of their own, or that nobody should see.
_OWN_LINE = frozenset(
    {
        "backends",
        "host",
        "path",
        "protocol",
        "tls",
        "realm",
        "id",
        "websocket",
        "grip",
        "sig_key",
        "sig_iss",
        "upstream_key",
        "rewrite",
    }
)
_DEFAULTS = asdict(config.Route(backends=("http://any",)))


def check(path: Path | None, environment: Mapping[str, str] = {}, overrides: Mapping[str, Any] = {}) -> list[str]:
    """The lines that describe a configuration, warnings last.

    Raises: ConfigError, in one line, for anything that would keep the proxy from starting.
    """
    loaded = config.load(path, environment, overrides)
    resolved = verify(loaded)
    found = [*config.warnings(loaded), *resolved.certificates.warnings(time.time()), *config.unread(environment)]
    return [*describe(resolved), *(f"warning: {text}" for text in found)]


def verify(configuration: Config) -> Resolved:
    """Make what can be made of a configuration without listening: keys, certificates, routes.

    Raises: ConfigError
    """
    # Any random key does: it signs nothing here.
    resolved = resolve_config(configuration, b"random")
    control_tls(configuration)
    require_library(configuration)
    if configuration.zeromq.is_used:
        require_pyzmq(configuration)
    return resolved


def describe(resolved: Resolved) -> list[str]:
    """What each door, realm and route resolves to; no line shows a secret."""
    configuration, routes = resolved.config, resolved.routes
    server = configuration.server
    lines = [f"clients on {', '.join(server.listen)}{' with TLS' if server.certificate else ''}"]
    lines += [
        f"certificate {one.file} for {', '.join(one.names) or 'no name'}, until {one.end}"
        for one in resolved.certificates
    ]
    lines += _believed(server)
    lines.append(f"control on {configuration.control.listen}{_control_tls(configuration.control)}")
    lines += _zeromq(configuration.zeromq)
    if configuration.bus.scheme != "local":
        lines.append(f"bus {configuration.bus.place}, stream {configuration.bus.key}")
    for name, realm in sorted(configuration.realms.items()):
        lines.append(f"realm {name}: {_publishers(name, realm)}")
    for route, setting in zip(routes, configuration.routes, strict=True):
        lines += [f"route {route.id}", *(f"  {name:<16} {text}" for name, text in _route(route, setting))]
    return lines


def _believed(server: config.Server) -> Iterator[str]:
    """Who may say what of a request, and what the proxy says of it."""
    if server.trusted_proxies:
        what = "X-Forwarded-*"
        what += f", {server.request_id}" if server.request_id else ""
        what += ", Pushpin-Route" if server.accept_pushpin_route else ""
        yield f"{what} believed from {', '.join(server.trusted_proxies)}"
    if server.cdn_loop:
        yield f"CDN-Loop says {server.cdn_loop}; who comes with it is refused"


def _zeromq(inputs: config.Zeromq) -> Iterator[str]:
    addresses = {"pull": inputs.pull, "sub": ", ".join(inputs.sub), "command": inputs.command, "stats": inputs.stats}
    for name, address in addresses.items():
        if address:
            verb = "from" if name == "sub" and inputs.sub_connect else "on"
            yield f"zeromq {name} {verb} {address} for realm {inputs.realm}"


def _control_tls(control: config.Control) -> str:
    if not control.certificate:
        return ""
    return f" with TLS, for clients with a certificate of {control.client_ca}" if control.client_ca else " with TLS"


def _publishers(name: str, realm: config.Realm) -> str:
    door = f"POST /realm/{name}/publish/" + (" or /publish/" if name == config.DEFAULT_REALM else "")
    if not realm.key:
        return f"{door} from loopback, as it has no key"
    algorithms = ", ".join(Key.from_text(text).algorithm for text in realm.key)
    return f"{door} with a token of issuer {realm.control_iss or name!r} ({algorithms})"


def _route(route: Route, setting: config.Route) -> Iterator[tuple[str, str]]:
    yield "takes", _requests(route)
    backends = ", ".join(map(str, route.targets))
    order = f" ({route.balance})" if len(route.targets) > 1 else ""
    yield "backends", backends + order
    for target, own in zip(route.targets, setting.backends, strict=True):
        if isinstance(own, config.Backend) and (differences := _differences(own)):
            yield f"  {target}", differences
    if route.rewrite is not None:
        example = route.path[:-1] + "x" if route.path.endswith("*") else route.path.rstrip("/") + "/x"
        yield "rewrite", f"{example} -> {route.rewritten(example)}"
    yield "realm", route.realm
    yield "websocket", setting.websocket
    if route.signer is None:
        yield "Grip-Sig", "none, plain proxying"
    else:
        yield "Grip-Sig", f"{route.signer.algorithm}, issuer {route.signer.issuer!r}, signed with {route.signed_with}"
    if route.upstream_key is not None:
        yield "upstream", f"Grip-Sig of a proxy in front is believed ({route.upstream_key.algorithm})"
    for one in fields(config.Route):
        value = getattr(setting, one.name)
        if one.name not in _OWN_LINE and value != _DEFAULTS[one.name]:
            yield one.name, _shown(value)


def _requests(route: Route) -> str:
    """The requests that a route is for."""
    if not route.host:
        return f"Pushpin-Route: {route.id}"
    kind = {"any": "", "http": ", HTTP only", "websocket": ", WebSockets only"}[route.protocol]
    return f"{route.host}{route.path}{kind}" + {None: "", True: ", over TLS", False: ", without TLS"}[route.tls]


def _differences(backend: config.Backend) -> str:
    """What a backend has of its own beside its URL."""
    given = {one.name: getattr(backend, one.name) for one in fields(config.Backend) if not one.required}
    own = {name: value for name, value in given.items() if value is not None and (name, value) != ("weight", 1)}
    return ", ".join(f"{name} {_shown(value)}" for name, value in own.items())


def _shown(value: Any) -> str:
    # The values of fields may be credentials; their names tell enough.
    return ", ".join(value) if isinstance(value, tuple | dict) else str(value)
