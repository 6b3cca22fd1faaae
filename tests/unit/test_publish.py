"""What ``gripproxy publish`` makes of its command line; sending it is in tests/integration/test_control.py."""

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from gripproxy import publish
from gripproxy.grip.item import parse_items
from gripproxy.grip.tokens import Key, verify
from gripproxy.publish import Door, MistakeError, parse_door, publish_command

NOW = 1_700_000_000.0
SECRET = base64.b64encode(b"a secret of the realm").decode()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Door, dict[str, Any]]]:
    """Collect what would be posted."""
    posts: list[tuple[Door, dict[str, Any]]] = []

    def take(door: Door, body: bytes) -> str:
        posts.append((door, json.loads(body)))
        return "Published"

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
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], stdin: bytes, error: str, sent: list[tuple[Door, dict[str, Any]]]
) -> None:
    result = CliRunner().invoke(publish_command, arguments, input=stdin)

    assert (2, f"Error: {error}\n") == (result.exit_code, result.output)
    assert [] == sent


@pytest.mark.parametrize(
    ("url", "realm", "expected"),
    [
        ("http://127.0.0.1:5561", None, ("http", "127.0.0.1:5561", "/publish/", "")),
        ("http://127.0.0.1:5561/", None, ("http", "127.0.0.1:5561", "/publish/", "")),
        ("127.0.0.1:5561", None, ("http", "127.0.0.1:5561", "/publish/", "")),
        ("https://api.fastly.com/service/id", None, ("https", "api.fastly.com", "/service/id/publish/", "")),
        ("http://[::1]:5561", None, ("http", "[::1]:5561", "/publish/", "")),
        ("http://h/realm/a?x=1&iss=a&verify-key=k", None, ("http", "h", "/realm/a/publish/", "x=1")),
        ("http://h/realm/a", "b c", ("http", "h", "/realm/b%20c/publish/", "")),
        ("http://h/prefix", "b", ("http", "h", "/prefix/realm/b/publish/", "")),
    ],
)
def test_a_control_url_says_where_to_post(url: str, realm: str | None, expected: tuple[str, str, str, str]) -> None:
    door = parse_door(url, realm, None, None, None, NOW)

    assert expected == (door.scheme, door.address, door.path, door.query)


@pytest.mark.parametrize(
    ("url", "realm", "key", "issuer"),
    [
        (f"http://h/realm/a?iss=a&key=base64:{SECRET}", None, None, "a"),
        (f"http://h/realm/a?iss=other&key=base64:{SECRET}", None, None, "other"),
        ("http://h/realm/a", None, f"base64:{SECRET}", "a"),
        ("http://h", "b", f"base64:{SECRET}", "b"),
        ("http://h", None, f"base64:{SECRET}", "default"),
        ("http://h/?iss=c&key=wrong", None, f"base64:{SECRET}", "c"),
    ],
)
def test_a_key_signs_a_token_of_the_issuer(url: str, realm: str | None, key: str | None, issuer: str) -> None:
    door = parse_door(url, realm, key, None, None, NOW)

    assert door.authorization is not None
    scheme, _, token = door.authorization.partition(" ")
    assert "Bearer" == scheme
    verify([Key.from_text(f"base64:{SECRET}")], token, NOW, issuer)


def test_a_plus_in_a_base64_key_survives_the_url() -> None:
    key = Key.from_bytes(b"\xfb\xef\xbe and more of it")
    text = base64.b64encode(key.content).decode()
    assert "+" in text

    door = parse_door(f"http://h?iss=a&key=base64:{text}", None, None, None, None, NOW)

    assert door.authorization is not None
    verify([key], door.authorization.removeprefix("Bearer "), NOW, "a")


def test_a_key_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"base64:{SECRET}\n")

    door = parse_door("http://h", "a", f"file:{path}", None, None, NOW)

    assert door.authorization is not None
    verify([Key.from_text(f"base64:{SECRET}")], door.authorization.removeprefix("Bearer "), NOW, "a")


@pytest.mark.parametrize(
    ("url", "bearer", "user", "expected"),
    [
        ("http://h", None, None, None),
        ("http://h?key=opaque", None, None, "Bearer opaque"),
        ("http://h?key=opaque", "given", None, "Bearer given"),
        ("http://h", None, "u:p", "Basic dTpw"),
        ("http://u:p@h", None, None, "Basic dTpw"),
        ("http://u:%70@h?key=opaque", None, None, "Bearer opaque"),
        ("http://h?key=opaque", None, "u:p", "Basic dTpw"),
    ],
)
def test_credentials_without_a_key_to_sign_with(
    url: str, bearer: str | None, user: str | None, expected: str | None
) -> None:
    assert expected == parse_door(url, None, None, bearer, user, NOW).authorization


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
    assert result.output.startswith("Error: --zmq needs pip install gripproxy[zmq] (")


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


def test_credentials_do_not_show_in_a_repr() -> None:
    assert "opaque" not in repr(parse_door("http://h?key=opaque", None, None, None, None, NOW))


@given(st.text())
def test_any_control_url_is_accepted_or_refused_by_a_mistake(url: str) -> None:
    try:
        door = parse_door(url, None, None, None, None, NOW)
    except MistakeError:
        return
    assert door.path.endswith("/publish/")


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
