"""Response holds: long-polls that a publish, a hint or the time resolves."""

import base64
import time

import pytest

from tests.conformance.backend import Reply
from tests.conformance.case import Case, held


def waiting(case: Case, body: bytes = b"nothing yet\n", **fields: str) -> Reply:
    """The backend's long-poll."""
    return held(case.channel, body, "response", **fields)


@pytest.mark.grip("response holds")
def test_nothing_is_written_before_the_resolution(case: Case) -> None:
    """A held long-poll gets no byte, not even a head, until it is resolved."""
    case.answer(waiting(case))
    connection = case.poll()
    assert not connection.readable(0.3)
    case.resolve("now")
    assert b"now" == connection.read_response().body


@pytest.mark.grip("response holds")
def test_published_response(case: Case) -> None:
    """Code, reason and body are the published ones, the length is recomputed."""
    case.answer(waiting(case))
    connection = case.poll()
    case.resolve("published\n", code=201, reason="Own Words")
    response = connection.read_response()
    assert (201, "Own Words", b"published\n") == (response.status, response.head.reason, response.body)
    assert "10" == response.value("Content-Length")


@pytest.mark.grip("response holds")
def test_published_code_defaults_to_200(case: Case) -> None:
    """The held status does not matter: a published response is a 200 unless it says otherwise."""
    case.answer(Reply(b"x", [("Grip-Hold", "response"), ("Grip-Channel", case.channel), ("Grip-Status", "304 OWN")]))
    connection = case.poll()
    case.resolve("y")
    assert (200, "OK") == ((response := connection.read_response()).status, response.head.reason)


@pytest.mark.grip("response holds")
def test_fields_are_merged(case: Case) -> None:
    """The held fields go out, and a published field takes the place of all held ones of its name."""
    case.answer(waiting(case, X_Kept="1", ETag='"1"'))
    connection = case.poll()
    case.resolve("y", headers={"etag": '"2"', "X-New": "3"})
    head = connection.read_response().head
    assert ("text/plain", "1", ['"2"'], "3") == (
        head.value("Content-Type"),
        head.value("X-Kept"),
        head.values("ETag"),
        head.value("X-New"),
    )


@pytest.mark.grip("response holds")
def test_fields_as_pairs(case: Case) -> None:
    """Published fields may be pairs; a name may repeat."""
    case.answer(waiting(case))
    connection = case.poll()
    case.resolve("y", headers=[["X-Own", "1"], ["X-Own", "2"]])
    assert ["1", "2"] == connection.read_response().head.values("X-Own")


@pytest.mark.grip("response holds")
def test_published_instructions_stay_inside(case: Case) -> None:
    """Published Grip- fields do not reach the client."""
    case.answer(waiting(case))
    connection = case.poll()
    case.resolve("y", headers={"Grip-Hold": "stream", "X-Own": "1"})
    head = connection.read_response().head
    assert (None, "1") == (head.value("Grip-Hold"), head.value("X-Own"))


@pytest.mark.grip("response holds")
def test_published_fields_are_exposed_as_told(case: Case) -> None:
    """A published Grip-Expose-Headers names the only fields that the client gets, as an instructed one does."""
    case.answer(waiting(case))
    connection = case.poll()
    case.resolve("y", headers={"Grip-Expose-Headers": "X-Own, content-type", "X-Own": "1", "X-Hidden": "1"})
    head = connection.read_response().head
    fields = {name.lower(): value for name, value in head.fields}
    assert ("1", None, None) == (fields.get("x-own"), fields.get("x-hidden"), fields.get("grip-expose-headers"))
    assert fields.keys() <= {"x-own", "content-type", "content-length", "connection", "transfer-encoding"}


@pytest.mark.grip("items")
def test_binary_body(case: Case) -> None:
    """body-bin is base64, with line breaks or without."""
    case.answer(waiting(case))
    connection = case.poll()
    packed = base64.b64encode(b"\xff\x00" * 50).decode()
    case.publish({"http-response": {"body-bin": packed[:60] + "\n" + packed[60:] + "\n"}})
    assert b"\xff\x00" * 50 == connection.read_response().body


@pytest.mark.grip("items; client libraries")
def test_code_as_text(case: Case) -> None:
    """A code may be text, as one library sends it."""
    case.answer(waiting(case))
    connection = case.poll()
    case.resolve("y", code="404")
    assert (404, "Not Found") == ((response := connection.read_response()).status, response.head.reason)


