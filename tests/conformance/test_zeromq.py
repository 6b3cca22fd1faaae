"""Publishing by ZeroMQ's PULL, where the suite knows its address."""

import json
from collections.abc import Iterator

import pytest

from tests.conformance.case import Case, held

zmq = pytest.importorskip("zmq", reason="needs pyzmq")


@pytest.fixture
def push(case: Case) -> Iterator[object]:
    """A socket that is connected to the proxy's."""
    if case.proxy.pull is None:
        pytest.skip("the address is not known")
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.linger = 0
        socket.connect(case.proxy.pull)
        yield socket


def netstring(value: object) -> bytes:
    """A typed netstring of objects and texts."""
    if isinstance(value, dict):
        content = b"".join(netstring(key) + netstring(member) for key, member in value.items())
        return b"%d:%b}" % (len(content), content)
    content = str(value).encode()
    return b"%d:%b," % (len(content), content)


@pytest.mark.grip("ZeroMQ: PULL")
@pytest.mark.parametrize("coding", ["JSON", "typed netstring", "netstring without a letter"])
def test_item_is_pushed(case: Case, push: "zmq.Socket[bytes]", coding: str) -> None:
    """A message is one item: J and JSON, T and a typed netstring, or that alone."""
    case.answer(held(case.channel))
    connection = case.stream()
    item = {"channel": case.channel, "formats": {"http-stream": {"content": "pushed"}}}
    message = b"J" + json.dumps(item).encode() if coding == "JSON" else netstring(item)
    push.send(b"T" + message if coding == "typed netstring" else message)
    assert b"pushed" == connection.read_data(6)


@pytest.mark.grip("ZeroMQ: PULL")
@pytest.mark.parametrize("message", [b"", b"J", b"J[", b"J{}", b"T"])
def test_bad_message_is_dropped(case: Case, push: "zmq.Socket[bytes]", message: bytes) -> None:
    """What is no item is passed over, and the next message counts."""
    case.answer(held(case.channel))
    connection = case.stream()
    push.send(message)
    push.send(b"J" + json.dumps({"channel": case.channel, "http-stream": {"content": "next"}}).encode())
    assert b"next" == connection.read_data(4)
