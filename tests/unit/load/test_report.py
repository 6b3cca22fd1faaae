"""A report says what the processes saw, and whether that is good."""

import json
from collections import Counter
from typing import Any

import pytest
from rich.console import Console

from gripproxy.load.latency import SLICE_NS, Latency
from gripproxy.load.ledger import Ledger
from gripproxy.load.plan import Control, Plan, endpoints
from gripproxy.load.publisher import Publication
from gripproxy.load.report import MOST_SLICES, Report, build_report, build_table, rows, timeline, verdict
from gripproxy.load.usage import Usage
from gripproxy.load.worker import Tally

MS = 1_000_000


def plan(**settings: Any) -> Plan:
    urls = endpoints("stream", ("http://h/{mode}?token=secret",))
    return Plan("stream", urls, Control.from_grip_url("http://h?key=secret"), connections=4, **settings)


def tally(**settings: Any) -> Tally:
    """Two connections that got 10 messages, each after 5 ms, in the first second."""
    latency = Latency()
    for index in range(10):
        sent = SLICE_NS * (index + 1)
        latency.record((sent,), (sent + 5 * MS, sent + 5 * MS))
    values = {"held": 2, "left": 2, "arrived": 20, "cpu_seconds": 0.1, "connect_end": 10**9}
    return Tally(latency=latency, **{**values, **settings})


def publication(**settings: Any) -> Publication:
    values = {"published": {0: 10}, "accepted": 10, "started": SLICE_NS, "ended": 11 * SLICE_NS}
    return Publication(**{**values, **settings})


def report(*tallies: Tally, published: Publication | None = None, settings: dict[str, Any] | None = None) -> Report:
    usage = Usage(0.5, 400)
    return build_report(plan(**(settings or {})), tallies or (tally(), tally()), published or publication(), usage)


def test_deliveries_are_counted_over_all_processes() -> None:
    found = report()

    assert (40, 40, 10, 4) == (found.deliveries, found.expected, found.messages, found.connections_held)
    assert 40 / 0.905 == pytest.approx(found.deliveries_per_second)
    assert found.latency_ms["p50"] == pytest.approx(5, rel=0.01)
    assert 400 == pytest.approx(found.deliveries_per_cpu_second / 0.5)
    assert found.is_clean


def test_what_was_expected_follows_from_the_faults() -> None:
    ledger = Ledger(lost=5, doubled=2, stray=1, skipped=3, out_of_order=9)

    assert 25 == report(tally(ledger=ledger)).expected


def test_the_pauses_of_polls_do_not_count() -> None:
    assert 40 / 0.405 == pytest.approx(report(published=publication(paused=5 * SLICE_NS)).deliveries_per_second)


@pytest.mark.parametrize(
    ("tallies", "published"),
    [
        (tally(ledger=Ledger(lost=1)), {}),
        (tally(ledger=Ledger(doubled=1)), {}),
        (tally(ledger=Ledger(out_of_order=1)), {}),
        (tally(given_up=Counter({"stream: HTTP 502": 1})), {}),
        (tally(lost=Counter({"stream: closed by the proxy": 1})), {}),
        (tally(), {"failures": Counter({"HTTP 500": 1})}),
        (tally(), {"is_stalled": True}),
    ],
)
def test_any_fault_is_not_clean(tallies: Tally, published: dict[str, Any]) -> None:
    found = report(tallies, published=publication(**published))

    assert not found.is_clean
    assert "NOT CLEAN" in verdict(found)


@pytest.mark.parametrize(
    "harmless", [{"refused": Counter({"ws: HTTP 502": 9})}, {"ledger": Ledger(skipped=4)}, {"cut": 3}]
)
def test_what_was_made_good_is_clean(harmless: dict[str, Any]) -> None:
    assert report(tally(**harmless)).is_clean


def test_kinds_of_failures_add_up() -> None:
    found = report(tally(refused=Counter({"a": 1})), tally(refused=Counter({"a": 2, "b": 5})))

    assert {"b": 5, "a": 3} == found.refused


def test_a_busy_load_test_says_so() -> None:
    assert "out of CPU" in verdict(report(tally(cpu_seconds=0.9)))


def test_the_proxy_is_reported_if_its_process_is_known() -> None:
    found = report(settings={"pids": (1,)})

    assert (12_500, 100) == (found.proxy_us_per_delivery, found.proxy_kib_per_connection)
    assert report().proxy_us_per_delivery is None


def test_json_has_every_field_and_no_secret() -> None:
    text = json.dumps(report().to_json())

    assert json.loads(text)["is_clean"]
    assert "secret" not in text


def test_a_report_of_nothing_can_be_made() -> None:
    found = report(Tally(), published=Publication())

    assert (0.0, {}, []) == (found.deliveries_per_second, found.latency_ms, found.timeline)
    assert list(rows(found))


def test_the_table_shows_kinds_of_failures_and_what_was_cut() -> None:
    lost = tally(lost=Counter({"stream: closed by the proxy": 3}), cut=2, churned=5)
    found = report(lost, published=publication(failures=Counter({"HTTP 503": 7})), settings={"never_read": 2})
    console = Console(width=140, record=True, quiet=True)

    lines = dict(rows(found))
    console.print(build_table(found))

    assert "3  stream: closed by the proxy" == lines["  connections lost"]
    assert "2 of 2 were cut by the proxy" == lines["  never read"]
    assert "7  HTTP 503" == lines["  publish failed"]
    assert "5" == lines["  dropped and dialled anew"]


def test_time_is_cut_into_even_steps_without_gaps() -> None:
    assert [(0.0, 20.0), (0.1, 0.0), (0.2, 10.0)] == timeline({5: 2, 7: 1}, 5 * SLICE_NS)


def test_a_long_time_has_longer_steps() -> None:
    points = timeline(dict.fromkeys(range(MOST_SLICES * 3), 7), 0)

    assert MOST_SLICES == len(points)
    assert {70.0} == {round(rate, 6) for _, rate in points}
