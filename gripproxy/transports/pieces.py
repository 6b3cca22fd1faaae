"""Cuts what a client sends into pieces, none with parts of two requests.

aiohttp's parser takes in all that it gets. Nobody could tell then what lies behind a request when that is held, what
lies behind one that offers to upgrade to HTTP/2 would be lost, and a method that nobody registered is an error to it.
So it gets each head alone, and each body of known length.

Invariant: this decides where bytes are cut, never what they mean. The parser gets all of them in their order, except
empty lines between requests, and POST in place of a method that it does not know.
"""

import re

_HEAD_END = b"\r\n\r\n"

# Methods that the parser takes; POST stands for all others while a request is parsed, as its body says nothing new.
KNOWN = frozenset(
    b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY "
    b"OPTIONS PATCH POST PRI PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SUBSCRIBE TRACE UNBIND UNLINK "
    b"UNLOCK UNSUBSCRIBE".split()
)
_SUBSTITUTE = b"POST"

# The longest method (RFC 9112 3: who gets one that is longer than any he knows may say so).
METHOD_MAX = 64

# RFC 9110 9.1 and 5.6.2.
_method = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").match


class LongMethodError(ValueError):
    """A request begins with a word that is too long for a method."""


class Pieces:
    """Where one connection's bytes are cut.

    ``size``: bytes of the head that is being cut, or was cut last. ``left``: bytes that its body still has, which
    whoever reads the head sets. ``method``: the head's own method where the parser gets another, else "".
    """

    __slots__ = ("_end", "is_head_over", "left", "method", "size")

    def __init__(self) -> None:
        # The last bytes of a head that is not over, which its end may have begun with.
        self._end = b""
        self.is_head_over = True
        self.left = 0
        self.method = ""
        self.size = 0

    def head(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what of the data is the (rest of a) head for the parser, and what is behind it.

        No head yet, and all as rest: more has to come. Raises: LongMethodError
        """
        if self.is_head_over:
            data = data.lstrip(b"\r\n")  # RFC 9112 2.2
            method = _method(data)
            end = method.end() if method is not None else 0
            if end > METHOD_MAX:
                raise LongMethodError("its method is too long")
            if end == len(data):
                return b"", data
            self.method = ""
            if method is not None and method[0] not in KNOWN and data[end] == 0x20:
                self.method = method[0].decode()
                data = _SUBSTITUTE + data[end:]
            self.is_head_over = False
            self.size = 0
        before = self._end
        at = (before + data).find(_HEAD_END)
        if at < 0:
            self.size += len(data)
            self._end = (before + data)[-3:]
            return data, b""
        at += len(_HEAD_END) - len(before)
        self.size += at
        self._end = b""
        self.is_head_over = True
        return data[:at], data[at:]

    def body(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what of the data belongs to the body of known length, and what is behind it."""
        piece = data[: self.left]
        self.left -= len(piece)
        return piece, data[len(piece) :]
