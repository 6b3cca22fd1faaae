"""What surrounds a held WebSocket, without sockets and clocks: a transport, a wheel, a loop for the hub, a leg."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

from gripproxy.config import Config, Limits, Route
from gripproxy.grip.events import Event
from gripproxy.grip.item import Item, WsMessage
from gripproxy.hub import Hub
from gripproxy.metrics import Metrics
from gripproxy.routes import Routes
from gripproxy.sessions import Sessions
from gripproxy.transports import Done
from gripproxy.transports.holds import Holds
from gripproxy.transports.websocket import WebSocketHold

MASK = b"\x01\x02\x03\x04"


class FakeTransport:
    """A connection that remembers what was written; like uvloop's, it raises when written to after its end."""

    def __init__(self) -> None:
        self.written = b""
        self.unsent = 0
        self.ended_by = ""
        self.protocol: Any = None
        self.has_eof = False
        self.high = 0
        self.reading = True

    def write(self, data: bytes) -> None:
        if self.ended_by:
            raise RuntimeError("unable to perform operation; the handler is closed")
        assert not self.has_eof
        self.written += data

    def take(self) -> bytes:
        """Return what was written since the last time."""
        written, self.written = self.written, b""
        return written

    def close(self) -> None:
        self.ended_by = self.ended_by or "close"

    def abort(self) -> None:
        self.ended_by = "abort"

    def lose(self) -> None:
        """Tell the protocol that the connection is gone."""
        self.ended_by = self.ended_by or "peer"
        self.protocol.connection_lost(None)

    def is_closing(self) -> bool:
        return bool(self.ended_by)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.has_eof = True

    def is_reading(self) -> bool:
        return self.reading and not self.ended_by

    def pause_reading(self) -> None:
        assert not self.ended_by
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.ended_by
        self.reading = True

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high or 0

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 1234) if name == "peername" else default


class FakeLoop:
    """A loop that calls when told to."""

    def __init__(self) -> None:
        self._calls: list[tuple[Any, tuple[Any, ...]]] = []

    def call_soon(self, call: Any, *arguments: Any) -> None:
        self._calls.append((call, arguments))

    def run(self) -> None:
        while self._calls:
            call, arguments = self._calls.pop(0)
            call(*arguments)


class FakeWheel:
    """A wheel whose time goes on when told to; ticks are tenths of a second."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._time = 100.0
        self.timers: dict[Any, float] = {}

    def now(self) -> float:
        return self._time

    def set(self, timed: Any, seconds: float) -> None:
        self.timers[timed] = self._time + seconds
        timed.due = 1

    def drop(self, timed: Any) -> None:
        self.timers.pop(timed, None)
        timed.due = 0

    def advance(self, seconds: float) -> None:
        """Let time go by, and call what is due in its order."""
        end = self._time + seconds
        while self.timers and min(self.timers.values()) <= end:
            timed, at = min(self.timers.items(), key=lambda one: one[1])
            self._time = max(self._time, at)
            self._hub.tick = round(self._time * 10)
            self.drop(timed)
            timed.on_due()
        self._time = end
        self._hub.tick = round(end * 10)


class FakeHistory:
    """What was published, in its order; the moment of an item is its index."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.turn = 0

    def arrived(self, realm: str, channel: str, moment: int) -> list[Item]:
        return [item for item in self.items[moment:] if item.channel == channel]

    def remembering(self) -> AbstractContextManager[None]:
        return nullcontext()


class FakeLeg:
    """The other side of a client: remembers the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.answered: int | None = None
        self.refreshed = 0
        self.is_full = False
        self.was_due = 0
        self.is_released = False
        self.hold: Any = None

    def receive(self, event: Event) -> None:
        self.events.append(event)

    def refresh(self) -> None:
        self.refreshed += 1

    def on_due(self) -> None:
        self.was_due += 1

    def release(self) -> None:
        self.is_released = True

    def take(self) -> list[Event]:
        """Return the events since the last time."""
        events, self.events = self.events, []
        return events


class Stage:
    """A client's WebSocket and all that surrounds it."""

    def __init__(self, limits: Limits | None = None, *, is_deflated: bool = False, **route: Any) -> None:
        self.limits = limits or Limits()
        self.loop = FakeLoop()
        self.hub = Hub(self.loop, on_error=self._on_error)  # type: ignore[arg-type]
        self.wheel = FakeWheel(self.hub)
        self.hub.tick = 1000
        self.ends: list[str] = []
        self.history = FakeHistory()
        self.metrics = Metrics()
        self.holds = Holds(
            hub=self.hub,
            wheel=self.wheel,  # type: ignore[arg-type]
            history=self.history,  # type: ignore[arg-type]
            server=SimpleNamespace(open=1),  # type: ignore[arg-type]
            limits=self.limits,
            metrics=self.metrics,
            keepalive_timeout=75.0,
            on_end=self._on_end,
            sessions=Sessions(self.limits, ("default",)),
        )
        config = Config(limits=self.limits, routes=(Route(backends=("http://127.0.0.1:1",), **route),))
        (self.route,) = Routes(config, bytes(32))
        self.transport = FakeTransport()
        self.leg = FakeLeg()
        self.hold = self.hold_with(self.leg, is_deflated=is_deflated)

    def hold_with(self, leg: Any, *, is_deflated: bool = False) -> WebSocketHold:
        """Begin a hold of the client with a leg."""
        hold = WebSocketHold(self.holds, self.route, leg, self.transport, is_deflated=is_deflated)  # type: ignore[arg-type]
        leg.hold = hold
        return hold

    def publish(self, channel: str, content: bytes = b"", **members: Any) -> None:
        """Deliver a message, all the way to the transport."""
        meta = members.pop("meta", {})
        message = WsMessage(**{"action": "send", "type": "text", "content": content} | members)
        self.hub.deliver("default", Item(channel, message=message, meta=meta))
        self.loop.run()

    def _on_error(self, subscriber: object, error: Exception) -> None:
        raise error

    def _on_end(self, hold: object, outcome: Any) -> None:
        assert isinstance(outcome, Done)
        self.ends.append(outcome.reason)


def client_frame(opcode: int, content: bytes = b"", first: int = 0x80) -> bytes:
    """Return one masked frame."""
    masked = bytes(byte ^ MASK[index % 4] for index, byte in enumerate(content))
    size = len(content)
    if size < 126:
        head = bytes((first | opcode, 0x80 | size))
    else:
        head = bytes((first | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    return head + MASK + masked
