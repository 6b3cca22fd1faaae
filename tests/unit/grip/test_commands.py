"""What a session wants done, and the commands that a backend's messages are."""

import pytest

from gripproxy.errors import EventError
from gripproxy.grip import events as ev
from gripproxy.grip.commands import BadControl, Command, Control, Send, command_of
from gripproxy.grip.events import Event


@pytest.mark.parametrize(
    ("prefix", "content", "command"),
    [
        (b"m:", b"m:hi", Send("text", b"hi")),
        (b"m:", b"m:", Send("text", b"")),
        (b"m:", b"hi", BadControl("TEXT without the prefix b'm:'")),
        (b"m:", b'c:{"type":"shout"}', BadControl("control message: type: 'shout' is unknown")),
        (b"", b"hi", Send("text", b"hi")),
        (b"", b'c:{"type":"flush-delayed"}', Control(ev.FlushDelayed())),
        (b"c", b"c:", BadControl("control message: not JSON: Input data was truncated")),
        (None, b'c:{"type":"flush-delayed"}', Send("text", b'c:{"type":"flush-delayed"}')),
    ],
)
def test_prefixes_tell_messages_from_control_messages(prefix: bytes | None, content: bytes, command: Command) -> None:
    assert command == command_of(Event("TEXT", content), prefix)


def test_binary_content_is_never_a_control_message() -> None:
    assert Send("binary", b"\xff") == command_of(Event("BINARY", b"m:\xff"), b"m:")
    assert BadControl("BINARY without the prefix b'm:'") == command_of(Event("BINARY", b"c:{}"), b"m:")


@pytest.mark.parametrize(("kind", "content"), [("text", b"\xff"), ("ping", b"x" * 126), ("pong", b"x" * 126)])
def test_what_no_frame_may_have_is_no_message(kind: str, content: bytes) -> None:
    with pytest.raises(EventError):
        Send(kind, content)
