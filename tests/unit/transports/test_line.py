"""Items in line for the answers that their filters wait for."""

from collections.abc import Callable

import pytest

from gripproxy.errors import FilterError
from gripproxy.grip.filters import Conversation, Question, Reply
from gripproxy.transports.line import WAITING_MAX, Line

OK: Reply = (200, (), b"ok")


class Desk:
    """A line, and those who wait for it."""

    def __init__(self) -> None:
        self.asked: list[tuple[Question, Callable[[Reply | FilterError], None]]] = []
        self.passed: list[bytes | None] = []
        self.errors: list[str] = []
        self.overflows = 0
        self.line = Line(
            lambda question, then: self.asked.append((question, then)),
            lambda error: self.errors.append(str(error)),
            self.overflow,
        )

    def overflow(self) -> None:
        self.overflows += 1

    def put(self, conversation: Conversation | None) -> None:
        self.line.put(conversation, self.passed.append)

    def reply(self, reply: Reply | FilterError = OK) -> str:
        (url, _, _), then = self.asked.pop(0)
        then(reply)
        return url


@pytest.fixture
def desk() -> Desk:
    return Desk()


def asking(*urls: str) -> Conversation:
    """Ask at each URL, and end with the bodies of the replies."""
    content = b""
    for url in urls:
        _, _, body = yield url, (), b""
        content += body
    return content


def failing() -> Conversation:
    raise FilterError("bad template")
    yield "", (), b""


def test_what_need_not_wait_does_not(desk: Desk) -> None:
    desk.put(None)
    desk.put(asking())
    assert [None, b""] == desk.passed


def test_items_pass_in_order(desk: Desk) -> None:
    desk.put(asking("/1", "/2"))
    desk.put(None)
    desk.put(asking("/3"))
    assert ("/1", []) == (desk.reply(), desk.passed)
    assert ("/2", [b"okok", None]) == (desk.reply(), desk.passed)
    assert ("/3", [b"okok", None, b"ok"]) == (desk.reply(), desk.passed)


def test_an_item_that_fails_is_passed_over(desk: Desk) -> None:
    desk.put(asking("/1"))
    desk.put(failing())
    desk.put(asking("/2"))
    desk.reply(FilterError("no answer"))
    assert ([None, None], ["no answer", "bad template"]) == (desk.passed, desk.errors)
    assert ("/2", [None, None, b"ok"]) == (desk.reply(), desk.passed)


def test_a_reply_at_once_is_no_trouble() -> None:
    passed: list[bytes | None] = []
    line = Line(lambda question, then: then(OK), lambda error: None, lambda: None)
    for _ in range(50):
        line.put(asking("/1", "/2"), passed.append)
    assert [b"okok"] * 50 == passed


def test_a_cleared_line_forgets_all(desk: Desk) -> None:
    desk.put(asking("/1"))
    desk.put(None)
    desk.line.clear()
    desk.reply()
    assert ([], []) == (desk.passed, desk.asked)
    desk.put(asking("/2"))
    assert ("/2", [b"ok"]) == (desk.reply(), desk.passed)


def test_a_late_reply_is_not_taken_for_another(desk: Desk) -> None:
    desk.put(asking("/1"))
    desk.line.clear()
    desk.put(asking("/2"))
    assert "/1" == desk.reply((200, (), b"late"))
    assert ("/2", [b"ok"]) == (desk.reply(), desk.passed)


def test_a_line_has_an_end(desk: Desk) -> None:
    for _ in range(WAITING_MAX):
        desk.put(asking("/1"))
    assert 0 == desk.overflows
    desk.put(None)
    assert (1, []) == (desk.overflows, desk.passed)
    desk.reply()
    assert ([], []) == (desk.passed, desk.asked)


def test_what_an_item_does_may_clear_the_line(desk: Desk) -> None:
    desk.line.put(asking("/1"), lambda content: desk.line.clear())
    desk.put(None)
    desk.reply()
    assert [] == desk.passed
