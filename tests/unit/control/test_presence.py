"""The lists of channels: their pages, and what a wrong one is told."""

import asyncio
import json
from typing import Any

import pytest

from gripproxy.audience import Audience
from gripproxy.control.answer import RefusalError
from gripproxy.control.presence import Presence, parse_limit
from gripproxy.grip import wire
from gripproxy.hub import Hub

ONE = {"http-response": 0, "http-stream": 1, "ws-message": 0}


@pytest.fixture
def presence() -> Presence:
    hub = Hub(None, lambda subscriber, error: None)  # type: ignore[arg-type]
    for name in ("a1", "a2", "b"):
        hub.subscribe(object(), "r", name, wire.CHUNK)  # type: ignore[arg-type]
    return Presence(Audience(hub))


def listed(presence: Presence, **query: str) -> Any:
    return json.loads(asyncio.run(presence.channels("r", query)))


def test_pages_follow_one_another(presence: Presence) -> None:
    first = listed(presence, limit="2")
    assert {
        "channels": [{"channel": "a1", "subscribers": ONE}, {"channel": "a2", "subscribers": ONE}],
        "next": "a2",
        "scope": "process",
    } == first
    second = listed(presence, limit="2", after=first["next"])
    assert (["b"], None) == ([channel["channel"] for channel in second["channels"]], second["next"])


def test_a_prefix_chooses(presence: Presence) -> None:
    assert ["b"] == [channel["channel"] for channel in listed(presence, prefix="b")["channels"]]


def test_one_channel_is_told_whether_it_has_subscribers_or_not(presence: Presence) -> None:
    assert {"channel": "b", "subscribers": ONE, "scope": "process"} == json.loads(presence.channel("r", "b"))
    nobody = {**ONE, "http-stream": 0}
    assert {"channel": "x", "subscribers": nobody, "scope": "process"} == json.loads(presence.channel("r", "x"))


@pytest.mark.parametrize(("text", "expected"), [(None, 100), ("1", 1), ("1000", 1000)])
def test_a_limit(text: str | None, expected: int) -> None:
    assert expected == parse_limit(text)


@pytest.mark.parametrize("text", ["", "0", "1001", "-1", "1.5", "x", "\u0661", "9" * 5000])
def test_another_limit_is_refused(text: str) -> None:
    with pytest.raises(RefusalError, match=r"^limit must be from 1 to 1000, not '") as caught:
        parse_limit(text)
    assert 400 == caught.value.status
