"""Pushpin's ZeroMQ inputs: another door for items, beside the control door.

    PULL     publishers push every item
    SUB      publishers (XPUB) learn which channels have subscribers, and publish to those: channel, then item
    command  (REP) libraries ask for the addresses of the two

A publisher gets no answer, so a message that is wrong is logged, counted and dropped. Whoever can connect can publish.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from gripproxy.bus import Bus
from gripproxy.config import Config, parse_endpoint
from gripproxy.errors import ItemError
from gripproxy.grip.item import Item
from gripproxy.grip.zeromq import answer_question, parse_message
from gripproxy.metrics import Metrics
from gripproxy.subscriptions import Subscriptions

if TYPE_CHECKING:
    import zmq.asyncio

log = logging.getLogger("gripproxy.zeromq")

# Messages and bytes of one turn of the loop, which go to the bus together. ZeroMQ has the next message at hand under
# load, and waiting for what is at hand does not let anything else run.
TURN_MESSAGES = 64
TURN_BYTES = 262_144

# Seconds between two log lines about the same.
LOG_EVERY = 60.0

# Characters of a log line that may quote a publisher.
REASON_MAX = 300

# Whoever reaches the command socket gets this many bytes for a question; Pushpin's are below 100.
QUESTION_MAX = 1024


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = config.zeromq
        self._subscriptions = subscriptions
        self._message_max = config.control.max_body
        self._intake = Intake(config, bus, metrics, clock)
        # Path of each Unix socket that was bound -> its inode.
        self._paths: dict[str, int] = {}
        self._context: zmq.asyncio.Context | None = None
        self._pull: zmq.asyncio.Socket | None = None
        self._sub: zmq.asyncio.Socket | None = None
        self._command: zmq.asyncio.Socket | None = None
        if config.zeromq.is_used:
            require_pyzmq(config)

    def open(self) -> None:
        """Bind or connect the sockets.

        Raises: OSError when an address can't be used.
        """
        if not self._settings.is_used:
            return
        import zmq
        import zmq.asyncio

        settings = self._settings
        self._context = zmq.asyncio.Context()
        try:
            if settings.pull:
                self._pull = self._socket(zmq.PULL, (settings.pull,), self._message_max)
            if settings.sub:
                self._sub = self._socket(zmq.SUB, settings.sub, self._message_max, settings.sub_connect)
                self._subscriptions.watch(settings.realm).tell(self._tell)
            if settings.command:
                self._command = self._socket(zmq.REP, (settings.command,), QUESTION_MAX)
        except OSError:
            self.close()
            raise

    def configure(self, config: Config) -> None:
        """Take items by other limits from now on; the sockets stay as they are."""
        self._intake.configure(config)

    async def run(self) -> None:
        """Publish what comes in, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self._pull is not None:
                tasks.create_task(self._receive("pull", self._pull, read_pull))
            if self._sub is not None:
                tasks.create_task(self._receive("sub", self._sub, read_sub))
            if self._command is not None:
                tasks.create_task(self._answer(self._command))

    def close(self) -> None:
        """Close the sockets at once; what was not received yet is gone."""
        if self._context is not None:
            self._context.destroy(linger=0)
        for path, inode in self._paths.items():
            # ZeroMQ leaves it there. It may be another process's by now, which replaced it.
            with suppress(OSError):
                if os.stat(path).st_ino == inode:
                    os.unlink(path)
        self._paths.clear()
        self._context = self._pull = self._sub = self._command = None

    def _tell(self, realm: str, channel: str, is_subscribed: bool) -> None:
        """Tell the publishers at SUB of a channel."""
        if self._sub is None:
            return
        topic = channel.encode("utf-8", "replace")
        if is_subscribed:
            self._sub.subscribe(topic)
        else:
            self._sub.unsubscribe(topic)

    def _socket(
        self, kind: int, endpoints: tuple[str, ...], message_max: int, is_connecting: bool = False
    ) -> "zmq.asyncio.Socket":
        import zmq

        assert self._context is not None
        socket = self._context.socket(kind)
        # A peer that announces a larger message is cut off before it is read.
        socket.setsockopt(zmq.MAXMSGSIZE, message_max)
        # A subscription that does not fit into the queue towards a publisher would be dropped silently.
        socket.setsockopt(zmq.SNDHWM, 0)
        # A peer that vanished without a word is found out within two minutes.
        for option, value in ((zmq.TCP_KEEPALIVE, 1), (zmq.TCP_KEEPALIVE_IDLE, 60), (zmq.TCP_KEEPALIVE_INTVL, 15)):
            socket.setsockopt(option, value)
        for endpoint in endpoints:
            address = parse_endpoint(endpoint)
            socket.setsockopt(zmq.IPV6, ":" in address.host)
            try:
                (socket.connect if is_connecting else socket.bind)(endpoint)
            except zmq.ZMQError as error:
                raise OSError(error.errno, f"{endpoint}: {error.strerror}") from None
            if address.path and not is_connecting:
                self._paths[address.path] = os.stat(address.path).st_ino
        return socket

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

    async def _answer(self, socket: "zmq.asyncio.Socket") -> None:
        # Libraries put their own host for the star.
        addresses = {"publish-pull": self._settings.pull}
        if not self._settings.sub_connect:
            addresses["publish-sub"] = next(iter(self._settings.sub), "")
        given = {name: address.replace("//0.0.0.0:", "//*:") for name, address in addresses.items() if address}
        while True:
            parts = await socket.recv_multipart()
            await socket.send(answer_question(parts[0] if len(parts) == 1 else b"", given))
            await asyncio.sleep(0)


