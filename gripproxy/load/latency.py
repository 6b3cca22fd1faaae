"""How long deliveries took, and when they arrived: cheap to record, exact to merge.

``Latency.record`` gets the arrivals of one batch of messages, which are in order of time, and walks over the buckets
that they span instead of over the arrivals: recording costs little however many connections there are. Buckets are
at most 1/128 of a value wide. Times are nanoseconds of time.monotonic_ns, which all processes of a machine share.
"""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from hdrh.histogram import HdrHistogram

#: Buckets in each power of two: 128, so the error is below 0.8 %.
SUB_BITS = 7
#: Latencies from 1 microsecond (the unit) to an hour.
LONGEST_US = 3_600_000_000
#: Deliveries over time are counted in slices of this length.
SLICE_NS = 100_000_000
_BUCKETS = ((LONGEST_US.bit_length() - SUB_BITS) << SUB_BITS) + (2 << SUB_BITS)


def bucket_of(value: int) -> int:
    """The bucket of ``value`` (microseconds, not negative)."""
    exponent = value.bit_length() - SUB_BITS - 1
    return value if exponent <= 0 else (exponent << SUB_BITS) + (value >> exponent)


def bucket_end(bucket: int) -> int:
    """The least value above ``bucket``."""
    if bucket < 2 << SUB_BITS:
        return bucket + 1
    exponent = (bucket >> SUB_BITS) - 1
    return ((bucket & ((1 << SUB_BITS) - 1)) + (1 << SUB_BITS) + 1) << exponent


class Latency:
    """Counts of latencies and of arrivals over time, from one process or merged from several."""

    __slots__ = ("buckets", "first_arrival", "last_arrival", "slices")

    def __init__(self) -> None:
        self.buckets = array("Q", bytes(8 * _BUCKETS))
        self.slices: Counter[int] = Counter()
        self.first_arrival = 0
        self.last_arrival = 0

    def record(self, sent: Sequence[int], arrivals: Sequence[int]) -> None:
        """Every message in ``sent`` (send times) arrived at each of ``arrivals``, which must be ascending."""
        if not arrivals:
            return
        if not self.first_arrival:
            self.first_arrival = arrivals[0]
        self.last_arrival = max(self.last_arrival, arrivals[-1])
        for start in sent:
            self._record_one(start, arrivals)
        index = 0
        while index < len(arrivals):
            slice_ = arrivals[index] // SLICE_NS
            end = bisect_left(arrivals, (slice_ + 1) * SLICE_NS, index)
            self.slices[slice_] += (end - index) * len(sent)
            index = end

    def _record_one(self, start: int, arrivals: Sequence[int]) -> None:
        buckets, index, count = self.buckets, 0, len(arrivals)
        while index < count:
            value = min(max((arrivals[index] - start) // 1000, 0), LONGEST_US)
            bucket = bucket_of(value)
            end = bisect_left(arrivals, start + 1000 * bucket_end(bucket), index + 1)
            buckets[bucket] += end - index
            index = end

    def add(self, other: "Latency") -> None:
        """Take over the counts of another process."""
        for bucket, count in enumerate(other.buckets):
            if count:
                self.buckets[bucket] += count
        self.slices.update(other.slices)
        self.first_arrival = min(filter(None, (self.first_arrival, other.first_arrival)), default=0)
        self.last_arrival = max(self.last_arrival, other.last_arrival)

    def histogram(self) -> HdrHistogram:
        """The latencies in microseconds."""
        histogram = HdrHistogram(1, LONGEST_US, 3)
        for bucket, count in enumerate(self.buckets):
            if count:
                end = bucket_end(bucket)
                histogram.record_value(max((bucket_start(bucket) + end) // 2, 1), count)
        return histogram


def bucket_start(bucket: int) -> int:
    """The least value of ``bucket``."""
    return 0 if not bucket else bucket_end(bucket - 1)
