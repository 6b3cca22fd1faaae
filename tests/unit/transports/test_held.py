"""Connections that aiohttp does not serve: what the client sends meanwhile, and how it gets them back."""

from typing import Any

from gripproxy.transports.held import Held, Idle
from tests.unit.transports.connection_fakes import GET, OK, answer, connect, run, turn


def test_a_connection_that_is_given_back() -> None:
    """What the client sent while it was held is its next request, and more may follow."""

    async def test() -> None:
        server, transport = connect(answer)
        transport.protocol.data_received(GET % 1)
        await turn()
        held = Held(server, transport.protocol.detach())
        await turn()
        held.data_received((GET % 2)[:9])
        held.data_received((GET % 2)[9:])
        assert OK == transport.written
        assert held.has_received
        held.give_back()
        await turn()
        assert OK * 2 == transport.written
        transport.protocol.data_received(GET % 3)
        await turn()
        assert (OK * 3, "") == (transport.written, transport.ending)
        held.give_back()  # it has nothing any more
        assert (None, OK * 3) == (held.connection, transport.written)

    run(test())


def test_a_client_that_sends_too_much_while_it_is_held_is_not_read() -> None:
    async def test() -> None:
        server, transport = connect(answer)
        await turn()
        held = Held(server, transport.protocol.detach())
        held.data_received(b"x" * 65_536)
        assert not transport.is_paused
        held.data_received(b"x")
        assert transport.is_paused
        held.give_back()
        assert not transport.is_paused

    run(test())


class Wheel:
    """A wheel that turns never."""

    def __init__(self) -> None:
        self.timers: dict[Any, float] = {}

    def set(self, held: Any, seconds: float) -> None:
        self.timers[held] = seconds

    def drop(self, held: Any) -> None:
        self.timers.pop(held, None)


def test_an_idle_connection() -> None:
    """It is given back with the client's next bytes, or closed when it is due."""

    async def test() -> None:
        wheel = Wheel()
        server, transport = connect(answer)
        await turn()
        idle = Idle(server, transport.protocol.detach(), wheel, 75.0)
        assert {idle: 75.0} == wheel.timers
        transport.protocol.data_received(GET % 1)
        await turn()
        assert (OK, {}) == (transport.written, wheel.timers)
        idle = Idle(server, transport.protocol.detach(), wheel, 75.0)
        idle.on_due()
        await turn()
        assert ("closed", {}) == (transport.ending, wheel.timers)

    run(test())
