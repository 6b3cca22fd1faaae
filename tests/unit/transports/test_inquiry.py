"""A link under way: when its answer may repeat what was written meanwhile."""

import pytest

from gripproxy.grip.instruct import Channel
from gripproxy.transports.inquiry import Inquiry


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
    inquiry.moved |= moved
    assert may_repeat == inquiry.repeats([channel], body)


def test_an_inquiry_remembers_where_the_client_was() -> None:
    ids = {"c": "1"}
    inquiry = Inquiry(ids)
    ids["c"] = "2"
    inquiry.moved.add("c")
    assert not inquiry.repeats([Channel("c", "1")], b"x")
