"""Filters: what a subscription keeps from its client, and what it rewrites."""

import json

import pytest

from tests.conformance.backend import Reply
from tests.conformance.case import Case, held


def filtered(case: Case, filters: str, meta: str = "", prev_id: str = "", body: bytes = b"", **fields: str) -> Reply:
    """A stream hold with filters (names after blanks) and subscription meta."""
    channel = case.channel + (f"; prev-id={prev_id}" if prev_id else "")
    channel += "".join(f"; filter={name}" for name in filters.split())
    if meta:
        fields["Grip_Set_Meta"] = meta
    return held(channel, body, **fields)


@pytest.mark.grip("filters: skip-self")
def test_skip_self(case: Case) -> None:
    """skip-self drops what the subscription's own user sent."""
    case.answer(filtered(case, "skip-self", "user=alice"))
    connection = case.stream()
    case.say("mine", meta={"sender": "alice"})
    case.say("bobs ", meta={"sender": "bob"})
    case.say("nobodys")
    assert b"bobs nobodys" == connection.read_data(12)


@pytest.mark.grip("filters: skip-self")
def test_skip_self_without_user(case: Case) -> None:
    """A subscription without a user, or with an empty one, gets everything."""
    case.answer(filtered(case, "skip-self", 'user=""'))
    connection = case.stream()
    case.say("a", meta={"sender": ""})
    case.say("b", meta={"sender": "alice"})
    assert b"ab" == connection.read_data(2)


@pytest.mark.grip("filters: skip-users")
def test_skip_users(case: Case) -> None:
    """skip-users drops what is not for the users in a list."""
    case.answer(filtered(case, "skip-users", "user=alice"))
    connection = case.stream()
    case.say("no", meta={"skip_users": "bob, alice ,carol"})
    case.say("yes ", meta={"skip_users": "bob,alice2"})
    case.say("all")
    assert b"yes all" == connection.read_data(7)


@pytest.mark.grip("filters: require-sub")
def test_require_sub(case: Case) -> None:
    """require-sub drops what requires a subscription that the connection does not have."""
    other = case.channel + "-other"
    case.answer(held(f"{case.channel}; filter=require-sub, {other}"))
    connection = case.stream()
    case.say("no", meta={"require_sub": case.channel + "-third"})
    case.say("yes ", meta={"require_sub": other})
    case.say("all")
    assert b"yes all" == connection.read_data(7)


@pytest.mark.grip("filters")
def test_filters_belong_to_channels(case: Case) -> None:
    """A filter of one channel does not touch the other's items."""
    other = case.channel + "-other"
    case.answer(held(f"{case.channel}; filter=skip-self, {other}", Grip_Set_Meta="user=alice"))
    connection = case.stream()
    case.say("no", meta={"sender": "alice"})
    case.say("yes", meta={"sender": "alice"}, channel=other)
    assert b"yes" == connection.read_data(3)


@pytest.mark.grip("filters")
def test_several_filters(case: Case) -> None:
    """All filters of a channel count."""
    case.answer(filtered(case, "skip-self skip-users", "user=alice"))
    connection = case.stream()
    case.say("no", meta={"sender": "alice"})
    case.say("no", meta={"skip_users": "alice"})
    case.say("yes", meta={"sender": "bob", "skip_users": "carol"})
    assert b"yes" == connection.read_data(3)


@pytest.mark.grip("filters")
def test_subscribers_are_filtered_one_by_one(case: Case) -> None:
    """Subscribers with and without filters on one channel each get theirs, in order."""
    case.answer(filtered(case, "skip-self", "user=alice"), at="/alice")
    case.answer(filtered(case, "skip-self", "user=bob"), at="/bob")
    case.answer(held(case.channel), at="/all")
    alice, bob, everyone = case.stream("/alice"), case.stream("/bob"), case.stream("/all")
    case.say("1", meta={"sender": "alice"})
    case.say("2", meta={"sender": "bob"})
    case.say("3")
    assert (b"23", b"13", b"123") == (alice.read_data(2), bob.read_data(2), everyone.read_data(3))


@pytest.mark.grip("filters: skip-self")
def test_skip_self_on_polls(case: Case) -> None:
    """Filters work on long-polls, too."""
    channel = f"{case.channel}; filter=skip-self"
    case.answer(held(channel, b"", "response", Grip_Set_Meta="user=alice"))
    connection = case.poll()
    case.publish({"http-response": {"body": "no"}, "meta": {"sender": "alice"}})
    case.publish({"http-response": {"body": "yes"}, "meta": {"sender": "bob"}})
    assert b"yes" == connection.read_response().body


