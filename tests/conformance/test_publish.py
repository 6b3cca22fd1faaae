"""The control door: item shapes, batches, answers and errors."""

import json
from typing import Any

import pytest

from tests.conformance.case import Case, held
from tests.conformance.client import Connection

GOOD = b'{"items": []}'


@pytest.mark.grip("control door")
@pytest.mark.parametrize("path", ["/publish", "/publish/"])
def test_success(case: Case, path: str) -> None:
    """A publish is answered 200, `Published`, in plain text."""
    response = case.post(GOOD, path)
    assert (200, b"Published\n") == (response.status, response.body)
    assert "text/plain" == (response.value("Content-Type") or "").partition(";")[0]


@pytest.mark.grip("control door")
@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/plain", "text/plain"),
        ("text/*", "text/plain"),
        ("*/*", "text/plain"),
        ("application/json", "application/json"),
        ("application/*", "application/json"),
        ("text/html, image/gif, image/jpeg, */*; q=0.2", "text/plain"),
        ("application/json, text/plain; q=0.5", "application/json"),
    ],
)
def test_success_as_accepted(case: Case, accept: str, expected: str) -> None:
    """The answer is JSON if that is what the publisher accepts."""
    response = case.post(GOOD, fields=[("Accept", accept)])
    assert (200, expected) == (response.status, (response.value("Content-Type") or "").partition(";")[0])
    if expected == "application/json":
        assert {"message": "Published"} == json.loads(response.body)


@pytest.mark.grip("control door")
def test_nothing_acceptable(case: Case) -> None:
    """A publisher that accepts neither text nor JSON gets a 406."""
    assert 406 == case.post(GOOD, fields=[("Accept", "text/html")]).status


