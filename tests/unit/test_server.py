"""What the house does beside building its parts: options of sockets."""

import errno
import socket

import pytest

from gripproxy.server import USER_TIMEOUT, tune, why_not


def test_peers_that_vanish_are_noticed() -> None:
    """By probes while nothing is sent, and on Linux by what they do not acknowledge; connections inherit both."""
    with socket.socket() as listener:
        tune(listener)
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert USER_TIMEOUT == listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EADDRINUSE, "bind"), "it is in use; another gripproxy?"),
        (OSError(errno.EADDRNOTAVAIL, "bind"), "this machine has no such address"),
        (OSError(errno.ENOTDIR, "bind"), "Not a directory"),
        (socket.gaierror(-2, "Name or service not known"), "there is no such host"),
    ],
)
def test_it_is_said_why_an_address_cannot_be_listened_on(error: OSError, reason: str) -> None:
    assert reason == why_not(error)
