"""The loop around a session: requests one at a time, answers done in order, nothing lost and nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from gripproxy.backend import Request
from gripproxy.errors import BackendError
from gripproxy.grip import wire
from gripproxy.grip.commands import Accept, Reject
from gripproxy.grip.item import Item, WsMessage
from gripproxy.grip.limits import Limits
from gripproxy.grip.websocket import Session
from gripproxy.transports.over_http import UNSENT_MAX, UNSENT_WAIT, OverHttp
from tests.unit.transports.websocket_fakes import FakeHistory, Stage, client_frame

EVENTS = ((b"Content-Type", b"application/websocket-events"),)
GRIP = (*EVENTS, (b"Sec-WebSocket-Extensions", b"grip"))
Answer = tuple[int, tuple[tuple[bytes, bytes], ...], bytes] | BackendError | Exception


class FakeResponse:
    """An answer of the backend, whole."""

    reason = "Some Reason"
    target = "http://127.0.0.1:1"

    def __init__(self, status: int, fields: tuple[tuple[bytes, bytes], ...], body: bytes) -> None:
        self.status, self.fields, self._body = status, fields, body

    async def read(self, limit: int) -> tuple[bytes, bool]:
        return self._body[: limit + 1], len(self._body) <= limit

    def close(self) -> None:
        """Nothing."""


class FakeBackend:
    """Answers when the test says what."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.passed_over = 0
        self.routes: list[Any] = []
        self.now: dict[str, Any] = {}
        self._answers: list[asyncio.Future[Answer]] = []

    def pass_over(self, target: Any) -> None:
        self.passed_over += 1

    def current(self, route: Any) -> Any:
        return self.now.get(route.id, route)

    async def fetch(self, route: Any, request: Request) -> FakeResponse:
        self.routes.append(route)
        self.asked.append(request)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answers.append(future)
        answer = await future
        if isinstance(answer, Exception):
            raise answer
        return FakeResponse(*answer)

    @property
    def waiting(self) -> int:
        return len(self._answers)

    async def answer(self, body: bytes = b"", status: int = 200, fields: Any = EVENTS) -> None:
        """Answer the oldest request, and let everything happen that follows."""
        self._answers.pop(0).set_result((status, fields, body))
        await settle()

    async def fail(self, error: Exception) -> None:
        self._answers.pop(0).set_result(error)
        await settle()


async def settle() -> None:
    """Let all tasks run until they wait."""
    for _ in range(10):
        await asyncio.sleep(0)


class Conversation(Stage):
    """A client's WebSocket with a real leg; the wheel's clock is the loop's."""

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__()
        self.wheel._time = asyncio.get_running_loop().time()
        self.backend = FakeBackend()
        session = Session("c1", limits or Limits())
        fields = ((b"Cookie", b"a=1"),)
        self.over_http = OverHttp(self.backend, self.route, b"/x", fields, session, self.history)  # type: ignore[arg-type]

    async def open(self, body: bytes = b"OPEN\r\n") -> None:
        """Have the backend accept, and begin."""
        asking = asyncio.create_task(self.over_http.open())
        await settle()
        await self.backend.answer(body, fields=GRIP)
        answer = await asking
        assert isinstance(answer, tuple)
        self.transport.protocol = None
        self.holds.open.clear()
        self.hold = self.hold_with(self.over_http)
        self.over_http.obey(answer[1])
        self.over_http.begin()
        self.bodies()

    def bodies(self) -> list[bytes]:
        """Return the bodies of the requests since the last time."""
        bodies = [request.body for request in self.backend.asked]
        self.backend.asked.clear()
        return bodies  # type: ignore[return-value]

    async def says(self, opcode: int, content: bytes = b"") -> None:
        self.hold.data_received(client_frame(opcode, content))
        await settle()


def play(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scene())


# --- opening


