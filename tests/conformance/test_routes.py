"""Routes, of which both proxies have the same: gripproxy has imported them from Pushpin's file."""

from collections.abc import Callable

import jwt
import pytest

from tests.conformance.backend import Reply, Request, Upgrade, control, opened
from tests.conformance.case import Case, held
from tests.conformance.proxies import BYTES_KEY, OTHER_ISS, OTHER_KEY, PAGE

Seen = Callable[..., Request]


@pytest.fixture(autouse=True)
def _has_routes(case: Case) -> None:
    if not case.proxy.has_routes:
        pytest.skip("the routes of a given proxy are not known")


@pytest.fixture
def seen(case: Case) -> Seen:
    """Sends a request to a host, and returns what the backend saw of it."""

    def ask(host: str, before: str = "", at: str = "", **options: object) -> Request:
        path = case.path + at
        case.backend.on(path, Reply(b"ok"))
        connection = case.connect().request(before + path, host=host, **options)  # type: ignore[arg-type]
        assert b"ok" == connection.read_response().body
        return case.backend.take(path)

    return ask


@pytest.mark.grip("routes")
def test_hosts_have_no_case(seen: Seen) -> None:
    """A host is compared without case, and without its port."""
    assert "new" == seen("Header.Test:7999").value("X-Set")


@pytest.mark.grip("routes")
def test_host_whose_routes_do_not_match(case: Case) -> None:
    """A host with routes of which none has the path falls back to the routes of any host."""
    case.answer(Reply(b"ok"))
    assert b"ok" == case.get(host="only.test").body


@pytest.mark.grip("routes")
def test_path_is_cut(seen: Seen) -> None:
    """path_rem removes the beginning of the path, and nothing of the query."""
    request = seen("strip.test", before="/old", fields=[("X-Own", "1")])
    assert request.target == request.path


@pytest.mark.grip("routes")
def test_path_is_replaced(case: Case) -> None:
    """replace_beg puts other text in place of the beginning of the path."""
    case.backend.on(f"/new{case.path}", Reply(b"ok"))
    connection = case.connect().request(f"/old{case.path}?a=/old", host="replace.test")
    assert b"ok" == connection.read_response().body
    assert f"/new{case.path}?a=/old" == case.backend.take(f"/new{case.path}").target


@pytest.mark.grip("routes")
def test_next_link_of_a_cut_path(case: Case) -> None:
    """A relative link is resolved where the client asked, and takes the same way as a request."""
    case.answer(Reply(b"one ", [("Grip-Link", "<next>; rel=next")]), at="/first")
    case.answer(Reply(b"two"), at="/next")
    connection = case.connect().request(f"/old{case.path}/first", host="strip.test")
    assert b"one two" == connection.read_response().body


@pytest.mark.grip("routes")
def test_fields_are_set_and_removed(seen: Seen) -> None:
    """A route sets fields, whatever the client has there, and removes others."""
    request = seen("header.test", fields=[("x-set", "old"), ("X-Gone", "1"), ("X-Kept", "1")])
    assert (["new"], [], ["1"]) == tuple(request.values(name) for name in ("X-Set", "X-Gone", "X-Kept"))


@pytest.mark.grip("routes")
def test_host_of_the_backend(seen: Seen) -> None:
    """host is what the backend is told instead of the client's."""
    assert ["backend.test"] == seen("host.test").values("Host")


@pytest.mark.grip("Grip-Sig")
def test_key_of_a_route(seen: Seen) -> None:
    """A route may sign with a key and an issuer of its own."""
    (token,) = seen("signed.test").values("Grip-Sig")
    assert OTHER_ISS == jwt.decode(token, OTHER_KEY, algorithms=["HS256"])["iss"]


@pytest.mark.grip("Grip-Sig")
def test_key_of_a_route_without_an_issuer(case: Case, seen: Seen) -> None:
    """A route may have just a key of its own."""
    (token,) = seen("keyed.test").values("Grip-Sig")
    assert case.proxy.sig_iss == jwt.decode(token, OTHER_KEY, algorithms=["HS256"])["iss"]


@pytest.mark.grip("Grip-Sig")
def test_key_in_base64(seen: Seen) -> None:
    """A key may be bytes, in base64."""
    (token,) = seen("base64.test").values("Grip-Sig")
    assert jwt.decode(token, BYTES_KEY, algorithms=["HS256"])


@pytest.mark.grip("Grip-Sig")
def test_key_in_a_file(case: Case, seen: Seen) -> None:
    """A key may be an EC key in a file, which signs with ES256."""
    (token,) = seen("es256.test").values("Grip-Sig")
    assert "ES256" == jwt.get_unverified_header(token)["alg"]
    assert case.proxy.es256
    assert {"iss", "exp"} == set(jwt.decode(token, case.proxy.es256, algorithms=["ES256"]))


