"""TLS at the control door."""

import ssl

from gripproxy.certificates import load_pair, reason_of
from gripproxy.config import Config


def control_tls(config: Config) -> ssl.SSLContext | None:
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
    return context
