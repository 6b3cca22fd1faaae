"""The log of what goes wrong at the sockets, where nobody is told otherwise."""

import logging

log = logging.getLogger("gripproxy.zeromq")

# Characters of a log line that may quote a publisher.
REASON_MAX = 300


def log_fault(name: str, reason: str) -> None:
    """Log what went wrong at an input; ``reason`` may quote what a stranger sent, so it is escaped and cut.

    A publisher that is wrong once is wrong with each of its messages, so each input is a kind of its own for `repeats`.
    """
    log.warning("zeromq." + name + ": %s", reason[:REASON_MAX].encode("unicode_escape").decode())
