"""Instructions of a backend, as fields and as JSON: every default, floor, limit and error."""

import gzip
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from gripproxy.errors import InstructError
from gripproxy.grip.detection import DetectRule
from gripproxy.grip.fields import Fields
from gripproxy.grip.instruct import Channel, Instruct, KeepAlive, Link, is_instruct

JSON_TYPE = (b"Content-Type", b"application/grip-instruct")


def from_fields(*lines: str, status: int = 200, reason: str = "", body: bytes = b"") -> Instruct:
    """Read a response of these field lines."""
    pairs = (line.partition(":") for line in lines)
    fields = tuple((name.encode(), value.strip().encode()) for name, _, value in pairs)
    return Instruct.from_response(status, reason, fields, body)


def from_json(document: Any, *fields: tuple[bytes, bytes], status: int = 200) -> Instruct:
    """Read a response with these JSON instructions."""
    body = document if isinstance(document, bytes) else json.encode(document)
    return Instruct.from_response(status, "OK", (JSON_TYPE, *fields), body)


def hold(**members: Any) -> Instruct:
    """Read JSON instructions of a hold with these members."""
    return from_json({"hold": {"channels": []} | {name.replace("_", "-"): value for name, value in members.items()}})


# --- is_instruct


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ((), False),
        (((b"Content-Type", b"text/html"), (b"ETag", b"1")), False),
        (((b"grip-HOLD", b"stream"),), True),
        (((b"Grip-Foo", b""),), True),
        (((b"Gripper", b""),), False),
        ((JSON_TYPE,), True),
        (((b"content-type", b"Application/GRIP-Instruct; charset=utf-8"),), True),
        (((b"X-Type", b"application/grip-instruct"),), False),
        (((b"", b""),), False),
    ],
)
def test_is_instruct(fields: Fields, expected: bool) -> None:
    assert expected == is_instruct(fields)


# --- holds and their defaults


def test_a_response_without_instructions_is_for_the_client_as_it_is() -> None:
    instruct = from_fields("ETag: 1", "Content-Encoding: br", status=404, reason="Nope", body=b"x")
    expected = Instruct(
        None, status=404, reason="Nope", fields=((b"ETag", b"1"), (b"Content-Encoding", b"br")), body=b"x"
    )
    assert expected == instruct


def test_a_stream_hold_of_django_grip() -> None:
    instruct = from_fields(
        "Content-Type: text/event-stream",
        "Content-Length: 0",
        "Grip-Hold: stream",
        "Grip-Channel: headline-1",
        "Grip-Keep-Alive: event: keep-alive\\ndata:\\n\\n; format=cstring; timeout=20",
    )
    expected = Instruct(
        hold="stream",
        channels=(Channel("headline-1"),),
        keep_alive=KeepAlive(b"event: keep-alive\ndata:\n\n", 20, "idle"),
        fields=((b"Content-Type", b"text/event-stream"),),
    )
    assert expected == instruct


def test_a_long_poll_of_django_grip_over_a_304() -> None:
    instruct = from_fields(
        'ETag: "1795472557"',
        "Grip-Status: 304",
        "Grip-Hold: response",
        "Grip-Channel: headline-1",
        "Grip-Timeout: 10",
    )
    expected = Instruct(
        hold="response",
        channels=(Channel("headline-1"),),
        timeout=10,
        status=304,
        reason="Not Modified",
        fields=((b"ETag", b'"1795472557"'),),
    )
    assert expected == instruct


def test_a_long_poll_of_old_django_grip_as_json() -> None:
    instruct = from_json(
        b'{"hold": {"channels": [{"name": "headline-1"}], "mode": "response", "timeout": 10}, "response": '
        b'{"headers": [["ETag", "\\"1795474367\\""]], "reason": "NOT MODIFIED", "code": 304}}\n'
    )
    expected = Instruct(
        hold="response",
        channels=(Channel("headline-1"),),
        timeout=10,
        status=304,
        reason="NOT MODIFIED",
        fields=((b"ETag", b'"1795474367"'),),
        has_body_instruct=True,
    )
    assert expected == instruct


