"""Which backend of a route is asked first, by the route's `balance` and by what is known of each.

What is known of a backend counts for all routes that have it. One that fails rests: others are asked first. After its
rest a single request tries it, and only when one is answered is it a backend like the others again, so that a backend
that lets everybody wait costs one client its time, not all who come meanwhile. One whose health check fails is asked
when no other is left.
"""

import logging
from collections.abc import Callable, Sequence

from gripproxy.routes import Route
from gripproxy.targets import Health, Target

log = logging.getLogger("gripproxy.backend")

# Seconds for which a backend is tried last that could not be connected to, broke a fresh connection unanswered, or
# failed FAILURES times in a row.
REST = 5.0

# Requests in a row that were not answered, or answered by a gateway in the backend's place. One alone may be the fault
# of what was asked for.
FAILURES = 3
FAILED = frozenset({502, 503, 504})

READY, RESTING, DOWN = range(3)


class Server:
    """What is known of a backend."""

    __slots__ = ("failures", "resting_until", "under_way")

    def __init__(self) -> None:
        self.failures = 0
        # 0 once a request was answered since.
        self.resting_until = 0.0
        # Requests that it has not answered to the end, and WebSockets of its own.
        self.under_way = 0

    @property
    def is_of_note(self) -> bool:
        """Whether there is anything that is worth knowing."""
        return bool(self.failures or self.resting_until or self.under_way)

    def leave(self) -> None:
        """Count one request less that is under way."""
        self.under_way -= 1


class Turns:
    """A route's targets, and whose turn it is: weighted round-robin, as smooth as nginx's.

    Each target is credited its weight each time, and the one with the most credit pays for all.
    """

    __slots__ = ("_credits", "orders", "places", "servers", "targets")

    def __init__(self, targets: tuple[Target, ...], servers: list[Server]) -> None:
        self.targets = targets
        self.servers = servers
        self.places = range(len(targets))
        # The order to try them in, by who is first, while nothing is wrong with any.
        self.orders = [targets[first:] + targets[:first] for first in self.places]
        self._credits = [0] * len(targets)

    def next(self, among: Sequence[int]) -> int:
        """Return whose turn it is of these."""
        credits, total = self._credits, 0
        for place in among:
            weight = self.targets[place].weight
            credits[place] += weight
            total += weight
        first = max(among, key=credits.__getitem__)
        credits[first] -= total
        return first

    def least(self, among: Sequence[int]) -> int:
        """Return who has the fewest requests under way for its weight; those that have the same take turns."""
        loads = {place: self.servers[place].under_way / self.targets[place].weight for place in among}
        least = min(loads.values())
        return self.next([place for place, load in loads.items() if load == least])


CHOICES: dict[str, Callable[[Turns, Sequence[int]], int]] = {
    "first": lambda _, among: among[0],
    "round-robin": Turns.next,
    "least-requests": Turns.least,
}


class Balance:
    """Chooses among backends; ``now`` gives the loop's clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        # By URL; only backends of routes that have several, since links lead anywhere.
        self._servers: dict[str, Server] = {}
        # By the identity of a route's targets, which the turns keep alive.
        self._turns: dict[int, Turns] = {}
        # Those whose health check failed last.
        self._down: set[tuple[Target, Health]] = set()

    def order(self, route: Route) -> Sequence[Target]:
        """Return the route's targets in the order to try them."""
        targets = route.targets
        if len(targets) == 1:
            return targets
        turns = self._turns.get(id(targets)) or self._take_up(targets)
        choose = CHOICES[route.balance]
        if not self._down and not any(server.resting_until for server in turns.servers):
            return turns.orders[choose(turns, turns.places)]
        now = self._now()
        states = [RESTING if server.resting_until > now else READY for server in turns.servers]
        if self._down and route.health is not None:
            for place, target in enumerate(targets):
                if (target, route.health) in self._down:
                    states[place] = DOWN
        best = min(states)
        first = choose(turns, [place for place in turns.places if states[place] == best])
        server = turns.servers[first]
        if server.resting_until and best == READY:
            server.resting_until = now + REST  # for all but this request
        others = sorted((*turns.places[first + 1 :], *turns.places[:first]), key=states.__getitem__)
        return [targets[first], *(targets[place] for place in others)]

    def set_health(self, target: Target, health: Health, *, is_up: bool) -> None:
        """Ask a target last where its health is checked so, or like the others, whatever happened before."""
        if not is_up:
            self._down.add((target, health))
            return
        self._down.discard((target, health))
        server = self._servers.get(target.url)
        if server is not None:
            self.succeed(server, target)

    def _take_up(self, targets: tuple[Target, ...]) -> Turns:
        servers = [self._servers.setdefault(target.url, Server()) for target in targets]
        turns = self._turns[id(targets)] = Turns(targets, servers)
        return turns

    def renew(self) -> None:
        """Begin the turns anew, since routes may have gone; what is known of a backend stays."""
        self._turns.clear()
        self._servers = {url: server for url, server in self._servers.items() if server.is_of_note}

    def enter(self, target: Target) -> Server | None:
        """Count a request that is under way until `Server.leave`; None where nothing is known of the target."""
        server = self._servers.get(target.url)
        if server is not None:
            server.under_way += 1
        return server

    def is_reached(self, server: Server) -> None:
        """Let the next request be the one that tries a backend: it was connected to, and no more."""
        if server.resting_until:
            server.resting_until = min(server.resting_until, self._now())

    def rest(self, target: Target) -> None:
        """Try a target last for a while, where there are others."""
        server = self._servers.get(target.url)
        if server is not None:
            server.resting_until = self._now() + REST

    def succeed(self, server: Server, target: Target) -> None:
        """Take note that a request was answered: whatever came before is over."""
        server.failures = 0
        server.resting_until = 0.0

    def fail(self, server: Server, target: Target) -> None:
        """Take note that a request was not answered, or not by the backend itself."""
        server.failures += 1
        if server.failures < FAILURES:
            return
        if not server.resting_until:
            extra = {"backend": str(target)}
            log.warning("%s failed %d times in a row; others are asked first", target, server.failures, extra=extra)
        server.resting_until = self._now() + REST
