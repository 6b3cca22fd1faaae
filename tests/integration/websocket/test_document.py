"""The conversation in docs/websockets.md takes place as it is printed there."""

import re

from tests.conformance.backend import Reply
from tests.conformance.case import Case
from tests.integration.websocket.conftest import ROOT

# Fields whose values are other ones each time.
OWN = ("Connection-Id", "Grip-Sig")


def conversation() -> list[tuple[str, dict[str, str], bytes]]:
    """The first line, the fields and the body of each message in the document."""
    text = (ROOT / "docs" / "websockets.md").read_text()
    messages = []
    for block in re.findall(r"```http\n(.*?)```", text, re.DOTALL):
        head, _, body = block.partition("\n\n")
        first, *lines = head.split("\n")
        fields = dict(line.split(": ", 1) for line in lines)
        messages.append((first, fields, body.replace("\n", "\r\n").encode()))
    return messages


def test_conversation_of_the_document(case: Case) -> None:
    """Requests come with the fields and bodies that are printed, answers do what is said of them."""
    asked, accepted, asked_again, answered = conversation()
    case.answer(*(Reply(body, list(fields.items()), framing="none") for _, fields, body in (accepted, answered)))
    connection = case.socket(host=asked[1]["Host"])
    connection.send_text("hello")
    for first, fields, body in (asked, asked_again):
        request = case.taken()
        assert first == f"{request.method} /socket HTTP/{request.version.rpartition('/')[2]}"
        assert body == request.body
        for name, value in fields.items():
            assert request.value(name) == value if name not in OWN else request.value(name)
    assert "welcome!" == connection.read_text()
    case.tell("news", channel="room-1")
    assert "news" == connection.read_text()