@pytest.mark.grip("HTTP")
@pytest.mark.parametrize("code", [204, 304])
def test_published_code_without_body(case: Case, code: int) -> None:
    """A published 204 or 304 has no body, and the connection goes on."""
    case.answer(waiting(case), Reply(b"next"))
    connection = case.poll()
    case.resolve("", code=code)
    assert code == connection.read_head().status
    assert b"next" == connection.request(case.path).read_response().body


@pytest.mark.grip("response holds")
def test_all_polls_are_resolved(case: Case) -> None:
    """One publish answers every long-poll on the channel."""
    case.answer(waiting(case))
    connections = [case.poll() for _ in range(3)]
    case.resolve("all")
    assert [b"all"] * 3 == [connection.read_response().body for connection in connections]


@pytest.mark.grip("response holds")
def test_first_publish_wins(case: Case) -> None:
    """The first message ends the long-poll; the connection takes another request."""
    case.answer(waiting(case))
    connection = case.poll()
    item = {"http-response": {"body": "first"}}
    case.publish(item, {"http-response": {"body": "second"}})
    assert b"first" == connection.read_response().body
    connection.request(case.path)
    case.taken()
    case.settle()
    case.resolve("third")
    assert b"third" == connection.read_response().body


@pytest.mark.grip("response holds")
def test_several_channels(case: Case) -> None:
    """A publish on any of its channels resolves the long-poll."""
    case.answer(held(f"{case.channel}-1, {case.channel}-2", b"", "response"))
    connection = case.poll()
    case.resolve("second", channel=case.channel + "-2")
    assert b"second" == connection.read_response().body


@pytest.mark.grip("response holds")
@pytest.mark.parametrize("action", ["close", "refresh"])
def test_other_actions_are_ignored(case: Case, action: str) -> None:
    """A long-poll can be neither closed nor refreshed."""
    case.answer(waiting(case))
    connection = case.poll()
    case.publish({"http-response": {"action": action}})
    case.resolve("y")
    assert b"y" == connection.read_response().body


@pytest.mark.grip("response holds")
def test_other_formats_are_ignored(case: Case) -> None:
    """A long-poll takes the response format only."""
    case.answer(waiting(case))
    connection = case.poll()
    case.say("stream")
    case.tell("message")
    case.resolve("response")
    assert b"response" == connection.read_response().body


@pytest.mark.grip("response holds; instructions in fields: Grip-Timeout")
@pytest.mark.parametrize(
    ("seconds", "status", "reason", "body"),
    [(1, 203, "Nothing", b"nothing yet\n"), (5, 304, "NOT MODIFIED", b"")],
    ids=["floor", "not modified"],
)
def test_timeout_sends_the_held_response(case: Case, seconds: int, status: int, reason: str, body: bytes) -> None:
    """After its timeout, at least five seconds, a long-poll is answered with the held response itself."""
    case.answer(waiting(case, body, Grip_Timeout=str(seconds), Grip_Status=f"{status} {reason}", ETag='"1"'))
    started = time.monotonic()
    response = case.get()
    assert (status, reason, body) == (response.status, response.head.reason, response.body)
    assert ('"1"', None) == (response.value("ETag"), response.value("Grip-Timeout"))
    assert 4.0 < time.monotonic() - started < 10


@pytest.mark.slow
@pytest.mark.grip("instructions in fields: Grip-Timeout")
def test_timeout_defaults_to_55_seconds(case: Case) -> None:
    """Without a Grip-Timeout a long-poll lasts 55 seconds."""
    case.answer(waiting(case))
    connection = case.poll()
    assert not connection.readable(50)
    assert connection.readable(10)
    assert b"nothing yet\n" == connection.read_response().body


@pytest.mark.grip("response holds")
def test_hint_replays_the_request(case: Case) -> None:
    """A hint sends the original request to the backend again, whose new answer counts."""
    case.answer(waiting(case), Reply(b"fresh", [("X-Own", "1")]))
    connection = case.ask("?a=1", method="POST", fields=[("X-Client", "2")], body=b"original")
    case.taken()
    case.settle()
    case.publish({"http-response": {"action": "hint"}})
    response = connection.read_response()
    assert (b"fresh", "1") == (response.body, response.value("X-Own"))
    again = case.taken()
    assert ("POST", "a=1", b"original", "2") == (
        again.method,
        again.target.partition("?")[2],
        again.body,
        again.value("X-Client"),
    )
    assert again.value("Grip-Sig")


