"""What ``gripproxy publish`` makes of its command line; sending it is in tests/integration/test_control.py."""

import base64
import io
import json
import ssl
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from gripproxy import publish
from gripproxy.door import Door
from gripproxy.grip.item import parse_items
from gripproxy.publish import describe_receipt, publish_command

RECEIPT = json.dumps(
    {
        "message": "Published",
        "scope": "process",
        "timed_out": False,
        "items": [
            {
                "channel": "c",
                "id": None,
                "result": "delivered",
                "receivers": {"http-response": 0, "http-stream": 3, "ws-message": 1},
            }
        ],
    }
)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Door, dict[str, Any]]]:
    """Collect what would be posted."""
    posts: list[tuple[Door, dict[str, Any]]] = []

    def take(door: Door, body: bytes, tls: ssl.SSLContext | None = None) -> str:
        assert (door.scheme == "https") == (tls is not None)
        posts.append((door, json.loads(body)))
        return RECEIPT if "wait=" in door.query else "Published"

    monkeypatch.setattr(publish, "post", take)
    monkeypatch.delenv("GRIP_URL", raising=False)
    return posts


def item_of(arguments: list[str], sent: list[tuple[Door, dict[str, Any]]], stdin: bytes = b"") -> dict[str, Any]:
    result = CliRunner().invoke(publish_command, arguments, input=stdin)
    assert (0, "Published\n") == (result.exit_code, result.output)
    items = sent[-1][1]["items"]
    assert 1 == len(items)
    parse_items(json.dumps({"items": items}).encode())
    return items[0]  # type: ignore[no-any-return]


def formats_of(arguments: list[str], sent: list[tuple[Door, dict[str, Any]]], stdin: bytes = b"") -> dict[str, Any]:
    return item_of(arguments, sent, stdin)["formats"]  # type: ignore[no-any-return]


BYTES = base64.b64encode(b"\xff\x00").decode()


@pytest.mark.parametrize(
    ("arguments", "stdin", "expected"),
    [
        (
            ["c", "hello"],
            b"",
            {
                "http-response": {"body": "hello\n"},
                "http-stream": {"content": "hello\n"},
                "ws-message": {"content": "hello"},
            },
        ),
        (["c", "hello", "--no-eol", "--format", "http-stream"], b"", {"http-stream": {"content": "hello"}}),
        (["c", "", "--format", "http-stream"], b"", {"http-stream": {"content": "\n"}}),
        (["c", "-", "--format", "ws-message"], b"from stdin\n", {"ws-message": {"content": "from stdin\n"}}),
        (
            ["c", "-", "--binary"],
            b"\xff\x00",
            {
                "http-response": {"body-bin": BYTES},
                "http-stream": {"content-bin": BYTES},
                "ws-message": {"content-bin": BYTES},
            },
        ),
        (["c", "--close"], b"", {"http-stream": {"action": "close"}, "ws-message": {"action": "close"}}),
        (
            ["c", "--close", "--code", "4001", "--reason", "bye", "--format", "ws-message"],
            b"",
            {"ws-message": {"action": "close", "code": 4001, "reason": "bye"}},
        ),
        (
            ["c", "--hint"],
            b"",
            {"http-response": {"action": "hint"}, "http-stream": {"action": "hint"}, "ws-message": {"action": "hint"}},
        ),
        (
            ["c", "x", "--code", "404", "--reason", "Gone Fishing", "--header", "ETag: \"1\"", "--header", "A:b:c",
             "--format", "http-response"],
            b"",
            {
                "http-response": {
                    "body": "x\n",
                    "code": 404,
                    "reason": "Gone Fishing",
                    "headers": [["ETag", '"1"'], ["A", "b:c"]],
                }
            },
        ),
        (
            ["c", '[{"op":"remove","path":"/a"}]', "--patch"],
            b"",
            {"http-response": {"body-patch": [{"op": "remove", "path": "/a"}]}},
        ),
    ],
)  # fmt: skip
def test_content_becomes_the_formats_of_an_item(
    arguments: list[str], stdin: bytes, expected: dict[str, Any], sent: list[tuple[Door, dict[str, Any]]]
) -> None:
    assert expected == formats_of(arguments, sent, stdin)


