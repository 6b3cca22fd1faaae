"""What a route makes of a response before it becomes a hold."""

from dataclasses import replace

import pytest

from gripproxy.config import Config, Limits
from gripproxy.config import Route as RouteSettings
from gripproxy.errors import BackendError, InstructError
from gripproxy.grip.fields import Fields
from gripproxy.grip.instruct import Channel, Instruct
from gripproxy.instructs import KEPT_BODY_MAX, KEPT_MAX, Instructs, prepare
from gripproxy.metrics import Metrics
from gripproxy.routes import Route, Routes

LIMITS = Limits(channels_per_connection=3)


def route(**settings: object) -> Route:
    given = RouteSettings(backends=("http://127.0.0.1:1",), **settings)  # type: ignore[arg-type]
    return next(iter(Routes(Config(routes=(given,)), b"k" * 32)))


def names(instruct: Instruct) -> list[str]:
    return [channel.name for channel in instruct.channels]


HOLD = Instruct("stream", (Channel("a", "1"), Channel("b")))


def test_a_route_without_channels_of_its_own_changes_nothing() -> None:
    assert HOLD == prepare(route(), HOLD, LIMITS, Metrics())


def test_the_prefix_is_put_before_every_channel() -> None:
    prepared = prepare(route(prefix="p-"), HOLD, LIMITS, Metrics())
    assert (Channel("p-a", "1"), Channel("p-b")) == prepared.channels


def test_a_name_that_the_prefix_makes_too_long_is_the_backends_error() -> None:
    long = replace(HOLD, channels=(Channel("a" * 1024),))
    assert long == prepare(route(), long, LIMITS, Metrics())
    with pytest.raises(BackendError, match="channel name must have at most 1024 bytes, not 1026"):
        prepare(route(prefix="p-"), long, LIMITS, Metrics())


def test_the_routes_own_channels_have_no_prefix_and_come_with_holds_only() -> None:
    own = route(prefix="p-", subscribe=("a", "p-b"))
    assert ["p-a", "p-b", "a"] == names(prepare(own, HOLD, LIMITS, Metrics()))
    assert ["p-a", "p-b"] == names(prepare(own, replace(HOLD, hold=None), LIMITS, Metrics()))


def test_channels_beyond_the_limit_are_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    many = replace(HOLD, channels=tuple(Channel(name) for name in "abcd"))
    assert ["a", "b", "c"] == names(prepare(route(), many, LIMITS, Metrics()))
    assert "limits.channels_per_connection is 3" in caplog.text


def test_the_body_is_filtered_with_the_channels_names_as_the_backend_knows_them() -> None:
    meta = {"id_format": "%(a)s"}
    filtered = replace(HOLD, channels=(Channel("a", "1", ("build-id",)),), meta=meta, body=b"id: %I")
    assert b"id: 1" == prepare(route(prefix="p-"), filtered, LIMITS, Metrics()).body
    with pytest.raises(BackendError, match="can't be filtered: build-id: no sub meta 'id_format'"):
        prepare(route(), replace(filtered, meta={}), LIMITS, Metrics())


# --- reading


def fields(channel: str, hold: str = "stream") -> Fields:
    return ((b"Grip-Hold", hold.encode()), (b"Grip-Channel", channel.encode()))


def test_equal_responses_of_a_route_are_read_once() -> None:
    instructs, own = Instructs(LIMITS, Metrics()), route(prefix="p-")
    first = instructs.read(own, 200, "OK", fields("a"), b"body")
    assert ("stream", ["p-a"], b"body") == (first.hold, names(first), first.body)
    assert first is instructs.read(own, 200, "OK", fields("a"), bytes(bytearray(b"body")))


def test_a_response_of_a_session_is_not_kept() -> None:
    """It is one client's, and would take the room of one that is for many."""
    instructs, own = Instructs(LIMITS, Metrics()), route()
    given = (*fields("a"), (b"Grip-Session-Id", b"s"))
    first, second = (instructs.read(own, 200, "OK", given, b"") for _ in range(2))
    assert (first, True) == (second, first is not second)


@pytest.mark.parametrize(
    ("status", "reason", "given", "body"),
    [
        (201, "OK", fields("a"), b"body"),
        (200, "So", fields("a"), b"body"),
        (200, "OK", fields("b"), b"body"),
        (200, "OK", fields("a", "response"), b"body"),
        (200, "OK", fields("a"), b"other"),
    ],
)
def test_whatever_differs_makes_another(status: int, reason: str, given: Fields, body: bytes) -> None:
    instructs, own = Instructs(LIMITS, Metrics()), route()
    instructs.read(own, 200, "OK", fields("a"), b"body")
    assert Instructs(LIMITS, Metrics()).read(own, status, reason, given, body) == instructs.read(
        own, status, reason, given, body
    )


def test_each_route_makes_its_own() -> None:
    instructs = Instructs(LIMITS, Metrics())
    prefixes = [str(number) for number in range(50)]
    made = [instructs.read(route(prefix=prefix), 200, "OK", fields("a"), b"") for prefix in prefixes]
    assert [[f"{prefix}a"] for prefix in prefixes] == [names(instruct) for instruct in made]


def test_a_malformed_one_is_malformed_each_time() -> None:
    instructs = Instructs(LIMITS, Metrics())
    for _ in range(2):
        with pytest.raises(InstructError):
            instructs.read(route(), 200, "OK", fields("a", "unknown"), b"")


def test_what_is_remembered_is_bounded() -> None:
    instructs, own = Instructs(LIMITS, Metrics()), route()
    first = instructs.read(own, 200, "OK", fields("a"), b"")
    for number in range(KEPT_MAX):
        instructs.read(own, 200, "OK", fields(f"a{number}"), b"")
    assert first is not instructs.read(own, 200, "OK", fields("a"), b"")
    large = bytes(KEPT_BODY_MAX + 1)
    assert instructs.read(own, 200, "OK", fields("a"), large) is not instructs.read(own, 200, "OK", fields("a"), large)


def test_channels_that_are_left_out_are_told_each_time(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    instructs, own = Instructs(LIMITS, metrics), route()
    for _ in range(2):
        assert ["a", "b", "c"] == names(instructs.read(own, 200, "OK", fields("a, b, c, d, e"), b""))
    assert (4, 2) == (metrics.channels_left_out, caplog.text.count("limits.channels_per_connection is 3"))
