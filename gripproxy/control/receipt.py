"""Receipts of publishes: ``POST /publish/?wait=written`` is answered when the items are written, and says to how many.

    {"message": "Published", "scope": "process", "timed_out": false, "items": [
        {"channel": "a", "id": "1", "result": "delivered",
         "receivers": {"http-response": 0, "http-stream": 3, "ws-message": 1}}]}

What is counted is this process's; a bus may take the items to others, which do not say.
"""

import asyncio

from msgspec import json

from gripproxy.control.answer import RefusalError
from gripproxy.receipts import Receipt

# What a publisher may wait for: that the items are on their way, or that they are with all connections.
QUEUED, WRITTEN = "queued", "written"

# Seconds until the answer says what is known by then. Below the 10 s that publishers wait for an answer.
TIMEOUT = 5.0

SCOPE = "process"


def parse_wait(text: str | None) -> str | None:
    """Return what a publisher waits for, None for nothing. Raises: RefusalError"""
    if text not in (None, QUEUED, WRITTEN):
        raise RefusalError(400, f"wait must be {QUEUED} or {WRITTEN}, not {text!r}.")
    return text


async def encode_receipt(receipt: Receipt, wait: str, seconds: float = TIMEOUT) -> bytes:
    """Return the answer when what is waited for is so, or the time is over."""
    has_timed_out = False
    try:
        async with asyncio.timeout(seconds):
            await (receipt.written() if wait == WRITTEN else receipt.known())
    except TimeoutError:
        has_timed_out = True
    items = [
        {"channel": item.channel, "id": item.id, "result": result, "receivers": receivers}
        for item, result, receivers in zip(receipt.items, receipt.results, receipt.receivers, strict=True)
    ]
    return json.encode({"message": "Published", "scope": SCOPE, "timed_out": has_timed_out, "items": items}) + b"\n"
