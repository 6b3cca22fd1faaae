"""Real WebSockets to the backend: frames pass through, and a backend may speak GRIP in them."""

import json

import pytest

from tests.conformance import frames
from tests.conformance.backend import Reply, Socket, Upgrade
from tests.conformance.case import Case
from tests.conformance.client import Connection


class Both:
    """A WebSocket and its other end."""

    def __init__(self, case: Case, fields: list[tuple[str, str]], answer: list[tuple[str, str]]) -> None:
        if case.proxy.passthrough_host is None:
            pytest.skip("the proxy has no route with WebSockets passed through")
        case.answer(Upgrade(answer))
        self.client: Connection = case.connect()
        self.head = self.client.upgrade(case.path + "?a=1", fields, host=case.proxy.passthrough_host)
        assert self.head.status == 101, self.head
        self.backend: Socket = case.backend.take_socket(case.path)


@pytest.fixture
def plain(case: Case) -> Both:
    """A WebSocket whose backend does not speak GRIP."""
    return Both(case, [], [])


@pytest.fixture
def grip(case: Case) -> Both:
    """A WebSocket whose backend speaks GRIP."""
    return Both(case, [], [("Sec-WebSocket-Extensions", "grip")])


def control(**members: object) -> frames.Frame:
    """A control message as a frame."""
    return frames.Frame(frames.TEXT, b"c:" + json.dumps(members).encode())


@pytest.mark.grip("WebSockets")
def test_handshake(case: Case) -> None:
    """The handshake reaches the backend signed, offering grip; its answer's fields reach the client."""
    asked = [("Sec-WebSocket-Protocol", "one, two"), ("Origin", "http://x"), ("X-Own", "1")]
    both = Both(case, asked, [("Sec-WebSocket-Protocol", "two"), ("X-Own", "2")])
    request = both.backend.request
    assert ("GET", "a=1", "grip") == (
        request.method,
        request.target.partition("?")[2],
        request.value("Sec-WebSocket-Extensions"),
    )
    assert ("one, two", "http://x", "1") == tuple(request.value(name) for name, _ in asked)
    assert request.value("Grip-Sig")
    assert ("two", "2", None) == (
        both.head.value("Sec-WebSocket-Protocol"),
        both.head.value("X-Own"),
        both.head.value("Sec-WebSocket-Extensions"),
    )


@pytest.mark.grip("WebSockets")
@pytest.mark.parametrize("opcode", [frames.TEXT, frames.BINARY])
@pytest.mark.parametrize("size", [0, 1, 126, 70_000])
def test_messages_pass(plain: Both, opcode: int, size: int) -> None:
    """Messages pass both ways as they are."""
    plain.client.send_frame(opcode, b"z" * size)
    assert (opcode, b"z" * size) == joined(plain.backend.receive, opcode)
    plain.backend.send(frames.Frame(opcode, b"y" * size))
    assert (opcode, b"y" * size) == joined(plain.client.read_frame, opcode)


def joined(read, opcode: int) -> tuple[int, bytes]:
    frame = read()
    payload = frame.payload
    while not frame.final:
        frame = read()
        payload += frame.payload
    return opcode, payload


@pytest.mark.grip("WebSockets")
def test_prefixes_mean_nothing_without_grip(plain: Both) -> None:
    """A backend that does not accept grip may send what looks like GRIP."""
    for text in (b'c:{"type": "detach"}', b"m:x", b"plain"):
        plain.backend.send(frames.Frame(frames.TEXT, text))
    assert ['c:{"type": "detach"}', "m:x", "plain"] == [plain.client.read_text() for _ in range(3)]


@pytest.mark.grip("WebSockets")
def test_backend_refuses(case: Case) -> None:
    """A backend that refuses the handshake refuses the client."""
    if case.proxy.passthrough_host is None:
        pytest.skip("the proxy has no route with WebSockets passed through")
    case.answer(Reply(b"no\n", [("X-Own", "1")], 403, "Own Words"))
    connection = case.connect()
    head = connection.upgrade(case.path, host=case.proxy.passthrough_host)
    assert (403, "Own Words", "1", b"no\n") == (head.status, head.reason, head.value("X-Own"), connection.read_rest())


