"""TLS at the control door: publishers over https, and only those with a certificate where that is asked for."""

import http.client
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gripcontrol import HttpStreamFormat
from pubcontrol import Item, PubControlClient

from tests.integration.certificates import Authority, make_authority
from tests.integration.door import ROOT, Door, route, start_door
from tests.integration.processes import Processes
from tests.integration.raw_backend import DEADLINE, RawBackend

BODY = json.dumps({"items": [{"channel": "a", "http-stream": {"content": "x"}}]})


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("strangers"), "stranger")


@pytest.fixture(scope="module", params=[False, True], ids=["tls", "mtls"])
def door(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[tuple[Door, bool]]:
    """A proxy whose control door speaks TLS, and whether it asks for certificates."""
    certificate = authority.sign("door", "127.0.0.1")
    with RawBackend() as backend, Processes(tmp_path_factory.mktemp("tls")) as processes:
        toml = f'[control]\nlisten = "{{control}}"\ncertificate = "{certificate}"\n'
        if request.param:
            toml += f'client_ca = "{authority.file}"\n'
        door = start_door(processes, toml + route(backend, "*"))
        yield door, request.param
        assert "Traceback" not in (log := door.process.output()), log


def publish(door: Door, authority: Authority, certificate: str = "") -> int:
    context = ssl.create_default_context(cafile=authority.file)
    if certificate:
        context.load_cert_chain(certificate)
    connection = http.client.HTTPSConnection("127.0.0.1", door.control_port, timeout=DEADLINE, context=context)
    try:
        connection.request("POST", "/publish/", BODY)
        return connection.getresponse().status
    finally:
        connection.close()


def test_who_has_a_certificate_of_the_authority_publishes(door: tuple[Door, bool], authority: Authority) -> None:
    assert 200 == publish(door[0], authority, authority.sign("publisher"))


def test_who_has_none_is_served_only_where_none_is_asked_for(door: tuple[Door, bool], authority: Authority) -> None:
    if not door[1]:
        assert 200 == publish(door[0], authority)
        return
    # TLS 1.3 tells a client after its own part of the handshake, so the first request fails and not the connecting.
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        publish(door[0], authority)
    assert "a TLS handshake failed: peer did not return a certificate" in door[0].process.output()


def test_a_certificate_of_somebody_else_is_none(
    door: tuple[Door, bool], authority: Authority, stranger: Authority
) -> None:
    certificate = stranger.sign("publisher")
    if not door[1]:
        assert 200 == publish(door[0], authority, certificate)
        return
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        publish(door[0], authority, certificate)


@pytest.mark.parametrize("is_trusting", [True, False])
def test_pubcontrol_publishes_over_tls(
    door: tuple[Door, bool], authority: Authority, is_trusting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It believes the authorities that REQUESTS_CA_BUNDLE names; certificates of its own it does not know."""
    if is_trusting:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority.file)
    publisher = PubControlClient(f"https://127.0.0.1:{door[0].control_port}")
    results: list[tuple[bool, str]] = []
    publisher.publish("a", Item(HttpStreamFormat("x")), blocking=False, callback=lambda *told: results.append(told))
    publisher.finish()
    assert [is_trusting and not door[1]] == [is_published for is_published, _ in results]


def test_who_speaks_no_tls_is_not_served(door: tuple[Door, bool]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", door[0].control_port, timeout=DEADLINE)
    connection.request("POST", "/publish/", BODY)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        connection.getresponse()
    connection.close()


def command(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "gripproxy", "publish", "a", "x", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return done.returncode, done.stdout + done.stderr


def test_the_command_publishes_over_tls(door: tuple[Door, bool], authority: Authority, tmp_path: Path) -> None:
    url = f"https://127.0.0.1:{door[0].control_port}"
    ours = ("--control", url, "--cacert", authority.file, "--cert", authority.sign("publisher"))
    assert (0, "Published\n") == command(*ours)

    code, output = command("--control", url)
    assert (1, True) == (code, "certificate verify failed" in output)

    code, output = command("--control", url.replace("https:", "http:"))
    assert (1, True) == (code, output.endswith("; is this a control door, and without TLS? Else it is https://.\n"))

    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("rubbish")
    code, output = command("--control", url, "--cacert", authority.file, "--cert", str(rubbish))
    assert (2, f"Error: --cert: {rubbish} cannot be used: ") == (code, output[: len(str(rubbish)) + 32])


def test_files_that_can_not_be_used(processes: Processes, tmp_path: Path, authority: Authority) -> None:
    """They keep the proxy from starting."""
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing\n")
    certificate = authority.sign("door", "127.0.0.1")
    with RawBackend() as nobody:
        toml = f'[control]\nlisten = "{{control}}"\ncertificate = "{certificate}"\nclient_ca = "{wrong}"\n'
        with pytest.raises(
            RuntimeError, match=r"ended with 2:\n\S+: control\.client_ca: '\S+wrong\.pem' cannot be used"
        ):
            start_door(processes, toml + route(nobody, "*"))
