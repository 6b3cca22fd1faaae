"""Sessions: what the backend is told of a client that it has named, whichever connection the client comes by."""

import json
import time
from urllib.parse import quote

import pytest

from tests.conformance.backend import Reply, Request, control, opened
from tests.conformance.case import Case, held

HOST = "session.test"  # a route that keeps sessions
OTHER_HOST = "other-session.test"  # another one
PREFIX_HOST = "prefix-session.test"  # and one with a prefix of channels


def rule(case: Case, pointer: str = "/sid", prefix: str | None = None, more: str = "") -> str:
    """The field value that has sessions looked for in requests of the case."""
    return f'path-prefix={prefix or case.path}; sid-ptr="{pointer}"{more}'


def named(case: Case, *last: str, detect: str | None = None, sid: str | None = None) -> Reply:
    """An answer that gives the case's session its last ids, `channel=id`, and a rule that finds it."""
    fields = [("Grip-Session-Id", sid or case.channel), ("Grip-Session-Detect", detect or rule(case))]
    pairs = (one.split("=") for one in last)
    return Reply(b"ok", fields + [("Grip-Last", f"{channel}; last-id={last_id}") for channel, last_id in pairs])


def with_session(reply: Reply, case: Case) -> Reply:
    """A hold that belongs to the case's session."""
    return Reply(reply.body, [*reply.fields, ("Grip-Session-Id", case.channel), ("Grip-Session-Detect", rule(case))])


def post(case: Case, body: bytes | None = None, at: str = "", host: str = HOST) -> Request:
    """Posts a body, by default the case's session in JSON, and returns what the backend got."""
    case.answer(Reply(b"ok"), at=at)
    data = json.dumps({"sid": case.channel}).encode() if body is None else body
    connection = case.connect().request(case.path + at, "POST", body=data, host=host)
    assert 200 == connection.read_response("POST").status
    request = case.taken(at)
    assert data == request.body
    return request


def told(request: Request) -> tuple[list[str], set[str]]:
    """What a request says of its session: the id, and the last ids."""
    return request.values("Grip-Session-Id"), request.last_ids


def learn(case: Case, *last: str, host: str = HOST, **options: str) -> None:
    """Has the backend name a session."""
    case.answer(named(case, *last, **options))
    assert b"ok" == case.get(host=host).body
    case.taken()


@pytest.fixture(autouse=True)
def _has_routes(case: Case) -> None:
    if not case.proxy.has_routes:
        pytest.skip("the routes of a given proxy are not known")


# --- detection


@pytest.mark.grip("sessions")
def test_request_of_a_session(case: Case) -> None:
    """A request with the session's id in its body carries the id, and the last ids that the backend gave."""
    learn(case, "a=1", "b=2")
    assert ([case.channel], {"a; last-id=1", "b; last-id=2"}) == told(post(case))


@pytest.mark.grip("sessions")
def test_last_ids_are_updated_one_by_one(case: Case) -> None:
    """A later response changes the last ids that it names, and leaves the others."""
    learn(case, "a=1", "b=2")
    learn(case, "b=3", "c=4")
    assert {"a; last-id=1", "b; last-id=3", "c; last-id=4"} == post(case).last_ids


@pytest.mark.grip("sessions")
def test_unknown_session(case: Case) -> None:
    """An id that nobody has named is passed on all the same, without last ids."""
    learn(case, "a=1")
    assert (["unheard"], set()) == told(post(case, b'{"sid": "unheard"}'))


@pytest.mark.grip("sessions")
@pytest.mark.parametrize("body", [b"", b"{}", b'{"sid": 1}', b'{"sid": ""}', b'{"sid": "x"', b"[]", b'{"other": "x"}'])
def test_body_without_an_id(case: Case, body: bytes) -> None:
    """Without an id where the rule says, a request is one like others."""
    learn(case, "a=1")
    assert ([], set()) == told(post(case, body))


