"""TLS at the control door: what its context asks of clients."""

import ssl
from pathlib import Path

import pytest

from gripproxy.config import Config, Control, File, Route
from gripproxy.control.tls import control_tls
from gripproxy.errors import ConfigError
from tests.unit.test_check import self_signed


@pytest.fixture
def pem(tmp_path: Path) -> File:
    path = tmp_path / "door.pem"
    path.write_bytes(b"".join(self_signed()))
    return File(path)


def of(**control: File) -> Config:
    return Config(control=Control(**control), routes=(Route(backends=("http://a",)),), source="file.toml")


def test_without_a_certificate_there_is_no_tls() -> None:
    assert control_tls(of()) is None


def test_with_a_certificate_clients_need_none(pem: File) -> None:
    context = control_tls(of(certificate=pem))
    assert context is not None
    assert (ssl.CERT_NONE, []) == (context.verify_mode, context.get_ca_certs())


def test_with_authorities_clients_need_one_of_theirs(pem: File) -> None:
    context = control_tls(of(certificate=pem, certificate_key=pem, client_ca=pem))
    assert context is not None
    assert (ssl.CERT_REQUIRED, 1) == (context.verify_mode, context.cert_store_stats()["x509"])


def test_files_that_can_not_be_used_are_an_error(pem: File, tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("rubbish")
    with pytest.raises(ConfigError, match=r"^file\.toml: control\.certificate: .* cannot be used: no certificate"):
        control_tls(of(certificate=File(rubbish)))
    with pytest.raises(ConfigError, match=r"^file\.toml: control\.client_ca: .* cannot be used: no certificate"):
        control_tls(of(certificate=pem, client_ca=File(rubbish)))
