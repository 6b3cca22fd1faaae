"""The report as a picture: latency by percentile, and deliveries over time. One SVG file without scripts.

Colours follow the reader's light or dark setting. Both axes of the latencies are logarithmic, since what matters is
the tail: the slowest 1 of 100, of 1,000, of 10,000 deliveries each get the same room.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from gripproxy.load.report import Report, verdict

WIDTH, PANEL, LEFT, RIGHT, TOP, GAP = 760, 230, 84, 24, 84, 86
STYLE = """
svg { background: #fdfdfc; color: #24292f; font: 12px system-ui, sans-serif }
text { fill: currentColor } .quiet { opacity: .65 } .title { font-size: 15px; font-weight: 600 }
.grid { stroke: currentColor; opacity: .13 } .axis { stroke: currentColor; opacity: .5 }
.line { fill: none; stroke: #2f6fb3; stroke-width: 2; stroke-linejoin: round } .area { fill: #2f6fb3; opacity: .16 }
.dot { fill: #2f6fb3 }
@media (prefers-color-scheme: dark) {
  svg { background: #16191d; color: #d6dade } .line { stroke: #6fa8dc } .area, .dot { fill: #6fa8dc }
}
"""
#: Percentiles at the marks of the horizontal axis.
PERCENTILE_MARKS = (0, 50, 90, 99, 99.9, 99.99)
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values from ``low`` to ``high`` onto pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    transform: Callable[[float], float] = float

    def __call__(self, value: float) -> float:
        low, high = self.transform(self.low), self.transform(self.high)
        share = (self.transform(value) - low) / (high - low or 1)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def draw(report: Report) -> str:
    """The picture as SVG text."""
    height = TOP + 2 * PANEL + GAP + 56
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' role="img">',
        f"<title>{escape(_title(report))}</title><style>{STYLE}</style>",
        _text(LEFT, 28, _title(report), "title"),
        _text(LEFT, 48, _subtitle(report), "quiet"),
        *_latency_panel(report.latency_curve, report.latency_ms.get("p99", 0.0), TOP),
        *_timeline_panel(report.timeline, TOP + PANEL + GAP),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _title(report: Report) -> str:
    how = "lockstep" if report.settings["is_lockstep"] else "free run"
    rate = report.settings["rate"]
    how = f"{rate:g} messages/s" if rate is not None else how
    return (
        f"{report.settings['mode']}, {how}: {report.connections_held:,} connections,"
        f" {report.settings['size']:,}-byte messages"
    )


def _subtitle(report: Report) -> str:
    return (
        f"{report.messages:,} messages, {report.deliveries:,} deliveries,"
        f" {report.deliveries_per_second:,.0f}/s; {verdict(report).partition(' (')[0]}"
    )


def _latency_panel(curve: Sequence[Point], p99: float, top: float) -> Iterator[str]:
    yield _text(LEFT, top - 12, "Latency of this share of the deliveries at most (ms, from publish to arrival)")
    values = [max(value, 0.001) for _, value in curve]
    low, high = decades(min(values, default=0.1), max(values, default=1))
    x = Scale(0, 99.995, LEFT, WIDTH - RIGHT, lambda percentile: -math.log10(max(100 - percentile, 0.005)))
    y = Scale(low, high, top + PANEL, top, math.log10)
    yield from _horizontal_grid(y, [low * 10**n for n in range(round(math.log10(high / low)) + 1)])
    for mark in PERCENTILE_MARKS:
        yield _line(x(mark), top, x(mark), top + PANEL, "grid")
        yield _text(x(mark), top + PANEL + 18, "min" if not mark else f"{mark:g} %", anchor="middle")
    yield _line(LEFT, top + PANEL, WIDTH - RIGHT, top + PANEL, "axis")
    if curve:
        yield _polyline([(x(percentile), y(max(value, 0.001))) for percentile, value in curve])
        yield f'<circle class="dot" cx="{x(99):.1f}" cy="{y(max(p99, 0.001)):.1f}" r="3.5"/>'
        yield _text(x(99) - 8, y(max(p99, 0.001)) - 9, f"p99 {p99:,.{0 if p99 >= 100 else 1}f} ms", anchor="end")


def _timeline_panel(timeline: Sequence[Point], top: float) -> Iterator[str]:
    yield _text(LEFT, top - 12, "Deliveries per second")
    step = timeline[1][0] - timeline[0][0] if len(timeline) > 1 else 0.1
    first, last = (timeline[0][0], timeline[-1][0] + step) if timeline else (0.0, 1.0)
    x = Scale(first, last, LEFT, WIDTH - RIGHT)
    marks = even_marks(0, max((rate for _, rate in timeline), default=1) or 1)
    y = Scale(0, marks[-1], top + PANEL, top)
    yield from _horizontal_grid(y, marks)
    for mark in even_marks(first, last):
        if first <= mark <= last:
            yield _text(x(mark), top + PANEL + 18, f"{mark:g} s", anchor="middle")
    yield _line(LEFT, top + PANEL, WIDTH - RIGHT, top + PANEL, "axis")
    yield _text(WIDTH - RIGHT, top + PANEL + 38, "time since the first publish", "quiet", "end")
    steps = [(x(at), y(rate)) for start, rate in timeline for at in (start, start + step)]
    if steps:
        floor = [(steps[-1][0], y(0)), (steps[0][0], y(0))]
        yield f'<polygon class="area" points="{_points(steps + floor)}"/>'
        yield _polyline(steps)


def _horizontal_grid(y: Scale, marks: Sequence[float]) -> Iterator[str]:
    for mark in marks:
        yield _line(LEFT, y(mark), WIDTH - RIGHT, y(mark), "grid")
        yield _text(LEFT - 10, y(mark) + 4, short(mark), anchor="end")


def decades(low: float, high: float) -> Point:
    """The powers of ten around values above zero, at least one decade."""
    start, end = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return 10.0**start, 10.0 ** max(end, start + 1)


def even_marks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers that cover ``low`` to ``high``."""
    raw = (high - low) / count or 1
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    return [round(number * step, 9) for number in range(math.floor(low / step), math.ceil(high / step - 1e-9) + 1)]


def short(value: float) -> str:
    """A number as short as an axis wants it: 250 k, 1.5 M, 0.01."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _polyline(points: Sequence[Point]) -> str:
    return f'<polyline class="line" points="{_points(points)}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, name: str) -> str:
    return f'<line class="{name}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, name: str = "", anchor: str = "start") -> str:
    return f'<text class="{name}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
