"""Bodies both ways: as they come, in constant memory, at the pace of whoever is slower."""

import socket
import threading
import time

import pytest

from tests.integration.door import Case, Client
from tests.integration.raw_backend import DEADLINE, OK, Peer

GIBIBYTE = 1 << 30
PIECE = bytes(range(256)) * 4096  # 1 MiB
CONSTANT = 64 << 20  # bytes by which the proxy's memory may grow


def pour(to: socket.socket, count: int) -> None:
    """Send so many bytes of PIECE, repeated."""
    view = memoryview(PIECE)
    while count > 0:
        to.sendall(view[: min(count, len(view))])
        count -= len(view)


def drain(source: socket.socket, count: int, begun: bytes = b"") -> bool:
    """Take so many bytes; whether they are PIECE, repeated, looked at now and then."""
    taken = len(begun)
    buffer = bytearray(len(PIECE))
    while taken < count:
        size = source.recv_into(buffer, min(len(buffer), count - taken))
        if not size:
            return False
        if buffer[0] != PIECE[taken % len(PIECE)] or buffer[size - 1] != PIECE[(taken + size - 1) % len(PIECE)]:
            return False
        taken += size
    return True


def stuff(to: socket.socket, data: bytes) -> int:
    """Send until the other side takes no more for a while; how much that was."""
    to.setblocking(False)
    view = memoryview(data)
    sent, deadline = 0, time.monotonic() + 0.3
    try:
        while time.monotonic() < deadline and sent < 256 << 20:
            try:
                sent += to.send(view[sent % len(view) :])
                deadline = time.monotonic() + 0.3
            except BlockingIOError:
                time.sleep(0.01)
    finally:
        to.settimeout(DEADLINE)
    return sent