@pytest.mark.grip("filters: var-subst")
def test_var_subst(case: Case) -> None:
    """var-subst puts the subscription's meta into the content; %% is a percent sign."""
    case.answer(filtered(case, "var-subst", 'user=alice, other="x y"'))
    connection = case.stream()
    case.say("hi %(user)s, 100%% %(other)s")
    assert b"hi alice, 100% x y" == connection.read_data(18)


@pytest.mark.grip("filters: var-subst")
@pytest.mark.parametrize("content", ["%(nobody)s", "%d", "%(user)d", "100%"])
def test_var_subst_that_fails(case: Case, content: str) -> None:
    """An unknown variable or directive drops the item for that subscriber, and the stream goes on."""
    case.answer(filtered(case, "var-subst", "user=alice"))
    connection = case.stream()
    case.say(content)
    case.say("next")
    assert b"next" == connection.read_data(4)


@pytest.mark.grip("filters: http-check")
def test_http_check(case: Case) -> None:
    """http-check asks the backend whether an item is for a subscriber, and names both sides' meta."""
    case.answer(Reply(fields=[("Action", "drop")]), Reply(status=204, framing="none"), at="/check")
    case.answer(filtered(case, "http-check", f'url="{case.path}/check"'))
    connection = case.stream()
    case.say("dropped")
    case.say("kept", meta={"kind": "x"})
    assert b"kept" == connection.read_data(4)
    asked = [case.taken("/check") for _ in range(2)]
    assert [("POST", b"", "{}"), ("POST", b"", '{"kind":"x"}')] == [
        (one.method, one.body, one.value("Pub-Meta")) for one in asked
    ]
    assert {"url": f"{case.path}/check"} == json.loads(asked[0].value("Sub-Meta") or "")


@pytest.mark.grip("filters: http-modify")
def test_http_modify(case: Case) -> None:
    """http-modify asks the backend what a subscriber gets in place of the content; 204 is the content itself."""
    case.answer(Reply(b"new "), Reply(status=204, framing="none"), at="/modify")
    case.answer(filtered(case, "http-modify", f'url="{case.path}/modify"'))
    connection = case.stream()
    case.say("old ")
    case.say("same")
    assert b"new same" == connection.read_data(8)
    assert [b"old ", b"same"] == [case.taken("/modify").body for _ in range(2)]


@pytest.mark.grip("filters: build-id")
def test_build_id(case: Case) -> None:
    """build-id writes the subscription's id, made of its format and its channels' last ids, in place of %I."""
    link = f"<{case.path}/next>; rel=next"
    meta = f'id_format="{case.channel}:%({case.channel})s"'
    case.answer(filtered(case, "build-id", meta, "1", b"at %(start)I\n", Grip_Link=link))
    connection = case.stream()
    assert b"at start\n" == connection.read_data(9)
    case.say("at %I, 100%%\n", id="2", prev_id="1")
    expected = f"at {case.channel}:2, 100%\n".encode()
    assert expected == connection.read_data(len(expected))


@pytest.mark.grip("filters: build-id")
def test_build_id_of_a_literal(case: Case) -> None:
    """%(literal)I writes the literal in place of the id, %% a percent sign."""
    case.answer(filtered(case, "build-id", 'id_format="x"', body=b"%(own)I 100%%\n"))
    assert b"own 100%\n" == case.stream().read_data(9)


@pytest.mark.grip("filters: build-id")
def test_build_id_in_hexadecimal(case: Case) -> None:
    """With the meta id_encoding=hex the id is written in hexadecimal."""
    case.answer(filtered(case, "build-id", 'id_format="abc", id_encoding=hex', body=b"%(abc)I\n"))
    connection = case.stream()
    assert b"616263\n" == connection.read_data(7)
    case.say("%I")
    assert b"616263" == connection.read_data(6)


@pytest.mark.grip("filters: build-id; next links")
def test_build_id_in_next_links(case: Case) -> None:
    """What a next link appends is filtered, too."""
    channel = f"{case.channel}; prev-id=1; filter=build-id"
    fields = {"Grip_Set_Meta": 'id_format="x"', "Grip_Link": f"<{case.path}/next>; rel=next"}
    case.answer(held(channel, b"one %(1)I;", **fields))
    case.answer(held(channel, b"two %(2)I;", **fields), at="/next")
    connection = case.stream()
    case.publish({"http-stream": {"action": "hint"}})
    assert b"one 1;two 2;" == connection.read_data(6) + connection.read_data(6)