@pytest.mark.grip("control door")
@pytest.mark.parametrize("media_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_content_type_is_not_checked(case: Case, media_type: str) -> None:
    """A publish is JSON, whatever its Content-Type says."""
    response = case.control("/publish/", fields=[("Content-Type", media_type)], body=GOOD)
    assert 200 == response.status


@pytest.mark.grip("client libraries")
@pytest.mark.parametrize("value", ["", "Bearer abc", "Basic dTpw"], ids=["empty", "bearer", "basic"])
def test_authorization_is_not_needed(case: Case, value: str) -> None:
    """A door without a key takes whatever Authorization a library sends."""
    assert 200 == case.post(GOOD, fields=[("Authorization", value)]).status


@pytest.mark.grip("control door")
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_root(case: Case, method: str) -> None:
    """The control door's root answers something."""
    assert 200 == case.control("/", method, body=b"" if method == "POST" else None).status


@pytest.mark.grip("control door")
@pytest.mark.parametrize("path", ["/publish/", "/recover"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_other_methods(case: Case, path: str, method: str) -> None:
    """Only POST publishes."""
    response = case.control(path, method)
    assert (405, "POST") == (response.status, response.value("Allow"))


@pytest.mark.grip("control door")
@pytest.mark.parametrize("path", ["/nothing", "/publishx", "/publish/x/y"])
def test_unknown_path(case: Case, path: str) -> None:
    """Anything else is a 404."""
    assert 404 == case.post(GOOD, path).status


@pytest.mark.grip("client libraries")
@pytest.mark.parametrize("path", ["/publish/?x=1", "/publish?x=1"])
def test_query_is_ignored(case: Case, path: str) -> None:
    """A query behind the path does not matter."""
    assert 200 == case.post(GOOD, path).status


@pytest.mark.grip("client libraries")
def test_realm_path(case: Case) -> None:
    """Fanout Cloud's path names a realm; the default one is the one of /publish/."""
    case.answer(held(case.channel))
    connection = case.stream()
    body = {"items": [{"channel": case.channel, "http-stream": {"content": "x"}}]}
    assert 200 == case.post(json.dumps(body).encode(), "/realm/default/publish/").status
    assert b"x" == connection.read_data(1)


@pytest.mark.grip("control door")
def test_connection_is_kept_alive(case: Case) -> None:
    """A publisher may send its next request on the same connection."""
    connection = Connection(*case.proxy.control)
    try:
        for _ in range(3):
            connection.request("/publish/", "POST", body=GOOD)
            assert 200 == connection.read_response().status
    finally:
        connection.close()


@pytest.mark.grip("control door")
def test_chunked_upload(case: Case) -> None:
    """A publish may be chunked."""
    connection = Connection(*case.proxy.control)
    try:
        connection.request("/publish/", "POST", [("Transfer-Encoding", "chunked")])
        connection.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD))
        assert 200 == connection.read_response().status
    finally:
        connection.close()


@pytest.mark.grip("control door")
def test_expectation_is_met(case: Case) -> None:
    """A publisher that expects 100-continue gets it."""
    connection = Connection(*case.proxy.control)
    try:
        connection.request("/publish/", "POST", [("Expect", "100-continue"), ("Content-Length", str(len(GOOD)))])
        assert 100 == connection.read_head().status
        connection.send(GOOD)
        assert 200 == connection.read_response().status
    finally:
        connection.close()


def item(**members: Any) -> dict[str, Any]:
    """A good item with members changed; a member that is ... is left out."""
    whole = {"channel": "nowhere", "formats": {"http-stream": {"content": "x"}}} | members
    named = {name.replace("_", "-"): value for name, value in whole.items()}
    return {name: value for name, value in named.items() if value is not ...}


def response(**members: Any) -> dict[str, Any]:
    """An item with just a response format."""
    named = {name.replace("_", "-"): value for name, value in members.items()}
    return {"channel": "nowhere", "formats": {"http-response": named}}


def message(**members: Any) -> dict[str, Any]:
    """An item with just a message format."""
    named = {name.replace("_", "-"): value for name, value in members.items()}
    return {"channel": "nowhere", "formats": {"ws-message": named}}


BAD_ITEMS: list[Any] = [
    5,
    "x",
    item(channel=...),
    item(channel=None),
    item(channel=5),
    item(id=5),
    item(id=None),
    item(prev_id=5),
    item(formats=...),
    item(formats={}),
    item(formats=[]),
    item(formats=None),
    item(meta=[]),
    item(meta={"k": 5}),
    item(meta={"k": None}),
    item(formats={"http-stream": {}}),
    item(formats={"http-stream": {"content": 5}}),
    item(formats={"http-stream": {"content": None}}),
    item(formats={"http-stream": {"content-bin": 5}}),
    item(formats={"http-stream": {"action": "other", "content": "x"}}),
    item(formats={"http-stream": {"content": "x", "content-filters": "build-id"}}),
    item(formats={"http-stream": {"content": "x", "content-filters": [5]}}),
    item(formats={"http-stream": []}),
    item(formats={"http-stream": "x"}),
    response(body=5),
    response(body="x", code=-1),
    response(body="x", code=1000),
    response(body="x", code=None),
    response(body="x", code=[]),
    response(body="x", reason=5),
    response(body="x", headers=5),
    response(body="x", headers=[["a"]]),
    response(body="x", headers=[["a", 5]]),
    response(body="x", headers={"a": 5}),
    response(body_patch={}),
    message(),
    message(type="other", content="x"),
    message(content=5),
    message(action="close", code=-1),
    message(action="close", reason=5),
]


@pytest.mark.grip("control door: errors")
@pytest.mark.parametrize("bad", BAD_ITEMS, ids=json.dumps)
def test_bad_item_is_refused(case: Case, bad: Any) -> None:
    """An item with a missing member, or one of a wrong type or value, is a 400 that names the format's fault."""
    answer = case.post(json.dumps({"items": [bad]}).encode())
    assert (400, True) == (answer.status, answer.body.startswith(b"Invalid format"))


@pytest.mark.grip("control door: errors")
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", b"Body is not valid JSON"),
        (b"nonsense", b"Body is not valid JSON"),
        (b'{"items": [', b"Body is not valid JSON"),
        (b"[]", b"Invalid format"),
        (b"{}", b"Invalid format"),
        (b'{"items": {}}', b"Invalid format"),
        (b'{"items": null}', b"Invalid format"),
    ],
)
def test_bad_body_is_refused(case: Case, body: bytes, text: bytes) -> None:
    """A body that is no object with a list of items is a 400 with Pushpin's words."""
    answer = case.post(body)
    assert (400, True) == (answer.status, answer.body.startswith(text))


@pytest.mark.grip("control door")
def test_one_bad_item_refuses_the_batch(case: Case) -> None:
    """If one item is bad, none of the batch is published."""
    case.answer(held(case.channel))
    connection = case.stream()
    good = {"channel": case.channel, "http-stream": {"content": "never"}}
    assert 400 == case.post(json.dumps({"items": [good, {"channel": case.channel}]}).encode()).status
    case.say("x")
    assert b"x" == connection.read_data(1)


