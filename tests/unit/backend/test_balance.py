"""Whose turn it is: by weight, by what is under way, by what failed; time is the test's."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy import config
from gripproxy.backend.balance import FAILURES, REST, Balance, Server
from gripproxy.config import Config
from gripproxy.routes import Route, Routes
from gripproxy.targets import Target

URLS = ("http://a", "http://b", "http://c")


class World:
    """A route to three backends, and a clock."""

    def __init__(self, balance: str = "first", weights: tuple[int, ...] = (1, 1, 1), **settings: Any) -> None:
        self.now = 1000.0
        self.balance = Balance(lambda: self.now)
        self.route = route(balance, weights, **settings)
        self.balance.order(self.route)  # what nobody has asked of is not known

    def order(self, route: Route | None = None) -> str:
        """The names of the backends in the order to try them."""
        return "".join(target.host for target in self.balance.order(route or self.route))

    def first(self) -> str:
        return self.order()[0]

    def target(self, name: str) -> Target:
        return next(target for target in self.route.targets if target.host == name)

    def enter(self, name: str) -> Server:
        server = self.balance.enter(self.target(name))
        assert server is not None
        return server

    def rest(self, names: str) -> None:
        for name in names:
            self.balance.rest(self.target(name))

    def fail(self, name: str, times: int = 1) -> None:
        for _ in range(times):
            self.balance.fail(self.enter(name), self.target(name))

    def succeed(self, name: str) -> None:
        self.balance.succeed(self.enter(name), self.target(name))


def route(balance: str = "first", weights: tuple[int, ...] = (1, 1, 1), **settings: Any) -> Route:
    backends = tuple(config.Backend(url=url, weight=weight) for url, weight in zip(URLS, weights, strict=False))
    setting = config.Route(backends=backends, balance=balance, **settings)  # type: ignore[arg-type]
    return next(iter(Routes(Config(routes=(setting,)), b"k" * 32)))


def test_first_is_always_the_first() -> None:
    world = World()
    assert ["abc"] * 3 == [world.order() for _ in range(3)]


def test_each_in_turn_and_the_next_ones_behind() -> None:
    world = World("round-robin")
    assert ["bca", "cab", "abc", "bca"] == [world.order() for _ in range(4)]


def test_turns_by_weight_are_mixed() -> None:
    world = World("round-robin", (4, 2, 1))
    turns = "".join(world.first() for _ in range(14))
    assert "bacabaa" == turns[:7]
    assert {"a": 8, "b": 4, "c": 2} == Counter(turns)


@given(st.lists(st.integers(1, 20), min_size=2, max_size=3))
def test_turns_are_as_many_as_the_weights_say(weights: list[int]) -> None:
    world = World("round-robin", tuple(weights))
    turns = Counter(world.first() for _ in range(2 * sum(weights)))
    assert [2 * weight for weight in weights] == [turns[name] for name in "abc"[: len(weights)]]


def test_routes_take_turns_of_their_own() -> None:
    world = World("round-robin")
    other = route("round-robin")
    assert ["b", "a", "c", "b"] == [world.first(), world.order(other)[0], world.first(), world.order(other)[0]]


def test_fewest_requests_under_way() -> None:
    world = World("least-requests")
    under_way = {name: [world.enter(name) for _ in range(count)] for name, count in (("a", 2), ("b", 1), ("c", 2))}
    assert "b" == world.first()
    world.enter("b")
    under_way["c"].pop().leave()
    assert "c" == world.first()


def test_fewest_requests_for_a_weight() -> None:
    world = World("least-requests", (3, 1, 1))
    for name in "abc":
        world.enter(name)
    assert "a" == world.first()
    for _ in range(2):
        world.enter("a")
    assert {"a", "b", "c"} == {world.first() for _ in range(5)}


def test_those_with_equally_few_requests_take_turns() -> None:
    world = World("least-requests")
    assert Counter("aabbcc") == Counter(world.first() for _ in range(6))


def test_requests_of_all_routes_are_under_way() -> None:
    world = World("least-requests", (1, 1))
    other = route(path="/other")
    assert world.balance.enter(other.targets[0]) is not None
    assert ["b"] * 3 == [world.first() for _ in range(3)]


@pytest.mark.parametrize("balance", ["first", "round-robin", "least-requests"])
def test_who_rests_is_last(balance: str) -> None:
    world = World(balance)
    world.rest("ab")
    assert {"c"} == {world.first() for _ in range(6)}
    world.rest("c")
    assert "abc" == "".join(sorted(world.order()))


def test_who_rests_is_last_in_the_order_of_the_route() -> None:
    world = World()
    world.rest("a")
    assert "bca" == world.order()
    world.rest("b")
    assert "cab" == world.order()


def test_others_keep_their_turns_while_one_rests() -> None:
    world = World("round-robin", (2, 1, 1))
    world.rest("a")
    assert Counter("bbbccc") == Counter(world.first() for _ in range(6))


def test_after_its_rest_one_request_tries_it() -> None:
    """The others don't wait for what becomes of that; after another rest one tries again."""
    world = World()
    world.rest("a")
    for _ in range(2):
        world.now += REST
        assert "abb" == "".join(world.first() for _ in range(3))


