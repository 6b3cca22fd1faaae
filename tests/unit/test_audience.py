"""Who is there, and the pages of a long list."""

import asyncio
from typing import Any

import pytest

from gripproxy import audience
from gripproxy.audience import Audience, Channel
from gripproxy.grip import wire
from gripproxy.hub import EACH, Hub

NOBODY = {"http-response": 0, "http-stream": 0, "ws-message": 0}


class Poll:
    transport_name = "response"


class Stream:
    transport_name = "stream"


class Socket:
    transport_name = "websocket"


class Watcher:
    """A subscriber that is no client."""


@pytest.fixture
def hub() -> Hub:
    return Hub(None, lambda subscriber, error: None)  # type: ignore[arg-type]


def subscribe(hub: Hub, kind: type, framing: str, channel: str = "c", realm: str = "r") -> None:
    subscriber: Any = kind()
    hub.subscribe(subscriber, realm, channel, framing)


def test_subscribers_are_counted_by_the_format_that_they_take(hub: Hub) -> None:
    """On either road."""
    for kind, framing, number in [
        (Poll, EACH, 1),
        (Stream, EACH, 2),
        (Stream, wire.CHUNK, 3),
        (Stream, wire.PLAIN, 4),
        (Socket, EACH, 5),
        (Socket, wire.FRAME, 6),
        (Socket, wire.DEFLATED, 7),
        (Watcher, EACH, 8),
    ]:
        for _ in range(number):
            subscribe(hub, kind, framing)
    subscribe(hub, Poll, EACH, realm="other")
    assert {"http-response": 1, "http-stream": 9, "ws-message": 18} == Audience(hub).count("r", "c")


def test_a_channel_without_subscribers_has_none(hub: Hub) -> None:
    assert NOBODY == Audience(hub).count("r", "c")


def names(hub: Hub, prefix: str = "", after: str = "", limit: int = 100) -> tuple[list[str], bool]:
    page, has_more = asyncio.run(Audience(hub).page("r", prefix, after, limit))
    return [channel.name for channel in page], has_more


def test_channels_are_told_with_their_subscribers(hub: Hub) -> None:
    subscribe(hub, Stream, wire.CHUNK, "b")
    subscribe(hub, Poll, EACH, "a")
    subscribe(hub, Poll, EACH, "x", "other")
    page = asyncio.run(Audience(hub).page("r", "", "", 10))
    assert ([Channel("a", {**NOBODY, "http-response": 1}), Channel("b", {**NOBODY, "http-stream": 1})], False) == page


@pytest.mark.parametrize("a_slice", [1, 2, 5_000])
def test_a_list_comes_in_pages(hub: Hub, monkeypatch: pytest.MonkeyPatch, a_slice: int) -> None:
    monkeypatch.setattr(audience, "SLICE", a_slice)
    for name in ("c3", "c1", "d", "c2", "c1 é"):
        subscribe(hub, Poll, EACH, name)
    assert (["c1", "c1 é"], True) == names(hub, limit=2)
    assert (["c2", "c3"], True) == names(hub, after="c1 é", limit=2)
    assert (["d"], False) == names(hub, after="c3", limit=2)
    assert (["c1", "c1 é", "c2", "c3"], False) == names(hub, prefix="c", limit=4)
    assert ([], False) == names(hub, prefix="e")


def test_the_loop_goes_on_while_a_long_list_is_made(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "SLICE", 10)
    for number in range(100):
        subscribe(hub, Poll, EACH, f"c{number:02}")
    turns = 0

    async def ask() -> None:
        nonlocal turns
        asking = asyncio.create_task(Audience(hub).page("r", "", "", 5))
        while not asking.done():
            turns += 1
            await asyncio.sleep(0)
        await asking

    asyncio.run(ask())
    assert turns >= 10


def test_who_leaves_meanwhile_is_not_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "SLICE", 1)
    subscribe(hub, Poll, EACH, "a")
    poll: Any = Poll()
    hub.subscribe(poll, "r", "b", EACH)

    async def ask() -> list[Channel]:
        asking = asyncio.create_task(Audience(hub).page("r", "", "", 5))
        await asyncio.sleep(0)
        hub.unsubscribe(poll, "r", "b", EACH)
        return (await asking)[0]

    assert [Channel("a", {**NOBODY, "http-response": 1}), Channel("b", NOBODY)] == asyncio.run(ask())