GOOD_ITEMS: list[Any] = [
    item(),
    item(formats=..., http_stream={"content": "x"}),
    item(unknown=5, user=None, no_seq=True, size=5),
    item(formats={"unknown": {}}),
    item(formats={"http-stream": {"action": "close", "content": ""}}),
    item(formats={"http-stream": {"action": "hint"}}),
    item(formats={"http-stream": {"content": "x", "content-filters": []}}),
    item(formats={"http-stream": {"content-bin": "A\nA\n"}}),
    item(meta={}),
    item(id="1", prev_id="0"),
    item(channel="\u20ac \u00e4 ,;"),
    response(),
    response(body=""),
    response(body="x", code="200", headers=[]),
    response(body="x", headers={}),
    response(action="hint"),
    response(body_patch=[]),
    message(content="x"),
    message(content_bin="AA=="),
    message(content="x", type="binary"),
    message(type="ping"),
    message(action="close"),
    message(action="close", code=4000, reason="x"),
    message(action="refresh"),
    message(action="hint"),
]


@pytest.mark.grip("items")
@pytest.mark.parametrize("good", GOOD_ITEMS, ids=json.dumps)
def test_good_item_is_taken(case: Case, good: Any) -> None:
    """Every legal item is taken, in either style, with members that nobody knows."""
    answer = case.post(json.dumps({"items": [good]}).encode())
    assert (200, b"Published\n") == (answer.status, answer.body)


@pytest.mark.grip("items; client libraries")
@pytest.mark.parametrize("style", ["flat", "wrapped"])
def test_all_formats_in_one_item(case: Case, style: str) -> None:
    """One item carries a format for every kind of hold, flat or wrapped in `formats`."""
    case.answer(held(case.channel), at="/stream")
    case.answer(held(case.channel, b"", "response"), at="/poll")
    stream, poll = case.stream("/stream"), case.poll("/poll")
    formats = {"http-stream": {"content": "s"}, "http-response": {"body": "r"}, "ws-message": {"content": "w"}}
    case.publish(formats if style == "flat" else {"formats": formats})
    assert (b"s", b"r") == (stream.read_data(1), poll.read_response().body)


@pytest.mark.grip("control door")
def test_batch_over_several_channels(case: Case) -> None:
    """The items of a batch may be for several channels; each channel's keep their order."""
    one, two = case.channel + "-1", case.channel + "-2"
    case.answer(held(one), at="/1")
    case.answer(held(two), at="/2")
    first, second = case.stream("/1"), case.stream("/2")
    batch = [{"channel": (one, two)[i % 2], "http-stream": {"content": str(i)}} for i in range(10)]
    case.publish(*batch)
    assert (b"02468", b"13579") == (first.read_data(5), second.read_data(5))


@pytest.mark.grip("control door: limits")
def test_large_publish(case: Case) -> None:
    """A body of 900,000 bytes is taken."""
    case.answer(held(case.channel))
    connection = case.stream()
    case.say("x" * 900_000)
    assert b"x" * 900_000 == connection.read_data(900_000)


@pytest.mark.grip("control door: limits")
def test_too_large_publish(case: Case) -> None:
    """A body far beyond the limit is refused with a client error."""
    connection = Connection(*case.proxy.control)
    try:
        connection.request("/publish/", "POST", [("Content-Length", str(1 << 30))])
        assert connection.read_response().status in (400, 413)
    finally:
        connection.close()


@pytest.mark.grip("control door")
def test_publish_without_body(case: Case) -> None:
    """A POST without any body is a client error."""
    assert case.control("/publish/").status in (400, 411)


@pytest.mark.grip("control door")
def test_malformed_request(case: Case) -> None:
    """A head that is none is answered 400."""
    connection = Connection(*case.proxy.control)
    try:
        connection.send(b"nonsense\r\n\r\n")
        assert 400 == connection.read_response().status
    finally:
        connection.close()


@pytest.mark.grip("control door")
def test_recover(case: Case) -> None:
    """POST /recover is answered 200, `Updated`."""
    response = case.post(b"", "/recover")
    assert (200, b"Updated\n") == (response.status, response.body)
