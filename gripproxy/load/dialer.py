"""What a process of the test needs of the system: connections and their addresses, TLS, open files, a loop."""

import asyncio
import os
import resource
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine
from multiprocessing.connection import Connection
from typing import Any

from gripproxy.load.plan import CONNECTIONS_PER_ADDRESS, Endpoint

#: Not in Python's socket module before 3.12: choose the port at connect, so that addresses share all ports.
IP_BIND_ADDRESS_NO_PORT = 24
#: Where the hard limit is infinite: Linux's fs.nr_open; macOS refuses infinity as a soft limit.
MANY_FILES = 1_048_576


class Dialer:
    """Connects to one endpoint, again and again; its name is resolved once."""

    __slots__ = ("_address", "_endpoint", "_family", "_tls")

    def __init__(self, endpoint: Endpoint, is_verified: bool = True) -> None:
        self._endpoint = endpoint
        self._tls = _tls(is_verified) if endpoint.scheme == "https" else None
        self._address: Any = None
        self._family = socket.AF_INET

    async def dial(
        self, protocol: Callable[[], asyncio.Protocol], number: int | None = None, receive_buffer: int | None = None
    ) -> None:
        """Connect ``protocol``; connection ``number`` chooses the source address on loopback. Raises: OSError."""
        loop = asyncio.get_running_loop()
        if self._address is None:
            found = await loop.getaddrinfo(self._endpoint.host, self._endpoint.port, type=socket.SOCK_STREAM)
            self._family, self._address = found[0][0], found[0][4]
        connection = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if receive_buffer is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if number is not None:
                self._choose_source(connection, number)
            await loop.sock_connect(connection, self._address)
            name = self._endpoint.host if self._tls else None
            await loop.create_connection(protocol, sock=connection, ssl=self._tls, server_hostname=name)
        except BaseException:
            connection.close()
            raise

    def _choose_source(self, connection: socket.socket, number: int) -> None:
        """Give each 20,000 connections to loopback an address of their own. Only Linux has all of 127/8."""
        if sys.platform == "linux" and self._family == socket.AF_INET and self._address[0].startswith("127."):
            block = number // CONNECTIONS_PER_ADDRESS + 2
            connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            connection.bind((f"127.{block >> 16 & 255}.{block >> 8 & 255}.{block & 255}", 0))


def _tls(is_verified: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not is_verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def file_limit() -> int:
    """How many files a process may open at most (the hard limit)."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return MANY_FILES if hard == resource.RLIM_INFINITY else hard


def raise_file_limit() -> None:
    """Let this process open as many files as it may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (file_limit(), hard))


def reason_of(error: OSError) -> str:
    """A kind of failure, in words that are the same for all connections."""
    if isinstance(error, ssl.SSLError):
        return f"TLS: {getattr(error, 'reason', None) or error.strerror}"
    return (error.strerror or type(error).__name__).lower()


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run ``main`` on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


def hear(pipe: Connection, take: Callable[[str, Any], None]) -> None:
    """Call ``take`` in the running loop with each (word, value) that comes; when the pipe ends, so does the process."""

    def read() -> None:
        try:
            message = pipe.recv() if pipe.poll() else None
        except (EOFError, OSError):  # the command is gone, and nobody wants to know any more
            os._exit(1)
        if message is not None:
            take(*message)

    asyncio.get_running_loop().add_reader(pipe.fileno(), read)
    # libuv makes it non-blocking, and then a Connection loses what comes or goes in two pieces.
    os.set_blocking(pipe.fileno(), True)
