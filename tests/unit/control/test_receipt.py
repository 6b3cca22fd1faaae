"""Receipts as a publisher reads them."""

import asyncio
import json
from typing import Any

import pytest

from gripproxy.control.answer import RefusalError
from gripproxy.control.receipt import encode_receipt, parse_wait
from gripproxy.grip.item import HttpStream, Item
from gripproxy.receipts import DELIVERED, DUPLICATE, Receipt


@pytest.mark.parametrize("text", [None, "queued", "written"])
def test_what_a_publisher_may_wait_for(text: str | None) -> None:
    assert text == parse_wait(text)


@pytest.mark.parametrize("text", ["", "delivered", "Written", "1"])
def test_what_it_may_not_is_named(text: str) -> None:
    with pytest.raises(RefusalError, match=f"^wait must be queued or written, not '{text}'.$") as caught:
        parse_wait(text)
    assert 400 == caught.value.status


def answer(wait: str, is_done: bool) -> Any:
    items = (Item("a", "1", stream=HttpStream("send", b"x")), Item("b", stream=HttpStream("send", b"x")))
    receipt = Receipt(items)
    receipt.note(items[0], DUPLICATE)
    if is_done:
        receipt.note(items[1], DELIVERED, {"http-response": 1, "http-stream": 2, "ws-message": 0})
        receipt.expect(0)
    return json.loads(asyncio.run(encode_receipt(receipt, wait, 0.0)))


NOBODY = {"http-response": 0, "http-stream": 0, "ws-message": 0}
FIRST = {"channel": "a", "id": "1", "result": "duplicate", "receivers": NOBODY}


@pytest.mark.parametrize("wait", ["queued", "written"])
def test_a_receipt_says_what_became_of_each_item(wait: str) -> None:
    second = {"channel": "b", "id": None, "result": "delivered", "receivers": {**NOBODY, "http-stream": 2}}
    expected = {"message": "Published", "scope": "process", "timed_out": False, "items": [FIRST, second]}
    assert expected == answer(wait, True)


@pytest.mark.parametrize("wait", ["queued", "written"])
def test_what_is_not_known_in_time_is_said(wait: str) -> None:
    second = {"channel": "b", "id": None, "result": "unknown", "receivers": NOBODY}
    expected = {"message": "Published", "scope": "process", "timed_out": True, "items": [FIRST, second]}
    assert expected == answer(wait, False)