def test_acceptance_and_what_comes_with_it() -> None:
    async def scene() -> None:
        stage = Conversation()
        asking = asyncio.create_task(stage.over_http.open())
        await settle()
        (request,) = stage.backend.asked
        assert ("POST", b"/x", b"OPEN\r\n") == (request.method, request.target, request.body)
        assert (b"Cookie", b"a=1") == request.fields[0]
        await stage.backend.answer(b"OPEN\r\nTEXT 3\r\nm:a\r\n", fields=GRIP)
        answer = await asking
        assert isinstance(answer, tuple)
        assert isinstance(answer[0], Accept)
        assert 1 == len(answer[1])

    play(scene)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ((403, (), b"nope"), 403),
        ((503, (), b"nope"), 503),
        (BackendError("down"), 502),
        (BackendError("late", 504), 504),
    ],
    ids=["403", "503", "down", "late"],
)
def test_refusal(answer: Answer, status: int) -> None:
    async def scene() -> None:
        stage = Conversation()
        asking = asyncio.create_task(stage.over_http.open())
        await settle()
        stage.backend._answers.pop(0).set_result(answer)
        refusal = await asking
        assert isinstance(refusal, Reject)
        assert (status, 0) == (refusal.status, stage.backend.passed_over)

    play(scene)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (BackendError("nobody there", is_repeatable=True), "unreachable"),
        (BackendError("too late", 504), "timeout"),
        (BackendError("no HTTP"), "error"),
    ],
)
def test_it_is_known_why_nobody_has_answered(error: BackendError, failure: str) -> None:
    async def scene() -> None:
        stage = Conversation()
        asking = asyncio.create_task(stage.over_http.open())
        await settle()
        await stage.backend.fail(error)
        assert isinstance(await asking, Reject)
        assert failure == stage.over_http.failure

    play(scene)


def test_an_answer_to_open_that_means_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The client gets a 502 that is the proxy's own, so somebody has to say why."""

    async def scene() -> None:
        stage = Conversation()
        asking = asyncio.create_task(stage.over_http.open())
        await settle()
        await stage.backend.answer(b"TEXT 3\r\nabc\r\n")
        assert isinstance(await asking, Reject)
        assert "instructions" == stage.over_http.failure

    play(scene)
    assert "http://127.0.0.1:1 answered OPEN with TEXT in place of OPEN" in caplog.text


@pytest.mark.parametrize(("status", "is_told"), [(200, True), (405, True), (403, False), (404, False)])
def test_a_view_that_does_not_know_of_websockets_is_told_of(
    caplog: pytest.LogCaptureFixture, status: int, is_told: bool
) -> None:
    """The client gets what the view said, a page mostly, so nobody sees why there is no WebSocket."""

    async def scene() -> None:
        stage = Conversation()
        asking = asyncio.create_task(stage.over_http.open())
        await settle()
        await stage.backend.answer(b"a page", status, ((b"Content-Type", b"text/html"),))
        answer = await asking
        assert isinstance(answer, Reject)
        assert (status, b"a page") == (answer.status, answer.body)
        assert "" == stage.over_http.failure

    play(scene)
    assert is_told == (f"http://127.0.0.1:1 answered OPEN with {status} and no events; is the view" in caplog.text)


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [(b"OPEN\r\n", 200, [b"DISCONNECT\r\n"]), (b"", 403, []), (b"", 200, [])],
    ids=["accepted", "refused", "neither"],
)
def test_question_outlives_the_client(body: bytes, status: int, expected: list[bytes]) -> None:
    """A backend that accepts a client which has left is told so; one that refuses has nothing to hear."""

    async def scene() -> None:
        stage = Conversation()
        asking = asyncio.create_task(stage.over_http.open())
        await settle()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert 1 == stage.backend.waiting
        stage.bodies()
        await stage.backend.answer(body, status, GRIP)
        assert expected == stage.bodies()

    play(scene)


def test_backend_that_cannot_be_told_of_a_client_that_left_early_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        stage = Conversation()
        asking = asyncio.create_task(stage.over_http.open())
        await settle()
        asking.cancel()
        await settle()
        await stage.backend.answer(b"OPEN\r\n", fields=GRIP)
        await stage.backend.answer(status=503)
        assert [b"OPEN\r\n", b"DISCONNECT\r\n"] == stage.bodies()
        loop = asyncio.get_running_loop()
        later = loop.time() + 10
        monkeypatch.setattr(loop, "time", lambda: later)
        await settle()
        assert [b"DISCONNECT\r\n"] == stage.bodies()
        await stage.backend.answer()
        assert stage.over_http.session.is_closed

    play(scene)


