"""What the sockets are without pyzmq or without being asked for."""

import asyncio
import logging
import sys
from typing import Any

import pytest

from gripproxy.bus.local import LocalBus
from gripproxy.config import Config, Route
from gripproxy.config import Zeromq as Settings
from gripproxy.errors import ConfigError
from gripproxy.metrics import Metrics
from gripproxy.subscriptions import Subscriptions
from gripproxy.zeromq import Zeromq

ROUTES = (Route(backends=("http://127.0.0.1:8000",)),)


def make(settings: Settings) -> Zeromq:
    loop = asyncio.new_event_loop()
    try:
        metrics = Metrics()
        bus = LocalBus(lambda realm, items: None, metrics)
        subscriptions = Subscriptions(loop, {}, 0.0, "x")
        return Zeromq(Config(routes=ROUTES, zeromq=settings, source="file.toml"), bus, subscriptions, metrics)
    finally:
        loop.close()


@pytest.fixture
def without_pyzmq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zmq.asyncio", None)
    monkeypatch.setitem(sys.modules, "zmq", None)


@pytest.mark.usefixtures("without_pyzmq")
def test_without_pyzmq_it_says_how_to_get_it() -> None:
    with pytest.raises(ConfigError, match=r"^file\.toml: zeromq: needs pip install gripproxy\[zmq\] \("):
        make(Settings(sub=("tcp://127.0.0.1:1",)))


@pytest.mark.usefixtures("without_pyzmq")
def test_without_sockets_it_needs_nothing_and_does_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    inputs = make(Settings())
    inputs.open()
    result: Any = asyncio.run(inputs.run())
    inputs.close()

    assert (None, []) == (result, [record for record in caplog.records if record.name.startswith("gripproxy")])
