"""What a configuration comes to is said before anything listens, without secrets."""

import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gripproxy.__main__ import main
from gripproxy.check import check
from gripproxy.errors import ConfigError
from tests.unit.certificate_files import write_certificate


def test_a_backend_alone_is_described() -> None:
    assert [
        "clients on 127.0.0.1:7999",
        "control on 127.0.0.1:5561",
        "realm default: POST /realm/default/publish/ or /publish/ from loopback, as it has no key",
        "route */",
        "  takes            */",
        "  backends         http://127.0.0.1:8000",
        "  realm            default",
        "  websocket        over-http",
        "  Grip-Sig         HS256, issuer 'default', signed with a random key",
    ] == check(None, {}, {"backend": "http://127.0.0.1:8000"})


def test_inputs_are_described() -> None:
    variables = {
        "GRIPPROXY__ZEROMQ__PULL": "tcp://*:5560",
        "GRIPPROXY__ZEROMQ__SUB": "tcp://a:1,ipc:///b",
        "GRIPPROXY__ZEROMQ__SUB_CONNECT": "true",
        "GRIPPROXY__ZEROMQ__STATS": "ipc:///c",
    }
    lines = check(None, variables, {"backend": "http://127.0.0.1:8000"})

    assert ["zeromq pull on tcp://*:5560", "zeromq sub from tcp://a:1, ipc:///b", "zeromq stats on ipc:///c"] == [
        line.removesuffix(" for realm default") for line in lines if line.startswith("zeromq ")
    ]
    assert lines[-1].startswith("warning: zeromq.pull: tcp://*:5560 takes items from whoever can reach it")


def test_everything_that_differs_is_described_without_secrets(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        """
        [realms.headline]
        key = "changeme"
        control_iss = "publisher"
        [[routes]]
        id = "api"
        host = "*.example.org"
        path = "/a"
        rewrite = "/"
        realm = "headline"
        backends = ["http://127.0.0.1:8000", "https://b"]
        balance = "round-robin"
        websocket = "passthrough"
        headers_set = {Authorization = "very-secret"}
        verify = false
        upstream_key = "very-secret"
        connect_timeout = 1
        [[routes]]
        grip = false
        backends = ["http://c"]
        """
    )

    assert [
        "clients on 127.0.0.1:7999",
        "control on 127.0.0.1:5561",
        "realm default: POST /realm/default/publish/ or /publish/ from loopback, as it has no key",
        "realm headline: POST /realm/headline/publish/ with a token of issuer 'publisher' (HS256)",
        "route api",
        "  takes            *.example.org/a",
        "  backends         http://127.0.0.1:8000, https://b (round-robin)",
        "  rewrite          /a/x -> /x",
        "  realm            headline",
        "  websocket        passthrough",
        "  Grip-Sig         HS256, issuer 'headline', signed with realms.headline.key",
        "  upstream         Grip-Sig of a proxy in front is believed (HS256)",
        "  headers_set      Authorization",
        "  balance          round-robin",
        "  connect_timeout  1.0",
        "  verify           False",
        "route */",
        "  takes            */",
        "  backends         http://c",
        "  realm            default",
        "  websocket        over-http",
        "  Grip-Sig         none, plain proxying",
        "warning: realms.headline: the key 'changeme' is known to everyone",
        "warning: routes[0].verify: the backend's certificate is not verified",
    ] == check(path)


def test_who_is_believed_and_which_requests_are_meant(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        """
        [server]
        trusted_proxies = ["10.0.0.0/8", "192.0.2.1"]
        accept_pushpin_route = true
        cdn_loop = "me.test"
        [[routes]]
        backends = ["http://a"]
        path = "/a*"
        rewrite = "/b"
        protocol = "websocket"
        tls = false
        orig_headers = true
        [[routes]]
        backends = ["http://a"]
        protocol = "http"
        tls = true
        [[routes]]
        backends = ["http://a"]
        host = ""
        id = "hidden"
        """
    )
    lines = check(path)

    assert [
        "X-Forwarded-*, X-Request-Id, Pushpin-Route believed from 10.0.0.0/8, 192.0.2.1",
        "CDN-Loop says me.test; who comes with it is refused",
    ] == lines[1:3]
    assert [
        "route */a*,websocket,no-tls",
        "route */,http,tls",
        "route hidden",
        "*/a*, WebSockets only, without TLS",
        "/ax -> /bx",
        "True",
        "*/, HTTP only, over TLS",
        "Pushpin-Route: hidden",
    ] == [
        *(line for line in lines if line.startswith("route ")),
        *(line[19:] for line in lines if line.split()[0] in ("takes", "rewrite", "orig_headers")),
    ]


