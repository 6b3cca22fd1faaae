"""What the house does beside building its parts: options of sockets, and the end of holds."""

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from gripproxy.server import ENDED_PER_SECOND, USER_TIMEOUT, drain, tune


def test_peers_that_vanish_are_noticed() -> None:
    """By probes while nothing is sent, and on Linux by what they do not acknowledge; connections inherit both."""
    with socket.socket() as listener:
        tune(listener)
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert USER_TIMEOUT == listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


class Hold:
    """A hold that says when it ends; ``others`` are those that end with it."""

    def __init__(self, holds: Any, others: tuple["Hold", ...] = ()) -> None:
        self._holds, self._others = holds, others

    def end(self, reason: str) -> None:
        self._holds.ended.append(reason)
        for one in (self, *self._others):
            self._holds.open.pop(one, None)


def crowd(count: int) -> Any:
    holds = SimpleNamespace(open={}, ended=[], talking=0)
    holds.open.update(dict.fromkeys(Hold(holds) for _ in range(count)))
    return holds


@pytest.mark.parametrize("seconds", [0.0, 10.0])
def test_few_holds_end_at_once(seconds: float) -> None:
    holds = crowd(ENDED_PER_SECOND // 100)
    asyncio.run(drain(holds, seconds, asyncio.Event()))
    assert (["shutdown"] * (ENDED_PER_SECOND // 100), {}) == (holds.ended, holds.open)


def test_nobody_is_ended_twice() -> None:
    holds = crowd(3)
    first, second, _ = holds.open
    first._others = (second,)
    asyncio.run(drain(holds, 10.0, asyncio.Event()))
    assert (2, {}) == (len(holds.ended), holds.open)


def test_a_second_signal_ends_all_at_once() -> None:
    async def test() -> None:
        holds, hurry = crowd(10 * ENDED_PER_SECOND), asyncio.Event()
        holds.talking = 1  # a backend that is never done
        hurry.set()
        await drain(holds, 3600.0, hurry)
        assert 10 * ENDED_PER_SECOND == len(holds.ended)

    asyncio.run(asyncio.wait_for(test(), 10))
