"""How WebSockets end: closing handshakes of both sides, lost clients, failing backends, and the proxy's own end."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import jwt
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.conformance import frames
from tests.conformance.backend import RESET, Backend, Reply, Request, Upgrade, control, events, opened
from tests.conformance.case import Case
from tests.conformance.client import Connection
from tests.integration.processes import Process, Processes
from tests.integration.websocket.conftest import ROOT, SIG_KEY, accepting, echo, start
from tests.ports import free_port

PASSTHROUGH = "passthrough.test"


def url(case: Case) -> str:
    host, port = case.proxy.client
    return f"ws://{host}:{port}{case.path}"


def opened_at(case: Case, host: str | None = None) -> Connection:
    """An open WebSocket; the opening request is taken out."""
    connection = case.connect()
    assert 101 == connection.upgrade(case.path, host=host).status
    if host is None:
        case.taken()
    return connection


def closing(reason: bytes | None) -> Reply:
    return events("CLOSE" if reason is None else ("CLOSE", reason))


# --- closing handshakes


@pytest.mark.parametrize(
    ("ours", "payload"),
    [((1000, ""), b"\x03\xe8"), ((4000, "enough \u20ac"), b"\x0f\xa0enough \xe2\x82\xac"), ((3999, ""), b"\x0f\x9f")],
)
def test_library_closes_and_gets_its_own_code_back(case: Case, ours: tuple[int, str], payload: bytes) -> None:
    """Backends answer with code 0, which means no code; the client gets its own."""
    case.answer(opened(), closing(b"\0\0"))
    with connect(url(case)) as client:
        client.close(*ours)
    assert ours[0] == client.close_code
    case.taken()
    assert b"CLOSE %x\r\n%b\r\n" % (len(payload), payload) == case.taken().body
    time.sleep(0.2)
    assert 0 == case.backend.waiting(case.path)


@pytest.mark.parametrize("host", [None, PASSTHROUGH])
def test_client_that_sends_nothing_behind_its_close_gets_the_answer(case: Case, host: str | None) -> None:
    """It may end its half of the connection with the Close frame (RFC 6455 7.1.1)."""
    gate = case.backend.gate()
    case.answer(Upgrade() if host else opened(), Reply(closing(b"\x03\xe8").body, closing(None).fields, before=[gate]))
    connection = opened_at(case, host)
    connection.send_close(4000, "bye")
    connection.end_half()
    if host:
        peer = case.backend.take_socket(case.path)
        assert frames.close(4000, "bye") == peer.receive()
        peer.send(frames.close(1000))
    else:
        case.taken()
        gate.open()
    assert frames.close(1000) == connection.read_frame()
    assert connection.ended()


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [(None, 1000, ""), (b"\0\0", 1000, ""), (b"\x0f\xa0bye", 4000, "bye"), (b"\x03\xed", 1000, ""), (b"x", 1000, "")],
    ids=["none", "zero", "4000", "reserved", "one-byte"],
)
def test_backend_closes(case: Case, payload: bytes | None, code: int, reason: str) -> None:
    """A library sees a clean end with the backend's code; codes that must not be sent are 1000."""
    case.answer(opened(), closing(payload), events())
    with connect(url(case)) as client:
        client.send("a")
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(5)
    assert closed.value.rcvd is not None
    assert (code, reason) == (closed.value.rcvd.code, closed.value.rcvd.reason)
    case.taken()
    case.taken()
    assert b"CLOSE" == case.taken().body[:5]


def test_closes_of_both_sides_cross(case: Case) -> None:
    """Both close at the same time: each close is the other's answer, and nobody is told anything more."""
    gate = case.backend.gate()
    case.answer(opened(), Reply(closing(b"\x0f\xa1").body, events().fields, before=[gate]), events())
    connection = opened_at(case)
    connection.send_text("a")
    case.taken()
    connection.send_close(4000, "mine")
    time.sleep(0.1)
    gate.open()
    assert frames.close(4001) == connection.read_frame()
    assert connection.ended()
    assert b"CLOSE 6\r\n\x0f\xa0mine\r\n" == case.taken().body


def test_backend_that_does_not_answer_a_close(case: Case) -> None:
    """The client gets its answer all the same, after five seconds at the latest."""
    gate = case.backend.gate()
    case.answer(Upgrade(), opened(), Reply(b"", events().fields, before=[gate]), events())
    connections = [opened_at(case, PASSTHROUGH), opened_at(case)]
    for connection in connections:
        connection.send_close(4000, "mine")
    for connection in connections:
        assert 4000 == connection.read_frame().code
        assert connection.ended()
    gate.open()


