"""What a stream is told whose link could not be asked for. All else of what holds come to is tested from outside."""

import asyncio
from typing import Any

import pytest

from gripproxy.config import Config
from gripproxy.config import Route as RouteConfig
from gripproxy.endings import Endings
from gripproxy.errors import BackendError
from gripproxy.routes import Routes
from gripproxy.transports import Follow
from tests.unit.transports.world import METRICS, World, item, streaming


@pytest.mark.parametrize("fault", [BackendError("refused"), RuntimeError("a defect")])
def test_whatever_happens_to_a_link_the_stream_is_told(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """A stream asks for one link at a time: without an answer it would never ask again."""
    world = World()
    hold = world.linked(streaming("c"))
    world.publish(item(action="hint"))
    follow = world.take_outcome()
    assert isinstance(follow, Follow)

    class Links:
        async def fetch(self, *arguments: Any) -> Any:
            raise fault

    config = Config(routes=(RouteConfig(backends=("http://127.0.0.1:1",)),))
    endings = Endings(None, Routes(config, b"x" * 32), METRICS, None)  # type: ignore[arg-type]
    endings.holds = world.holds
    endings._links = Links()  # type: ignore[assignment]
    asyncio.run(endings._follow(hold, follow))
    assert str(fault) in caplog.text
    world.advance(3)
    assert follow.link == world.take_outcome().link, "it is asked for again"  # type: ignore[union-attr]
