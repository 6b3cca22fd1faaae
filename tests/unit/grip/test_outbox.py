"""The outbox: what is offered, what is accepted, what is left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.errors import EventError
from gripproxy.grip.events import Event
from gripproxy.grip.outbox import Outbox

BIG = 1_000_000


def filled(*contents: bytes, kind: str = "TEXT") -> Outbox:
    outbox = Outbox()
    for content in contents:
        outbox.append(Event(kind, content))
    return outbox


def contents(outbox: Outbox) -> list[bytes]:
    return [event.content for event in outbox.batch(BIG, is_single=False)]


def test_acceptance_in_parts() -> None:
    """Pushpin's websocketoverhttptest.cpp, removePartial, whose frames are joined to messages here."""
    outbox = filled(b"hello world", b"", b"foo")
    for accepted, left in ((3, [b"lo world", b"", b"foo"]), (2, [b" world", b"", b"foo"]), (6, [b"foo"]), (3, [])):
        outbox.offer(BIG, is_single=False)
        assert outbox.accept(accepted)
        assert left == contents(outbox)
        assert sum(map(len, left)) == outbox.size


def test_an_empty_message_that_was_not_offered_is_not_accepted() -> None:
    """It would be in Pushpin."""
    outbox = filled(b"a")
    outbox.offer(BIG, is_single=False)
    outbox.append(Event("TEXT"))
    assert outbox.accept(None)
    assert [b""] == contents(outbox)


def test_more_than_was_offered_cannot_be_accepted_and_nothing_may_be() -> None:
    outbox = filled(b"a")
    outbox.offer(BIG, is_single=False)
    with pytest.raises(EventError, match="Content-Bytes-Accepted: 2 of 1"):
        outbox.accept(2)
    assert [b"a"] == contents(outbox)
    assert not outbox.accept(0)
    assert not outbox.has_news
    assert 1 == outbox.replayed_size


def test_a_request_without_events_makes_progress() -> None:
    outbox = Outbox()
    assert [] == outbox.offer(BIG, is_single=False)
    assert outbox.accept(None)


def test_disconnect_travels_alone() -> None:
    outbox = filled(b"a")
    outbox.append(Event("DISCONNECT"))
    assert [Event("TEXT", b"a")] == outbox.offer(BIG, is_single=False)
    assert not outbox.is_offered
    assert outbox.accept(None)
    assert [Event("DISCONNECT")] == outbox.offer(BIG, is_single=False)
    assert outbox.is_offered


def test_a_message_that_exceeds_the_batch_goes_alone() -> None:
    outbox = filled(b"12345", b"", b"6")
    assert [b"12345"] == [event.content for event in outbox.batch(3, is_single=False)]
    assert [b"12345", b""] == [event.content for event in outbox.batch(5, is_single=False)]


@given(
    st.lists(st.tuples(st.lists(st.binary(max_size=5), max_size=4), st.integers(0, 20)), max_size=8), st.integers(1, 8)
)
def test_every_byte_is_accepted_once_and_in_order(rounds: list[tuple[list[bytes], int]], size: int) -> None:
    outbox = Outbox()
    sent = accepted = b""
    for arriving, wish in rounds:
        batch = outbox.offer(size, is_single=False)
        offered = b"".join(event.content for event in batch)
        for content in arriving:  # while the request is under way
            outbox.append(Event("BINARY", content))
            sent += content
        taken = min(wish, len(offered))
        has_progressed = outbox.accept(taken)
        accepted += offered[:taken]
        assert has_progressed or (batch and not taken)
        assert len(sent) - len(accepted) == outbox.size
        assert outbox.replayed_size == len(offered) - taken
    outbox.offer(BIG, is_single=False)
    assert sent == accepted + b"".join(contents(outbox))
