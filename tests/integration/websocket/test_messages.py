"""Messages in both directions: batches, pings, sizes, compression, and sides that are slower than the other."""

import os
import socket
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.conformance import frames
from tests.conformance.backend import Backend, Reply, Upgrade, control, events, opened
from tests.conformance.case import Case
from tests.conformance.client import Connection
from tests.integration.door import number_of
from tests.integration.processes import Processes
from tests.integration.websocket.conftest import BUFFERED_MAX, MESSAGE_MAX, accepting, echo, log_of, start
from tests.ports import free_port

PASSTHROUGH = "passthrough.test"
DEFLATE = [("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")]


def url(case: Case) -> str:
    host, port = case.proxy.client
    return f"ws://{host}:{port}{case.path}"


def opened_at(case: Case, host: str | None = None, fields: list[tuple[str, str]] | None = None) -> Connection:
    """An open WebSocket; the opening request is taken out."""
    connection = case.connect()
    assert 101 == connection.upgrade(case.path, fields or [], host=host).status
    if host is None or "passthrough" not in host:
        case.taken()
    return connection


def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def disconnects(case: Case, reason: str) -> float:
    """The metric of ended holds."""
    host, port = case.proxy.control
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=5) as answer:
        return number_of(answer.read().decode(), f'gripproxy_disconnects_total{{reason="{reason}"}}')


# --- events and pings


def test_one_event_in_each_request_where_the_route_wants_it(case: Case) -> None:
    """With one_event a batch becomes as many requests."""
    gate = case.backend.gate()
    case.answer(opened(), Reply(b"", events().fields, before=[gate]), events())
    connection = opened_at(case, "single.test")
    for text in "abc":
        connection.send_text(text)
    assert b"TEXT 1\r\na\r\n" == case.taken().body
    gate.open()
    assert [b"TEXT 1\r\nb\r\n", b"TEXT 1\r\nc\r\n"] == [case.taken().body, case.taken().body]


def test_batch_without_one_event(case: Case) -> None:
    """Otherwise all that waits goes in one request, and nothing goes while one is under way."""
    gate = case.backend.gate()
    case.answer(opened(), Reply(b"", events().fields, before=[gate]), events())
    connection = opened_at(case)
    connection.send_text("a")
    assert b"TEXT 1\r\na\r\n" == case.taken().body
    connection.send_text("b")
    connection.send_frame(frames.BINARY, b"c")
    connection.send_frame(frames.PING, b"d")
    assert frames.Frame(frames.PONG, b"d") == connection.read_frame()
    assert 0 == case.backend.waiting(case.path)
    gate.open()
    assert b"TEXT 1\r\nb\r\nBINARY 1\r\nc\r\nPING 1\r\nd\r\n" == case.taken().body


def test_local_pings_do_not_reach_the_backend(case: Case) -> None:
    """With pings = "local" the proxy alone answers."""
    case.answer(opened(), events())
    connection = opened_at(case, "local.test")
    connection.send_frame(frames.PING, b"x")
    assert frames.Frame(frames.PONG, b"x") == connection.read_frame()
    connection.send_text("a")
    assert b"TEXT 1\r\na\r\n" == case.taken().body


@pytest.mark.parametrize("host", [PASSTHROUGH, "local-passthrough.test"])
@pytest.mark.parametrize("answers", [True, False])
def test_ping_has_one_pong_whatever_a_real_backend_does(case: Case, host: str, answers: bool) -> None:
    """The proxy answers; a pong of the backend's is not passed on."""
    case.answer(Upgrade())
    connection = opened_at(case, host)
    peer = case.backend.take_socket(case.path)
    connection.send_frame(frames.PING, b"x")
    assert frames.Frame(frames.PONG, b"x") == connection.read_frame()
    if host == PASSTHROUGH:
        assert frames.Frame(frames.PING, b"x") == peer.receive()
        if answers:
            peer.send(frames.Frame(frames.PONG, b"x"))
    connection.send_text("a")
    assert frames.Frame(frames.TEXT, b"a") == peer.receive()
    peer.send(frames.Frame(frames.TEXT, b"b"))
    assert "b" == connection.read_text()


def test_pong_to_a_ping_of_keep_alive_is_not_the_backends(case: Case) -> None:
    """The proxy sent that ping, so its pong ends here; one to the backend's own ping goes on."""
    keep = control(type="keep-alive", message_type="ping", content="k", timeout=1)
    case.answer(opened(keep), events(("PING", "b")), events())
    connection = opened_at(case)
    assert frames.Frame(frames.PING, b"k") == connection.read_frame()
    connection.send_frame(frames.PONG, b"k")
    connection.send_text("a")
    assert b"TEXT 1\r\na\r\n" == case.taken().body
    assert frames.Frame(frames.PING, b"b") == connection.read_frame()
    connection.send_frame(frames.PONG, b"b")
    assert b"PONG 1\r\nb\r\n" == case.taken().body


# --- sizes


