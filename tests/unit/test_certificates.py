"""Which certificate a client gets, and what is said of their ends."""

import ssl
from pathlib import Path

import pytest

from gripproxy.certificates import EXPIRES_SOON, Certificates
from gripproxy.config import Config, File, Route, Server
from gripproxy.errors import ConfigError
from tests.unit.certificate_files import NOW, write_certificate

DAY = 86_400.0


def certificates(*files: str, keys: tuple[str, ...] = ()) -> Certificates:
    server = Server(certificate=tuple(map(File, files)), certificate_key=tuple(map(File, keys)))
    return Certificates(Config(server=server, routes=(Route(backends=("http://a",)),), source="c.toml"))


@pytest.fixture
def three(tmp_path: Path) -> Certificates:
    return certificates(
        write_certificate(tmp_path / "first.pem", ["first.test", "both.test"]),
        write_certificate(tmp_path / "second.pem", ["Second.TEST", "*.wild.test", "both.test", "127.0.0.1"]),
        write_certificate(tmp_path / "third.pem", ["exact.wild.test"]),
    )


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("first.test", "first"),
        ("second.test", "second"),
        ("SECOND.test.", "second"),
        ("a.wild.test", "second"),
        ("exact.wild.test", "third"),
        # The star is for one label, and never for none.
        ("a.b.wild.test", "first"),
        ("wild.test", "first"),
        ("*.wild.test", "second"),
        ("both.test", "first"),
        ("unknown.test", "first"),
        ("test", "first"),
        ("", "first"),
        (None, "first"),
    ],
)
def test_a_client_gets_the_certificate_of_the_name_it_asks_for(
    three: Certificates, name: str | None, file: str
) -> None:
    assert file == Path(three.find(name).file).stem


def test_names_are_read_from_the_certificate(three: Certificates) -> None:
    _, second, _ = three
    assert ("second.test", "*.wild.test", "both.test", "127.0.0.1") == second.names


def test_a_certificate_without_names_is_good_as_the_first(tmp_path: Path) -> None:
    made = certificates(write_certificate(tmp_path / "a.pem"))
    assert ((), "a") == (made.find(None).names, Path(made.find("common.test").file).stem)


def test_without_certificates_there_are_none() -> None:
    assert (0, {}, []) == (len(none := certificates()), none.seconds_left(0.0), none.warnings(0.0))


def test_keys_may_stand_in_files_of_their_own(tmp_path: Path) -> None:
    key = tmp_path / "a.key"
    files = [write_certificate(tmp_path / "a.pem", ["a"], key=key), write_certificate(tmp_path / "b.pem", ["b"])]
    assert 2 == len(certificates(*files, keys=(str(key), "")))


@pytest.mark.parametrize(
    ("files", "keys", "message"),
    [
        (("rubbish",), (), "c.toml: server.certificate: '{}/rubbish' cannot be used: no certificate and private key"),
        (("good", "rubbish"), (), "c.toml: server.certificate[1]: '{}/rubbish' cannot be used: "),
        (("good",), ("other",), "c.toml: server.certificate: '{}/good' with '{}/other' cannot be used: key values"),
        (("gone",), (), "c.toml: server.certificate: '{}/gone' cannot be used: no such file"),
    ],
)
def test_what_can_not_be_used_is_said(
    tmp_path: Path, files: tuple[str, ...], keys: tuple[str, ...], message: str
) -> None:
    write_certificate(tmp_path / "good", ["a"])
    write_certificate(tmp_path / "other", ["a"])
    (tmp_path / "rubbish").write_text("rubbish")
    with pytest.raises(ConfigError) as caught:
        certificates(*(str(tmp_path / one) for one in files), keys=tuple(str(tmp_path / one) for one in keys))
    assert str(caught.value).startswith(message.replace("{}", str(tmp_path)))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-DAY, "has expired on "),
        (DAY - 60, "expires in 0 days, on "),
        (DAY + 60, "expires in 1 day, on "),
        (EXPIRES_SOON - 60, "expires in 13 days, on "),
        (EXPIRES_SOON + 60, None),
    ],
)
def test_an_end_that_is_near_is_said(tmp_path: Path, seconds: float, words: str | None) -> None:
    file = write_certificate(tmp_path / "a.pem", ["a"], seconds)
    made = certificates(file)
    now = NOW.timestamp()
    assert {file: pytest.approx(seconds, abs=2)} == made.seconds_left(now)
    expected = [] if words is None else [f"server.certificate: {file!r} {words}{made.find(None).end}"]
    assert expected == made.warnings(now)


def test_a_certificate_that_nobody_gets_is_said(tmp_path: Path) -> None:
    """It has names that others before it have, or none; the first needs none."""
    names: list[list[str]] = [[], ["a.test", "b.test"], ["b.test"], ["b.test", "c.test"], []]
    files = [write_certificate(tmp_path / f"{index}.pem", hosts) for index, hosts in enumerate(names)]
    never = "is never used: it has no name that none before it has"
    expected = [f"server.certificate[{index}]: {files[index]!r} {never}" for index in (2, 4)]
    assert expected == certificates(*files).warnings(NOW.timestamp())


def handshake(listener: ssl.SSLContext, name: str | None, version: ssl.TLSVersion) -> bytes:
    """Return the certificate that a client gets, without any socket."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
    client_context.minimum_version = client_context.maximum_version = version
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(back, there, server_hostname=name)
    server = listener.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    got = client.getpeercert(binary_form=True)
    assert got is not None
    return got


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_handshakes_follow_the_certificates_of_the_time(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """One context for the listener; what it serves with changes behind it."""
    files = [write_certificate(tmp_path / f"{name}.pem", [name]) for name in ("a", "b")]
    made = certificates(*files)
    listener = made.listener()
    given = [handshake(listener, name, version) for name in ("a", "b", None, "c")]
    assert given[0] == given[2] == given[3] != given[1]

    made.become(certificates(write_certificate(tmp_path / "a.pem", ["a"]), files[1]))
    later = [handshake(listener, name, version) for name in ("a", "b", None)]
    assert later[0] == later[2] != given[0]
    assert given[1] == later[1]
