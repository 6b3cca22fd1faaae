"""A small world for holds: the real hub, wheel and delivery on a loop whose turns and clock the test moves.

Clients are transports that remember what was written to them. What a hold ends with, or asks for, is in ``outcomes``.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from gripproxy.backend import Request
from gripproxy.config import Config, Limits
from gripproxy.config import Route as RouteConfig
from gripproxy.delivery import Delivery
from gripproxy.errors import FilterError
from gripproxy.grip.fields import Fields
from gripproxy.grip.filters import Question, Reply
from gripproxy.grip.history import Moments
from gripproxy.grip.instruct import Channel, Instruct, KeepAlive, Link
from gripproxy.grip.item import HttpResponse, HttpStream, Item
from gripproxy.hub import Hub
from gripproxy.metrics import Metrics
from gripproxy.routes import Route, Routes
from gripproxy.sessions import Sessions
from gripproxy.transports import Follow, Outcome
from gripproxy.transports.holds import Hold, Holds
from gripproxy.transports.linked import LinkedStream
from gripproxy.transports.response import ResponseHold
from gripproxy.transports.stream import StreamHold
from gripproxy.transports.wheel import Wheel

REALM = "default"
URI = "http://client.test/path"
NEXT = "http://client.test/next"


class Handle:
    """A timer of the loop."""

    def __init__(self) -> None:
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """The part of an event loop that the world uses."""

    def __init__(self) -> None:
        self.clock = 1000.0
        self.timers: list[tuple[float, Callable[[], None], Handle]] = []
        self.soon: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.clock

    def call_soon(self, callback: Callable[..., None], *arguments: Any) -> None:
        self.soon.append((callback, arguments))

    def call_at(self, when: float, callback: Callable[[], None]) -> Handle:
        handle = Handle()
        self.timers.append((when, callback, handle))
        return handle

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Handle:
        return self.call_at(self.clock + seconds, callback)

    def turn(self) -> None:
        """Do one turn."""
        soon, self.soon = self.soon, []
        for callback, arguments in soon:
            callback(*arguments)

    def run(self) -> None:
        """Turn until nothing is left to do."""
        while self.soon:
            self.turn()

    def advance(self, seconds: float) -> None:
        """Let time pass, timer by timer, with all that follows from each."""
        self.run()
        end = self.clock + seconds
        while due := [timer for timer in self.timers if timer[0] <= end and not timer[2].is_cancelled]:
            timer = min(due, key=lambda one: one[0])
            self.timers.remove(timer)
            self.clock = max(self.clock, timer[0] + 1e-6)
            timer[1]()
            self.run()
        self.clock = max(self.clock, end)


class Transport:
    """A client's connection; ``written`` is what the client has got."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.protocol: Any = None
        self.written = b""
        self.limit = 0
        self.unread = 0
        self.is_stalled = self.is_paused = False
        self.queued = 0  # bytes that were written although there was too much unsent already
        self.closing = ""  # "", "closed" or "aborted"
        self.is_reading = True

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limit = high or 0

    def get_write_buffer_size(self) -> int:
        return self.unread

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 4711) if name == "peername" else None

    def is_closing(self) -> bool:
        return bool(self.closing)

    def write(self, data: bytes) -> None:
        if self.closing:
            raise ConnectionError("closed")  # as uvloop does
        self.written += data
        self.queued += len(data) if self.is_paused else 0
        if self.is_stalled:
            self.stall(self.unread + len(data))

    def stall(self, unread: int) -> None:
        """Let the client read no more, with so many bytes unsent."""
        self.is_stalled = True
        self.unread = unread
        if unread > self.limit and not self.is_paused:
            self.is_paused = True
            self.protocol.pause_writing()

    def go_on(self) -> None:
        """Let the client take all that is unsent."""
        self.is_stalled, self.unread = False, 0
        if self.is_paused:
            self.is_paused = False
            self.protocol.resume_writing()

    def close(self) -> None:
        self._end("closed")

    def abort(self) -> None:
        self._end("aborted")

    def _end(self, how: str) -> None:
        if not self.closing:
            self.closing = how
            self._loop.call_soon(self._lose)

    def leave(self) -> None:
        """Have the client end the connection."""
        if not self.closing:
            self.closing = "left"
            self._lose()

    def _lose(self) -> None:
        self.protocol.connection_lost(None)

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def take(self) -> bytes:
        """Return what was written since the last time."""
        written, self.written = self.written, b""
        return written


