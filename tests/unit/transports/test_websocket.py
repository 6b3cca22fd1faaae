"""A held WebSocket client: what it sends, what reaches it, its timers and its end."""

import asyncio
import zlib

import pytest

from gripproxy.config import Limits
from gripproxy.grip import events as ev
from gripproxy.grip import wire
from gripproxy.grip.events import Event
from gripproxy.grip.item import Item, WsMessage
from gripproxy.transports.frames import FRAMES_MAX
from gripproxy.transports.sieve import META_MAX
from gripproxy.transports.websocket import CLOSE_LINGER
from tests.unit.transports.websocket_fakes import FakeLeg, Stage, client_frame

TEXT = wire.frame(wire.TEXT, b"hello")
SMALL = Limits(websocket_message=100, unsent=1000)


# --- from the client


def test_messages_go_to_the_leg_and_leave_no_parser() -> None:
    stage = Stage()
    stage.hold.data_received(client_frame(wire.TEXT, b"a") + client_frame(wire.BINARY, b"\xff"))
    assert [Event("TEXT", b"a"), Event("BINARY", b"\xff")] == stage.leg.take()
    assert None is stage.hold._frames


def test_half_a_message_keeps_its_parser_until_it_is_whole() -> None:
    stage = Stage()
    data = client_frame(wire.TEXT, b"hello")
    stage.hold.data_received(data[:4])
    assert [] == stage.leg.take()
    stage.hold.data_received(data[4:])
    assert [Event("TEXT", b"hello")] == stage.leg.take()
    assert None is stage.hold._frames


@pytest.mark.parametrize(("pings", "expected"), [("forward", [Event("PING", b"x")]), ("local", [])])
def test_ping_is_answered_here_and_told_to_the_backend_where_the_route_says_so(
    pings: str, expected: list[Event]
) -> None:
    stage = Stage(pings=pings)
    stage.hold.data_received(client_frame(wire.PING, b"x"))
    assert wire.frame(wire.PONG, b"x") == stage.transport.take()
    assert expected == stage.leg.take()


def test_client_is_not_read_while_its_leg_is_full() -> None:
    stage = Stage()
    stage.leg.is_full = True
    stage.hold.data_received(client_frame(wire.TEXT, b"a"))
    assert not stage.transport.is_reading()
    stage.leg.is_full = False
    stage.hold.resume()
    assert stage.transport.is_reading()


def test_frames_that_came_already_wait_for_the_leg_as_well() -> None:
    """What is small on the wire may be large when it is inflated."""
    stage = Stage(is_deflated=True)
    take, stage.leg.receive = stage.leg.receive, lambda event: (take(event), setattr(stage.leg, "is_full", True))[0]  # type: ignore[method-assign]
    stage.hold.data_received(client_frame(wire.TEXT, b"a") * 3)
    for _ in range(3):
        assert ([Event("TEXT", b"a")], False) == (stage.leg.take(), stage.transport.is_reading())
        stage.leg.is_full = False
        stage.hold.resume()
    assert ([], True) == (stage.leg.take(), stage.transport.is_reading())
    assert None is stage.hold._frames


def test_many_frames_at_once_are_read_in_many_turns() -> None:
    """No client has the loop for long, and none is read while frames of it wait."""

    async def scene() -> None:
        stage = Stage(pings="local")
        stage.hold.data_received(client_frame(wire.PING) * (2 * FRAMES_MAX + 1) + client_frame(wire.TEXT, b"a"))
        pong = wire.frame(wire.PONG, b"")
        for count in (FRAMES_MAX, FRAMES_MAX, 1):
            assert pong * count == stage.transport.take()
            assert (count > 1) != stage.transport.is_reading()
            stage.hold.resume()
            await asyncio.sleep(0)
        assert [Event("TEXT", b"a")] == stage.leg.take()

    asyncio.run(scene())


@pytest.mark.parametrize("end", ["lost", "closed", "broken"])
def test_what_waits_when_the_client_ends(end: str) -> None:
    async def scene() -> None:
        stage = Stage(pings="local")
        broken = b"\x81\x01" if end == "broken" else b""
        stage.hold.data_received(client_frame(wire.PING) * (FRAMES_MAX + 1) + client_frame(wire.CLOSE) + broken)
        if end == "lost":
            stage.transport.lose()
        else:
            stage.hold.close(1000)
        await asyncio.sleep(0)
        expected = {"lost": [Event("DISCONNECT")], "closed": [Event("CLOSE")], "broken": [Event("CLOSE")]}
        assert expected[end] == stage.leg.take()
        assert ("peer" if end == "lost" else "close") == stage.transport.ended_by

    asyncio.run(scene())