def test_an_answer_ends_the_rest() -> None:
    world = World()
    world.rest("a")
    world.succeed("a")
    assert "aa" == world.first() + world.first()


def test_a_connection_alone_does_not_end_the_rest() -> None:
    """But the one request that tries it is still to come."""
    world = World()
    world.rest("a")
    world.now += REST
    assert "a" == world.first()
    world.balance.is_reached(world.enter("a"))
    assert "ab" == world.first() + world.first()
    world.succeed("a")
    world.balance.is_reached(world.enter("a"))
    assert "a" == world.first()


def test_several_failures_in_a_row_are_a_reason_to_rest(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.fail("a", FAILURES - 1)
    assert "a" == world.first()
    world.fail("a")
    assert "b" == world.first()
    assert [f"http://a failed {FAILURES} times in a row; others are asked first"] == caplog.messages
    world.fail("a")
    assert 1 == len(caplog.messages)


def test_an_answer_between_failures_is_none_in_a_row() -> None:
    world = World()
    for _ in range(3):
        world.fail("a", FAILURES - 1)
        world.succeed("a")
    assert "a" == world.first()


def test_one_failure_more_after_the_rest_is_another_rest() -> None:
    world = World()
    world.fail("a", FAILURES)
    world.now += REST
    assert "a" == world.first()
    world.now += 1
    world.fail("a")
    world.now += REST - 1
    assert "b" == world.first()


def test_who_is_down_is_asked_when_no_other_is_left() -> None:
    """Behind those that rest; when all are down the order is as if none were."""
    world = World(health_path="/healthz")
    assert world.route.health is not None

    def tell(name: str, is_up: bool) -> None:
        assert world.route.health is not None
        world.balance.set_health(world.target(name), world.route.health, is_up=is_up)

    tell("a", False)
    assert "bca" == world.order()
    world.rest("bc")
    assert "bca" == world.order()
    tell("b", False)
    assert "cab" == world.order()
    tell("c", False)
    assert "abc" == world.order()
    tell("b", True)  # which ends its rest, too
    assert "bca" == world.order()


def test_health_counts_where_it_is_checked_so() -> None:
    world = World(health_path="/healthz")
    assert world.route.health is not None
    world.balance.set_health(world.target("a"), world.route.health, is_up=False)
    for other in (route(), route(health_path="/other"), route(host="x.test", health_path="/healthz")):
        assert "abc" == world.order(other)
    assert "bca" == world.order(route(path="/other", health_path="/healthz"))


def test_what_is_known_is_bounded_by_the_configuration() -> None:
    """Links lead anywhere, and a route with one backend has no choice."""
    balance = Balance(lambda: 0.0)
    single = route(weights=(1,))
    assert single.targets == balance.order(single)
    for target in (single.targets[0], Target("http", "elsewhere", 80)):
        balance.rest(target)
        assert balance.enter(target) is None
    assert {} == balance._servers


def test_what_is_worth_knowing_outlives_a_reload() -> None:
    """Turns of routes that are gone do not: they would be kept for ever."""
    world = World()
    world.rest("a")
    world.enter("b")
    world.balance.renew()
    assert {"http://a", "http://b"} == set(world.balance._servers)
    assert "bca" == world.order()
    world.balance.renew()
    assert 0 == len(world.balance._turns)