@pytest.mark.parametrize("framing", [b"Content-Length: 6\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_a_response_that_trickles_is_seen_trickling(case: Case, framing: bytes) -> None:
    client, peer = case.exchange(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n")
    client.read_head()
    for letter in (b"a", b"b", b"c"):
        peer.send(b"2\r\n" + letter * 2 + b"\r\n" if b"chunked" in framing else letter * 2)
        assert letter * 2 == client.read_data(2)
    if b"chunked" in framing:
        peer.send(b"0\r\n\r\n")
    peer.close()
    assert b"" == client.read_rest() if b"Length" not in framing else not client.readable(0.05)


@pytest.mark.parametrize("framing", ["Content-Length: 6", "Transfer-Encoding: chunked"])
def test_a_request_that_trickles_is_seen_trickling(case: Case, framing: str) -> None:
    client = case.ask("/", "POST", framing)
    is_chunked = "chunked" in framing
    letters = [b"a", b"b", b"c"]
    client.send(b"2\r\naa\r\n" if is_chunked else b"aa")
    peer = case.backend.accept()
    peer.read_head()
    for letter in letters:
        assert letter * 2 == (peer.read_chunk() if is_chunked else peer.read_exactly(2))
        if letter != b"c":
            following = letters[letters.index(letter) + 1] * 2
            client.send(b"2\r\n" + following + b"\r\n" if is_chunked else following)
    if is_chunked:
        client.send(b"0\r\n\r\n")
        assert b"" == peer.read_chunk()
    peer.send(OK)
    assert b"ok" == client.read_response().body


def test_a_small_body_in_chunks_gets_a_length(case: Case) -> None:
    """WSGI servers show their applications no body without one."""
    client = case.ask("/", "POST", "Transfer-Encoding: chunked")
    client.send(b"3\r\nabc\r\n")
    client.send(b"2;x=y\r\nde\r\n0\r\n\r\n")
    request = case.backend.accept().read_request()
    assert ([b"5"], [], b"abcde") == (
        request.values(b"Content-Length"),
        request.values(b"Transfer-Encoding"),
        request.body,
    )


def test_a_large_body_in_chunks_stays_in_chunks(case: Case) -> None:
    client = case.ask("/", "POST", "Transfer-Encoding: chunked")
    peer = None
    for _ in range(32):
        client.send(b"8000\r\n" + PIECE[:32768] + b"\r\n")
        peer = peer or (case.backend.accept() if case.backend.is_asked(0) else None)
    client.send(b"0\r\n\r\n")
    peer = peer or case.backend.accept()
    request = peer.read_request()
    assert ([], PIECE) == (request.values(b"Content-Length"), request.body)
    peer.send(OK)
    assert b"ok" == client.read_response().body


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize(
    "framing", [b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n"]
)
def test_an_empty_body(case: Case, framing: bytes, version: bytes) -> None:
    client = case.raw(b"GET / HTTP/" + version + b"\r\nHost: {host}\r\n\r\n")
    peer = case.backend.accept()
    peer.read_head()
    peer.send(b"HTTP/1.1 200 OK\r\n" + framing + (b"\r\n0\r\n\r\n" if b"chunked" in framing else b"\r\n"))
    peer.close()
    assert b"" == client.read_response().body


def test_the_trailer_of_a_response_is_dropped(case: Case) -> None:
    """RFC 9110 6.5.1 lets a proxy that merges none drop them; the body stays whole."""
    answer = (
        b"HTTP/1.1 200 OK\r\nTrailer: X-After\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-After: 1\r\n\r\n"
    )
    client, peer = case.exchange(answer)
    response = client.read_response()
    assert (b"ok", None, None) == (response.body, response.value("X-After"), response.value("Trailer"))
    client.ask(case.host)
    peer.read_head()
    peer.send(OK)
    assert (None, b"ok") == ((response := client.read_response()).value("X-After"), response.body)


def test_a_download_of_a_gibibyte_in_constant_memory(case: Case) -> None:
    client, peer = case.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % GIBIBYTE)
    client.read_head()
    before = case.door.memory()
    threading.Thread(target=pour, args=(peer.socket, GIBIBYTE)).start()
    begun, client._buffer = client._buffer, b""
    assert drain(client.socket, GIBIBYTE, begun)
    assert case.door.memory() - before < CONSTANT


def test_an_upload_of_a_gibibyte_in_constant_memory(case: Case) -> None:
    client = case.ask("/", "POST", f"Content-Length: {GIBIBYTE}")
    peer = case.backend.accept()
    peer.read_head()
    before = case.door.memory()
    threading.Thread(target=pour, args=(client.socket, GIBIBYTE)).start()
    assert drain(peer.socket, GIBIBYTE, peer.buffer)
    peer.send(OK)
    assert b"ok" == client.read_response().body
    assert case.door.memory() - before < CONSTANT


@pytest.mark.parametrize("framing", [b"Content-Length: 999999999\r\n", b""])
def test_a_backend_is_not_read_ahead_of_a_slow_client(case: Case, framing: bytes) -> None:
    """What is on its way stays bounded, and all of it arrives in the end."""
    client, peer = case.exchange(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n")
    before = case.door.memory()
    sent = stuff(peer.socket, PIECE)
    assert sent < 32 << 20  # the buffers of two sockets, most of it
    assert case.door.memory() - before < 16 << 20
    peer.close()
    client.read_head()
    if framing:
        assert PIECE == client.read_exactly(len(PIECE))
    else:
        assert sent == len(client.read_rest())


@pytest.mark.parametrize("framing", ["Content-Length: 999999999", "Transfer-Encoding: chunked"])
def test_a_client_is_not_read_ahead_of_a_slow_backend(case: Case, framing: str) -> None:
    client = case.ask("/", "POST", framing)
    piece = b"100000\r\n" + PIECE + b"\r\n" if "chunked" in framing else PIECE
    before = case.door.memory()
    assert stuff(client.socket, piece) < 32 << 20
    assert case.door.memory() - before < 16 << 20
    case.backend.accept().read_head()


def early(case: Case, answer: bytes = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig") -> tuple[Client, Peer]:
    """Begin a request whose body is never completed, and answer it."""
    client = case.ask("/", "POST", "Content-Length: 1000000", body=b"x" * 1000)
    peer = case.backend.accept()
    peer.read_head()
    peer.send(answer)
    return client, peer


def test_an_early_answer_reaches_the_client(case: Case) -> None:
    """Both connections end with it, since the request never will."""
    client, peer = early(case)
    response = client.read_response()
    assert (413, "close", b"big") == (response.status, response.value("Connection"), response.body)
    while not peer.ended():
        pass


def test_an_early_answer_that_streams_while_the_body_comes(case: Case) -> None:
    """Both directions at once, as a backend that echoes has it."""
    client, peer = early(case, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.read_head()
    peer.read_exactly(1000)
    for _ in range(3):
        client.send(b"y" * 1000)
        assert b"y" * 1000 == peer.read_exactly(1000)
        peer.send(b"1\r\ny\r\n")
        assert b"y" == client.read_chunk()


def test_an_early_answer_of_a_backend_that_closes(case: Case) -> None:
    """Most servers close at once when they refuse a body."""
    client, peer = early(case)
    peer.close()
    assert (413, b"big") == ((response := client.read_response()).status, response.body)


def test_expect_continue_is_answered_when_the_backend_is_there(case: Case) -> None:
    """RFC 9110 10.1.1; the backend's own 100 is not passed on."""
    client = case.ask("/", "POST", "Expect: 100-continue", "Content-Length: 5")
    assert (100, ()) == ((head := client.read_head()).status, head.fields)
    client.send(b"hello")
    peer = case.backend.accept()
    assert ([], b"hello") == ((request := peer.read_request()).values(b"Expect"), request.body)
    peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert 200 == client.read_head().status


def test_expect_continue_with_a_body_in_chunks(case: Case) -> None:
    client = case.ask("/", "POST", "Expect: 100-Continue", "Transfer-Encoding: chunked")
    assert 100 == client.read_head().status
    client.send(b"5\r\nhello\r\n0\r\n\r\n")
    peer = case.backend.accept()
    assert b"hello" == peer.read_request().body
    peer.send(OK)
    assert 200 == client.read_head().status


def test_expect_continue_with_a_body_that_is_here(case: Case) -> None:
    """RFC 9110 10.1.1: then there is nothing to continue."""
    client = case.ask("/", "POST", "Expect: 100-continue", "Content-Length: 5", body=b"hello")
    peer = case.backend.accept()
    peer.read_request()
    peer.send(OK)
    assert 200 == client.read_head().status


def test_a_client_that_leaves_in_the_middle_of_its_body_is_told_of(case: Case) -> None:
    """The backend's request is cut, not completed."""
    client = case.ask("/", "POST", "Content-Length: 1000000", body=b"x" * 1000)
    peer = case.backend.accept()
    peer.read_head()
    peer.read_exactly(1000)
    client.close()
    assert peer.ended()


@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_a_client_that_leaves_cancels_the_backends_request(case: Case, how: str) -> None:
    """One that shuts down its side has left as well: a browser's tab that closes looks like that."""
    client = case.ask()
    peer = case.backend.accept()
    peer.read_head()
    if how == "half":
        client.socket.shutdown(socket.SHUT_WR)
    else:
        getattr(client, how)()
    assert peer.ended()


def test_a_client_that_leaves_in_the_middle_of_a_response(case: Case) -> None:
    client, peer = case.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
    client.read_head()
    client.close()
    assert peer.ended()
