"""Tells systemd how the process fares (sd_notify(3)): a datagram to the socket that it names, if it names one."""

import logging
import os
import socket

log = logging.getLogger("gripproxy.server")


def notify(state: str) -> None:
    """Send lines like ``READY=1``; without systemd, or where it does not want to know, nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messenger:
        messenger.setblocking(False)
        try:
            # "@" stands for the zero byte of Linux's abstract names.
            messenger.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
        except OSError as error:
            log.warning("NOTIFY_SOCKET: cannot tell systemd %r: %s", state, error.strerror)