def test_a_reliable_stream_of_django_eventstream() -> None:
    instruct = from_fields(
        "Grip-Hold: stream",
        "Grip-Channel: events-b; prev-id=0; filter=build-id; filter=skip-users, events-test/1; prev-id=2, "
        "user-anonymous; filter=require-sub",
        'Grip-Set-Meta: id_format="b:%(events-b)s,test/1:%(events-test/1)s", user="anonymous"',
        "Grip-Link: </events/?link=next&recover=true&es-meta=ey.J>; rel=next",
    )
    expected = Instruct(
        hold="stream",
        channels=(
            Channel("events-b", "0", ("build-id", "skip-users")),
            Channel("events-test/1", "2"),
            Channel("user-anonymous", None, ("require-sub",)),
        ),
        meta={"id_format": "b:%(events-b)s,test/1:%(events-test/1)s", "user": "anonymous"},
        next_link=Link("/events/?link=next&recover=true&es-meta=ey.J", 120),
    )
    assert expected == instruct


@pytest.mark.parametrize(
    ("line", "document", "expected"),
    [
        ("Grip-Hold: response", {}, {"hold": "response"}),
        ("Grip-Timeout: 0", {"timeout": 0}, {"timeout": 5}),
        ("Grip-Timeout: 4", {"timeout": "4"}, {"timeout": 5}),
        ("Grip-Timeout: 6", {"timeout": 6.0}, {"timeout": 6}),
        ("Grip-Keep-Alive: x", {"keep-alive": {"content": "x"}}, {"keep_alive": KeepAlive(b"x", 55, "idle")}),
        (
            "Grip-Keep-Alive: x; timeout=0; mode=interval",
            {"keep-alive": {"content": "x", "timeout": 0, "mode": "interval"}},
            {"keep_alive": KeepAlive(b"x", 1, "interval")},
        ),
        (
            "Grip-Keep-Alive: \\n; FORMAT=cstring",
            {"keep-alive": {"content": "\\n", "format": "cstring"}},
            {"keep_alive": KeepAlive(b"\n")},
        ),
        (
            "Grip-Keep-Alive: AP8; format=base64",
            {"keep-alive": {"content-bin": "AP8="}},
            {"keep_alive": KeepAlive(b"\x00\xff")},
        ),
        (
            "Grip-Keep-Alive: b'AP8='; format=base64",
            {"keep-alive": {"content": "b'AP8='", "format": "base64"}},
            {"keep_alive": KeepAlive(b"\x00\xff")},
        ),
        ("Grip-Channel: a; prev-id=", {"channels": [{"name": "a", "prev-id": ""}]}, {"channels": (Channel("a"),)}),
        (
            "Grip-Channel: a;prev-id=5;filter=f;filter=g",
            {"channels": [{"name": "a", "prev-id": "5", "filters": ["f", "g"]}]},
            {"channels": (Channel("a", "5", ("f", "g")),)},
        ),
        ('Grip-Set-Meta: a=b, c="d,\\"e"', {"meta": {"a": "b", "c": 'd,"e'}}, {"meta": {"a": "b", "c": 'd,"e'}}),
    ],
)
def test_both_styles_say_the_same(line: str, document: dict[str, Any], expected: dict[str, Any]) -> None:
    by_fields = from_fields("Grip-Hold: response", line)
    by_json = from_json({"hold": {"channels": []} | document})
    for name, value in expected.items():
        assert (value, value) == (getattr(by_fields, name), getattr(by_json, name))


