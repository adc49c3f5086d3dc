"""Counting how late deadlines are kept: a histogram that is cheap to add to.

The hot path adds one integer; reading makes an immutable `bfd.snapshot.Histogram` of it.
"""

from bisect import bisect_left

BOUNDS_US = (
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    1_000_000,
)
"""Upper bounds of the buckets, inclusive; one more bucket takes what is above."""


class Lateness:
    """Counts of lateness by bucket, and their sum, in microseconds."""

    __slots__ = ("counts", "sum_us")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_US) + 1)
        self.sum_us = 0

    def record(self, late_us: int) -> None:
        """Add one deadline; one that was met early is as good as one on time."""
        if late_us <= 100:
            self.counts[0] += 1
            if late_us > 0:
                self.sum_us += late_us
            return
        self.counts[bisect_left(BOUNDS_US, late_us)] += 1
        self.sum_us += late_us
