"""Sessions beyond what Pushpin does alike: limits, bodies that come slowly, realms, a backend's WebSocket."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance import frames
from tests.conformance.backend import Backend, Reply, Upgrade
from tests.conformance.case import Case, held
from tests.conformance.proxies import Proxy
from tests.integration.door import DEADLINE, Door, start_door
from tests.integration.processes import Processes
from tests.integration.scripted import NUMBERS, SETTLING, routes_of
from tests.ports import free_port

REPLAY_MAX = 20_000
AGE = 0.5  # of the hasty house
ROUTES: dict[str, dict[str, object]] = {
    SETTLING: {},
    "session.test": {"session": True},
    "socket.test": {"websocket": "passthrough"},
    "realm.test": {"session": True, "realm": "named"},
    "plain.test": {"session": True, "grip": False},
}
LIMITS = f"""
[limits]
replay_body = {REPLAY_MAX}
sessions = 30
session_last_ids = 3
session_rules = 100

[realms.named]

"""
OK = Reply(b"ok")


@dataclass(slots=True)
class House:
    """A proxy that keeps sessions, and the backend behind it."""

    door: Door
    backend: Backend

    def case(self) -> Case:
        proxy = Proxy("door", ("127.0.0.1", self.door.port), ("127.0.0.1", self.door.control_port))
        return Case(proxy, self.backend, f"session-{next(NUMBERS)}", DEADLINE)

    def drops(self, what: str) -> float:
        return self.door.metric(f'gripproxy_session_drops_total{{what="{what}"}}')


@contextmanager
def started(folder: Path, limits: str) -> Iterator[House]:
    backend = Backend(free_port())
    try:
        with Processes(folder) as processes:
            door = start_door(processes, limits + routes_of(backend.port, ROUTES))
            yield House(door, backend)
            log = door.process.output()
            assert "Traceback" not in log, log
    finally:
        backend.stop()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with started(tmp_path_factory.mktemp("sessions"), LIMITS) as made:
        yield made


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[House]:
    """A house that forgets soon."""
    with started(tmp_path, LIMITS.replace("[limits]", f"[limits]\nsession_age = {AGE}")) as made:
        yield made


@pytest.fixture
def case(house: House) -> Iterator[Case]:
    current = house.case()
    house.door.new_log()
    yield current
    current.close()


def fields(case: Case, *last: str, sid: str = "") -> list[tuple[str, str]]:
    """The fields of a response that name the case's session, a rule that finds it, and its last ids."""
    pairs = (one.split("=") for one in last)
    return [
        ("Grip-Session-Id", sid or case.channel),
        ("Grip-Session-Detect", f"path-prefix={case.path}; sid-ptr=/sid"),
        *(("Grip-Last", f"{channel}; last-id={last_id}") for channel, last_id in pairs),
    ]


def learn(case: Case, *last: str, host: str = "session.test", sid: str = "") -> None:
    case.answer(Reply(b"ok", fields(case, *last, sid=sid)))
    assert b"ok" == case.get(host=host).body
    case.taken()


def body_of(case: Case, size: int = 0, sid: str = "") -> bytes:
    """A body with the case's session, of so many bytes at least."""
    return json.dumps({"fill": "x" * size, "sid": sid or case.channel}).encode()


def told(case: Case, host: str = "session.test", sid: str = "") -> tuple[list[str], set[str]]:
    """What the backend is told of the case's session: its id and last ids."""
    case.answer(OK)
    connection = case.connect().request(case.path, "POST", body=body_of(case, sid=sid), host=host)
    assert 200 == connection.read_response("POST").status
    request = case.taken()
    return request.values("Grip-Session-Id"), request.last_ids


# --- the document