def test_what_backends_have_of_their_own_is_described(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        "[[routes]]\nbackends = ['http://a', {url = 'http://b'}, "
        "{url = 'https://c', websocket = 'passthrough', verify = false, subscribe = ['x', 'y']}]\n"
    )

    lines = check(path)
    at = lines.index("  backends         http://a, http://b, https://c (first)")
    assert "    https://c      websocket passthrough, subscribe x, y, verify False" == lines[at + 1]
    assert "  realm            default" == lines[at + 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[serve]", "serve: there is no such setting; did you mean 'server'?"),
        ("[realms.a]\nkey = 'hex:x'", "realms.a.key: the key is not valid hex"),
        (
            "[server]\ncertificate = 'rubbish.pem'",
            "server.certificate: 'FOLDER/rubbish.pem' cannot be used: no certificate and private key in PEM",
        ),
        (
            "[control]\ncertificate = 'rubbish.pem'",
            "control.certificate: 'FOLDER/rubbish.pem' cannot be used: no certificate and private key in PEM",
        ),
        (
            "[control]\ncertificate = 'good.pem'\ncertificate_key = 'other.key'",
            "control.certificate: 'FOLDER/good.pem' with 'FOLDER/other.key' cannot be used: key values mismatch",
        ),
        (
            "[control]\ncertificate = 'good.pem'\nclient_ca = 'rubbish.pem'",
            "control.client_ca: 'FOLDER/rubbish.pem' cannot be used: no certificate or crl found",
        ),
        ("[control]\nclient_ca = 'good.pem'", "control.certificate: is missing, though client_ca is given"),
        ("ca = 'rubbish.pem'", "routes[0].ca: 'FOLDER/rubbish.pem' cannot be used: no certificate or crl found"),
        (
            "backends = ['http://a', {url = 'https://b', ca = 'rubbish.pem'}]",
            "routes[0].backends[1].ca: 'FOLDER/rubbish.pem' cannot be used: no certificate or crl found",
        ),
        (
            "backends = [{url = 'https://b', client_cert = 'rubbish.pem'}]",
            "routes[0].backends[0].client_cert: 'FOLDER/rubbish.pem' cannot be used: no certificate",
        ),
        ("client_cert = 'rubbish.pem'", "routes[0].client_cert: 'FOLDER/rubbish.pem' cannot be used: no certificate"),
        (
            "client_cert = 'good.pem'\nclient_key = 'other.key'",
            "routes[0].client_cert: 'FOLDER/good.pem' with 'FOLDER/other.key' cannot be used: key values mismatch",
        ),
    ],
)
def test_what_would_keep_the_proxy_from_starting_is_said(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "rubbish.pem").write_text("rubbish")
    certificate, key = self_signed()
    (tmp_path / "good.pem").write_bytes(certificate + key)
    (tmp_path / "other.key").write_bytes(self_signed()[1])
    path = tmp_path / "config.toml"
    backends = "" if text.startswith("backends") else "backends = 'http://a'\n"
    path.write_text(f"[[routes]]\n{backends}{text}\n")
    with pytest.raises(ConfigError) as caught:
        check(path)

    assert str(caught.value).startswith(f"{path}: {message.replace('FOLDER', str(tmp_path))}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("setting", ["ca", "client_cert"])
def test_run_refuses_what_check_refuses(tmp_path: Path, setting: str) -> None:
    """Before anything listens, in the same line and with the same exit code."""
    (tmp_path / "rubbish.pem").write_text("rubbish")
    path = tmp_path / "config.toml"
    path.write_text(f"[[routes]]\nbackends = 'https://a'\n{setting} = 'rubbish.pem'\n")
    checked, run = (CliRunner().invoke(main, [command, "--config", str(path)]) for command in ("check", "run"))
    assert (2, f"{path}: routes[0].{setting}: ") == (run.exit_code, run.output[: len(f"{path}: routes[0].{setting}: ")])
    assert (checked.exit_code, checked.output) == (run.exit_code, run.output)


def test_variables_that_lack_an_underscore_are_warned_of() -> None:
    lines = check(None, {"GRIPPROXY_LOG_LEVEL": "debug", "GRIPPROXY_PORT": "x"}, {"backend": "http://127.0.0.1:8000"})
    warning = "warning: environment: GRIPPROXY_LOG_LEVEL is not read: two underscores stand before table and setting"
    assert [warning] == [line for line in lines if line.startswith("warning")]


def test_certificates_that_fit_are_good(tmp_path: Path) -> None:
    certificate, key = self_signed()
    (tmp_path / "good.pem").write_bytes(certificate + key)
    path = tmp_path / "config.toml"
    path.write_text(
        "[server]\ncertificate = 'good.pem'\n"
        "[[routes]]\nbackends = 'https://a'\nca = 'good.pem'\nclient_cert = 'good.pem'"
    )

    assert "clients on 127.0.0.1:7999 with TLS" == check(path)[0]


def test_tls_at_the_control_door_is_described(tmp_path: Path) -> None:
    (tmp_path / "good.pem").write_bytes(b"".join(self_signed()))
    path = tmp_path / "config.toml"
    route = "[[routes]]\nbackends = 'http://a'\n"

    path.write_text(f"[control]\ncertificate = 'good.pem'\n{route}")
    assert "control on 127.0.0.1:5561 with TLS" == check(path)[1]

    path.write_text(f"[control]\ncertificate = 'good.pem'\nclient_ca = 'good.pem'\n{route}")
    assert (
        f"control on 127.0.0.1:5561 with TLS, for clients with a certificate of {tmp_path}/good.pem" == check(path)[1]
    )


def self_signed() -> tuple[bytes, bytes]:
    """Make a certificate and its private key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2099, 1, 1, tzinfo=datetime.UTC))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return certificate.public_bytes(pem), key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_certificates_are_described_with_their_names_and_ends(tmp_path: Path) -> None:
    files = [
        write_certificate(tmp_path / "one.pem", ["one.test", "*.one.test"]),
        write_certificate(tmp_path / "two.pem", [], 86_400 * 3.5),
    ]
    path = tmp_path / "config.toml"
    path.write_text("[server]\ncertificate = ['one.pem', 'two.pem']\n[[routes]]\nbackends = 'http://a'\n")
    lines = check(path)
    assert "clients on 127.0.0.1:7999 with TLS" == lines[0]
    assert lines[1].startswith(f"certificate {files[0]} for one.test, *.one.test, until 2")
    assert lines[2].startswith(f"certificate {files[1]} for no name, until 2")
    warnings = [line for line in lines if line.startswith("warning: ")]
    assert warnings[0].startswith(f"warning: server.certificate[1]: {files[1]!r} expires in 3 days, on 2")
    assert warnings[1].startswith(f"warning: server.certificate[1]: {files[1]!r} is never used: ")
