"""Control doors from outside: what a URL and options come to. Asking one is in tests/integration/test_control.py."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.door import MistakeError, parse_door
from gripproxy.grip.tokens import Key, verify

NOW = 1_700_000_000.0
SECRET = base64.b64encode(b"a secret of the realm").decode()


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


def test_credentials_do_not_show_in_a_repr() -> None:
    assert "opaque" not in repr(parse_door("http://h?key=opaque", None, None, None, None, NOW))


@given(st.text())
def test_any_control_url_is_accepted_or_refused_by_a_mistake(url: str) -> None:
    try:
        door = parse_door(url, None, None, None, None, NOW)
    except MistakeError:
        return
    assert door.path.endswith("/publish/")
