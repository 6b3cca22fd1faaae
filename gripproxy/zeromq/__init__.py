"""Pushpin's ZeroMQ interface: another door for items, beside the control door.

    PULL     publishers push every item
    SUB      publishers (XPUB) learn which channels have subscribers, and publish to those: channel, then item
    command  (REP) libraries ask for the addresses of the two, and operators for more

All of it is of one realm. A publisher gets no answer, so a message that is wrong is logged, counted and dropped.
Whoever can connect can publish.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gripproxy.bus import Bus
from gripproxy.config import Config
from gripproxy.grip.item import Item
from gripproxy.metrics import Metrics
from gripproxy.subscriptions import Subscriptions
from gripproxy.transports import Outcome
from gripproxy.transports.holds import Hold, Holds
from gripproxy.zeromq.commands import Commands
from gripproxy.zeromq.inputs import TURN_BYTES, TURN_MESSAGES, Intake, read_pull, read_sub
from gripproxy.zeromq.presence import Presence
from gripproxy.zeromq.sockets import Sockets, require_pyzmq

if TYPE_CHECKING:
    import zmq.asyncio

__all__ = ["Zeromq", "require_pyzmq"]


class Zeromq:
    """The sockets that a configuration asks for; without any it does nothing.

    Raises: ConfigError when there are some, and pyzmq is missing.
    """

    def __init__(
        self,
        config: Config,
        bus: Bus,
        subscriptions: Subscriptions,
        metrics: Metrics,
        holds: Holds,
        refresh: Callable[[list[Hold]], None],
        instance: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``refresh`` has holds ask their backends; ``instance`` tells this process from others."""
        self._settings = config.zeromq
        self._subscriptions = subscriptions
        self._message_max = config.control.max_body
        self._intake = Intake(config, bus, metrics, clock)
        self._commands: Commands | None = None
        self._sockets: Sockets | None = None
        self._pull: zmq.asyncio.Socket | None = None
        self._sub: zmq.asyncio.Socket | None = None
        self._command: zmq.asyncio.Socket | None = None
        if config.zeromq.is_used:
            require_pyzmq(config)
        if config.zeromq.command:
            presence = self._watch(config, holds, instance)
            self._commands = Commands(config, bus, metrics, presence, holds, refresh, clock)

    def _watch(self, config: Config, holds: Holds, instance: str) -> Presence:
        """Have the holds tell of themselves; where nobody asks, they have nobody to tell."""
        presence = Presence(asyncio.get_running_loop(), config.zeromq.realm, instance)
        proceed = holds.on_end

        def on_end(hold: Hold, outcome: Outcome) -> None:
            presence.end(hold, outcome)
            proceed(hold, outcome)

        holds.on_begin, holds.on_end = presence.begin, on_end
        return presence

    def open(self) -> None:
        """Bind or connect the sockets.

        Raises: OSError when an address can't be used.
        """
        if not self._settings.is_used:
            return
        settings = self._settings
        sockets = self._sockets = Sockets()
        try:
            if settings.pull:
                self._pull = sockets.open("PULL", (settings.pull,), self._message_max)
            if settings.sub:
                self._sub = sockets.open("SUB", settings.sub, self._message_max, is_connecting=settings.sub_connect)
                self._subscriptions.watch(settings.realm).tell(self._tell)
            if settings.command:
                self._command = sockets.open("REP", (settings.command,), self._message_max)
        except OSError:
            self.close()
            raise

    def configure(self, config: Config) -> None:
        """Take items by other limits from now on; the sockets stay as they are."""
        self._intake.configure(config)
        if self._commands is not None:
            self._commands.configure(config)

    async def run(self) -> None:
        """Publish what comes in, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self._pull is not None:
                tasks.create_task(self._receive("pull", self._pull, read_pull))
            if self._sub is not None:
                tasks.create_task(self._receive("sub", self._sub, read_sub))
            if self._command is not None and self._commands is not None:
                tasks.create_task(self._answer(self._command, self._commands))

    def close(self) -> None:
        """Close the sockets at once; what was not received yet is gone."""
        if self._sockets is not None:
            self._sockets.close()
        self._sockets = self._pull = self._sub = self._command = None

    def _tell(self, realm: str, channel: str, is_subscribed: bool) -> None:
        """Tell the publishers at SUB of a channel."""
        if self._sub is None:
            return
        topic = channel.encode("utf-8", "replace")
        if is_subscribed:
            self._sub.subscribe(topic)
        else:
            self._sub.unsubscribe(topic)

    async def _receive(self, name: str, socket: "zmq.asyncio.Socket", read: Callable[[list[bytes]], Item]) -> None:
        import zmq

        while True:
            messages = [await socket.recv_multipart()]
            size = sum(map(len, messages[0]))
            while len(messages) < TURN_MESSAGES and size < TURN_BYTES:
                try:
                    parts = await socket.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                messages.append(parts)
                size += sum(map(len, parts))
            await self._intake.publish(name, messages, read)
            await asyncio.sleep(0)

    async def _answer(self, socket: "zmq.asyncio.Socket", commands: Commands) -> None:
        while True:
            await socket.send(await commands.answer(await socket.recv_multipart()))
            await asyncio.sleep(0)
