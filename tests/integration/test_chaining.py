"""Two proxies in a row: the one in front holds, the one behind trusts its signature and hands everything through."""

from __future__ import annotations

from collections.abc import Iterator

import jwt
import pytest

from tests.conformance import proxies
from tests.conformance.backend import Backend, Reply, Request, Upgrade, control, event, events, opened
from tests.conformance.case import Case, held
from tests.conformance.client import Connection
from tests.conformance.frames import TEXT, Frame
from tests.integration.door import DEADLINE, Door, start_door, toml_value
from tests.integration.processes import Processes
from tests.integration.scripted import NUMBERS, SETTLING, routes_of
from tests.ports import free_port

KEY = "what the one in front signs with, long enough"
INNER_KEY = "what the one behind signs with, long enough"
EVENTS = [("Content-Type", "application/websocket-events")]

# What the one in front does with WebSockets, by host: the one behind gets requests with events, or a WebSocket.
OUTER: dict[str, dict[str, object]] = {
    "http.test": {},
    "http-relay.test": {},
    "relay.test": {"websocket": "passthrough"},
    "relay-http.test": {"websocket": "passthrough"},
    SETTLING: {},
}
# What the one behind does with them.
INNER: dict[str, dict[str, object]] = {
    host: {"upstream_key": KEY, "websocket": inner}
    for host, inner in {
        "http.test": "over-http",
        "http-relay.test": "passthrough",
        "relay.test": "passthrough",
        "relay-http.test": "over-http",
        SETTLING: "over-http",
    }.items()
}


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    server = Backend(free_port())
    yield server
    server.stop()


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Iterator[tuple[Door, Door]]:
    """The proxy in front and the one behind it."""
    with Processes(tmp_path_factory.mktemp("chain")) as processes:
        realm = f"[realms.default]\nsig_key = {toml_value(INNER_KEY)}\nsig_iss = 'inner'\n\n"
        inner = start_door(processes, realm + routes_of(backend.port, INNER))
        realm = f"[realms.default]\nsig_key = {toml_value(KEY)}\nsig_iss = 'outer'\n\n"
        outer = start_door(processes, realm + routes_of(inner.port, OUTER))
        yield outer, inner
        logs = outer.process.output() + inner.process.output()
        assert "Traceback" not in logs, logs


def case_at(door: Door, backend: Backend) -> Iterator[Case]:
    address = proxies.Proxy("door", ("127.0.0.1", door.port), ("127.0.0.1", door.control_port))
    case = Case(address, backend, f"chain-{next(NUMBERS)}", DEADLINE)
    yield case
    case.close()


@pytest.fixture
def case(doors: tuple[Door, Door], backend: Backend) -> Iterator[Case]:
    """A case whose clients and publishers are at the proxy in front."""
    yield from case_at(doors[0], backend)


@pytest.fixture
def inner(doors: tuple[Door, Door], backend: Backend) -> Iterator[Case]:
    """A case whose clients reach the proxy behind directly."""
    yield from case_at(doors[1], backend)


def signed(key: str = KEY, expiry: int = 4_000_000_000) -> tuple[str, str]:
    return "Grip-Sig", jwt.encode({"iss": "anyone", "exp": expiry}, key, algorithm="HS256")


def issuer(request: Request) -> object:
    """Who signed a request; it is signed once."""
    (token,) = request.values("Grip-Sig")
    return jwt.decode(token, options={"verify_signature": False})["iss"]


def test_the_signature_of_the_one_in_front_reaches_the_backend(case: Case) -> None:
    case.answer(Reply(b"ok"))
    assert b"ok" == case.get(host="http.test").body
    seen = case.taken()
    assert ("outer", 1) == (issuer(seen), len(seen.values("Grip-Feature")))


@pytest.mark.parametrize("mode", ["stream", "response"])
def test_the_one_in_front_holds(case: Case, inner: Case, mode: str) -> None:
    """What is published at the one behind reaches nobody: it holds nothing."""
    case.answer(held("chained", mode=mode))
    connection = case.ask(host="http.test")
    case.taken()
    case.settle()
    for one, text in ((inner, "behind"), (case, "before")):
        one.publish({"http-stream": {"content": text}, "http-response": {"body": text}}, channel="chained")
    response = connection.read_head()
    assert 200 == response.status
    assert b"before" == connection.read_data(6)


def test_json_instructions_reach_the_one_in_front(case: Case) -> None:
    body = b'{"hold": {"mode": "stream", "channels": [{"name": "json"}]}, "response": {"body": "begin "}}'
    case.answer(Reply(body, [("Content-Type", "application/grip-instruct")]))
    connection = case.ask(host="http.test")
    connection.read_head()
    assert b"begin " == connection.read_data(6)
    case.say("more", channel="json")
    assert b"more" == connection.read_data(4)


