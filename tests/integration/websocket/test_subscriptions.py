"""What control messages and publishes do to a WebSocket, beyond what every GRIP proxy does alike."""

import json
import time

import pytest

from tests.conformance import frames
from tests.conformance.backend import Upgrade, control, events, opened
from tests.conformance.case import Case
from tests.conformance.client import Connection
from tests.integration.websocket.conftest import accepting

PASSTHROUGH = "passthrough.test"


def opened_at(case: Case, host: str | None = None, fields: list[tuple[str, str]] | None = None) -> Connection:
    """An open WebSocket whose subscriptions are in effect; the opening request is taken out."""
    connection = case.connect()
    assert 101 == connection.upgrade(case.path, fields or [], host=host).status
    if host != PASSTHROUGH:
        case.taken()
    case.settle()
    return connection


def message(**members: object) -> frames.Frame:
    """A control message as a frame of a backend's own WebSocket."""
    return frames.Frame(frames.TEXT, b"c:" + json.dumps(members).encode())


# --- filters


@pytest.mark.parametrize("door", ["over-http", "passthrough"])
@pytest.mark.parametrize("compressed", [False, True])
def test_skip_self_and_skip_users(case: Case, door: str, compressed: bool) -> None:
    """The meta that set-meta gave is what filters look at; clients without filters get everything."""
    fields = [("Sec-WebSocket-Extensions", "permessage-deflate")] if compressed else []
    filters = ["skip-self", "skip-users"]
    commands: list[dict[str, object]] = [
        {"type": "subscribe", "channel": case.channel, "filters": filters},
        {"type": "set-meta", "name": "user", "value": "bob"},
    ]
    if door == "over-http":
        case.answer(accepting(*[control(**{k.replace("-", "_"): v for k, v in one.items()}) for one in commands]))
        connection = opened_at(case, fields=fields)
    else:
        case.answer(Upgrade([("Sec-WebSocket-Extensions", "grip")]))
        connection = opened_at(case, PASSTHROUGH, fields)
        peer = case.backend.take_socket(case.path)
        for one in commands:
            peer.send(message(**one))
        peer.send(frames.Frame(frames.TEXT, b"m:ready"))
        assert "ready" == connection.read_text()
    case.tell("own", meta={"sender": "bob"})
    case.tell("skipped", meta={"skip_users": "al, bob"})
    case.tell("other", meta={"sender": "al", "skip_users": "al"})
    assert "other" == connection.read_text()


def test_require_sub_knows_all_subscriptions(case: Case) -> None:
    """A message that requires another channel arrives only with that subscription."""
    subscribe = control(type="subscribe", channel=case.channel, filters=["require-sub"])
    case.answer(
        opened(subscribe),
        events(control(type="subscribe", channel=f"{case.channel}-2")),
        events(control(type="unsubscribe", channel=f"{case.channel}-2")),
    )
    connection = opened_at(case)
    required = {"require_sub": f"{case.channel}-2"}
    case.tell("without", meta=required)
    for expected in ("with", "again without"):
        connection.send_text("next")
        case.taken()
        case.settle()
        case.tell(expected, meta=required)
        case.tell("mark " + expected)
        assert expected == connection.read_text() if expected == "with" else True
        assert "mark " + expected == connection.read_text()


def test_var_subst_and_build_id(case: Case) -> None:
    """Content is made for each client from its meta; a format whose content-filters are others is not for it."""
    case.answer(
        accepting(
            control(type="subscribe", channel=case.channel, filters=["var-subst"]),
            control(type="set-meta", name="name", value="bob"),
        )
    )
    connection = opened_at(case)
    plain = case.connect()
    case.answer(accepting(control(type="subscribe", channel=case.channel)))
    assert 101 == plain.upgrade(case.path).status
    case.settle()
    case.publish({"ws-message": {"content": "hello %(name)s", "content-filters": ["var-subst"]}})
    case.publish({"ws-message": {"content": "for %(nobody)s", "content-filters": ["var-subst"]}})
    case.publish({"ws-message": {"content": "for others", "content-filters": ["build-id"]}})
    case.tell("100%%")
    assert ["hello bob", "100%"] == [connection.read_text(), connection.read_text()]
    assert "100%%" == plain.read_text()


def test_build_id_makes_the_content_of_each_client(case: Case) -> None:
    """Without reliable channels an id is what the client's meta says."""
    case.answer(
        accepting(
            control(type="subscribe", channel=case.channel, filters=["build-id"]),
            control(type="set-meta", name="id_format", value="v1"),
        )
    )
    connection = opened_at(case)
    case.publish({"ws-message": {"content": "id: %I, %%", "content-filters": ["build-id"]}})
    assert "id: v1, %" == connection.read_text()


