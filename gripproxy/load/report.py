"""What a load test found: one frozen value, as a table or as JSON.

``is_clean`` is the verdict: every message reached every connection once and in order, and no connection was lost.
Attempts that were refused and then accepted are shown but do not spoil it.
"""

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from gripproxy.load.latency import SLICE_NS, Latency
from gripproxy.load.ledger import Ledger
from gripproxy.load.plan import Plan
from gripproxy.load.publisher import Publication
from gripproxy.load.usage import Usage
from gripproxy.load.worker import Tally

#: Above this share of a core a load process is no longer quick enough to be believed.
BUSY = 0.85
PERCENTILES: Mapping[str, float] = {"p50": 50, "p90": 90, "p99": 99, "p99_9": 99.9, "max": 100}
#: The percentiles of the curve: enough for a smooth line, more of them where the tail is.
CURVE = (0, *range(5, 90, 5), *range(90, 99), *(100 - 10**-n * step for n in range(4) for step in (1, 0.5, 0.2)), 100)
#: Points of deliveries over time, at most.
MOST_SLICES = 240


@dataclass(frozen=True, slots=True)
class Report:
    """Seconds are floats, latencies milliseconds; deliveries are messages times connections.

    ``expected`` is what should have arrived, as far as connections were held; ``load_busy`` the share of a core that
    the busiest process of the test used.
    """

    settings: dict[str, Any]
    is_interrupted: bool
    is_stalled: bool
    connections: int
    connections_held: int
    connections_left: int
    connect_seconds: float
    connects_per_second: float
    refused: dict[str, int]
    given_up: dict[str, int]
    connections_lost: dict[str, int]
    churned: int
    cut: int
    messages: int
    messages_per_second: float
    publish_failures: dict[str, int]
    publish_ms: dict[str, float]
    deliveries: int
    expected: int
    ledger: dict[str, int]
    seconds: float
    deliveries_per_second: float
    latency_ms: dict[str, float]
    latency_curve: list[tuple[float, float]]
    timeline: list[tuple[float, float]]
    load_cpu_seconds: float
    load_busy: float
    deliveries_per_cpu_second: float
    proxy_cpu_seconds: float | None
    proxy_us_per_delivery: float | None
    proxy_kib_per_connection: float | None

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, doubled, reordered or damaged, and every connection was held to the end."""
        faults = sum(count for name, count in self.ledger.items() if name != "skipped")
        return not (faults or self.given_up or self.connections_lost or self.publish_failures or self.is_stalled)

    @property
    def is_busy(self) -> bool:
        """Whether the load test itself may have been what was slow."""
        return self.load_busy > BUSY

    def to_json(self) -> dict[str, Any]:
        """Plain values; the names of the fields are the keys."""
        return {"is_clean": self.is_clean, **asdict(self)}


def build_report(
    plan: Plan, tallies: Sequence[Tally], publication: Publication, proxy: Usage, is_interrupted: bool = False
) -> Report:
    """Merge what the processes have seen."""
    latency, ledger = Latency(), Ledger()
    for tally in tallies:
        latency.add(tally.latency)
        ledger.add(tally.ledger)
    arrived, held = sum(one.arrived for one in tallies), sum(one.held for one in tallies)
    connecting = _connecting(tallies)
    publishing = (publication.ended - publication.started - publication.paused) / 1e9
    seconds = max(latency.last_arrival - publication.started - publication.paused, 0) / 1e9 if arrived else 0.0
    cpu = sum(one.cpu_seconds for one in tallies)
    histogram = latency.histogram()
    return Report(
        settings=_settings(plan),
        is_interrupted=is_interrupted,
        is_stalled=publication.is_stalled,
        connections=plan.connections,
        connections_held=held,
        connections_left=sum(one.left for one in tallies),
        connect_seconds=connecting,
        connects_per_second=_rate(held, connecting),
        refused=_sum(one.refused for one in tallies),
        given_up=_sum(one.given_up for one in tallies),
        connections_lost=_sum(one.lost for one in tallies),
        churned=sum(one.churned for one in tallies),
        cut=sum(one.cut for one in tallies),
        messages=publication.accepted,
        messages_per_second=_rate(publication.accepted, publishing),
        publish_failures=dict(publication.failures),
        publish_ms=_percentiles(publication.latency.histogram()),
        deliveries=arrived,
        expected=arrived - ledger.doubled - ledger.stray + ledger.lost + ledger.skipped,
        ledger=ledger.counts(),
        seconds=seconds,
        deliveries_per_second=_rate(arrived, seconds),
        latency_ms=_percentiles(histogram),
        latency_curve=[(float(one), _milliseconds(histogram, one)) for one in CURVE] if arrived else [],
        timeline=timeline(latency.slices, publication.started),
        load_cpu_seconds=cpu,
        load_busy=max((_rate(one.cpu_seconds, seconds) for one in tallies), default=0.0),
        deliveries_per_cpu_second=_rate(arrived, cpu),
        proxy_cpu_seconds=proxy.cpu_seconds if plan.pids else None,
        proxy_us_per_delivery=1e6 * _rate(proxy.cpu_seconds, arrived) if plan.pids else None,
        proxy_kib_per_connection=_rate(proxy.memory, held) if plan.pids else None,
    )


def _settings(plan: Plan) -> dict[str, Any]:
    """The settings that make a result comparable; addresses without their query, and no keys."""
    names = (
        *("mode", "connections", "channels", "publishers", "messages", "duration", "rate", "is_lockstep", "size"),
        *("processes", "connect_burst", "never_read", "churn"),
    )
    urls = {kind: plan.urls[kind] for kind in plan.kinds}
    return {
        **{name: getattr(plan, name) for name in names},
        "urls": {kind: f"{one.scheme}://{one.authority}{one.path.partition('?')[0]}" for kind, one in urls.items()},
    }


def _connecting(tallies: Sequence[Tally]) -> float:
    starts = [one.connect_start for one in tallies if one.connect_end]
    return (max(one.connect_end for one in tallies) - min(starts)) / 1e9 if starts else 0.0


def _sum(counters: Iterator[Counter[str]]) -> dict[str, int]:
    return dict(functools.reduce(lambda left, right: left + right, counters, Counter[str]()).most_common())


def _rate(count: float, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0


def _milliseconds(histogram: Any, percentile: float) -> float:
    return float(histogram.get_value_at_percentile(percentile)) / 1000


def _percentiles(histogram: Any) -> dict[str, float]:
    if not histogram.get_total_count():
        return {}
    return {name: _milliseconds(histogram, percentile) for name, percentile in PERCENTILES.items()}


def timeline(slices: Mapping[int, int], started: int) -> list[tuple[float, float]]:
    """Deliveries per second over time: (seconds since the first publish, rate), at even steps."""
    if not slices:
        return []
    first, last = min(slices), max(slices)
    step = -(-(last - first + 1) // MOST_SLICES)
    seconds = step * SLICE_NS / 1e9
    sums = [sum(slices.get(one, 0) for one in range(at, at + step)) for at in range(first, last + 1, step)]
    start = (first * SLICE_NS - started) / 1e9
    return [(round(start + index * seconds, 3), count / seconds) for index, count in enumerate(sums)]


def build_table(report: Report) -> Table:
    """The report as a table of two columns for a terminal."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows(report):
        table.add_row(name, value)
    return table