def test_client_that_leaves_while_the_decision_is_put_off_is_reported() -> None:
    async def scene() -> None:
        stage = Conversation()
        asking = asyncio.create_task(stage.over_http.open())
        await settle()
        await stage.backend.answer(b"", fields=(*EVENTS, (b"Keep-Alive-Interval", b"60")))
        stage.bodies()
        asking.cancel()
        await settle()
        assert [b"DISCONNECT\r\n"] == stage.bodies()

    play(scene)


# --- the conversation


def test_one_request_at_a_time_and_answers_in_order() -> None:
    async def scene() -> None:
        stage = Conversation()
        await stage.open()
        for text in (b"a", b"b", b"c"):
            await stage.says(wire.TEXT, text)
        assert [b"TEXT 1\r\na\r\n"] == stage.bodies()
        await stage.backend.answer(b"TEXT 3\r\nm:x\r\nBINARY 3\r\nm:y\r\n")
        assert wire.frame(wire.TEXT, b"x") + wire.frame(wire.BINARY, b"y") == stage.transport.take()
        assert [b"TEXT 1\r\nb\r\nTEXT 1\r\nc\r\n"] == stage.bodies()
        await stage.backend.answer()
        assert ([], 0) == (stage.bodies(), stage.holds.talking)

    play(scene)


def test_control_messages_are_obeyed_and_bad_ones_ignored() -> None:
    async def scene() -> None:
        stage = Conversation()
        await stage.open(b'OPEN\r\nTEXT 24\r\nc:{"type":"subscribe","channel":"a"}\r\n'.replace(b"24", b"24"))
        assert ("a",) == stage.hold.channels
        await stage.says(wire.TEXT, b"go")
        await stage.backend.answer(b"TEXT 3\r\nc:{\r\nTEXT 1\r\nx\r\nTEXT 3\r\nm:z\r\n")
        assert wire.frame(wire.TEXT, b"z") == stage.transport.take()

    play(scene)


def test_client_stopped_while_a_request_is_under_way_is_read_again() -> None:
    """The buffer fills up during a request, and the answer empties it: nobody else would start the client again."""

    async def scene() -> None:
        stage = Conversation(Limits(buffered=100))
        await stage.open()
        await stage.says(wire.TEXT, b"x" * 60)
        assert stage.transport.is_reading()
        await stage.says(wire.TEXT, b"y" * 60)
        assert not stage.transport.is_reading()
        await stage.backend.answer()
        assert stage.transport.is_reading()

    play(scene)


def test_backend_waits_while_the_client_has_much_to_read() -> None:
    async def scene() -> None:
        stage = Conversation()
        await stage.open()
        stage.transport.unsent = UNSENT_MAX + 1
        await stage.says(wire.TEXT, b"a")
        for _ in range(3):
            assert stage.hold in stage.wheel.timers
            stage.wheel._time += 2 * UNSENT_WAIT
            stage.hold.on_due()
            await settle()
        assert [] == stage.bodies()
        stage.transport.unsent = 0
        stage.wheel._time += 2 * UNSENT_WAIT
        stage.hold.on_due()
        await settle()
        assert [b"TEXT 1\r\na\r\n"] == stage.bodies()

    play(scene)


def test_client_with_much_to_read_can_still_leave() -> None:
    async def scene() -> None:
        stage = Conversation()
        await stage.open()
        stage.transport.unsent = UNSENT_MAX + 1
        stage.transport.lose()
        await settle()
        assert [b"DISCONNECT\r\n"] == stage.bodies()

    play(scene)


def test_failure_is_repeated_at_its_time() -> None:
    async def scene() -> None:
        stage = Conversation(Limits(retry_delay=30))
        await stage.open()
        await stage.says(wire.TEXT, b"a")
        stage.bodies()
        await stage.backend.fail(BackendError("down", is_repeatable=True))
        at = stage.over_http.session.deadline
        assert at is not None
        assert 29 < stage.wheel.timers[stage.hold] - asyncio.get_running_loop().time() < 31
        await stage.says(wire.TEXT, b"b")
        assert [] == stage.bodies()

    play(scene)


@pytest.mark.parametrize(("status", "passed_over"), [(502, 1), (503, 1), (504, 1), (500, 0)])
def test_repetition_should_meet_another_backend(status: int, passed_over: int) -> None:
    async def scene() -> None:
        stage = Conversation()
        await stage.open()
        await stage.says(wire.TEXT, b"a")
        await stage.backend.answer(b"", status)
        assert passed_over == stage.backend.passed_over

    play(scene)


