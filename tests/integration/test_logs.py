"""What stands in the log when much goes wrong: enough to know what, and not a line for each request."""

import json
from typing import Any

import pytest

from tests.integration.door import Door, route, start_door
from tests.integration.processes import Processes
from tests.integration.raw_backend import RawBackend

REQUESTS = 200
WRITTEN = 10


def lines_of(door: Door) -> list[dict[str, Any]]:
    """What the proxy has written, once it has ended."""
    door.process.stop()
    return [json.loads(line) for line in door.process.output().splitlines()]


@pytest.fixture
def dead() -> RawBackend:
    """A backend at which nobody listens."""
    with RawBackend() as backend:
        pass
    return backend


def test_a_backend_that_is_down_costs_few_lines_and_the_last_tells_of_the_others(
    processes: Processes, dead: RawBackend
) -> None:
    toml = "[log]\njson = true\naccess = true\n" + route(dead, "down.test") + route(dead, "another.test")
    door = start_door(processes, toml)
    client = door.connect()
    for _ in range(REQUESTS):
        assert 502 == client.ask("down.test").read_response().status
    assert 502 == client.ask("another.test").read_response().status
    client.close()

    lines = lines_of(door)
    told = [line for line in lines if "can't be reached" in line["message"]]
    ours = [line for line in told if line["route"] == "down.test/"]
    assert WRITTEN + 1 == len(ours)
    assert [None] * WRITTEN + [REQUESTS - WRITTEN] == [line.get("repeats") for line in ours]
    # Each of them says of what and where; another route is not kept quiet.
    for line in ours:
        assert (f"http://127.0.0.1:{dead.port}", 502, "warning") == (line["backend"], line["status"], line["level"])
        assert line["backend"] in line["message"]
    assert "127.0.0.1" == ours[0]["peer"]
    assert 1 == sum(line["route"] == "another.test/" for line in told)
    # The access log is whole.
    served = [line for line in lines if line["logger"] == "gripproxy.access"]
    assert REQUESTS + 1 == len(served)
    assert {("down.test/", "GET", 502), ("another.test/", "GET", 502)} == {
        (line["route"], line["method"], line["status"]) for line in served
    }


def test_all_is_told_where_that_is_wanted(processes: Processes, dead: RawBackend) -> None:
    door = start_door(processes, "[log]\njson = true\nrepeats = 0\n" + route(dead, "down.test"))
    client = door.connect()
    for _ in range(3 * WRITTEN):
        client.ask("down.test").read_response()
    client.close()
    assert 3 * WRITTEN == sum("can't be reached" in line["message"] for line in lines_of(door))


def test_strangers_do_not_fill_the_log(processes: Processes, dead: RawBackend) -> None:
    """However different what they send is."""
    door = start_door(processes, "[log]\njson = true\n" + route(dead, "down.test"))
    for number in range(3 * WRITTEN):
        client = door.connect()
        client.send(b"NONSENSE %d\r\n\r\n" % number)
        client.read_all()
        client.close()
    refused = [line for line in lines_of(door) if "malformed request" in line["message"]]
    assert WRITTEN + 1 == len(refused)
    assert 2 * WRITTEN == refused[-1]["repeats"]
