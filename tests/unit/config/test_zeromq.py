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
    ],
)
def test_what_is_wrong_is_named(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingError) as caught:
        Zeromq(**settings)

    assert problem == str(caught.value)