@pytest.mark.parametrize(
    ("line", "document", "problem"),
    [
        ("Grip-Hold: x", {"mode": "x"}, "must be 'response' or 'stream', not 'x'"),
        ("Grip-Hold: Stream", {"mode": "Stream"}, "must be 'response' or 'stream', not 'Stream'"),
        ("Grip-Timeout: x", {"timeout": "x"}, "must be an integer of 0 or more, not 'x'"),
        ("Grip-Timeout: -1", {"timeout": "-1"}, "must be an integer of 0 or more, not '-1'"),
        ("Grip-Keep-Alive: ; timeout=5", {"keep-alive": {"content": ""}}, "content must not be empty"),
        (
            "Grip-Keep-Alive: a; mode=x",
            {"keep-alive": {"content": "a", "mode": "x"}},
            "mode must be 'idle' or 'interval', not 'x'",
        ),
        (
            "Grip-Keep-Alive: a; format=x",
            {"keep-alive": {"content": "a", "format": "x"}},
            "format must be 'raw', 'cstring' or 'base64', not 'x'",
        ),
        (
            "Grip-Keep-Alive: a; timeout=-5",
            {"keep-alive": {"content": "a", "timeout": "-5"}},
            "timeout must be an integer of 0 or more, not '-5'",
        ),
        (
            "Grip-Keep-Alive: a\\; format=cstring",
            {"keep-alive": {"content": "a\\", "format": "cstring"}},
            "a backslash at the end escapes nothing",
        ),
        (
            "Grip-Keep-Alive: b'AP'8; format=base64; timeout=20",
            {"keep-alive": {"content": "b'AP'8", "format": "base64", "timeout": 20}},
            "must be base64, not \"b'AP'8\"",
        ),
        (
            "Grip-Channel: a; filter=1; filter=2; filter=3; filter=4; filter=5; filter=6",
            {"channels": [{"name": "a", "filters": ["1", "2", "3", "4", "5", "6"]}]},
            "too many filters for channel 'a': 6, not at most 5",
        ),
        ("Grip-Channel: ;prev-id=1", {"channels": [{"name": ""}]}, "must not be empty"),
        (f"Grip-Channel: {'x' * 1025}", {"channels": [{"name": "x" * 1025}]}, "must have at most 1024 bytes"),
    ],
)
def test_both_styles_refuse_the_same(line: str, document: dict[str, Any], problem: str) -> None:
    with pytest.raises(InstructError) as by_fields:
        from_fields(line)
    with pytest.raises(InstructError) as by_json:
        from_json({"hold": {"channels": []} | document})
    assert str(by_fields.value).startswith(line.partition(":")[0])
    assert str(by_json.value).startswith("hold.")
    assert problem in str(by_fields.value)
    assert problem in str(by_json.value)


# --- instructions as fields


def test_an_error_names_field_and_value() -> None:
    with pytest.raises(InstructError) as caught:
        from_fields("Grip-Hold: x")
    assert str(caught.value) == "Grip-Hold must be 'response' or 'stream', not 'x'"


def test_channels_of_all_fields_and_list_parts_are_taken_and_the_last_of_a_name_wins() -> None:
    instruct = from_fields(
        "Grip-Channel: a, b; prev-id=1", "GRIP-CHANNEL: c", "Grip-Channel: a; prev-id=2", "Grip-Channel:"
    )
    assert (Channel("a", "2"), Channel("b", "1"), Channel("c")) == instruct.channels


def test_only_the_filter_parameter_is_case_sensitive_and_unknown_ones_are_ignored() -> None:
    instruct = from_fields("Grip-Channel: a; Filter=x; PREV-ID=5; other=1; filter=y")
    assert (Channel("a", "5", ("y",)),) == instruct.channels


def test_channel_names_keep_their_quotes_and_their_charset() -> None:
    fields = ((b"Grip-Channel", '"grün"'.encode()), (b"Grip-Channel", "grün".encode("latin-1")))
    assert (Channel('"grün"'), Channel("grün")) == Instruct.from_response(200, "", fields, b"").channels


def test_the_first_of_a_field_that_is_no_list_wins() -> None:
    instruct = from_fields("Grip-Hold: stream", "Grip-Hold: x", "Grip-Timeout: 7", "Grip-Timeout: x")
    assert ("stream", 7) == (instruct.hold, instruct.timeout)


def test_raw_keep_alive_bytes_are_kept_as_they_are() -> None:
    fields = ((b"Grip-Keep-Alive", b"\xff\xc3\xa9; timeout=20"),)
    assert KeepAlive(b"\xff\xc3\xa9", 20) == Instruct.from_response(200, "", fields, b"").keep_alive


def test_empty_keep_alive_and_status_fields_are_ignored() -> None:
    instruct = from_fields("Grip-Keep-Alive:", "Grip-Status:", status=404)
    assert (None, 404, "Not Found") == (instruct.keep_alive, instruct.status, instruct.reason)


def test_meta_takes_one_pair_of_each_part() -> None:
    instruct = from_fields("Grip-Set-Meta: a=1; b=2, c", 'Grip-Set-Meta: d="x;y"')
    assert {"a": "1", "c": "", "d": "x;y"} == instruct.meta


@pytest.mark.parametrize(
    ("value", "status", "reason"),
    [("304", 304, "Not Modified"), ("200 Fine  day", 200, "Fine  day"), ("799", 799, "Undefined Reason")],
)
def test_grip_status(value: str, status: int, reason: str) -> None:
    instruct = from_fields(f"Grip-Status: {value}", status=500, reason="Backend")
    assert (status, reason) == (instruct.status, instruct.reason)


