"""What a route makes of an Instruct before it becomes a hold."""

from dataclasses import replace

import pytest

from gripproxy.config import Config, Limits
from gripproxy.config import Route as RouteSettings
from gripproxy.errors import BackendError
from gripproxy.grip.instruct import Channel, Instruct
from gripproxy.holding import prepare
from gripproxy.routes import Route, Routes

LIMITS = Limits(channels_per_connection=3)


def route(**settings: object) -> Route:
    given = RouteSettings(backends=("http://127.0.0.1:1",), **settings)  # type: ignore[arg-type]
    return next(iter(Routes(Config(routes=(given,)), b"k" * 32)))


def names(instruct: Instruct) -> list[str]:
    return [channel.name for channel in instruct.channels]


HOLD = Instruct("stream", (Channel("a", "1"), Channel("b")))


def test_a_route_without_channels_of_its_own_changes_nothing() -> None:
    assert HOLD == prepare(route(), HOLD, LIMITS)


def test_the_prefix_is_put_before_every_channel() -> None:
    prepared = prepare(route(prefix="p-"), HOLD, LIMITS)
    assert (Channel("p-a", "1"), Channel("p-b")) == prepared.channels


def test_a_name_that_the_prefix_makes_too_long_is_the_backends_error() -> None:
    long = replace(HOLD, channels=(Channel("a" * 1024),))
    assert long == prepare(route(), long, LIMITS)
    with pytest.raises(BackendError, match="channel name must have at most 1024 bytes, not 1026"):
        prepare(route(prefix="p-"), long, LIMITS)


def test_the_routes_own_channels_have_no_prefix_and_come_with_holds_only() -> None:
    own = route(prefix="p-", subscribe=("a", "p-b"))
    assert ["p-a", "p-b", "a"] == names(prepare(own, HOLD, LIMITS))
    assert ["p-a", "p-b"] == names(prepare(own, replace(HOLD, hold=None), LIMITS))


def test_channels_beyond_the_limit_are_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    many = replace(HOLD, channels=tuple(Channel(name) for name in "abcd"))
    assert ["a", "b", "c"] == names(prepare(route(), many, LIMITS))
    assert "limits.channels_per_connection is 3" in caplog.text


def test_the_body_is_filtered_with_the_channels_names_as_the_backend_knows_them() -> None:
    meta = {"id_format": "%(a)s"}
    filtered = replace(HOLD, channels=(Channel("a", "1", ("build-id",)),), meta=meta, body=b"id: %I")
    assert b"id: 1" == prepare(route(prefix="p-"), filtered, LIMITS).body
    with pytest.raises(BackendError, match="can't be filtered: build-id: no sub meta 'id_format'"):
        prepare(route(), replace(filtered, meta={}), LIMITS)