def test_filters_change_with_another_subscribe(case: Case) -> None:
    """To subscribe again replaces the filters and delivers once."""
    case.answer(
        opened(control(type="subscribe", channel=case.channel, filters=["skip-self"])),
        events(
            control(type="set-meta", name="user", value="bob"),
            control(type="subscribe", channel=case.channel),
            ("TEXT", "m:ready"),
        ),
        events(control(type="subscribe", channel=case.channel, filters=["skip-self"]), ("TEXT", "m:ready")),
    )
    connection = opened_at(case)
    connection.send_text("a")
    assert "ready" == connection.read_text()
    case.tell("own", meta={"sender": "bob"})
    assert "own" == connection.read_text()
    connection.send_text("b")
    assert "ready" == connection.read_text()
    case.tell("own", meta={"sender": "bob"})
    case.tell("other")
    assert "other" == connection.read_text()


def test_too_many_filters_end_the_connection(case: Case) -> None:
    case.answer(accepting(control(type="subscribe", channel=case.channel, filters=["skip-self"] * 6)))
    connection = opened_at(case)
    assert 1011 == connection.read_frame().code
    assert b"DISCONNECT\r\n" == case.taken().body


# --- subscriptions of the route


def test_implicit_subscription_has_no_prefix_and_stays(case: Case) -> None:
    """Channels of the route are held as they are, the backend's with the prefix; only those can be unsubscribed."""
    case.answer(
        accepting(
            control(type="subscribe", channel=case.channel),
            control(type="unsubscribe", channel="news"),
        )
    )
    connection = opened_at(case, "implicit.test")
    case.tell("no", channel="p-news")
    case.tell("no", channel=case.channel)
    case.tell("news", channel="news")
    case.tell("own", channel=f"p-{case.channel}")
    assert ["news", "own"] == [connection.read_text(), connection.read_text()]


def test_implicit_subscription_of_a_backend_that_is_not_grip(case: Case) -> None:
    """It needs nothing of the backend."""
    case.answer(events("OPEN"), events())
    connection = opened_at(case, "implicit.test")
    case.tell("news", channel="news")
    assert "news" == connection.read_text()


# --- detach, refresh, session


@pytest.mark.parametrize("door", ["over-http", "passthrough"])
def test_detached_client_lives_on_publishes_alone(case: Case, door: str) -> None:
    """Messages are discarded, pings and the close answered here, and the backend hears nothing of the end."""
    if door == "over-http":
        case.answer(accepting(control(type="subscribe", channel=case.channel), control(type="detach")))
        connection = opened_at(case)
        assert b"CLOSE\r\n" == case.taken().body
    else:
        case.answer(Upgrade([("Sec-WebSocket-Extensions", "grip")]))
        connection = opened_at(case, PASSTHROUGH)
        peer = case.backend.take_socket(case.path)
        peer.send(message(type="subscribe", channel=case.channel))
        peer.send(message(type="detach"))
        assert 1000 == (peer.receive() or frames.Frame(0)).code
    connection.send_text("nobody hears it")
    connection.send_frame(frames.PING, b"x")
    assert frames.Frame(frames.PONG, b"x") == connection.read_frame()
    case.tell("published")
    assert "published" == connection.read_text()
    connection.send_close(4000, "bye")
    assert frames.close(4000, "bye") == connection.read_frame()
    assert connection.ended()
    time.sleep(0.2)
    assert 0 == case.backend.waiting(case.path)


def test_detached_client_can_be_closed_by_a_publish(case: Case) -> None:
    case.answer(accepting(control(type="subscribe", channel=case.channel), control(type="detach")))
    connection = opened_at(case)
    assert b"CLOSE\r\n" == case.taken().body
    case.publish({"ws-message": {"action": "close", "code": 4001}})
    assert 4001 == connection.read_frame().code


def test_published_refresh_asks_the_backend_of_each(case: Case) -> None:
    """An empty request for every subscriber, whose answer may carry events."""
    subscribe = control(type="subscribe", channel=case.channel)
    case.answer(accepting(subscribe))
    connections = [opened_at(case) for _ in range(3)]
    case.answer(events(("TEXT", "m:news")))
    case.publish({"ws-message": {"action": "refresh"}})
    assert ["news"] * 3 == [connection.read_text() for connection in connections]
    requests = [case.taken() for _ in connections]
    assert [b""] * 3 == [request.body for request in requests]
    assert 3 == len({request.value("Connection-Id") for request in requests})


