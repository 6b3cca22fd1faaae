"""The picture is well-formed, holds what was measured, and needs nothing else."""

import math
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.load.plot import Scale, decades, draw, even_marks, short
from gripproxy.load.report import Report

REPORT = Report(
    settings={"mode": "stream", "is_lockstep": True, "rate": None, "size": 100, "never_read": 0, "processes": 1},
    **dict.fromkeys(
        (
            "is_interrupted",
            "is_stalled",
            "connections_left",
            "connect_seconds",
            "connects_per_second",
            "churned",
            "cut",
        ),
        0,
    ),
    **{name: {} for name in ("refused", "given_up", "connections_lost", "publish_failures", "publish_ms", "ledger")},
    **dict.fromkeys(("proxy_cpu_seconds", "proxy_us_per_delivery", "proxy_kib_per_connection")),
    **dict.fromkeys(("messages_per_second", "load_cpu_seconds", "load_busy", "deliveries_per_cpu_second"), 0.0),
    connections=1000,
    connections_held=1000,
    messages=100,
    deliveries=100_000,
    expected=100_000,
    seconds=1.0,
    deliveries_per_second=100_000.0,
    latency_ms={"p99": 20.0},
    latency_curve=[(0.0, 1.0), (50.0, 5.0), (99.0, 20.0), (99.99, 80.0), (100.0, 90.0)],
    timeline=[(0.0, 50_000.0), (0.1, 150_000.0), (0.2, 0.0)],
)


def texts(report: Report) -> list[str]:
    root = ElementTree.fromstring(draw(report))
    return [one.text or "" for one in root.iter("{http://www.w3.org/2000/svg}text")]


def test_the_picture_names_what_was_measured_with_units() -> None:
    found = texts(REPORT)

    assert "stream, lockstep: 1,000 connections, 100-byte messages" in found
    assert "100 messages, 100,000 deliveries, 100,000/s; clean" in found
    assert {"p99 20.0 ms", "99.9 %", "150 k", "0.2 s", "Deliveries per second"} <= set(found)


def test_the_picture_needs_nothing_from_elsewhere() -> None:
    assert "href" not in draw(REPORT)
    assert "<script" not in draw(REPORT)


@pytest.mark.parametrize(
    "report",
    [
        replace(REPORT, latency_curve=[], latency_ms={}, timeline=[]),
        replace(REPORT, latency_curve=[(0.0, 0.0), (100.0, 0.0)], timeline=[(0.0, 0.0)]),
        replace(REPORT, settings={**REPORT.settings, "mode": "<&>"}),
    ],
)
def test_little_or_nothing_can_be_drawn(report: Report) -> None:
    assert ElementTree.fromstring(draw(report)).attrib["viewBox"]


def test_a_scale_keeps_values_inside() -> None:
    scale = Scale(1, 100, 10, 30, math.log10)

    assert [10, 20, 30, 30] == [scale(1), scale(10), scale(100), scale(5000)]


@given(st.floats(0, 1e6), st.floats(0.001, 1e6))
def test_marks_cover_what_they_are_for(low: float, width: float) -> None:
    marks = even_marks(low, low + width)

    assert marks[0] <= low + 1e-9
    assert marks[-1] >= (low + width) * (1 - 1e-9) - 1e-9
    assert len(marks) <= 8


def test_decades_surround_the_values() -> None:
    assert [(0.1, 100.0), (1.0, 10.0)] == [decades(0.5, 20), decades(1, 1)]


def test_numbers_on_axes_are_short() -> None:
    assert ["250 k", "1.5 M", "0.01", "10"] == [short(250_000), short(1.5e6), short(0.01), short(10)]
