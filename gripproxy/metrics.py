"""The counters of one process, in the form that Prometheus reads.

``Metrics`` holds plain numbers, so that counting costs the hot path one addition: no lock, no label look-up, no clock.
A `meter.Meter` says what each number is called outside; prometheus-client sees them only while it is being scraped. So
every meter is one attribute of ``Metrics`` and one row of ``METERS``, and every name is explained in docs/metrics.md.
"""

import platform
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import GC_COLLECTOR, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gripproxy import __version__
from gripproxy.grip.item import Item
from gripproxy.meter import FAMILIES, PREFIX, Histogram, Histograms, Meter, label_values

# The text format that every Prometheus since 2014 reads.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Upper bounds in seconds: a backend near by answers within milliseconds, the longest wait is its timeout (60 s).
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

# Names of routes, the empty one included: a scrape of so many takes 40 ms. OTHERS is what is behind them.
ROUTES_MAX = 201
OTHERS = "(others)"

# Counts by the value of one label, or by a tuple of values where a meter has several labels.
Tally = defaultdict[str | tuple[str, ...], int]


# What is asked for a meter's value: a number, or numbers by label value.
Reading = Callable[[], float | Mapping[Any, float]]


class RouteNames(dict[str, str]):
    """Id of a route -> its value of the label ``route``: itself, or OTHERS behind the first ROUTES_MAX.

    What has no route has the empty name, which Prometheus takes for a label that is not there.
    """

    __slots__ = ()

    def __missing__(self, route_id: str) -> str:
        if len(self) >= ROUTES_MAX:
            return OTHERS
        self[route_id] = route_id
        return route_id


FORMATS = ("http-response", "http-stream", "ws-message")
# Made once: they are looked up for each item.
_HTTP_RESPONSE_ACCEPTED, _HTTP_STREAM_ACCEPTED, _WS_MESSAGE_ACCEPTED = ((name, "accepted") for name in FORMATS)

MODES = ("response", "stream", "websocket")
# The first three are `BackendError.kind`; then malformed instructions.
FAILURES = ("unreachable", "timeout", "error", "instructions")

