"""Instructions in header fields: grammar, defaults, floors and errors."""

import gzip
import json

import pytest

from tests.conformance.backend import Reply
from tests.conformance.case import Case, held

REFUSED = (502, b"Error while proxying to origin.\n")


def instructed(body: bytes = b"body\n", status: int = 200, **fields: str) -> Reply:
    """A response with instructions; underscores in names stand for hyphens."""
    named = [(name.replace("_", "-"), value) for name, value in fields.items()]
    return Reply(body, [("Content-Type", "text/plain"), *named], status)


@pytest.mark.grip("responses")
@pytest.mark.parametrize("name", ["Grip-Foo", "grip-foo", "GRIP-STATUS-X", "Grip-Channel", "Grip-Timeout"])
def test_grip_fields_never_reach_the_client(case: Case, name: str) -> None:
    """Any field that starts with Grip- is kept from the client, known or not, in any case."""
    case.answer(Reply(b"body", [(name, "5"), ("X-Own", "1")]))
    response = case.get()
    assert (200, b"body", "1") == (response.status, response.body, response.value("X-Own"))
    assert [] == [field for field, _ in response.head.fields if field.lower().startswith("grip-")]


@pytest.mark.grip("responses without hold")
def test_channel_without_hold_holds_nothing(case: Case) -> None:
    """A response with a channel but no hold is answered at once, with its length."""
    case.answer(instructed(Grip_Channel=case.channel))
    response = case.get()
    assert (200, b"body\n", "5") == (response.status, response.body, response.value("Content-Length"))


@pytest.mark.grip("instructions in fields: Grip-Hold")
@pytest.mark.parametrize("value", ["Stream", "RESPONSE", "poll", "none", '"stream"', "stream; x=1 y"])
def test_unknown_hold_is_refused(case: Case, value: str) -> None:
    """Grip-Hold is exactly `response` or `stream`."""
    case.answer(instructed(Grip_Hold=value, Grip_Channel=case.channel))
    response = case.get()
    assert REFUSED == (response.status, response.body)


@pytest.mark.grip("instructions in fields")
@pytest.mark.parametrize(
    "fields",
    [
        {"Grip_Timeout": "x"},
        {"Grip_Timeout": "-1"},
        {"Grip_Timeout": "1.5"},
        {"Grip_Keep_Alive": "x; format=base32"},
        {"Grip_Keep_Alive": "x; mode=never"},
        {"Grip_Keep_Alive": "x; timeout=-1"},
        {"Grip_Keep_Alive": "x; timeout=soon"},
        {"Grip_Keep_Alive": "; timeout=5"},
        {"Grip_Keep_Alive": "a\\; format=cstring"},
        {"Grip_Keep_Alive": "\\xzz; format=cstring"},
        {"Grip_Link": "next; rel=next"},
        {"Grip_Link": "<>; rel=next"},
        {"Grip_Link": "</n>; rel=next; timeout=-1"},
        {"Grip_Link": "</n>; rel=next; timeout=x"},
        {"Grip_Channel": "a" + "; filter=skip-self" * 6},
        {"Grip_Channel": 'a; prev-id="open'},
        {"Grip_Status": "OK"},
        {"Grip_Status": "-1"},
        {"Grip_Status": "1000"},
    ],
    ids=lambda fields: " ".join(f"{name}={value[:30]}" for name, value in fields.items()),
)
def test_malformed_instruction_is_refused(case: Case, fields: dict[str, str]) -> None:
    """A malformed instruction makes the whole response a 502, whatever else is in it."""
    case.answer(instructed(**{"Grip_Hold": "stream", "Grip_Channel": case.channel, **fields}))
    connection = case.ask()
    assert REFUSED[0] == connection.read_head().status
    assert REFUSED[1] == connection.read_rest()