def test_a_replay_carries_the_last_id_through(case: Case) -> None:
    case.answer(held("reliable; prev-id=1", mode="response"), Reply(b"news"))
    connection = case.ask(host="http.test")
    case.taken()
    case.settle()
    case.publish({"id": "3", "prev-id": "2", "http-response": {"action": "hint"}}, channel="reliable")
    assert b"news" == connection.read_response().body
    assert {"reliable; last-id=1"} == case.taken().last_ids


def open_socket(case: Case, host: str) -> Connection:
    connection = case.connect()
    head = connection.upgrade(case.path, host=host)
    assert (101, None) == (head.status, head.value("Sec-WebSocket-Extensions"))
    return connection


@pytest.mark.parametrize("host", ["http.test", "relay-http.test"])
def test_websocket_of_a_backend_of_requests(case: Case, inner: Case, host: str) -> None:
    """Control messages and prefixes reach the one in front, whichever of the two makes requests of the WebSocket."""
    greeting = opened(control(type="subscribe", channel="ws"), ("TEXT", "m:ready"))
    case.answer(greeting, lambda request: events(("TEXT", "m:" + request.body.decode().splitlines()[1])))
    connection = open_socket(case, host)
    assert "ready" == connection.read_text()
    assert "outer" == issuer(case.taken())
    connection.send_text("echo")
    assert "echo" == connection.read_text()
    inner.tell("behind", channel="ws")
    case.tell("before", channel="ws")
    assert "before" == connection.read_text()


def test_websocket_of_a_backend_of_websockets(case: Case, inner: Case) -> None:
    case.answer(Upgrade([("Sec-WebSocket-Extensions", 'grip; message-prefix="x:"')]))
    connection = open_socket(case, "relay.test")
    socket = case.backend.take_socket(case.path)
    assert (["grip"], "outer") == (socket.request.values("Sec-WebSocket-Extensions"), issuer(socket.request))
    socket.send(Frame(TEXT, b'c:{"type": "subscribe", "channel": "relayed"}'))
    socket.send(Frame(TEXT, b"x:ready"))
    assert "ready" == connection.read_text()
    inner.tell("behind", channel="relayed")
    case.tell("before", channel="relayed")
    assert "before" == connection.read_text()


def test_events_reach_a_backend_of_websockets_as_they_are(case: Case) -> None:
    """The setting of the one behind is for clients; what the one in front posts is handed through."""
    case.answer(opened(("TEXT", "m:ready")))
    assert "ready" == open_socket(case, "http-relay.test").read_text()
    assert b"OPEN\r\n" == case.taken().body


# Who is trusted


def test_whoever_signs_may_post_events(inner: Case) -> None:
    inner.answer(opened())
    response = inner.get(method="POST", host="http.test", fields=[*EVENTS, signed()], body=event("OPEN"))
    assert (200, b"OPEN\r\n", "grip") == (response.status, response.body, response.value("Sec-WebSocket-Extensions"))


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [signed("some other key that is long enough, too")],
        [signed(expiry=1)],
        [("Grip-Sig", "")],
        [("Grip-Sig", "a.b.c")],
        [("Grip-Sig", "\xff\xfe")],
        [signed(), signed()],
    ],
    ids=["unsigned", "other-key", "expired", "empty", "no-token", "no-text", "twice"],
)
def test_others_are_clients(inner: Case, fields: list[tuple[str, str]]) -> None:
    """Their Grip fields are replaced, instructions obeyed, and their events refused."""
    inner.answer(held("direct", b"held"))
    connection = inner.ask(host="http.test", fields=[*fields, ("Grip-Last", "direct; last-id=1")])
    assert None is connection.read_head().value("Grip-Hold")
    seen = inner.taken()
    assert ("inner", []) == (issuer(seen), seen.values("Grip-Last"))
    refused = inner.get(method="POST", host="http.test", fields=[*EVENTS, *fields], body=event("OPEN"))
    expected = (403, b"Client not allowed to send WebSocket events directly.\n")
    assert expected == (refused.status, refused.body)
    assert 0 == inner.backend.waiting(inner.path)


@pytest.mark.parametrize("kind", ["application/websocket-events", "Application/WebSocket-Events; charset=utf-8"])
def test_events_of_clients_are_refused_however_they_are_named(inner: Case, kind: str) -> None:
    inner.answer(opened())
    response = inner.get(method="POST", host="http.test", fields=[("Content-Type", kind)], body=event("OPEN"))
    assert 403 == response.status


def test_events_of_clients_mean_nothing_to_a_backend_of_websockets(inner: Case) -> None:
    inner.answer(Reply(b"ok"))
    assert 200 == inner.get(method="POST", host="relay.test", fields=EVENTS, body=event("OPEN")).status
