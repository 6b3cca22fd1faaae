"""A backend's own WebSocket as the leg of a client: frames go over, GRIP is done, and each side ends with the other."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.events import Event as PeerEvent

from gripproxy.backend import Upgraded
from gripproxy.grip import wire
from gripproxy.routes import Target
from gripproxy.transports.frames import FRAMES_MAX
from gripproxy.transports.passthrough import UNSENT_MAX, UNSENT_WAIT, Passthrough
from gripproxy.transports.websocket import CLOSE_LINGER
from tests.unit.transports.websocket_fakes import FakeTransport, Stage, client_frame

GRIP = ((b"Sec-WebSocket-Extensions", b"grip"), (b"X-Own", b"1"))


class Relay(Stage):
    """A client's WebSocket and a backend's; `heard` are the events that reached the backend."""

    def __init__(self, fields: tuple[tuple[bytes, bytes], ...] = (), received: bytes = b"", **route: str) -> None:
        super().__init__(**route)
        self.peer = FakeTransport()
        self._reader = Connection(ConnectionType.SERVER)
        upgraded = Upgraded(self.peer, fields, received, Target("http", "127.0.0.1", 1))  # type: ignore[arg-type]
        self.passthrough = Passthrough(upgraded, 1000, "http://example.com/x", is_grip=True)
        self.holds.open.clear()
        self.hold = self.hold_with(self.passthrough)
        assert not self.peer.is_reading()
        self.passthrough.begin(self.hold, received)

    def says(self, data: bytes) -> None:
        """The backend sends."""
        self.passthrough.data_received(data)

    def heard(self) -> list[PeerEvent]:
        self._reader.receive_data(self.peer.take())
        return list(self._reader.events())


def control(**members: object) -> bytes:
    return wire.frame(wire.TEXT, b"c:" + json.dumps(members).encode())


def test_messages_go_over_in_both_directions() -> None:
    relay = Relay()
    assert relay.peer.is_reading()
    relay.hold.data_received(
        client_frame(wire.TEXT, "hé".encode()) + client_frame(wire.BINARY, b"\xff") + client_frame(wire.PONG, b"p")
    )
    assert [TextMessage("hé"), BytesMessage(b"\xff"), Pong(b"p")] == relay.heard()
    frames = wire.frame(wire.TEXT, b"m:a") + wire.frame(wire.BINARY, b"c:b") + wire.frame(wire.PING, b"q")
    relay.says(frames)
    assert frames == relay.transport.take()


def test_what_came_with_the_101_is_relayed_first() -> None:
    relay = Relay(received=wire.frame(wire.TEXT, b"early"))
    relay.says(wire.frame(wire.TEXT, b"later"))
    assert wire.frame(wire.TEXT, b"early") + wire.frame(wire.TEXT, b"later") == relay.transport.take()


def test_public_fields_are_the_clients() -> None:
    assert ((b"X-Own", b"1"),) == Relay(GRIP).passthrough.fields


def test_grip_on_the_backends_socket() -> None:
    relay = Relay(GRIP)
    relay.says(
        control(type="subscribe", channel="a")
        + wire.frame(wire.TEXT, b"c:{")
        + wire.frame(wire.TEXT, b"no prefix")
        + wire.frame(wire.TEXT, b"m:text")
        + wire.frame(wire.BINARY, b"m:\xff")
    )
    assert wire.frame(wire.TEXT, b"text") + wire.frame(wire.BINARY, b"\xff") == relay.transport.take()
    relay.publish("a", b"published")
    assert wire.frame(wire.TEXT, b"published") == relay.transport.take()


@pytest.mark.parametrize("answers", [True, False])
def test_ping_has_one_pong(answers: bool) -> None:
    relay = Relay()
    relay.hold.data_received(client_frame(wire.PING, b"x"))
    assert [Ping(b"x")] == relay.heard()
    if answers:
        relay.says(wire.frame(wire.PONG, b"x"))
    assert wire.frame(wire.PONG, b"x") == relay.transport.take()
    relay.hold.refresh()


def test_client_closes() -> None:
    relay = Relay()
    relay.hold.data_received(client_frame(wire.CLOSE, b"\x0f\xa0bye"))
    assert [CloseConnection(4000, "bye")] == relay.heard()
    assert b"" == relay.transport.take()
    relay.says(wire.close_frame(4000, "bye"))
    assert wire.close_frame(4000, "bye") == relay.transport.take()
    assert ("close", "close") == (relay.transport.ended_by, relay.peer.ended_by)


def test_backend_closes() -> None:
    relay = Relay()
    relay.says(wire.close_frame(4001, "why"))
    assert [CloseConnection(4001, "why")] == relay.heard()
    assert wire.close_frame(4001, "why") == relay.transport.take()
    assert "close" == relay.peer.ended_by
    relay.hold.data_received(client_frame(wire.CLOSE, b"\x0f\xa1"))
    assert "close" == relay.transport.ended_by


def test_published_close_ends_both_sides() -> None:
    relay = Relay(GRIP)
    relay.says(control(type="subscribe", channel="a"))
    relay.publish("a", action="close", code=4000, reason="over")
    assert wire.close_frame(4000, "over") == relay.transport.take()
    assert [CloseConnection(1000, "")] == relay.heard()
    relay.says(wire.close_frame(1000))
    assert "close" == relay.peer.ended_by


def test_lost_client_is_the_end_of_the_backends_connection() -> None:
    relay = Relay()
    relay.transport.lose()
    assert "close" == relay.peer.ended_by
    assert None is relay.passthrough.hold
    relay.says(wire.frame(wire.TEXT, b"late"))
    relay.passthrough.connection_lost(None)
    assert ["left"] == relay.ends


def test_backend_is_given_what_its_lost_client_has_sent_but_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        relay = Relay()
        relay.hold.data_received(client_frame(wire.TEXT, b"last words"))
        relay.peer.unsent = 1
        relay.transport.lose()
        assert ([TextMessage("last words")], "close") == (relay.heard(), relay.peer.ended_by)
        loop = asyncio.get_running_loop()
        later = loop.time() + CLOSE_LINGER
        monkeypatch.setattr(loop, "time", lambda: later)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert "abort" == relay.peer.ended_by

    asyncio.run(scene())


def test_what_is_over_is_freed_at_once() -> None:
    """Thousands of WebSockets that end leave nothing to the collector, which does not look at what was long-lived."""
    gc.disable()
    try:
        relay = Relay()
        relay.says(wire.frame(wire.TEXT, b"a"))
        relay.hold.data_received(client_frame(wire.TEXT, b"a", first=0))
        parts = (relay.hold._frames._parser, relay.passthrough._frames._parser, relay.passthrough._writer)  # type: ignore[union-attr]
        left = [weakref.ref(part._proto) for part in parts]
        del parts
        relay.transport.lose()
        relay.passthrough.connection_lost(None)
        del relay.passthrough, relay.hold.leg, relay.peer
        assert [None, None, None] == [one() for one in left]
    finally:
        gc.enable()


def test_lost_backend_is_1011() -> None:
    relay = Relay()
    relay.passthrough.eof_received()
    relay.passthrough.connection_lost(None)
    assert wire.close_frame(1011, "backend lost") == relay.transport.take()
    relay.transport.lose()
    assert ["backend"] == relay.ends


def test_backend_that_breaks_the_protocol_is_1011() -> None:
    relay = Relay()
    relay.says(wire.frame(wire.TEXT, b"before") + b"\x83\x00")
    assert wire.frame(wire.TEXT, b"before") + wire.close_frame(1011, "backend failed") == relay.transport.take()
    assert "close" == relay.peer.ended_by


def test_detach_keeps_the_client() -> None:
    relay = Relay(GRIP)
    relay.says(control(type="subscribe", channel="a") + control(type="detach") + wire.frame(wire.TEXT, b"m:late"))
    assert [CloseConnection(1000, "")] == relay.heard()
    assert "close" == relay.peer.ended_by
    relay.passthrough.connection_lost(None)
    relay.publish("a", b"published")
    assert wire.frame(wire.TEXT, b"published") == relay.transport.take()


def test_backend_is_not_read_while_the_client_has_much_to_read() -> None:
    relay = Relay()
    relay.transport.unsent = UNSENT_MAX + 1
    relay.says(wire.frame(wire.TEXT, b"a"))
    assert not relay.peer.is_reading()
    relay.wheel.advance(10 * UNSENT_WAIT)
    assert not relay.peer.is_reading()
    relay.transport.unsent = 0
    relay.wheel.advance(2 * UNSENT_WAIT)
    assert relay.peer.is_reading()
    assert {} == relay.wheel.timers


def test_many_frames_at_once_are_relayed_in_many_turns() -> None:
    """A backend has the loop no longer than a client."""

    async def scene() -> None:
        relay = Relay()
        text = wire.frame(wire.TEXT, b"a")
        relay.says(text * (FRAMES_MAX + 1))
        assert (text * FRAMES_MAX, False) == (relay.transport.take(), relay.peer.is_reading())
        relay.transport.unsent = UNSENT_MAX + 1
        await asyncio.sleep(0)
        assert (text, False) == (relay.transport.take(), relay.peer.is_reading())
        relay.transport.unsent = 0
        relay.wheel.advance(2 * UNSENT_WAIT)
        assert relay.peer.is_reading()
        relay.says(text * (2 * FRAMES_MAX))
        relay.hold.close(1000)
        relay.passthrough.connection_lost(None)
        await asyncio.sleep(0)

    asyncio.run(scene())


def test_client_is_not_read_while_the_backend_takes_nothing() -> None:
    relay = Relay()
    relay.passthrough.pause_writing()
    relay.hold.data_received(client_frame(wire.TEXT, b"a"))
    assert not relay.transport.is_reading()
    relay.passthrough.resume_writing()
    assert relay.transport.is_reading()


def test_detached_client_is_read_even_if_the_backend_took_nothing() -> None:
    """Or its pings would not be answered, and its close not seen."""
    relay = Relay(GRIP)
    relay.passthrough.pause_writing()
    relay.hold.data_received(client_frame(wire.TEXT, b"a"))
    relay.says(control(type="detach"))
    assert relay.transport.is_reading()
    relay.passthrough.connection_lost(None)
    relay.hold.data_received(client_frame(wire.PING))
    assert relay.transport.is_reading()


def test_backend_that_has_gone_is_not_written_to() -> None:
    relay = Relay()
    relay.peer.ended_by = "peer"
    relay.hold.data_received(client_frame(wire.TEXT, b"a"))
    assert b"" == relay.peer.written