@pytest.mark.parametrize("host", [None, PASSTHROUGH])
def test_largest_message_passes(case: Case, host: str | None) -> None:
    case.answer(Upgrade() if host else echo)
    connection = opened_at(case, host)
    content = os.urandom(MESSAGE_MAX)
    connection.send_frame(frames.BINARY, content)
    if host:
        peer = case.backend.take_socket(case.path)
        assert frames.Frame(frames.BINARY, content) == peer.receive()
    else:
        assert content == connection.read_message().payload


@pytest.mark.parametrize("host", [None, PASSTHROUGH])
@pytest.mark.parametrize("parts", [1, 4])
def test_larger_message_ends_the_connection_with_1009(case: Case, host: str | None, parts: int) -> None:
    """Whole or in fragments; the backend is told of the end, and the connection is closed."""
    case.answer(Upgrade() if host else opened(), events())
    connection = opened_at(case, host)
    size = MESSAGE_MAX // parts + 1
    for number in range(parts):
        opcode = frames.CONTINUATION if number else frames.BINARY
        connection.send_frame(opcode, b"x" * size, final=number == parts - 1)
    assert 1009 == connection.read_frame().code
    if host:
        assert None is case.backend.take_socket(case.path).receive()
    else:
        assert b"DISCONNECT\r\n" == case.taken().body
    assert connection.ended()


def test_library_learns_why_its_message_was_too_big(case: Case) -> None:
    case.answer(echo)
    with connect(url(case), compression=None) as client:
        client.send("x" * (MESSAGE_MAX + 1))
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(5)
    assert closed.value.rcvd is not None
    assert 1009 == closed.value.rcvd.code


def test_answer_too_large_to_read_ends_the_connection(case: Case) -> None:
    """A response beyond what can be a batch of messages is not read to its end."""
    case.answer(opened(), events(("TEXT", "m:" + "x" * (2 * (MESSAGE_MAX + BUFFERED_MAX) + 100_000))), events())
    connection = opened_at(case)
    connection.send_text("a")
    assert 1011 == connection.read_frame().code


# --- compression


def test_compression_is_negotiated_and_bounded_by_message(case: Case) -> None:
    """A library compresses both ways; what it gets back is what it sent."""
    case.answer(echo)
    text = "tw\u20ac " * 5000
    with connect(url(case)) as client:
        assert client.response is not None
        agreed = client.response.headers["Sec-WebSocket-Extensions"]
        assert "permessage-deflate; server_no_context_takeover; client_no_context_takeover" == agreed
        for content in (text, "short", text.encode(), b"", ""):
            client.send(content)
            assert content == client.recv(5)


def test_published_message_is_compressed_once_for_all(case: Case) -> None:
    """Clients with compression get the same bytes, the others plain ones; both inflate to the same."""
    case.answer(accepting(control(type="subscribe", channel=case.channel)))
    compressed = [opened_at(case, fields=DEFLATE) for _ in range(2)]
    plain = opened_at(case)
    case.settle()
    text = "headline " * 100
    case.tell(text, "short")
    first, second = [connection.read_frame() for connection in compressed]
    assert first == second
    assert (4, frames.TEXT) == (first.reserved, first.opcode)
    assert text == zlib.decompressobj(-15).decompress(first.payload + b"\0\0\xff\xff").decode()
    assert frames.Frame(frames.TEXT, b"short") == compressed[0].read_frame()
    assert frames.Frame(frames.TEXT, text.encode()) == plain.read_frame()


