"""What is told of routes: every setting by its name, and no secret."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from gripproxy.config import Secret, load
from gripproxy.control.facts import describe, encode_routes
from gripproxy.routes import Routes

SECRET = "confidential-1234567890"


def told(**settings: Any) -> dict[str, Any]:
    route = {"backends": ["http://a:8000", "https://b"], "realm": "r", **settings}
    config = load(None, {}, {"realms": {"r": {"key": [SECRET]}}, "routes": [route]})
    text = encode_routes(Routes(config, b"random")).decode()
    assert "confidential" not in text
    assert "random" not in text.replace("a random key", "")
    (facts,) = json.loads(text)["routes"]
    return facts  # type: ignore[no-any-return]


def test_a_route_is_told_as_it_is_resolved() -> None:
    facts = told(path="/x", rewrite="/", subscribe=["news"], headers_remove=["B", "A"], cors=["http://o"])
    assert ["http://a:8000", "https://b"] == facts["backends"]
    assert {"algorithm": "HS256", "issuer": "r", "signed_with": "realms.r.key"} == facts["grip_sig"]
    assert (facts["id"], facts["host"], facts["path"], facts["rewrite"]) == ("*/x", "*", "/x", "/")
    assert (["news"], ["a", "b"], ["http://o"]) == (facts["subscribe"], facts["headers_remove"], facts["cors"])
    assert (5.0, True, None) == (facts["connect_timeout"], facts["verify"], facts["upstream_key"])


def test_each_backend_is_told_with_its_settings() -> None:
    """Of what a route has no value of its own for, it tells that of all its backends, where they have the same."""
    own = {"url": "https://b", "websocket": "passthrough", "weight": 2, "subscribe": ["x"]}
    facts = told(backends=["http://a", own], host_header="h", health_path="/up", link_headers=["Cookie"])
    assert ["http://a", "https://b"] == facts["backends"] == [target["url"] for target in facts["targets"]]
    assert [("over-http", 1, []), ("passthrough", 2, ["x"])] == [
        (target["websocket"], target["weight"], target["subscribe"]) for target in facts["targets"]
    ]
    assert (None, False, "h") == (facts["websocket"], facts["one_event"], facts["host_header"])
    assert ({"path": "/up", "interval": 5.0, "timeout": 2.0}, ["cookie"]) == (facts["health"], facts["link_headers"])


def test_of_fields_and_keys_only_the_kind_is_told() -> None:
    facts = told(headers_set={"Authorization": SECRET}, upstream_key=SECRET, sig_key=SECRET)
    assert (["Authorization"], "HS256") == (facts["headers_set"], facts["upstream_key"])
    assert "routes[0].sig_key" == facts["grip_sig"]["signed_with"]


def test_a_route_of_plain_proxying_signs_nothing() -> None:
    assert told(grip=False)["grip_sig"] is None


def test_files_are_told_by_their_names(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.touch()
    assert str(path) == told(ca=str(path))["ca"]


def test_the_text_of_a_key_is_left_out_wherever_it_stands() -> None:
    config = load(None, {}, {"backend": "http://a"})
    (route,) = Routes(config, b"random")
    facts = describe(dataclasses.replace(route, client_key=Secret(SECRET), path=SECRET))
    assert ("client_key" in facts, facts["path"]) == (False, SECRET)
    targets = (dataclasses.replace(route.targets[0], client_key=Secret(SECRET)),)
    assert "client_key" not in describe(dataclasses.replace(route, targets=targets))["targets"][0]  # type: ignore[index]