@pytest.mark.grip("routes")
def test_quotes_and_comments(seen: Seen) -> None:
    """A value in quotes may have commas and quotes, and a comment may stand behind a route."""
    assert 'a, "b"' == seen("quoted.test").value("X-Quoted")


@pytest.mark.grip("routes: no_grip")
def test_route_without_grip(case: Case) -> None:
    """Without GRIP, requests carry none of it and instructions are fields like others."""
    case.answer(held(case.channel, b"body"))
    response = case.get(host="plain.test")
    assert (b"body", "stream") == (response.body, response.value("Grip-Hold"))
    request = case.taken()
    assert ([], []) == (request.values("Grip-Sig"), request.values("Grip-Feature"))


@pytest.mark.grip("routes: prefix; filters")
def test_prefix_is_not_for_filters(case: Case) -> None:
    """Filters know channels without the prefix: what an item requires, and what an id is made of."""
    other = case.channel + "-other"
    meta = f'id_format="%({case.channel})s"'
    filters = f"{case.channel}; prev-id=1; filter=require-sub; filter=build-id, {other}"
    case.answer(held(filters, b"", Grip_Set_Meta=meta, Grip_Link=f"<{case.path}/next>; rel=next"))
    connection = case.stream(host="prefix.test")
    case.settle()
    channel = f"pre-{case.channel}"
    for number, required in ((2, "nothing"), (3, f"pre-{other}"), (4, other)):
        item = {"id": str(number), "prev-id": str(number - 1), "meta": {"require_sub": required}}
        case.publish(item | {"http-stream": {"content": f"%I {required}|"}}, channel=channel)
    expected = f"4 {other}|".encode()
    assert expected == connection.read_data(len(expected))


@pytest.mark.grip("routes: prefix")
def test_prefix_of_a_hold(case: Case) -> None:
    """A route's prefix is put before the channels of its holds; items carry it themselves."""
    case.answer(held(case.channel))
    connection = case.stream(host="prefix.test")
    case.settle()
    case.say("without")
    case.say("with", channel=f"pre-{case.channel}")
    assert b"with" == connection.read_data(4)


@pytest.mark.grip("routes: prefix")
def test_prefix_of_a_socket(case: Case) -> None:
    """A route's prefix is put before the channels that a backend subscribes a WebSocket to."""
    case.answer(opened(control(type="subscribe", channel=case.channel)))
    socket = case.socket(host="prefix.test")
    case.tell("without")
    case.tell("with", channel=f"pre-{case.channel}")
    assert "with" == socket.read_text()


@pytest.mark.grip("routes: prefix")
def test_prefix_is_not_for_the_backend(case: Case) -> None:
    """Channels have no prefix in Grip-Last."""
    case.answer(held(f"{case.channel}; prev-id=1", b"", "response"), Reply(b"again"))
    connection = case.poll(host="prefix.test")
    case.publish({"http-response": {"action": "hint"}}, channel=f"pre-{case.channel}")
    assert b"again" == connection.read_response().body
    assert {f"{case.channel}; last-id=1"} == case.taken().last_ids


@pytest.mark.grip("routes: sub")
@pytest.mark.parametrize("channel", ["own", "implicit"])
def test_implicit_channel_of_a_socket(case: Case, channel: str) -> None:
    """sub subscribes every WebSocket, beside what the backend says, and cannot be undone."""
    subscribe = control(type="subscribe", channel=f"{case.channel}-own")
    case.answer(opened(subscribe, control(type="unsubscribe", channel="implicit")))
    socket = case.socket(host="implicit.test")
    case.tell(case.channel, channel=channel if channel == "implicit" else f"{case.channel}-own")
    assert case.channel == socket.read_text()


@pytest.mark.grip("routes: sub")
def test_implicit_channel_of_a_hold(case: Case) -> None:
    """sub subscribes every hold."""
    case.answer(held(case.channel))
    connection = case.stream(host="implicit.test")
    case.settle()
    case.say("hello", channel="implicit")
    assert b"hello" == connection.read_data(5)


@pytest.mark.grip("routes: several targets")
def test_target_that_can_not_be_reached(case: Case) -> None:
    """The next target is asked where one cannot be connected to, also for a WebSocket."""
    case.answer(Reply(b"ok"))
    assert b"ok" == case.get(host="failover.test", method="POST", body=b"x").body
    assert b"x" == case.taken().body
    case.answer(opened(("TEXT", "m:hello")))
    assert "hello" == case.socket(host="failover.test").read_text()


