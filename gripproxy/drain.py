"""The end of a proxy in good order: held clients come back, and not all at once; requests under way are answered.

A client that is let go connects again within moments, most likely to another proxy or to the one that takes over here.
So many are let go over a time, and what each of them is told is that it should come back: a stream ends, a long-poll is
answered with what was held, a WebSocket is closed with 1012.
"""

import asyncio
import logging
from typing import Any

from aiohttp import web

from gripproxy.transports.holds import Holds

log = logging.getLogger("gripproxy.server")

# Holds that are ended in a second at least, however long the drain may take: few clients need no spreading.
ENDED_PER_SECOND = 1000
DRAIN_TICK = 0.05

# Seconds behind shutdown_timeout in which requests under way may be answered, and behind the drain in which backends
# are told what they have to know.
HANDLER_GRACE = 2.0

# Seconds that those requests get to notice that they are cut.
CUT_GRACE = 0.05


async def drain(holds: Holds, seconds: float, hurry: asyncio.Event) -> None:
    """End all holds, many of them spread over ``seconds``: their clients come back, and not all at once."""
    ending = list(holds.open)
    a_slice = max(1, round(max(len(ending) / seconds, ENDED_PER_SECOND) * DRAIN_TICK)) if seconds else len(ending)
    for start in range(0, len(ending), a_slice or 1):
        for hold in ending[start : start + a_slice]:
            if hold in holds.open:
                hold.end("shutdown")
        if start + a_slice < len(ending) and not hurry.is_set():
            await asyncio.sleep(DRAIN_TICK)


async def finish(holds: Holds, server: web.Server, hurry: asyncio.Event, seconds: float) -> None:
    """Let end what is under way at a door, for ``seconds`` at most and not after a second signal; cut what is left.

    Under way are requests, and, for HANDLER_GRACE, what the backends are still to be told (DISCONNECT events, gone
    links): they may be gone themselves.
    """

    async def end() -> None:
        await asyncio.gather(_silence(holds), server.shutdown(seconds))

    waits: list[asyncio.Task[Any]] = [asyncio.create_task(end()), asyncio.create_task(hurry.wait())]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    await asyncio.wait(waits)
    if left := len(server.connections):
        log.warning("cut what was still under way: requests of %d clients", left)
    for hold in list(holds.open):  # held since the drain
        if hold in holds.open:
            hold.end("shutdown")
    # aiohttp waits its timeout twice: for the end of a request, and for what it told to end. Together too long above.
    await server.shutdown(CUT_GRACE)


async def _silence(holds: Holds) -> None:
    """Return when no conversation with a backend is left, or none should be."""
    loop = asyncio.get_running_loop()
    end = loop.time() + HANDLER_GRACE
    while holds.talking and loop.time() < end:  # noqa: ASYNC110  # rare
        await asyncio.sleep(DRAIN_TICK)
