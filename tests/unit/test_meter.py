"""Observations and their buckets, and what a meter must be."""

import pytest

from gripproxy.meter import Histogram, Histograms, Meter


def test_a_histogram_counts_values_up_to_each_bound() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(value)

    assert [("0.1", 2.0), ("1.0", 3.0), ("+Inf", 4.0)] == histogram.buckets()
    assert 7.65 == histogram.total


def test_each_value_of_a_label_has_a_histogram_of_its_own() -> None:
    histograms = Histograms((1.0,))
    histograms["web"].observe(0.5)
    histograms["web"].observe(0.5)
    histograms["api"].observe(2.0)

    assert {"web": [2, 0], "api": [0, 1]} == {label: one.counts for label, one in histograms.items()}


@pytest.mark.parametrize(
    ("labels", "known"), [(("one",), (("a", "b"),)), (("route", "one"), (("a", "b"),)), (("one", "two"), ("a",))]
)
def test_the_number_of_labels_is_kept(labels: tuple[str, ...], known: tuple[str | tuple[str, ...], ...]) -> None:
    """The route, where it is the first of them, is not among the known values."""
    with pytest.raises(AssertionError):
        Meter("x", "counter", "x", "X.", labels, known)


def test_a_counter_is_called_a_total() -> None:
    names = [Meter("x", kind, "x", "X.").full_name for kind in ("counter", "gauge", "histogram")]
    assert ["gripproxy_x_total", "gripproxy_x", "gripproxy_x"] == names
