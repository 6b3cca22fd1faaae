"""A client that is refused is answered once, after its request, and then let go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gripproxy.transports.refusal import ANSWER, AT_ONCE_MAX, TIME, Refusal


class Timer:
    """A timer that the test lets run out."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self.seconds, self.call, self.is_cancelled = seconds, call, False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """As much of an event loop as a refusal uses."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(seconds, call))
        return self.timers[-1]


class Wire(asyncio.Transport):
    """A transport that remembers what was done to it."""

    def __init__(self, is_tls: bool = False) -> None:
        super().__init__()
        self.done: list[Any] = []
        self._is_tls = is_tls

    def write(self, data: Any) -> None:
        self.done.append(bytes(data))

    def can_write_eof(self) -> bool:
        return not self._is_tls

    def write_eof(self) -> None:
        self.done.append("eof")

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")


def refused(wire: Wire, waiting: set[Refusal]) -> tuple[Refusal, Loop]:
    loop = Loop()
    refusal = Refusal(loop, waiting)  # type: ignore[arg-type]
    refusal.connection_made(wire)
    return refusal, loop


@pytest.mark.parametrize(("is_tls", "end"), [(False, "eof"), (True, "close")])
def test_the_answer_comes_once_and_behind_the_request(is_tls: bool, end: str) -> None:
    wire = Wire(is_tls)
    refusal, _ = refused(wire, set())
    assert [] == wire.done
    for data in (b"GET / HT", b"TP/1.1\r\n\r\n"):
        refusal.data_received(data)
    assert [ANSWER, end] == wire.done
    assert ANSWER.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nConnection: close\r\n" in ANSWER


def test_a_client_that_stays_is_cut() -> None:
    wire = Wire()
    _, loop = refused(wire, set())
    (timer,) = loop.timers
    assert TIME == timer.seconds
    timer.call()
    assert ["abort"] == wire.done


def test_a_client_that_has_gone_is_forgotten() -> None:
    waiting: set[Refusal] = set()
    refusal, loop = refused(Wire(), waiting)
    assert {refusal} == waiting
    refusal.connection_lost(None)
    refusal.data_received(b"x")
    assert (set(), True) == (waiting, loop.timers[0].is_cancelled)


def test_only_so_many_are_told_at_a_time() -> None:
    waiting: set[Refusal] = set()
    for _ in range(AT_ONCE_MAX):
        refused(Wire(), waiting)
    wire = Wire()
    _, loop = refused(wire, waiting)
    assert (["abort"], []) == (wire.done, loop.timers)
