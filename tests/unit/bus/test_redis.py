"""The bus over Redis, as far as it needs none."""

import asyncio
from typing import Any

import pytest
from redis.exceptions import RedisError

from gripproxy.bus.redis import RedisBus, identify
from gripproxy.config import Bus as Settings
from gripproxy.grip.item import Item
from gripproxy.metrics import Metrics


class Client:
    """A client of a server that says this of itself."""

    def __init__(self, **info: str) -> None:
        self._info = info

    async def info(self, section: str) -> dict[str, Any]:
        return self._info


def test_a_server_is_known_by_the_id_of_its_life() -> None:
    assert "a1" == asyncio.run(identify(Client(run_id="a1", redis_version="7")))


def test_a_server_that_has_none_is_refused_like_one_that_is_away() -> None:
    """What the bus's tasks do not expect would end them, and with them all that is published."""
    with pytest.raises(RedisError, match="no run_id"):
        asyncio.run(identify(Client(redis_version="7")))


def publish(answer: OSError | None) -> None:
    """Publish to a bus that waits no time at all, and whose Redis answers in that very moment."""

    async def main() -> None:
        settings = Settings(url="redis://127.0.0.1:1/0", timeout=0.0)
        bus = RedisBus(settings, lambda realm, items, receipt=None: None, lambda realm: None, Metrics(), lambda: True)
        publishing = asyncio.create_task(bus.publish("r", (Item("c"),)))
        await asyncio.sleep(0)
        done = bus._waiting[0].done
        if answer is None:
            done.set_result(None)
        else:
            done.set_exception(answer)
        await publishing

    asyncio.run(main())


def test_what_is_acknowledged_as_the_time_runs_out_is_published() -> None:
    """A publisher who was told 503 would publish it again."""
    publish(None)


def test_what_is_refused_as_the_time_runs_out_is_refused_for_its_reason() -> None:
    with pytest.raises(OSError, match="no memory"):
        publish(OSError("no memory"))
