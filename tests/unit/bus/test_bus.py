"""The table of buses."""

import builtins
from typing import Any

import pytest

from gripproxy import bus
from gripproxy.bus import BUSES, make_bus
from gripproxy.config import load
from gripproxy.errors import ConfigError
from gripproxy.metrics import Metrics


def of(url: str) -> Any:
    return load(None, {}, {"backend": "http://127.0.0.1:8000", "bus.url": url})


@pytest.mark.parametrize("scheme", sorted(BUSES))
def test_a_scheme_is_the_lower_case_word_before_the_colon(scheme: str) -> None:
    assert scheme.isascii()
    assert scheme == scheme.lower()
    assert ":" not in scheme


def test_the_local_bus_is_the_default() -> None:
    config = load(None, {}, {"backend": "http://127.0.0.1:8000"})
    made = make_bus(config, lambda realm, items: None, print, Metrics(), lambda: False)

    assert {"publish", "recover", "run", "close"} <= set(dir(made))
    assert made.is_full
    assert "LocalBus" == type(made).__name__


def test_a_missing_library_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.startswith("redis"):
            raise ImportError("No module named 'redis'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)

    with pytest.raises(ConfigError, match=r"bus\.url: needs pip install 'gripproxy\[redis\]'"):
        bus.require_library(of("redis://localhost"))
    bus.require_library(of("local:"))
