"""Pushpin's ZeroMQ interface: another door for items, beside the control door.

    PULL     publishers push every item
    SUB      publishers (XPUB) learn which channels have subscribers, and publish to those: channel, then item
    command  (REP) libraries ask for the addresses of the two, and operators for more
    stats    (PUB) whoever wants to know is told what goes on

All of it is of one realm. A publisher gets no answer, so a message that is wrong is logged, counted and dropped.
Whoever can connect can publish.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from gripproxy.bus import Bus
from gripproxy.config import Config
from gripproxy.grip.item import Item
from gripproxy.metrics import Metrics
from gripproxy.routes import Route
from gripproxy.subscriptions import Subscriptions
from gripproxy.transports import Outcome
from gripproxy.transports.holds import Hold, Holds
from gripproxy.zeromq.commands import Commands
from gripproxy.zeromq.faults import log_fault
from gripproxy.zeromq.inputs import FULL_TICK, TURN_BYTES, TURN_MESSAGES, Intake, read_pull, read_sub
from gripproxy.zeromq.presence import Presence
from gripproxy.zeromq.sockets import Publisher, Sockets, require_pyzmq
from gripproxy.zeromq.statistics import Statistics

if TYPE_CHECKING:
    import zmq.asyncio

__all__ = ["Zeromq", "require_pyzmq"]

# Messages of statistics that wait for one subscriber; a message has some 150 bytes. Pushpin's are 200,000.
STATISTICS_QUEUE = 50_000

# Bytes of what a subscriber of statistics may send: the beginning of the kinds that it wants.
TOPIC_MAX = 1024


class Zeromq:
    """The sockets that a configuration asks for; without any it does nothing.

    Raises: ConfigError when there are some, and pyzmq is missing.
    """

    def __init__(
        self,
        config: Config,
        bus: Bus,
        own: Bus,
        subscriptions: Subscriptions,
        metrics: Metrics,
        holds: Holds,
        refresh: Callable[[list[Hold]], None],
        instance: str,
    ) -> None:
        """``own`` reaches this process alone; ``refresh`` has holds ask; ``instance`` tells this process from others.

        What comes in by SUB is for this process: a publisher sends each process what its clients are subscribed to, and
        if each told the others, all would have it several times.
        """
        self._settings = config.zeromq
        self._subscriptions = subscriptions
        self._message_max = config.control.max_body
        self._metrics = metrics
        self._pulled = Intake(config, bus, metrics)
        self._subscribed = Intake(config, own, metrics)
        self._presence: Presence | None = None
        self._commands: Commands | None = None
        self._statistics: Statistics | None = None
        self._publisher: Publisher | None = None
        self._sockets: Sockets | None = None
        self._pull: zmq.asyncio.Socket | None = None
        self._sub: zmq.asyncio.Socket | None = None
        self._command: zmq.asyncio.Socket | None = None
        if config.zeromq.is_used:
            require_pyzmq(config)
        if config.zeromq.command or config.zeromq.stats:
            self._presence = self._watch(config, holds, instance)
            if config.zeromq.command:
                self._commands = Commands(config, bus, metrics, self._presence, holds, refresh)

    def _watch(self, config: Config, holds: Holds, instance: str) -> Presence:
        """Have the holds tell of themselves; where nobody asks, they have nobody to tell."""
        loop = asyncio.get_running_loop()
        if config.zeromq.stats:
            statistics = self._statistics = Statistics(config, loop, instance, self._send)
            holds.hub.on_subscription, holds.hub.on_item = statistics.on_subscription, statistics.on_item
            presence = statistics.presence
        else:
            presence = Presence(loop, config.zeromq.realm, instance)
        proceed = holds.on_end

        def on_end(hold: Hold, outcome: Outcome) -> None:
            presence.end(hold, outcome)
            proceed(hold, outcome)

        holds.on_begin, holds.on_end = presence.begin, on_end
        return presence

    @property
    def on_request(self) -> Callable[[Route], None] | None:
        """What counts requests; None where nothing does."""
        return self._statistics.on_request if self._statistics is not None else None

    def open(self) -> None:
        """Bind or connect the sockets.

        Raises: OSError when an address can't be used.
        """
        if not self._settings.is_used:
            return
        settings = self._settings
        sockets = self._sockets = Sockets(int(settings.ipc_file_mode, 8) if settings.ipc_file_mode else None)
        try:
            if settings.pull:
                self._pull = sockets.open("PULL", (settings.pull,), self._message_max)
            if settings.sub:
                self._sub = sockets.open("SUB", settings.sub, self._message_max, is_connecting=settings.sub_connect)
                self._subscriptions.watch(settings.realm).tell(self._tell)
            if settings.command:
                self._command = sockets.open("REP", (settings.command,), self._message_max)
            if settings.stats:
                self._publisher = sockets.open_publisher(settings.stats, TOPIC_MAX, STATISTICS_QUEUE)
        except OSError:
            self.close()
            raise
        if self._statistics is not None:
            self._statistics.start()

    def configure(self, config: Config) -> None:
        """Take items by other limits from now on; the sockets stay as they are."""
        self._pulled.configure(config)
        self._subscribed.configure(config)
        if self._commands is not None:
            self._commands.configure(config)
        if self._statistics is not None:
            self._statistics.configure(config)

    async def run(self) -> None:
        """Publish what comes in, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self._pull is not None:
                tasks.create_task(self._receive("pull", self._pull, read_pull, self._pulled))
            if self._sub is not None:
                tasks.create_task(self._receive("sub", self._sub, read_sub, self._subscribed))
            if self._command is not None and self._commands is not None:
                tasks.create_task(self._answer(self._command, self._commands))

    def close(self) -> None:
        """Close the sockets at once; what was not received yet is gone."""
        if self._statistics is not None:
            self._statistics.close()
        if self._presence is not None:
            self._presence.close()
        if self._sockets is not None:
            self._sockets.close()
        self._sockets = self._pull = self._sub = self._command = self._publisher = None

    def _send(self, data: bytes) -> None:
        """Hand a message to the subscribers of statistics; those that are too slow lose it."""
        if self._publisher is None:
            return
        self._metrics.zeromq_statistics += 1
        if not self._publisher.send(data):
            self._metrics.zeromq_overflows += 1
            log_fault("stats", f"a subscriber has not taken {STATISTICS_QUEUE} messages, and loses more")

    def _tell(self, realm: str, channel: str, is_subscribed: bool) -> None:
        """Tell the publishers at SUB of a channel."""
        if self._sub is None:
            return
        topic = channel.encode("utf-8", "replace")
        if is_subscribed:
            self._sub.subscribe(topic)
        else:
            self._sub.unsubscribe(topic)

    async def _receive(
        self, name: str, socket: "zmq.asyncio.Socket", read: Callable[[list[bytes]], Item], intake: Intake
    ) -> None:
        import zmq

        while True:
            # What is not read stays with the publishers, whose sockets then block or drop.
            while intake.is_full:  # noqa: ASYNC110  # rare
                await asyncio.sleep(FULL_TICK)
            messages = [await socket.recv_multipart()]
            size = sum(map(len, messages[0]))
            while len(messages) < TURN_MESSAGES and size < TURN_BYTES:
                try:
                    parts = await socket.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                messages.append(parts)
                size += sum(map(len, parts))
            await intake.publish(name, messages, read)
            await asyncio.sleep(0)

    async def _answer(self, socket: "zmq.asyncio.Socket", commands: Commands) -> None:
        while True:
            await socket.send(await commands.answer(await socket.recv_multipart()))
            await asyncio.sleep(0)