@pytest.mark.grip("instructions in fields")
@pytest.mark.parametrize(
    "fields",
    [
        {"Grip_Keep_Alive": "x; timeout=0"},
        {"Grip_Keep_Alive": "x; unknown=1"},
        {"Grip_Keep_Alive": "a, b"},
        {"Grip_Keep_Alive": "\\t; format=raw"},
        {"Grip_Channel": ""},
        {"Grip_Channel": "a; filter=no-such-filter"},
        {"Grip_Channel": "a; unknown=1"},
        {"Grip_Set_Meta": "name"},
        {"Grip_Set_Meta": "a=1; b=2"},
        {"Grip_Set_Meta": 'a="1, 2", b=3'},
        {"Grip_Link": "</x>; rel=prev"},
        {"Grip_Link": "</x>"},
        {"Grip_Timeout": "0"},
        {"Grip_Unknown": "x"},
    ],
    ids=lambda fields: " ".join(f"{name}={value[:30]}" for name, value in fields.items()),
)
def test_lenient_instruction_is_taken(case: Case, fields: dict[str, str]) -> None:
    """What is not an error: a zero timeout, unknown parameters, names and relations."""
    case.answer(instructed(**{"Grip_Hold": "stream", "Grip_Channel": case.channel, **fields}))
    connection = case.stream()
    assert b"body\n" == connection.read_data(5)


@pytest.mark.grip("instructions in fields: Grip-Status")
@pytest.mark.parametrize(
    ("value", "status", "reason"),
    [
        ("404", 404, "Not Found"),
        ("304", 304, "Not Modified"),
        ("304 NOT MODIFIED", 304, "NOT MODIFIED"),
        ("299 My Own Words", 299, "My Own Words"),
        ("298", 298, "Undefined Reason"),
    ],
)
def test_status_is_replaced(case: Case, value: str, status: int, reason: str) -> None:
    """Grip-Status sets the client's status, with its own reason, the standard one or `Undefined Reason`."""
    case.answer(instructed(Grip_Status=value, status=200, body=b""))
    response = case.get()
    assert (status, reason) == (response.status, response.head.reason)


@pytest.mark.grip("instructions in fields: Grip-Expose-Headers")
def test_exposed_fields_only(case: Case) -> None:
    """With Grip-Expose-Headers only the listed fields reach the client."""
    case.answer(instructed(Grip_Expose_Headers="x-one, X-Two", X_One="1", X_Two="2", X_Three="3"))
    head = case.get().head
    assert ("1", "2", None) == (head.value("X-One"), head.value("X-Two"), head.value("X-Three"))


@pytest.mark.grip("instructions in fields: Grip-Channel")
@pytest.mark.parametrize("form", ["joined", "repeated"])
def test_several_channels(case: Case, form: str) -> None:
    """Channels may be joined by commas or come in fields of their own."""
    one, two = case.channel + "-1", case.channel + "-2"
    values = [f"{one}, {two}"] if form == "joined" else [one, two]
    case.answer(Reply(b"", [("Grip-Hold", "stream"), *(("Grip-Channel", value) for value in values)]))
    connection = case.stream()
    case.say("a", channel=one)
    assert b"a" == connection.read_data(1)
    case.say("b", channel=two)
    assert b"b" == connection.read_data(1)


@pytest.mark.grip("instructions in fields")
def test_field_names_have_no_case(case: Case) -> None:
    """Instructions are found whatever the case of the field's name."""
    case.answer(Reply(b"x", [("GRIP-hold", "stream"), ("grip-CHANNEL", case.channel)]))
    connection = case.stream()
    assert b"x" == connection.read_data(1)
    case.say("y")
    assert b"y" == connection.read_data(1)


@pytest.mark.grip("instructions in fields")
@pytest.mark.parametrize("name", ["with blank", 'with "quotes"', "k=v", "sl/ash", "per%20cent", "a:b", "(x)", "<y>"])
def test_channel_names_are_literal(case: Case, name: str) -> None:
    """A channel's name is taken verbatim up to the comma or semicolon."""
    channel = f"{case.channel} {name}"
    case.answer(Reply(b"", [("Grip-Hold", "stream"), ("Grip-Channel", f"  {channel}  ; unknown=1")]))
    connection = case.stream()
    case.say("x", channel=channel)
    assert b"x" == connection.read_data(1)


@pytest.mark.grip("instructions in fields")
def test_channel_names_are_utf_8(case: Case) -> None:
    """A channel name in UTF-8 is the one that publishers name in JSON."""
    channel = case.channel + " \u00e4\u20ac"
    raw = channel.encode().decode("latin-1")
    case.answer(Reply(b"", [("Grip-Hold", "stream"), ("Grip-Channel", raw)]))
    connection = case.stream()
    case.say("x", channel=channel)
    assert b"x" == connection.read_data(1)


@pytest.mark.grip("instructions in fields: Grip-Hold")
@pytest.mark.parametrize("status", [200, 404, 500, 302])
def test_hold_on_any_status(case: Case, status: int) -> None:
    """Header instructions count on any status."""
    case.answer(instructed(b"x", status, Grip_Hold="stream", Grip_Channel=case.channel))
    connection = case.ask()
    assert status == connection.read_head().status
    assert b"x" == connection.read_data(1)
    case.say("y")
    assert b"y" == connection.read_data(1)


