"""What a backend leaves out is the route's."""

from typing import Any

import pytest
from msgspec.structs import asdict

from gripproxy import config
from gripproxy.config import Backend, File, Route, SettingError
from gripproxy.config.backends import INHERITED, complete

URL = "http://a:1"
OF_ROUTE: dict[str, Any] = {
    "host_header": "h",
    "websocket": "passthrough",
    "one_event": True,
    "subscribe": ("x",),
    "verify": False,
    "verify_host": "v",
    "ca": File("ca"),
    "client_cert": File("cert"),
    "client_key": File("key"),
}
OWN: dict[str, Any] = {
    "host_header": "i",
    "websocket": "over-http",
    "one_event": False,
    "subscribe": (),
    "verify": True,
    "verify_host": "",
    "ca": File(""),
    "client_cert": File("other"),
    "client_key": None,
}


def test_a_url_alone_has_all_of_the_route() -> None:
    route = Route(backends=(URL,), **OF_ROUTE)

    assert OF_ROUTE == {name: value for name, value in asdict(complete(URL, route)).items() if name in OF_ROUTE}


@pytest.mark.parametrize("name", OWN)
def test_what_a_table_says_stands(name: str) -> None:
    """With a certificate of its own, the route's key is none of its own."""
    route = Route(backends=(URL,), **OF_ROUTE)
    made = complete(Backend(url=URL, **{name: OWN[name]}), route)

    expected = {**OF_ROUTE, name: OWN[name]}
    expected["client_key"] = None if name == "client_cert" else File("key")
    assert expected == {key: value for key, value in asdict(made).items() if key in OF_ROUTE}


def test_settings_have_the_names_of_the_routes() -> None:
    assert {*INHERITED, "client_key"} == set(asdict(Backend(url=URL))) & set(asdict(Route(backends=(URL,))))


def test_a_key_without_certificate_is_refused() -> None:
    with pytest.raises(SettingError, match="client_cert: is missing, though client_key is given"):
        Backend(url=URL, client_key=config.File("key"))