@pytest.mark.grip("WebSockets: close")
@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (4000, "bye")])
def test_client_closes(plain: Both, code: int, reason: str) -> None:
    """The client's close reaches the backend, and the backend's answer the client."""
    plain.client.send_close(code, reason)
    frame = plain.backend.receive()
    assert frame
    assert (frames.CLOSE, code, reason) == (frame.opcode, frame.code, frame.reason)
    plain.backend.send(frames.close(code, reason))
    assert (code, reason) == ((answer := plain.client.read_frame()).code, answer.reason)


@pytest.mark.grip("WebSockets: close")
def test_backend_closes(plain: Both) -> None:
    """The backend's close reaches the client with code and reason."""
    plain.backend.send(frames.close(4001, "bye"))
    assert (4001, "bye") == ((frame := plain.client.read_frame()).code, frame.reason)
    plain.client.send_close(4001)
    assert plain.client.ended()


@pytest.mark.grip("WebSockets")
def test_lost_client(plain: Both) -> None:
    """If the client is lost, the backend's connection ends, too."""
    plain.client.reset()
    while (frame := plain.backend.receive()) is not None:
        assert frame.opcode == frames.CLOSE


@pytest.mark.grip("WebSockets")
def test_backend_with_grip(case: Case, grip: Both) -> None:
    """With grip accepted, prefixes and control messages count, and publishes arrive."""
    grip.backend.send(control(type="subscribe", channel=case.channel))
    for text in (b"dropped", b"m:hello"):
        grip.backend.send(frames.Frame(frames.TEXT, text))
    assert "hello" == grip.client.read_text()
    case.settle()
    case.tell("published")
    assert "published" == grip.client.read_text()
    grip.client.send_text("m:no prefix for the backend")
    frame = grip.backend.receive()
    assert frame
    assert b"m:no prefix for the backend" == frame.payload


@pytest.mark.grip("WebSockets: prefix")
def test_prefix_of_fragments(grip: Both) -> None:
    """A message in fragments loses its prefix in the first one only."""
    grip.backend.send(frames.Frame(frames.TEXT, b"m:m:", final=False))
    grip.backend.send(frames.Frame(frames.CONTINUATION, b"m:x"))
    assert (frames.TEXT, b"m:m:x") == joined(grip.client.read_frame, frames.TEXT)


@pytest.mark.grip("control messages")
def test_control_message_in_fragments(case: Case, grip: Both) -> None:
    """A control message in fragments is obeyed as one that is whole."""
    whole = control(type="subscribe", channel=case.channel).payload
    grip.backend.send(frames.Frame(frames.TEXT, whole[:9], final=False))
    grip.backend.send(frames.Frame(frames.CONTINUATION, whole[9:]))
    grip.backend.send(frames.Frame(frames.TEXT, b"m:ready"))
    assert "ready" == grip.client.read_text()
    case.settle()
    case.tell("published")
    assert "published" == grip.client.read_text()


@pytest.mark.grip("control messages: detach")
def test_detach(case: Case, grip: Both) -> None:
    """After `detach` the backend's connection ends and the client's goes on."""
    grip.backend.send(control(type="subscribe", channel=case.channel))
    grip.backend.send(control(type="detach"))
    while (frame := grip.backend.receive()) is not None and frame.opcode != frames.CLOSE:
        pass
    case.settle()
    case.tell("published")
    assert "published" == grip.client.read_text()


@pytest.mark.grip("WebSockets: close")
def test_published_close(case: Case, grip: Both) -> None:
    """A published close ends both sides."""
    grip.backend.send(control(type="subscribe", channel=case.channel))
    grip.backend.send(frames.Frame(frames.TEXT, b"m:ready"))
    assert "ready" == grip.client.read_text()
    case.settle()
    case.publish({"ws-message": {"action": "close", "code": 4002, "reason": "x"}})
    assert (4002, "x") == ((frame := grip.client.read_frame()).code, frame.reason)
    grip.client.send_close(4002)
    assert grip.client.ended()
    while (seen := grip.backend.receive()) is not None and seen.opcode != frames.CLOSE:
        pass
