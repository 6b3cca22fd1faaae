"""All that a configuration comes to is made at once, or nothing."""

from pathlib import Path

import pytest

from gripproxy.config import Backend, Config, File, Realm, Route, Secret, Server
from gripproxy.errors import ConfigError
from gripproxy.resolved import Resolved, resolve_config
from tests.unit.certificate_files import write_certificate


def resolved(earlier: Resolved | None = None, **settings: object) -> Resolved:
    routes = settings.pop("routes", (Route(backends=("http://a",)),))
    config = Config(routes=routes, **settings)  # type: ignore[arg-type]
    return resolve_config(config, b"random" * 6, earlier.routes if earlier is not None else None)


def test_what_is_made() -> None:
    made = resolved(realms={"a": Realm()})
    assert (1, True, 0, {}) == (len(made.routes), "a" in made.publishers, len(made.certificates), made.digests)


def test_routes_that_stay_are_those_of_before() -> None:
    before = resolved()
    assert next(iter(before.routes)) is next(iter(resolved(before).routes))


def test_files_of_tls_are_known_by_what_they_hold(tmp_path: Path) -> None:
    door = write_certificate(tmp_path / "door.pem", ["a"])
    ca = write_certificate(tmp_path / "ca.pem", ["b"])
    settings = {
        "server": Server(certificate=(File(door),)),
        "routes": (Route(backends=("https://a",), ca=File(ca), client_cert=File(ca)),),
    }
    before = resolved(**settings)
    assert {door, ca} == set(before.digests)
    assert before.digests == resolved(**settings).digests
    write_certificate(tmp_path / "ca.pem", ["b"])
    after = resolved(**settings)
    assert [ca] == [file for file in after.digests if after.digests[file] != before.digests[file]]


def test_so_are_those_that_a_backend_names_itself(tmp_path: Path) -> None:
    files = [write_certificate(tmp_path / f"{name}.pem", [name]) for name in ("route", "backend")]
    own = Backend(url="https://a", ca=File(files[1]), client_cert=File(""))
    made = resolved(routes=(Route(backends=("https://b", own), ca=File(files[0])),))
    assert set(files) == set(made.digests)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"realms": {"a": Realm(key=(Secret("hex:x"),))}}, r"realms\.a\.key: the key is not valid hex"),
        ({"server": Server(certificate=(File("rubbish"),))}, r"server\.certificate: '.*' cannot be used"),
        ({"routes": (Route(backends=("https://a",), ca=File("rubbish")),)}, r"routes\[0\]\.ca: '.*' cannot be used"),
        (
            {"routes": (Route(backends=("https://a",), client_cert=File("rubbish")),)},
            r"routes\[0\]\.client_cert: '.*' cannot",
        ),
    ],
)
def test_a_fault_anywhere_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], message: str
) -> None:
    (tmp_path / "rubbish").write_text("rubbish")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        resolved(**settings)
