"""Reliable delivery: gaps, next links, gone links and replays."""

import time

import pytest
from werkzeug.http import parse_options_header

from tests.conformance.backend import RESET, Reply, Request
from tests.conformance.case import Case, held


def linked(case: Case, prev_id: str | None, body: bytes = b"", timeout: int | None = None, **fields: str) -> Reply:
    """A stream hold with a next link at the case's /next."""
    channel = case.channel if prev_id is None else f"{case.channel}; prev-id={prev_id}"
    link = f"<{case.path}/next?x=1>; rel=next" + (f"; timeout={timeout}" if timeout else "")
    return held(channel, body, Grip_Link=link, **fields)


# --- long-polls with prev-id


@pytest.mark.grip("response holds")
def test_poll_takes_the_item_that_follows(case: Case) -> None:
    """A long-poll with a prev-id is resolved by the item that follows it."""
    case.answer(held(f"{case.channel}; prev-id=1", b"", "response"))
    connection = case.poll()
    case.publish({"id": "2", "prev-id": "1", "http-response": {"body": "two"}})
    assert b"two" == connection.read_response().body


@pytest.mark.grip("response holds")
def test_poll_is_replayed_after_a_gap(case: Case) -> None:
    """A long-poll whose prev-id is not the item's is replayed to the backend with Grip-Last."""
    case.answer(held(f"{case.channel}; prev-id=1", b"", "response"), Reply(b"from the backend"))
    connection = case.poll("?a=1", fields=[("X-Own", "1")])
    case.publish({"id": "3", "prev-id": "2", "http-response": {"body": "three"}})
    assert b"from the backend" == connection.read_response().body
    again = case.taken()
    assert ("a=1", "1") == (again.target.partition("?")[2], again.value("X-Own"))
    assert {f"{case.channel}; last-id=1"} == again.last_ids


@pytest.mark.grip("response holds")
def test_stale_poll_is_replayed_at_once(case: Case) -> None:
    """A hold whose prev-id is further back than what was published is replayed at once: nothing is lost between."""
    other = case.channel + "-other"
    case.answer(held(case.channel), at="/watch")
    watching = case.stream("/watch")
    case.publish({"id": "5", "prev-id": "4", "http-stream": {"content": "5"}, "http-response": {"body": "5"}})
    assert b"5" == watching.read_data(1)
    case.answer(held(f"{case.channel}; prev-id=3, {other}; prev-id=7", b"", "response"), Reply(b"fresh"))
    assert b"fresh" == case.get().body
    case.taken()
    assert {f"{case.channel}; last-id=3", f"{other}; last-id=7"} == case.taken().last_ids


@pytest.mark.grip("response holds")
def test_item_between_answer_and_hold_is_not_missed(case: Case) -> None:
    """An item that was published before its predecessor's hold arrived resolves it, from memory or by a replay."""
    case.answer(held(case.channel), at="/watch")
    watching = case.stream("/watch")
    case.publish({"id": "5", "prev-id": "4", "http-stream": {"content": "5"}, "http-response": {"body": "five"}})
    assert b"5" == watching.read_data(1)
    case.answer(held(f"{case.channel}; prev-id=4", b"", "response"), Reply(b"five"))
    assert b"five" == case.get().body


@pytest.mark.grip("response holds")
def test_poll_that_is_up_to_date_is_held(case: Case) -> None:
    """A hold whose prev-id is the last published one is held."""
    case.answer(held(case.channel), at="/watch")
    watching = case.stream("/watch")
    case.publish({"id": "5", "http-stream": {"content": "5"}})
    assert b"5" == watching.read_data(1)
    case.answer(held(f"{case.channel}; prev-id=5", b"", "response"))
    connection = case.poll()
    case.publish({"id": "6", "prev-id": "5", "http-response": {"body": "6"}})
    assert b"6" == connection.read_response().body


# --- next links


@pytest.mark.grip("next links")
def test_next_link_without_hold_is_paging(case: Case) -> None:
    """A next link without a hold is fetched at once, and its bodies follow each other, until one has no link."""
    case.answer(Reply(b"one ", [("Grip-Link", f"<{case.path}/2>; rel=next"), ("Content-Type", "text/plain")]))
    case.answer(Reply(b"two ", [("Grip-Link", f"<{case.path}/3>; rel=next"), ("X-Own", "2")]), at="/2")
    case.answer(Reply(b"three"), at="/3")
    response = case.get()
    assert (b"one two three", "text/plain", None) == (
        response.body,
        response.value("Content-Type"),
        response.value("X-Own"),
    )