class Server:
    """Takes connections back."""

    def __init__(self) -> None:
        self.given: list[tuple[Any, bytes]] = []
        self.open = 0

    def give(self, transport: Any, received: bytes) -> None:
        self.given.append((transport, received))


@cache
def route(prefix: str = "") -> Route:
    """Any route."""
    config = Config(routes=(RouteConfig(backends=("http://127.0.0.1:1",)),))
    found = Routes(config, b"x" * 32).match("client.test", "/path")
    assert found is not None
    return replace(found, prefix=prefix, id="test")


METRICS = Metrics()


class World:
    """Everything that a hold has around it."""

    def __init__(self, limits: Limits | None = None, prefix: str = "") -> None:
        self.loop = Loop()
        self.limits = limits or Limits()
        self.faults: list[Exception] = []
        self.hub = Hub(self.loop, on_error=lambda _, error: self.faults.append(error))  # type: ignore[arg-type]
        self.wheel = Wheel(
            self.loop,  # type: ignore[arg-type]
            on_tick=lambda tick: setattr(self.hub, "tick", tick),
            on_error=lambda _, error: self.faults.append(error),
        )
        self.sessions = Sessions(self.limits, (REALM,))
        self.delivery = Delivery(self.hub, self.limits, METRICS, self.loop, self.sessions)  # type: ignore[arg-type]
        self.hub.on_channel = self._note_channel
        self.server = Server()
        self.outcomes: list[tuple[Hold, Outcome]] = []
        # Questions of filters, and who is told the replies.
        self.questions: list[tuple[Question, Callable[[Reply | FilterError], None]]] = []
        self.holds = Holds(
            self.hub,
            self.wheel,
            self.delivery,
            self.server,  # type: ignore[arg-type]
            self.limits,
            METRICS,
            75.0,
            on_end=lambda hold, outcome: self.outcomes.append((hold, outcome)),
            ask=lambda hold, uri, question, then: self.questions.append((question, then)),
            sessions=self.sessions,
        )
        self.route = route(prefix)

    def _note_channel(self, realm: str, channel: str, is_first: bool) -> None:
        if not is_first:
            self.delivery.forget_channel(realm, channel)

    def check(self) -> None:
        """Raise what went wrong inside."""
        for fault in self.faults:
            raise fault

    def publish(self, *items: Item) -> None:
        """Have items come in, and the loop do all that follows at once."""
        self.delivery.receive(REALM, items)
        self.loop.run()
        self.check()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.loop.advance(seconds)
        self.check()

    def moments(self) -> Moments:
        """Return those of a request that is asked and answered right now."""
        return Moments(self.delivery.moment, self.delivery.turn)

    def reply(self, reply: Reply | FilterError, index: int = 0) -> Question:
        """Answer a question of a filter; return the question."""
        question, then = self.questions.pop(index)
        then(reply)
        self.check()
        return question

    def transport(self) -> Any:
        """Return a client's connection."""
        return Transport(self.loop)

    def take_outcome(self) -> Outcome:
        """Return the only thing that a hold has said since the last time."""
        assert 1 == len(self.outcomes), self.outcomes
        return self.outcomes.pop()[1]

    # Holds

    def stream(
        self,
        *channels: str | Channel,
        keep_alive: KeepAlive | None = None,
        is_chunked: bool = False,
        moments: Moments | None = None,
        is_kept: bool = True,
    ) -> StreamHold:
        """Begin a plain stream."""
        instruct = Instruct(hold="stream", channels=named(channels), keep_alive=keep_alive)
        hold = StreamHold(
            self.holds, self.route, instruct, self.transport(), b"", is_chunked=is_chunked, is_kept=is_kept
        )
        missed = hold.begin(moments or self.moments())
        hold.resume(missed)
        return hold

    def linked(self, instruct: Instruct, moments: Moments | None = None, *, is_chunked: bool = False) -> LinkedStream:
        """Begin a stream with links or filters."""
        hold = self.linked_at_body(instruct, moments, is_chunked=is_chunked)
        hold.proceed(moments or self.moments())
        return hold

    def linked_at_body(
        self, instruct: Instruct, moments: Moments | None = None, *, is_chunked: bool = False
    ) -> LinkedStream:
        """Begin a stream whose first body is still being written."""
        hold = LinkedStream(
            self.holds,
            self.route,
            instruct,
            self.transport(),
            b"",
            is_chunked=is_chunked,
            is_kept=is_chunked,
            uri=URI,
            host="client.test",
        )
        hold.resume(hold.begin(moments or self.moments()))
        return hold

    def poll(
        self,
        instruct: Instruct,
        moment: int | None = None,
        *,
        asked_again: dict[tuple[str, str], int] | None = None,
        is_kept: bool = True,
        is_head: bool = False,
        transport: Any = None,
        fields: Fields = ((b"Host", b"client.test"),),
    ) -> ResponseHold:
        """Begin a long-poll."""
        hold = ResponseHold(
            self.holds,
            self.route,
            instruct,
            Request("GET", b"/path", fields, b"body"),
            transport or self.transport(),
            b"",
            is_head=is_head,
            is_kept=is_kept,
            asked_again=asked_again or {},
            cors=None,
            uri=URI,
        )
        hold.begin(self.delivery.moment if moment is None else moment)
        return hold


