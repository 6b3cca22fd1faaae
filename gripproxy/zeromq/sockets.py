"""The making of ZeroMQ sockets, and what they leave behind.

pyzmq is imported only here and where its sockets are read: it is an extra.
"""

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gripproxy.config import Config, parse_endpoint

if TYPE_CHECKING:
    import zmq.asyncio

# A peer that vanished without a word is found out within two minutes: after a minute of silence it is asked four times.
KEEPALIVE = {"TCP_KEEPALIVE": 1, "TCP_KEEPALIVE_IDLE": 60, "TCP_KEEPALIVE_INTVL": 15, "TCP_KEEPALIVE_CNT": 4}


def require_pyzmq(config: Config) -> None:
    """Raises: ConfigError when pyzmq is missing."""
    try:
        import zmq.asyncio  # noqa: F401
    except ImportError as error:
        raise config.error("zeromq", f"needs pip install 'gripproxy[zmq]' ({error})") from None


class Sockets:
    """All ZeroMQ sockets of a process."""

    def __init__(self, ipc_file_mode: int | None = None) -> None:
        """``ipc_file_mode`` are the permissions of Unix sockets, None for those that the umask leaves."""
        import zmq.asyncio

        # Two views of one context: most sockets are waited for, a PUB never is.
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._waiting_context = zmq.asyncio.Context(self._context)
        self._sockets: list[zmq.Socket[Any]] = []
        self._ipc_file_mode = ipc_file_mode
        # Path of each Unix socket that was bound -> its inode.
        self._paths: dict[str, int] = {}

    def open(
        self, kind: str, endpoints: tuple[str, ...], message_max: int, *, is_connecting: bool = False
    ) -> "zmq.asyncio.Socket":
        """Make a socket of a kind (PULL, ...), and bind it to its addresses, or connect it.

        Raises: OSError when one can't be used.
        """
        import zmq

        socket = self._waiting_context.socket(getattr(zmq, kind))
        # A subscription that does not fit into the queue towards a publisher would be dropped silently.
        socket.setsockopt(zmq.SNDHWM, 0)
        self._attach(socket, endpoints, message_max, is_connecting=is_connecting)
        return socket

    def open_publisher(self, endpoint: str, message_max: int, queue_max: int) -> "Publisher":
        """Make a PUB socket; ``queue_max`` are the messages that wait for one subscriber.

        Raises: OSError when the address can't be used.
        """
        import zmq

        socket = self._context.socket(zmq.PUB)
        publisher = Publisher(socket, queue_max)
        self._attach(socket, (endpoint,), message_max)
        return publisher

    def _attach(
        self, socket: "zmq.Socket[Any]", endpoints: tuple[str, ...], message_max: int, *, is_connecting: bool = False
    ) -> None:
        import zmq

        self._sockets.append(socket)
        # A peer that announces a larger message is cut off before it is read.
        socket.setsockopt(zmq.MAXMSGSIZE, message_max)
        for name, value in KEEPALIVE.items():
            socket.setsockopt(getattr(zmq, name), value)
        for endpoint in endpoints:
            address = parse_endpoint(endpoint)
            socket.setsockopt(zmq.IPV6, ":" in address.host)
            try:
                if is_connecting:
                    socket.connect(endpoint)
                else:
                    self._bind(socket, endpoint)
            except zmq.ZMQError as error:
                raise OSError(error.errno, f"{endpoint}: {error.strerror}") from None
            if address.path and not is_connecting:
                self._paths[address.path] = os.stat(address.path).st_ino

    def _bind(self, socket: "zmq.Socket[Any]", endpoint: str) -> None:
        if self._ipc_file_mode is None or not endpoint.startswith("ipc:"):
            socket.bind(endpoint)
            return
        # By the umask and not afterwards: there must be no moment at which others could connect.
        before = os.umask(0o777 & ~self._ipc_file_mode)
        try:
            socket.bind(endpoint)
        finally:
            os.umask(before)

    def close(self) -> None:
        """Close all at once; what was not received or sent yet is gone."""
        for socket in self._sockets:
            socket.close(linger=0)
        self._sockets.clear()
        self._context.term()
        for path, inode in self._paths.items():
            # ZeroMQ leaves it there. It may be another process's by now, which replaced it.
            with suppress(OSError):
                if os.stat(path).st_ino == inode:
                    os.unlink(path)
        self._paths.clear()


class Publisher:
    """A PUB socket; it never waits, so it needs no event loop."""

    def __init__(self, socket: "zmq.Socket[bytes]", queue_max: int) -> None:
        """``socket`` is not bound yet; ``queue_max`` are the messages that wait for one subscriber."""
        import zmq

        self._socket = socket
        socket.setsockopt(zmq.SNDHWM, queue_max)
        socket.setsockopt(zmq.XPUB_NODROP, 1)

    def send(self, data: bytes) -> bool:
        """Send a message; return False where a subscriber begins to lose messages with it."""
        import zmq

        socket = self._socket
        try:
            socket.send(data, zmq.NOBLOCK)
            return True
        except zmq.Again:
            # A queue is full as far as ZeroMQ knows; asked for its events, it looks what was taken meanwhile.
            socket.getsockopt(zmq.EVENTS)
        try:
            socket.send(data, zmq.NOBLOCK)
            return True
        except zmq.Again:
            # By itself ZeroMQ would drop this without a word, and told not to, it would send it to nobody. Now the
            # others get it, and ZeroMQ passes this one over until it has taken half of what waits for it.
            socket.setsockopt(zmq.XPUB_NODROP, 0)
            socket.send(data, zmq.NOBLOCK)
            socket.setsockopt(zmq.XPUB_NODROP, 1)
            return False