@pytest.mark.grip("sessions")
@pytest.mark.parametrize(
    ("pointer", "body"),
    [
        ("/a/b", {"a": {"b": "SID"}}),
        ("/a/1", {"a": [0, "SID"]}),
        ("/1/sid", [{}, {"sid": "SID"}]),
        ("/a~1b/~0", {"a/b": {"~": "SID"}}),
    ],
)
def test_pointer(case: Case, pointer: str, body: object) -> None:
    """sid-ptr is a JSON pointer."""
    learn(case, "a=1", detect=rule(case, pointer))
    data = json.dumps(body).replace("SID", case.channel).encode()
    assert ([case.channel], {"a; last-id=1"}) == told(post(case, data))


@pytest.mark.grip("sessions")
@pytest.mark.parametrize("blank", ["%20", "+"])
def test_id_in_a_form(case: Case, blank: str) -> None:
    """json-param names the parameter of a form that has the JSON."""
    learn(case, "a=1", detect=rule(case, more="; json-param=data"))
    document = quote(json.dumps({"sid": case.channel})).replace("%20", blank)
    assert ([case.channel], {"a; last-id=1"}) == told(post(case, f"x=1&data={document}".encode()))
    assert ([], set()) == told(post(case))


@pytest.mark.grip("sessions")
def test_several_rules(case: Case) -> None:
    """Rules come as a list and in several fields; the first that finds an id counts."""
    learn(case, "a=1", detect=f"{rule(case, '/x')}, {rule(case, '/y')}")
    learn(case, detect=rule(case, "/z"))
    for body in ({"y": case.channel}, {"z": case.channel, "other": "1"}, {"x": case.channel, "y": "other"}):
        assert [case.channel] == post(case, json.dumps(body).encode()).values("Grip-Session-Id")


@pytest.mark.grip("sessions")
def test_paths_of_a_rule(case: Case) -> None:
    """A rule is for paths that begin as it says, with any query."""
    learn(case, "a=1", detect=rule(case, prefix=f"{case.path}/in"))
    assert [case.channel] == post(case, at="/inside").values("Grip-Session-Id")
    assert [] == post(case, at="/outside").values("Grip-Session-Id")
    case.answer(Reply(b"ok"), at="/in")
    body = json.dumps({"sid": case.channel}).encode()
    case.connect().request(f"{case.path}/in?a=b", "POST", body=body, host=HOST).read_response("POST")
    assert [case.channel] == case.taken("/in").values("Grip-Session-Id")


@pytest.mark.grip("sessions")
def test_hosts_of_a_rule(case: Case) -> None:
    """A rule is for the host whose backend gave it; a session is for all."""
    learn(case, "a=1")
    assert ([], set()) == told(post(case, host=OTHER_HOST))
    learn(case, host=OTHER_HOST, sid="another")
    assert ([case.channel], {"a; last-id=1"}) == told(post(case, host=OTHER_HOST))


@pytest.mark.grip("sessions")
def test_route_that_keeps_no_sessions(case: Case) -> None:
    """Other routes neither learn rules nor look for sessions."""
    learn(case, "a=1", host="conformance.test")
    assert ([], set()) == told(post(case, host="conformance.test"))
    assert ([], set()) == told(post(case))
    learn(case, "a=2")
    assert ([case.channel], {"a; last-id=2"}) == told(post(case))


@pytest.mark.grip("sessions")
def test_body_of_some_size(case: Case) -> None:
    """A session is found in a body that could be asked again."""
    learn(case, "a=1")
    body = json.dumps({"fill": "x" * 50_000, "sid": case.channel}).encode()
    assert ([case.channel], {"a; last-id=1"}) == told(post(case, body))


