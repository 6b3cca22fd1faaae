"""Requests with a few bytes changed at random: what reaches the backend is well-formed and framed in one way."""

import random
import re
import select

from tests.integration.door import Case
from tests.integration.raw_backend import Peer

TEMPLATES = [
    b"POST /a?b HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nX-A: b, c\r\n\r\nhello",
    b"POST /a HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nConnection: close, X-A\r\nX-A: b\r\n\r\n"
    b"5;x=y\r\nhello\r\n0\r\nX-B: c\r\n\r\n",
    b"GET http://{host}/a HTTP/1.1\r\nHost: {host}\r\nCookie: a=b\r\nX-A: b\r\n\r\n",
]
SPECIAL = b"\r\n\t \0\x0b\x7f\xff:,;=0159aZ/?#@-_+\"'"
is_line = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\x00-\x08\x0a-\x1f\x7f]*").fullmatch
is_request = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64} [\x21-\x7e\x80-\xff]+ HTTP/1\.1").fullmatch


def mutate(data: bytes) -> bytes:
    """Change, insert or delete some bytes."""
    changed = bytearray(data)
    for _ in range(random.randrange(1, 4)):
        at, kind = random.randrange(len(changed)), random.randrange(3)
        changed[at : at + (kind > 0)] = bytes([random.choice(SPECIAL)]) if kind < 2 else b""
    return bytes(changed)


def check(peer: Peer) -> None:
    """Read one request as strictly as can be, and see that nothing comes behind it."""
    raw = peer.read_until(b"\r\n\r\n")
    request, *lines = raw.split(b"\r\n")
    assert is_request(request), raw
    assert [] == [line for line in lines if not is_line(line)], raw
    names = [line.partition(b":")[0].lower() for line in lines]
    assert 1 == names.count(b"host"), raw
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1, raw
    assert 1 == names.count(b"grip-sig"), raw
    fields = dict(line.lower().split(b": ", 1) for line in lines)
    try:
        if b"transfer-encoding" in fields:
            while peer.read_chunk():
                pass
        else:
            peer.read_exactly(int(fields.get(b"content-length", b"0")))
    except (EOFError, TimeoutError):
        return  # the body did not come whole, and so the request is cut
    assert not peer.is_readable(0), (raw, peer.socket.recv(65536))


def test_requests_with_a_few_bytes_changed(case: Case) -> None:
    random.seed(9112)
    reached = 0
    for number in range(3000):
        data = mutate(TEMPLATES[number % 3].replace(b"{host}", case.host.encode()))
        client = case.door.connect()
        client.send(data)
        ready, _, _ = select.select([client.socket, case.backend.socket], [], [], 0.03)
        if case.backend.socket in ready:
            peer = case.backend.accept()
            peer.socket.settimeout(0.03)
            check(peer)
            reached += 1
            peer.close()
        elif client.socket in ready:
            assert client.read_response().status >= 400, data
        client.close()
    assert reached > 200
