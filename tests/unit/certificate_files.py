"""Certificates for unit tests: PEM files that sign themselves, for any names and any time."""

import datetime
import ipaddress
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NOW = datetime.datetime.now(datetime.UTC)


def write_certificate(
    path: Path, names: Iterable[str] = (), seconds: float = 86_400 * 90, key: Path | None = None
) -> str:
    """Write a certificate that is good for so many seconds yet, and its key, to one file or two; return its path."""
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "common.test")])
    hosts: list[x509.GeneralName] = []
    for one in names:
        is_address = one.replace(".", "").isdigit()
        hosts.append(x509.IPAddress(ipaddress.ip_address(one)) if is_address else x509.DNSName(one))
    begin = NOW - datetime.timedelta(days=1000)
    builder = x509.CertificateBuilder(name, name, secret.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(begin).not_valid_after(NOW + datetime.timedelta(seconds=seconds))
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    pem, raw, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    certificate = builder.sign(secret, hashes.SHA256()).public_bytes(pem)
    if key is None:
        path.write_bytes(certificate + secret.private_bytes(pem, raw, plain))
    else:
        path.write_bytes(certificate)
        key.write_bytes(secret.private_bytes(pem, raw, plain))
    return str(path)
