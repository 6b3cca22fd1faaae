"""Counters: what is counted is what is scraped, and all of it is documented."""

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gripproxy import __version__
from gripproxy.grip.item import HttpResponse, HttpStream, Item, WsMessage
from gripproxy.metrics import METERS, OTHERS, ROUTES_MAX, Metrics

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def scrape(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_counter_without_label_is_a_plain_number() -> None:
    metrics = Metrics()
    metrics.filtered += 3

    assert 3 == scrape(metrics)["gripproxy_filtered_total", ()]


def test_a_counter_with_a_label_counts_by_its_value() -> None:
    metrics = Metrics()
    metrics.deliveries["chunk"] += 64
    metrics.deliveries["frame"] += 2

    found = scrape(metrics)

    assert 64 == found["gripproxy_deliveries_total", (("framing", "chunk"),)]
    assert 2 == found["gripproxy_deliveries_total", (("framing", "frame"),)]


def test_a_counter_with_two_labels_counts_by_a_pair() -> None:
    metrics = Metrics()
    metrics.publish_items["ws-message", "accepted"] += 5

    labels = (("format", "ws-message"), ("result", "accepted"))
    assert 5 == scrape(metrics)["gripproxy_publish_items_total", labels]


def test_an_item_is_counted_by_each_of_its_formats() -> None:
    metrics = Metrics()
    metrics.count_items(
        [
            Item("a", stream=HttpStream("close")),
            Item("b", stream=HttpStream("close"), response=HttpResponse("hint"), message=WsMessage("close")),
        ]
    )

    assert [1, 2, 1] == [
        metrics.publish_items[name, "accepted"] for name in ("http-response", "http-stream", "ws-message")
    ]


def test_known_label_values_are_there_before_anything_was_counted() -> None:
    """A rate over a series that appears with its first count misses that count."""
    assert 0 == scrape(Metrics())["gripproxy_publish_requests_total", (("status", "401"),)]


def test_known_routes_are_there_before_anything_was_counted() -> None:
    metrics = Metrics()
    metrics.requests["web", "5xx"] += 1
    metrics.know_routes(["web", "api"])

    found = scrape(metrics)

    assert 1 == found["gripproxy_requests_total", (("route", "web"), ("status", "5xx"))]
    assert 0 == found["gripproxy_requests_total", (("route", "api"), ("status", "5xx"))]
    assert 0 == found["gripproxy_connections", (("route", "api"), ("transport", "stream"))]


def test_routes_beyond_the_limit_are_counted_together() -> None:
    metrics = Metrics()
    ids = [f"tenant-{number}" for number in range(ROUTES_MAX + 5)]
    metrics.know_routes(ids)
    for one in ids:
        metrics.count_failure(one, "timeout")

    assert len(metrics.route_names) == ROUTES_MAX
    assert 1 == metrics.failures["tenant-0", "timeout"]
    # One place has the name of what has no route.
    assert 6 == metrics.failures[OTHERS, "timeout"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(7, {(): 7.0}), ({("web", "stream"): 2}, {(("route", "web"), ("transport", "stream")): 2.0})],
)
def test_a_watched_meter_is_read_when_it_is_scraped(value: Any, expected: dict[object, float]) -> None:
    metrics = Metrics()
    name = "connections" if isinstance(value, dict) else "channels"
    metrics.watch(name, lambda: value)

    found = {labels: count for (full, labels), count in scrape(metrics).items() if full == f"gripproxy_{name}"}

    assert expected == found


def test_watching_what_is_no_meter_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError, match="chanels"):
        Metrics().watch("chanels", lambda: 0)


def test_a_histogram_is_scraped_with_sum_and_count() -> None:
    metrics = Metrics()
    metrics.backend_seconds["web"].observe(0.003)
    metrics.backend_seconds["web"].observe(0.5)
    metrics.backend_seconds["api"].observe(7)

    found = scrape(metrics)

    web = ("route", "web")
    assert 1 == found["gripproxy_backend_seconds_bucket", (("le", "0.005"), web)]
    assert 2 == found["gripproxy_backend_seconds_count", (web,)]
    assert pytest.approx(0.503) == found["gripproxy_backend_seconds_sum", (web,)]
    assert 1 == found["gripproxy_backend_seconds_count", (("route", "api"),)]


def test_two_objects_count_apart() -> None:
    """There is no global registry: tests and several servers in one process do not add up."""
    first, second = Metrics(), Metrics()
    first.filtered += 1
    first.disconnects["web", "stream", "slow"] += 1

    assert 0 == second.filtered
    assert {} == second.disconnects


def test_the_build_is_told() -> None:
    found = [dict(labels) for name, labels in scrape(Metrics()) if name == "gripproxy_build_info"]

    assert [__version__] == [labels["version"] for labels in found]


def test_an_attribute_that_is_no_meter_cannot_be_counted() -> None:
    with pytest.raises(AttributeError):
        Metrics().delivereis = 1  # type: ignore[attr-defined]


def test_every_name_is_documented_and_no_other() -> None:
    """Rows of docs/metrics.md name a meter, its kind and its labels."""
    rows = re.findall(
        r"^\| `(gripproxy_\w+)` \| (\w+) \| ([^|]*)\|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE
    )
    documented = {(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}

    assert {(meter.full_name, meter.kind, meter.labels) for meter in METERS} == documented