@pytest.mark.grip("next links")
def test_large_pages(case: Case) -> None:
    """Pages have no limit."""
    pages = [bytes([number]) * 250_000 for number in (65, 66)]
    case.answer(Reply(pages[0], [("Grip-Link", f"<{case.path}/2>; rel=next")]))
    case.answer(Reply([pages[1]], framing="chunked"), at="/2")
    assert b"".join(pages) == case.get().body


@pytest.mark.grip("next links")
@pytest.mark.parametrize("link", ["{path}/next?x=1", "next?x=1", "?x=1", "http://conformance.test{path}/next?x=1"])
def test_next_link_is_resolved(case: Case, link: str) -> None:
    """A relative link is resolved against the request's URI; one of the same origin goes to the same backend."""
    case.answer(Reply(b"one ", [("Grip-Link", f"<{link.format(path=case.path)}>; rel=next")]), at="/first")
    where = "/first" if link.startswith("?") else "/next"
    second = Reply(b"two")
    if where == "/first":
        case.answer(Reply(b"one ", [("Grip-Link", f"<{link}>; rel=next")]), second, at="/first")
    else:
        case.answer(second, at=where)
    assert b"one two" == case.get("/first").body
    if where == "/first":
        case.taken("/first")
    assert case.path + where + "?x=1" == case.taken(where).target


@pytest.mark.grip("next links")
def test_fields_of_a_next_request(case: Case) -> None:
    """A next link is fetched with GET and the proxy's own fields; the client's are not sent."""
    case.answer(linked(case, "1", b"one "))
    case.answer(Reply(b"two"), at="/next")
    connection = case.stream(method="POST", fields=[("Cookie", "a=1"), ("Authorization", "x")], body=b"body")
    case.publish({"http-stream": {"action": "hint"}})
    assert b"one two" == connection.read_rest()
    request = case.taken("/next")
    assert ("GET", b"", None, None) == (
        request.method,
        request.body,
        request.value("Cookie"),
        request.value("Authorization"),
    )
    assert {f"{case.channel}; last-id=1"} == request.last_ids
    assert request.value("Grip-Sig")
    assert request.value("Grip-Feature")
    assert "conformance.test" == request.value("Host")


@pytest.mark.grip("stream holds: hint")
def test_hint_fetches_the_next_link(case: Case) -> None:
    """A hint fetches the next link now; its answer goes on with the stream."""
    case.answer(linked(case, "1", b"one "))
    case.answer(linked(case, "2", b"two "), at="/next")
    connection = case.stream()
    case.publish({"http-stream": {"action": "hint"}})
    assert b"one two " == connection.read_data(4) + connection.read_data(4)
    case.settle()
    case.say("three", id="3", prev_id="2")
    assert b"three" == connection.read_data(5)


@pytest.mark.grip("stream holds")
def test_gap_fetches_the_next_link(case: Case) -> None:
    """An item that does not follow the stream's id makes it fetch the next link with Grip-Last; nothing comes twice."""
    case.answer(linked(case, "1"))
    case.answer(linked(case, "3", b"two three "), at="/next")
    connection = case.stream()
    case.say("three ", id="3", prev_id="2")
    assert b"two three " == connection.read_data(10)
    assert {f"{case.channel}; last-id=1"} == case.taken("/next").last_ids
    case.settle()
    case.say("four", id="4", prev_id="3")
    assert b"four" == connection.read_data(4)


@pytest.mark.grip("stream holds")
def test_item_without_prev_id_is_a_gap(case: Case) -> None:
    """An item that does not say what it follows cannot follow a known id: the stream asks its next link."""
    case.answer(linked(case, "1"))
    case.answer(linked(case, "2", b"from the backend"), at="/next")
    connection = case.stream()
    case.say("unsequenced")
    assert b"from the backend" == connection.read_data(16)
    assert {f"{case.channel}; last-id=1"} == case.taken("/next").last_ids


@pytest.mark.grip("response holds")
def test_item_without_prev_id_replays_a_poll(case: Case) -> None:
    """An item that does not say what it follows makes a long-poll with a prev-id ask the backend."""
    case.answer(held(f"{case.channel}; prev-id=1", b"", "response"), Reply(b"from the backend"))
    connection = case.poll()
    case.resolve("unsequenced")
    assert b"from the backend" == connection.read_response().body
    assert {f"{case.channel}; last-id=1"} == case.taken().last_ids


