"""TLS at the control door: what its context asks of clients."""

import ssl
from pathlib import Path

import pytest

from gripproxy.config import Config, Control, File, Route
from gripproxy.control.tls import Failures, control_tls
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


def shake(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Shake hands in memory. Raises: ssl.SSLError of the server."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving, asking = server.wrap_bio(there, back, server_side=True), client.wrap_bio(back, there)
    for _ in range(5):
        for side in (asking, serving):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue


def anybody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_a_client_without_a_certificate_is_refused_and_logged(pem: File, caplog: pytest.LogCaptureFixture) -> None:
    context = control_tls(of(certificate=pem, client_ca=pem))
    assert context is not None
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        shake(context, anybody())
    assert ["control.listen: a TLS handshake failed: peer did not return a certificate"] == caplog.messages


def test_a_handshake_that_goes_well_is_not_logged(pem: File, caplog: pytest.LogCaptureFixture) -> None:
    context = control_tls(of(certificate=pem))
    assert context is not None
    shake(context, anybody())
    assert [] == caplog.messages


def test_failures_are_logged_once_a_minute_with_their_number(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    failures = Failures(lambda: now[0])
    error = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    for now[0] in (0.0, 1.0, 59.0, 60.0):
        failures.add(error)
    assert [False, True] == ["(2 more before it)" in message for message in caplog.messages]
