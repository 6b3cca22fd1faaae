"""Latencies are counted by bucket without losing one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.load.latency import LONGEST_US, SLICE_NS, Latency, bucket_end, bucket_of, bucket_start


@given(st.integers(0, LONGEST_US))
def test_a_value_lies_in_its_bucket_and_the_bucket_is_narrow(value: int) -> None:
    bucket = bucket_of(value)

    assert bucket_start(bucket) <= value < bucket_end(bucket)
    assert bucket_end(bucket) - bucket_start(bucket) <= max(1, value // 128)
    assert bucket + 1 == bucket_of(bucket_end(bucket))


@given(
    st.lists(st.integers(0, 10**12), min_size=1, max_size=5), st.lists(st.integers(0, 10**13), min_size=1, max_size=50)
)
def test_every_delivery_is_counted_where_one_by_one_would(sent: list[int], arrivals: list[int]) -> None:
    arrivals.sort()
    latency = Latency()
    latency.record(sent, arrivals)

    single = [0] * len(latency.buckets)
    for start in sent:
        for arrival in arrivals:
            single[bucket_of(min(max((arrival - start) // 1000, 0), LONGEST_US))] += 1
    assert single == list(latency.buckets)
    assert len(sent) * len(arrivals) == latency.slices.total()


def test_arrivals_are_counted_in_slices_of_time() -> None:
    latency = Latency()

    latency.record((0, 0), (1, 2, SLICE_NS, 5 * SLICE_NS))

    assert {0: 4, 1: 2, 5: 2} == dict(latency.slices)
    assert (1, 5 * SLICE_NS) == (latency.first_arrival, latency.last_arrival)


def test_latencies_of_processes_add_up() -> None:
    first, second, nothing = Latency(), Latency(), Latency()
    first.record((0,), (5_000_000,))
    second.record((0,), (7_000_000, 7_000_001))

    first.add(second)
    first.add(nothing)

    assert 3 == first.histogram().get_total_count()
    assert (5_000_000, 7_000_001) == (first.first_arrival, first.last_arrival)


@pytest.mark.parametrize("microseconds", [1, 250, 9_999, 1_234_567])
def test_the_histogram_is_exact_to_one_percent(microseconds: int) -> None:
    latency = Latency()

    latency.record((0,), (microseconds * 1000,))

    assert latency.histogram().get_value_at_percentile(50) == pytest.approx(microseconds, rel=0.01)


def test_nothing_is_recorded_without_arrivals() -> None:
    latency = Latency()

    latency.record((1, 2), ())

    assert 0 == latency.histogram().get_total_count()
