"""Channels that nobody has been subscribed to: told once, several in a line, and not too often."""

import logging
from collections.abc import Iterator

import pytest

from gripproxy import unheard
from gripproxy.unheard import LOG_EVERY, LOOKED_AT_MAX, NAME_MAX, Unheard


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    with caplog.at_level(logging.INFO, "gripproxy.unheard"):
        yield caplog.messages


def test_the_first_is_told_at_once_and_the_others_together(lines: list[str], caplog: pytest.LogCaptureFixture) -> None:
    channels = Unheard()
    channels.add("r", "a", 0.0)
    for name in ("b", "a", "c", "d", "b", "e", "f", "g"):
        channels.add("r", name, LOG_EVERY - 1)
    channels.add("r", "h", LOG_EVERY)
    channels.add("r", "a", 2 * LOG_EVERY)

    said = "that nobody has been subscribed to"
    assert [
        f"realm r: published to 1 channel {said} (a): is the name right, with the route's prefix?",
        f"realm r: published to 7 channels {said} (b, c, d, e, f, ...): is the name right, with the route's prefix?",
    ] == [record.getMessage() for record in caplog.records]


def test_a_realm_does_not_silence_another(caplog: pytest.LogCaptureFixture, lines: list[str]) -> None:
    channels = Unheard()
    channels.add("r", "a", 0.0)
    channels.add("s", "a", 0.0)
    assert ["realm r", "realm s"] == [record.getMessage().partition(":")[0] for record in caplog.records]


def test_the_realm_that_has_subscribers_is_named(caplog: pytest.LogCaptureFixture, lines: list[str]) -> None:
    channels = {("news", "b"): 1, ("default", "a"): 1, ("news", "a"): 1}
    Unheard(channels).add("default", "a", 0.0)
    Unheard(channels | {("news", str(number)): 1 for number in range(LOOKED_AT_MAX)}).add("default", "a", 0.0)
    line = "realm default: published to 1 channel that nobody has been subscribed to (a): "
    assert [
        line + "realm news has subscribers of a; is it the one to publish to?",
        line + "is the name right, with the route's prefix?",
    ] == caplog.messages


def test_a_channel_that_had_subscribers_is_not_told(caplog: pytest.LogCaptureFixture, lines: list[str]) -> None:
    channels = Unheard()
    channels.had("r", "a")
    channels.add("r", "a", 0.0)
    assert [] == caplog.records


def test_a_name_is_escaped_and_cut(caplog: pytest.LogCaptureFixture, lines: list[str]) -> None:
    Unheard().add("r", "a\u2028" + "x" * 200, 0.0)
    assert "(a\\u2028" + "x" * (NAME_MAX - 2) + ")" in caplog.records[0].getMessage()


def test_what_is_known_has_an_end(
    caplog: pytest.LogCaptureFixture, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unheard, "KNOWN_MAX", 2)
    channels = Unheard()
    for number, name in enumerate(("a", "b", "a", "c", "a")):
        channels.had("r", name) if name == "a" else channels.add("r", name, number * LOG_EVERY)
    channels.add("r", "b", 9 * LOG_EVERY)
    assert ["b", "c", "b"] == [record.getMessage().partition("(")[2][0] for record in caplog.records]
