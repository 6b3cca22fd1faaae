"""TLS at the control door."""

import logging
import ssl
import time
from collections.abc import Callable

from gripproxy.certificates import load_pair, reason_of
from gripproxy.config import Config
from gripproxy.control.request import LOG_EVERY

log = logging.getLogger("gripproxy.control")


def control_tls(config: Config, clock: Callable[[], float] = time.monotonic) -> ssl.SSLContext | None:
    """Return what publishers are served with; None is plain HTTP.

    With ``client_ca`` the handshake of a client without a certificate that it has signed fails, before any request.

    Raises: ConfigError when a file cannot be used.
    """
    settings = config.control
    if not settings.certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_pair(config, "control.certificate", settings.certificate, settings.certificate_key, context)
    if settings.client_ca:
        try:
            context.load_verify_locations(settings.client_ca)
        except OSError as error:
            reason = f"{settings.client_ca!r} cannot be used: {reason_of(error)}"
            raise config.error("control.client_ca", reason) from None
        context.verify_mode = ssl.CERT_REQUIRED
    context.sslobject_class = watched(Failures(clock))
    return context


class Failures:
    """Logs handshakes that failed: the first at once, then a line a minute with the number of the others.

    Its client sees a connection that ends, so this is where to find out that it lacks the right certificate.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._logged_at: float | None = None
        self._unlogged = 0

    def add(self, error: ssl.SSLError) -> None:
        """Log or count one."""
        now = self._clock()
        if self._logged_at is not None and now - self._logged_at < LOG_EVERY:
            self._unlogged += 1
            return
        more = f" ({self._unlogged} more before it)" if self._unlogged else ""
        self._logged_at, self._unlogged = now, 0
        words = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
        log.warning("control.listen: a TLS handshake failed: %s%s", words.replace("_", " ").lower(), more)


def watched(failures: Failures) -> type[ssl.SSLObject]:
    """Return the class of a context's connections: the loop tells nobody of a handshake that fails."""

    class Connection(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                failures.add(error)
                raise

    return Connection