@pytest.mark.grip("response holds")
def test_hint_may_hold_again(case: Case) -> None:
    """The answer to a replay may be held again."""
    case.answer(waiting(case), waiting(case, b"held again"))
    connection = case.poll()
    case.publish({"http-response": {"action": "hint"}})
    case.taken()
    case.settle()
    case.resolve("done")
    assert b"done" == connection.read_response().body


PATCHES = [
    ('{"a": 1}\n', [{"op": "replace", "path": "/a", "value": 2}], '{"a":2}\n'),
    ('{"a": 1}', [{"op": "add", "path": "/b", "value": [1]}], '{"a":1,"b":[1]}'),
    ('{"a": 1, "b": 2}\r\n', [{"op": "remove", "path": "/a"}], '{"b":2}\r\n'),
    ('{"a": 1}', [{"op": "move", "from": "/a", "path": "/b"}], '{"b":1}'),
    ('{"a": {"x": 1}}', [{"op": "copy", "from": "/a/x", "path": "/b"}], '{"a":{"x":1},"b":1}'),
    ('["a"]', [{"op": "add", "path": "/-", "value": "b"}], '["a","b"]'),
    ('{"a": 1}', [{"op": "test", "path": "/a", "value": 1}, {"op": "remove", "path": "/a"}], "{}"),
]
BAD_PATCHES = [
    ('{"a": 1}', [{"op": "test", "path": "/a", "value": 2}, {"op": "remove", "path": "/a"}]),
    ('{"a": 1}', [{"op": "remove", "path": "/nothing"}]),
    ("no json", [{"op": "add", "path": "/a", "value": 1}]),
]


@pytest.mark.grip("items: body-patch")
@pytest.mark.parametrize(("before", "patch", "after"), PATCHES, ids=range(len(PATCHES)))
def test_body_patch(case: Case, before: str, patch: list, after: str) -> None:
    """A patch (RFC 6902) changes the held body; the line's end stays."""
    case.answer(waiting(case, before.encode()))
    connection = case.poll()
    case.publish({"http-response": {"body-patch": patch}})
    assert after == connection.read_response().body.decode()


@pytest.mark.grip("items: body-patch")
@pytest.mark.parametrize(("before", "patch"), BAD_PATCHES, ids=range(len(BAD_PATCHES)))
def test_body_patch_that_fails(case: Case, before: str, patch: list) -> None:
    """A patch that cannot be applied ends the long-poll, with a fresh answer of the backend's, empty, or an error."""
    case.answer(waiting(case, before.encode()), Reply(b"fresh"))
    connection = case.poll()
    case.publish({"http-response": {"body-patch": patch}})
    response = connection.read_response()
    expected = ((200, b"fresh"), (200, b""), (502, b"Error while proxying to origin.\n"))
    assert (response.status, response.body) in expected


@pytest.mark.grip("response holds")
def test_head_request(case: Case) -> None:
    """A held HEAD is resolved without a body; the connection goes on."""
    case.answer(waiting(case), Reply(b"next"))
    connection = case.poll(method="HEAD")
    case.resolve("body")
    assert 200 == connection.read_head().status
    assert b"next" == connection.request(case.path).read_response().body


@pytest.mark.grip("HTTP")
def test_http_1_0(case: Case) -> None:
    """An HTTP/1.0 client's long-poll is answered, then its connection ends."""
    case.answer(waiting(case))
    connection = case.poll(version="1.0")
    case.resolve("y")
    assert b"y" == connection.read_response().body
    assert connection.ended()


@pytest.mark.grip("response holds")
def test_client_that_leaves_does_no_harm(case: Case) -> None:
    """A client that leaves its long-poll is forgotten; the others are answered."""
    case.answer(waiting(case))
    leaving, staying = case.poll(), case.poll()
    leaving.reset()
    case.resolve("y")
    assert b"y" == staying.read_response().body


@pytest.mark.grip("response holds")
def test_pipelined_request_is_answered(case: Case) -> None:
    """A request that came together with the long-poll is answered after it, or the client is told to send it again."""
    case.answer(waiting(case))
    case.answer(Reply(b"behind"), at="/behind")
    connection = case.connect()
    both = [f"GET {case.path}{at} HTTP/1.1\r\nHost: x\r\n\r\n" for at in ("", "/behind")]
    connection.send("".join(both).encode())
    case.taken()
    case.settle()
    case.resolve("y")
    response = connection.read_response()
    assert b"y" == response.body
    if response.value("Connection") != "close":
        assert b"behind" == connection.read_response().body
