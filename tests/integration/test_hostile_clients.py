"""Clients that try to be read in two ways, or cost more than they are worth: 400, one line in the log, the end."""

import random
import socket
import time

import pytest

from tests.integration.door import Case, route, start_door
from tests.integration.processes import Processes
from tests.integration.raw_backend import DEADLINE, OK, RawBackend

HOST = b"Host: {host}\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

# RFC 9112 2.2, 3, 5.1, 5.2, 6.1, 6.3, 7.1; RFC 9110 5.5.
SMUGGLING = {
    "a length and chunks": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "chunks and a length": b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "the same length twice": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "a list of lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1, 1\r\n\r\na",
    "a length with a sign": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\na",
    "a length below zero": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\na",
    "a length in hexadecimal": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x1\r\n\r\na",
    "a length with a blank": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1 1\r\n\r\na",
    "a length with an underscore": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1_0\r\n\r\na",
    "a length in other digits": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: \xd9\xa1\r\n\r\na",
    "an empty length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: \r\n\r\na",
    "a length beyond all": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999\r\n\r\na",
    "chunks twice": b"POST / HTTP/1.1\r\n" + HOST + CHUNKED * 2 + b"\r\n0\r\n\r\n",
    "chunks in chunks": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunks not last": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "another coding": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding with a control character": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a coding in quotes": b"POST / HTTP/1.1\r\n" + HOST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "chunks of an old client": b"POST / HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n0\r\n\r\n",
    "a blank before the colon": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a blank before the name": b"GET / HTTP/1.1\r\n" + HOST + b" A: b\r\n\r\n",
    "a folded line": b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n\r\n",
    "a folded coding": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a bare line feed": b"GET / HTTP/1.1\r\n" + HOST + b"A: b\nC: d\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\n" + HOST + b"\n",
    "a bare line feed at the end": b"GET / HTTP/1.1\r\n" + HOST + b"\n",
    "a bare carriage return": b"GET / HTTP/1.1\r\n" + HOST + b"A: b\rC: d\r\n\r\n",
    "a zero byte in a value": b"GET / HTTP/1.1\r\n" + HOST + b"A: b\0c\r\n\r\n",
    "a control character in a value": b"GET / HTTP/1.1\r\n" + HOST + b"A: b\x01c\r\n\r\n",
    "a control character in a name": b"GET / HTTP/1.1\r\n" + HOST + b"A\x01: b\r\n\r\n",
    "a name beyond ASCII": b"GET / HTTP/1.1\r\n" + HOST + b"A\xe9: b\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\n" + HOST + b": b\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\n" + HOST + b"A\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\n" + HOST + b"Host: b\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "a host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "a host with a user": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "a list of hosts": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "a target of a user": b"GET http://a@b/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "a target without a host": b"GET http:///a HTTP/1.1\r\n" + HOST + b"\r\n",
    "a target that is no path": b"GET a HTTP/1.1\r\n" + HOST + b"\r\n",
    "a target of another scheme": b"GET ftp://a/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment": b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a blank in the target": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a control character in the target": b"GET /a\x01 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a zero byte in the target": b"GET /a\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "no target": b"GET HTTP/1.1\r\n" + HOST + b"\r\n",
    "an asterisk": b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tunnel": b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    "a chunk size with a sign": b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n+1\r\na\r\n0\r\n\r\n",
    "a chunk size with a prefix": b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n0x1\r\na\r\n0\r\n\r\n",
    "a chunk size beyond all": b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n1ffffffffffffffff\r\na\r\n0\r\n\r\n",
    "a chunk size with a bare line feed": b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n1\na\r\n0\r\n\r\n",
    "no chunk size": b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n\r\na\r\n0\r\n\r\n",
    "a chunk size with a blank": b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n1 \r\na\r\n0\r\n\r\n",
    "a chunk that is too long": b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n1\r\nab\r\n0\r\n\r\n",
    "a chunk extension with a line feed": b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n1;a\nb\r\na\r\n0\r\n\r\n",
    "a trailer with a bare line feed": b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n0\r\nA: b\nC: d\r\n\r\n",
}
STATUS = {
    "": 505,
    " HTTP/2.0": 505,
    " HTTP/0.9": 505,
    " HTTP/1.2": 400,
    " HTTP/3.0": 400,
    " HTTP/1.10": 400,
    " HTTQ/1.1": 400,
}


