"""The bus of several processes and machines: a Redis stream that all of them append to and read.

    publish ──> waiting ──XADD──> stream ──XREAD──> ledger ──> sink        (in every process, the publisher's own too)

A batch is one entry, so it is there whole or not at all, and everybody sees all entries in one order. Nobody is
subscribed to anything: each process reads on from the entry that it read last, so what a broken connection, a pause or
a restart of Redis keeps from it comes later, not never. Where that cannot be shown, the holds of all realms ask their
backends (`on_recover`); nothing is assumed to have arrived.

Redis acknowledges entries, a fail-over may forget them all the same. Every process therefore appends what it published
in the last seconds once more when it finds another server; the numbers of the entries show who had them already.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gripproxy.bus.entry import Entry, EntryError, Ledger, Verdict
from gripproxy.bus.local import Sink
from gripproxy.config import Bus as Settings
from gripproxy.grip.item import Item
from gripproxy.metrics import Metrics
from gripproxy.receipts import Receipt

log = logging.getLogger("gripproxy.bus")

# Entries of one round of XADD, and of one XREAD.
ROUND_MAX = 32

# Milliseconds that one XREAD waits. A connection that is silent for longer than SILENCE is dead.
BLOCK = 2000
SILENCE = 5.0

# Bytes of batches that wait for Redis, and of those that a fail-over could forget.
WAITING_MAX = 8 << 20
RECENT_MAX = 8 << 20

# Seconds for which an acknowledged entry could be forgotten by a fail-over: the replicas are not further behind.
RECENT_AGE = 10.0

# Seconds between two tries to reach Redis.
RETRY_FIRST = 0.05
RETRY_MOST = 1.0

# Seconds between two looks whether there is room again (limits.backlog).
FULL_TICK = 0.01

# Bytes of entries after which the loop is left to others.
BREATH = 65_536

_START = b"0-0"

# Replies after which a new connection is needed. A server that another one has taken the place of keeps its
# connections, and writes nothing any more.
_AWAY = (redis.exceptions.ConnectionError, redis.exceptions.ReadOnlyError)


@dataclass(slots=True, eq=False)
class _Batch:
    """A batch on its way: ``number`` is 0 until it is sent for the first time."""

    realm: str
    items: tuple[Item, ...] | None
    size: int
    done: asyncio.Future[None]
    receipt: Receipt | None = None
    number: int = 0


class RedisBus:
    """The bus at a ``redis://`` or ``rediss://`` URL.

    ``has_room()`` tells whether this process can take more; until then entries stay in Redis, for ``keep`` seconds.
    ``sink(realm, items)`` takes every batch, ``on_recover(realm)`` every request to recover, and with None for every
    realm whatever may be lost.
    """

    def __init__(
        self,
        settings: Settings,
        sink: Sink,
        on_recover: Callable[[str | None], None],
        metrics: Metrics,
        has_room: Callable[[], bool],
    ) -> None:
        self._has_room = has_room
        self._key = settings.key
        self._keep = settings.keep
        self._timeout = settings.timeout
        self._sink = sink
        self._on_recover = on_recover
        self._metrics = metrics
        # One connection each: a reader that waits must not keep a writer waiting. What is sent again is decided here.
        options: dict[str, Any] = {
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": SILENCE,
            "socket_connect_timeout": SILENCE,
            "socket_keepalive": True,
            "max_connections": 1,
        }
        self._reader = redis.asyncio.Redis.from_url(settings.url, **options)
        self._writer = redis.asyncio.Redis.from_url(settings.url, redis_connect_func=self._connect, **options)
        self._publisher = secrets.token_hex(8)
        self._number = 0
        self._waiting: deque[_Batch] = deque()
        self._waiting_size = 0
        self._wake = asyncio.Event()
        # Sent and not acknowledged, in the order of their numbers.
        self._sent: list[_Batch] = []
        # Acknowledged a moment ago: when, size, entry.
        self._recent: deque[tuple[float, int, Entry]] = deque()
        self._recent_size = 0
        # The server that was written to, and whether to ask which one it is now.
        self._server = ""
        self._is_doubtful = True
        # Of the reader: the id of the entry that it read last, None before it has a place.
        self._position: bytes | None = None
        self._read_from = ""
        # Whether the writer has found another server since: the reader's may never have news again.
        self._is_astray = False
        self._ledger = Ledger()
        # Of this process's entries on their way, by publisher and number; who gave up waiting is gone by itself.
        self._receipts: WeakValueDictionary[tuple[str, int], Receipt] = WeakValueDictionary()
        self._loop = asyncio.get_running_loop()

    @property
    def is_full(self) -> bool:
        """Whether this process has more to write than it may; then it reads no entries either."""
        return not self._has_room()

    async def publish(self, realm: str, items: tuple[Item, ...], receipt: Receipt | None = None) -> None:
        """Append a batch to the stream.

        Raises: OSError when Redis did not take it in time, or too much waits; then nobody gets it, but for the case
        that Redis took it and then could not say so: those who have read it by then have it.
        """
        await self._append(realm, items, sum(item.content_size for item in items) + 200 * len(items), receipt)

    async def recover(self, realm: str) -> None:
        """Ask every process to recover a realm.

        Raises: OSError
        """
        await self._append(realm, None, 0)

    async def _append(
        self, realm: str, items: tuple[Item, ...] | None, size: int, receipt: Receipt | None = None
    ) -> None:
        if self._waiting_size + size > WAITING_MAX and self._waiting_size:
            raise OSError(f"more than {WAITING_MAX} bytes wait for Redis")
        batch = _Batch(realm, items, size, self._loop.create_future(), receipt)
        self._waiting.append(batch)
        self._waiting_size += size
        self._wake.set()
        try:
            async with asyncio.timeout(self._timeout):
                await asyncio.shield(batch.done)
        except TimeoutError:
            if batch.done.done():  # in the very moment in which the time ran out
                return batch.done.result()
            self._withdraw(batch)
            raise OSError(f"Redis did not take it within {self._timeout:g} s") from None

    def _withdraw(self, batch: _Batch) -> None:
        """Have a batch that was refused reach nobody: it is not sent, or what is sent again of it is nothing."""
        batch.items = ()
        if not batch.number and batch in self._waiting:
            self._waiting.remove(batch)
            self._waiting_size -= batch.size

    async def run(self) -> None:
        """Write and read until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write())
            tasks.create_task(self._read())

    async def close(self) -> None:
        """Let go of the connections."""
        await self._reader.aclose()
        await self._writer.aclose()

    # Writing

    async def _write(self) -> None:
        pause = 0.0
        while True:
            if not self._sent:
                if not self._waiting and not self._is_doubtful:
                    self._wake.clear()
                    await self._wake.wait()
                while self._waiting and len(self._sent) < ROUND_MAX:
                    batch = self._waiting.popleft()
                    self._waiting_size -= batch.size
                    self._number += 1
                    batch.number = self._number
                    if batch.receipt is not None:
                        self._receipts[self._publisher, self._number] = batch.receipt
                    self._sent.append(batch)
            try:
                await self._meet_server()
                await self._send()
            except (RedisError, OSError) as error:
                if not pause:
                    log.error("cannot write to the bus, publishers are refused: %s", reason(error))
                self._is_doubtful = True
                pause = min(max(RETRY_FIRST, pause * 2), RETRY_MOST)
                await self._writer.connection_pool.disconnect()
                await asyncio.sleep(pause)
            else:
                if pause:
                    log.info("the bus takes what is published again")
                pause = 0.0

    async def _connect(self, connection: AbstractConnection) -> None:
        """Let the library connect only where it is asked which server that is, not by itself in front of an entry."""
        if not self._is_doubtful:
            raise redis.exceptions.ConnectionError("the connection is lost")
        await connection.on_connect()

    async def _meet_server(self) -> None:
        """Before the first entry of a connection: if the server is another one, append what it may not have."""
        if not self._is_doubtful:
            return
        server = await identify(self._writer)
        if self._server and server != self._server:
            self._forget()
            if self._recent:
                log.warning("the bus is another server now: appending the last %d entries again", len(self._recent))
                await self._add([entry for _, _, entry in self._recent])
        self._server = server
        self._is_doubtful = False
        self._is_astray = self._read_from not in ("", server)

    async def _send(self) -> None:
        if not self._sent:
            return
        entries = [Entry(self._publisher, batch.number, batch.realm, batch.items) for batch in self._sent]
        replies = await self._add(entries)
        for batch, entry, reply in zip(self._sent, entries, replies, strict=True):
            if isinstance(reply, Exception):
                # The server refuses it: it has no memory, say. Its number is gone with it.
                self._number = 0
                self._publisher = secrets.token_hex(8)
                if not batch.done.done():
                    batch.done.set_exception(OSError(reason(reply)))
                continue
            if not batch.done.done():
                batch.done.set_result(None)
            self._recent.append((self._loop.time(), batch.size, entry))
            self._recent_size += batch.size
        self._sent = []
        self._forget()

    def _forget(self) -> None:
        """Keep of what was acknowledged only what a fail-over could forget."""
        now, recent = self._loop.time(), self._recent
        while recent and (now - recent[0][0] > RECENT_AGE or self._recent_size > RECENT_MAX):
            self._recent_size -= recent.popleft()[1]

    async def _add(self, entries: list[Entry]) -> list[Any]:
        oldest = self._oldest()
        pipeline = self._writer.pipeline(transaction=False)
        for entry in entries:
            pipeline.xadd(self._key, entry.encode(), minid=oldest, approximate=True)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        broken = next((one for one in replies if isinstance(one, _AWAY)), None)
        if broken is not None:
            raise broken
        return replies

    def _oldest(self) -> str:
        """The id below which entries need not be kept, on the clock of the server: the reader has seen its time."""
        now = int((self._position or _START).partition(b"-")[0])
        return str(max(0, now - int(self._keep * 1000)))

    # Reading

    async def _read(self) -> None:
        pause = 0.0
        is_sure = False  # that nothing is missing in front of what comes next
        while True:
            try:
                if not is_sure:
                    await self._find_place()
                    is_sure = True
                    self._metrics.bus_up = 1
                    if pause:
                        log.info("reading the bus again")
                    pause = 0.0
                assert self._position is not None
                began = self._loop.time()
                replies: Any = await self._reader.xread({self._key: self._position}, ROUND_MAX, BLOCK)
                for identifier, fields in entries_of(replies):
                    while self.is_full:  # noqa: ASYNC110  # rare
                        await asyncio.sleep(FULL_TICK)
                    await self._take(identifier, fields)
                # Whoever was away for so long may have missed what was trimmed meanwhile.
                is_sure = self._loop.time() - began < self._keep / 2
                if self._is_astray:
                    self._is_astray = is_sure = False
                    await self._reader.connection_pool.disconnect()
            except (RedisError, OSError) as error:
                if not pause:
                    log.error("cannot read the bus: %s", reason(error))
                is_sure = False
                self._metrics.bus_up = 0
                pause = min(max(RETRY_FIRST, pause * 2), RETRY_MOST)
                await self._reader.connection_pool.disconnect()
                await asyncio.sleep(pause)

    async def _find_place(self) -> None:
        """Make sure that reading on from the latest entry misses nothing, or say that it may."""
        server = await identify(self._reader)
        if self._read_from != server:
            # The writer may have nothing to write for long, and so not notice.
            self._read_from, self._is_doubtful = server, True
            self._wake.set()
        if self._position is None:
            newest: Any = await self._reader.xrevrange(self._key, count=1)
            self._position = newest[0][0] if newest else _START
            # Who is held already may lack what others published before this.
            self._on_recover(None)
            return
        if self._position == _START or await self._reader.xrange(self._key, self._position, self._position):
            return
        # Our entry is gone: it was trimmed, or the server has lost it. Read all that there is; the ledger knows what
        # was read before.
        self._position = _START
        self._gap("entries may have been lost while the bus was away")

    async def _take(self, identifier: bytes, fields: dict[bytes, bytes]) -> None:
        self._position = identifier
        try:
            entry = Entry.decode(fields)
        except EntryError as error:
            self._gap(f"entry {identifier.decode()} cannot be read: {error}")
            return
        verdict = self._ledger.judge(entry.publisher, entry.number)
        if verdict is Verdict.SEEN:
            return
        if verdict is Verdict.HOLE:
            self._gap(f"an entry before {identifier.decode()} is lost")
        try:
            if entry.items is None:
                self._on_recover(entry.realm)
            elif entry.items and (receipt := self._receipts.pop((entry.publisher, entry.number), None)) is not None:
                # A receipt knows the items that were handed in, and these are equal.
                self._sink(entry.realm, receipt.items, receipt)
            elif entry.items:
                self._sink(entry.realm, entry.items)
        except Exception:
            self._metrics.sink_errors += 1
            log.exception("realm %s: delivering a batch failed; some items may be lost", entry.realm)
        if len(fields[b"i"]) > BREATH:
            await asyncio.sleep(0)

    def _gap(self, text: str) -> None:
        self._metrics.bus_gaps += 1
        log.warning("%s: all holds ask their backends", text)
        self._on_recover(None)


async def identify(client: Any) -> str:
    """Return what tells one server, and one life of it, from another.

    Raises: RedisError, also when the server does not tell, as some that only speak like Redis do not.
    """
    info: dict[str, Any] = await client.info("server")
    if "run_id" not in info:
        raise RedisError("the server's INFO has no run_id; the bus needs Redis or Valkey")
    return str(info["run_id"])


def entries_of(replies: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Return the entries in a reply to XREAD of one stream."""
    return replies[0][1] if replies else []


def reason(error: BaseException) -> str:
    """Say what is wrong with Redis, in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
