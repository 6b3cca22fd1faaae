"""The table ``[bus]``: how what is published reaches every process of a cluster."""

from msgspec import Struct

from gripproxy.config import texts
from gripproxy.config.checks import PositiveSeconds, check
from gripproxy.config.reader import Secret, SettingError


class Bus(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How what is published reaches every process of a cluster."""

    # "local:" for this process alone, or redis://[user:password@]host[:port][/db], rediss:// over TLS.
    url: Secret = Secret("local:")
    # The stream; clusters that share a Redis have one each.
    key: str = "gripproxy"
    # Seconds for which entries are kept, so that a process that was cut off misses nothing.
    keep: PositiveSeconds = 60.0
    # Seconds that a publish waits for the bus before it is refused with 503. Below the 5 s of impatient publishers.
    timeout: PositiveSeconds = 2.0

    def __post_init__(self) -> None:
        check(self, {"url": texts.bus, "key": texts.word})
        if not self.key:
            raise SettingError("key", "must not be empty")

    @property
    def scheme(self) -> str:
        """What kind of bus it is."""
        return self.url.partition(":")[0].lower()

    @property
    def place(self) -> str:
        """The URL without its credentials."""
        return f"{self.scheme}://{self.url.rpartition('@')[2].rpartition('//')[2].partition('?')[0]}"
