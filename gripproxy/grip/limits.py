"""What one WebSocket-over-HTTP session may use, and the pauses that follow from it."""

from dataclasses import dataclass

# Share of the interval by which the polls of many connections are drawn apart.
KEEP_ALIVE_JITTER = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """What one session may use.

    message_size: bytes in one message of the client; a longer one ends the connection with code 1009.
    buffered: content bytes that wait for the backend; beyond it the client must not be read (`Session.is_full`).
    retries: repetitions of one request, `retry_delay` * 2**n seconds apart.
    response_size: bytes in one response body, for the owner to check.
    queued: events that wait for the backend, for the same purpose: empty messages have no content bytes.
    keep_alive_floor: seconds; a shorter Keep-Alive-Interval is raised to it.
    meta: number of stored Set-Meta-* values; more are ignored.
    one_event: one event in a request, for backends that cannot read more.
    """

    message_size: int = 1_048_576
    buffered: int = 1_048_576
    retries: int = 5  # as Pushpin
    response_size: int = 1_048_576
    queued: int = 8192
    retry_delay: float = 1.0  # seconds, as Pushpin
    keep_alive_floor: float = 20.0  # seconds, as Pushpin
    meta: int = 64
    one_event: bool = False

    def __post_init__(self) -> None:
        for name in ("message_size", "buffered", "response_size", "queued"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive")
        for name in ("retries", "retry_delay", "keep_alive_floor", "meta"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} is negative")

    def retry_pause(self, retries: int, jitter: float) -> float | None:
        """Seconds before a request that was repeated so often goes out again, None when it does not.

        `jitter` is a random number from 0 to 1.
        """
        return self.retry_delay * (2**retries + jitter) if retries < self.retries else None

    def poll_pause(self, interval: float, jitter: float) -> float:
        """Seconds before a backend that wants to be asked at this interval is asked again."""
        return max(interval * (1 - KEEP_ALIVE_JITTER * jitter), self.keep_alive_floor)


DEFAULT_LIMITS = Limits()