@pytest.mark.parametrize("value", ["0", "100", "199", "1000", "-200", "abc", "2oo OK", "٢٠٠"])
def test_grip_status_must_be_final(value: str) -> None:
    with pytest.raises(InstructError, match="Grip-Status must be an integer from 200 to 999, not "):
        from_fields(f"Grip-Status: {value}")


def test_a_reason_cannot_split_the_response() -> None:
    with pytest.raises(InstructError, match="Grip-Status reason must not have control characters"):
        Instruct.from_response(200, "", ((b"Grip-Status", b"200 OK\rX: y"),), b"")


@pytest.mark.parametrize(
    ("value", "next_link", "gone_link"),
    [
        ("</n>; rel=next", Link("/n", 120), None),
        ("</n>; rel=next; timeout=0", Link("/n", 0), None),
        ('</n>;timeout="7"; REL="next"', Link("/n", 7), None),
        ("</g>; rel=gone", None, Link("/g")),
        ("</n>; rel=next, </g>; rel=gone", Link("/n", 120), Link("/g")),
        ("</a>; rel=next, </b>; rel=next", Link("/b", 120), None),
        ("</n?a=1,2;b=3>; rel=next", Link("/n?a=1,2;b=3", 120), None),
        ("<https://h:8443/x?y>; rel=next", Link("https://h:8443/x?y", 120), None),
        ("<//h/x>; rel=next", Link("//h/x", 120), None),
        ("<?page=2>; rel=next", Link("?page=2", 120), None),
        ("</n>", None, None),
        ("</n>; rel=prev", None, None),
        ("", None, None),
        ("</grün>; rel=next", Link("/gr%C3%BCn", 120), None),
    ],
)
def test_grip_link(value: str, next_link: Link | None, gone_link: Link | None) -> None:
    instruct = from_fields(f"Grip-Link: {value}")
    assert (None, next_link, gone_link) == (instruct.hold, instruct.next_link, instruct.gone_link)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("/n; rel=next", "Grip-Link must be <URI>; rel="),
        ("</n; rel=next", "Grip-Link must be <URI>; rel="),
        ("</n> x; rel=next", "Grip-Link must be <URI>; rel="),
        ("<>; rel=next", "URI must not be empty"),
        ("</a b>; rel=next", "URI must have no blank, control or non-ASCII character"),
        ("</a\tb>; rel=gone", "URI must have no blank, control or non-ASCII character"),
        ("<ftp://h/>; rel=next", "URI must be relative, http or https"),
        ("<javascript:x>; rel=next", "URI must be relative, http or https"),
        ("<http:///x>; rel=next", "URI must be relative, http or https"),
        ("<http://[::1/x>; rel=next", "is malformed"),
        ("<http://h:x/>; rel=next", "is malformed"),
        ("<http://h:0/>; rel=next", "URI must name a server that can be asked"),
        ("<//@>; rel=next", "URI must name a server that can be asked"),
        ("<//:80/x>; rel=gone", "URI must name a server that can be asked"),
        ("<http://user:word@h/>; rel=next", "URI must name a server that can be asked"),
        ("</n>; rel=next; timeout=x", "Grip-Link.timeout must be an integer of 0 or more, not 'x'"),
        ('</n>; rel="next', "Grip-Link must have closed quotes"),
    ],
)
def test_grip_link_errors(value: str, problem: str) -> None:
    with pytest.raises(InstructError) as caught:
        from_fields(f"Grip-Link: {value}")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        'Grip-Channel: a; prev-id="1',
        'Grip-Set-Meta: a="1',
        'Grip-Keep-Alive: x; format="raw',
        'Grip-Last: a; last-id="',
    ],
)
def test_a_part_that_cannot_be_parsed_is_an_error_that_names_the_field(line: str) -> None:
    with pytest.raises(InstructError, match=line.partition(":")[0] + " must have closed quotes"):
        from_fields(line)


def test_grip_last() -> None:
    instruct = from_fields("Grip-Last: a; last-id=1, b; Last-Id=2")
    assert (("a", "1"), ("b", "2")) == instruct.last_ids
    with pytest.raises(InstructError, match="Grip-Last must have a last-id"):
        from_fields("Grip-Last: a")


