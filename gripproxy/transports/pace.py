"""How fast a stream asks its link, so that thousands of them together do not flatten a backend."""

import random

# Pushpin's: how often a link that failed is tried again, and the first pause in seconds, which doubles.
RETRIES = 5
RETRY_DELAY = 1.0

# Seconds until the link of a page that has nothing, or leads to itself, is asked for.
PAGE_DELAY = 1.0

# Seconds over which the links of many streams with the same gap are spread. Often the gap closes by itself meanwhile:
# the backend was ahead of what it had published.
GAP_SPREAD = 0.2

# Seconds until a backend that did not know of an item is asked again: what it was about to store is stored then.
GAP_REPEAT = 1.0


def gap_pause(seconds: float) -> float:
    """Return the seconds until a link is asked because of a gap, at least ``seconds``."""
    return seconds + GAP_SPREAD * random.random()  # noqa: S311  # spreads requests


def retry_pause(attempts: int) -> float | None:
    """Return the seconds until a link is tried again that has failed so often before; None: no more."""
    if attempts >= RETRIES:
        return None
    return RETRY_DELAY * (2.0**attempts + random.random())  # noqa: S311  # spreads retries
