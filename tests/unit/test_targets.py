"""A backend's settings become a target."""

from dataclasses import replace
from typing import Any

import pytest

from gripproxy.config import Backend, Route
from gripproxy.targets import Target

OWN: dict[str, Any] = {
    "weight": 2,
    "host_header": "h",
    "websocket": "passthrough",
    "one_event": True,
    "subscribe": ("x",),
    "verify": False,
    "verify_host": "v",
    "ca": "ca",
    "client_cert": "cert",
    "client_key": "key",
    "public_only": True,
}


def target_of(url: str, **settings: Any) -> Target:
    (backend,) = Route(backends=(Backend(url=url, **settings),)).complete_backends()
    return Target.from_setting(backend)


@pytest.mark.parametrize(
    ("url", "target", "authority", "text"),
    [
        ("http://127.0.0.1:8000", Target("http", "127.0.0.1", 8000), b"127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://a", Target("https", "a", 443), b"a", "https://a"),
        ("http://a:443", Target("http", "a", 443), b"a:443", "http://a:443"),
        ("http://[::1]:80", Target("http", "::1", 80), b"[::1]", "http://[::1]"),
    ],
)
def test_a_url_becomes_a_target(url: str, target: Target, authority: bytes, text: str) -> None:
    made = target_of(url)

    assert target == made
    assert (authority, text, text) == (made.authority, made.url, str(made))


def test_every_setting_is_there() -> None:
    assert Target("http", "a", 80, **OWN) == target_of("http://a", **OWN)
    assert ("passthrough", True) == target_of("http://a", **OWN).kind


@pytest.mark.parametrize("name", OWN)
def test_targets_with_other_settings_are_others(name: str) -> None:
    """Connections of one must not be used for the other; equal ones are found by each other."""
    plain = Target("http", "a", 80)
    other = replace(plain, **{name: OWN[name]})

    assert plain != other
    assert {plain: 1, other: 2} == {Target("http", "a", 80): 1, replace(other): 2}


def test_what_names_a_target_follows_its_place() -> None:
    assert "http://b" == replace(Target("http", "a", 80), host="b").url
