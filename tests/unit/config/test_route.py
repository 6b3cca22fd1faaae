"""The table [[routes]] is checked when it is made."""

from typing import Any

import pytest

from gripproxy.config import Backend, File, SettingError
from gripproxy.config.conditions import Condition
from gripproxy.config.route import Route

URL = "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"backends": ()}, "backends: needs at least one URL"),
        ({"host": "a.example:80"}, 'host: must be a host without port, "*.host" or "*", not \'a.example:80\''),
        ({"path": "a"}, "path: must be a path as in a URL, from its / and without query, not 'a'"),
        ({"headers_set": {"Host": "a"}}, "headers_set: Host is this proxy's to set, see host_header"),
        ({"headers_set": {"A": "b\n"}}, "headers_set.A: must not hold control characters, nor blanks at its ends"),
        ({"client_key": File("k")}, "client_cert: is missing, though client_key is given"),
        ({"public_only": True}, "backends[0]: 127.0.0.1 is not public, which public_only asks for"),
    ],
)
def test_what_is_wrong_is_named(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingError) as caught:
        Route(**{"backends": (URL,), **settings})

    assert problem == str(caught.value)


def test_its_condition_is_what_it_says_of_requests() -> None:
    route = Route(backends=(URL,), host="A.example", path="/a*", protocol="http", tls=True)

    assert Condition.of("a.example", "/a*", "http", True) == route.condition


def test_backends_have_of_the_route_what_they_leave_out() -> None:
    own = Backend(url=URL, host_header="own")
    route = Route(backends=(URL, own), host_header="all", one_event=True)

    assert [("all", True), ("own", True)] == [(one.host_header, one.one_event) for one in route.complete_backends()]
