"""Reads the configuration again while the proxy runs: at SIGHUP, at the control door's wish, when a file has changed.

    read and check all of it, in a thread ──┬── a fault: one line in the log, and everything goes on as before
                                            └── every part takes what is new, in one turn of the loop

Invariant: no turn of the loop sees parts of two configurations, and no connection is closed by it.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from gripproxy.changes import Outcome, applicable, describe_changes
from gripproxy.config import warnings
from gripproxy.config.source import Source
from gripproxy.errors import ConfigError
from gripproxy.metrics import Metrics
from gripproxy.resolved import Resolved, resolve_config

log = logging.getLogger("gripproxy.reload")

# Seconds between two looks at the files that are watched. A change is taken at the second look that finds it: by then
# whoever copies a file, or an editor that writes it anew, is done.
POLL = 0.5

# For those who ask when it is too late.
STOPPING = Outcome("refused", "The proxy is stopping.")


class Reload:
    """One reading at a time; ``current`` is the configuration that is in force, with all that was made of it."""

    def __init__(
        self,
        source: Source,
        start: Resolved,
        random_key: bytes,
        take: Callable[[Resolved], None],
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        tell: Callable[[str], None] = lambda state: None,
    ) -> None:
        """``take(new)`` hands a new configuration to every part; it must not fail.

        ``clock`` tells the seconds since the epoch; ``tell`` is told each beginning and end, in systemd's words.
        """
        self.current = start
        self._source = source
        self._random_key = random_key
        self._take = take
        self._metrics = metrics
        self._clock = clock
        self._tell = tell
        self._wake = asyncio.Event()
        self._cause = ""
        # Of those who have asked for the next reading.
        self._asked: asyncio.Future[Outcome] | None = None
        self._is_over = False
        # How the files were at the latest look.
        self._seen = source.stamps
        metrics.config_read = clock()

    def ask(self, cause: str) -> "asyncio.Future[Outcome]":
        """Have it read again; who asks while that is being done waits for the next time, as files may have changed."""
        if self._asked is None:
            self._asked = asyncio.get_running_loop().create_future()
        asked = self._asked
        if self._is_over:
            asked.set_result(STOPPING)
            self._asked = None
        self._cause = cause
        self._wake.set()
        return asked

    async def run(self) -> None:
        """Read it again whenever somebody asks, or a watched file has changed, until cancelled."""
        try:
            while True:
                cause = await self._wait()
                self._wake.clear()
                asked, self._asked = self._asked, None
                outcome = STOPPING
                self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
                try:
                    outcome = await self._read_again(cause)
                    self._tell("READY=1")
                finally:
                    if asked is not None:
                        asked.set_result(outcome)
        finally:
            self._is_over = True
            if self._asked is not None:
                self._asked.set_result(STOPPING)
                self._asked = None

    async def _wait(self) -> str:
        """Return why the configuration is to be read, once it is."""
        while True:
            is_watched = self.current.config.server.watch
            try:
                async with asyncio.timeout(POLL if is_watched else None):
                    await self._wake.wait()
                return self._cause
            except TimeoutError:
                # In a thread, as everything that touches files: they may be on a server that does not answer.
                now = await asyncio.to_thread(self._source.look)
                has_settled, self._seen = now == self._seen, now
                if has_settled and now != self._source.stamps:
                    return "a change of files"

    async def _read_again(self, cause: str) -> Outcome:
        try:
            new, waiting, changes, doubts = await asyncio.to_thread(self._prepare)
        except ConfigError as error:
            return self._refuse(cause, str(error))
        except Exception as error:  # a fault of ours must not end what runs well
            log.exception("a fault in reading the configuration")
            return self._refuse(cause, f"a fault of the proxy: {type(error).__name__}")
        self._metrics.config_read = self._clock()
        if changes:
            self.current = new
            self._take(new)
            self._metrics.reloads["applied"] += 1
            log.info("reloaded after %s: %s", cause, changes)
            for text in doubts:
                log.warning("%s", text)
        else:
            self._metrics.reloads["unchanged"] += 1
            log.info("reloaded after %s: nothing to change", cause)
        text = f"Reloaded: {changes or 'nothing to change'}."
        if waiting:
            names = ", ".join(waiting)
            log.warning("a restart is needed for what has changed of %s", names)
            text += f" A restart is needed for {names}."
        return Outcome("applied" if changes else "unchanged", text)

    def _prepare(self) -> tuple[Resolved, tuple[str, ...], str, list[str]]:
        """Read it, and make what it comes to; return also what has to wait, what changes, and what is doubtful.

        Raises: ConfigError
        """
        old = self.current
        wanted = applicable(old.config, self._source.read())
        new = resolve_config(wanted.config, self._random_key, old.routes)
        changes = describe_changes(old.config, new.config, old.digests, new.digests)
        known = warnings(old.config)
        doubts = [text for text in warnings(new.config) if text not in known]
        return new, wanted.waiting, changes, doubts + new.certificates.warnings(self._clock())

    def _refuse(self, cause: str, reason: str) -> Outcome:
        self._metrics.reloads["refused"] += 1
        log.error("not reloaded after %s, everything goes on as before: %s", cause, reason)
        return Outcome("refused", reason)
