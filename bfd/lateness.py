"""How late deadlines are kept: a histogram, the stalls, and the worst of the last moments.

The hot path adds an integer or two; reading makes an immutable `bfd.snapshot.Histogram` of them.
"""

from bisect import bisect_left
from collections import deque

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

_TICK_US = 1_000
_WORST_KEPT = 128


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


class Stalls:
    """Wake-ups so late that peers may have noticed: later than half an interval."""

    __slots__ = ("_at_us", "_late_us", "count", "longest_us", "total_us")

    def __init__(self) -> None:
        self.count = 0
        self.longest_us = 0
        self.total_us = 0
        self._at_us = -1
        self._late_us = 0

    def note(self, now_us: int, late_us: int) -> None:
        """Something was late by so much; what one wake-up finds late is one stall."""
        if now_us != self._at_us:
            self.count += 1
            self._at_us = now_us
            self._late_us = 0
        if late_us > self._late_us:
            self.total_us += late_us - self._late_us
            self._late_us = late_us
            self.longest_us = max(self.longest_us, late_us)


class Worst:
    """The worst lateness since any moment of the near past.

    Only a lateness that no later one exceeds can ever be an answer, so the rest is dropped.
    """

    __slots__ = ("_falling",)

    def __init__(self) -> None:
        self._falling: deque[tuple[int, int]] = deque(maxlen=_WORST_KEPT)

    def note(self, now_us: int, late_us: int) -> None:
        """Something was done so late; less than the loop's own tick is not worth a note."""
        if late_us <= _TICK_US:
            return
        falling = self._falling
        while falling and falling[-1][1] <= late_us:
            falling.pop()
        falling.append((now_us, late_us))

    def since(self, from_us: int) -> int:
        """The worst since then; 0 when nothing was later than a tick."""
        return next((late_us for at_us, late_us in self._falling if at_us >= from_us), 0)
