"""Published items of both styles: what is taken, and how the error leads to what is not."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from gripproxy.errors import ItemError
from gripproxy.grip.item import HttpResponse, HttpStream, Item, WsMessage, parse_item, parse_items


def parse_format(name: str, plain: Any) -> Any:
    """Read an item with this format alone, and return the format."""
    item = parse_item({"channel": "c", "formats": {name: plain}}, "item")
    return item.response or item.stream or item.message


def problem_of(document: Any) -> str:
    """The error text for a body."""
    with pytest.raises(ItemError) as caught:
        parse_items(document if isinstance(document, bytes) else json.encode(document))
    return str(caught.value)


def problem_of_format(name: str, plain: Any) -> str:
    """The error text for a format, less the path to it."""
    start = f"Invalid format: items[0].formats.{name}"
    problem = problem_of({"items": [{"channel": "c", "formats": {name: plain}}]})
    assert problem.startswith(start)
    return problem.removeprefix(start)


# --- what libraries send


def test_an_item_of_the_python_library() -> None:
    body = (
        b'{"items": [{"http-response": {"headers": {"ETag": "\\"1415944588\\""}, '
        b'"body": "{\\n    \\"id\\": \\"1\\"\\n}\\n"}, '
        b'"http-stream": {"content": "event: update\\ndata: {\\"id\\": \\"1\\"}\\n\\n"}, '
        b'"ws-message": {"content": "{\\"id\\": \\"1\\"}"}, "channel": "headline-1"}]}'
    )
    expected = Item(
        "headline-1",
        response=HttpResponse("send", fields=((b"ETag", b'"1415944588"'),), body=b'{\n    "id": "1"\n}\n'),
        stream=HttpStream("send", b'event: update\ndata: {"id": "1"}\n\n'),
        message=WsMessage("send", "text", b'{"id": "1"}'),
    )
    assert (expected,) == parse_items(body)


def test_an_item_of_js_grip() -> None:
    body = (
        b'{"items":[{"formats":{"http-response":{"code":"200","headers":{"ETag":"\\"1\\""},"body":"{\\n}\\n"},'
        b'"http-stream":{"content":".."},"ws-message":{"content":"{}"}},"id":"5","prev-id":"4","channel":"headline-1"}]}'
    )
    expected = Item(
        "headline-1",
        "5",
        "4",
        HttpResponse("send", fields=((b"ETag", b'"1"'),), body=b"{\n}\n"),
        HttpStream("send", b".."),
        WsMessage("send", "text", b"{}"),
    )
    assert (expected,) == parse_items(body)


def test_an_item_of_django_eventstream() -> None:
    body = (
        b'{"items":[{"id":"1","prev-id":"0","meta":{"skip_users":"5"},"http-stream":{"content-filters":["build-id"],'
        b'"content":"id: %I\\n\\n"},"channel":"events-test/1"}]}'
    )
    expected = Item(
        "events-test/1", "1", "0", stream=HttpStream("send", b"id: %I\n\n", ("build-id",)), meta={"skip_users": "5"}
    )
    assert (expected,) == parse_items(body)


def test_no_items_are_fine() -> None:
    assert () == parse_items(b'{"items": [], "unknown": 1}')


# --- the item


def test_unknown_members_formats_and_the_size_are_ignored() -> None:
    item = {
        "channel": "c",
        "size": -1,
        "user": 1,
        "formats": {"http-stream": {"content": "x", "y": 1}, "json-object": 1},
    }
    assert Item("c", stream=HttpStream("send", b"x")) == parse_item(item, "item")


def test_an_item_of_unknown_formats_only_is_taken_and_delivers_nothing() -> None:
    assert Item("c") == parse_item({"channel": "c", "formats": {"json-object": {}}}, "item")


def test_formats_beside_the_object_of_formats_are_ignored() -> None:
    item = {"channel": "c", "formats": {"http-stream": {"content": "x"}}, "ws-message": 1}
    assert Item("c", stream=HttpStream("send", b"x")) == parse_item(item, "item")


def test_no_seq() -> None:
    assert parse_item({"channel": "c", "no-seq": True, "http-stream": {"action": "hint"}}, "item").no_seq


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (b"", "Body is not valid JSON: "),
        (b"{", "Body is not valid JSON: "),
        (b"{'items': []}", "Body is not valid JSON: "),
        (b'{"items": [NaN]}', "Body is not valid JSON: "),
        (b'{"items": ["\xff"]}', "Body is not valid JSON: "),
        (b'{"items": ["\\ud800"]}', "Body is not valid JSON: "),
        (b'{"items": ' + b"9" * 5000 + b"}", "Body is not valid JSON: "),
        (b"[" * 200_000, "Body is not valid JSON: "),
        (b'{"items":' + b'[{"a":' * 100_000, "Body is not valid JSON: "),
        ([], "Invalid format: body must be an object, not a list"),
        ({}, "Invalid format: object does not contain 'items'"),
        ({"items": None}, "Invalid format: items: must be a list, not null"),
        ({"items": {}}, "Invalid format: items: must be a list, not an object"),
        ({"items": [None]}, "Invalid format: items[0]: must be an object, not null"),
        ({"items": [{}]}, "Invalid format: items[0]: does not contain 'channel'"),
        ({"items": [{"channel": "c"}]}, "Invalid format: items[0]: no formats specified"),
        ({"items": [{"channel": "c", "formats": {}}]}, "Invalid format: items[0]: no formats specified"),
    ],
)
def test_a_body_that_is_wrong_as_a_whole(document: Any, problem: str) -> None:
    assert problem_of(document).startswith(problem)


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"channel": None}, ".channel: must be a string, not null"),
        ({"channel": 5}, ".channel: must be a string, not 5"),
        ({"channel": ""}, ".channel: must not be empty"),
        ({"channel": "x" * 1025}, ".channel: must have at most 1024 bytes, not 1025"),
        ({"channel": "a\nb"}, ".channel: must not have control characters: 'a\\nb'"),
        ({"id": 5}, ".id: must be a string, not 5"),
        ({"id": None}, ".id: must be a string, not null"),
        ({"prev-id": None}, ".prev-id: must be a string, not null"),
        ({"id": "a\r\nGrip-Sig: x"}, ".id: must not have control characters: 'a\\r\\nGrip-Sig: x'"),
        ({"formats": None}, ".formats: must be an object, not null"),
        ({"formats": []}, ".formats: must be an object, not a list"),
        ({"meta": None}, ".meta: must be an object, not null"),
        ({"meta": {"a": 5}}, ".meta.a: must be a string, not 5"),
        ({"meta": {"a": True}}, ".meta.a: must be a string, not true"),
        ({"meta": {"a\n": 5}}, ".meta['a\\n']: must be a string, not 5"),
        ({"meta": {"a" * 1000: 5}}, f".meta['{'a' * 77}'...]: must be a string, not 5"),
        ({"no-seq": "true"}, ".no-seq: must be true or false, not 'true'"),
        ({"http-stream": None}, ".http-stream: must be an object, not null"),
        ({"http-stream": {}}, ".http-stream: does not contain 'content' or 'content-bin'"),
    ],
)
def test_item_errors_lead_to_the_member(members: dict[str, Any], problem: str) -> None:
    item = {"channel": "c", "http-stream": {"content": "x"}} | members
    assert f"Invalid format: items[1]{problem}" == problem_of(
        {"items": [{"channel": "c", "ws-message": {"action": "hint"}}, item]}
    )


def test_a_batch_has_a_limit() -> None:
    item = {"channel": "c", "http-stream": {"content": "x"}}
    body = json.encode({"items": [item] * 3})
    assert len(parse_items(body, items_max=3)) == 3
    with pytest.raises(ItemError, match="items: must be at most 2, not 3"):
        parse_items(body, items_max=2)


# --- formats

FORMATS = ["http-response", "http-stream", "ws-message"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("action", ["hint", "close", "refresh"])
def test_other_actions_do_not_read_the_content(name: str, action: str) -> None:
    parsed = parse_format(name, {"action": action, "content": None, "body": None, "type": 5, "headers": 1})
    assert type(parsed)(action) == parsed


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("plain", "problem"),
    [
        (None, ": must be an object, not null"),
        ("x", ": must be an object, not 'x'"),
        ({"action": "sned"}, ": action must be one of send, hint, close, refresh, not 'sned'"),
        ({"action": None}, ".action: must be a string, not null"),
        ({"content": "", "content-filters": None}, ".content-filters: must be a list, not null"),
        ({"content": "", "content-filters": ["a", 1]}, ".content-filters[1]: must be a string, not 1"),
    ],
)
def test_what_is_wrong_in_any_format(name: str, plain: Any, problem: str) -> None:
    assert problem == problem_of_format(name, plain)


@pytest.mark.parametrize("name", ["http-stream", "ws-message"])
@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ({"content": "grün"}, "grün".encode()),
        ({"content": ""}, b""),
        ({"content-bin": "YWI="}, b"ab"),
        ({"content-bin": "YWJj\nZGU\n"}, b"abcde"),
        ({"content-bin": "YWI", "content": "x"}, b"ab"),
        ({"content": b"\xff"}, b"\xff"),
        ({"content-bin": b"\xff"}, b"\xff"),
    ],
)
def test_content_becomes_bytes(name: str, plain: Any, expected: bytes) -> None:
    assert expected == parse_format(name, plain).content


@pytest.mark.parametrize("name", ["http-stream", "ws-message"])
@pytest.mark.parametrize(
    ("plain", "problem"),
    [
        ({}, ": does not contain 'content' or 'content-bin'"),
        ({"content": None}, ".content: must be a string, not null"),
        ({"content": 5}, ".content: must be a string, not 5"),
        ({"content-bin": None, "content": "x"}, ".content-bin: must be a string, not null"),
    ],
)
def test_content_errors(name: str, plain: Any, problem: str) -> None:
    assert problem == problem_of_format(name, plain)


@pytest.mark.parametrize("filters", [[], ["build-id"], ["build-id", "unknown"]])
def test_content_filters_are_kept_in_order(filters: list[str]) -> None:
    for name in FORMATS:
        assert tuple(filters) == parse_format(name, {"content": "", "content-filters": filters}).content_filters
        assert parse_format(name, {"content": ""}).content_filters is None


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ({"body": "x"}, HttpResponse("send", body=b"x")),
        ({"body-bin": "/w==", "body": "x", "body-patch": []}, HttpResponse("send", body=b"\xff")),
        ({"body": "x", "body-patch": []}, HttpResponse("send", body=b"x")),
        ({}, HttpResponse("send", body=b"")),  # the JavaScript, Go, Ruby, PHP and Java libraries' empty body
        ({"code": "404"}, HttpResponse("send", 404, "Not Found", body=b"")),
        ({"code": 304, "reason": "NM"}, HttpResponse("send", 304, "NM", body=b"")),
        ({"code": 799, "reason": ""}, HttpResponse("send", 799, "Undefined Reason", body=b"")),
        ({"headers": [["A", "b"], ["a", "c"]]}, HttpResponse("send", fields=((b"A", b"b"), (b"a", b"c")), body=b"")),
        ({"headers": {"Grip-X": "1", "Content-Length": "9"}}, HttpResponse("send", body=b"")),
        (
            {"headers": [["grip-expose-headers", "A, b"], ["Grip-Expose-Headers", "ä"]]},
            HttpResponse("send", body=b"", exposed=frozenset({b"a", b"b", "ä".encode()})),
        ),
        ({"headers": {"Grip-Expose-Headers": " , "}}, HttpResponse("send", body=b"")),
        (
            {"body-patch": [{"op": "move", "from": "", "path": "/a"}]},
            HttpResponse("send", patch=[{"op": "move", "from": "", "path": "/a"}]),
        ),
    ],
)
def test_http_response(plain: Any, expected: HttpResponse) -> None:
    assert expected == parse_format("http-response", plain)


@pytest.mark.parametrize(
    ("plain", "problem"),
    [
        ({"code": 199}, ".code: must be an integer from 200 to 999, not 199"),
        ({"code": "abc"}, ".code: must be an integer from 200 to 999, not 'abc'"),
        ({"code": None}, ".code: must be an integer from 200 to 999, not null"),
        ({"reason": None}, ".reason: must be a string, not null"),
        ({"reason": "a\r\nb"}, ".reason: must not have control characters: 'a\\r\\nb'"),
        ({"headers": "x"}, ".headers: must be an object or a list of pairs, not 'x'"),
        ({"headers": [["A", "b"], ["A"]]}, ".headers[1]: must be a list of name and value, not a list"),
        ({"headers": {"A": "b\nc"}}, ".headers (A): must not have CR, LF or NUL: 'b\\nc'"),
        ({"body": None}, ".body: must be a string, not null"),
        ({"body-bin": 1}, ".body-bin: must be a string, not 1"),
        ({"body-patch": {}}, ".body-patch: must be a list, not an object"),
        ({"body-patch": [1]}, ".body-patch[0]: must be an object, not 1"),
        ({"body-patch": [{}]}, ".body-patch[0].op: must be one of add, remove, replace, move, copy, test, not null"),
        (
            {"body-patch": [{"op": "x"}]},
            ".body-patch[0].op: must be one of add, remove, replace, move, copy, test, not 'x'",
        ),
        ({"body-patch": [{"op": "remove"}]}, ".body-patch[0].path: must be a JSON pointer, not null"),
        ({"body-patch": [{"op": "remove", "path": "a"}]}, ".body-patch[0].path: must be a JSON pointer, not 'a'"),
        ({"body-patch": [{"op": "copy", "path": "/a"}]}, ".body-patch[0].from: must be a JSON pointer, not null"),
        ({"body-patch": [{"op": "add", "path": "/a"}]}, ".body-patch[0]: does not contain 'value', which add needs"),
    ],
)
def test_http_response_errors(plain: Any, problem: str) -> None:
    assert problem == problem_of_format("http-response", plain)


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ({"content": "x"}, WsMessage("send", "text", b"x")),
        ({"content-bin": "eA=="}, WsMessage("send", "binary", b"x")),
        ({"content-bin": "ab"}, WsMessage("send", "binary", b"i")),  # Go's raw text: wrong, but not an error
        ({"content-bin": "eA==", "type": "text"}, WsMessage("send", "text", b"x")),
        ({"content": "x", "type": "binary"}, WsMessage("send", "binary", b"x")),
        ({"type": "ping"}, WsMessage("send", "ping")),
        ({"type": "pong", "content": "x"}, WsMessage("send", "pong", b"x")),
        ({"action": "close"}, WsMessage("close")),
        ({"action": "close", "code": 0, "content": ""}, WsMessage("close")),
        ({"action": "close", "code": 4000, "reason": "bye"}, WsMessage("close", code=4000, reason="bye")),
        ({"action": "close", "code": "1001"}, WsMessage("close", code=1001)),
        ({"action": "close", "reason": "é" * 61}, WsMessage("close", reason="é" * 61)),
    ],
)
def test_ws_message(plain: Any, expected: WsMessage) -> None:
    assert expected == parse_format("ws-message", plain)


@pytest.mark.parametrize(
    ("plain", "problem"),
    [
        ({"type": "text"}, ": does not contain 'content' or 'content-bin'"),
        ({"type": "x", "content": ""}, ": type must be one of text, binary, ping, pong, not 'x'"),
        ({"type": None, "content": ""}, ".type: must be a string, not null"),
        ({"type": "text", "content-bin": "/w=="}, ".content-bin: must be UTF-8 in a message of type 'text'"),
        ({"type": "ping", "content": "x" * 126}, ": content of a ping must have at most 125 bytes, not 126"),
        ({"action": "close", "code": -1}, ".code: must be an integer of 0 or more, not -1"),
        ({"action": "close", "code": None}, ".code: must be an integer of 0 or more, not null"),
        ({"action": "close", "reason": 1}, ".reason: must be a string, not 1"),
        ({"action": "close", "reason": "é" * 62}, ": reason must have at most 123 bytes, not 124"),
    ],
)
def test_ws_message_errors(plain: Any, problem: str) -> None:
    assert problem == problem_of_format("ws-message", plain)


@pytest.mark.parametrize("code", [1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536])
def test_close_codes_that_must_not_be_sent_are_refused(code: int) -> None:
    expected = f": code must be a close code that may be sent, not {code}"
    assert expected == problem_of_format("ws-message", {"action": "close", "code": code})


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1014, 3000, 4999])
def test_close_codes_that_may_be_sent_are_taken(code: int) -> None:
    assert code == parse_format("ws-message", {"action": "close", "code": code}).code


# --- values


@pytest.mark.parametrize(
    "make",
    [
        lambda: Item(""),
        lambda: Item("a\n"),
        lambda: HttpStream("x"),
        lambda: HttpResponse("x"),
        lambda: HttpResponse("send", 100),
        lambda: WsMessage("x"),
        lambda: WsMessage("send", "x"),
        lambda: WsMessage("send", "ping", b"x" * 126),
        lambda: WsMessage("close", code=1005),
        lambda: WsMessage("close", reason="x" * 124),
    ],
)
def test_values_are_always_legal(make: Any) -> None:
    with pytest.raises(ItemError):
        make()


# --- anything at all

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FORMAT = PLAIN | st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(["code", "reason", "headers", "body", "body-bin", "body-patch", "type"], PLAIN)
    | dict.fromkeys(["content", "content-bin", "content-filters"], PLAIN)
    | {"action": st.sampled_from(["send", "close", "hint"])},
)
ITEM = PLAIN | st.fixed_dictionaries(
    {"channel": PLAIN | st.just("c")},
    optional={"id": PLAIN, "prev-id": PLAIN, "meta": PLAIN, "no-seq": PLAIN, "size": PLAIN}
    | dict.fromkeys(FORMATS, FORMAT)
    | {"formats": PLAIN | st.dictionaries(st.sampled_from(FORMATS), FORMAT)},
)


@given(st.binary() | st.fixed_dictionaries({"items": st.lists(ITEM, max_size=3) | PLAIN}))
def test_any_body_is_read_or_refused(document: Any) -> None:
    body = document if isinstance(document, bytes) else json.encode(document)
    try:
        items = parse_items(body)
    except ItemError as error:
        assert str(error).startswith(("Body is not valid JSON: ", "Invalid format: "))  # noqa: PT017
        return
    assert len(items) == len(json.decode(body)["items"])


@given(st.binary())
def test_binary_content_comes_back(content: bytes) -> None:
    plain = {"content-bin": base64.b64encode(content).decode()}
    assert content == parse_format("http-stream", plain).content


@pytest.mark.parametrize(
    ("item", "size"),
    [
        (Item("a"), 0),
        (Item("a", response=HttpResponse("hint"), stream=HttpStream("close"), message=WsMessage("close")), 0),
        (Item("a", response=HttpResponse("send", body=b"1234"), stream=HttpStream("send", b"123")), 4),
        (Item("a", stream=HttpStream("send", b"123"), message=WsMessage("send", content=b"12")), 3),
        (Item("a", message=WsMessage("send", content=b"12")), 2),
    ],
)
def test_the_largest_content_is_an_item_s_size(item: Item, size: int) -> None:
    assert size == item.content_size