@pytest.mark.grip("sessions")
@pytest.mark.parametrize("framing", ["Content-Length: {length}", "Transfer-Encoding: chunked"])
def test_body_that_comes_later(case: Case, framing: str) -> None:
    """A session is found in a body that comes behind the head, and in parts."""
    learn(case, "a=1")
    case.answer(Reply(b"ok"))
    body = json.dumps({"sid": case.channel}).encode()
    parts = [body[:10], body[10:]]
    chunked = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts] + [b"0\r\n\r\n"]
    lines = [f"POST {case.path} HTTP/1.1", f"Host: {HOST}", framing.format(length=len(body)), "", ""]
    connection = case.connect()
    connection.send("\r\n".join(lines).encode())
    for part in chunked if "chunked" in framing else parts:
        time.sleep(0.1)
        connection.send(part)
    assert b"ok" == connection.read_response("POST").body
    request = case.taken()
    assert (body, [case.channel], {"a; last-id=1"}) == (request.body, *told(request))


@pytest.mark.grip("sessions")
@pytest.mark.parametrize(
    "value", ["path-prefix=/", "sid-ptr=/sid", "path-prefix=/; sid-ptr=sid", "path-prefix=a; sid-ptr=/sid"]
)
def test_malformed_rule_is_refused(case: Case, value: str) -> None:
    """A rule that cannot find anything makes the response a 502."""
    case.answer(Reply(b"ok", [("Grip-Session-Detect", value)]))
    assert 502 == case.get(host=HOST).status


# --- holds


@pytest.mark.grip("sessions")
def test_item_moves_the_session_of_a_stream(case: Case) -> None:
    """What a session's stream was sent is its last id, while the stream is open and after that."""
    case.answer(with_session(held(case.channel), case))
    stream = case.stream(host=HOST)
    case.settle()
    case.taken()
    case.say("one", id="1")
    case.say("two", id="2")
    assert b"onetwo" == stream.read_data(6)
    expected = ([case.channel], {f"{case.channel}; last-id=2"})
    assert expected == told(post(case))
    stream.close()
    assert expected == told(post(case))


@pytest.mark.grip("sessions")
def test_item_moves_the_session_of_a_poll(case: Case) -> None:
    """What answered a session's long-poll is its last id."""
    case.answer(with_session(held(case.channel, b"", "response"), case))
    poll = case.poll(host=HOST)
    case.publish({"id": "1", "http-response": {"body": "one"}})
    assert b"one" == poll.read_response().body
    assert ([case.channel], {f"{case.channel}; last-id=1"}) == told(post(case))


@pytest.mark.grip("sessions")
def test_next_item_does_not_move_the_session_of_a_poll(case: Case) -> None:
    """Of two items that are published together a long-poll gets the first, and its session is there."""
    case.answer(with_session(held(case.channel, b"", "response"), case))
    poll = case.poll(host=HOST)
    case.publish(*({"id": number, "http-response": {"body": number}} for number in "12"))
    assert b"1" == poll.read_response().body
    assert ([case.channel], {f"{case.channel}; last-id=1"}) == told(post(case))


@pytest.mark.grip("sessions")
def test_item_behind_a_gap_moves_nothing(case: Case) -> None:
    """An item that waits for a stream's next link does not move its session; the link's answer does."""
    link = ("Grip-Link", f"<{case.path}/next>; rel=next")
    hold = with_session(held(f"{case.channel}; prev-id=1", b"1"), case)
    more = held(f"{case.channel}; prev-id=4", b"34")
    gate = case.backend.gate()
    case.answer(Reply(hold.body, [*hold.fields, link]))
    case.answer(Reply(more.body, [*more.fields, link], before=[gate]), at="/next")
    stream = case.stream(host=HOST)
    case.settle()
    case.taken()
    case.say("2", id="2", **{"prev-id": "1"})
    case.say("4", id="4", **{"prev-id": "3"})
    assert b"12" == stream.read_data(2)
    asked = case.taken("/next")
    assert ([], {f"{case.channel}; last-id=2"}) == told(asked)
    assert {f"{case.channel}; last-id=2"} == post(case).last_ids
    gate.open()
    assert b"34" == stream.read_data(2)
    assert {f"{case.channel}; last-id=4"} == post(case).last_ids


