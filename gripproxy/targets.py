"""The backends of a route, each with all that the configuration says of it."""

from dataclasses import dataclass, field, fields

from gripproxy import config

_DEFAULT_PORTS = {"http": 80, "https": 443}

# How a target takes WebSockets: the mode, and whether each event is a request of its own.
Kind = tuple[str, bool]


@dataclass(frozen=True, slots=True)
class Target:
    """One backend; the names are those of ``config.Backend``, with the route's settings where it has none."""

    scheme: str
    host: str
    port: int
    weight: int = 1
    host_header: str = ""
    websocket: str = "over-http"
    one_event: bool = False
    subscribe: tuple[str, ...] = ()
    verify: bool = True
    verify_host: str = ""
    ca: str = ""
    client_cert: str = ""
    client_key: str = ""
    public_only: bool = False
    url: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", f"{self.scheme}://{self.authority.decode()}")

    def __hash__(self) -> int:
        # Each request looks its target up, and those with one URL are mostly one.
        return hash(self.url)

    @classmethod
    def from_setting(cls, setting: config.Backend) -> "Target":
        """The target of a backend in which nothing is left out."""
        scheme, host, port = config.parse_backend(setting.url)
        names = [one.name for one in fields(cls) if one.init and hasattr(setting, one.name)]
        given = {name: getattr(setting, name) for name in names}
        return cls(scheme, host, port, **{name: value for name, value in given.items() if value is not None})

    @property
    def kind(self) -> Kind:
        """How it takes WebSockets."""
        return self.websocket, self.one_event

    @property
    def authority(self) -> bytes:
        """What a Host field says of it: the port is left out where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}").encode()

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class Health:
    """How the targets of a route are checked; ``host`` is the route's, empty where it takes any."""

    host: str
    path: str
    interval: float
    timeout: float
