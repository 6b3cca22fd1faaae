"""What each route resolves to, as ``GET /routes/`` tells it: the facts of ``gripproxy check``, and no secrets.

Settings come out by their names. What a value may show is decided by its kind, and a kind that is not known here, such
as the text of a key, is left out: a setting that is added some day does not show a secret by being forgotten.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import json

from gripproxy.config import File
from gripproxy.grip.tokens import Key, Signer
from gripproxy.routes import Route
from gripproxy.targets import Health, Target

# What is no setting, or is told under another name.
_LEFT_OUT = frozenset(
    {
        "targets",
        "target",
        "parts",
        "variants",
        "signer",
        "signed_with",
        "headers_set",
        "headers_remove",
        "link_headers",
        "is_trusted",
        "trusted",
    }
)

# Of the backends of a route these are told for the route, too: None where they differ.
_OF_ALL = ("websocket", "one_event", "host_header")

_KINDS: dict[type, Callable[[Any], object]] = {
    bool: bool,
    int: int,
    float: float,
    str: str,
    File: str,
    type(None): lambda value: None,
    frozenset: sorted,
    tuple: lambda value: [_plain(one) for one in value],
    Health: lambda health: {"path": health.path, "interval": health.interval, "timeout": health.timeout},
    Key: lambda key: key.algorithm,
}


def encode_routes(routes: Iterable[Route]) -> bytes:
    """Return the routes as a JSON list, in the order of the configuration."""
    return json.encode({"routes": [describe(route) for route in routes]}) + b"\n"


def describe(route: Route) -> dict[str, object]:
    """Return what a route resolves to."""
    facts: dict[str, object] = {"id": route.id, "backends": [str(target) for target in route.targets]}
    facts |= _settings(route)
    for name in _OF_ALL:
        values = {getattr(target, name) for target in route.targets}
        facts[name] = values.pop() if len(values) == 1 else None
    facts["targets"] = [_settings(target) for target in route.targets]
    facts["link_headers"] = sorted(name.decode() for name in route.link_headers)
    # The values of fields may be credentials.
    facts["headers_set"] = [name.decode() for name, _ in route.headers_set]
    facts["headers_remove"] = sorted(name.decode() for name in route.headers_remove)
    facts["grip_sig"] = _signature(route.signer, route.signed_with) if route.signer is not None else None
    return facts


def _settings(owner: Route | Target) -> dict[str, object]:
    names = [one.name for one in dataclasses.fields(owner) if one.name not in _LEFT_OUT]
    values = {name: getattr(owner, name) for name in names}
    return {name: _plain(value) for name, value in values.items() if type(value) in _KINDS}


def _plain(value: object) -> object:
    return _KINDS[type(value)](value)


def _signature(signer: Signer, signed_with: str) -> dict[str, str]:
    return {"algorithm": signer.algorithm, "issuer": signer.issuer, "signed_with": signed_with}