def test_ids_meta_and_no_seq_are_members_of_the_item(sent: list[tuple[Door, dict[str, Any]]]) -> None:
    options = ["--id", "5", "--prev-id", "4", "--meta", "a=b=c", "--meta", "d=", "--sender", "me", "--no-seq"]
    item = item_of(["c", "x", *options], sent)

    del item["formats"]
    expected = {
        "channel": "c",
        "id": "5",
        "prev-id": "4",
        "meta": {"a": "b=c", "d": "", "sender": "me"},
        "no-seq": True,
    }
    assert expected == item


def test_content_is_read_from_a_file(tmp_path: Path, sent: list[tuple[Door, dict[str, Any]]]) -> None:
    path = tmp_path / "content"
    path.write_bytes("grüße".encode())

    assert {"ws-message": {"content": "grüße"}} == formats_of(["c", f"@{path}", "--format", "ws-message"], sent)


@pytest.mark.parametrize(
    ("arguments", "stdin", "error"),
    [
        (["c"], b"", "give CONTENT, @FILE, - for standard input, --close or --hint"),
        (["c", "x", "--close"], b"", "--close takes no content"),
        (["c", "--close", "--hint"], b"", "--close and --hint exclude each other"),
        (["c", "-"], b"a\xff", "the content is not UTF-8 at byte 1; give --binary"),
        (["c", "@/nowhere/at/all"], b"", "/nowhere/at/all: No such file or directory"),
        (["c", "x", "--header", "no colon"], b"", "--header: 'no colon' is not NAME:VALUE"),
        (["c", "x", "--meta", "=v"], b"", "--meta: '=v' is not NAME=VALUE"),
        (["c", "{}", "--patch"], b"", "--patch: the content is not a list of operations (RFC 6902)"),
        (["c", "[]", "--patch", "--format", "ws-message"], b"", "a patch cannot be sent as ws-message"),
        (["c", "--close", "--format", "http-response"], b"", "action close cannot be sent as http-response"),
        (["c", "x", "--control", "ftp://h"], b"", "the control URL must be http(s)://host[:port][/path]"),
        (["c", "x", "--control", "http://h:99999"], b"", "the control URL's port is not a number from 0 to 65535"),
        (["c", "x", "--control", "http://[::1"], b"", "the control URL is not valid: Invalid IPv6 URL"),
        (["c", "x", "--bearer", "a\nb"], b"", "the credentials hold characters that a header field cannot carry"),
        (["c", "x", "--key", "base64:***"], b"", "the key cannot be used: the key is not valid base64"),
        (["c", "x", "--json"], b"", "--json needs --wait"),
        (["c", "x", "--control", "https://h", "--cert-key", "k"], b"", "--cert-key needs --cert"),
        (
            ["c", "x", "--control", "https://h", "--cacert", "/nowhere/at/all"],
            b"",
            "--cacert: /nowhere/at/all cannot be used: No such file or directory",
        ),
        (
            ["c", "x", "--control", "https://h", "--cert", "/nowhere/at/all"],
            b"",
            "--cert: /nowhere/at/all cannot be used: No such file or directory",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], stdin: bytes, error: str, sent: list[tuple[Door, dict[str, Any]]]
) -> None:
    result = CliRunner().invoke(publish_command, arguments, input=stdin)

    assert (2, f"Error: {error}\n") == (result.exit_code, result.output)
    assert [] == sent


def test_the_door_is_where_grip_url_says(
    sent: list[tuple[Door, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRIP_URL", "http://proxy:5561/realm/a?key=opaque")
    item_of(["c", "x"], sent)

    door = sent[-1][0]
    assert ("proxy:5561", "/realm/a/publish/", "Bearer opaque") == (door.address, door.path, door.authorization)


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        (["--zmq", "tcp://a:1"], "tcp://a:1"),
        (["--zmq", "ipc:///a", "--control", "http://b"], "ipc:///a"),
        (["--spec", "tcp://a:1"], "tcp://a:1"),
        ([], "ipc:///of/grip_url"),
    ],
)
def test_an_item_is_pushed_where_an_address_is_given(
    arguments: list[str], address: str, sent: list[tuple[Door, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = []
    monkeypatch.setattr(publish, "push", lambda endpoint, message: pushed.append((endpoint, json.loads(message))))
    monkeypatch.setenv("GRIP_URL", "ipc:///of/grip_url")
    result = CliRunner().invoke(publish_command, ["c", "x", "--format", "http-stream", *arguments])

    assert (0, "Sent\n", []) == (result.exit_code, result.output, sent)
    assert [(address, {"channel": "c", "formats": {"http-stream": {"content": "x\n"}}})] == pushed


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--zmq", "a:1"], "the ZeroMQ address must be tcp://host:port, tcp://*:port or ipc:///path, not 'a:1'"),
        (["--zmq", "tcp://a:1", "--realm", "r"], "ZeroMQ knows no realms and no credentials: leave out --realm, "),
        (["--zmq", "tcp://a:1", "-B", "t"], "ZeroMQ knows no realms and no credentials: leave out --realm, "),
        (["--zmq", "tcp://a:1", "--wait", "queued"], "ZeroMQ knows no answers: leave out --wait"),
    ],
)
def test_an_address_to_push_to_is_checked(arguments: list[str], problem: str) -> None:
    result = CliRunner().invoke(publish_command, ["c", "x", *arguments])

    assert 2 == result.exit_code
    assert result.output.startswith(f"Error: {problem}")


def test_pushing_needs_pyzmq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zmq", None)
    result = CliRunner().invoke(publish_command, ["c", "x", "--zmq", "tcp://a:1"])

    assert 2 == result.exit_code
    assert result.output.startswith("Error: --zmq needs pip install 'gripproxy[zmq]' (")


def test_every_option_of_pushpin_publish_is_taken(sent: list[tuple[Door, dict[str, Any]]]) -> None:
    arguments = ["c", "x", "--id", "2", "--prev-id", "1", "--sender", "s", "--code", "201", "-H", "A: b", "-M", "k=v"]
    item = item_of([*arguments, "--no-seq", "--no-eol", "--spec", "https://h/p", "-u", "a:b"], sent)
    door = sent[-1][0]

    assert {
        "channel": "c",
        "id": "2",
        "prev-id": "1",
        "meta": {"k": "v", "sender": "s"},
        "no-seq": True,
        "formats": {
            "http-response": {"code": 201, "headers": [["A", "b"]], "body": "x"},
            "http-stream": {"content": "x"},
            "ws-message": {"content": "x"},
        },
    } == item
    assert ("https", "h", "/p/publish/", "Basic YTpi") == (door.scheme, door.address, door.path, door.authorization)


@given(st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=100), st.binary())
def test_any_content_makes_an_item_that_the_door_can_parse(channel: str, content: bytes) -> None:
    what = publish.Content(content, "send", True, False, True, None, None, ())
    item = publish.build_item(channel, (), what)

    parsed = parse_items(json.dumps({"items": [item]}).encode())[0]

    assert (channel, content) == (parsed.channel, parsed.stream and parsed.stream.content)


def test_standard_input_is_read_as_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(b"\xff\n")

    monkeypatch.setattr("sys.stdin", Stdin())

    assert b"\xff\n" == publish.read_content("-", "send")


@pytest.mark.parametrize(
    ("arguments", "query", "output"),
    [
        (["--wait", "written"], "wait=written", "delivered: 0 http-response, 3 http-stream, 1 ws-message\n"),
        (["--wait", "queued", "--json"], "wait=queued", RECEIPT + "\n"),
        (["--wait", "queued", "--json", "--control", "http://h?x=1"], "x=1&wait=queued", RECEIPT + "\n"),
        (["--control", "https://h"], "", "Published\n"),
    ],
)
def test_what_a_door_tells_of_the_receivers_is_shown(
    arguments: list[str], query: str, output: str, sent: list[tuple[Door, dict[str, Any]]]
) -> None:
    result = CliRunner().invoke(publish_command, ["c", "x", *arguments])
    assert (0, output, query) == (result.exit_code, result.output, sent[-1][0].query)


def test_what_is_not_written_in_time_is_shown() -> None:
    text = RECEIPT.replace("false", "true")
    assert "delivered: 0 http-response, 3 http-stream, 1 ws-message; not all is written yet" == describe_receipt(text)


@pytest.mark.parametrize("text", ["Published", "{}", "[]", '{"items": []}', "null"])
def test_a_door_without_receipts_is_told_so(text: str) -> None:
    with pytest.raises(click.ClickException, match="the door gives no receipts; it answered: "):
        describe_receipt(text)