@pytest.mark.grip("responses")
def test_large_response_hold_is_refused(case: Case) -> None:
    """A long-poll's body beyond 100,000 bytes is a 502."""
    case.answer(instructed(b"x" * 100_001, Grip_Hold="response", Grip_Channel=case.channel))
    assert 502 == case.get().status


@pytest.mark.grip("responses")
def test_largest_response_hold(case: Case) -> None:
    """A long-poll's body of 100,000 bytes is held and answered at its timeout."""
    case.answer(instructed(b"x" * 100_000, Grip_Hold="response", Grip_Channel=case.channel))
    connection = case.poll()
    case.resolve("short")
    assert b"short" == connection.read_response().body


@pytest.mark.grip("responses")
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_large_stream_body(case: Case, framing: str) -> None:
    """A stream's initial body has no limit."""
    body = b"x" * 250_000
    fields = [("Grip-Hold", "stream"), ("Grip-Channel", case.channel)]
    case.answer(Reply(body if framing == "length" else [body], fields, framing=framing))
    connection = case.stream()
    assert body == connection.read_data(len(body))
    case.settle()
    case.say("more")
    assert b"more" == connection.read_data(4)


@pytest.mark.grip("responses")
@pytest.mark.parametrize(("name", "status"), [("skip-self", 200), ("build-id", 502)])
def test_large_stream_body_with_filter(case: Case, name: str, status: int) -> None:
    """Only a filter that changes the body that a stream begins with limits it, to 100,000 bytes."""
    fields = [("Grip-Hold", "stream"), ("Grip-Channel", f"{case.channel}; filter={name}")]
    case.answer(Reply(b"x" * 250_000, [*fields, ("Grip-Set-Meta", "id_format=x")]))
    connection = case.ask()
    assert status == connection.read_head().status
    if status == 200:
        assert b"x" * 250_000 == connection.read_data(250_000)


@pytest.mark.grip("responses")
def test_large_stream_body_with_status(case: Case) -> None:
    """The fields of a stream with a large body are instructed like any other's."""
    fields = [("Grip-Hold", "stream"), ("Grip-Channel", case.channel), ("Grip-Status", "203 Own"), ("X-Own", "1")]
    case.answer(Reply(b"x" * 250_000, fields))
    head = case.ask().read_head()
    assert (203, "Own", "1", None) == (head.status, head.reason, head.value("X-Own"), head.value("Content-Length"))
    assert [] == [name for name, _ in head.fields if name.lower().startswith("grip-")]


@pytest.mark.grip("responses")
@pytest.mark.parametrize("mode", ["stream", "json"])
def test_compressed_body_of_a_stream(case: Case, mode: str) -> None:
    """A backend that compresses anyway does no harm to a stream: the client can read all of it."""
    answer = held(case.channel, b"first ")
    if mode == "json":
        hold = {"mode": "stream", "channels": [{"name": case.channel}]}
        body = json.dumps({"hold": hold, "response": {"body": "first "}}).encode()
        answer = Reply(body, [("Content-Type", "application/grip-instruct")])
    assert isinstance(answer.body, bytes)
    case.answer(Reply(gzip.compress(answer.body), [*answer.fields, ("Content-Encoding", "gzip")]))
    connection = case.ask()
    assert None is connection.read_head().value("Content-Encoding")
    assert b"first " == connection.read_data(6)
    case.settle()
    case.say("second")
    assert b"second" == connection.read_data(6)


@pytest.mark.grip("request bodies and limits")
def test_large_request_cannot_be_held(case: Case) -> None:
    """A request body beyond 100,000 bytes cannot be kept for a replay, so the hold is refused with 400."""
    case.answer(instructed(Grip_Hold="response", Grip_Channel=case.channel))
    assert 400 == case.get(method="POST", body=b"x" * 150_000).status


@pytest.mark.grip("instructions in fields")
def test_hold_of_post(case: Case) -> None:
    """Any method may be held."""
    case.answer(instructed(Grip_Hold="stream", Grip_Channel=case.channel))
    connection = case.stream(method="POST", body=b"x")
    assert b"body\n" == connection.read_data(5)
    case.say("y")
    assert b"y" == connection.read_data(1)
