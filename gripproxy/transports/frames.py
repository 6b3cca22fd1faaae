"""Frames from a client, joined to messages: by wsproto, with limits, and only while there is something to read.

Most WebSocket clients of a push proxy seldom send anything, so an idle connection keeps no parser: it is made for the
bytes that come and dropped when they end with a whole message.
"""

import zlib

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode
from wsproto.utilities import LocalProtocolError

from gripproxy.grip.events import Event, encode_close

# What is answered to an offer of permessage-deflate: without context takeover a frame is compressed once for all
# clients, and neither side keeps a window between messages (RFC 7692 7.1.1).
DEFLATE_ANSWER = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"


class FrameError(Exception):
    """The client broke the protocol or a limit; ``code`` is the close code to answer with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class BoundedDeflate(PerMessageDeflate):
    """permessage-deflate that inflates a message to ``limit`` bytes at the most."""

    def __init__(self, limit: int) -> None:
        super().__init__(client_no_context_takeover=True, server_no_context_takeover=True)
        self._enabled = True
        self._limit = limit

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        """Inflate the next bytes of a message."""
        if not self._inbound_compressed or not self._inbound_is_compressible:
            return data
        decompressor = self._decompressor
        assert decompressor is not None
        try:
            inflated = decompressor.decompress(bytes(data), self._limit + 1)
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        if decompressor.unconsumed_tail or len(inflated) > self._limit:
            return CloseReason.MESSAGE_TOO_BIG
        return inflated


class Frames:
    """The parser of one peer's frames: a client's, or with ``is_backend`` a backend's."""

    __slots__ = ("_is_text", "_limit", "_parser", "_parts", "_size")

    def __init__(self, limit: int, *, is_deflated: bool = False, is_backend: bool = False) -> None:
        """``limit`` is the size of the largest message, in bytes (after inflation)."""
        role = ConnectionType.CLIENT if is_backend else ConnectionType.SERVER
        self._parser = Connection(role, [BoundedDeflate(limit)] if is_deflated else [])
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._is_text = False

    @property
    def is_between(self) -> bool:
        """Whether no message is half received."""
        return not self._parts and not self._size

    def feed(self, data: bytes) -> list[Event]:
        """Return the messages and control frames that ``data`` completes.

        Raises: FrameError; what stood before the fault is lost with the connection.
        """
        try:
            self._parser.receive_data(data)
            return [event for one in self._parser.events() if (event := self._take(one)) is not None]
        except LocalProtocolError as error:
            raise FrameError(CloseReason.PROTOCOL_ERROR, str(error)) from error

    def _take(self, event: object) -> Event | None:
        if isinstance(event, TextMessage | BytesMessage):
            return self._join(event)
        if isinstance(event, Ping):
            return Event("PING", bytes(event.payload))
        if isinstance(event, Pong):
            return Event("PONG", bytes(event.payload))
        assert isinstance(event, CloseConnection)
        if self._parser.state.name != "REMOTE_CLOSING":
            # wsproto's way to say that what it read is no WebSocket.
            raise FrameError(event.code, str(event.reason or "")[:100])
        code = None if event.code == CloseReason.NO_STATUS_RCVD else int(event.code)
        return Event("CLOSE", encode_close(code, event.reason or ""))

    def _join(self, event: TextMessage | BytesMessage) -> Event | None:
        if isinstance(event, TextMessage):
            self._is_text = True
            part = event.data.encode()
        else:
            self._is_text = False
            part = bytes(event.data)
        self._parts.append(part)
        self._size += len(part)
        if self._size > self._limit:
            raise FrameError(CloseReason.MESSAGE_TOO_BIG, f"message exceeds {self._limit} bytes")
        if not event.message_finished:
            return None
        content = b"".join(self._parts)
        self._parts = []
        self._size = 0
        return Event("TEXT" if self._is_text else "BINARY", content)


def ends_whole(data: bytes) -> bool:
    """Whether ``data`` is a row of whole frames, the last one final: nothing is left for a parser to remember."""
    start, end = 0, len(data)
    is_final = True
    while start < end:
        if start + 2 > end:
            return False
        first, size = data[start], data[start + 1] & 0x7F
        head = 6
        if size == 126:
            size = int.from_bytes(data[start + 2 : start + 4], "big")
            head = 8
        elif size == 127:
            size = int.from_bytes(data[start + 2 : start + 10], "big")
            head = 14
        if first & 0x0F < Opcode.CLOSE:
            is_final = bool(first & 0x80)
        start += head + size
    return start == end and is_final
