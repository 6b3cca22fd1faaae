"""What a WebSocket client waits for: keep-alives, a delayed message, its backend, the end of a closing handshake.

Most clients wait for nothing and have no `Timers`. One that has is in the wheel once, at the earliest of its times. It
is given to each method instead of being kept, because the two would then be freed by the garbage collector alone.
"""

import asyncio
from typing import Protocol

from gripproxy.grip import events as ev
from gripproxy.grip import wire
from gripproxy.routes import Route
from gripproxy.transports.holds import Holds
from gripproxy.transports.wheel import TICK

# A keep-alive is spread by up to a tenth of its time, and whoever was written to within the rest is not idle.
IDLE = 0.9


class Waiting(Protocol):
    """A client as its timers see it."""

    due: int
    holds: Holds
    route: Route
    framing: str
    channels: tuple[str, ...]
    written_at: int
    connection: asyncio.Transport | None

    def on_due(self) -> None:
        """Have `Timers.on_due` called."""

    def write(self, data: bytes) -> None:
        """Write frames, where that is still allowed."""

    def on_leg_due(self) -> None:
        """Let the backend's side go on."""

    def on_linger_end(self) -> None:
        """End a closing handshake that the other side does not complete."""


class Timers:
    """The times of one client (of the loop; 0.0 for none), and what is to be sent then."""

    __slots__ = ("_close_at", "_delayed", "_delayed_at", "_keep_alive", "_keep_alive_at", "_leg_at", "pings")

    def __init__(self) -> None:
        self._keep_alive: ev.SetKeepAlive | None = None
        self._keep_alive_at = 0.0
        self._delayed = b""
        self._delayed_at = 0.0
        self._leg_at = 0.0
        self._close_at = 0.0
        # Keep-alive pings of ours whose pongs are not for the backend
        self.pings = 0

    def set_keep_alive(self, client: Waiting, message: ev.SetKeepAlive) -> None:
        """Send content again and again, or no more."""
        self._keep_alive = message if message.content is not None else None
        self._keep_alive_at = (
            client.holds.wheel.now() + client.holds.spread(message.timeout) if message.content is not None else 0.0
        )
        self._arm(client)

    def send_delayed(self, client: Waiting, message: ev.SendDelayed) -> None:
        """Send content once, later; what waits already is sent now."""
        self.flush_delayed(client)
        self._delayed = wire.frame(wire.OPCODES[message.type], message.content)
        self._delayed_at = client.holds.wheel.now() + message.timeout
        self._arm(client)

    def flush_delayed(self, client: Waiting) -> None:
        """Send now what waits."""
        if self._delayed_at:
            delayed, self._delayed, self._delayed_at = self._delayed, b"", 0.0
            client.write(delayed)
            self._arm(client)

    def wake_leg(self, client: Waiting, at: float) -> None:
        """Let the backend's side go on at a time; 0.0: not at all."""
        if at or self._leg_at:
            self._leg_at = at
            self._arm(client)

    def linger(self, client: Waiting, seconds: float) -> None:
        """Wait for the next step of the closing handshake so long at the most."""
        self._close_at = client.holds.wheel.now() + seconds
        self._arm(client)

    def leave(self, client: Waiting) -> None:
        """Forget everything but the backend's side, which may have requests to make after the client is gone."""
        self._keep_alive_at = self._delayed_at = self._close_at = 0.0
        self._arm(client)

    def on_due(self, client: Waiting) -> None:
        """Do what is due."""
        now = client.holds.wheel.now()
        if self._close_at and self._close_at <= now:
            self._close_at = 0.0
            client.on_linger_end()
        if self._leg_at and self._leg_at <= now:
            self._leg_at = 0.0
            client.on_leg_due()
        if self._delayed_at and self._delayed_at <= now:
            self.flush_delayed(client)
        if self._keep_alive_at and self._keep_alive_at <= now:
            self._send_keep_alive(client, now)
        self._arm(client)

    def _send_keep_alive(self, client: Waiting, now: float) -> None:
        keep_alive, holds = self._keep_alive, client.holds
        assert keep_alive is not None
        assert keep_alive.content is not None
        if keep_alive.mode == "idle":
            hub, realm = holds.hub, client.route.realm
            passed = max([hub.passed_at(realm, channel, client.framing) for channel in client.channels], default=0)
            waited = (hub.tick - max(passed, client.written_at)) * TICK
            if waited < keep_alive.timeout * IDLE:
                self._keep_alive_at = now + holds.spread(keep_alive.timeout - waited)
                return
        if keep_alive.type == "ping":
            self.pings += 1
        client.write(wire.frame(wire.OPCODES[keep_alive.type], keep_alive.content))
        self._keep_alive_at = now + holds.spread(keep_alive.timeout)

    def _arm(self, client: Waiting) -> None:
        wheel = client.holds.wheel
        times = [at for at in (self._keep_alive_at, self._delayed_at, self._leg_at, self._close_at) if at]
        if times:
            wheel.set(client, max(0.0, min(times) - wheel.now()))
        else:
            wheel.drop(client)