def deflated(content: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return (deflate.compress(content) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


def test_bomb_is_not_inflated(case: Case) -> None:
    """A small frame that inflates to a large message is too big."""
    case.answer(opened(), events())
    connection = opened_at(case, fields=DEFLATE)
    content = deflated(bytes(50_000_000))
    assert len(content) < MESSAGE_MAX
    connection.send(frames.encode(frames.Frame(frames.BINARY, content, reserved=4), masked=True))
    assert 1009 == connection.read_frame().code
    assert b"DISCONNECT\r\n" == case.taken().body


def test_ping_between_compressed_fragments(case: Case) -> None:
    """A control frame in the middle of a message changes nothing for the message."""
    case.answer(echo)
    connection = opened_at(case, fields=DEFLATE)
    content = deflated(b"hello " * 50)
    half = len(content) // 2
    connection.send(frames.encode(frames.Frame(frames.TEXT, content[:half], final=False, reserved=4), masked=True))
    connection.send_frame(frames.PING)
    assert frames.Frame(frames.PONG) == connection.read_frame()
    connection.send(frames.encode(frames.Frame(frames.CONTINUATION, content[half:]), masked=True))
    case.taken()  # the ping
    assert b"TEXT 12c\r\n" + b"hello " * 50 + b"\r\n" == case.taken().body


# --- one side slower than the other


def send_until_full(connection: Connection, data: bytes) -> int:
    """Send until the other side has not taken anything for a second; how much that was."""
    connection._socket.settimeout(1)
    sent = 0
    try:
        while sent < len(data):
            sent += connection._socket.send(data[sent : sent + 65536])
    except TimeoutError:
        pass
    return sent


def test_fast_client_waits_for_a_slow_backend_and_nothing_is_lost(case: Case) -> None:
    """While limits.websocket_buffered is full the client is not read; then everything arrives in order."""
    gate = case.backend.gate()
    case.answer(opened(), Reply(b"", events().fields, before=[gate]), events())
    connection = opened_at(case)
    size, count = 20_000, 500
    parts = [b"%06d" % number + bytes(size) for number in range(count)]
    messages = [frames.encode(frames.Frame(frames.BINARY, part), masked=True) for part in parts]
    connection.send(messages[0])
    case.taken()
    sent = send_until_full(connection, b"".join(messages[1:]))
    assert sent < count * size
    gate.open()
    connection._socket.settimeout(10)
    rest = b"".join(messages[1:])[sent:]
    connection.send(rest)
    got: list[int] = []
    while len(got) < count - 1:
        body = case.taken().body
        at = 0
        while at < len(body):
            end = body.index(b"\r\n", at)
            length = int(body[at:end].split(b" ")[1], 16)
            got.append(int(body[end + 2 : end + 8]))
            at = end + 2 + length + 2
    assert list(range(1, count)) == got


def test_slow_client_delays_its_backend_and_is_served_on(case: Case) -> None:
    """With much unsent the backend is not asked for more; once the client has read, it is."""
    content = os.urandom(60_000)
    case.answer(opened(), events(*[("BINARY", b"m:" + content)] * 6), events(("TEXT", "m:more")), events())
    connection = opened_at(case)
    connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    connection.send_text("a")
    case.taken()
    time.sleep(0.2)
    connection.send_text("b")
    time.sleep(0.6)
    for _ in range(6):
        assert content == connection.read_message().payload
    assert "more" == connection.read_text()
    assert b"TEXT 1\r\nb\r\n" == case.taken().body


@pytest.mark.parametrize("host", [None, PASSTHROUGH])
def test_large_answer_is_no_sign_of_a_slow_client(tmp_path: Path, backend: Backend, host: str | None) -> None:
    """What the backend itself sends may be more than limits.unsent and all that the kernel takes."""
    size = 16_000_000
    with Processes(tmp_path) as processes:
        client = Connection(*start(processes, backend.port, free_port(), message=size).client)
        backend.on("/large", Upgrade() if host else opened(), events(("BINARY", b"m:" + bytes(size))))
        assert 101 == client.upgrade("/large", host=host).status
        client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        if host:
            backend.take_socket("/large").send(frames.Frame(frames.BINARY, bytes(size)))
        else:
            client.send_text("more")
        time.sleep(0.5)
        assert size == len(client.read_message().payload)
        client.send_frame(frames.PING)
        assert frames.Frame(frames.PONG) == client.read_frame()
        client.close()


@pytest.mark.parametrize("source", ["published", "backend", PASSTHROUGH])
def test_client_that_never_reads(case: Case, websocket_processes: Processes, source: str) -> None:
    """Published messages cut it with 1013 at limits.unsent, logged and counted once; a backend's own are held back."""
    before, cut = disconnects(case, "slow"), log_of(websocket_processes).count("cut a slow client: websocket")
    subscribe = control(type="subscribe", channel=case.channel)
    case.answer({PASSTHROUGH: Upgrade(), "published": accepting(subscribe), "backend": echo}[source])
    connection = opened_at(case, PASSTHROUGH if source == PASSTHROUGH else None)
    case.settle()
    if source == "published":
        for _ in range(400):
            case.tell("x" * 60_000)
            if disconnects_or_log(websocket_processes, cut):
                break
        wait_for(lambda: disconnects(case, "slow") > before)
        assert 1 == disconnects(case, "slow") - before
        assert 1 == log_of(websocket_processes).count("cut a slow client: websocket") - cut
        assert b"DISCONNECT\r\n" == case.taken().body
        return
    content = bytes(60_000)
    if source == "backend":
        # A client that does not read its echoes is not read either, so sending goes on while they are read.
        sender = threading.Thread(target=lambda: [connection.send_frame(frames.BINARY, content) for _ in range(200)])
        sender.start()
    else:
        peer = case.backend.take_socket(case.path)
        for _ in range(200):
            peer.send(frames.Frame(frames.BINARY, content))
    time.sleep(0.5)
    assert before == disconnects(case, "slow")
    assert [content] * 200 == [connection.read_message().payload for _ in range(200)]
    if source == "backend":
        sender.join()


def disconnects_or_log(processes: Processes, before: int) -> bool:
    return log_of(processes).count("cut a slow client: websocket") > before


def test_slow_client_that_reads_at_last_sees_why(case: Case) -> None:
    """Behind what it had not read stands a Close frame with 1013."""
    case.answer(accepting(control(type="subscribe", channel=case.channel)))
    connection = opened_at(case)
    case.settle()
    for _ in range(400):
        case.tell("x" * 60_000)
        if case.backend.waiting(case.path):
            break
    frame = connection.read_frame()
    while frame.opcode != frames.CLOSE:
        frame = connection.read_frame()
    assert frames.close(1013, "too slow") == frame
    connection.send_close(1013)
    assert connection.ended()
