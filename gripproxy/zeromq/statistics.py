"""Pushpin's statistics: what goes on in a realm, told to whoever subscribes (Pushpin's core/statsmanager.cpp).

    activity, counts   requests, gathered for a tenth of a second
    message            an item that has receivers, once for each of its formats
    conn               a hold begins, goes on, is over
    sub                a channel has subscribers, has them still, has none any more
    report             the sums of a route, every ten seconds

All of it hangs on what happens once for a request, an item, a subscription or a hold; a pass knows nothing of it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from gripproxy.config import Config
from gripproxy.grip.item import Item
from gripproxy.grip.zeromq import STATISTICS_FORMATS
from gripproxy.hub import Subscriber
from gripproxy.routes import Route
from gripproxy.transports.holds import Hold
from gripproxy.zeromq.audience import Audiences
from gripproxy.zeromq.presence import Connection, Presence

# Seconds between two turns in which something is told again; short, so that none has much to tell.
TICK = 0.25

# Seconds in which requests are gathered (Pushpin's ACTIVITY_TIMEOUT).
GATHERING = 0.1

# Everything is told again when this share of its time to live is over (Pushpin's SHOULD_PROCESS_TIME).
FRESH = 0.75

# A hold's word for itself -> Pushpin's.
MODES = {"response": "response", "stream": "stream", "websocket": "ws"}

# Attribute of an item, the mode of hold that receives it, its name.
FORMATS = (
    ("response", "response", "http-response"),
    ("stream", "stream", "http-stream"),
    ("message", "ws", "ws-message"),
)


@dataclass(slots=True)
class Report:
    """What has happened on a route since ``began_at``; ``connections`` are those that are held now."""

    began_at: float
    connections: int = 0
    most: int = 0
    minutes: int = 0
    received: int = 0
    sent: int = 0
    responses_sent: int = 0

    def members(self, now: float) -> dict[str, Any]:
        """Return what is told of it. Counts of bytes and of relayed messages, which Pushpin has, are not known here."""
        return {
            "connections": self.most,
            "minutes": self.minutes,
            "received": self.received,
            "sent": self.sent,
            "http-response-sent": self.responses_sent,
            "duration": round((now - self.began_at) * 1000),
        }


class Statistics:
    """What is told of one realm. Routes without an id of their own go by the empty name, as one."""

    def __init__(
        self,
        config: Config,
        loop: asyncio.AbstractEventLoop,
        instance: str,
        send: Callable[[bytes], None],
    ) -> None:
        """``instance`` says who tells; ``send`` hands one message to the subscribers."""
        settings = config.zeromq
        self._settings = settings
        self._loop = loop
        self._send = send
        self._encode = STATISTICS_FORMATS[settings.stats_format]
        self._from = f"gripproxy_{instance}"
        self._audiences = Audiences(self.tell, settings.stats_subscription_ttl, config.limits.subscription_linger)
        self.presence = Presence(loop, settings.realm, instance, self._on_open, self._on_close)
        self._reports: dict[str, Report] = {}
        # Route -> requests that are to be told.
        self._activity: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def configure(self, config: Config) -> None:
        """Have another linger from now on."""
        self._audiences.linger = config.limits.subscription_linger

    def start(self) -> None:
        """Begin to tell what is told again and again."""
        self._later("tick", TICK, self._tick)
        if self._settings.stats_report_interval:
            self._later("report", self._settings.stats_report_interval, self._report)

    def close(self) -> None:
        """Tell no more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def tell(self, kind: str, members: dict[str, Any], route: str = "") -> None:
        """Send one message."""
        head = {"from": self._from, "route": route} if route else {"from": self._from}
        self._send(self._encode(kind, head | members))

    # Requests

    def on_request(self, route: Route) -> None:
        """Count a request; its first minute counts, too."""
        if route.realm != self._settings.realm:
            return
        name = route.given_id
        if not self._activity:
            self._later("activity", GATHERING, self._tell_activity)
        self._activity[name] = self._activity.get(name, 0) + 1
        self._report_of(name).minutes += 1

    def _tell_activity(self) -> None:
        activity, self._activity = self._activity, {}
        for name, count in activity.items():
            self.tell("activity", {"count": count}, name)
        self.tell("counts", {"requests-received": sum(activity.values())})

    # Items and subscriptions

    def on_item(self, realm: str, item: Item) -> None:
        """Count an item, and tell how many are to receive it."""
        if realm != self._settings.realm:
            return
        self._report_of("").received += 1
        for attribute, mode, transport in FORMATS:
            counts = self._audiences.counts(mode, item.channel)
            if not counts or getattr(item, attribute) is None:
                continue
            for route, count in counts.items():
                report = self._report_of(route)
                report.sent += count
                if mode == "response":
                    report.responses_sent += count
            told: dict[str, Any] = {"channel": item.channel}
            if item.id is not None:
                told["item-id"] = item.id
            self.tell("message", told | {"count": sum(counts.values()), "transport": transport})

    def on_subscription(self, subscriber: Subscriber, realm: str, channel: str, is_subscribed: bool) -> None:
        """Count a subscription, more or less."""
        if realm != self._settings.realm:
            return
        hold = cast(Hold, subscriber)
        mode, route = MODES[hold.transport_name], hold.route.given_id
        if is_subscribed:
            self._audiences.add(mode, channel, route)
        else:
            self._audiences.remove(mode, channel, route, self._loop.time())

    # Connections

    def _on_open(self, connection: Connection) -> None:
        report = self._report_of(connection.route.given_id)
        report.connections += 1
        report.most = max(report.most, report.connections)
        self._tell_connection(connection)

    def _on_close(self, connection: Connection) -> None:
        self._count_minutes(connection)
        name = connection.route.given_id
        self._report_of(name).connections -= 1
        if self._settings.stats_connection_send:
            self.tell("conn", {"id": connection.id, "unavailable": True}, name)

    def _tell_connection(self, connection: Connection) -> None:
        if not self._settings.stats_connection_send:
            return
        told: dict[str, Any] = {"id": connection.id, "type": connection.kind}
        if connection.peer:
            told["peer-address"] = connection.peer
        if connection.is_secure:
            told["ssl"] = True
        told["ttl"] = self._settings.stats_connection_ttl
        self.tell("conn", told, connection.route.given_id)

    def _count_minutes(self, connection: Connection) -> None:
        """Count the minutes that are full; the one that has begun with the request counts already."""
        minutes = int((self._loop.time() - connection.counted_at) // 60)
        if minutes:
            connection.counted_at += minutes * 60
            self._report_of(connection.route.given_id).minutes += minutes

    # Again and again

    def _tick(self) -> None:
        self._later("tick", TICK, self._tick)
        share = TICK / (self._settings.stats_connection_ttl * FRESH)
        for connection in self.presence.take_turn(1 + int(len(self.presence) * share)):
            self._count_minutes(connection)
            self._tell_connection(connection)
        self._audiences.tick(self._loop.time(), TICK / (self._settings.stats_subscription_ttl * FRESH))

    def _report(self) -> None:
        self._later("report", self._settings.stats_report_interval, self._report)
        now = self._loop.time()
        for name, report in list(self._reports.items()):
            self.tell("report", report.members(now), name)
            if report.most:
                self._reports[name] = Report(now, report.connections, report.connections)
            else:
                del self._reports[name]  # until something happens there again

    def _report_of(self, name: str) -> Report:
        report = self._reports.get(name)
        if report is None:
            report = self._reports[name] = Report(self._loop.time())
        return report

    def _later(self, name: str, seconds: float, do: Callable[[], None]) -> None:
        self._timers[name] = self._loop.call_later(seconds, do)
