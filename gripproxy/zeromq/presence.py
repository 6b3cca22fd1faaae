"""Who is held, by the ids that outsiders know: Connection-Id for WebSockets over HTTP, and those that statistics tell.

The table exists only where somebody may ask, so that holds need no place for an id.
"""

import asyncio
import itertools
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gripproxy.routes import Route
from gripproxy.transports import Follow, Outcome, Replay
from gripproxy.transports.holds import Hold
from gripproxy.transports.over_http import OverHttp
from gripproxy.transports.websocket import WebSocketHold

# Seconds between two looks at the clients whose requests are asked again.
SWEEP_EVERY = 1.0


@dataclass(slots=True, eq=False)
class Connection:
    """A client that is held; ``hold`` is the latest of its holds, and over while its request is asked again."""

    id: str
    kind: str
    hold: Hold
    route: Route
    transport: asyncio.Transport
    # The time of the loop up to which its minutes are counted.
    counted_at: float

    @property
    def peer(self) -> str:
        """The address at the other end; empty for a Unix socket."""
        name = self.transport.get_extra_info("peername")
        return str(name[0]).partition("%")[0] if isinstance(name, tuple) else ""

    @property
    def is_secure(self) -> bool:
        """Whether it came over TLS."""
        return self.transport.get_extra_info("ssl_object") is not None


Listener = Callable[[Connection], None]


class Presence:
    """The clients of one realm that are held now."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        realm: str,
        instance: str,
        on_open: Listener = lambda connection: None,
        on_close: Listener = lambda connection: None,
    ) -> None:
        """``instance`` tells this process's ids from those of others."""
        self._loop = loop
        self._realm = realm
        self._instance = instance
        self._numbers = itertools.count(1)
        self._on_open = on_open
        self._on_close = on_close
        self._by_id: OrderedDict[str, Connection] = OrderedDict()
        self._by_hold: dict[Hold, Connection] = {}
        # Those whose long-poll is asked again: they are held again in a moment, or have been answered.
        self._asking: dict[asyncio.Transport, Connection] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, name: object) -> bool:
        return name in self._by_id

    def websocket(self, name: str) -> WebSocketHold | None:
        """Return the WebSocket with an id."""
        connection = self._by_id.get(name)
        hold = connection.hold if connection is not None else None
        return hold if isinstance(hold, WebSocketHold) else None

    def begin(self, hold: Hold) -> None:
        """Note a hold that begins."""
        transport = hold.connection
        if hold.route.realm != self._realm or transport is None:
            return
        connection = self._asking.pop(transport, None)
        if connection is not None:
            connection.hold = hold
            self._by_hold[hold] = connection
            return
        name = _websocket_id(hold) or f"{self._instance}:{next(self._numbers)}"
        kind = "ws" if isinstance(hold, WebSocketHold) else "http"
        connection = Connection(name, kind, hold, hold.route, transport, self._loop.time())
        self._by_id[name] = self._by_hold[hold] = connection
        self._on_open(connection)

    def end(self, hold: Hold, outcome: Outcome) -> None:
        """Note what a hold has ended with, or that it goes on."""
        if isinstance(outcome, Follow):
            return
        connection = self._by_hold.pop(hold, None)
        if connection is None:
            return
        if isinstance(outcome, Replay) and not connection.transport.is_closing():
            self._asking[connection.transport] = connection
            if self._timer is None:
                self._timer = self._loop.call_later(SWEEP_EVERY, self._sweep)
        else:
            self._close(connection)

    def take_turn(self, count: int) -> list[Connection]:
        """Return the next connections, each in its turn."""
        taken = []
        for _ in range(min(count, len(self._by_id))):
            name = next(iter(self._by_id))
            self._by_id.move_to_end(name)
            taken.append(self._by_id[name])
        return taken

    def _sweep(self) -> None:
        """Close what was asked again and answered without another hold."""
        self._timer = None
        for transport, connection in list(self._asking.items()):
            protocol: object = transport.get_protocol()
            if transport.is_closing() or protocol is not connection.hold:
                del self._asking[transport]
                self._close(connection)
        if self._asking:
            self._timer = self._loop.call_later(SWEEP_EVERY, self._sweep)

    def _close(self, connection: Connection) -> None:
        del self._by_id[connection.id]
        self._on_close(connection)

    def close(self) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _websocket_id(hold: Hold) -> str:
    """Return the id that a WebSocket's backend knows it by, or would; empty for other holds."""
    if not isinstance(hold, WebSocketHold):
        return ""
    return hold.leg.session.connection_id if isinstance(hold.leg, OverHttp) else str(uuid.uuid4())
