"""Backends that are down, hang, die, lie or speak garbage: the client learns what it can rely on, the log the cause."""

import contextlib
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.integration.door import Case, Door, route, start_door
from tests.integration.processes import Processes
from tests.integration.raw_backend import OK, Peer, RawBackend

FAILED = b"Error while proxying to origin.\n"


SHORT = {
    "hanging": {"response_timeout": 0.3},
    "full": {"connect_timeout": 0.3},
    "idle": {"idle_timeout": 0.3},
    "debug": {"debug": True},
    "down": {},
}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Door, dict[str, RawBackend]]]:
    """A proxy with short times, and a backend for each thing that may be wrong."""
    with contextlib.ExitStack() as stack:
        backends = {name: stack.enter_context(RawBackend()) for name in SHORT}
        backends["full"].socket.listen(0)
        for _ in range(3):  # fill the queue of the one that accepts nobody
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", backends["full"].port))
        for name in ("down", "debug"):
            backends[name].socket.close()
        processes = stack.enter_context(Processes(tmp_path_factory.mktemp("faults")))
        toml = "".join(route(backends[name], name, **settings) for name, settings in SHORT.items())
        yield start_door(processes, toml), backends


@pytest.fixture
def short(door: tuple[Door, dict[str, RawBackend]]) -> Iterator[Callable[[str], Case]]:
    """Give the case of a backend by its name."""
    cases: list[Case] = []

    def begin(name: str) -> Case:
        door[0].new_log()
        cases.append(Case(door[0], name, door[1][name]))
        return cases[-1]

    yield begin
    for case in cases:
        case.close()


def ask(case: Case, method: str = "GET") -> tuple[int, bytes]:
    """Ask, and return the status and the body."""
    response = case.ask("/secret/path?token", method, "Content-Length: 0").read_response(method)
    return response.status, response.body


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_backend_that_is_down(short: Callable[[str], Case], method: str) -> None:
    """502, the cause in one line of the log and not in the body."""
    case = short("down")
    assert (502, FAILED) == ask(case, method)
    (line,) = case.door.new_log().splitlines()
    assert "can't be reached" in line
    assert "WARNING" in line


def test_a_cause_is_told_where_a_route_is_debugged(short: Callable[[str], Case]) -> None:
    status, body = ask(short("debug"))
    assert 502 == status
    assert b"can't be reached" in body


def test_a_backend_that_hangs(short: Callable[[str], Case]) -> None:
    """504 after response_timeout, and the backend's request is cancelled; the client may ask again."""
    case = short("hanging")
    client = case.ask()
    peer = case.backend.accept()
    peer.read_head()
    peer.send(b"HTTP/1.1 102 Processing\r\n\r\n")
    assert 102 == client.read_head().status
    assert (504, FAILED) == ((response := client.read_response()).status, response.body)
    assert peer.ended()
    client.ask(case.host)
    peer = case.backend.accept()
    peer.read_head()
    peer.send(OK)
    assert b"ok" == client.read_response().body


def test_a_backend_that_accepts_nobody(short: Callable[[str], Case]) -> None:
    assert (504, FAILED) == ask(short("full"))


def test_a_backend_that_takes_no_body(short: Callable[[str], Case]) -> None:
    """504 as soon as it takes nothing for response_timeout."""
    case = short("hanging")
    client = case.ask("/", "POST", "Content-Length: 99999999")
    case.backend.accept().read_head()
    threading.Thread(target=pour, args=(client.socket,), daemon=True).start()
    assert 504 == client.read_response().status
    assert "stopped taking" in case.door.new_log()


def pour(to: socket.socket) -> None:
    """Send as long as anybody takes it."""
    with contextlib.suppress(OSError):
        while True:
            to.sendall(b"x" * 65536)