@pytest.mark.grip("stream holds; Grip-Last")
def test_last_id_moves_on(case: Case) -> None:
    """Grip-Last names the last id that was delivered, not the one of the hold."""
    case.answer(linked(case, "1"))
    case.answer(linked(case, "9", b"|"), at="/next")
    connection = case.stream()
    case.say("2", id="2", prev_id="1")
    case.say("3", id="3", prev_id="2")
    case.publish({"http-stream": {"action": "hint"}, "no-seq": True})
    assert b"23|" == connection.read_data(3)
    assert {f"{case.channel}; last-id=3"} == case.taken("/next").last_ids


@pytest.mark.grip("next links")
@pytest.mark.parametrize("last_id", ["2", "2026-01-31T12:00:00", "a b", "a;b", 'a"b'])
def test_last_id_can_be_read(case: Case, last_id: str) -> None:
    """Whatever the id is, a backend reads it from Grip-Last with the parser that django-grip uses."""
    case.answer(linked(case, "1"))
    case.answer(linked(case, "9", b"|"), at="/next")
    connection = case.stream()
    case.say("x", id=last_id, prev_id="1")
    case.publish({"http-stream": {"action": "hint"}, "no-seq": True})
    assert b"x|" == connection.read_data(2)
    [value] = case.taken("/next").values("Grip-Last")
    assert (case.channel, {"last-id": last_id}) == parse_options_header(value)


@pytest.mark.grip("stream holds")
def test_stale_stream_fetches_the_next_link(case: Case) -> None:
    """A stream whose prev-id is further back than what was published fetches its next link at once."""
    case.answer(held(case.channel), at="/watch")
    watching = case.stream("/watch")
    case.say("5", id="5", prev_id="4")
    assert b"5" == watching.read_data(1)
    case.answer(linked(case, "3", b"three "))
    case.answer(linked(case, "5", b"four five "), at="/next")
    connection = case.stream()
    assert b"three four five " == connection.read_data(6) + connection.read_data(10)
    assert {f"{case.channel}; last-id=3"} == case.taken("/next").last_ids


@pytest.mark.grip("stream holds")
def test_item_between_answer_and_stream_is_not_missed(case: Case) -> None:
    """An item that was published before its predecessor's stream arrived comes, from memory or by the next link."""
    case.answer(held(case.channel), at="/watch")
    watching = case.stream("/watch")
    case.say("five", id="5", prev_id="4")
    assert b"five" == watching.read_data(4)
    case.answer(linked(case, "4", b"four "))
    case.answer(linked(case, "5", b"five"), at="/next")
    connection = case.stream()
    assert b"four five" == connection.read_data(5) + connection.read_data(4)


@pytest.mark.grip("stream holds")
def test_items_that_come_during_a_fetch_are_kept(case: Case) -> None:
    """What is published while the next link is fetched comes once, in order, and the stream goes on behind it."""
    gate = case.backend.gate()
    items = {"1": "two ", "2": "three "}  # what follows each id, to the backend's knowledge

    def after(request: Request) -> Reply:
        (last_id,) = (member.rpartition("=")[2] for member in request.last_ids)
        body = "".join(items.values()) if last_id == "1" else items.get(last_id, "")
        return Reply(body.encode(), linked(case, "3").fields, before=[gate])

    case.answer(linked(case, "1"))
    case.answer(after, at="/next")
    connection = case.stream()
    case.publish({"http-stream": {"action": "hint"}, "no-seq": True})
    case.taken("/next")
    case.say("two ", id="2", prev_id="1")
    case.say("three ", id="3", prev_id="2")
    case.settle()
    gate.open()
    assert b"two three " == connection.read_data(10)
    case.settle()
    case.say("four", id="4", prev_id="3")
    assert b"four" == connection.read_data(4)


@pytest.mark.grip("next links")
def test_next_link_replaces_the_channels(case: Case) -> None:
    """The answer to a next link replaces channels and keep-alive."""
    case.answer(linked(case, None, b"one "))
    case.answer(held(case.channel + "-new", b"two ", Grip_Keep_Alive="beat; timeout=1"), at="/next")
    connection = case.stream()
    case.publish({"http-stream": {"action": "hint"}})
    assert b"one two " == connection.read_data(4) + connection.read_data(4)
    case.settle()
    case.say("old")
    case.say("new", channel=case.channel + "-new")
    assert b"new" == connection.read_data(3)
    assert b"beat" == connection.read_data(4)


@pytest.mark.grip("next links")
def test_next_link_may_end_the_stream(case: Case) -> None:
    """An answer without a hold and without a link ends the stream after its body."""
    case.answer(linked(case, "1", b"one "))
    case.answer(Reply(b"end"), at="/next")
    connection = case.stream()
    case.publish({"http-stream": {"action": "hint"}})
    assert b"one end" == connection.read_rest()


