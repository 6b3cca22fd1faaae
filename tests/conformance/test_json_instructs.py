"""Instructions in a JSON body of type application/grip-instruct."""

import base64
import json
from typing import Any

import pytest

from tests.conformance.backend import Reply
from tests.conformance.case import Case


def instruct(value: Any, status: int = 200, media_type: str = "application/grip-instruct", **fields: str) -> Reply:
    """A response whose body is an instruct; text is sent as it is."""
    body = value if isinstance(value, str) else json.dumps(value)
    named = [(name.replace("_", "-"), content) for name, content in fields.items()]
    return Reply(body.encode(), [("Content-Type", media_type), *named], status)


def holding(case: Case, mode: str | None = "stream", **members: Any) -> dict[str, Any]:
    """The hold member for the case's channel."""
    hold = {"mode": mode, "channels": [{"name": case.channel}]} | members
    return {name: value for name, value in hold.items() if value is not None}


@pytest.mark.grip("instructions in JSON")
def test_response_is_made_of_json(case: Case) -> None:
    """Code, reason, fields and body come from the `response` member; the outer ones are dropped."""
    response = {"code": 404, "reason": "Gone Fishing", "headers": {"X-Own": "1"}, "body": "inner\n"}
    case.answer(instruct({"response": response}, X_Outer="1"))
    answer = case.get()
    assert (404, "Gone Fishing", b"inner\n") == (answer.status, answer.head.reason, answer.body)
    assert ("1", None, None) == tuple(answer.value(name) for name in ("X-Own", "X-Outer", "Content-Type"))


@pytest.mark.grip("instructions in JSON")
def test_response_defaults(case: Case) -> None:
    """An empty object is an empty 200."""
    case.answer(instruct({}))
    answer = case.get()
    assert (200, b"", "0") == (answer.status, answer.body, answer.value("Content-Length"))


@pytest.mark.grip("instructions in JSON")
@pytest.mark.parametrize("media_type", ["application/grip-instruct; charset=utf-8", "application/grip-instruct;x"])
def test_parameters_of_the_media_type(case: Case, media_type: str) -> None:
    """Parameters of the media type do not matter."""
    case.answer(instruct({"response": {"body": "inner"}}, media_type=media_type))
    assert b"inner" == case.get().body


@pytest.mark.grip("instructions in JSON")
def test_code_clears_the_reason(case: Case) -> None:
    """A code without a reason has the standard one."""
    case.answer(instruct({"response": {"code": 404, "body": "x"}}))
    assert (404, "Not Found") == ((head := case.get().head).status, head.reason)


@pytest.mark.grip("instructions in JSON")
def test_repeated_fields(case: Case) -> None:
    """Fields may be a list of pairs, with names several times."""
    case.answer(instruct({"response": {"headers": [["X-Own", "1"], ["X-Own", "2"]], "body": "x"}}))
    assert ["1", "2"] == case.get().head.values("X-Own")


@pytest.mark.grip("instructions in JSON")
def test_binary_body(case: Case) -> None:
    """body-bin is base64, and wins over body."""
    case.answer(instruct({"response": {"body": "text", "body-bin": base64.b64encode(b"\xff\0x").decode()}}))
    assert b"\xff\0x" == case.get().body


@pytest.mark.grip("instructions in JSON")
def test_number_as_text(case: Case) -> None:
    """Numbers may come as text."""
    case.answer(instruct({"response": {"code": "404", "body": "x"}}))
    assert 404 == case.get().status


@pytest.mark.grip("instructions in JSON")
def test_unknown_members_are_ignored(case: Case) -> None:
    """Members that nobody knows do no harm."""
    case.answer(
        instruct({"x": 1, "response": {"y": None, "body": "b"}, "hold": holding(case, z=[]) | {"mode": "stream"}})
    )
    assert b"b" == case.stream().read_data(1)


@pytest.mark.grip("instructions in JSON")
def test_stream_hold(case: Case) -> None:
    """A stream is held with the JSON's response."""
    case.answer(instruct({"hold": holding(case), "response": {"headers": {"X-Own": "1"}, "body": "first"}}))
    connection = case.stream()
    assert connection.head
    assert ("1", b"first") == (connection.head.value("X-Own"), connection.read_data(5))
    case.say("second")
    assert b"second" == connection.read_data(6)


@pytest.mark.grip("instructions in JSON")
def test_hold_is_a_response_hold_by_default(case: Case) -> None:
    """Without a mode the hold is a long-poll."""
    case.answer(instruct({"hold": holding(case, mode=None), "response": {"headers": {"X-Own": "1"}, "body": "late"}}))
    connection = case.poll()
    case.resolve("now")
    answer = connection.read_response()
    assert (b"now", "1") == (answer.body, answer.value("X-Own"))


