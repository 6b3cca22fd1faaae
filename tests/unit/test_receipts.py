"""Receipts: what is noted of each item of a batch, and when all of it is written."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gripproxy.grip.item import HttpStream, Item, WsMessage
from gripproxy.receipts import DELIVERED, DUPLICATE, NOBODY, UNKNOWN, WAITING, Receipt

AUDIENCE = {"http-response": 1, "http-stream": 2, "ws-message": 3}


def is_over(wait: Callable[[], Awaitable[None]]) -> bool:
    async def ask() -> bool:
        try:
            async with asyncio.timeout(0):
                await wait()
        except TimeoutError:
            return False
        return True

    return asyncio.run(ask())


def batch() -> tuple[Item, Item]:
    return Item("a", "1", stream=HttpStream("send", b"x")), Item("a", "2", message=WsMessage("send", "text", b"x"))


def test_an_item_is_for_those_who_take_a_format_that_it_has() -> None:
    items = batch()
    receipt = Receipt(items)
    receipt.note(items[1], DELIVERED, AUDIENCE)
    receipt.note(items[0], DUPLICATE)
    assert [DUPLICATE, DELIVERED] == receipt.results
    assert [NOBODY, {"http-response": 0, "http-stream": 0, "ws-message": 3}] == receipt.receivers


def test_what_waited_may_be_delivered_after_all() -> None:
    items = batch()
    receipt = Receipt(items)
    receipt.note(items[0], WAITING)
    receipt.note(items[0], DELIVERED, AUDIENCE)
    assert [DELIVERED, UNKNOWN] == receipt.results


def test_equal_items_are_told_apart() -> None:
    items = (batch()[0], batch()[0])
    receipt = Receipt(items)
    receipt.note(items[1], DELIVERED)
    assert (True, False) == (items[1] in receipt, batch()[0] in receipt)
    assert [UNKNOWN, DELIVERED] == receipt.results


def expect(passes: int) -> Callable[[Receipt], None]:
    return lambda receipt: receipt.expect(passes)


def note(place: int) -> Callable[[Receipt], None]:
    return lambda receipt: receipt.note(receipt.items[place], DELIVERED)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], False),
        ([note(0), expect(0)], False),
        ([note(0), note(1), expect(0)], True),
        ([note(0), note(1), expect(2), Receipt.on_written], False),
        ([note(0), note(1), expect(2), Receipt.on_written, Receipt.on_written], True),
        ([note(0), expect(1), Receipt.on_written, note(1), expect(0)], True),
    ],
)
def test_all_is_written_when_all_is_known_and_every_pass_is_done(
    steps: list[Callable[[Receipt], None]], expected: bool
) -> None:
    receipt = Receipt(batch())
    for step in steps:
        step(receipt)
    assert expected == is_over(receipt.written)


def test_a_batch_of_nothing_is_written_at_once() -> None:
    assert is_over(Receipt(()).written)


def test_what_became_of_the_items_is_known_before_they_are_written() -> None:
    receipt = Receipt(batch())
    receipt.note(receipt.items[0], DUPLICATE)
    receipt.expect(0)
    assert not is_over(receipt.known)
    receipt.note(receipt.items[1], WAITING)
    receipt.expect(1)
    assert (True, False) == (is_over(receipt.known), is_over(receipt.written))