@pytest.mark.parametrize(
    ("lines", "session", "rules"),
    [
        (["Grip-Session-Id: s"], "s", ()),
        (["Grip-Session-Id: a b; c"], "a b; c", ()),
        (["Grip-Session-Id: 1", "Grip-Session-Id: 2"], "1", ()),
        (["Grip-Session-Id:"], None, ()),
        (['Grip-Session-Detect: path-prefix=/a; sid-ptr="/b/c"'], None, (DetectRule("/a", "/b/c"),)),
        (['grip-session-detect: SID-PTR=""; Path-Prefix=/; json-param=d'], None, (DetectRule("/", "", "d"),)),
        (
            ['Grip-Session-Detect: path-prefix="/a,b"; sid-ptr=/c, path-prefix=/d; sid-ptr=/e; more=1'],
            None,
            (DetectRule("/a,b", "/c"), DetectRule("/d", "/e")),
        ),
        (["Grip-Session-Detect: path-prefix=/; sid-ptr=/1; sid-ptr=/2"], None, (DetectRule("/", "/1"),)),
        (["Grip-Session-Detect:"], None, ()),
    ],
)
def test_sessions(lines: list[str], session: str | None, rules: tuple[DetectRule, ...]) -> None:
    instruct = from_fields(*lines)
    assert (session, rules) == (instruct.session_id, instruct.detect_rules)
    assert is_instruct(tuple((line.partition(":")[0].encode(), b"") for line in lines))


def test_sessions_are_named_by_fields_beside_json_too() -> None:
    instruct = from_json({"hold": {"channels": []}}, (b"Grip-Session-Id", b"s"), (b"Grip-Last", b"a; last-id=1"))
    assert ("response", "s", (("a", "1"),)) == (instruct.hold, instruct.session_id, instruct.last_ids)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("Grip-Session-Id: a\x01b", "Grip-Session-Id must not have control characters"),
        ("Grip-Session-Id: " + "x" * 1025, "Grip-Session-Id must have at most 1024 bytes"),
        ("Grip-Session-Detect: path-prefix=/", "Grip-Session-Detect must have a sid-ptr"),
        ("Grip-Session-Detect: sid-ptr=/a", "Grip-Session-Detect must have a path-prefix"),
        ("Grip-Session-Detect: path-prefix=a; sid-ptr=/a", "Grip-Session-Detect: path-prefix must begin with a slash"),
        ("Grip-Session-Detect: path-prefix=/; sid-ptr=a", "Grip-Session-Detect: sid-ptr must be a JSON pointer"),
        ("Grip-Session-Detect: path-prefix=/; sid-ptr=/; json-param", "json-param must not be empty"),
        ('Grip-Session-Detect: path-prefix=/; sid-ptr="/', "Grip-Session-Detect must have closed quotes"),
    ],
)
def test_session_errors_name_the_field(line: str, problem: str) -> None:
    with pytest.raises(InstructError, match=problem):
        from_fields(line)


# --- what the client sees