def test_the_exchange_in_the_document(case: Case) -> None:
    """docs/sessions.md: what the backend answers, what the client asks later, and what the backend sees of it."""
    text = (Path(__file__).parents[2] / "docs/sessions.md").read_text()
    response, question, seen = re.findall(r"^```http\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.split(": ", 1) for line in response.splitlines()[1:]]
    case.backend.on("/rooms/1", Reply(b"", [(name, value) for name, value in lines]))
    stream = case.connect().request("/rooms/1", host="session.test")
    assert 200 == stream.read_head().status
    case.publish({"id": "42", "prev-id": "41", "http-stream": {"content": "hello"}}, channel="room-1")
    assert b"hello" == stream.read_data(5)
    stream.close()
    case.backend.on("/rooms/1/wait", OK)
    body = question.partition("\n\n")[2].strip().encode()
    assert (
        b"ok"
        == case.connect().request("/rooms/1/wait", "POST", body=body, host="session.test").read_response("POST").body
    )
    request = case.backend.take("/rooms/1/wait")
    for name in ("Grip-Session-Id", "Grip-Last"):
        assert f"{name}: {request.value(name)}" in seen.splitlines()


# --- bodies


def test_a_body_that_the_client_is_to_be_told_to_send(case: Case) -> None:
    """It is asked for once, before the backend is."""
    learn(case, "a=1")
    body = body_of(case)
    expect = [("Content-Length", str(len(body))), ("Expect", "100-continue")]
    client = case.connect().request(case.path, "POST", expect, host="session.test")
    assert 100 == client.read_head().status
    case.answer(OK)
    client.send(body)
    assert b"ok" == client.read_response("POST").body
    request = case.taken()
    assert (body, [case.channel]) == (request.body, request.values("Grip-Session-Id"))
    assert str(len(body)) == request.value("Content-Length")


@pytest.mark.parametrize(("size", "is_found"), [(REPLAY_MAX - 100, True), (REPLAY_MAX, False), (1_000_000, False)])
def test_a_body_is_looked_at_as_far_as_it_is_kept(house: House, case: Case, size: int, is_found: bool) -> None:
    """A larger one streams through whole."""
    learn(case, "a=1")
    case.answer(OK)
    body = body_of(case, size)
    connection = case.connect().request(case.path, "POST", body=body, host="session.test")
    assert 200 == connection.read_response("POST").status
    request = case.taken()
    assert (body, is_found) == (request.body, bool(request.values("Grip-Session-Id")))
    assert is_found != ("no session is looked for in a body" in house.door.new_log())


@pytest.mark.parametrize("sid", ["a\r\nX-Forged: 1", "a\nX-Forged: 1", "a\0", " a", "x" * 2000])
def test_a_body_cannot_write_fields(case: Case, sid: str) -> None:
    learn(case, "a=1")
    case.answer(OK)
    client = case.connect().request(case.path, "POST", body=body_of(case, sid=sid), host="session.test")
    assert 200 == client.read_response("POST").status
    request = case.taken()
    assert ([], []) == (request.values("Grip-Session-Id"), request.values("X-Forged"))


def test_clients_cannot_name_their_session_in_a_field(case: Case) -> None:
    learn(case, "a=1")
    case.answer(OK)
    case.get(host="session.test", fields=[("Grip-Session-Id", case.channel), ("grip_session_id", "x")])
    request = case.taken()
    assert ([], []) == (request.values("Grip-Session-Id"), request.values("grip_session_id"))


# --- holds


def test_a_websocket_of_the_backends_own(case: Case) -> None:
    """It names its session with the same control message."""
    learn(case)
    case.answer(Upgrade([("Sec-WebSocket-Extensions", "grip")]))
    client = case.connect()
    assert 101 == client.upgrade(case.path, host="socket.test").status
    socket = case.backend.take_socket(case.path)
    for message in ({"type": "subscribe", "channel": case.channel}, {"type": "session", "id": case.channel}):
        socket.send(frames.Frame(frames.TEXT, b"c:" + json.dumps(message).encode()))
    socket.send(frames.Frame(frames.TEXT, b"m:ready"))
    assert "ready" == client.read_text()
    case.tell("one", id="1")
    assert "one" == client.read_text()
    assert ([case.channel], {f"{case.channel}; last-id=1"}) == told(case)


# --- who keeps sessions


def test_realms_are_apart(case: Case) -> None:
    learn(case, "a=1")
    learn(case, "a=2", host="realm.test")
    expected = {"a; last-id=1"}, {"a; last-id=2"}
    assert expected == (told(case)[1], told(case, host="realm.test")[1])


def test_without_grip_nothing_is_learnt(case: Case) -> None:
    """There the fields are ones like others."""
    case.answer(Reply(b"ok", fields(case, "a=1")))
    assert case.channel == case.get(host="plain.test").value("Grip-Session-Id")
    case.taken()
    assert ([], set()) == told(case, host="plain.test")


# --- limits


def test_a_session_without_a_hold_is_forgotten(hasty: House) -> None:
    held_case, case = hasty.case(), hasty.case()
    hold = held(held_case.channel)
    held_case.answer(Reply(hold.body, [*hold.fields, *fields(held_case, "a=1")]))
    held_case.stream(host="session.test")
    held_case.taken()
    learn(case, "a=1")
    time.sleep(AGE + 0.1)
    assert ([case.channel], set()) == told(case)
    assert ([held_case.channel], {"a; last-id=1"}) == told(held_case)
    assert (1, 1) == (hasty.drops("age"), hasty.door.metric("gripproxy_sessions"))
    held_case.close()
    case.close()


def test_the_oldest_last_id_makes_room(house: House, case: Case) -> None:
    before = house.drops("last-id")
    learn(case, "a=1", "b=1", "c=1", "d=1")
    assert {"b; last-id=1", "c; last-id=1", "d; last-id=1"} == told(case)[1]
    assert before + 1 == house.drops("last-id")
    assert "a session has more last ids than limits.session_last_ids" in house.door.new_log()


def test_the_session_used_longest_ago_makes_room(house: House, case: Case) -> None:
    before = house.drops("session")
    for number in range(31):
        learn(case, f"a={number}", sid=f"{case.channel}-{number}")
    assert ([f"{case.channel}-0"], set()) == told(case, sid=f"{case.channel}-0")
    assert {"a; last-id=30"} == told(case, sid=f"{case.channel}-30")[1]
    assert house.drops("session") > before
    assert "there are more sessions than limits.sessions" in house.door.new_log()
    assert 30 == house.door.metric("gripproxy_sessions")


def test_the_rule_used_longest_ago_makes_room(house: House, case: Case) -> None:
    learn(case, "a=1")
    before = house.drops("rule")
    rules = ", ".join(f"path-prefix=/{number}; sid-ptr=/sid" for number in range(100))
    case.answer(Reply(b"ok", [("Grip-Session-Detect", rules)]))
    case.get(host="session.test")
    case.taken()
    assert ([], set()) == told(case)
    assert house.drops("rule") > before
    assert "realm default has more rules for sessions than limits.session_rules" in house.door.new_log()