@pytest.mark.parametrize("framing", [b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_a_backend_that_stops_in_the_middle(short: Callable[[str], Case], framing: bytes) -> None:
    """After idle_timeout the client is cut, as it is when the backend dies."""
    case = short("idle")
    client, peer = case.exchange(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n")
    client.read_head()
    for _ in range(3):
        time.sleep(0.15)
        peer.send(b"1\r\nx\r\n" if b"chunked" in framing else b"x")
        assert b"x" == client.read_data(1)
    assert client.ended()
    assert peer.ended()
    assert "stopped in the middle" in case.door.new_log()


def test_a_client_that_stops_in_the_middle(short: Callable[[str], Case]) -> None:
    """408 after idle_timeout, and the backend's request is cancelled."""
    case = short("idle")
    client = case.ask("/", "POST", "Content-Length: 9", body=b"x")
    peer = case.backend.accept()
    peer.read_head()
    assert 408 == client.read_response().status
    assert client.ended()
    assert b"x" == peer.read_exactly(1)
    assert peer.ended()


BROKEN = {
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no HTTP": b"SSH-2.0-OpenSSH\r\n",
    "a status that is none": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "a status below all": b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n",
    "protocols that nobody asked for": b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab",
    "a coding that is unknown": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks not last": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
    "a coding with a control character": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a name that is none": b"HTTP/1.1 200 OK\r\nA b: 1\r\nContent-Length: 0\r\n\r\n",
    "a field without end": b"HTTP/1.1 200 OK\r\nA: " + b"a" * 70_000 + b"\r\n\r\n",
    "fields without end": b"HTTP/1.1 200 OK\r\n" + b"A: 1\r\n" * 300 + b"\r\n",
    "a carriage return": b"HTTP/1.1 200 OK\r\nA: 1\rB: 2\r\nContent-Length: 0\r\n\r\n",
    "a zero byte": b"HTTP/1.1 200 OK\r\nA: 1\0B\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_what_is_no_response(case: Case, answer: bytes) -> None:
    """502, and the client's connection goes on, while the backend's does not."""
    client, peer = case.exchange(answer)
    peer.socket.shutdown(socket.SHUT_WR)
    assert (502, FAILED) == ((response := client.read_response()).status, response.body)
    assert peer.ended()
    client.ask(case.host)
    again = case.backend.accept()
    again.read_head()
    again.send(OK)
    assert b"ok" == client.read_response().body
    assert 1 == case.door.new_log().count("WARNING")


CUT = {
    "too short": (b"Content-Length: 9\r\n\r\nhel", "close"),
    "too few chunks": (b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", "close"),
    "half a chunk": (b"Transfer-Encoding: chunked\r\n\r\n9\r\nhel", "close"),
    "a chunk size that is none": (b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\nxyz\r\n", "close"),
    "a chunk that is too long": (b"Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n", "close"),
    "a reset within a length": (b"Content-Length: 9\r\n\r\nhel", "reset"),
    "a reset within chunks": (b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", "reset"),
    "a reset without a length": (b"\r\nhel", "reset"),
}


@pytest.mark.parametrize("is_old", [False, True], ids=["1.1", "1.0"])
@pytest.mark.parametrize(("answer", "how"), CUT.values(), ids=CUT)
def test_a_body_that_is_not_whole(case: Case, answer: bytes, how: str, is_old: bool) -> None:
    """The client is cut, so that it can't take what it has for the whole."""
    client = case.raw(
        b"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n" if is_old else b"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"
    )
    peer = case.backend.accept()
    peer.read_head()
    head, _, body = answer.partition(b"\r\n\r\n") if not answer.startswith(b"\r\n") else (b"", b"", answer[2:])
    peer.send(b"HTTP/1.1 200 OK\r\n" + head + (b"\r\n\r\n" if head else b"\r\n"))
    client.read_head()
    peer.send(body)
    if "reset" == how:
        client.read_data(3)
    getattr(peer, how)()
    with pytest.raises((EOFError, ConnectionError)):
        client.read_rest()
    assert 1 == case.door.new_log().count("WARNING")


@pytest.mark.parametrize(
    "head", [b"Transfer-Encoding : chunked", b"Transfer-Encoding : chunked\r\nConnection : x", b"Content-Length : 12"]
)
def test_blanks_before_a_colon_do_not_go_on(case: Case, head: bytes) -> None:
    """RFC 9112 5.1: clients that take them would find another end of the body than those that do not."""
    client, peer = case.exchange(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    response = client.read_response()
    body = b"2\r\nok\r\n0\r\n\r\n" if b"12" in head else b"ok"
    assert (body, (("Content-Length", str(len(body))),)) == (response.body, response.head.fields)
    client.ask(case.host)
    peer.read_head()
    peer.send(OK)
    assert b"ok" == client.read_response().body


@pytest.mark.parametrize("reason", [b"O\0K", b"O\x01K", b"O\x7fK", b"O\xffK", b""])
def test_a_reason_that_is_none(case: Case, reason: bytes) -> None:
    """Control characters do not reach the client."""
    client, _ = case.exchange(b"HTTP/1.1 200 %b\r\nContent-Length: 2\r\n\r\nok" % reason)
    assert ("O\xffK" if b"\xff" in reason else "OK") == client.read_response().head.reason


def test_a_body_that_is_too_long(case: Case) -> None:
    """The client gets what the length says; nothing else is taken for an answer."""
    client, peer = case.exchange(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"
    )
    assert b"ok" == client.read_response().body
    client.ask(case.host)
    assert peer.ended()
    again = case.backend.accept()
    again.read_head()
    again.send(OK)
    assert b"ok" == client.read_response().body


@pytest.mark.parametrize("garbage", [b"garbage", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", b"HTTP/1.1 200 O"])
def test_what_a_backend_says_unasked_is_no_answer(case: Case, garbage: bytes) -> None:
    client, peer = case.exchange(OK)
    assert b"ok" == client.read_response().body
    peer.send(garbage)
    time.sleep(0.05)  # until it is there
    client.ask(case.host)
    again = peer if garbage.endswith(b" O") else case.backend.accept()
    again.read_head()
    if again is peer:
        again.send(b"K")
        assert 502 == client.read_response().status
    else:
        again.send(OK)
        assert b"ok" == client.read_response().body


def pooled(case: Case) -> Peer:
    """A connection that waits in the pool."""
    client, peer = case.exchange(OK)
    client.read_response()
    return peer


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_stale_connection_is_retried_where_that_is_safe(case: Case, method: str, how: str) -> None:
    """The request is read, as a backend's kernel does, and the connection ends."""
    peer = pooled(case)
    client = case.ask("/again", method, "Content-Length: 3", body=b"abc")
    peer.read_request()
    getattr(peer, how)()
    again = case.backend.accept()
    assert (method.encode(), b"/again", b"abc") == (
        (request := again.read_request()).method,
        request.target,
        request.body,
    )
    again.send(OK)
    assert 200 == client.read_head().status


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_request_that_is_not_safe_to_repeat_is_not_repeated(case: Case, method: str) -> None:
    peer = pooled(case)
    client = case.ask("/", method, "Content-Length: 3", body=b"abc")
    peer.read_request()
    peer.close()
    assert 502 == client.read_response().status
    assert not case.backend.is_asked()


def test_a_request_is_repeated_once(case: Case) -> None:
    """And not at all when the connection was new, so that one that kills its backend kills only one."""
    peer = pooled(case)
    client = case.ask()
    peer.read_request()
    peer.close()
    again = case.backend.accept()
    again.read_request()
    again.close()
    assert 502 == client.read_response().status
    assert not case.backend.is_asked()


def test_a_backend_that_has_begun_is_not_asked_again(case: Case) -> None:
    peer = pooled(case)
    client = case.ask()
    peer.read_request()
    peer.send(b"HTTP/1.1 2")
    peer.close()
    assert 502 == client.read_response().status
    assert not case.backend.is_asked()


def test_a_backend_that_is_killed(case: Case) -> None:
    """By SIGKILL, in the middle of a response: its client is cut at once, the next one gets 502."""
    program = f"""
import socket, sys, time
listener = socket.socket(fileno={case.backend.socket.fileno()})
accepted, _ = listener.accept()
accepted.recv(65536)
accepted.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 100\\r\\n\\r\\nhello")
time.sleep(60)
"""
    fileno = case.backend.socket.fileno()
    with subprocess.Popen([sys.executable, "-c", program], pass_fds=[fileno]) as backend:
        client = case.ask()
        client.read_head()
        assert b"hello" == client.read_exactly(5)
        backend.kill()
    with pytest.raises((EOFError, ConnectionError)):
        client.read_rest()


def test_random_bytes_from_a_backend(case: Case) -> None:
    """Whatever it is, the client is answered or cut, and nothing leaks."""
    random.seed(9110)
    before = case.door.descriptors()
    for number in range(300):
        client = case.ask()
        peer = case.backend.accept()
        peer.read_head()
        answer = bytearray(b"HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
        if number % 3 == 0:
            answer = bytearray(random.randbytes(random.randrange(200)))
        for _ in range(number % 5):
            answer[random.randrange(len(answer))] = random.randrange(256) if answer else 0
        peer.send(bytes(answer[: random.randrange(1, len(answer) + 2)]))
        peer.close()
        try:
            client.read_response()
        except (EOFError, ConnectionError, ValueError):
            pass
        client.close()
    time.sleep(0.2)
    assert case.door.descriptors() <= before + 2
