"""The table [bus]."""

from typing import Any

import pytest

from gripproxy.config import SettingError
from gripproxy.config.bus import Bus
from gripproxy.config.reader import Secret


@pytest.mark.parametrize(
    ("url", "scheme", "place"),
    [
        ("redis://h:1/0", "redis", "redis://h:1/0"),
        ("rediss://user:pass@h:1/0?ssl_ca_certs=/a.pem", "rediss", "rediss://h:1/0"),
        ("redis://:p@ss@h", "redis", "redis://h"),
    ],
)
def test_where_it_is_can_be_said_without_the_password(url: str, scheme: str, place: str) -> None:
    bus = Bus(url=Secret(url))

    assert (scheme, place) == (bus.scheme, bus.place)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"url": Secret("redis://:very-secret@")},
            "url: must be local: or redis(s)://[user:password@]host[:port][/db]",
        ),
        ({"key": ""}, "key: must not be empty"),
        ({"key": "a b"}, "key: must be without blanks and control characters, not 'a b'"),
    ],
)
def test_what_is_wrong_is_named_and_no_password(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingError) as caught:
        Bus(**settings)

    assert problem == str(caught.value)