def test_answer_that_is_too_large_closes_with_1011() -> None:
    async def scene() -> None:
        stage = Conversation(Limits(response_size=50))
        await stage.open()
        await stage.says(wire.TEXT, b"a")
        stage.bodies()
        await stage.backend.answer(b"TEXT 64\r\n" + b"x" * 100 + b"\r\n")
        assert wire.close_frame(1011, "backend answered 500") == stage.transport.take()
        assert [b"DISCONNECT\r\n"] == stage.bodies()

    play(scene)


def test_fault_of_the_proxy_cuts_the_client_and_no_other() -> None:
    async def scene() -> None:
        stage = Conversation()
        await stage.open()
        await stage.says(wire.TEXT, b"a")
        await stage.backend.fail(RuntimeError("a fault"))
        assert "abort" == stage.transport.ended_by
        stage.transport.lose()
        assert (["backend"], 0) == (stage.ends, stage.holds.talking)

    play(scene)


def test_refresh_asks_once_and_again_after_a_request_under_way() -> None:
    async def scene() -> None:
        stage = Conversation()
        await stage.open()
        stage.hold.refresh()
        stage.hold.refresh()
        await settle()
        assert [b""] == stage.bodies()
        stage.hold.refresh()
        stage.hold.refresh()
        await stage.backend.answer(b"TEXT 3\r\nm:a\r\n")
        assert [b""] == stage.bodies()
        await stage.backend.answer()
        assert [] == stage.bodies()

    play(scene)


@pytest.mark.parametrize("end", ["speaks", "leaves", "waits"])
def test_refresh_waits_for_a_place_but_nothing_that_the_client_has_to_say(end: str) -> None:
    async def scene() -> None:
        stage = Conversation()
        await stage.open()
        stage.holds.refreshing = asyncio.Semaphore(1)
        await stage.holds.refreshing.acquire()
        stage.over_http.refresh()
        await settle()
        stage.hold.on_due()
        assert ([], 0) == (stage.bodies(), stage.holds.talking)
        if end == "speaks":
            await stage.says(wire.TEXT, b"a")
            assert [b"TEXT 1\r\na\r\n"] == stage.bodies()
        elif end == "leaves":
            stage.transport.lose()
            await settle()
            assert [b"DISCONNECT\r\n"] == stage.bodies()
        else:
            stage.holds.refreshing.release()
            await settle()
            assert [b""] == stage.bodies()
        assert 1 == stage.holds.talking
        await stage.backend.answer()
        assert ([], 0, 0) == (stage.bodies(), stage.backend.waiting, stage.holds.talking)
        if end != "waits":
            stage.holds.refreshing.release()
        assert not stage.holds.refreshing.locked()

    play(scene)


def test_keep_alive_of_the_backend_is_a_timer_of_the_hold() -> None:
    async def scene() -> None:
        stage = Conversation()
        await stage.open()
        await stage.says(wire.TEXT, b"a")
        await stage.backend.answer(fields=(*EVENTS, (b"Keep-Alive-Interval", b"30")))
        wait = stage.wheel.timers[stage.hold] - asyncio.get_running_loop().time()
        assert 25 < wait < 31
        await stage.says(wire.TEXT, b"b")
        await stage.backend.answer(fields=(*EVENTS, (b"Keep-Alive-Interval", b"0")))
        assert {} == stage.wheel.timers

    play(scene)


# --- ends


@pytest.mark.parametrize("interval", [b"0", b"3600"])
def test_lost_client_leaves_nothing_behind(interval: bytes) -> None:
    """Not even for the time after which the backend wanted to be asked."""

    async def scene() -> None:
        stage = Conversation()
        await stage.open()
        await stage.says(wire.TEXT, b"a")
        await stage.backend.answer(fields=(*EVENTS, (b"Keep-Alive-Interval", interval)))
        stage.bodies()
        stage.transport.lose()
        assert 1 == stage.holds.talking
        await settle()
        assert [b"DISCONNECT\r\n"] == stage.bodies()
        await stage.backend.answer(status=500)
        assert None is stage.over_http.hold
        assert (0, {}) == (stage.holds.talking, stage.wheel.timers)

    play(scene)


