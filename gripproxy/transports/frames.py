"""Frames from a peer, joined to messages: by wsproto, with limits, and only while there is something to read.

Most WebSocket clients of a push proxy seldom send anything, so an idle connection keeps no parser: it is made for the
bytes that come and dropped when they end with a whole message (`Frames.is_between`).

Frames can be tiny, or inflate to a million times their size, so whoever reads them does so a few at a time.
"""

import zlib
from collections.abc import Iterator

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol
from wsproto.utilities import LocalProtocolError

from gripproxy.grip.events import Event, encode_close

# Frames that are read in one turn of the loop: about a millisecond's work. The loop hands over 256 KiB at a time, and
# up to 32 times in one turn; 256 KiB of empty pings are 43,000.
FRAMES_MAX = 64


class FrameError(Exception):
    """The peer broke the protocol or a limit; ``code`` is the close code to answer with."""

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

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        """End a frame; a control frame in the middle of a message ends nothing, which wsproto 1.3 forgets."""
        if not self._inbound_is_compressible:
            if self._decompressor is None:
                self._inbound_compressed = None
            return None
        return super().frame_inbound_complete(proto, fin)


class Frames:
    """The parser of one peer's frames: a client's, or with ``is_backend`` a backend's."""

    __slots__ = ("_ahead", "_content", "_head", "_limit", "_parser", "has_more")

    def __init__(self, limit: int, *, is_deflated: bool = False, is_backend: bool = False) -> None:
        """``limit`` is the size of the largest message, in bytes (after inflation)."""
        role = ConnectionType.CLIENT if is_backend else ConnectionType.SERVER
        self._parser = Connection(role, [BoundedDeflate(limit)] if is_deflated else [])
        self._limit = limit
        # Of a message in pieces, however small they are; None between messages
        self._content: bytearray | None = None
        # Where the current frame ends: bytes of it that are still to come, and its head while that is not whole
        self._ahead = 0
        self._head = b""
        # Whether frames may be left that came already: `feed` again
        self.has_more = False

    @property
    def is_between(self) -> bool:
        """Whether nothing is half received, so that the next bytes can go to a fresh parser."""
        return self._content is None and not self._ahead and not self._head and not self.has_more

    def feed(self, data: bytes = b"") -> Iterator[Event]:
        """Yield the messages and control frames of what has come, ``data`` last; of FRAMES_MAX frames at the most.

        It ends as well when their content is more than the largest message may have. Whoever stops earlier goes on with
        the next call, too.

        Raises: FrameError, behind what stood before the fault.
        """
        self._follow(data)
        self.has_more = True
        size = 0
        try:
            self._parser.receive_data(data)
            for count, one in enumerate(self._parser.events(), 1):
                event = self._take(one)
                if event is not None:
                    size += len(event.content)
                    yield event
                if count == FRAMES_MAX or size > self._limit:
                    return
        except LocalProtocolError as error:
            raise FrameError(CloseReason.PROTOCOL_ERROR, str(error)) from error
        self.has_more = False

    def release(self) -> None:
        """Read no more: the parser is let go of."""
        release(self._parser)

    def _follow(self, data: bytes) -> None:
        """Keep track of where frames end, which the parser does not tell."""
        data = self._head + data
        at = self._ahead
        size = len(data)
        while at < size:
            head = _head_size(data, at)
            if head is None or at + head > size:
                self._ahead, self._head = 0, data[at:]
                return
            at += head + _payload_size(data, at)
        self._ahead, self._head = at - size, b""

    def _take(self, event: object) -> Event | None:
        if isinstance(event, TextMessage | BytesMessage):
            return self._join(event)
        if isinstance(event, Ping):
            return Event("PING", bytes(event.payload))
        if isinstance(event, Pong):
            return Event("PONG", bytes(event.payload))
        assert isinstance(event, CloseConnection)
        if self._parser.state is not ConnectionState.REMOTE_CLOSING:
            # wsproto's way to say that what it read is no WebSocket.
            raise FrameError(int(event.code), self._explain(int(event.code), event.reason or ""))
        code = None if event.code == CloseReason.NO_STATUS_RCVD else int(event.code)
        return Event("CLOSE", encode_close(code, event.reason or ""))

    def _explain(self, code: int, reason: str) -> str:
        if code == CloseReason.MESSAGE_TOO_BIG:
            return f"message exceeds {self._limit} bytes"
        if code == CloseReason.INVALID_FRAME_PAYLOAD_DATA:
            return "content is not what its frame says"  # no UTF-8, or not compressed
        return reason[:100]

    def _join(self, event: TextMessage | BytesMessage) -> Event | None:
        part = event.data.encode() if isinstance(event, TextMessage) else event.data
        before = self._content
        if len(part) + (len(before) if before is not None else 0) > self._limit:
            raise FrameError(CloseReason.MESSAGE_TOO_BIG, f"message exceeds {self._limit} bytes")
        if before is not None:
            before += part
        elif not event.message_finished:
            self._content = bytearray(part)
        if not event.message_finished:
            return None
        self._content = None
        # All pieces of a message are of one kind.
        return Event("TEXT" if isinstance(event, TextMessage) else "BINARY", bytes(part if before is None else before))


def release(parser: Connection) -> None:
    """Undo the circle in which wsproto's parser refers to itself, its generator (a private name of wsproto 1.3).

    Otherwise a parser that was in use for more than a second is freed when the proxy is idle (see `collector`).
    """
    parser._proto._parse_more.close()


def _head_size(data: bytes, at: int) -> int | None:
    """Return the size of the frame head at an offset (RFC 6455 5.2), None when it is cut off before that shows."""
    if at + 2 > len(data):
        return None
    second = data[at + 1]
    return 2 + {126: 2, 127: 8}.get(second & 0x7F, 0) + (4 if second & 0x80 else 0)


def _payload_size(data: bytes, at: int) -> int:
    short = data[at + 1] & 0x7F
    if short < 126:
        return short
    return int.from_bytes(data[at + 2 : at + (4 if short == 126 else 10)], "big")
