"""A configuration, and all that can be made of it without listening: routes, keys, certificates.

It is made as a whole before anything is used of it, so that what has a fault in its last line changes nothing.
"""

import hashlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gripproxy.auth import Publishers
from gripproxy.certificates import Certificates, load_pair, reason_of
from gripproxy.config import Backend, Config, Route
from gripproxy.routes import Routes


@dataclass(frozen=True, slots=True)
class Resolved:
    """``digests`` tell what was in each file of TLS, so that a renewed one is noticed by what it holds."""

    config: Config
    routes: Routes
    publishers: Publishers
    certificates: Certificates
    digests: dict[str, bytes]


def resolve_config(config: Config, random_key: bytes, earlier: Routes | None = None) -> Resolved:
    """Make all of it; routes that are as they were are those of the ``earlier`` ones.

    Raises: ConfigError
    """
    routes = Routes(config, random_key, earlier)
    publishers = Publishers(config)
    certificates = Certificates(config)
    check_trust(config)
    return Resolved(config, routes, publishers, certificates, _digests(config))


def check_trust(config: Config) -> None:
    """Load what TLS towards the backends will need.

    Raises: ConfigError
    """
    for name, owner in _owners(config):
        if owner.client_cert:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            load_pair(config, f"{name}.client_cert", owner.client_cert, owner.client_key or "", context)
        if owner.ca:
            try:
                ssl.create_default_context(cafile=owner.ca)
            except OSError as error:
                raise config.error(f"{name}.ca", f"{owner.ca!r} cannot be used: {reason_of(error)}") from None


def _owners(config: Config) -> Iterator[tuple[str, Route | Backend]]:
    """The routes, and the backends that are tables: each may name files."""
    for index, route in enumerate(config.routes):
        yield f"routes[{index}]", route
        for place, backend in enumerate(route.backends):
            if isinstance(backend, Backend):
                yield f"routes[{index}].backends[{place}]", backend


def _digests(config: Config) -> dict[str, bytes]:
    files = {file for pair in config.server.certificate_pairs for file in pair}
    files |= {file for _, owner in _owners(config) for file in (owner.ca, owner.client_cert, owner.client_key) if file}
    digests = {}
    for file in sorted(files - {""}):
        try:
            digests[str(file)] = hashlib.sha256(Path(file).read_bytes()).digest()
        except OSError:  # gone since it was loaded a moment ago; whoever watches will see that it comes back
            digests[str(file)] = b""
    return digests