def rows(report: Report) -> Iterator[tuple[str, str]]:
    """The lines of the table: name, and value with its unit."""
    held = f"{report.connections_held:,} of {report.connections:,} held"
    yield "connections", f"{held}, {report.connects_per_second:,.0f}/s ({report.connect_seconds:.2f} s)"
    for name in ("refused", "given_up", "connections_lost"):
        for kind, count in getattr(report, name).items():
            yield f"  {name.replace('_', ' ')}", f"{count:,}  {kind}"
    if report.churned:
        yield "  dropped and dialled anew", f"{report.churned:,}"
    if report.settings["never_read"]:
        yield "  never read", f"{report.cut:,} of {report.settings['never_read']:,} were cut by the proxy"
    yield "messages", f"{report.messages:,} published, {report.messages_per_second:,.0f}/s"
    for kind, count in report.publish_failures.items():
        yield "  publish failed", f"{count:,}  {kind}"
    if report.publish_ms:
        yield "  answered in", _line(report.publish_ms)
    yield "deliveries", f"{report.deliveries:,} of {report.expected:,}, {report.deliveries_per_second:,.0f}/s"
    if report.latency_ms:
        yield "  latency", _line(report.latency_ms)
    for name, count in report.ledger.items():
        if count or name in ("lost", "doubled", "out_of_order"):
            yield f"  {name.replace('_', ' ')}", f"{count:,}"
    if report.proxy_us_per_delivery is not None:
        cost = f"{report.proxy_cpu_seconds:.2f} s CPU, {report.proxy_us_per_delivery:.2f} µs for each delivery"
        yield "proxy", f"{cost}, {report.proxy_kib_per_connection:.1f} KiB for each connection"
    processes = f"{report.settings['processes']} process{'es' if report.settings['processes'] > 1 else ''}"
    busy = f"{processes}, the busiest {100 * report.load_busy:.0f} % of a core"
    yield "load test", f"{busy}; could take {report.deliveries_per_cpu_second:,.0f}/s for each core"
    yield "verdict", verdict(report)


def _line(percentiles: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', '.')} {value:,.2f}" for name, value in percentiles.items()) + " ms"


def verdict(report: Report) -> str:
    """One sentence."""
    words = ["ended early:" if report.is_interrupted else ""]
    words.append("clean" if report.is_clean else "NOT CLEAN")
    if report.is_stalled:
        words.append("(a message in lockstep did not arrive everywhere)")
    if report.is_busy:
        words.append("(the load test was nearly out of CPU: use more --processes or another machine)")
    return " ".join(filter(None, words))