def test_client_that_does_not_answer_a_close_is_cut(case: Case) -> None:
    """Five seconds after the Close frame the connection is over."""
    case.answer(Upgrade(), opened(), closing(b"\x03\xe8"), events())
    connections = [opened_at(case, PASSTHROUGH), opened_at(case)]
    case.backend.take_socket(case.path).send(frames.close(1000))
    connections[1].send_text("a")
    for connection in connections:
        assert 1000 == connection.read_frame().code
    for connection in connections:
        assert connection.ended()
    case.taken()
    assert b"DISCONNECT\r\n" == case.taken().body


def test_published_close_tells_both_sides(case: Case) -> None:
    """The client gets code and reason, the backend a CLOSE, and after the handshake nobody anything more."""
    case.answer(accepting(control(type="subscribe", channel=case.channel)))
    connection = opened_at(case)
    case.settle()
    case.publish({"ws-message": {"action": "close", "code": 4002, "reason": "over"}})
    assert frames.close(4002, "over") == connection.read_frame()
    connection.send_close(4002)
    assert connection.ended()
    assert b"CLOSE\r\n" == case.taken().body


# --- lost clients


@pytest.mark.parametrize("how", ["reset", "close"])
def test_lost_client_is_reported_behind_its_messages(case: Case, how: str) -> None:
    """DISCONNECT comes alone, after everything that the client has sent, with a Grip-Sig that is good."""
    gate = case.backend.gate()
    case.answer(opened(), Reply(b"", events().fields, before=[gate]), events())
    connection = opened_at(case)
    connection.send_text("a")
    case.taken()
    connection.send_text("b")
    time.sleep(0.1)
    getattr(connection, how)()
    time.sleep(0.1)
    gate.open()
    assert b"TEXT 1\r\nb\r\n" == case.taken().body
    last = case.taken()
    assert b"DISCONNECT\r\n" == last.body
    token = last.value("Grip-Sig")
    assert token is not None
    assert time.time() < jwt.decode(token, SIG_KEY, ["HS256"])["exp"]


def test_many_lost_clients_are_all_reported(case: Case) -> None:
    """Each of them, though they leave in one moment."""
    case.answer(accepting())
    connections = [opened_at(case) for _ in range(200)]
    for connection in connections:
        connection.reset()
    ids = {request.value("Connection-Id") for request in (case.taken() for _ in connections)}
    assert 200 == len(ids)


# --- failing backends


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Reply(b"", status=500), "backend answered 500"),
        (Reply(b"", status=404), "backend answered 404"),
        (Reply(b"x", [("Content-Type", "text/html")]), "backend answered Content-Type 'text/html'"),
        (events(("TEXT", b"m:\xff")), "text content is not UTF-8 at offset 0"),
    ],
    ids=["500", "404", "html", "text"],
)
def test_wrong_answer_closes_with_1011_and_a_reason(case: Case, answer: Reply, reason: str) -> None:
    """The client learns what was wrong, and the backend that the client has gone."""
    case.answer(opened(), answer, events())
    connection = opened_at(case)
    connection.send_text("a")
    assert frames.close(1011, reason) == connection.read_frame()
    connection.send_close(1011)
    assert connection.ended()
    case.taken()
    assert b"DISCONNECT\r\n" == case.taken().body


@pytest.mark.parametrize(
    "failure",
    [Reply(b"", status=502), Reply(b"", status=503), Reply(b"", status=504), Reply([RESET], raw=True)],
    ids=["502", "503", "504", "reset"],
)
def test_passing_failure_is_not_the_clients_end(case: Case, failure: Reply) -> None:
    """The same events are sent again, with a second's pause, and the conversation goes on."""
    case.answer(opened(), failure, echo)
    connection = opened_at(case)
    connection.send_text("a")
    assert b"TEXT 1\r\na\r\n" == case.taken().body
    connection.send_text("b")
    again = case.taken()
    assert b"TEXT 1\r\na\r\n" == again.body
    assert again.value("Grip-Sig")
    assert ["a", "b"] == [connection.read_text(), connection.read_text()]


def echo_backend(processes: Processes, port: int) -> Process:
    command = (sys.executable, "-m", "tests.autobahn.echo", str(port), str(free_port()))
    return processes.start("echo", *command, environment={"PYTHONPATH": str(ROOT)}, ports=[port])


