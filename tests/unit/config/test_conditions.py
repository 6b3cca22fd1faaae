"""Routes are compared by the requests that they are for, and by their ids where requests may name them."""

import pytest

from gripproxy.config.conditions import Condition, check
from gripproxy.config.reader import SettingError


def condition(host: str = "a", path: str = "/", protocol: str = "any", tls: bool | None = None) -> Condition:
    return Condition.of(host, path, protocol, tls)


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (condition(), condition("A"), "has the same host and path"),
        (condition(path="/a/"), condition(path="/a/*"), "has the same host and path"),
        (condition(path="/*"), condition(), "has the same host and path"),
        (condition(protocol="http"), condition(protocol="http"), "has the same host, path, protocol and tls"),
        (condition(tls=False), condition(tls=False), "has the same host, path, protocol and tls"),
    ],
)
def test_two_routes_for_the_same_requests_are_an_error(one: Condition, other: Condition, reason: str) -> None:
    with pytest.raises(SettingError) as caught:
        check([(one, ""), (condition("b"), ""), (other, "")], by_id=False)
    assert f"routes[2].path: routes[0] {reason}" == str(caught.value)


def test_routes_for_other_requests_are_none() -> None:
    different = [
        condition(),
        condition("*"),
        condition(path="/a"),
        condition(path="/a*"),
        condition(path="/a/"),
        condition(protocol="http"),
        condition(protocol="websocket"),
        condition(tls=True),
        condition(tls=False),
        condition(protocol="http", tls=True),
    ]
    check([(one, "") for one in different], by_id=True)


def test_ids_matter_where_requests_name_routes() -> None:
    routes = [(condition(path=path), route_id) for path, route_id in (("/a", "x"), ("/b", ""), ("/c", ""), ("/d", "x"))]
    check(routes, by_id=False)
    with pytest.raises(SettingError) as caught:
        check(routes, by_id=True)
    assert "routes[3].id: routes[0] has the id 'x', too" == str(caught.value)


def test_routes_without_host_are_reached_by_their_ids() -> None:
    check([(condition(""), "x"), (condition(""), "y")], by_id=True)


@pytest.mark.parametrize(
    ("route_id", "by_id", "reason"),
    [
        ("", True, "routes[0].id: is missing; a route without host is reached by its id only"),
        ("x", False, "routes[0].host: is empty, which needs server.accept_pushpin_route = true"),
    ],
)
def test_a_route_that_nobody_reaches_is_an_error(route_id: str, by_id: bool, reason: str) -> None:
    with pytest.raises(SettingError) as caught:
        check([(condition(""), route_id)], by_id=by_id)
    assert reason == str(caught.value)