@pytest.mark.grip("responses without hold")
def test_build_id_without_hold(case: Case) -> None:
    """A response that is not held is filtered as well, and its length computed again."""
    fields = [("Grip-Channel", f"{case.channel}; filter=build-id"), ("Grip-Set-Meta", 'id_format="x"')]
    case.answer(Reply(b"%(long id)I\n", fields))
    response = case.get()
    assert (b"long id\n", "8") == (response.body, response.value("Content-Length"))


@pytest.mark.grip("filters")
@pytest.mark.parametrize("body", [b"%d", b"100%", b"%(open"])
def test_response_filter_that_fails(case: Case, body: bytes) -> None:
    """A response that its filter cannot read does not reach the client unfiltered."""
    case.answer(Reply(body, [("Grip-Channel", "x; filter=build-id"), ("Grip-Set-Meta", 'id_format="x"')]))
    response = case.get()
    assert (True, False) == (response.status >= 500, body in response.body)


@pytest.mark.grip("items: content-filters")
def test_content_filters_that_agree(case: Case) -> None:
    """An item that names content filters reaches the subscriptions that have just these."""
    case.answer(filtered(case, "var-subst skip-self", "user=alice"), at="/with")
    case.answer(held(case.channel + "-plain"), at="/without")
    with_filter, without = case.stream("/with"), case.stream("/without")
    case.publish({"http-stream": {"content": "for %(user)s", "content-filters": ["var-subst"]}})
    case.publish({"http-stream": {"content": "%I", "content-filters": []}}, channel=case.channel + "-plain")
    assert (b"for alice", b"%I") == (with_filter.read_data(9), without.read_data(2))


@pytest.mark.grip("items: content-filters")
def test_content_filters_that_disagree(case: Case) -> None:
    """An item that names other content filters than the subscription has is left out for it."""
    case.answer(filtered(case, "var-subst", "user=alice"), at="/with")
    case.answer(held(case.channel), at="/without")
    with_filter, without = case.stream("/with"), case.stream("/without")
    case.publish({"http-stream": {"content": "for %(user)s;", "content-filters": ["var-subst"]}})
    case.publish({"http-stream": {"content": "plain;", "content-filters": []}})
    case.publish({"http-stream": {"content": "wrong;", "content-filters": ["build-id"]}})
    case.publish({"http-stream": {"content": "end"}})
    assert b"for alice;end" == with_filter.read_data(13)
    assert b"plain;end" == without.read_data(9)


@pytest.mark.grip("filters; client libraries")
def test_event_stream_library(case: Case) -> None:
    """django-eventstream's holds: ids of several channels, kicks, keep-alives and recovery together."""
    a, b = case.channel + "-a", case.channel + "-b/1"
    filters = "filter=build-id; filter=skip-users"
    fields = {
        "Grip_Keep_Alive": "event: keep-alive\\ndata:\\n\\n; format=cstring; timeout=20",
        "Grip_Set_Meta": f'id_format="b:%({b})s,a:%({a})s", user="5"',
        "Grip_Link": f"<{case.path}/next?link=next&recover=true>; rel=next",
    }
    channels = f"{a}; prev-id=0; {filters}, {b}; prev-id=2; {filters}, {case.channel}-user; filter=require-sub"
    case.answer(held(channels, b"event: stream-open\ndata:\n\n", **fields))
    connection = case.stream()
    assert b"event: stream-open\ndata:\n\n" == connection.read_data(26)
    content = {"content-filters": ["build-id"], "content": "id: %I\ndata: 100%%\n\n"}
    skipped = {"id": "1", "prev-id": "0", "meta": {"skip_users": "4,5"}, "http-stream": content}
    case.publish(skipped, channel=a)
    case.publish({"id": "2", "prev-id": "1", "http-stream": content}, channel=a)
    assert b"id: b:2,a:2\ndata: 100%\n\n" == connection.read_data(24)
    kick = {"id": "kick-1", "meta": {"require_sub": "elsewhere"}, "http-stream": {"action": "close"}}
    case.publish(kick, channel=case.channel + "-user")
    case.publish({"id": "3", "prev-id": "2", "http-stream": content}, channel=b)
    assert b"id: b:3,a:2\ndata: 100%\n\n" == connection.read_data(24)
    case.publish(
        {"id": "kick-2", "meta": {"require_sub": a}, "http-stream": {"action": "close"}}, channel=case.channel + "-user"
    )
    assert b"" == connection.read_rest()