def test_broken_rule_fails_the_connection_once() -> None:
    stage = Stage()
    stage.hold.data_received(client_frame(wire.TEXT, b"a") + b"\x81\x01b")
    assert [Event("TEXT", b"a"), Event("DISCONNECT")] == stage.leg.take()
    assert b"\x88" == stage.transport.take()[:1]
    assert stage.transport.has_eof
    stage.hold.data_received(b"\x81\x01b" * 100)
    assert [] == stage.leg.take()
    stage.transport.lose()
    assert ["protocol"] == stage.ends


def test_message_beyond_the_limit_is_1009() -> None:
    stage = Stage(SMALL)
    stage.hold.data_received(client_frame(wire.TEXT, b"x" * 101))
    assert wire.close_frame(1009, "message exceeds 100 bytes") == stage.transport.take()


# --- closing


def test_close_waits_for_the_backends_answer() -> None:
    stage = Stage()
    stage.hold.data_received(client_frame(wire.CLOSE, b"\x0f\xa0bye"))
    assert [Event("CLOSE", b"\x0f\xa0bye")] == stage.leg.take()
    assert b"" == stage.transport.take()
    stage.hold.close(None)
    assert wire.close_frame(4000) == stage.transport.take()
    assert "close" == stage.transport.ended_by
    stage.transport.lose()
    assert (["closed"], []) == (stage.ends, stage.leg.take())
    assert stage.leg.is_released


def test_client_that_has_closed_may_end_its_half_of_the_connection() -> None:
    stage = Stage()
    assert not stage.hold.eof_received()
    stage.hold.data_received(client_frame(wire.CLOSE, b"\x0f\xa0bye"))
    assert stage.hold.eof_received()
    stage.hold.close(None)
    assert wire.close_frame(4000) == stage.transport.take()
    assert not stage.hold.eof_received()


def test_close_that_the_backend_does_not_answer_is_answered_here() -> None:
    stage = Stage()
    stage.hold.data_received(client_frame(wire.CLOSE, b"\x0f\xa0bye"))
    stage.wheel.advance(CLOSE_LINGER)
    assert wire.close_frame(4000) == stage.transport.take()
    assert [Event("CLOSE", b"\x0f\xa0bye"), Event("DISCONNECT")] == stage.leg.take()


@pytest.mark.parametrize("answers", [True, False])
def test_close_of_the_backend_waits_for_the_client_but_not_for_ever(answers: bool) -> None:
    stage = Stage()
    stage.hold.close(4001, "why")
    assert wire.close_frame(4001, "why") == stage.transport.take()
    if answers:
        stage.hold.data_received(client_frame(wire.CLOSE, b"\x0f\xa1"))
        assert "close" == stage.transport.ended_by
        assert [Event("CLOSE", b"\x0f\xa1")] == stage.leg.take()
    else:
        stage.wheel.advance(CLOSE_LINGER)
        assert "abort" == stage.transport.ended_by
    stage.transport.lose()
    assert ["closed"] == stage.ends
    assert {} == stage.wheel.timers
    assert [] == list(stage.holds.open)


def test_nothing_follows_a_close_frame() -> None:
    stage = Stage()
    stage.hold.subscribe("a")
    stage.hold.close(1000)
    stage.transport.take()
    stage.publish("a", b"late")
    stage.hold.send("text", b"late")
    stage.hold.data_received(client_frame(wire.PING))
    stage.hold.close(1001)
    assert b"" == stage.transport.take()
    assert 0 == stage.hub.subscriptions


def test_client_is_read_for_its_close_even_if_the_leg_is_full() -> None:
    stage = Stage()
    stage.leg.is_full = True
    stage.hold.data_received(client_frame(wire.TEXT, b"a"))
    stage.hold.close(1000)
    assert stage.transport.is_reading()
    stage.hold.data_received(client_frame(wire.TEXT, b"a"))
    assert stage.transport.is_reading()


def test_second_close_and_messages_behind_a_close_mean_nothing() -> None:
    stage = Stage()
    close = client_frame(wire.CLOSE)
    stage.hold.data_received(close)
    stage.hold.data_received(client_frame(wire.TEXT, b"late") + close)
    assert [Event("CLOSE")] == stage.leg.take()


def test_closing_a_connection_that_is_gone_writes_nothing() -> None:
    """uvloop's transports raise on a write after the end."""
    stage = Stage()
    stage.transport.ended_by = "peer"
    stage.hold.send("text", b"x")
    stage.hold.close(1000)
    assert b"" == stage.transport.written