def test_closing_handshake_leaves_nothing_behind() -> None:
    async def scene() -> None:
        stage = Conversation()
        await stage.open()
        await stage.says(wire.CLOSE, b"\x0f\xa0")
        assert [b"CLOSE 2\r\n\x0f\xa0\r\n"] == stage.bodies()
        await stage.backend.answer(b"CLOSE 2\r\n\0\0\r\n")
        assert wire.close_frame(4000) == stage.transport.take()
        assert stage.over_http.session.is_closed
        stage.transport.lose()
        await settle()
        assert ([], None, {}) == (stage.bodies(), stage.over_http.hold, stage.wheel.timers)

    play(scene)


def test_detached_client_stays_when_the_session_is_over() -> None:
    async def scene() -> None:
        stage = Conversation()
        await stage.open()
        await stage.says(wire.TEXT, b"a")
        stage.bodies()
        await stage.backend.answer(b'TEXT 13\r\nc:{"type":"detach"}\r\n')
        assert [b"CLOSE\r\n"] == stage.bodies()
        await stage.backend.answer()
        assert stage.over_http.session.is_closed
        await stage.says(wire.PING, b"x")
        assert (wire.frame(wire.PONG, b"x"), "") == (stage.transport.take(), stage.transport.ended_by)
        stage.transport.lose()
        await settle()
        assert ([], None) == (stage.bodies(), stage.over_http.hold)

    play(scene)


def test_backends_of_many_lost_clients_are_told_a_few_at_a_time() -> None:
    async def scene() -> None:
        stages = [Conversation() for _ in range(3)]
        places = asyncio.Semaphore(2)
        for stage in stages:
            stage.holds.parting = places
            await stage.open()
        for stage in stages:
            stage.transport.lose()
        await settle()
        assert [1, 1, 0] == [len(stage.bodies()) for stage in stages]
        await stages[0].backend.answer()
        assert [0, 0, 1] == [len(stage.bodies()) for stage in stages]

    play(scene)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (((b"Host", b"a.test:1"),), "http://a.test:1/x"),
        (((b"Host", b"a.test"), (b"X-Forwarded-Proto", b"http")), "http://a.test/x"),
        (((b"Host", b"a.test"), (b"X-Forwarded-Proto", b"https")), "https://a.test/x"),
        (((b"Host", b"a.test"), (b"x-forwarded-proto", b"wss")), "https://a.test/x"),
    ],
)
def test_what_the_client_asked_for_is_in_its_fields(fields: tuple[tuple[bytes, bytes], ...], expected: str) -> None:
    """Of the many that are held nothing is kept twice."""
    leg = OverHttp(FakeBackend(), None, b"/x", fields, Session("c1", Limits()), FakeHistory())  # type: ignore[arg-type]
    assert expected == leg.uri


def test_requests_go_where_the_route_leads_now() -> None:
    """A route that was read again has other backends, or another key that signs."""

    async def scene() -> None:
        stage = Conversation()
        await stage.open()
        now = replace(stage.route, id="now")
        stage.backend.now = {stage.route.id: now}
        await stage.says(1, b"a")
        assert [stage.route, now] == stage.backend.routes

    play(scene)


def test_what_is_published_right_behind_an_answer_reaches_its_subscriptions() -> None:
    """The answer's body is read, and perhaps the client accepted, before the subscription is there."""

    async def scene() -> None:
        stage = Conversation()
        stage.history.items = [Item("a", message=WsMessage("send", "text", b"before"))]
        stage.history.turn = 1

        class SlowResponse(FakeResponse):
            async def read(self, limit: int) -> tuple[bytes, bool]:
                stage.history.items.append(Item("a", message=WsMessage("send", "text", b"hello")))
                stage.history.turn = 2
                return await super().read(limit)

        async def fetch(route: Any, request: Request) -> FakeResponse:
            return SlowResponse(200, GRIP, b'OPEN\r\nTEXT 24\r\nc:{"type":"subscribe","channel":"a"}\r\n')

        stage.backend.fetch = fetch  # type: ignore[method-assign]
        answer = await stage.over_http.open()
        assert isinstance(answer, tuple)
        stage.hold = stage.hold_with(stage.over_http)
        stage.transport.take()
        stage.over_http.obey(answer[1])
        assert wire.frame(wire.TEXT, b"hello") == stage.transport.take()
        assert stage.over_http.answered is None

    play(scene)
