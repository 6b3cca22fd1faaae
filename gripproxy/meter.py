"""What one number of the metrics is called outside, and how prometheus-client gets it."""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

PREFIX = "gripproxy_"


class Histogram:
    """Observations sorted into buckets; ``bounds`` are their upper limits, in rising order."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value; a value on a bound belongs to the bucket below it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return (upper bound, number of values up to it), the last one being +Inf."""
        rows, below = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            rows.append(("+Inf" if bound == float("inf") else repr(bound), float(below)))
        return rows


class Histograms(dict[str, Histogram]):
    """A histogram for each value of a label, made when it is needed."""

    __slots__ = ("bounds",)

    def __init__(self, bounds: tuple[float, ...]) -> None:
        super().__init__()
        self.bounds = bounds

    def __missing__(self, value: str) -> Histogram:
        made = self[value] = Histogram(self.bounds)
        return made


@dataclass(frozen=True, slots=True)
class Meter:
    """What one attribute of ``Metrics`` is called outside; ``known`` label values are shown from the start, as 0.

    Where the first label is the route, those of the others are known for each route.
    """

    attribute: str
    kind: str
    name: str
    help: str
    labels: tuple[str, ...] = ()
    known: tuple[str | tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        assert self.kind in FAMILIES, self.kind
        count = len(self.labels) - self.is_by_route
        assert all(len(label_values(value)) == count for value in self.known), self.attribute

    @property
    def is_by_route(self) -> bool:
        """Whether each route is counted for itself."""
        return self.labels[:1] == ("route",)

    @property
    def full_name(self) -> str:
        """The name as it is scraped: with the prefix, and with ``_total`` for a counter."""
        return PREFIX + self.name + ("_total" if self.kind == "counter" else "")


def label_values(key: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the values of the labels that a tally's key stands for."""
    return key if isinstance(key, tuple) else (key,)


def _simple_family(
    family: type[CounterMetricFamily] | type[GaugeMetricFamily], meter: Meter, value: float | Mapping[object, float]
) -> Metric:
    metric = family(PREFIX + meter.name, meter.help, labels=meter.labels)
    if isinstance(value, Mapping):
        # A copy: the counting goes on while another thread may be scraping.
        for key, count in list(value.items()):
            metric.add_metric([str(part) for part in (key if isinstance(key, tuple) else (key,))], count)
    else:
        metric.add_metric([], value)
    return metric


def _counter_family(meter: Meter, value: object) -> Metric:
    assert isinstance(value, int | float | Mapping)
    return _simple_family(CounterMetricFamily, meter, value)


def _gauge_family(meter: Meter, value: object) -> Metric:
    assert isinstance(value, int | float | Mapping)
    return _simple_family(GaugeMetricFamily, meter, value)


def _histogram_family(meter: Meter, value: object) -> Metric:
    metric = HistogramMetricFamily(PREFIX + meter.name, meter.help, labels=meter.labels)
    if isinstance(value, Histograms):
        for label, one in list(value.items()):
            metric.add_metric([label], buckets=one.buckets(), sum_value=one.total)
    else:
        assert isinstance(value, Histogram)
        metric.add_metric([], buckets=value.buckets(), sum_value=value.total)
    return metric


FAMILIES: dict[str, Callable[[Meter, object], Metric]] = {
    "counter": _counter_family,
    "gauge": _gauge_family,
    "histogram": _histogram_family,
}
