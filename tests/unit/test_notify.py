"""What systemd is told, where it asks to be told."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gripproxy.notify import notify


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def test_the_socket_that_is_named_is_told(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", systemd.getsockname())
    notify("READY=1")
    assert b"READY=1" == systemd.recv(100)


def test_an_at_sign_is_an_abstract_name(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "gripproxy-test-notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        try:
            listener.bind(f"\0{name}")
        except OSError:
            pytest.skip("abstract names are Linux's")
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify("STOPPING=1")
        assert b"STOPPING=1" == listener.recv(100)


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234"])
def test_elsewhere_nobody_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, address: str | None
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")
    assert [] == caplog.records


def test_nobody_there_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    with caplog.at_level(logging.WARNING):
        notify("READY=1")
    assert ["NOTIFY_SOCKET: cannot tell systemd 'READY=1': No such file or directory"] == caplog.messages
