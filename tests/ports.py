"""Ports for the programs that tests start.

Between being given and being listened on a port is free for a moment, so no two test processes choose among the same.
"""

import random
import socket
from pathlib import Path


def listening_ports() -> range:
    """The ports that no client is given for its end: one of those could be taken before the program listens on it."""
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except FileNotFoundError:
        first = 49_152  # where the dynamic ports of RFC 6335 begin, and those of macOS
    return range(10_000, min(first, 32_000)) if first > 12_000 else range(20_000, 32_000)


SLICE = 1_000


def take_slice(ports: range) -> tuple[socket.socket, range]:
    """Ports that no other test process has, for as long as the socket is open: it is bound to the first of them."""
    starts = [*ports[::SLICE]][:-1]
    for start in starts:
        guard = socket.socket()
        try:
            guard.bind(("127.0.0.1", start))
        except OSError:
            guard.close()
            continue
        return guard, range(start + 1, start + SLICE)
    raise RuntimeError(f"more than {len(starts)} test processes at a time")


GUARD, PORTS = take_slice(listening_ports())
GIVEN: set[int] = set()  # in this process; none is given twice before half of them have been


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on, and that no other test process is given."""
    while True:
        if len(GIVEN) > len(PORTS) // 2:
            GIVEN.clear()
        port = random.choice(PORTS)
        if port in GIVEN:
            continue
        GIVEN.add(port)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
