"""Health checks of real backends, which stop being well and recover."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.backend import Backend, Reply
from tests.conformance.client import fetch
from tests.integration.processes import Processes
from tests.integration.test_balance import World

HEALTH = "/healthz"
WELL, UNWELL = Reply(b"well"), Reply(b"not yet\n", status=503)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Processes(tmp_path) as processes:
        world = World(processes, "ab")
        for backend in world.backends.values():
            backend.on(HEALTH, WELL)
        yield world
        world.close()


def start(world: World, **settings: object) -> None:
    world.start(health_path=HEALTH, health_interval=0.05, health_timeout=0.2, **settings)


def up(world: World, name: str) -> float:
    return world.door.metric(f'gripproxy_backend_up{{backend="http://127.0.0.1:{world.backends[name].port}"}}')


def wait(world: World, name: str, is_up: bool) -> None:
    deadline = time.monotonic() + 10
    while up(world, name) != is_up:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_backend_that_is_not_well_is_passed_over(world: World) -> None:
    """Though it answers; and it is asked again as soon as it is well."""
    start(world)
    wait(world, "a", True)
    assert "aa" == world.asked(2)
    world.backends["a"].on(HEALTH, UNWELL)
    wait(world, "a", False)
    assert "bb" == world.asked(2)
    world.backends["a"].on(HEALTH, WELL)
    wait(world, "a", True)
    assert "aa" == world.asked(2)
    log = world.door.new_log()
    assert (1, 1) == (log.count("failed: the answer is 503"), log.count("succeeds again"))


def test_when_none_is_well_all_are_asked(world: World) -> None:
    start(world)
    for name in "ab":
        world.backends[name].on(HEALTH, UNWELL)
        wait(world, name, False)
    assert "aa" == world.asked(2)


def test_a_backend_that_does_not_answer_its_check(world: World) -> None:
    start(world, balance="round-robin")
    gate = world.backends["b"].gate()
    world.backends["b"].on(HEALTH, Reply(b"late", before=[gate]))
    wait(world, "b", False)
    assert "aaaa" == world.asked(4)
    assert "failed: no answer within 0.2 s" in world.door.new_log()
    gate.open()
    wait(world, "b", True)
    assert {"a", "b"} == set(world.asked(4))


def test_a_backend_that_is_gone_and_comes_back(world: World) -> None:
    """Its rest is over when its check succeeds, and clients never notice."""
    start(world, balance="round-robin")
    world.kill("b")
    wait(world, "b", False)
    assert "aaaa" == world.asked(4)
    world.backends["b"] = Backend(world.backends["b"].port)
    world.say("b", Reply(b"b"))
    world.backends["b"].on(HEALTH, WELL)
    wait(world, "b", True)
    assert {"a", "b"} == set(world.asked(4))
    log = world.door.new_log()
    assert "can't be reached: Connection refused" in log
    assert "Traceback" not in log


def test_checks_are_no_requests_of_clients_and_end_with_the_proxy(world: World) -> None:
    start(world)
    wait(world, "a", True)
    world.backends["a"].take(HEALTH)
    assert 0 == world.door.metric('gripproxy_backend_requests_total{result="2xx"}')
    assert 0 == world.door.process.stop()
    assert "Traceback" not in world.door.new_log()
    for name in "ab":
        while world.backends[name].waiting(HEALTH):
            world.backends[name].take(HEALTH)
    time.sleep(0.2)
    assert [0, 0] == [world.backends[name].waiting(HEALTH) for name in "ab"]


def test_nothing_is_checked_unless_it_is_asked_for(world: World) -> None:
    world.start()
    assert "a" == world.ask()
    time.sleep(0.2)
    assert [0, 0] == [world.backends[name].waiting(HEALTH) for name in "ab"]


def test_a_reload_begins_and_ends_checks(world: World) -> None:
    """A backend that was down is one like the others where it is not checked any more."""
    world.backends["a"].on(HEALTH, UNWELL)
    start(world)
    wait(world, "a", False)
    file = world.processes.folder / f"door-{world.door.port}.toml"
    checked = file.read_text()

    def reload(text: str) -> None:
        file.write_text(text)
        seen = len(world.door.process.output())
        world.door.process.signal(signal.SIGHUP)
        world.door.process.wait_for_output("reloaded after", seen)

    reload(checked.replace("health_path", "#health_path"))
    assert "aa" == world.asked(2)
    assert "backend_up{" not in metrics(world)
    reload(checked)
    wait(world, "a", False)
    assert "bb" == world.asked(2)


def metrics(world: World) -> str:
    return fetch("127.0.0.1", world.door.control_port, "/metrics").body.decode()
