"""A link under way: when its answer may repeat what was written meanwhile."""

import pytest

from gripproxy.grip.instruct import Channel
from gripproxy.transports.inquiry import NOTED_MAX, Inquiry


@pytest.mark.parametrize(
    ("moved", "channel", "body", "may_repeat"),
    [
        ({"c"}, Channel("c", "2"), b"x", True),
        ({"c"}, Channel("c", "1"), b"x", False),  # it says that it has nothing new of the channel
        ({"c"}, Channel("c", "2"), b"", False),
        ({"c"}, Channel("d", "1"), b"x", True),
        (set(), Channel("c", "2"), b"x", False),
        ({"c", "d"}, Channel("c", "1"), b"x", False),  # the other was not asked about
    ],
)
def test_an_answer_may_repeat_what_was_written_meanwhile(
    moved: set[str], channel: Channel, body: bytes, may_repeat: bool
) -> None:
    inquiry = Inquiry({"c": "1"})
    for name in moved:
        inquiry.note(name, "2")
    assert may_repeat == inquiry.repeats([channel], body)


def test_an_inquiry_remembers_where_the_client_was() -> None:
    ids = {"c": "1"}
    inquiry = Inquiry(ids)
    ids["c"] = "2"
    inquiry.note("c", "2")
    assert not inquiry.repeats([Channel("c", "1")], b"x")


def test_an_inquiry_knows_what_the_client_has_come_past() -> None:
    inquiry = Inquiry({"c": "1", "d": "1"})
    inquiry.note("c", "2")
    inquiry.note("c", "3")
    asked = [("c", "1"), ("c", "2"), ("c", "3"), ("c", "4"), ("d", "1"), ("d", "2"), ("e", "1")]
    assert [True, True, True, False, True, False, False] == [inquiry.has(*one) for one in asked]


def test_an_inquiry_knows_so_many() -> None:
    inquiry = Inquiry({"c": "0"})
    for number in range(1, NOTED_MAX + 2):
        inquiry.note("c", str(number))
    assert [False, True, True] == [inquiry.has("c", str(number)) for number in (1, 2, NOTED_MAX + 1)]
