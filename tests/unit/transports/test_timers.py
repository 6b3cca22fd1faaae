"""The times of a WebSocket client, on a wheel whose time goes on when told to."""

from gripproxy.grip import events as ev
from gripproxy.grip import wire
from gripproxy.grip.events import Event
from gripproxy.transports.websocket import CLOSE_LINGER
from tests.unit.transports.websocket_fakes import Stage, client_frame

TEXT = wire.frame(wire.TEXT, b"hello")


def test_keep_alive_of_an_idle_client() -> None:
    stage = Stage()
    stage.hold.subscribe("a")
    stage.hold.obey(ev.SetKeepAlive(b"k", "binary", 20))
    stage.wheel.advance(15)
    stage.publish("a", b"hello")
    assert TEXT == stage.transport.take()
    stage.wheel.advance(15)
    assert b"" == stage.transport.take()
    stage.wheel.advance(6)
    assert wire.frame(wire.BINARY, b"k") == stage.transport.take()
    stage.wheel.advance(20)
    assert wire.frame(wire.BINARY, b"k") == stage.transport.take()


def test_keep_alive_at_intervals_and_its_end() -> None:
    stage = Stage()
    stage.hold.subscribe("a")
    stage.hold.obey(ev.SetKeepAlive(b"k", "text", 20, "interval"))
    stage.wheel.advance(17)
    stage.publish("a", b"hello")
    stage.wheel.advance(4)
    assert TEXT + wire.frame(wire.TEXT, b"k") == stage.transport.take()
    stage.hold.obey(ev.SetKeepAlive(None))
    assert {} == stage.wheel.timers


def test_pong_to_a_keep_alive_is_not_for_the_backend() -> None:
    stage = Stage()
    stage.hold.obey(ev.SetKeepAlive(b"", "ping", 20))
    stage.wheel.advance(20)
    assert wire.frame(wire.PING, b"") == stage.transport.take()
    stage.hold.data_received(client_frame(wire.PONG) + client_frame(wire.PONG))
    assert [Event("PONG")] == stage.leg.take()


def test_delayed_message_is_sent_once() -> None:
    stage = Stage()
    stage.hold.obey(ev.SendDelayed("text", b"hello", 5))
    stage.wheel.advance(4)
    assert b"" == stage.transport.take()
    stage.hold.obey(ev.SendDelayed("text", b"next", 5))
    assert TEXT == stage.transport.take()
    stage.wheel.advance(10)
    assert wire.frame(wire.TEXT, b"next") == stage.transport.take()
    stage.hold.obey(ev.FlushDelayed())
    stage.hold.obey(ev.SetSession("x"))
    assert (b"", {}) == (stage.transport.take(), stage.wheel.timers)


def test_wake_up_call_of_the_leg_moves_and_goes() -> None:
    stage = Stage()
    now = stage.wheel.now()
    stage.hold.wake_at(now + 5)
    stage.hold.wake_at(now + 2)
    stage.wheel.advance(3)
    assert (1, {}) == (stage.leg.was_due, stage.wheel.timers)
    stage.hold.wake_at(now + 5)
    stage.hold.wake_at(None)
    stage.wheel.advance(5)
    assert 1 == stage.leg.was_due


def test_leg_that_wants_to_wait_on_is_called_again() -> None:
    stage = Stage()
    due: list[float] = []

    def on_due() -> None:
        due.append(stage.wheel.now())
        if len(due) < 3:
            stage.hold.wake_at(stage.wheel.now() + 1)

    stage.leg.on_due = on_due  # type: ignore[method-assign]
    stage.hold.wake_at(stage.wheel.now() + 1)
    stage.wheel.advance(10)
    assert 3 == len(due)


def test_one_place_in_the_wheel_for_the_earliest_time() -> None:
    stage = Stage()
    start = stage.wheel.now()
    stage.hold.obey(ev.SendDelayed("text", b"hello", 50))
    stage.hold.wake_at(start + 10)
    assert {stage.hold: start + 10} == stage.wheel.timers
    stage.hold.close(1000)
    assert {stage.hold: start + CLOSE_LINGER} == stage.wheel.timers
    stage.wheel.advance(CLOSE_LINGER)
    assert "abort" == stage.transport.ended_by
    stage.transport.lose()
    assert {stage.hold: start + 10} == stage.wheel.timers
    stage.wheel.advance(10)
    assert (1, {}) == (stage.leg.was_due, stage.wheel.timers)