@pytest.mark.grip("sessions")
def test_item_without_the_format_moves_nothing(case: Case) -> None:
    """An item that a stream is not sent does not move its session."""
    case.answer(with_session(held(case.channel), case))
    stream = case.stream(host=HOST)
    case.settle()
    case.taken()
    case.say("one", id="1")
    case.tell("two", id="2")
    assert b"one" == stream.read_data(3)
    assert {f"{case.channel}; last-id=1"} == post(case).last_ids


@pytest.mark.grip("sessions")
def test_hint_moves_nothing(case: Case) -> None:
    """A hint brings nothing to the client, so that it does not move its session."""
    case.answer(with_session(held(case.channel), case))
    stream = case.stream(host=HOST)
    case.settle()
    case.taken()
    case.publish({"id": "1", "http-stream": {"content": "one"}}, {"id": "2", "http-stream": {"action": "hint"}})
    assert b"one" == stream.read_data(3)
    assert {f"{case.channel}; last-id=1"} == post(case).last_ids


@pytest.mark.grip("sessions")
def test_hold_without_a_session(case: Case) -> None:
    """Items of other holds on the channel do not move a session."""
    learn(case, f"{case.channel}=1")
    case.answer(held(case.channel))
    stream = case.stream(host=HOST)
    case.settle()
    case.taken()
    case.say("two", id="2")
    assert b"two" == stream.read_data(3)
    assert {f"{case.channel}; last-id=1"} == post(case).last_ids


@pytest.mark.grip("sessions")
def test_request_that_is_asked_again(case: Case) -> None:
    """A held request that is asked again has its session's fields, and the channel's own prev-id."""
    learn(case, "a=1", f"{case.channel}=1")
    hold = held(f"{case.channel}; prev-id=2", b"", "response")
    case.answer(with_session(hold, case), Reply(b"again"))
    body = json.dumps({"sid": case.channel}).encode()
    poll = case.connect().request(case.path, "POST", body=body, host=HOST)
    assert {"a; last-id=1", f"{case.channel}; last-id=1"} == case.taken().last_ids
    case.settle()
    case.publish({"http-response": {"action": "hint"}})
    assert b"again" == poll.read_response("POST").body
    assert ([case.channel], {"a; last-id=1", f"{case.channel}; last-id=2"}) == told(case.taken())


@pytest.mark.grip("sessions: prefix")
def test_channels_have_no_prefix_for_the_backend(case: Case) -> None:
    """A route's prefix is not in the last ids that the backend is told, wherever they come from."""
    learn(case, "a=1", host=PREFIX_HOST)
    case.answer(with_session(held(case.channel), case))
    stream = case.stream(host=PREFIX_HOST)
    case.settle()
    case.taken()
    case.say("two", id="2", channel=f"pre-{case.channel}")
    assert b"two" == stream.read_data(3)
    assert {"a; last-id=1", f"{case.channel}; last-id=2"} == post(case, host=PREFIX_HOST).last_ids


# --- WebSockets


@pytest.mark.grip("sessions: WebSockets")
@pytest.mark.parametrize("host", [HOST, "conformance.test"])
def test_websocket_names_its_session(case: Case, host: str) -> None:
    """A backend names a WebSocket's session with a control message, whatever the WebSocket's route is."""
    learn(case)
    subscribe, name = control(type="subscribe", channel=case.channel), control(type="session", id=case.channel)
    case.answer(opened(subscribe, name))
    socket = case.socket(host=host)
    case.taken()
    case.tell("one", id="1")
    assert "one" == socket.read_text()
    assert ([case.channel], {f"{case.channel}; last-id=1"}) == told(post(case))


@pytest.mark.grip("sessions: WebSockets")
def test_websocket_leaves_its_session(case: Case) -> None:
    """A control message without an id ends it; the session is where it was."""
    learn(case, f"{case.channel}=0")
    subscribe, name = control(type="subscribe", channel=case.channel), control(type="session", id=case.channel)
    case.answer(opened(subscribe, name, control(type="session")))
    socket = case.socket(host=HOST)
    case.taken()
    case.tell("one", id="1")
    assert "one" == socket.read_text()
    assert {f"{case.channel}; last-id=0"} == post(case).last_ids
