"""What a load test does: frozen settings, validated when made.

A plan is pickled to every process of the test, so it holds plain values only. Wrong settings raise ConfigError
here, before anything is started.
"""

import base64
import binascii
import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from gripproxy.errors import ConfigError

#: What the connections of each mode are, in turn.
KINDS: Mapping[str, tuple[str, ...]] = {
    "stream": ("stream",),
    "ws": ("ws",),
    "poll": ("poll",),
    "mixed": ("stream", "ws", "poll"),
}
DEFAULT_PORTS: Mapping[str, int] = {"http": 80, "ws": 80, "https": 443, "wss": 443}

#: Characters of a message that are not padding: "#", run (8), source (8), sequence (8), send time (16), ";".
SMALLEST_MESSAGE = 42
LARGEST_MESSAGE = 16_000_000
#: Source, the pair of channel and publisher, travels in 8 hex digits.
MOST_SOURCES = 0xFFFF_FFFF
#: File descriptors that a worker needs besides its connections.
SPARE_FILES = 64
#: Loopback connections from one source address; the kernel has about 28,000 ports for each.
CONNECTIONS_PER_ADDRESS = 20_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One http(s) address; ``path`` may hold ``{channel}`` and keeps its query."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def from_url(cls, url: str, name: str) -> "Endpoint":
        """Read ``url``; ``name`` is the option to blame. Raises: ConfigError."""
        if not url.isascii() or not url.isprintable() or " " in url:
            raise ConfigError(f"{name}: {url!r} has characters that a URL cannot have")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"{name}: {url!r}: {error}") from None
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ConfigError(f"{name}: {url!r} is not like http://HOST:PORT/PATH")
        scheme = "https" if parts.scheme in ("https", "wss") else "http"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme], path)

    @property
    def authority(self) -> str:
        """What goes into the Host field."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def path_for(self, channel: str) -> str:
        """The request target for ``channel``."""
        return self.path.replace("{channel}", quote(channel, safe=""))


@dataclass(frozen=True, slots=True)
class Control:
    """Where messages are published, and with whose signature.

    ``is_grip`` tells whether items are posted (GRIP's publish endpoint) or the bare message (any other server).
    """

    endpoint: Endpoint
    is_grip: bool = True
    issuer: str | None = None
    key: bytes | None = field(default=None, repr=False)

    @classmethod
    def from_grip_url(cls, url: str, name: str = "--control") -> "Control":
        """Read a GRIP_URL: the control URI with ``iss`` and ``key`` in its query. Raises: ConfigError."""
        bare, _, query = url.partition("?")
        values = dict(parse_qsl(query, keep_blank_values=True))
        own = {key: values.pop(key, None) for key in ("iss", "key", "verify-iss", "verify-key")}
        endpoint = Endpoint.from_url(bare, name)
        path = endpoint.path.rstrip("/") + "/publish/" + (f"?{urlencode(values)}" if values else "")
        key = None if own["key"] is None else _key(own["key"], name)
        if own["iss"] is not None and key is None:
            raise ConfigError(f"{name}: iss={own['iss']} needs a key")
        return cls(Endpoint(endpoint.scheme, endpoint.host, endpoint.port, path), True, own["iss"], key)

    @classmethod
    def from_plain_url(cls, url: str, name: str = "--publish-url") -> "Control":
        """A URL to which the bare message is posted; ``{channel}`` stands for the channel. Raises: ConfigError."""
        return cls(Endpoint.from_url(url, name), False)


def _key(text: str, name: str) -> bytes:
    if not text.startswith("base64:"):
        return text.encode()
    try:  # a "+" that was not quoted arrives as a blank
        return base64.b64decode(text.removeprefix("base64:").replace(" ", "+"), validate=True)
    except binascii.Error:
        raise ConfigError(f"{name}: key is not valid base64") from None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a load test needs to know; seconds are floats. Raises: ConfigError when it cannot work."""

    mode: str
    urls: Mapping[str, Endpoint]
    control: Control
    channel: str = "load-{n}"
    channels: int = 1
    connections: int = 1000
    connect_burst: int = 100
    publishers: int = 1
    messages: int | None = None
    duration: float | None = None
    rate: float | None = None
    is_lockstep: bool = False
    size: int = 100
    processes: int = 1
    settle: float | None = None
    stall: float = 5.0
    handshake_timeout: float = 30.0
    never_read: int = 0
    churn: float = 0.0
    is_verified: bool = True
    pids: tuple[int, ...] = ()
    run: str = field(default_factory=lambda: secrets.token_hex(4))

    def __post_init__(self) -> None:
        if self.mode not in KINDS:
            raise ConfigError(f"--mode: {self.mode!r} is none of {', '.join(KINDS)}")
        for kind in self.kinds:
            if kind not in self.urls:
                raise ConfigError(f"--url: none for {kind}")
        _check_range("--connections", self.connections, 1, 10_000_000)
        _check_range("--channels", self.channels, 1, self.connections)
        _check_range("--publishers", self.publishers, 1, 1000)
        _check_range("--processes", self.processes, 1, 256)
        _check_range("--connect-burst", self.connect_burst, 1, 10_000)
        _check_range("--size", self.size, SMALLEST_MESSAGE, LARGEST_MESSAGE)
        _check_range("--messages", self.messages, 0, 10**9)
        _check_range("--duration", self.duration, 0.1, 10**7)
        _check_range("--rate", self.rate, 0.001, 10**7)
        _check_range("--settle", self.settle, 0, 3600)
        _check_range("--stall", self.stall, 0.1, 3600)
        _check_range("--never-read", self.never_read, 0, self.connections - 1)
        _check_range("--churn", self.churn, 0, 100_000)
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.channels * self.publishers > MOST_SOURCES:
            raise ConfigError("--channels times --publishers: too many")
        if self.channels > 1 and "{n}" not in self.channel:
            raise ConfigError(
                f"--channel: {self.channel!r} needs {{n}}, the number of the channel, for several channels"
            )
        if self.channels > 1:
            for kind in self.kinds:
                if "{channel}" not in self.urls[kind].path:
                    raise ConfigError(f"--url: {kind}: needs {{channel}} for several channels")
        if self.is_lockstep and self.rate is not None:
            raise ConfigError("--lockstep and --rate: choose one")
        if self.is_lockstep and self.publishers > 1:
            raise ConfigError("--lockstep: one message is in flight, so --publishers must be 1")
        if self.churn and (self.is_lockstep or "poll" in self.kinds):
            raise ConfigError("--churn: not with --lockstep, nor with polls")
        if self.never_read and "poll" in self.kinds:
            raise ConfigError("--never-read: not with polls")
        if self.messages == 0 and self.duration is None:
            raise ConfigError("--messages 0: say with --duration how long the idle connections are held")
        if not re.fullmatch("[0-9a-f]{8}", self.run):
            raise ConfigError("run: 8 hexadecimal digits")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of connection, taken in turn."""
        return KINDS[self.mode]

    @property
    def limit(self) -> float:
        """How many messages are published: ``--messages``; without it 100, or no limit if there is a duration."""
        if self.messages is not None:
            return self.messages
        return math.inf if self.duration is not None else 100

    @property
    def settle_seconds(self) -> float:
        """How long to wait before publishing to polls or to new connections.

        Nothing tells a client that its poll is held, and a slow proxy takes a while to ask its backend, so polls
        wait longer.
        """
        if self.settle is not None:
            return self.settle
        return 3.0 if "poll" in self.kinds else 1.0

    def kind_of(self, number: int) -> str:
        """The kind of connection ``number``."""
        return self.kinds[number % len(self.kinds)]

    def channel_of(self, number: int) -> int:
        """The channel of connection ``number``: every channel gets every kind."""
        return number // len(self.kinds) % self.channels

    def channel_name(self, channel: int) -> str:
        """What channel ``channel`` is called."""
        return self.channel.replace("{n}", str(channel))

    def source(self, channel: int, publisher: int) -> int:
        """The number of a sequence: one for each pair of channel and publisher."""
        return channel * self.publishers + publisher

    def share(self, process: int) -> range:
        """The connections that worker ``process`` holds: neighbours, so that all are of the same size."""
        return range(self.connections * process // self.processes, self.connections * (process + 1) // self.processes)

    def is_reader(self, number: int) -> bool:
        """Whether connection ``number`` reads; those that never do are spread over all processes."""
        return number * self.never_read // self.connections == (number + 1) * self.never_read // self.connections

    def check_files(self, hard_limit: int) -> None:
        """Raises: ConfigError when a worker cannot open that many files (``hard_limit`` is RLIMIT_NOFILE's)."""
        needed = max(len(self.share(process)) for process in range(self.processes)) + SPARE_FILES
        if needed > hard_limit:
            processes = -(-self.connections // max(hard_limit - SPARE_FILES, 1))
            raise ConfigError(
                f"--connections: a process needs {needed} open files and may have {hard_limit}"
                f" (ulimit -Hn): raise the limit, or use --processes {processes}"
            )


def _check_range(name: str, value: float | None, least: float, most: float) -> None:
    if value is not None and not least <= value <= most:
        raise ConfigError(f"{name}: {value} is not from {least:,} to {most:,}".replace(",", " "))


def endpoints(mode: str, urls: tuple[str, ...]) -> dict[str, Endpoint]:
    """The endpoint of each kind in ``mode``, from ``URL`` or ``KIND=URL`` options. Raises: ConfigError.

    ``{mode}`` in a URL without a kind stands for the kind, so that one URL can serve a mixed test.
    """
    found: dict[str, Endpoint] = {}
    for url in urls:
        kind, separator, rest = url.partition("=")
        if separator and kind in KINDS["mixed"]:
            found[kind] = Endpoint.from_url(rest, "--url")
            continue
        for kind in KINDS.get(mode, ()):
            found.setdefault(kind, Endpoint.from_url(url.replace("{mode}", kind), "--url"))
    return found
