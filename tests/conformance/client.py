"""A client that hides nothing: raw requests out, responses in with every field, chunk and frame as it came."""

import json
import select
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.conformance import frames
from tests.conformance.backend import DEADLINE, Fields, values_of

HOST = "conformance.test"  # that requests are for, if they do not say otherwise


@dataclass(frozen=True, slots=True)
class Head:
    """A response's head."""

    version: str
    status: int
    reason: str
    fields: Fields

    def values(self, name: str) -> list[str]:
        return values_of(self.fields, name)

    def value(self, name: str) -> str | None:
        found = self.values(name)
        return ", ".join(found) if found else None

    @property
    def chunked(self) -> bool:
        return "chunked" in (self.value("Transfer-Encoding") or "").lower()


@dataclass(frozen=True, slots=True)
class Response:
    """A response, read to its end."""

    head: Head
    body: bytes

    @property
    def status(self) -> int:
        return self.head.status

    def value(self, name: str) -> str | None:
        return self.head.value(name)


class Connection:
    """One TCP connection to the proxy."""

    def __init__(self, host: str, port: int, deadline: float = DEADLINE, tls: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_connection((host, port), deadline)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self._socket = tls.wrap_socket(self._socket, server_hostname=HOST)  # a self-made certificate is for it
        self._buffer = b""
        self.head: Head | None = None
        self._key = ""
        self._host = host

    def close(self) -> None:
        self._socket.close()

    def end_half(self) -> None:
        """Sends no more, and reads on."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Ends the connection with a reset instead of an end of file."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def request(
        self,
        path: str,
        method: str = "GET",
        fields: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        version: str = "1.1",
        host: str | None = None,
    ) -> "Connection":
        """Sends a request, with a Content-Length if there is a body."""
        lines = [f"{method} {path} HTTP/{version}", f"Host: {host or HOST}"]
        lines += [f"{name}: {value}" for name, value in fields]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))
        return self

    def _more(self) -> bool:
        data = self._socket.recv(65536)
        self._buffer += data
        return bool(data)

    def read_exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            if not self._more():
                raise EOFError(f"connection ended inside: {self._buffer!r}")
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def read_until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            if not self._more():
                raise EOFError(f"connection ended inside: {self._buffer!r}")
        data, _, self._buffer = self._buffer.partition(mark)
        return data

    def read_head(self) -> Head:
        """The next response's head, interim ones included."""
        first, *lines = self.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, reason = (*first.split(" ", 2), "")[:3]
        pairs = (line.partition(":") for line in lines)
        self.head = Head(version, int(status), reason, tuple((name, value.strip(" \t")) for name, _, value in pairs))
        return self.head

    def read_chunk(self) -> bytes:
        """The next chunk's data; empty for the last one. The stream must be chunked."""
        size = int(self.read_until(b"\r\n").partition(b";")[0], 16)
        data = self.read_exactly(size)
        assert self.read_exactly(2) == b"\r\n"
        return data

    def read_data(self, count: int) -> bytes:
        """Body data of a stream, at least `count` bytes of it, however it is framed."""
        assert self.head
        if not self.head.chunked:
            return self.read_exactly(count)
        data = b""
        while len(data) < count:
            chunk = self.read_chunk()
            if not chunk:
                raise EOFError(f"stream ended after {data!r}")
            data += chunk
        return data

    def read_rest(self, method: str = "GET") -> bytes:
        """The body up to its end."""
        assert self.head
        if method == "HEAD" or self.head.status in (204, 304) or self.head.status < 200:
            return b""
        if self.head.chunked:
            data = b""
            while chunk := self.read_chunk():
                data += chunk
            return data
        length = self.head.value("Content-Length")
        if length is not None:
            return self.read_exactly(int(length))
        while self._more():
            pass
        data, self._buffer = self._buffer, b""
        return data

    def read_all(self) -> bytes:
        """Every byte until the connection ends, cleanly or not."""
        try:
            while self._more():
                pass
        except ConnectionError:
            pass
        data, self._buffer = self._buffer, b""
        return data

    def read_response(self, method: str = "GET") -> Response:
        """The next final response, whole."""
        head = self.read_head()
        while head.status < 200:
            head = self.read_head()
        return Response(head, self.read_rest(method))

    def ended(self) -> bool:
        """Waits for the peer's end of file or reset; False if it sent more instead."""
        if self._buffer:
            return False
        try:
            return not self._more()
        except ConnectionError:
            return True

    def readable(self, seconds: float) -> bool:
        """Whether something is there to read, or arrives within the time."""
        decrypted = self._socket.pending() if isinstance(self._socket, ssl.SSLSocket) else 0
        return bool(self._buffer or decrypted or select.select([self._socket], [], [], seconds)[0])

    # --- WebSocket

    def upgrade(self, path: str, fields: Sequence[tuple[str, str]] = (), host: str | None = None) -> Head:
        """Asks for a WebSocket; the answer's head."""
        self.begin_upgrade(path, fields, host)
        return self.end_upgrade()

    def begin_upgrade(self, path: str, fields: Sequence[tuple[str, str]] = (), host: str | None = None) -> None:
        """Asks for a WebSocket."""
        self._key = frames.new_key()
        handshake = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
        self.request(path, fields=[*handshake, ("Sec-WebSocket-Key", self._key), *fields], host=host)

    def end_upgrade(self) -> Head:
        """The head of the answer, whose key must fit if it accepts."""
        head = self.read_head()
        if head.status == 101:
            assert frames.accept_for(self._key) == head.value("Sec-WebSocket-Accept")
        return head

    def send_frame(self, opcode: int, payload: bytes | str = b"", final: bool = True) -> None:
        raw = payload.encode() if isinstance(payload, str) else payload
        self.send(frames.encode(frames.Frame(opcode, raw, final), masked=True))

    def send_text(self, text: str) -> None:
        self.send_frame(frames.TEXT, text)

    def send_close(self, code: int | None = None, reason: str = "") -> None:
        self.send(frames.encode(frames.close(code, reason), masked=True))

    def read_frame(self) -> frames.Frame:
        return frames.read(self.read_exactly)

    def read_message(self) -> frames.Frame:
        """The next message as one frame, its fragments joined."""
        first = self.read_frame()
        payload, final = first.payload, first.final
        while not final:
            more = self.read_frame()
            assert more.opcode == frames.CONTINUATION, more
            payload, final = payload + more.payload, more.final
        return frames.Frame(first.opcode, payload)

    def read_text(self) -> str:
        frame = self.read_message()
        assert frame.opcode == frames.TEXT, frame
        return frame.payload.decode()

    def is_cut(self) -> bool:
        """Whether a WebSocket ends without a clean close: with nothing, or with a code of failure."""
        try:
            frame = self.read_frame()
        except (EOFError, ConnectionError):
            return True
        return frame.opcode == frames.CLOSE and frame.code not in (None, 1000, 1001)


def fetch(host: str, port: int, path: str, method: str = "GET", deadline: float = DEADLINE, **options: Any) -> Response:
    """One request on a connection of its own."""
    connection = Connection(host, port, deadline)
    try:
        return connection.request(path, method, **options).read_response(method)
    finally:
        connection.close()


def json_body(value: Any) -> bytes:
    """A value as a request body."""
    return json.dumps(value).encode()
