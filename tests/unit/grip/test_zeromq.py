"""Messages of the ZeroMQ sockets: items in either coding, commands and replies, statistics."""

import json
from contextlib import suppress
from typing import Any

import pytest
import tnetstring  # of tnetstring3
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.errors import ItemError
from gripproxy.grip.item import HttpResponse, HttpStream, Item, WsMessage
from gripproxy.grip.tnetstring import parse
from gripproxy.grip.zeromq import (
    STATISTICS_FORMATS,
    Command,
    Reply,
    encode_reply,
    parse_command,
    parse_message,
    parse_published,
)

STREAM = {"channel": "a", "formats": {"http-stream": {"content": "x\n"}}}
ITEM = Item("a", stream=HttpStream("send", b"x\n"))


def as_bytes(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list):
        return [as_bytes(element) for element in value]
    if isinstance(value, dict):
        return {as_bytes(name): as_bytes(element) for name, element in value.items()}
    return value


def typed(value: Any) -> bytes:
    return bytes(tnetstring.dumps(as_bytes(value)))


@pytest.mark.parametrize(
    "data",
    [b"J" + json.dumps(STREAM).encode(), b"T" + typed(STREAM), typed(STREAM)],
    ids=["JSON", "typed netstring", "typed netstring without letter"],
)
def test_an_item_is_read_in_each_coding(data: bytes) -> None:
    assert ITEM == parse_message(data)


def test_the_channel_of_the_message_counts_instead_of_the_item_s() -> None:
    without = {"formats": STREAM["formats"]}

    assert ITEM == parse_message(b"J" + json.dumps({**STREAM, "channel": "b"}).encode(), b"a")
    assert ITEM == parse_message(typed(without), b"a")


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        (
            {
                "channel": "ä",
                "id": "2",
                "prev-id": "1",
                "meta": {"k": "v"},
                "no-seq": True,
                "http-stream": {"content": b"\xff"},
            },
            Item("ä", "2", "1", stream=HttpStream("send", b"\xff"), meta={"k": "v"}, no_seq=True),
        ),
        (
            {
                "channel": "a",
                "http-response": {
                    "code": 404,
                    "reason": "No",
                    "headers": [["A", b"\xfc"]],
                    "body": b"\xff",
                    "content-filters": ["f"],
                },
            },
            Item("a", response=HttpResponse("send", 404, "No", ((b"A", b"\xfc"),), b"\xff", None, ("f",))),
        ),
        (
            {"channel": "a", "http-response": {"body-patch": [{"op": "add", "path": "/a", "value": "ä"}]}},
            Item("a", response=HttpResponse("send", patch=[{"op": "add", "path": "/a", "value": "ä"}])),
        ),
        ({"channel": "a", "ws-message": {"content": "x"}}, Item("a", message=WsMessage("send", "text", b"x"))),
        (
            {"channel": "a", "ws-message": {"content": b"\xff", "type": "binary"}},
            Item("a", message=WsMessage("send", "binary", b"\xff")),
        ),
        # Raw in this format, as Pushpin has it, even if it looks like base64 ...
        (
            {"channel": "a", "ws-message": {"content-bin": "AQI="}},
            Item("a", message=WsMessage("send", "binary", b"AQI=")),
        ),
        # ... and base64 in those where Pushpin does not look at it, but pubcontrol sends it.
        (
            {"channel": "a", "http-stream": {"content-bin": "AQI="}, "http-response": {"body-bin": "AQI="}},
            Item("a", stream=HttpStream("send", b"\1\2"), response=HttpResponse("send", body=b"\1\2")),
        ),
        (
            {"channel": "a", "ws-message": {"action": "close", "code": 4000, "reason": "bye"}},
            Item("a", message=WsMessage("close", code=4000, reason="bye")),
        ),
    ],
)
def test_strings_of_typed_netstrings_are_texts_or_contents(plain: dict[str, Any], expected: Item) -> None:
    assert expected == parse_message(typed(plain))