def test_cut_client_gets_no_close_frame_unless_it_waits_for_one() -> None:
    stage = Stage()
    stage.hold.cut("why")
    assert ("abort", b"") == (stage.transport.ended_by, stage.transport.take())
    stage = Stage()
    stage.hold.data_received(client_frame(wire.CLOSE, b"\x03\xe8"))
    stage.hold.cut("why")
    assert ("close", wire.close_frame(1000)) == (stage.transport.ended_by, stage.transport.take())


# --- the end


def test_lost_client_is_reported_and_unsubscribed() -> None:
    stage = Stage()
    stage.hold.subscribe("a")
    stage.hold.obey(ev.SetKeepAlive(b"k"))
    stage.transport.lose()
    assert [Event("DISCONNECT")] == stage.leg.take()
    assert ["left"] == stage.ends
    assert ({}, 0, []) == (stage.wheel.timers, stage.hub.subscriptions, list(stage.holds.open))


def test_leg_may_still_be_woken_after_the_client_is_lost() -> None:
    """It may have a DISCONNECT to repeat."""
    stage = Stage()
    stage.transport.lose()
    stage.hold.wake_at(stage.wheel.now() + 1)
    stage.wheel.advance(1)
    assert 1 == stage.leg.was_due


def test_slow_client_is_cut_with_1013_and_counted_once(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(SMALL)
    assert 1000 == stage.transport.high
    stage.hold.subscribe("a")
    stage.transport.unsent = 2000
    stage.hold.pause_writing()
    stage.hold.pause_writing()
    assert wire.close_frame(1013, "too slow") == stage.transport.take()
    assert [Event("DISCONNECT")] == stage.leg.take()
    assert 1 == len(caplog.records)
    stage.wheel.advance(CLOSE_LINGER)
    assert "abort" == stage.transport.ended_by
    stage.transport.lose()
    assert ["slow"] == stage.ends


def test_answer_of_the_backend_may_be_larger_than_what_publishes_may_leave_unsent() -> None:
    """The mark moves up before it is written, and down again when the client has caught up."""
    stage = Stage(SMALL)
    stage.hold.widen(100)
    assert 1000 == stage.transport.high
    stage.transport.unsent = 200
    stage.hold.widen(5000)
    assert 6200 == stage.transport.high
    stage.transport.unsent = 1001
    stage.hold.narrow()
    assert 6200 == stage.transport.high, "the transport would call the client too slow at once"
    stage.transport.unsent = 1000
    stage.hold.narrow()
    assert 1000 == stage.transport.high


def test_shutdown_is_1012_for_the_client_and_disconnect_for_the_backend() -> None:
    stage = Stage()
    stage.hold.end("shutdown")
    assert wire.close_frame(1012, "shutdown") == stage.transport.take()
    assert [Event("DISCONNECT")] == stage.leg.take()
    stage.transport.lose()
    assert ["shutdown"] == stage.ends


def test_failed_backend_is_1011() -> None:
    stage = Stage()
    stage.hold.fail("backend answered 500")
    assert wire.close_frame(1011, "backend answered 500") == stage.transport.take()
    stage.transport.lose()
    assert ["backend"] == stage.ends


# --- subscriptions


def test_published_message_is_one_frame() -> None:
    stage = Stage()
    stage.hold.subscribe("a")
    stage.publish("a", b"hello")
    stage.publish("b", b"other")
    assert TEXT == stage.transport.take()


def test_published_message_is_compressed_where_that_was_agreed() -> None:
    stage = Stage(is_deflated=True)
    stage.hold.subscribe("a")
    stage.publish("a", b"hello " * 100)
    frame = stage.transport.take()
    assert 0xC1 == frame[0]
    assert b"hello " * 100 == zlib.decompressobj(-15).decompress(frame[2:] + b"\0\0\xff\xff")


def test_published_close_tells_both_sides() -> None:
    stage = Stage()
    stage.hold.subscribe("a")
    stage.publish("a", action="close", code=4000, reason="over")
    assert wire.close_frame(4000, "over") == stage.transport.take()
    assert [Event("CLOSE")] == stage.leg.take()


def test_published_refresh_and_hint() -> None:
    stage = Stage()
    stage.hold.subscribe("a")
    stage.publish("a", action="refresh")
    stage.publish("a", action="hint")
    assert (1, b"") == (stage.leg.refreshed, stage.transport.take())


def test_channel_names_are_shared() -> None:
    """Ten thousand clients of a channel keep its name once."""
    stage = Stage()
    first, second = "".join(["a", "b"]), "".join(["a", "b"])
    stage.hold.subscribe(first)
    other = Stage.hold_with(stage, stage.leg)
    other.subscribe(second)
    assert stage.hold.channels[0] is other.channels[0]


def test_routes_channels_have_no_prefix_and_stay() -> None:
    stage = Stage(prefix="p-", subscribe=("news",))
    stage.hold.obey(ev.Subscribe("a"))
    stage.hold.obey(ev.Subscribe("news"))
    assert ("news", "p-a", "p-news") == stage.hold.channels
    for channel in ("news", "a", "nothing"):
        stage.hold.obey(ev.Unsubscribe(channel))
    assert ("news",) == stage.hold.channels


def test_meta_has_a_limited_number_of_names(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    for number in range(META_MAX):
        stage.hold.obey(ev.SetMeta(str(number), "x"))
    stage.hold.obey(ev.SetMeta("user", "alice"))
    stage.hold.obey(ev.Subscribe("a", ("skip-self",)))
    stage.publish("a", b"hello", meta={"sender": "alice"})
    assert TEXT == stage.transport.take()
    assert 1 == stage.metrics.meta_left_out
    assert "more names of meta than 64" in caplog.text

    stage.hold.obey(ev.SetMeta("0", None))
    stage.hold.obey(ev.SetMeta("user", "alice"))
    stage.publish("a", b"hello", meta={"sender": "alice"})
    assert b"" == stage.transport.take()


def test_subscribing_again_delivers_once_and_keeps_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(Limits(channels_per_connection=2))
    for channel in ("a", "b", "a", "c"):
        stage.hold.obey(ev.Subscribe(channel))
    assert ("a", "b") == stage.hold.channels
    assert "channels_per_connection" in caplog.text
    assert 1 == stage.metrics.channels_left_out
    stage.publish("a", b"hello")
    assert TEXT == stage.transport.take()


def test_filters_hold_back_change_and_go() -> None:
    stage = Stage()
    stage.hold.obey(ev.SetMeta("user", "bob"))
    stage.hold.obey(ev.Subscribe("a", ("skip-self",)))
    stage.publish("a", b"own", meta={"sender": "bob"})
    stage.publish("a", b"hello", meta={"sender": "al"})
    assert TEXT == stage.transport.take()
    assert 1 == stage.metrics.filtered
    stage.hold.obey(ev.SetMeta("user", None))
    stage.publish("a", b"hello", meta={"sender": "bob"})
    assert TEXT == stage.transport.take()
    stage.hold.obey(ev.Subscribe("a"))
    stage.hold.obey(ev.SetMeta("user", "bob"))
    stage.publish("a", b"hello", meta={"sender": "bob"})
    assert TEXT == stage.transport.take()
    assert 1 == stage.hub.subscriptions
    stage.hold.obey(ev.Unsubscribe("a"))
    assert 0 == stage.hub.subscriptions


def test_changed_filters_are_for_what_is_published_from_then_on() -> None:
    """What waits for a pass meanwhile is neither missed nor doubled, nor filtered by what came later."""
    stage = Stage()
    other = stage.hold_with(FakeLeg())
    for hold in (stage.hold, other):
        hold.obey(ev.SetMeta("user", "bob"))
        hold.obey(ev.Subscribe("a", ("skip-self",) if hold is other else ()))
    own = Item("a", message=WsMessage("send", "text", b"hello"), meta={"sender": "bob"})
    for filters in (("skip-self",), ()):
        stage.hub.deliver("default", own)
        stage.hold.obey(ev.Subscribe("a", filters))
    stage.loop.run()
    assert TEXT == stage.transport.take()
    stage.hub.deliver("default", own)
    stage.loop.run()
    assert TEXT == stage.transport.take()


def test_channel_has_subscribers_while_filters_change() -> None:
    stage = Stage()
    stage.hold.obey(ev.Subscribe("a"))
    told: list[bool] = []
    stage.hub.on_channel = lambda realm, channel, is_first: told.append(is_first)
    stage.hold.obey(ev.Subscribe("a", ("skip-self",)))
    stage.hold.obey(ev.Subscribe("a"))
    assert [] == told


def test_filter_that_fails_costs_the_message_and_not_the_connection() -> None:
    stage = Stage()
    stage.hold.obey(ev.Subscribe("a", ("var-subst",)))
    stage.publish("a", b"%(nobody)s")
    stage.publish("a", b"hello")
    assert TEXT == stage.transport.take()


def test_filters_make_no_frame_that_must_not_be() -> None:
    """The client would have to end the connection (RFC 6455 5.5 and 8.1)."""
    stage = Stage()
    stage.hold.obey(ev.SetMeta("name", "x" * 200))
    stage.hold.obey(ev.SetMeta("url", "/filter"))
    stage.hold.obey(ev.Subscribe("a", ("var-subst",)))
    stage.hold.obey(ev.Subscribe("b", ("http-modify",)))
    replies = [(200, (), b"\xff"), (200, (), b"good")]
    stage.holds.ask = lambda hold, uri, question, then: then(replies.pop(0))
    stage.leg.uri = "http://example.com/"
    stage.publish("a", b"%(name)s", type="ping")
    stage.publish("b", b"text")
    assert (b"", 2) == (stage.transport.take(), stage.metrics.filtered)
    stage.publish("a", b"%(name)s")
    stage.publish("b", b"text")
    assert wire.frame(wire.TEXT, b"x" * 200) + wire.frame(wire.TEXT, b"good") == stage.transport.take()


def test_too_many_filters_are_1011() -> None:
    stage = Stage()
    stage.hold.obey(ev.Subscribe("a", ("skip-self",) * 6))
    assert wire.close_frame(1011, "too many filters for channel 'a'") == stage.transport.take()
    assert [Event("DISCONNECT")] == stage.leg.take()


@pytest.mark.parametrize("filters", [(), ("skip-self",)])
def test_name_that_the_prefix_makes_too_long_is_ignored(filters: tuple[str, ...]) -> None:
    stage = Stage(prefix="p-")
    stage.hold.obey(ev.Subscribe("a" * 1023, filters))
    stage.hold.obey(ev.Subscribe("a" * 1022))
    assert ("p-" + "a" * 1022,) == stage.hold.channels
    assert b"" == stage.transport.take()


def test_detached_client_is_the_proxys_alone() -> None:
    stage = Stage()
    stage.hold.subscribe("a")
    stage.hold.obey(ev.Detach())
    stage.hold.data_received(client_frame(wire.TEXT, b"lost") + client_frame(wire.PING, b"x"))
    assert wire.frame(wire.PONG, b"x") == stage.transport.take()
    stage.publish("a", b"hello")
    assert TEXT == stage.transport.take()
    stage.hold.data_received(client_frame(wire.CLOSE, b"\x0f\xa0bye"))
    assert wire.close_frame(4000, "bye") == stage.transport.take()
    stage.transport.lose()
    assert ([], ["closed"]) == (stage.leg.take(), stage.ends)


# --- timers


def test_idle_client_has_no_timer() -> None:
    stage = Stage()
    stage.hold.subscribe("a")
    stage.hold.data_received(client_frame(wire.TEXT, b"a"))
    assert {} == stage.wheel.timers
    assert None is stage.hold._timers


# --- size


def test_idle_client_is_small() -> None:
    """Bytes of its own, without transport and leg: an idle WebSocket is to cost 3 KiB altogether."""
    stage = Stage()
    assert not hasattr(stage.hold, "__dict__")
    assert stage.hold.__sizeof__() <= 320


# --- what is published right behind the backend's word for a subscription


def message(content: bytes, channel: str = "a", **members: object) -> Item:
    return Item(channel, message=WsMessage(**{"action": "send", "type": "text", "content": content} | members))  # type: ignore[arg-type]


def test_a_subscription_brings_what_came_since_the_backend_spoke_of_it() -> None:
    stage = Stage()
    stage.history.items = [message(b"before"), message(b"hello"), message(b"x", "b"), Item("a"), message(b"hello")]
    stage.leg.answered = 1
    stage.hold.subscribe("a")
    assert TEXT + TEXT == stage.transport.take()


def test_a_subscription_at_once_brings_what_came_in_this_turn() -> None:
    stage = Stage()
    stage.history.items = [message(b"before"), message(b"hello")]
    stage.history.turn = 1
    stage.hold.subscribe("a")
    assert TEXT == stage.transport.take()


def test_a_subscription_brings_nothing_twice() -> None:
    """What its group still has to pass on comes by the group, and a template for filters does not."""
    stage = Stage()
    first = stage.hold
    first.subscribe("a")
    second = stage.hold_with(FakeLeg())
    stage.history.items = [message(b"hello"), message(b"template", content_filters=("var-subst",))]
    stage.hub.deliver("default", stage.history.items[0])
    second.subscribe("a")
    stage.hub.unsubscribe(first, "default", "a", wire.FRAME)
    stage.loop.run()
    assert TEXT == stage.transport.take()


def test_filters_see_what_a_subscription_brings() -> None:
    stage = Stage()
    stage.hold.obey(ev.SetMeta("user", "alice"))
    stage.history.items = [Item("a", message=message(b"own").message, meta={"sender": "alice"}), message(b"hello")]
    stage.hold.subscribe("a", ("skip-self",))
    assert TEXT == stage.transport.take()
