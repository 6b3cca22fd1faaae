"""The table [zeromq]."""

from typing import Any

import pytest

from gripproxy.config import SettingError
from gripproxy.config.zeromq import Zeromq


@pytest.mark.parametrize("name", ["pull", "command", "stats"])
def test_sockets_are_used_when_one_is_given(name: str) -> None:
    assert not Zeromq(sub_connect=True).is_used
    assert Zeromq(**{name: "ipc:///a"}).is_used


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"stats": "127.0.0.1:1"}, "stats: must be tcp://host:port, tcp://*:port or ipc:///path, not '127.0.0.1:1'"),
        ({"sub": ("ipc:///a", "")}, "sub[1]: must be tcp://host:port, tcp://*:port or ipc:///path, not ''"),
        ({"ipc_file_mode": "rw"}, "ipc_file_mode: must be octal digits like \"0660\", not 'rw'"),
        ({"ipc_file_mode": "0o660"}, "ipc_file_mode: must be octal digits like \"0660\", not '0o660'"),
    ],
)
def test_what_is_wrong_is_named(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingError) as caught:
        Zeromq(**settings)

    assert problem == str(caught.value)


@pytest.mark.parametrize("mode", ["", "660", "0660"])
def test_permissions_are_octal_digits(mode: str) -> None:
    assert mode == Zeromq(ipc_file_mode=mode).ipc_file_mode