@pytest.mark.parametrize(
    ("data", "channel", "problem"),
    [
        (b"", None, "neither JSON after J nor a typed netstring: byte 0: a length is missing"),
        (b"J", None, "neither JSON after J nor a typed netstring: "),
        (b"J{", None, "neither JSON after J nor a typed netstring: "),
        (b"J\xff", None, "neither JSON after J nor a typed netstring: "),
        (b'{"channel":"a"}', None, "neither JSON after J nor a typed netstring: byte 0: a length is missing"),
        (b"T", None, "neither JSON after J nor a typed netstring: byte 0: a length is missing"),
        (b"J" + b"[" * 100_000, None, "neither JSON after J nor a typed netstring: "),
        (b"J[]", None, "item: must be an object, not a list"),
        (b"J[]", b"a", "item: must be an object, not a list"),
        (b"1:1#", b"a", "item: must be an object, not 1"),
        (b"J{}", None, "item: does not contain 'channel'"),
        (b"J{}", b"a", "item: no formats specified"),
        (b"J{}", b"", "item.channel: must not be empty"),
        (b"J{}", b"\xff", "a channel, name or other text is not UTF-8"),
        (typed({**STREAM, "channel": b"\xff"}), None, "item.channel: must be a string, not bytes"),
        (typed({**STREAM, "id": b"\xff"}), None, "item.id: must be a string, not bytes"),
        (
            typed({"channel": "a", "ws-message": {"content": b"\xff"}}),
            None,
            "item.formats.ws-message.content: must be UTF-8 in a message of type 'text'",
        ),
        (
            typed({"channel": "a", "http-response": {"body-patch": [{"op": "add", "path": "/a", "value": [b"\xff"]}]}}),
            None,
            "a channel, name or other text is not UTF-8",
        ),
    ],
)
def test_what_is_wrong_is_said(data: bytes, channel: bytes | None, problem: str) -> None:
    with pytest.raises(ItemError) as caught:
        parse_message(data, channel)

    assert str(caught.value).startswith(problem)


NAMES = [b"channel", b"formats", b"http-stream", b"http-response", b"ws-message", b"content", b"content-bin", b"body"]
NAMES += [b"body-bin", b"body-patch", b"type", b"meta", b"headers", b"action"]
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.binary() | st.sampled_from([b"a", b"send", b"text"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(PLAIN.map(tnetstring.dumps) | st.binary().map(lambda data: b"J" + data) | st.binary(), st.none() | st.binary())
def test_any_message_is_an_item_or_refused(data: bytes, channel: bytes | None) -> None:
    with suppress(ItemError):
        item = parse_message(data, channel)
        assert item.message is None or item.message.type != "text" or item.message.content.decode() is not None


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ({"method": "recover"}, Command("recover")),
        ({"method": "m", "id": "7", "args": {"ids": ["a"]}, "from": 1}, Command("m", {"ids": [b"a"]}, b"7")),
        ({"method": b"\xff"}, Command("\ufffd")),
        ({"method": 1}, None),
        ({"method": "recover", "id": 1}, None),
        ({"method": "recover", "args": []}, None),
        ({"id": "7"}, None),
        ([], None),
    ],
)
def test_a_command_is_read_or_none(plain: Any, expected: Command | None) -> None:
    assert expected == parse_command(typed(plain))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(), {"success": True, "value": None}),
        (Reply([b"a"]), {"success": True, "value": ["a"]}),
        (Reply({"a": "ä"}), {"success": True, "value": {"a": "ä"}}),
        (Reply(None, "bad-request"), {"success": False, "condition": "bad-request"}),
        (Reply("why", "bad-request"), {"success": False, "condition": "bad-request", "value": "why"}),
    ],
)
def test_a_reply_has_a_value_or_a_condition(reply: Reply, expected: dict[str, Any]) -> None:
    assert as_bytes(expected) == tnetstring.loads(encode_reply(None, reply))
    assert as_bytes({"id": "7", **expected}) == tnetstring.loads(encode_reply(Command("m", {}, b"7"), reply))


def test_the_items_of_a_command_are_read_like_messages() -> None:
    items = parse(typed([STREAM, {**STREAM, "channel": "ä"}]))

    assert (ITEM, Item("ä", stream=HttpStream("send", b"x\n"))) == parse_published({"items": items})


@given(st.binary() | PLAIN.map(tnetstring.dumps))
def test_any_bytes_are_a_command_or_none(data: bytes) -> None:
    command = parse_command(data)

    assert command is None or type(command.method) is str


def test_a_statistic_has_its_kind_before_it() -> None:
    members = {"channel": "ä", "count": 2, "unavailable": True}
    kind, _, typed_members = STATISTICS_FORMATS["tnetstring"]("message", members).partition(b" T")
    assert (b"message", as_bytes(members)) == (kind, tnetstring.loads(typed_members))

    kind, _, plain = STATISTICS_FORMATS["json"]("message", members).partition(b" J")
    assert (b"message", members) == (kind, json.loads(plain))
