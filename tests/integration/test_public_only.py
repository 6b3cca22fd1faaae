"""Backends that must not lead into the own network: names that resolve to this machine are refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.door import Door, route, start_door
from tests.integration.processes import Processes
from tests.integration.raw_backend import OK, RawBackend


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Door, RawBackend]]:
    """A proxy with routes to a backend on this machine, with and without trust."""
    with RawBackend() as backend, Processes(tmp_path_factory.mktemp("public")) as processes:
        url = f"http://localhost:{backend.port}"
        toml = route(backend, "trusted.test", backends=[url])
        toml += route(backend, "refused.test", backends=[url], public_only=True)
        toml += route(backend, "socket.test", backends=[url], public_only=True, websocket="passthrough")
        toml += route(backend, "second.test", backends=[{"url": url, "public_only": True}, url])
        yield start_door(processes, toml), backend


def test_a_name_that_leads_here_is_refused(world: tuple[Door, RawBackend]) -> None:
    """Before a connection is made, and though one to the same place waits in the pool of those who may."""
    door, backend = world
    client = door.connect().ask("trusted.test")
    peer = backend.accept()
    peer.read_head()
    peer.send(OK)
    assert 200 == client.read_response().status
    door.new_log()
    assert 502 == client.ask("refused.test").read_response().status
    client.close()
    assert not backend.is_asked(0.1)
    assert not peer.is_readable(0.1)
    log = door.new_log()
    assert "can't be reached: " in log
    assert "is not a public address" in log
    peer.close()


def test_a_websocket_is_refused_too(world: tuple[Door, RawBackend]) -> None:
    door, backend = world
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    fields = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", key)
    client = door.connect().ask("socket.test", "/", "GET", *fields)
    assert 502 == client.read_response().status
    client.close()
    assert not backend.is_asked(0.1)


def test_the_next_backend_is_asked_instead(world: tuple[Door, RawBackend]) -> None:
    door, backend = world
    client = door.connect().ask("second.test")
    peer = backend.accept()
    peer.read_head()
    peer.send(OK)
    assert b"ok" == client.read_response().body
    client.close()
    peer.close()


def test_an_address_in_the_configuration_is_an_error(processes: Processes, tmp_path: Path) -> None:
    with (
        RawBackend() as nobody,
        pytest.raises(RuntimeError, match=r"routes\[0\]\.backends\[0\]: 127\.0\.0\.1 is not public"),
    ):
        start_door(processes, route(nobody, "*", public_only=True))