METERS = (
    Meter(
        "connections",
        "gauge",
        "connections",
        "Client connections that are open now.",
        ("route", "transport"),
        MODES,
    ),
    Meter("accepted", "counter", "connections_accepted", "Client connections accepted."),
    Meter("connections_max", "gauge", "connections_limit", "Client connections that may be open at one time."),
    Meter("refused", "counter", "connections_refused", "Client connections refused: there were as many as may be."),
    Meter(
        "requests",
        "counter",
        "requests",
        "Client requests answered, by status class.",
        ("route", "status"),
        ("2xx", "3xx", "4xx", "5xx"),
    ),
    Meter(
        "failures",
        "counter",
        "failures",
        "Client requests that got no answer of their backend, or not all of it, by cause.",
        ("route", "cause"),
        FAILURES,
    ),
    Meter("holds", "counter", "holds", "Holds begun, by mode.", ("route", "mode"), MODES),
    Meter("channels", "gauge", "channels", "Channels that have a subscriber now."),
    Meter("subscriptions", "gauge", "subscriptions", "Subscriptions now; one client may have several."),
    Meter(
        "channels_left_out",
        "counter",
        "channels_left_out",
        "Channels that a client was not subscribed to: it had as many as may be.",
    ),
    Meter(
        "meta_left_out",
        "counter",
        "meta_left_out",
        "Values of a WebSocket's meta that were not kept: it had as many as may be.",
    ),
    Meter(
        "publishes",
        "counter",
        "publish_requests",
        "Publish requests, by status of the answer.",
        ("status",),
        ("200", "400", "401", "403", "413", "429"),
    ),
    Meter(
        "publish_items",
        "counter",
        "publish_items",
        "Items that arrived, by format and what became of them.",
        ("format", "result"),
        tuple((format_, "accepted") for format_ in FORMATS),
    ),
    Meter(
        "zeromq_messages",
        "counter",
        "zeromq_messages",
        "Messages that came in by ZeroMQ, by what became of them.",
        ("result",),
        ("published", "refused", "lost"),
    ),
    Meter(
        "zeromq_commands",
        "counter",
        "zeromq_commands",
        "Commands that came in by ZeroMQ, by method and result.",
        ("method", "result"),
        tuple((method, "success") for method in ("get-zmq-uris", "publish", "recover", "refresh", "conncheck")),
    ),
    Meter(
        "zeromq_statistics",
        "counter",
        "zeromq_statistics",
        "Messages of statistics that were told by ZeroMQ.",
    ),
    Meter(
        "zeromq_overflows",
        "counter",
        "zeromq_overflows",
        "Times that a subscriber of statistics was so far behind that it began to lose messages.",
    ),
    Meter("publish_bytes", "counter", "publish_bytes", "Bytes of publish request bodies that were accepted."),
    Meter("duplicates", "counter", "duplicates", "Items not delivered because their id had been seen."),
    Meter(
        "deliveries",
        "counter",
        "deliveries",
        "Items written to clients, by framing; each client counts.",
        ("framing",),
        ("chunk", "plain", "frame", "deflated", "each"),
    ),
    Meter(
        "backlog",
        "gauge",
        "backlog_bytes",
        "Bytes published and not written to all of their subscribers yet; each channel and framing counts once.",
    ),
    Meter("unheard", "counter", "items_unheard", "Items for channels that had no subscriber."),
    Meter("passes", "counter", "passes", "Passes over a channel's subscribers; each may carry several items."),
    Meter("filtered", "counter", "filtered", "Deliveries that a filter held back."),
    Meter("disconnects", "counter", "disconnects", "Holds that ended, by reason.", ("route", "mode", "reason")),
    Meter("sessions", "gauge", "sessions", "GRIP sessions that are known now."),
    Meter(
        "session_drops",
        "counter",
        "session_drops",
        "What was forgotten of sessions, or had no room, by what it was; age: a session that was not used for long.",
        ("what",),
        ("age", "session", "last-id", "rule"),
    ),
    Meter(
        "backend_requests",
        "counter",
        "backend_requests",
        "Requests to backends, by status class of the answer or kind of failure.",
        ("route", "result"),
        ("2xx", "3xx", "4xx", "5xx", *FAILURES[:3]),
    ),
    Meter(
        "backend_up",
        "gauge",
        "backend_up",
        "Whether the health checks of a backend succeed: 1, or 0 where one fails.",
        ("backend",),
    ),
    Meter("backend_retries", "counter", "backend_retries", "Requests to backends that were sent again."),
    Meter(
        "backend_seconds", "histogram", "backend_seconds", "Time until a backend's response head was there.", ("route",)
    ),
    Meter(
        "gaps",
        "counter",
        "gaps",
        "Gaps found in a channel's order, by what was done.",
        ("kind",),
        ("late", "early", "queue", "link", "cut", "replay"),
    ),
    Meter(
        "forgotten",
        "counter",
        "forgotten",
        "What was forgotten of published items before its time, for want of room, by what it was.",
        ("what",),
        ("id", "last-id", "item"),
    ),
    Meter(
        "recoveries",
        "counter",
        "recoveries",
        "Holds that asked the backend again, by cause.",
        ("cause",),
        ("hint", "gap", "recover", "patch", "filter", "link", "slow"),
    ),
    Meter("sink_errors", "counter", "sink_errors", "Batches whose local delivery failed; the log has the traceback."),
    Meter("bus_up", "gauge", "bus_up", "1 while the bus can be read, 0 while it cannot."),
    Meter("bus_gaps", "counter", "bus_gaps", "Times that something may have been lost by the bus; all holds asked."),
    Meter(
        "reloads",
        "counter",
        "config_reloads",
        "Times that the configuration was read again, by what came of it.",
        ("result",),
        ("applied", "unchanged", "refused"),
    ),
    Meter(
        "config_read",
        "gauge",
        "config_last_reload_success_timestamp_seconds",
        "When the configuration was last read without a fault, in seconds since the epoch.",
    ),
    Meter(
        "certificates",
        "gauge",
        "certificate_expiry_seconds",
        "Seconds until a certificate of the client door expires, by its file.",
        ("file",),
    ),
    Meter("ready", "gauge", "ready", "1 while clients should be sent here, as /ready says, else 0."),
    Meter(
        "canaries",
        "counter",
        "canaries",
        "Items that the proxy publishes to itself, by what became of them.",
        ("result",),
        ("arrived", "late", "refused"),
    ),
    Meter("delivery_seconds", "histogram", "delivery_seconds", "Time from publishing a canary until it arrived."),
    Meter(
        "delivery_lag",
        "gauge",
        "delivery_lag_seconds",
        "What the latest canary took to arrive, or the one that is awaited has taken by now.",
    ),
    Meter(
        "loop_delay_seconds",
        "histogram",
        "loop_delay_seconds",
        "How late the event loop is with what is due, sampled with each canary.",
    ),
    Meter("bus_errors", "counter", "bus_errors", "Batches that the bus could not take; their publisher got a 503."),
)


