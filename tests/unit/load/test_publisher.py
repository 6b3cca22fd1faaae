"""What is sent to the control endpoint."""

import json
from typing import Any

import jwt
import pytest

from gripproxy.load.plan import Control, Plan, endpoints
from gripproxy.load.publisher import PLACE, authorization, encode_body


def plan(mode: str = "stream", control: str = "http://h:5561") -> Plan:
    return Plan(mode, endpoints(mode, ("http://h/{mode}",)), Control.from_grip_url(control))


@pytest.mark.parametrize(
    ("mode", "formats"),
    [
        ("stream", {"http-stream": {"content": f"{PLACE}\n"}}),
        ("ws", {"ws-message": {"content": PLACE}}),
        ("poll", {"http-response": {"body": f"{PLACE}\n"}}),
    ],
)
def test_an_item_has_the_format_of_its_mode(mode: str, formats: dict[str, Any]) -> None:
    assert {"items": [{"channel": "a", "formats": formats}]} == json.loads(encode_body(plan(mode), "a"))


def test_a_mixed_item_has_every_format() -> None:
    formats = json.loads(encode_body(plan("mixed"), "a"))["items"][0]["formats"]

    assert {"http-stream", "ws-message", "http-response"} == set(formats)


def test_a_server_without_grip_gets_the_bare_message() -> None:
    plain = Plan("stream", endpoints("stream", ("http://h/",)), Control.from_plain_url("http://h/pub/{channel}"))

    assert PLACE.encode() == encode_body(plain, "a")


def test_an_issuer_signs_and_a_bare_key_is_the_token() -> None:
    key = "k" * 32
    signed = authorization(Control.from_grip_url(f"http://h?iss=me&key={key}"), 1000.0)

    assert signed is not None
    claims = jwt.decode(signed.removeprefix("Bearer "), key, ["HS256"], options={"verify_exp": False})
    assert {"iss": "me", "exp": 4600} == claims
    assert "Bearer token" == authorization(Control.from_grip_url("http://h?key=token"), 1000.0)
    assert authorization(Control.from_grip_url("http://h"), 1000.0) is None
