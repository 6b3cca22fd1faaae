"""The filters of a WebSocket client's subscriptions: what they know, and what becomes of messages."""

from collections.abc import Callable

import pytest

from gripproxy.config import Config
from gripproxy.config import Route as Settings
from gripproxy.errors import FilterError
from gripproxy.grip.filters import Question, Reply
from gripproxy.grip.item import Item, WsMessage
from gripproxy.routes import Routes
from gripproxy.transports.line import Line
from gripproxy.transports.sieve import Sieve

OK: Reply = (200, (), b"")


class Desk:
    """A sieve, what came out of it, and those whom filters ask."""

    def __init__(self) -> None:
        config = Config(routes=(Settings(backends=("http://127.0.0.1:1",), prefix="p-"),))
        (route,) = Routes(config, bytes(32))
        self.sieve = Sieve(route)
        self.sieve.set_meta("url", "http://filter.test/")
        self.passed: list[bytes | None] = []
        self.asked: list[tuple[Question, Callable[[Reply | FilterError], None]]] = []

    def put(self, content: bytes, channel: str = "p-a", sender: str = "") -> None:
        message = WsMessage("send", "text", content)
        item = Item(channel, message=message, meta={"sender": sender} if sender else {})
        self.sieve.put(channel, item, message, self.passed.append, self.line)

    def line(self) -> Line:
        def fail(error: FilterError | None = None) -> None:
            raise AssertionError(error)

        return Line(lambda question, then: self.asked.append((question, then)), fail, fail)

    def take(self) -> list[bytes | None]:
        passed = self.passed.copy()
        self.passed.clear()
        return passed


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_without_filters_everything_passes(desk: Desk) -> None:
    desk.sieve.set_filters(("p-a",), "p-a", ())
    desk.put(b"hello")
    assert [b"hello"] == desk.take()
    assert not desk.sieve.has_filters("p-a")


def test_filters_are_a_channels_and_go_with_it(desk: Desk) -> None:
    desk.sieve.set_meta("user", "bob")
    desk.sieve.set_filters(("p-a", "p-b"), "p-a", ("skip-self",))
    desk.put(b"own", "p-a", "bob")
    desk.put(b"hello", "p-a", "al")
    desk.put(b"other", "p-b", "bob")
    assert [None, b"hello", b"other"] == desk.take()
    assert [True, False] == [desk.sieve.has_filters(name) for name in ("p-a", "p-b")]
    desk.sieve.remove("p-a")
    assert not desk.sieve.has_filters("p-a")


def test_a_filter_may_keep_back_what_is_not_sent_at_all(desk: Desk) -> None:
    own = Item("p-a", message=WsMessage("close"), meta={"sender": "bob"})
    desk.sieve.set_meta("user", "bob")
    assert not desk.sieve.drops("p-a", own)
    desk.sieve.set_filters(("p-a",), "p-a", ("skip-self",))
    assert desk.sieve.drops("p-a", own)


def test_filters_know_the_newest_values(desk: Desk) -> None:
    desk.sieve.set_filters(("p-a",), "p-a", ("var-subst",))
    desk.sieve.set_meta("user", "bob")
    desk.put(b"%(user)s")
    desk.sieve.set_meta("user", "al")
    desk.put(b"%(user)s")
    assert [b"bob", b"al"] == desk.take()
    desk.sieve.set_meta("user", None)
    desk.put(b"%(user)s")
    assert [None] == desk.take()


def test_a_filter_that_fails_costs_the_message(desk: Desk) -> None:
    desk.sieve.set_filters(("p-a",), "p-a", ("var-subst",))
    desk.put(b"%(nobody)s")
    desk.put(b"hello")
    assert [None, b"hello"] == desk.take()


def test_what_comes_behind_a_question_waits_for_its_answer(desk: Desk) -> None:
    desk.sieve.set_filters(("p-a",), "p-a", ("http-check",))
    desk.put(b"first")
    desk.put(b"second", "p-b")
    desk.sieve.in_turn(lambda: desk.passed.append(b"third"))
    assert [] == desk.take()
    ((_, then),) = desk.asked
    then(OK)
    assert [b"first", b"second", b"third"] == desk.take()


def test_nothing_waits_for_a_client_that_is_gone(desk: Desk) -> None:
    desk.sieve.clear()
    desk.sieve.set_filters(("p-a",), "p-a", ("http-check",))
    desk.put(b"first")
    desk.sieve.clear()
    ((_, then),) = desk.asked
    then(OK)
    assert [] == desk.take()
