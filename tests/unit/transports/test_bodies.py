"""The pure part of passing responses on: which fields reach the client, and what frames the body."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gripproxy.errors import BackendError
from gripproxy.grip.fields import Fields
from gripproxy.transports import bodies
from gripproxy.transports.bodies import BodyRefusedError, ReadAhead, forwarded, receive


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


# --- bodies that are wanted whole


class Content(Reader):
    """A request's body that stops behind its parts, and never ends."""

    def is_eof(self) -> bool:
        return False

    async def readany(self) -> bytes:
        if not self.parts:
            await asyncio.Event().wait()
        return self.parts.pop(0)


def received(*parts: bytes, length: int | None, keep: int = 10, limit: int = 0, is_wanted: bool = True) -> Any:
    """Return what is received of a body, and its length."""
    content = Content(*parts)
    headers = {} if length is None else {"Content-Length": str(length)}
    request: Any = SimpleNamespace(content=content, headers=headers, _message=SimpleNamespace(chunked=length is None))
    client: Any = None
    body, said = asyncio.run(receive(request, client, limit, keep, expects=False, is_wanted=is_wanted))
    assert said == length
    return "as it comes" if body is content else body


@pytest.mark.parametrize(
    ("length", "is_wanted", "expected"),
    [
        (4, True, b"abcd"),
        (None, True, b"abcd"),
        (10, True, b"abcd"),
        (11, True, "as it comes"),
        (4, False, "as it comes"),
    ],
)
def test_a_small_body_that_is_wanted_is_waited_for(length: int | None, is_wanted: bool, expected: bytes | str) -> None:
    assert expected == received(b"ab", b"cd", b"", length=length, is_wanted=is_wanted)


@pytest.mark.parametrize("length", [4, None])
def test_a_body_that_is_wanted_and_does_not_come_goes_on_as_it_comes(
    length: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "WANTED_TIME", 0.01)
    body = received(b"ab", length=length)
    assert isinstance(body, ReadAhead)
    assert b"ab" == asyncio.run(body.readany())


def test_a_body_that_is_wanted_must_not_be_too_large() -> None:
    with pytest.raises(BodyRefusedError):
        received(b"ab", b"cd", b"", length=None, limit=3)
