"""A plan is checked when it is made."""

import math
from typing import Any

import pytest

from gripproxy.errors import ConfigError
from gripproxy.load.plan import Control, Endpoint, Plan, endpoints

URLS = endpoints("mixed", ("http://127.0.0.1:7999/{mode}/{channel}",))
CONTROL = Control.from_grip_url("http://127.0.0.1:5561")


def plan(**settings: Any) -> Plan:
    return Plan(**{"mode": "stream", "urls": URLS, "control": CONTROL, **settings})


def test_a_url_without_a_kind_serves_every_kind_of_the_mode() -> None:
    assert {"stream": "/stream/{channel}", "ws": "/ws/{channel}", "poll": "/poll/{channel}"} == {
        kind: one.path for kind, one in URLS.items()
    }


def test_a_kind_may_have_a_url_of_its_own() -> None:
    found = endpoints("mixed", ("ws=ws://push:81/s?room={channel}", "https://push/{mode}"))

    assert Endpoint("http", "push", 81, "/s?room={channel}") == found["ws"]
    assert Endpoint("https", "push", 443, "/poll") == found["poll"]


@pytest.mark.parametrize(
    ("url", "authority"),
    [("http://a/", "a"), ("http://a:81", "a:81"), ("https://a:443/x", "a"), ("http://[::1]:80/", "[::1]")],
)
def test_the_authority_leaves_out_what_is_understood(url: str, authority: str) -> None:
    assert authority == Endpoint.from_url(url, "--url").authority


@pytest.mark.parametrize(
    "url", ["", "/x", "ftp://a/", "http://", "http://a:99999/", "http://a/ b", "http://a/\r\n", "http://ä/"]
)
def test_a_bad_url_is_blamed_on_its_option(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^--url: "):
        Endpoint.from_url(url, "--url")


def test_a_channel_is_quoted_in_a_path() -> None:
    assert "/x/a%2Fb%20c" == Endpoint.from_url("http://a/x/{channel}", "--url").path_for("a/b c")


@pytest.mark.parametrize(
    ("url", "path", "issuer", "key"),
    [
        ("http://h:5561", "/publish/", None, None),
        ("http://h:5561/", "/publish/", None, None),
        ("http://h/realm/x?iss=x&key=base64:c2VjcmV0", "/realm/x/publish/", "x", b"secret"),
        ("http://h/realm/x?iss=x&key=base64%3A%2B%2B%2B%2B", "/realm/x/publish/", "x", b"\xfb\xef\xbe"),
        ("http://h/realm/x?iss=x&key=base64:++++", "/realm/x/publish/", "x", b"\xfb\xef\xbe"),
        ("http://h/service/1?verify-iss=f&key=token&x=1", "/service/1/publish/?x=1", None, b"token"),
    ],
)
def test_a_grip_url_says_where_and_with_whose_key(url: str, path: str, issuer: str | None, key: bytes | None) -> None:
    control = Control.from_grip_url(url)

    assert (path, issuer, key) == (control.endpoint.path, control.issuer, control.key)


@pytest.mark.parametrize("url", ["http://h?iss=x", "http://h?key=base64:!", "h:1"])
def test_a_bad_grip_url_is_refused_without_its_key(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^--control: "):
        Control.from_grip_url(url)


def test_a_key_does_not_show() -> None:
    assert "secret" not in repr(plan(control=Control.from_grip_url("http://h?key=secret")))


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"mode": "sse"}, "--mode"),
        ({"urls": {}}, "--url"),
        ({"connections": 0}, "--connections"),
        ({"channels": 2000}, "--channels"),
        ({"channels": 2, "channel": "one"}, "--channel"),
        ({"channels": 2, "urls": {"stream": Endpoint.from_url("http://a/x", "")}}, "--url"),
        ({"size": 41}, "--size"),
        ({"messages": -1}, "--messages"),
        ({"messages": 0}, "--messages"),
        ({"duration": 0}, "--duration"),
        ({"duration": math.nan}, "--duration"),
        ({"rate": 0}, "--rate"),
        ({"is_lockstep": True, "rate": 1.0}, "--lockstep"),
        ({"is_lockstep": True, "publishers": 2}, "--lockstep"),
        ({"is_lockstep": True, "churn": 1.0}, "--churn"),
        ({"mode": "mixed", "churn": 1.0}, "--churn"),
        ({"mode": "poll", "never_read": 1}, "--never-read"),
        ({"never_read": 1000}, "--never-read"),
        ({"processes": 0}, "--processes"),
        ({"run": "xyz"}, "run"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(settings: dict[str, Any], option: str) -> None:
    with pytest.raises(ConfigError, match=f"^{option}"):
        plan(**settings)


@pytest.mark.parametrize(
    ("settings", "limit"),
    [({}, 100), ({"messages": 7}, 7), ({"duration": 1.0}, math.inf), ({"messages": 0, "duration": 1.0}, 0)],
)
def test_a_hundred_messages_are_published_unless_told_otherwise(settings: dict[str, Any], limit: float) -> None:
    assert limit == plan(**settings).limit


def test_every_channel_gets_every_kind() -> None:
    mixed = plan(mode="mixed", connections=12, channels=2)

    found = {(mixed.kind_of(number), mixed.channel_of(number)) for number in range(12)}

    assert {(kind, channel) for kind in ("stream", "ws", "poll") for channel in (0, 1)} == found
    assert "load-1" == mixed.channel_name(1)


def test_processes_share_all_connections() -> None:
    three = plan(connections=100, processes=3)

    shares = [three.share(process) for process in range(3)]

    assert list(range(100)) == [number for share in shares for number in share]
    assert [33, 33, 34] == [len(share) for share in shares]


@pytest.mark.parametrize("never_read", [0, 1, 7, 50, 99])
def test_as_many_connections_never_read_as_asked(never_read: int) -> None:
    some = plan(connections=100, never_read=never_read)

    assert never_read == sum(not some.is_reader(number) for number in range(100))


def test_sources_of_channels_and_publishers_differ() -> None:
    many = plan(channels=10, publishers=3)

    assert 30 == len({many.source(channel, publisher) for channel in range(10) for publisher in range(3)})


def test_polls_settle_longer() -> None:
    assert [1.0, 3.0, 3.0, 0.5] == [
        one.settle_seconds for one in (plan(), plan(mode="poll"), plan(mode="mixed"), plan(mode="poll", settle=0.5))
    ]


def test_too_few_open_files_are_told_before_the_start() -> None:
    plan(connections=15_000).check_files(20_000)

    with pytest.raises(ConfigError, match="use --processes 3"):
        plan(connections=50_000).check_files(20_000)