def test_grip_hop_by_hop_and_length_fields_are_not_for_the_client() -> None:
    instruct = from_fields(
        "Grip-Foo: x",
        "Connection: close, X-Hop",
        "x-hop: 1",
        "Keep-Alive: timeout=5",
        "Transfer-Encoding: chunked",
        "Content-Length: 5",
        "Content-Encoding: gzip",
        "Set-Cookie: a",
        "Set-Cookie: b",
    )
    assert ((b"Content-Encoding", b"gzip"), (b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")) == instruct.fields


def test_grip_expose_headers_leaves_only_those_listed() -> None:
    instruct = from_fields("Grip-Expose-Headers: etag, X-A", "Grip-Expose-Headers: x-b", "ETag: 1", "X-B: 2", "X-C: 3")
    assert ((b"ETag", b"1"), (b"X-B", b"2")) == instruct.fields


def test_an_empty_grip_expose_headers_exposes_all() -> None:
    assert ((b"ETag", b"1"),) == from_fields("Grip-Expose-Headers:", "ETag: 1").fields


# --- instructions as JSON


def test_json_needs_status_200() -> None:
    with pytest.raises(InstructError, match="status of an application/grip-instruct response must be 200, not 304"):
        from_json({}, status=304)


def test_json_without_response_is_an_empty_one() -> None:
    expected = Instruct(None, has_body_instruct=True)
    assert expected == from_json({"unknown": 1}, (b"ETag", b"1"))


def test_json_extends_and_overrides_the_fields() -> None:
    instruct = from_json(
        {"hold": {"mode": "stream", "channels": [{"name": "b"}], "timeout": 9, "meta": {"m": "2"}}},
        (b"Grip-Hold", b"response"),
        (b"Grip-Channel", b"a"),
        (b"Grip-Timeout", b"8"),
        (b"Grip-Set-Meta", b"m=1, n=1"),
        (b"Grip-Link", b"</n>; rel=next"),
        (b"Grip-Status", b"404 Gone fishing"),
    )
    expected = Instruct(
        hold="stream",
        channels=(Channel("a"), Channel("b")),
        timeout=9,
        meta={"m": "2", "n": "1"},
        next_link=Link("/n", 120),
        status=404,
        reason="Gone fishing",
        has_body_instruct=True,
    )
    assert expected == instruct


def test_a_json_code_clears_the_reason_of_another() -> None:
    instruct = from_json({"response": {"code": "404"}}, (b"Grip-Status", b"500 Broken"))
    assert (404, "Not Found") == (instruct.status, instruct.reason)


@pytest.mark.parametrize(
    ("response", "body"),
    [({}, b""), ({"body": "é"}, "é".encode()), ({"body": "x", "body-bin": "AP8="}, b"\x00\xff")],
)
def test_json_body(response: dict[str, str], body: bytes) -> None:
    assert body == from_json({"response": response}).body


@pytest.mark.parametrize("headers", [{"A": "1", "Grip-X": "2"}, [["A", "1"], ["Content-Length", "7"]]])
def test_json_headers(headers: Any) -> None:
    assert ((b"A", b"1"),) == from_json({"response": {"headers": headers}}).fields


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "application/grip-instruct body is not valid JSON: "),
        (b"\xff", "application/grip-instruct body is not valid JSON: "),
        (b'"\xff"', "application/grip-instruct body is not valid JSON: "),
        (b"[" * 100_000, "application/grip-instruct body is not valid JSON: "),
        (b"[]", "instruct must be an object, not a list"),
        ({"hold": None}, "hold must be an object, not null"),
        ({"hold": {}}, "hold does not contain 'channels'"),
        ({"hold": {"channels": None}}, "hold.channels must be a list, not null"),
        ({"hold": {"channels": ["a"]}}, "hold.channels[0] must be an object, not 'a'"),
        ({"hold": {"channels": [{"name": "a"}, {}]}}, "hold.channels[1] does not contain 'name'"),
        ({"hold": {"channels": [{"name": None}]}}, "hold.channels[0].name must be a string, not null"),
        (
            {"hold": {"channels": [{"name": "a", "prev-id": None}]}},
            "hold.channels[0].prev-id must be a string, not null",
        ),
        ({"hold": {"channels": [{"name": "a\n"}]}}, "hold.channels[0]: channel name must not have control characters"),
        ({"hold": {"channels": [{"name": "a", "prev-id": "\n"}]}}, "hold.channels[0]: prev-id must not have control"),
        (
            {"hold": {"channels": [{"name": "a", "filters": [1]}]}},
            "hold.channels[0].filters[0] must be a string, not 1",
        ),
        ({"hold": {"channels": [], "mode": None}}, "hold.mode must be 'response' or 'stream', not null"),
        ({"hold": {"channels": [], "mode": []}}, "hold.mode must be 'response' or 'stream', not a list"),
        ({"hold": {"channels": [], "timeout": None}}, "hold.timeout must be an integer of 0 or more, not null"),
        ({"hold": {"channels": [], "timeout": True}}, "hold.timeout must be an integer of 0 or more, not true"),
        ({"hold": {"channels": [], "keep-alive": None}}, "hold.keep-alive must be an object, not null"),
        ({"hold": {"channels": [], "keep-alive": {}}}, "hold.keep-alive does not contain 'content' or 'content-bin'"),
        ({"hold": {"channels": [], "keep-alive": {"content": 1}}}, "hold.keep-alive.content must be a string, not 1"),
        ({"hold": {"channels": [], "meta": {"a": 1}}}, "hold.meta.a must be a string, not 1"),
        ({"response": []}, "response must be an object, not a list"),
        ({"response": {"code": 1000}}, "response.code must be an integer from 200 to 999, not 1000"),
        ({"response": {"code": "abc"}}, "response.code must be an integer from 200 to 999, not 'abc'"),
        ({"response": {"reason": "a\r\nb"}}, "response.reason must not have control characters"),
        ({"response": {"reason": None}}, "response.reason must be a string, not null"),
        ({"response": {"headers": 1}}, "response.headers must be an object or a list of pairs, not 1"),
        ({"response": {"headers": [["A", "b\n"]]}}, "response.headers[0] (A) must not have CR, LF or NUL"),
        ({"response": {"body": None}}, "response.body must be a string, not null"),
        ({"response": {"body-bin": 1}}, "response.body-bin must be a string, not 1"),
    ],
)
def test_json_errors_lead_to_the_member(document: Any, message: str) -> None:
    with pytest.raises(InstructError) as caught:
        from_json(document)
    assert str(caught.value).startswith(message)