@pytest.mark.grip("routes: several targets")
def test_host_of_the_target_that_is_asked(seen: Seen) -> None:
    """Each target has a host of its own to be told."""
    assert ["second-target.test"] == seen("second.test").values("Host")


@pytest.mark.grip("routes: several targets")
def test_implicit_channel_of_the_target_that_is_asked(case: Case) -> None:
    """Each target has channels of its own, for holds and for WebSockets."""
    case.answer(held(case.channel))
    connection = case.stream(host="second.test")
    case.settle()
    case.say("lost", channel="first")
    case.say("hello", channel="second")
    assert b"hello" == connection.read_data(5)
    case.answer(opened(("TEXT", "m:ready")))
    socket = case.socket(host="second.test")
    assert "ready" == socket.read_text()
    case.tell("lost", channel="first")
    case.tell("hello", channel="second")
    assert "hello" == socket.read_text()


@pytest.mark.grip("routes: several targets")
def test_websocket_of_the_target_that_is_asked(case: Case) -> None:
    """A WebSocket reaches the next target in that target's own way."""
    case.answer(Upgrade())
    client = case.socket(host="socket-second.test")
    case.backend.take_socket(case.path)
    client.close()
    case.answer(opened(("TEXT", "m:hello")))
    assert "hello" == case.socket(host="events-second.test").read_text()


@pytest.mark.grip("routes: untrusted")
def test_target_that_leads_into_the_own_network(case: Case) -> None:
    """An untrusted target is not asked at an address of this machine."""
    case.answer(Reply(b"ok"))
    assert 502 == case.get(host="refused.test").status


@pytest.mark.grip("routes: debug")
def test_reason_of_an_error(case: Case) -> None:
    """debug puts the reason of an error into its body."""
    case.answer(held(case.channel, b"", "other"))
    plain, debugged = case.get(), case.get(host="debug.test")
    assert (502, 502) == (plain.status, debugged.status)
    assert b"Grip-Hold" in debugged.body
    assert b"Grip-Hold" not in plain.body


# --- other origins


def cors_of(case: Case, origin: str) -> tuple[str | None, str | None]:
    case.answer(Reply(b"ok", [("X-Own", "1")]))
    response = case.get(host="cors.test", fields=[("Origin", origin)])
    return response.value("Access-Control-Allow-Origin"), response.value("Access-Control-Allow-Credentials")


@pytest.mark.grip("CORS")
def test_allowed_origin(case: Case) -> None:
    """A page of an origin that is allowed may read the response, with credentials."""
    assert (PAGE, "true") == cors_of(case, PAGE)


@pytest.mark.grip("CORS")
def test_other_origin(case: Case) -> None:
    """A page of any other origin may not."""
    assert (None, None) == cors_of(case, "http://other.test")


@pytest.mark.grip("CORS")
def test_exposed_fields(case: Case) -> None:
    """Fields that scripts may not read by themselves are exposed to them."""
    case.answer(Reply(b"ok", [("X-Own", "1"), ("Content-Type", "text/plain")]))
    response = case.get(host="cors.test", fields=[("Origin", PAGE)])
    exposed = {name.strip().lower() for name in (response.value("Access-Control-Expose-Headers") or "").split(",")}
    assert "x-own" in exposed
    assert "content-type" not in exposed


@pytest.mark.grip("CORS")
def test_preflight(case: Case) -> None:
    """A preflight goes to the backend, and what its answer lacks is added."""
    case.answer(Reply(b""))
    asked = [("Origin", PAGE), ("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", "x-own")]
    response = case.get(host="cors.test", method="OPTIONS", fields=asked)
    assert "OPTIONS" == case.taken().method
    assert ("PUT", "x-own", "3600") == tuple(
        response.value(f"Access-Control-{name}") for name in ("Allow-Methods", "Allow-Headers", "Max-Age")
    )


@pytest.mark.grip("CORS")
def test_page_of_a_held_stream(case: Case) -> None:
    """A held stream has the fields, too."""
    case.answer(held(case.channel))
    connection = case.ask(host="cors.test", fields=[("Origin", PAGE)])
    assert PAGE == connection.read_head().value("Access-Control-Allow-Origin")


@pytest.mark.grip("CORS")
def test_page_of_a_poll(case: Case) -> None:
    """A published response has the fields, and its own are exposed."""
    case.answer(held(case.channel, b"", "response"))
    connection = case.poll(host="cors.test", fields=[("Origin", PAGE)])
    case.resolve("x", headers={"X-Own": "1"})
    response = connection.read_response()
    assert PAGE == response.value("Access-Control-Allow-Origin")
    assert "x-own" in (response.value("Access-Control-Expose-Headers") or "").lower()
