"""The certificates of the client door: each client gets the one that has the name it asks for (SNI, RFC 6066 3).

The listeners have one context for all their life, which has no certificate itself: at each handshake it puts the
context of a certificate in its place. So what a reload changes is this table, and no connection notices.
"""

import datetime
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from gripproxy.config import Config

# Seconds before its end in which a certificate is worth a warning. Let's Encrypt's are renewed 30 days before it, so
# that by then two weeks of attempts have failed.
EXPIRES_SOON = 14 * 86_400.0


@dataclass(frozen=True, slots=True)
class Certificate:
    """One of them; ``expires`` is in seconds since the epoch, ``names`` are hosts, ``*.`` for one more label."""

    setting: str
    file: str
    names: tuple[str, ...]
    expires: float
    context: ssl.SSLContext = field(repr=False, compare=False)

    @property
    def end(self) -> str:
        """The day on which it expires."""
        return datetime.datetime.fromtimestamp(self.expires, datetime.UTC).strftime("%Y-%m-%d")

    def warning(self, now: float) -> str | None:
        """What is worth saying of its end."""
        days = int((self.expires - now) // 86_400)
        if now >= self.expires:
            return f"{self.setting}: {self.file!r} has expired on {self.end}"
        if self.expires - now < EXPIRES_SOON:
            return f"{self.setting}: {self.file!r} expires in {days} day{'' if days == 1 else 's'}, on {self.end}"
        return None


class Certificates:
    """All certificates of a configuration, in its order.

    Raises: ConfigError when a file is none, or a key is not that of its certificate.
    """

    __slots__ = ("_all", "_by_name")

    def __init__(self, configuration: Config) -> None:
        pairs = configuration.server.certificate_pairs
        self._all = tuple(
            _load(configuration, "server.certificate" + (f"[{index}]" if len(pairs) > 1 else ""), *pair)
            for index, pair in enumerate(pairs)
        )
        self._by_name: dict[str, Certificate] = {}
        for certificate in self._all:
            for name in certificate.names:
                self._by_name.setdefault(name, certificate)

    def __iter__(self) -> Iterator[Certificate]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def find(self, name: str | None) -> Certificate:
        """The certificate with this name; else the one with a star for its first label; else the first."""
        if name is None:
            return self._all[0]
        name = name.lower().rstrip(".")
        parent = name.partition(".")[2]
        return self._by_name.get(name) or self._by_name.get(f"*.{parent}") or self._all[0]

    def listener(self) -> ssl.SSLContext:
        """A context for listeners, which serves each client with what `find` finds at the time."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)

        def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
            connection.context = self.find(name).context

        context.sni_callback = choose
        return context

    def become(self, other: "Certificates") -> None:
        """Take the place of these with others, from the next handshake on."""
        self._all, self._by_name = other._all, other._by_name

    def warnings(self, now: float) -> list[str]:
        """What is worth saying of them, one line each: of their ends, and of those that no client ever gets."""
        used = set(map(id, self._by_name.values())) | {id(certificate) for certificate in self._all[:1]}
        return [text for certificate in self._all if (text := certificate.warning(now)) is not None] + [
            f"{certificate.setting}: {certificate.file!r} is never used: it has no name that none before it has"
            for certificate in self._all
            if id(certificate) not in used
        ]

    def seconds_left(self, now: float) -> dict[str, float]:
        """The seconds until each certificate expires, by its file; below 0 after that."""
        return {certificate.file: certificate.expires - now for certificate in self._all}


def load_pair(configuration: Config, setting: str, certificate: str, key: str, context: ssl.SSLContext) -> None:
    """Load a certificate and its key, which may stand in the same file, into a context.

    Raises: ConfigError
    """
    try:
        context.load_cert_chain(certificate, key or None, lambda: "")
    except OSError as error:
        files = f"{certificate!r} with {key!r}" if key else repr(certificate)
        raise configuration.error(setting, f"{files} cannot be used: {reason_of(error)}") from None


def reason_of(error: OSError) -> str:
    """Say what is wrong with a file of TLS.

    The text of an SSLError, "[X509: KEY_VALUES_MISMATCH] key values mismatch (_ssl.c:4095)", is for its authors.
    """
    if "PEM lib" in str(error):
        return "no certificate and private key in PEM, or the key has a password"
    reason = getattr(error, "reason", None) or error.strerror or str(error)
    return reason.replace("_", " ").lower()


def _load(configuration: Config, setting: str, file: str, key: str) -> Certificate:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_pair(configuration, setting, file, key, context)
    try:
        first = x509.load_pem_x509_certificates(Path(file).read_bytes())[0]
        names = _names(first)
    except (OSError, ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise configuration.error(setting, f"{file!r} cannot be read: {error}") from None
    return Certificate(setting, file, names, first.not_valid_after_utc.timestamp(), context)


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The hosts that a certificate is for. Clients have long stopped to look at its common name (RFC 9525 4)."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    hosts = extension.value.get_values_for_type(x509.DNSName)
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    return tuple(host.lower() for host in hosts) + tuple(map(str, addresses))