def named(channels: Sequence[str | Channel]) -> tuple[Channel, ...]:
    """Return channels, made of their names where only these are given."""
    return tuple(Channel(one) if isinstance(one, str) else one for one in channels)


def streaming(*channels: str | Channel, next_link: str | None = "/next", body: bytes = b"", **more: Any) -> Instruct:
    """Return an instruct to stream."""
    link = Link(next_link) if next_link is not None else None
    return Instruct(**({"hold": "stream", "channels": named(channels), "next_link": link, "body": body} | more))


def waiting(*channels: str | Channel, body: bytes = b"held", **more: Any) -> Instruct:
    """Return an instruct to wait."""
    return Instruct(**({"hold": "response", "channels": named(channels), "body": body} | more))


def item(
    identifier: str | None = None,
    prev_id: str | None = None,
    content: bytes | str | None = None,
    *,
    channel: str = "c",
    action: str = "send",
    no_seq: bool = False,
    **meta: str,
) -> Item:
    """Return an item for streams and long-polls, whose content is its id unless it is given."""
    given = identifier or "" if content is None else content
    raw = given.encode() if isinstance(given, str) else given
    response = HttpResponse(action, body=raw) if action == "send" else HttpResponse(action)
    stream = HttpStream(action, raw if action == "send" else b"")
    return Item(channel, identifier, prev_id, response=response, stream=stream, meta=meta, no_seq=no_seq)


def written(hold: LinkedStream) -> bytes:
    """Return what the client has got since the last time."""
    transport = hold.connection
    assert isinstance(transport, Transport)
    return transport.take()


def follow(world: World) -> Follow:
    """Return the link that the hold asks for."""
    outcome = world.take_outcome()
    assert isinstance(outcome, Follow)
    return outcome


def answer(world: World, hold: LinkedStream, instruct: Instruct, asked: int | None = None) -> None:
    """Have the link answer; it was asked for at this moment, or just now."""
    moments = world.moments()
    hold.advance(instruct, NEXT, Moments(moments.asked if asked is None else asked, moments.answered))
    world.check()