@pytest.mark.grip("next links")
@pytest.mark.parametrize("kind", ["response", "malformed"])
def test_bad_answer_to_a_next_link_ends_the_stream(case: Case, kind: str) -> None:
    """An answer that cannot continue a stream is not appended to it."""
    case.answer(linked(case, "1", b"one "))
    bad = {"response": held(case.channel, b"bad", "response"), "malformed": held(case.channel, b"bad", "other")}
    case.answer(bad[kind], Reply(b"recovered"), at="/next")
    connection = case.stream()
    case.publish({"http-stream": {"action": "hint"}})
    try:
        data = connection.read_rest()
    except (EOFError, ConnectionError, ValueError):
        data = b"one "
    assert data in (b"one ", b"one recovered")


@pytest.mark.grip("next links: timeout")
def test_quiet_stream_polls_its_next_link(case: Case) -> None:
    """A stream on which nothing comes fetches its next link after the link's timeout."""
    case.answer(linked(case, "1", b"one ", timeout=1))
    case.answer(Reply(b"two"), at="/next")
    started = time.monotonic()
    assert b"one two" == case.stream().read_rest()
    assert time.monotonic() - started > 0.7


@pytest.mark.grip("next links")
@pytest.mark.parametrize("failure", ["status", "reset"])
def test_failed_fetch_is_repeated(case: Case, failure: str) -> None:
    """A next link that fails is fetched again a second or two later."""
    case.answer(linked(case, "1", b"one "))
    broken = Reply(b"oops", status=503) if failure == "status" else Reply(before=[RESET])
    case.answer(broken, Reply(b"two"), at="/next")
    connection = case.stream()
    case.publish({"http-stream": {"action": "hint"}})
    assert b"one two" == connection.read_rest()
    assert 2 == case.backend.waiting(case.path + "/next")


@pytest.mark.grip("next links")
def test_streams_do_not_share_their_links(case: Case) -> None:
    """Two streams whose links differ in the query only get their own data."""

    def first(request: Request) -> Reply:
        who = request.target.partition("?")[2]
        link = f"<{case.path}/next?{who}>; rel=next"
        return held(f"{case.channel}; prev-id=1", b"%s:" % who.encode(), Grip_Link=link)

    gate = case.backend.gate()
    case.answer(first)
    case.answer(lambda request: Reply(request.target.partition("?")[2].encode(), before=[gate]), at="/next")
    one, two = case.stream("?one"), case.stream("?two")
    case.publish({"http-stream": {"action": "hint"}})
    case.settle()
    gate.open()
    assert (b"one:one", b"two:two") == (one.read_rest(), two.read_rest())


@pytest.mark.grip("gone links")
def test_gone_link(case: Case) -> None:
    """When the client has left, the gone link is told by an empty POST with the proxy's fields."""
    case.answer(held(case.channel, Grip_Link=f"<{case.path}/gone>; rel=gone"))
    case.answer(Reply(), at="/gone")
    case.stream().close()
    request = case.backend.take(case.path + "/gone", 2)
    assert ("POST", b"") == (request.method, request.body)
    assert request.value("Grip-Sig")


@pytest.mark.grip("gone links")
def test_gone_link_after_a_close(case: Case) -> None:
    """The gone link is told when a stream was closed by a publish, too."""
    case.answer(held(case.channel, Grip_Link=f"<{case.path}/gone>; rel=gone"))
    case.answer(Reply(), at="/gone")
    connection = case.stream()
    case.publish({"http-stream": {"action": "close"}})
    assert b"" == connection.read_rest()
    assert "POST" == case.backend.take(case.path + "/gone", 2).method


@pytest.mark.grip("control door: recover")
def test_recover_refreshes_streams(case: Case) -> None:
    """POST /recover makes streams with a next link fetch it."""
    case.answer(linked(case, "1", b"one "))
    case.answer(Reply(b"two"), at="/next")
    connection = case.stream()
    assert (200, b"Updated\n") == ((response := case.post(b"", "/recover")).status, response.body)
    assert b"one two" == connection.read_rest()


@pytest.mark.grip("control door: recover")
def test_recover_refreshes_polls(case: Case) -> None:
    """POST /recover makes long-polls ask the backend again."""
    case.answer(held(case.channel, b"", "response"), Reply(b"fresh"))
    connection = case.poll()
    case.post(b"", "/recover")
    assert b"fresh" == connection.read_response().body
