"""Which requests the routes are for, seen together: no two for the same ones, none that nobody can reach."""

from collections.abc import Iterable
from dataclasses import dataclass

from gripproxy.config.reader import SettingError


@dataclass(frozen=True, slots=True)
class Condition:
    """The requests that a route is for; equal ones are for the same requests, however they are written."""

    host: str
    path: str
    protocol: str
    tls: bool | None

    @classmethod
    def of(cls, host: str, path: str, protocol: str, tls: bool | None) -> "Condition":
        """Make one of a route's settings."""
        # Behind a path that ends in "/" anything may follow, with a star and without.
        return cls(host.lower(), path.removesuffix("*") if path.endswith("/*") else path, protocol, tls)


def check(routes: Iterable[tuple[Condition, str]], *, by_id: bool) -> None:
    """Compare the conditions and ids of all routes; ``by_id``: trusted proxies may choose routes by their ids.

    Raises: SettingError
    """
    seen: dict[Condition, int] = {}
    ids: dict[str, int] = {}
    for index, (condition, route_id) in enumerate(routes):
        if not condition.host:
            _check_reachable(f"routes[{index}]", route_id, by_id=by_id)
        else:
            first = seen.setdefault(condition, index)
            if first != index:
                more = "" if condition.protocol == "any" and condition.tls is None else ", protocol and tls"
                same = "host, path" if more else "host and path"
                raise SettingError(f"routes[{index}].path", f"routes[{first}] has the same {same}{more}")
        if by_id and route_id:
            first = ids.setdefault(route_id, index)
            if first != index:
                raise SettingError(f"routes[{index}].id", f"routes[{first}] has the id {route_id!r}, too")


def _check_reachable(name: str, route_id: str, *, by_id: bool) -> None:
    if not route_id:
        raise SettingError(f"{name}.id", "is missing; a route without host is reached by its id only")
    if not by_id:
        raise SettingError(f"{name}.host", "is empty, which needs server.accept_pushpin_route = true")