def test_killed_backend_comes_back_and_the_sessions_live(tmp_path: Path) -> None:
    """kill -9 in mid-session: what is sent meanwhile is echoed by the new process."""
    port = free_port()
    with Processes(tmp_path) as processes:
        proxy = start(processes, port, free_port())
        backend = echo_backend(processes, port)
        host, listen = proxy.client
        with connect(f"ws://{host}:{listen}/") as first, connect(f"ws://{host}:{listen}/") as second:
            for client in (first, second):
                client.send("before")
                assert "before" == client.recv(5)
            backend.signal(signal.SIGKILL)
            backend.wait()
            for client in (first, second):
                client.send("one")
                client.send("two")
            echo_backend(processes, port)
            for client in (first, second):
                assert ["one", "two"] == [client.recv(10), client.recv(10)]


def test_backend_that_leaves_a_real_websocket(case: Case) -> None:
    """Passthrough has nothing to repeat: the client is closed with 1011."""
    case.answer(Upgrade())
    connection = opened_at(case, PASSTHROUGH)
    peer = case.backend.take_socket(case.path)
    peer._loop.call_soon_threadsafe(peer._writer.transport.abort)
    assert frames.close(1011, "backend lost") == connection.read_frame()


def test_backend_that_breaks_the_protocol_of_a_real_websocket(case: Case) -> None:
    case.answer(Upgrade())
    connection = opened_at(case, PASSTHROUGH)
    case.backend.take_socket(case.path).send(frames.Frame(3))
    assert frames.close(1011, "backend failed") == connection.read_frame()


# --- a client that breaks the protocol


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x01a", 1002),  # not masked
        (b"\xf1\x80\0\0\0\0", 1002),  # reserved bits
        (b"\x81\x81\0\0\0\0\xff", 1007),  # not UTF-8
        (b"\x88\x82\0\0\0\0\x03\xed", 1002),  # close code 1005
        (b"GET / HTTP/1.1\r\n\r\n", 1002),
    ],
)
def test_broken_rule_ends_the_connection(case: Case, data: bytes, code: int) -> None:
    """What was said before it is heard; then the client is told why and not listened to any more."""
    case.answer(accepting())
    connection = opened_at(case)
    connection.send_text("before")
    case.taken()
    connection.send(data)
    assert code == connection.read_frame().code
    assert connection.ended()
    connection.send(data * 10)
    assert b"DISCONNECT\r\n" == case.taken().body


# --- the end of the proxy


def test_proxy_that_stops_says_so_to_both_sides(tmp_path: Path, backend: Backend) -> None:
    """SIGTERM: clients are closed with 1012, backends get DISCONNECT or a Close, and the process ends in order."""
    requests: list[Request] = []

    def script(request: Request) -> Reply:
        requests.append(request)
        return echo(request)

    backend.on("/stop", script)
    backend.on("/stop-real", Upgrade())
    with Processes(tmp_path) as processes:
        proxy = start(processes, backend.port, free_port())
        clients = [Connection(*proxy.client) for _ in range(3)]
        for client in clients[:2]:
            assert 101 == client.upgrade("/stop").status
        assert 101 == clients[2].upgrade("/stop-real", host=PASSTHROUGH).status
        peer = backend.take_socket("/stop-real")
        process = processes.started[0]
        process.signal(signal.SIGTERM)
        for client in clients:
            assert frames.close(1012, "shutdown") == client.read_frame()
            client.send_close(1012)
            assert client.ended()
            client.close()
        assert 0 == process.wait()
        assert peer.receive() in (None, frames.close(1001))
    assert 2 == [request.body for request in requests].count(b"DISCONNECT\r\n")
    assert all(request.value("Grip-Sig") for request in requests)


def test_proxy_that_stops_does_not_wait_for_clients_that_do_not_answer(tmp_path: Path, backend: Backend) -> None:
    backend.on("/stop", echo)
    with Processes(tmp_path) as processes:
        proxy = start(processes, backend.port, free_port())
        client = Connection(*proxy.client)
        assert 101 == client.upgrade("/stop").status
        process = processes.started[0]
        process.signal(signal.SIGTERM)
        try:
            assert 0 == process.wait(15)
        except subprocess.TimeoutExpired:
            pytest.fail("it did not end")
        assert frames.close(1012, "shutdown") == client.read_frame()
        client.close()
