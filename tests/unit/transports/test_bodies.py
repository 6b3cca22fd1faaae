"""The pure part of passing responses on: which fields reach the client, and what frames the body."""

import asyncio

import pytest

from gripproxy.errors import BackendError
from gripproxy.grip.fields import Fields
from gripproxy.transports.bodies import ReadAhead, forwarded


class Reader:
    """A stream of which the parts are known."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = list(parts)

    async def readany(self) -> bytes:
        return self.parts.pop(0) if self.parts else b""


@pytest.mark.parametrize(
    ("fields", "expected", "length"),
    [
        ((), (), None),
        (((b"A", b"1"), (b"a", b"2")), ((b"A", b"1"), (b"a", b"2")), None),
        (((b"Content-Length", b"5"), (b"A", b"1")), ((b"A", b"1"),), 5),
        (((b"Transfer-Encoding", b"chunked"), (b"Connection", b"close"), (b"A", b"1")), ((b"A", b"1"),), None),
        (((b"Connection", b"X-Hop"), (b"X-Hop", b"1"), (b"A", b"1")), ((b"A", b"1"),), None),
        (((b"Connection", b"keep-alive"), (b"Keep-Alive", b"timeout=5"), (b"A", b"1")), ((b"A", b"1"),), None),
    ],
)
def test_fields_of_the_hop_do_not_reach_the_client(fields: Fields, expected: Fields, length: int | None) -> None:
    assert (expected, length) == forwarded(fields)


async def whole(body: ReadAhead) -> bytes:
    parts = []
    while part := await body.readany():
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("begun", [b"", b"ab"])
def test_what_was_read_ahead_comes_first(begun: bytes) -> None:
    body = ReadAhead(begun, Reader(b"c", b"d"), 0)  # type: ignore[arg-type]
    assert begun + b"cd" == asyncio.run(whole(body))


@pytest.mark.parametrize(("limit", "is_refused"), [(0, False), (4, False), (3, True), (1, True)])
def test_a_body_that_grows_over_the_limit_is_refused(limit: int, is_refused: bool) -> None:
    body = ReadAhead(b"ab", Reader(b"c", b"d"), limit)  # type: ignore[arg-type]
    if not is_refused:
        assert b"abcd" == asyncio.run(whole(body))
        return
    with pytest.raises(BackendError) as caught:
        asyncio.run(whole(body))
    assert 413 == caught.value.status