class Intake:
    """What becomes of messages: their items go to the bus, what is wrong is dropped."""

    def __init__(self, config: Config, bus: Bus, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._realm = config.zeromq.realm
        self._bus = bus
        self._metrics = metrics
        self._faults = Faults(clock)
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take items by other limits from now on."""
        self._item_max = config.realms[self._realm].max_item

    async def publish(self, name: str, messages: list[list[bytes]], read: Callable[[list[bytes]], Item]) -> None:
        """Publish the items of messages, each a list of parts, in one batch; ``name`` is the input's, for the log."""
        items = []
        for parts in messages:
            try:
                item = read(parts)
                if self._item_max and item.content_size > self._item_max:
                    raise ItemError(f"item: a content is larger than {self._item_max} bytes (the realm's max_item)")
            except ItemError as error:
                self._metrics.zeromq_messages["refused"] += 1
                self._faults.add(name, f"dropped a message: {error}")
            else:
                items.append(item)
        if not items:
            return
        try:
            await self._bus.publish(self._realm, tuple(items))
        except Exception as error:
            self._metrics.bus_errors += 1
            self._metrics.zeromq_messages["lost"] += len(items)
            self._faults.add(f"{name} to the bus", f"lost {len(items)} items ({type(error).__name__})")
            if not isinstance(error, OSError):
                log.exception("the bus failed")
            return
        self._metrics.zeromq_messages["published"] += len(items)
        self._metrics.count_items(items)


def read_pull(parts: list[bytes]) -> Item:
    """Read what a PULL socket received. Raises: ItemError"""
    if len(parts) != 1:
        raise ItemError(f"a message must be one part, not {len(parts)}")
    return parse_message(parts[0])


def read_sub(parts: list[bytes]) -> Item:
    """Read what a SUB socket received. Raises: ItemError"""
    if len(parts) != 2:
        raise ItemError(f"a message must be two parts, channel and item, not {len(parts)}")
    return parse_message(parts[1], parts[0])


def require_pyzmq(config: Config) -> None:
    """Raises: ConfigError when pyzmq is missing."""
    try:
        import zmq.asyncio  # noqa: F401
    except ImportError as error:
        raise config.error("zeromq", f"needs pip install gripproxy[zmq] ({error})") from None


class Faults:
    """Logs what went wrong: the first of each input at once, then a line a minute with the number of the others.

    A publisher that is wrong once is wrong with each of its messages.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._logged_at: dict[str, float] = {}
        self._unlogged: dict[str, int] = {}

    def add(self, name: str, reason: str) -> None:
        """Log or count one; ``reason`` may quote what a stranger sent, so it is escaped and cut."""
        now = self._clock()
        unlogged = self._unlogged.get(name, 0)
        if name in self._logged_at and now - self._logged_at[name] < LOG_EVERY:
            self._unlogged[name] = unlogged + 1
            return
        self._logged_at[name], self._unlogged[name] = now, 0
        more = f" ({unlogged} more before it)" if unlogged else ""
        log.warning("zeromq.%s: %s%s", name, reason[:REASON_MAX].encode("unicode_escape").decode(), more)
