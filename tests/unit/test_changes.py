"""What a new configuration changes, what has to wait, and what is said of both."""

from typing import Any

import msgspec
import pytest

from gripproxy import config
from gripproxy.changes import APPLIED, APPLIED_WHOLE, FILES_NAMED, applicable, describe_changes
from gripproxy.config import Config, File, Limits, Log, Realm, Secret, Server, Zeromq, setting_types
from gripproxy.errors import ConfigError

ROUTE = {"backends": ("http://a",)}


def configuration(*routes: dict[str, Any], **tables: Any) -> Config:
    return Config(routes=tuple(config.Route(**{**ROUTE, **one}) for one in routes or ({},)), source="c.toml", **tables)


def test_the_tables_name_settings_that_there_are() -> None:
    tables = setting_types(Config)
    assert set(APPLIED) | APPLIED_WHOLE <= set(tables)
    for table, names in APPLIED.items():
        assert names <= set(setting_types(tables[table]))


# --- what can be taken


def test_what_a_reload_applies_is_taken_as_it_is() -> None:
    wanted = configuration({"path": "/a"}, limits=Limits(unsent=1), log=Log(level="debug"), debug=True)
    assert (wanted, ()) == ((got := applicable(configuration(), wanted)).config, got.waiting)


def test_what_needs_a_restart_stays_and_is_named() -> None:
    """The rest of the same table is taken."""
    running = configuration(server=Server(listen=("127.0.0.1:1",)))
    server = Server(listen=("127.0.0.1:2",), backlog=9, keepalive_timeout=1.0)
    got = applicable(running, configuration(server=server, zeromq=Zeromq(pull="tcp://127.0.0.1:5560")))
    assert ("server.listen", "server.backlog", "zeromq.pull") == got.waiting
    assert msgspec.structs.replace(running.server, keepalive_timeout=1.0) == got.config.server
    assert (running.zeromq, "c.toml") == (got.config.zeromq, got.config.source)


@pytest.mark.parametrize("begins", [True, False])
def test_tls_begins_and_ends_with_a_restart(begins: bool) -> None:
    both = [Server(certificate=(File("a.pem"),), certificate_key=(File("a.key"),)), Server(keepalive_timeout=1.0)]
    wanted, running = both if begins else both[::-1]
    got = applicable(configuration(server=running), configuration(server=wanted))
    assert ("server.certificate", "server.certificate_key") == got.waiting
    assert running.certificate == got.config.server.certificate
    assert wanted.keepalive_timeout == got.config.server.keepalive_timeout


def test_other_certificates_are_taken() -> None:
    running = configuration(server=Server(certificate=(File("a.pem"),)))
    assert () == applicable(running, configuration(server=Server(certificate=(File("b.pem"), File("c.pem"))))).waiting


def test_a_well_known_key_is_refused_as_long_as_the_door_is_open_to_others() -> None:
    """Though it would be legal at the address that is wanted after a restart."""
    running = configuration(control=config.Control(listen=":5561"))
    with pytest.raises(ConfigError, match=r"c\.toml: realms\.a\.key: .* \(with control\.listen as they are until a re"):
        applicable(running, configuration(realms={"a": Realm(key=(Secret("changeme"),))}))


# --- what is said


def said(old: Config, new: Config, *digests: dict[str, bytes]) -> str:
    old_digests, new_digests = digests or ({}, {})
    return describe_changes(old, new, old_digests, new_digests)


def test_nothing_is_said_of_what_is_the_same() -> None:
    assert "" == said(configuration(), configuration(), {"a": b"1"}, {"a": b"1"})


def test_routes_are_counted() -> None:
    """They are the same by their id, else by host and path, wherever they stand."""
    old = configuration({"host": "a"}, {"host": "b"}, {"id": "x", "host": "c"}, {"host": "gone"})
    added = [{"host": "new"}, {"host": "newer"}]
    new = configuration(*added, {"host": "b", "prefix": "p"}, {"host": "a"}, {"id": "x", "host": "elsewhere"})
    assert "routes: 2 added, 2 changed, 1 removed" == said(old, new)


def test_routes_that_share_an_id_are_told_apart() -> None:
    old = configuration({"id": "x", "host": "a"}, {"id": "x", "host": "b"})
    new = configuration({"id": "x", "host": "a", "prefix": "p"}, {"id": "x", "host": "b"})
    assert "routes: 0 added, 1 changed, 0 removed" == said(old, new)


def test_routes_that_only_change_their_places_are_said() -> None:
    assert "routes: 0 added, 0 changed, 0 removed" == said(
        configuration({"host": "a"}, {"host": "b"}), configuration({"host": "b"}, {"host": "a"})
    )


def test_realms_are_counted_and_settings_are_named_without_their_values() -> None:
    old = configuration(realms={"a": Realm(key=(Secret("very"),)), "b": Realm()})
    realms = {"a": Realm(key=(Secret("secret"),)), "c": Realm()}
    new = configuration(realms=realms, limits=Limits(unsent=7, hold_body=9), log=Log(json=True), debug=True)
    assert "realms: 1 added, 1 changed, 1 removed; log.json; limits.hold_body, limits.unsent; debug" == said(old, new)


def test_files_are_named_by_what_they_hold() -> None:
    same = configuration()
    assert "files: b.pem" == said(same, same, {"a.pem": b"1", "b.pem": b"1"}, {"a.pem": b"1", "b.pem": b"2", "c": b"3"})
    many = {str(number): b"" for number in range(FILES_NAMED + 2)}
    assert "files: 0, 1, 2, 3, 4 and 2 more" == said(same, same, dict.fromkeys(many, b"x"), many)
