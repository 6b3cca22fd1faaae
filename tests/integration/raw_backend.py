"""A backend that the test itself plays, byte by byte: it accepts, reads and writes when the test says so.

Client and backend are sockets in the test's own thread, so that a test reads from top to bottom like a trace:
`client.send(...)`, `peer = backend.accept()`, `peer.read_head()`, `peer.send(...)`, `client.read_response()`.
"""

import select
import socket
import ssl
from dataclasses import dataclass
from types import TracebackType

DEADLINE = 10.0  # seconds until a test gives up on something that has to happen
Fields = tuple[tuple[bytes, bytes], ...]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True, slots=True)
class Request:
    """A request's head as it stood on the wire, and its body where that was read."""

    method: bytes
    target: bytes
    version: bytes
    fields: Fields
    body: bytes = b""

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a field, in order."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    @property
    def names(self) -> list[bytes]:
        """The names of all fields as they were written."""
        return [name for name, _ in self.fields]


class Peer:
    """A connection of the proxy's to the backend."""

    def __init__(self, accepted: socket.socket) -> None:
        accepted.settimeout(DEADLINE)
        self.socket = accepted
        self.buffer = b""

    def read_until(self, mark: bytes) -> bytes:
        """Raises: EOFError when the connection ends before."""
        while mark not in self.buffer:
            self._more()
        data, _, self.buffer = self.buffer.partition(mark)
        return data

    def read_exactly(self, count: int) -> bytes:
        """Raises: EOFError when the connection ends before."""
        while len(self.buffer) < count:
            self._more()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def read_head(self) -> Request:
        """Read the next request up to its body."""
        first, *lines = self.read_until(b"\r\n\r\n").split(b"\r\n")
        method, target, version = first.split(b" ")
        pairs = (line.partition(b":") for line in lines)
        return Request(method, target, version, tuple((name, value.strip(b" \t")) for name, _, value in pairs))

    def read_request(self) -> Request:
        """Read the next request, whole."""
        head = self.read_head()
        body = b""
        if head.values(b"Transfer-Encoding"):
            while chunk := self.read_chunk():
                body += chunk
        elif length := head.values(b"Content-Length"):
            body = self.read_exactly(int(length[0]))
        return Request(head.method, head.target, head.version, head.fields, body)

    def read_chunk(self) -> bytes:
        """Read one chunk of a request's body; b"" is the last."""
        data = self.read_exactly(int(self.read_until(b"\r\n"), 16))
        assert b"\r\n" == self.read_exactly(2)
        return data

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ended(self) -> bool:
        """Wait for the proxy to close or reset; False when it sends something instead, which is then read."""
        if self.buffer:
            self.buffer = b""
            return False
        try:
            return not self.socket.recv(65536)
        except ConnectionError:
            return True

    def is_readable(self, seconds: float) -> bool:
        """Whether bytes or an end come within the time."""
        return bool(self.buffer) or bool(select.select([self.socket], [], [], seconds)[0])

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """End the connection with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(f"the proxy closed inside: {self.buffer[-200:]!r}")
        self.buffer += data


class RawBackend:
    """A listening socket and the connections that came in."""

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.socket.settimeout(DEADLINE)
        self.port = self.socket.getsockname()[1]
        self.peers: list[Peer] = []
        self._tls = tls

    def accept(self) -> Peer:
        """Take the proxy's next connection."""
        accepted, _ = self.socket.accept()
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            accepted.settimeout(DEADLINE)
            accepted = self._tls.wrap_socket(accepted, server_side=True)
        peer = Peer(accepted)
        self.peers.append(peer)
        return peer

    def is_asked(self, seconds: float = 0.2) -> bool:
        """Whether the proxy connects within the time."""
        return bool(select.select([self.socket], [], [], seconds)[0])

    def drop(self) -> None:
        """Close every connection, those not yet accepted too."""
        while self.socket.fileno() >= 0 and self.is_asked(0):
            self.accept()
        for peer in self.peers:
            peer.close()
        self.peers.clear()

    def __enter__(self) -> "RawBackend":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for peer in self.peers:
            peer.close()
        self.socket.close()