@pytest.mark.grip("instructions in JSON; client libraries")
def test_old_not_modified(case: Case) -> None:
    """A 304 as old libraries send it, with its reason, is held and then published over."""
    response = {"headers": [["ETag", '"1"']], "reason": "NOT MODIFIED", "code": 304}
    hold = {"channels": [{"name": case.channel}], "mode": "response", "timeout": 10}
    case.answer(instruct(json.dumps({"hold": hold, "response": response}) + "\n"))
    connection = case.poll()
    case.resolve("body", headers={"ETag": '"2"'}, code=200)
    answer = connection.read_response()
    assert (200, "OK", '"2"', b"body") == (answer.status, answer.head.reason, answer.value("ETag"), answer.body)


@pytest.mark.grip("instructions in JSON")
def test_header_instructions_count_too(case: Case) -> None:
    """Instructions in header fields beside the JSON are honoured: here a next link that is followed at once."""
    case.answer(instruct({"response": {"body": "one "}}, Grip_Link=f"<{case.path}/next>; rel=next"))
    case.answer(Reply(b"two"), at="/next")
    assert b"one two" == case.get().body


@pytest.mark.grip("instructions in JSON")
@pytest.mark.parametrize(
    "value",
    [
        "",
        "nonsense",
        "[]",
        "null",
        {"hold": 5},
        {"hold": []},
        {"hold": {}},
        {"hold": {"mode": "stream"}},
        {"hold": {"mode": "other", "channels": []}},
        {"hold": {"mode": None, "channels": []}},
        {"hold": {"channels": {}}},
        {"hold": {"channels": ["a"]}},
        {"hold": {"channels": [{}]}},
        {"hold": {"channels": [{"name": 5}]}},
        {"hold": {"channels": [{"name": None}]}},
        {"hold": {"channels": [{"name": "a", "prev-id": None}]}},
        {"hold": {"channels": [{"name": "a", "filters": "skip-self"}]}},
        {"hold": {"channels": [{"name": "a", "filters": [5]}]}},
        {"hold": {"channels": [], "timeout": -1}},
        {"hold": {"channels": [], "timeout": []}},
        {"hold": {"channels": [], "keep-alive": 5}},
        {"hold": {"channels": [], "keep-alive": {"content": "x", "timeout": -1}}},
        {"hold": {"channels": [], "meta": []}},
        {"hold": {"channels": [], "meta": {"a": 5}}},
        {"response": 5},
        {"response": {"code": -1}},
        {"response": {"code": 1000}},
        {"response": {"code": None}},
        {"response": {"reason": 5}},
        {"response": {"body": 5}},
        {"response": {"body": None}},
        {"response": {"body-bin": 5}},
        {"response": {"headers": 5}},
        {"response": {"headers": [["a"]]}},
        {"response": {"headers": [["a", 5]]}},
        {"response": {"headers": {"a": 5}}},
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value),
)
def test_malformed_json_instruct_is_refused(case: Case, value: Any) -> None:
    """A body that is no object, or has a member of a wrong type or value, makes a 502."""
    case.answer(instruct(value))
    assert 502 == case.get().status


@pytest.mark.grip("instructions in JSON")
@pytest.mark.parametrize("status", [201, 404, 500])
def test_json_instruct_on_another_status_is_refused(case: Case, status: int) -> None:
    """JSON instructions count on 200 only; on any other status they are an error."""
    case.answer(instruct({"response": {"body": "x"}}, status))
    assert 502 == case.get().status


@pytest.mark.grip("instructions in JSON")
def test_too_many_filters_are_refused(case: Case) -> None:
    """More than five filters on a channel are an error in JSON too."""
    channel = {"name": case.channel, "filters": ["skip-self"] * 6}
    case.answer(instruct({"hold": {"mode": "stream", "channels": [channel]}}))
    assert 502 == case.ask().read_head().status


@pytest.mark.grip("instructions in JSON")
@pytest.mark.parametrize("member", ["content", "content-bin"])
def test_keep_alive(case: Case, member: str) -> None:
    """Keep-alives can be given as text or base64."""
    content = "beat" if member == "content" else base64.b64encode(b"beat").decode()
    case.answer(instruct({"hold": holding(case, **{"keep-alive": {member: content, "timeout": 1}})}))
    assert b"beatbeat" == case.stream().read_data(8)
