"""Certificates for tests, made on the spot: an authority, and what it signs for servers and clients."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority, and the folder where PEM files of it and by it are written."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def file(self) -> str:
        """Its certificate."""
        return write(self.folder / f"{common_name(self.certificate)}.pem", self.certificate)

    def sign(self, name: str, *hosts: str) -> str:
        """Make a certificate for hosts (names or addresses), and return the file that has it and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = begin(name, common_name(self.certificate), key, self.key)
        names = [x509.IPAddress(ipaddress.ip_address(one)) if is_address(one) else x509.DNSName(one) for one in hosts]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        path = self.folder / f"{name}-{'-'.join(hosts).replace(':', '_')}.pem"
        write(path, builder.sign(self.key, hashes.SHA256()))
        pem, raw = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        path.write_bytes(path.read_bytes() + key.private_bytes(pem, raw, serialization.NoEncryption()))
        return str(path)


def make_authority(folder: Path, name: str = "authority") -> Authority:
    """Make an authority that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = begin(name, name, key, key).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    signs = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
    only = dict.fromkeys(("encipher_only", "decipher_only"), False)
    usage = x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **signs, **only)
    builder = builder.add_extension(usage, critical=True)
    return Authority(folder, key, builder.sign(key, hashes.SHA256()))


def begin(
    name: str, issuer: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    """A certificate that is valid today, with the identifiers that strict verification (Python 3.13) asks for."""
    now = datetime.datetime.now(datetime.UTC)
    named = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, one)]) for one in (name, issuer))
    subject, issued_by = named
    builder = x509.CertificateBuilder(issued_by, subject, key.public_key(), x509.random_serial_number())
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key())
    return builder.add_extension(authority, critical=False).not_valid_before(now - DAY).not_valid_after(now + DAY)


def common_name(certificate: x509.Certificate) -> str:
    """The name that a certificate says."""
    return str(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


def is_address(host: str) -> bool:
    """Whether a host is an IP address."""
    return host.replace(".", "").isdigit() or ":" in host


def write(path: Path, certificate: x509.Certificate) -> str:
    """Write a certificate as PEM, and return the file's name."""
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return str(path)