@pytest.mark.parametrize("request_", SMUGGLING.values(), ids=SMUGGLING)
def test_what_can_be_read_in_two_ways_is_refused(case: Case, request_: bytes) -> None:
    """400 and the end of the connection; the backend hears nothing of it, nor of what comes behind it."""
    client = case.raw(request_ + b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (400, "close") == ((response := client.read_response()).status, response.value("Connection"))
    assert client.ended()
    assert not case.backend.is_asked(0.02)
    assert 1 == len(case.door.new_log().splitlines())


@pytest.mark.parametrize("size", [b"xyz", b"-1", b"0x1", b"1ffffffffffffffff", b""])
def test_chunks_that_turn_out_malformed(case: Case, size: bytes) -> None:
    """When the request has been sent on in part already, it is cut, never completed."""
    client = case.ask("/", "POST", "Transfer-Encoding: chunked")
    for _ in range(3):
        client.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
    peer = case.backend.accept()
    peer.read_head()
    taken = 0
    while taken < 3 * 65536:
        taken += len(peer.read_chunk())
    client.send(size + b"\r\nx\r\n0\r\n\r\n")
    assert (400, "close") == ((response := client.read_response()).status, response.value("Connection"))
    assert client.ended()
    assert peer.ended()


def test_chunks_that_turn_out_malformed_behind_an_early_answer(case: Case) -> None:
    """The answer has begun, so all that is left is to cut both."""
    client = case.ask("/", "POST", "Transfer-Encoding: chunked", body=b"1\r\nx\r\n")
    peer = case.backend.accept()
    peer.read_head()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel")
    client.read_head()
    client.send(b"xyz\r\n")
    with pytest.raises((EOFError, ConnectionError)):
        client.read_rest()
    assert b"x" == peer.read_chunk()
    assert peer.ended()


def test_a_pipelined_body_that_turns_out_malformed(case: Case) -> None:
    """What came before it is answered as usual."""
    client = case.ask("/1")
    client.ask(case.host, "/2", "POST", "Transfer-Encoding: chunked")
    peer = case.backend.accept()
    peer.read_head()
    client.send(b"3\r\nabcd\r\n")
    time.sleep(0.05)
    peer.send(OK)
    assert b"ok" == client.read_response().body
    assert 400 == client.read_response().status
    assert client.ended()
    assert not peer.is_readable(0.05)


@pytest.mark.parametrize(("version", "status"), STATUS.items())
def test_versions_that_are_not_spoken(case: Case, version: str, status: int) -> None:
    client = case.raw(f"GET /{version}\r\n".encode() + HOST + b"\r\n")
    assert status == client.read_response().status
    assert client.ended()


def test_a_method_that_is_too_long(case: Case) -> None:
    """RFC 9112 3: 501."""
    client = case.raw(b"X" * 65 + b" / HTTP/1.1\r\n" + HOST + b"\r\n")
    assert 501 == client.read_response().status
    assert client.ended()


@pytest.mark.parametrize("count", [0, 1, 30, 31, 32, 100])
def test_the_body_of_a_pipelined_request_is_none(case: Case, count: int) -> None:
    """However many requests are before it, and how aiohttp counts them; here a body in chunks is the last of these."""
    chunked = b"POST /chunked HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n0\r\n\r\n"
    body = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
    body = body.replace(b"{host}", case.host.encode())
    client = case.raw(b"GET /held HTTP/1.1\r\n" + HOST + b"\r\n")
    peer = case.backend.accept()
    peer.read_head()
    last = b"POST /last HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body)
    data = (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * count + chunked + last
    client.send(data.replace(b"{host}", case.host.encode()))
    time.sleep(0.02)
    targets = set()
    for _ in range(count + 1):
        peer.send(OK)
        assert 200 == client.read_response().status
        targets.add(peer.read_request().target)
    peer.send(OK)
    assert 200 == client.read_response().status
    client.send(body)
    if peer.is_readable(0.05):
        targets.add(peer.read_request().target)
    assert b"/smuggled" not in targets


LARGE = {
    "a target": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a name": b"GET / HTTP/1.1\r\n" + HOST + b"a" * 20_000 + b": b\r\n\r\n",
    "a value": b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"b" * 20_000 + b"\r\n\r\n",
    "values": b"GET / HTTP/1.1\r\n" + HOST + (b"A: " + b"b" * 500 + b"\r\n") * 40 + b"\r\n",
    "fields": b"GET / HTTP/1.1\r\n" + HOST + b"A:b\r\n" * 200 + b"\r\n",
}


@pytest.mark.parametrize("step", [1 << 20, 1000], ids=["at once", "bit by bit"])
@pytest.mark.parametrize("request_", LARGE.values(), ids=LARGE)
def test_a_header_that_is_too_large(case: Case, request_: bytes, step: int) -> None:
    """RFC 6585 5: 431, as soon as it is too large."""
    client = case.connect()
    before = case.door.metric('gripproxy_requests_total{status="4xx"}')
    request_ = request_.replace(b"{host}", case.host.encode())
    for start in range(0, len(request_), step):
        client.send(request_[start : start + step])
        if client.readable(0.002):
            break
    assert 431 == client.read_response().status
    assert client.ended()
    assert 1 == len(case.door.new_log().splitlines())
    assert before + 1 == case.door.metric('gripproxy_requests_total{status="4xx"}')


def test_a_header_that_is_too_large_behind_another_request(case: Case) -> None:
    """While that has no answer, nobody waits for a header."""
    client = case.ask("/1")
    peer = case.backend.accept()
    peer.read_head()
    client.send(b"GET /2 HTTP/1.1\r\n" + HOST.replace(b"{host}", case.host.encode()))
    for number in range(40):
        client.send(b"X-%d: " % number + b"x" * 1000 + b"\r\n")
    time.sleep(0.02)
    client.send(b"\r\n")
    time.sleep(0.02)
    peer.send(OK)
    assert [200, 431] == [client.read_response().status for _ in range(2)]
    assert client.ended()
    assert not peer.is_readable(0.02)


def test_a_header_that_is_just_not_too_large(case: Case) -> None:
    """A long one, and a short one behind a long one."""
    client = case.raw(b"GET /1 HTTP/1.1\r\n" + HOST + (b"A: " + b"b" * 1000 + b"\r\n") * 15 + b"\r\n")
    peer = case.backend.accept()
    for _ in range(2):
        peer.read_head()
        peer.send(OK)
        assert b"ok" == client.read_response().body
        client.send(b"GET /2 HTTP/1.1\r\n" + HOST.replace(b"{host}", case.host.encode()))
        client.send(b"A: b\r\n\r\n")


def test_a_header_without_end(case: Case) -> None:
    """Refused when it is too large, however slowly it comes."""
    client = case.raw(b"GET / HTTP/1.1\r\n" + HOST)
    for number in range(400):
        if client.readable(0.001):
            break
        client.send(b"X-%d: " % number + b"x" * 100 + b"\r\n")
    assert 431 == client.read_response().status


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHo", b"\r\n"])
def test_a_client_that_sends_no_request(processes: Processes, sent: bytes) -> None:
    """It is let go after keepalive_timeout, whatever it has begun."""
    with RawBackend() as backend:
        door = start_door(processes, '[server]\nlisten = ["{listen}"]\nkeepalive_timeout = 0.2\n' + route(backend, "*"))
        client = door.connect()
        client.send(sent)
        assert client.ended()
        client.close()


def test_clients_that_are_let_go_leave_their_places(processes: Processes) -> None:
    """However many said nothing, or nothing more, for `keepalive_timeout`."""
    with RawBackend() as backend:
        toml = '[server]\nlisten = ["{listen}"]\nkeepalive_timeout = 0.1\n[limits]\nconnections = 2\n'
        door = start_door(processes, toml + route(backend, "*"))
        peer = None
        for number in range(6):
            client = door.connect()
            if number % 2:
                client.ask("door.test")
                peer = peer or backend.accept()
                peer.read_head()
                peer.send(OK)
                assert 200 == client.read_response().status
            assert client.ended()
            client.close()


def open_all(port: int, count: int, turn: int) -> list[socket.socket]:
    """Connect so many times, in each turn from another address, so that ports do not run out."""
    source = (f"127.0.1.{turn % 250 + 1}", 0)
    return [socket.create_connection(("127.0.0.1", port), DEADLINE, source) for _ in range(count)]


def junk(number: int) -> bytes:
    """Something random: pure, or a request with a few random bytes in it."""
    if number % 2:
        return random.randbytes(random.randrange(1, 400))
    request = bytearray(
        b"POST /publish/ HTTP/1.1\r\nHost: nobody\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    )
    for _ in range(random.randrange(1, 6)):
        request[random.randrange(len(request))] = random.randrange(256)
    return bytes(request[: random.randrange(1, len(request) + 1)])


@pytest.mark.parametrize("door", ["client", "control"])
def test_ten_thousand_random_byte_strings(case: Case, door: str) -> None:
    """Each is answered or cut, none leaves a trace in files, memory or more than a line of the log."""
    random.seed(door)
    port = case.door.port if door == "client" else case.door.control_port
    before, rounds = case.door.descriptors(), 100
    memory = 0
    for turn in range(rounds):
        if turn == rounds // 5:
            memory = case.door.memory()
        clients = open_all(port, 100, turn)
        for number, client in enumerate(clients):
            client.sendall(junk(number))
            client.shutdown(socket.SHUT_WR)
        for client in clients:
            try:
                while client.recv(65536):
                    pass
            except ConnectionError:
                pass
            client.close()
    deadline = time.monotonic() + DEADLINE
    while case.door.descriptors() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert case.door.descriptors() <= before
    assert case.door.memory() - memory < 8 << 20
    log = case.door.new_log()
    assert len(log.splitlines()) <= rounds * 100
    assert "Traceback" not in log
    assert 200 == health(case)


def health(case: Case) -> int:
    """The status of a request that is in order."""
    client = case.ask()
    peer = case.backend.accept()
    peer.read_head()
    peer.send(OK)
    return client.read_response().status
