"""The end of a proxy, its routes that change, and how many clients it takes: each case has a proxy of its own."""

import subprocess
import time

import pytest

from tests.conformance import frames
from tests.conformance.backend import Reply, events, opened
from tests.conformance.case import Case, held, within
from tests.conformance.client import Connection
from tests.conformance.proxies import add_route


@pytest.mark.slow
@pytest.mark.grip("stopping")
def test_stop_answers_long_polls(case: Case) -> None:
    """A proxy that is told to stop answers long-polls with what was held."""
    case.answer(held(case.channel, b"nothing yet", "response"))
    with case.with_another_proxy() as own:
        connection = own.poll()
        own.proxy.terminate()
        assert b"nothing yet" == connection.read_response().body


@pytest.mark.slow
@pytest.mark.grip("stopping")
def test_stop_ends_streams(case: Case) -> None:
    """A proxy that is told to stop ends streams as if they were complete."""
    case.answer(held(case.channel, b"one"))
    with case.with_another_proxy() as own:
        connection = own.stream()
        assert b"one" == connection.read_data(3)
        own.proxy.terminate()
        assert b"" == connection.read_rest()


@pytest.mark.slow
@pytest.mark.grip("stopping")
def test_stop_closes_websockets(case: Case) -> None:
    """A proxy that is told to stop closes WebSockets with a code that says that it goes, and tells the backend."""
    case.answer(opened(), events())
    with case.with_another_proxy() as own:
        connection = own.socket()
        assert b"OPEN\r\n" == own.taken().body
        own.proxy.terminate()
        frame = connection.read_frame()
        assert (frames.CLOSE, True) == (frame.opcode, frame.code in (1001, 1012))
        connection.send_close(frame.code)
        assert own.taken().body.partition(b"\r\n")[0].partition(b" ")[0] in (b"CLOSE", b"DISCONNECT")


@pytest.mark.slow
@pytest.mark.grip("stopping")
def test_stop_has_an_end(case: Case) -> None:
    """A proxy that is told to stop has ended within 15 seconds, although its clients do not end."""
    case.answer(opened(), events())
    case.backend.on(case.path + "/stream", held(case.channel))
    case.backend.on(case.path + "/slow", Reply(before=[case.backend.gate()]))
    with case.with_another_proxy() as own:
        own.socket()
        own.stream("/stream")
        own.ask("/slow")
        own.taken("/slow")
        try:
            own.proxy.terminate().wait(15)
        except subprocess.TimeoutExpired:
            pytest.fail("it runs on")


@pytest.mark.slow
@pytest.mark.grip("request bodies and limits")
def test_clients_are_limited(case: Case) -> None:
    """One client more than there may be is not served while the others are there, and others can be when they left."""
    case.answer(held(case.channel, b"x"))
    with case.with_another_proxy(clients=10) as own:
        settled = time.monotonic() + 10
        connections: list[Connection] = []
        while len(connections) < 10:  # the last connection of the start may still count
            assert time.monotonic() < settled
            connections += [connection for connection in [own.ask()] if is_held(connection)]
        for _ in range(3):
            assert not is_held(own.ask())
        own.say("to all")
        assert [b"xto all"] * 10 == [connection.read_data(1) + connection.read_data(6) for connection in connections]
        connections.pop().close()
        assert within(10, lambda: is_held(own.ask()))


@pytest.mark.slow
@pytest.mark.grip("request bodies and limits")
def test_client_beyond_the_limit_is_told_so(case: Case) -> None:
    """One client more than there may be is answered 503."""
    case.answer(held(case.channel, b"x"))
    with case.with_another_proxy(clients=10) as own:
        connections = [own.ask() for _ in range(15)]
        assert within(5, lambda: any(connection.readable(0) and is_refused(connection) for connection in connections))


@pytest.mark.slow
@pytest.mark.grip("routes")
def test_routes_are_read_again(case: Case) -> None:
    """A route that is added while the proxy runs counts from then on, and disturbs nobody who is held."""
    case.answer(held(case.channel))
    case.backend.on(case.path + "/plain", Reply(b"ok"))
    with case.with_another_proxy() as own:

        def is_routed() -> bool:
            assert b"ok" == own.get("/plain", host="added.test").body
            return own.taken("/plain").values("X-Route") == ["added"]

        stream = own.stream()
        assert not is_routed()
        add_route(own.proxy, f"added.test,header=X-Route:added 127.0.0.1:{case.backend.port}")
        assert within(10, is_routed)
        own.say("still held")
        assert b"still held" == stream.read_data(10)


def is_held(connection: Connection) -> bool:
    """Whether a stream begins within two seconds."""
    try:
        return connection.readable(2) and connection.read_head().status == 200
    except (EOFError, ConnectionError):
        return False


def is_refused(connection: Connection) -> bool:
    """Whether what has come is a 503."""
    try:
        return connection.read_head().status == 503
    except (EOFError, ConnectionError):
        return False
