"""The command socket: whoever asks by a typed netstring is answered by one."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.backend import Request, control, events, opened
from tests.conformance.case import Case, held

zmq = pytest.importorskip("zmq", reason="needs pyzmq")
tnetstring = pytest.importorskip("tnetstring", reason="needs tnetstring3")

DONE = {b"id": b"1", b"success": True, b"value": None}


class Asker:
    """A REQ socket."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket

    def send(self, *parts: bytes) -> Any:
        self.socket.send_multipart(parts)
        return tnetstring.loads(self.socket.recv())

    def ask(self, method: bytes, **args: Any) -> Any:
        named = {name.encode(): value for name, value in args.items()}
        return self.send(tnetstring.dumps({b"id": b"1", b"method": method, b"args": named}))


@pytest.fixture
def asker(case: Case) -> Iterator[Asker]:
    if case.proxy.command is None:
        pytest.skip("the address is not known")
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.rcvtimeo = socket.sndtimeo = int(case.deadline * 1000)
        socket.connect(case.proxy.command)
        yield Asker(socket)


def refused(condition: bytes) -> dict[bytes, Any]:
    return {b"id": b"1", b"success": False, b"condition": condition}


def subscribing(channel: str) -> Any:
    """A backend's script that accepts a WebSocket with a subscription, and has nothing more to say."""

    def answer(request: Request) -> Any:
        return opened(control(type="subscribe", channel=channel)) if b"OPEN\r\n" in request.body else events()

    return answer


@pytest.mark.grip("ZeroMQ: command socket")
def test_addresses_are_told(case: Case, asker: Asker) -> None:
    """get-zmq-uris tells the addresses of the sockets."""
    reply = asker.ask(b"get-zmq-uris")
    assert True is reply[b"success"]
    assert {b"command", b"publish-pull", b"publish-sub"} == set(reply[b"value"])
    assert str(case.proxy.pull).encode() == reply[b"value"][b"publish-pull"]


@pytest.mark.grip("ZeroMQ: command socket")
def test_items_are_published(case: Case, asker: Asker) -> None:
    """publish takes items as typed netstrings."""
    case.answer(held(case.channel))
    connection = case.stream()
    item = {b"channel": case.channel.encode(), b"formats": {b"http-stream": {b"content": b"\xff\n"}}}
    assert DONE == asker.ask(b"publish", items=[item, item])
    assert b"\xff\n\xff\n" == connection.read_data(4)


@pytest.mark.grip("ZeroMQ: command socket")
@pytest.mark.parametrize("items", [1, [1], [{b"channel": b"x"}], [{b"channel": 1}]])
def test_wrong_items_are_refused_whole(case: Case, asker: Asker, items: Any) -> None:
    """A publish with a wrong item publishes nothing, and says what is wrong."""
    case.answer(held(case.channel))
    connection = case.stream()
    good = {b"channel": case.channel.encode(), b"formats": {b"http-stream": {b"content": b"x"}}}
    reply = asker.ask(b"publish", items=[good, *items] if isinstance(items, list) else items)
    assert isinstance(reply.pop(b"value"), bytes)
    assert refused(b"bad-request") == reply
    assert not connection.readable(0.3)


@pytest.mark.grip("ZeroMQ: command socket")
def test_recover(case: Case, asker: Asker) -> None:
    """recover has holds ask their backends."""
    case.answer(held(case.channel, Grip_Link="<next>; rel=next"))
    case.answer(held(case.channel, b"again", Grip_Link="<next>; rel=next"), at="/next")
    backend_path = case.path.rpartition("/")[0] + "/next"
    case.backend.on(backend_path, held(case.channel, b"again", Grip_Link="<next>; rel=next"))
    connection = case.stream()
    assert DONE == asker.ask(b"recover")
    assert b"again" == connection.read_data(5)


@pytest.mark.grip("ZeroMQ: command socket")
def test_websocket_is_refreshed_by_its_id(case: Case, asker: Asker) -> None:
    """refresh with a Connection-Id makes an empty request."""
    case.answer(subscribing(case.channel))
    case.socket()
    opening = case.taken()
    assert DONE == asker.ask(b"refresh", cid=str(opening.value("Connection-Id")).encode())
    refresh = case.taken()
    assert (b"", opening.value("Connection-Id")) == (refresh.body, refresh.value("Connection-Id"))


@pytest.mark.grip("ZeroMQ: command socket")
def test_websockets_are_refreshed_by_their_channel(case: Case, asker: Asker) -> None:
    """refresh with a channel makes an empty request for each WebSocket that is subscribed to it."""
    case.answer(subscribing(case.channel))
    case.socket()
    case.socket()
    opened_ids = {case.taken().value("Connection-Id") for _ in range(2)}
    assert DONE == asker.ask(b"refresh", channel=case.channel.encode())
    assert opened_ids == {case.taken().value("Connection-Id") for _ in range(2)}


@pytest.mark.grip("ZeroMQ: command socket")
def test_refresh_of_nobody(case: Case, asker: Asker) -> None:
    """An id that there is not is an error, a channel without subscribers none."""
    assert refused(b"item-not-found") == asker.ask(b"refresh", cid=b"nobody")
    assert DONE == asker.ask(b"refresh", channel=b"nobody")


@pytest.mark.grip("ZeroMQ: command socket")
def test_connections_are_checked(case: Case, asker: Asker) -> None:
    """conncheck returns those of the ids that are connected."""
    case.answer(subscribing(case.channel))
    client = case.socket()
    name = str(case.taken().value("Connection-Id")).encode()
    assert {**DONE, b"value": [name]} == asker.ask(b"conncheck", ids=[b"nobody", name, name])
    assert {**DONE, b"value": []} == asker.ask(b"conncheck", ids=[])
    client.close()
    case.taken()  # DISCONNECT
    case.settle()
    assert {**DONE, b"value": []} == asker.ask(b"conncheck", ids=[name])


@pytest.mark.grip("ZeroMQ: command socket")
@pytest.mark.parametrize(
    ("method", "args"),
    [
        (b"publish", {}),
        (b"refresh", {}),
        (b"refresh", {"cid": 1}),
        (b"refresh", {"channel": 1}),
        (b"refresh", {"cid": 1, "channel": b"x"}),
        (b"conncheck", {}),
        (b"conncheck", {"ids": b"x"}),
        (b"conncheck", {"ids": [1]}),
    ],
)
def test_wrong_arguments_are_refused(case: Case, asker: Asker, method: bytes, args: dict[str, Any]) -> None:
    """Arguments that lack or have the wrong type are a bad request."""
    reply = asker.ask(method, **args)
    reply.pop(b"value", None)
    assert refused(b"bad-request") == reply


@pytest.mark.grip("ZeroMQ: command socket")
def test_other_methods_are_not_found(case: Case, asker: Asker) -> None:
    """A method that there is not is an error."""
    assert refused(b"method-not-found") == asker.ask(b"nothing")


@pytest.mark.grip("ZeroMQ: command socket")
@pytest.mark.parametrize(
    "message", [b"", b"x", b"0:}", b"13:6:method,1:1#}"], ids=["empty", "none", "no method", "method of no text"]
)
def test_what_is_no_command_is_answered(case: Case, asker: Asker, message: bytes) -> None:
    """Whoever asks what is no command is told so, and others are answered as before."""
    reply = asker.send(message)
    assert (False, b"bad-request") == (reply[b"success"], reply[b"condition"])
    assert refused(b"method-not-found") == asker.ask(b"nothing")