def test_refresh_while_a_request_is_under_way_asks_again_after_it(case: Case) -> None:
    gate = case.backend.gate()
    slow = events()
    case.answer(
        opened(control(type="subscribe", channel=case.channel)),
        type(slow)(slow.body, slow.fields, before=[gate]),
        events(("TEXT", "m:news")),
    )
    connection = opened_at(case)
    connection.send_text("a")
    case.taken()
    case.publish({"ws-message": {"action": "refresh"}})
    case.settle()
    assert 0 == case.backend.waiting(case.path)
    gate.open()
    assert b"" == case.taken().body
    assert "news" == connection.read_text()


def test_session_and_nonsense_change_nothing(case: Case) -> None:
    """Where no route of the realm keeps sessions, naming one does nothing; nonsense is ignored; it goes on."""
    case.answer(
        accepting(
            control(type="session", id="x"),
            control(type="session"),
            ("TEXT", "c:{"),
            ("TEXT", "c:[]"),
            control(type="subscribe"),
            control(type="subscribe", channel=""),
            control(type="what"),
            ("TEXT", "no prefix"),
            ("TEXT", "m:still here"),
        )
    )
    assert "still here" == opened_at(case).read_text()


# --- timed messages


def test_idle_keep_alive_waits_for_silence_and_interval_does_not(case: Case) -> None:
    """Traffic puts off the one and not the other."""
    subscribe = control(type="subscribe", channel=case.channel)
    case.answer(opened(subscribe, control(type="keep-alive", content="idle", timeout=1)), events())
    idle = opened_at(case)
    case.answer(opened(subscribe, control(type="keep-alive", content="k", timeout=1, mode="interval")), events())
    interval = opened_at(case)
    seen = []
    for number in range(7):
        case.tell(str(number))
        assert str(number) == idle.read_text()
        while (text := interval.read_text()) != str(number):
            seen.append(text)
        time.sleep(0.25)
    assert {"k"} == set(seen)
    assert "idle" == idle.read_text()


def test_keep_alive_of_every_type_is_turned_off_by_one_without_content(case: Case) -> None:
    case.answer(
        opened(control(type="keep-alive", content_bin="AP8=", message_type="binary", timeout=1)),
        events(control(type="keep-alive"), ("TEXT", "m:off")),
    )
    connection = opened_at(case)
    assert frames.Frame(frames.BINARY, b"\x00\xff") == connection.read_frame()
    connection.send_text("stop")
    assert "off" == connection.read_text()
    assert not connection.readable(1.5)


def test_send_delayed_has_one_place(case: Case) -> None:
    """A new one sends the one that waits, flush-delayed the last one, and each is sent once."""
    case.answer(
        opened(
            control(type="send-delayed", content="first", timeout=30),
            control(type="send-delayed", content_bin="/w==", message_type="binary", timeout=30),
            ("TEXT", "m:mark"),
            control(type="flush-delayed"),
            control(type="flush-delayed"),
            control(type="send-delayed", content="later", timeout=1),
        ),
        events(),
    )
    connection = opened_at(case)
    assert ["first", "mark"] == [connection.read_text(), connection.read_text()]
    assert frames.Frame(frames.BINARY, b"\xff") == connection.read_frame()
    assert "later" == connection.read_text()
    assert not connection.readable(1.2)


def test_empty_prefix_relays_everything_but_control_messages(case: Case) -> None:
    case.answer(
        opened(
            control(type="subscribe", channel=case.channel),
            ("TEXT", "plain"),
            ("BINARY", b"c:binary"),
            extension='grip; message-prefix=""',
        ),
        events(),
    )
    connection = opened_at(case)
    assert "plain" == connection.read_text()
    assert frames.Frame(frames.BINARY, b"c:binary") == connection.read_frame()
    case.tell("published")
    assert "published" == connection.read_text()


def test_meta_of_the_backend_comes_back_and_is_no_filter_meta(case: Case) -> None:
    """Set-Meta-* is the backend's memory; filters look at set-meta."""
    case.answer(
        opened(control(type="subscribe", channel=case.channel, filters=["skip-self"]), Set_Meta_User="bob"),
        events(Set_Meta_User=""),
        events(),
    )
    connection = opened_at(case)
    case.tell("own", meta={"sender": "bob"})
    assert "own" == connection.read_text()
    for expected in ("bob", None):
        connection.send_text("a")
        assert expected == case.taken().value("Meta-User")