class Metrics:
    """The numbers themselves: ``metrics.filtered += 1``, ``metrics.deliveries["chunk"] += 64``.

    A meter with one label is a tally by that label's value, one with several by a tuple of values. Only values that
    the code or the configuration chooses may be labels: a channel, a path or a status text from outside would let
    strangers fill memory. A route is called by its ``route_names``, of which there are only so many.
    """

    __slots__ = ("_readers", "registry", "route_names", *(meter.attribute for meter in METERS))

    connections: Tally
    connections_max: int
    accepted: int
    refused: int
    requests: Tally
    failures: Tally
    holds: Tally
    channels: int
    subscriptions: int
    channels_left_out: int
    meta_left_out: int
    publishes: Tally
    publish_items: Tally
    zeromq_messages: Tally
    zeromq_commands: Tally
    zeromq_statistics: int
    zeromq_overflows: int
    publish_bytes: int
    duplicates: int
    deliveries: Tally
    backlog: int
    unheard: int
    passes: int
    filtered: int
    disconnects: Tally
    sessions: int
    session_drops: Tally
    backend_requests: Tally
    backend_up: Tally
    backend_retries: int
    backend_seconds: Histograms
    gaps: Tally
    forgotten: Tally
    recoveries: Tally
    sink_errors: int
    bus_up: int
    bus_gaps: int
    bus_errors: int
    reloads: Tally
    config_read: float
    certificates: Tally
    ready: int
    canaries: Tally
    delivery_seconds: Histogram
    delivery_lag: float
    loop_delay_seconds: Histogram

    def __init__(self) -> None:
        for meter in METERS:
            if meter.kind != "histogram":
                known = () if meter.is_by_route else meter.known
                start = defaultdict(int, dict.fromkeys(known, 0)) if meter.labels else 0
                setattr(self, meter.attribute, start)
        self.backend_seconds = Histograms(BOUNDS)
        self.delivery_seconds = Histogram(BOUNDS)
        self.loop_delay_seconds = Histogram(BOUNDS)
        self.route_names = RouteNames({"": ""})
        self._readers: dict[str, Reading] = {}
        self.registry = CollectorRegistry()
        self.registry.register(_Reader(self))
        # The process's own: memory, processor time, start time, open files; and the garbage collector's.
        ProcessCollector(registry=self.registry)
        self.registry.register(GC_COLLECTOR)

    def know_routes(self, ids: Iterable[str]) -> None:
        """Show the counts of routes, as 0, before anything happens there."""
        names = [self.route_names[one] for one in ids]
        for meter in METERS:
            if meter.is_by_route and meter.known:
                tally: Tally = getattr(self, meter.attribute)
                for name in names:
                    for value in meter.known:
                        tally[name, *label_values(value)] += 0

    def count_items(self, items: Iterable[Item]) -> None:
        """Count items that were accepted, each of its formats for itself."""
        counts = self.publish_items
        for item in items:
            if item.response is not None:
                counts[_HTTP_RESPONSE_ACCEPTED] += 1
            if item.stream is not None:
                counts[_HTTP_STREAM_ACCEPTED] += 1
            if item.message is not None:
                counts[_WS_MESSAGE_ACCEPTED] += 1

    def count_failure(self, route_id: str, cause: str) -> None:
        """Count a request that got no answer, or not all of it; ``cause`` is one of FAILURES."""
        self.failures[self.route_names[route_id], cause] += 1

    def watch(self, attribute: str, read: Reading) -> None:
        """Ask ``read`` for a meter's value at each scrape, for a number that somebody already keeps."""
        assert any(meter.attribute == attribute and meter.kind != "histogram" for meter in METERS), attribute
        self._readers[attribute] = read

    def value(self, meter: Meter) -> object:
        """Return what a meter reads now: a number, numbers by label value, or a Histogram."""
        reader = self._readers.get(meter.attribute)
        return reader() if reader is not None else getattr(self, meter.attribute)

    def exposition(self) -> bytes:
        """Return everything in Prometheus's text format, whose media type is ``CONTENT_TYPE``."""
        return generate_latest(self.registry)


class _Reader(Collector):
    """Brings the numbers to prometheus-client, which asks for them at each scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        """Return nothing: otherwise registering would read the gauges before anybody watches them."""
        return ()

    def collect(self) -> Iterable[Metric]:
        build = GaugeMetricFamily(
            PREFIX + "build_info", "Always 1; the labels tell what is running.", labels=("version", "python")
        )
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
        for meter in METERS:
            yield FAMILIES[meter.kind](meter, self._metrics.value(meter))
