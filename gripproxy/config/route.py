"""A table ``[[routes]]``: requests for a host and path, and where they go."""

from collections.abc import Callable
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from gripproxy.config import texts
from gripproxy.config.addresses import is_public, parse_ip
from gripproxy.config.backends import Backend, complete
from gripproxy.config.checks import PositiveSeconds, Seconds, check, check_text
from gripproxy.config.conditions import Condition
from gripproxy.config.reader import File, Secret, SettingError
from gripproxy.config.texts import DEFAULT_REALM, parse_backend


class Route(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests for a host and path, and the backends that answer them."""

    # http(s)://host[:port], or tables with a url, tried as `balance` says. The only setting without default.
    backends: tuple[str | Backend, ...]
    # A host without port, "*.example.org" (any host below it), "*", or "" for a route that is reached by its id only.
    host: str = "*"
    # A path as it is in the URL; "/a" also takes "/a/b" and "/a?x", never "/abc"; "/a*" takes whatever begins so.
    path: str = "/"
    # Requests of one kind only, and only those with TLS or those without.
    protocol: Literal["any", "http", "websocket"] = "any"
    tls: bool | None = None
    realm: str = DEFAULT_REALM
    # Name in logs and metrics; empty = host and path.
    id: str = ""
    websocket: Literal["over-http", "passthrough"] = "over-http"
    # Who answers a client's PING: the backend, as with Pushpin, or this proxy.
    pings: Literal["forward", "local"] = "forward"
    # One WebSocket event in each request instead of all that wait.
    one_event: bool = False
    # Put before the names of channels that are held or subscribed, not of those published to.
    prefix: str = ""
    # Channels that every hold of this route has beside those it asks for; without prefix.
    subscribe: tuple[str, ...] = ()
    # False: plain proxying, no Grip-Sig, and GRIP instructions are not acted on.
    grip: bool = True
    # Whether requests of sessions are found, and sessions kept (Grip-Session-Id, Grip-Session-Detect).
    session: bool = False
    # What replaces the matched path towards the backend.
    rewrite: str | None = None
    # Host field towards the backend; None = what the client sent.
    host_header: str | None = None
    headers_set: dict[str, str] = field(default_factory=dict)
    headers_remove: tuple[str, ...] = ()
    # Whether the backend gets the client's fields a second time, marked by eb9bf0f5-, as they came.
    orig_headers: bool = False
    # Fields of a held client's request that go into its next links, as long as those lead to this route.
    link_headers: tuple[str, ...] = ()
    # Origins that get CORS fields, or "*".
    cors: tuple[str, ...] = ()
    # The first backend that can be reached, each in turn, or the one with the fewest requests under way.
    balance: Literal["first", "round-robin", "least-requests"] = "first"
    # What each backend is asked for to see whether it is well; None = not asked.
    health_path: str | None = None
    # Seconds between two such questions, and for each answer.
    health_interval: PositiveSeconds = 5.0
    health_timeout: PositiveSeconds = 2.0
    # Seconds to connect to one backend.
    connect_timeout: PositiveSeconds = 5.0
    # Seconds from the request to the head of the response; 0 = without limit.
    response_timeout: Seconds = 60.0
    # Seconds without a byte in the middle of a response; 0 = without limit. Pushpin's --stream-timeout.
    idle_timeout: Seconds = 1800.0
    # Bytes of a request body; None = limits.request_body, 0 = without limit.
    max_request_body: Annotated[int, Meta(ge=0)] | None = None
    # Grip-Sig of this route where it differs from its realm's.
    sig_key: Secret = Secret("")
    sig_iss: str = ""
    # Key of a GRIP proxy in front of this one: requests with its Grip-Sig are handed through untouched.
    upstream_key: Secret = Secret("")
    # TLS towards https backends: whether to verify, against which authorities (PEM), with which certificate (PEM).
    verify: bool = True
    # The name that the certificate has to have; empty = that of `host_header`, else of the URL.
    verify_host: str = ""
    ca: File = File("")
    client_cert: File = File("")
    client_key: File = File("")
    # Whether only public addresses are connected to, whatever the names of backends and links resolve to.
    public_only: bool = False
    # Reasons in the bodies of error answers; None = the global `debug`.
    debug: bool | None = None

    def __post_init__(self) -> None:
        if not self.backends:
            raise SettingError("backends", "needs at least one URL")
        check(self, _CHECKS)
        for name, value in self.headers_set.items():
            check_text("headers_set", texts.field_name, name)
            check_text(f"headers_set.{name}", texts.field_value, value)
        if self.client_key and not self.client_cert:
            raise SettingError("client_cert", "is missing, though client_key is given")
        for index, backend in enumerate(self.complete_backends()):
            address = parse_ip(parse_backend(backend.url)[1])
            if backend.public_only and address is not None and not is_public(address):
                raise SettingError(f"backends[{index}]", f"{address} is not public, which public_only asks for")

    @property
    def condition(self) -> Condition:
        """Which requests it is for."""
        return Condition.of(self.host, self.path, self.protocol, self.tls)

    def complete_backends(self) -> tuple[Backend, ...]:
        """The backends as tables in which nothing is left out."""
        return tuple(complete(backend, self) for backend in self.backends)


_CHECKS: dict[str, Callable[[str], object]] = {
    "backends": parse_backend,
    "host": texts.host_pattern,
    "path": texts.path,
    "id": texts.word,
    "prefix": texts.channel_prefix,
    "subscribe": texts.channel,
    "rewrite": texts.path,
    "health_path": texts.path,
    "host_header": texts.host_field,
    "verify_host": texts.certificate_name,
    "headers_remove": texts.field_name,
    "link_headers": texts.client_field_name,
    "cors": texts.origin,
}