# --- values


@pytest.mark.parametrize(
    "make",
    [
        lambda: Channel(""),
        lambda: Channel("a\n"),
        lambda: Channel("a", "\n"),
        lambda: Channel("a", None, ("f",) * 6),
        lambda: KeepAlive(b""),
        lambda: KeepAlive(b"x", 0),
        lambda: KeepAlive(b"x", 1, "x"),
        lambda: Link(""),
        lambda: Link("/a b"),
        lambda: Instruct("x"),
    ],
)
def test_values_are_always_legal(make: Any) -> None:
    with pytest.raises(InstructError):
        make()


# --- anything at all

NAMES = st.sampled_from(
    b"Grip-Hold Grip-Channel Grip-Timeout Grip-Keep-Alive Grip-Set-Meta Grip-Status Grip-Link Grip-Expose-Headers "
    b"Grip-Last Grip-Session-Id Grip-Session-Detect Connection Content-Type ETag".split()
)
VALUES = st.binary(max_size=40) | st.text('ab12 <>/;,="\\-rel=next').map(str.encode)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
HOLDS = st.fixed_dictionaries(
    {}, optional={"mode": PLAIN, "channels": PLAIN, "timeout": PLAIN, "keep-alive": PLAIN, "meta": PLAIN}
)
RESPONSES = st.fixed_dictionaries(
    {}, optional={"code": PLAIN, "reason": PLAIN, "headers": PLAIN, "body": PLAIN, "body-bin": PLAIN}
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6).map(tuple), st.binary(max_size=30))
def test_any_fields_are_read_or_refused(fields: Fields, body: bytes) -> None:
    try:
        instruct = Instruct.from_response(200, "OK", fields, body)
    except InstructError:
        return
    assert not any(name.lower().startswith(b"grip-") for name, _ in instruct.fields)


@given(st.binary() | st.fixed_dictionaries({}, optional={"hold": HOLDS | PLAIN, "response": RESPONSES | PLAIN}))
def test_any_json_is_read_or_refused(document: Any) -> None:
    try:
        instruct = from_json(document)
    except InstructError:
        return
    assert instruct.has_body_instruct


# --- compressed bodies


@pytest.mark.parametrize("name", [b"Grip-Hold", b"Grip-Channel", b"Grip-Link"])
def test_a_body_that_is_gone_on_with_is_decoded(name: bytes) -> None:
    value = {b"Grip-Hold": b"stream", b"Grip-Channel": b"c; filter=build-id", b"Grip-Link": b"</n>; rel=next"}[name]
    fields = ((b"Content-encoding", b"gzip"), (b"X-Own", b"1"), (name, value))
    found = Instruct.from_response(200, "OK", fields, gzip.compress(b"body"))
    assert (b"body", ((b"X-Own", b"1"),)) == (found.body, found.fields)


def test_a_body_that_is_for_the_client_alone_stays_coded() -> None:
    fields = ((b"Content-Encoding", b"br"),)
    found = Instruct.from_response(200, "OK", (*fields, (b"Grip-Status", b"203")), b"coded")
    assert (b"coded", fields) == (found.body, found.fields)


def test_an_answer_to_head_has_no_body_to_decode() -> None:
    found = Instruct.from_response(200, "OK", ((b"Content-Encoding", b"gzip"), (b"Grip-Hold", b"stream")), b"")
    assert b"" == found.body


@pytest.mark.parametrize(
    ("coding", "body", "problem"),
    [
        (b"br", b"x", "Content-Encoding must be gzip, deflate or none, not 'br'"),
        (b"gzip", b"x", "Content-Encoding is gzip, "),
    ],
)
def test_a_body_that_can_not_be_decoded_is_an_error(coding: bytes, body: bytes, problem: str) -> None:
    with pytest.raises(InstructError, match=problem):
        Instruct.from_response(200, "OK", ((b"Grip-Hold", b"stream"), (b"Content-Encoding", coding)), body)
