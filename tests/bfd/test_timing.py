"""Intervals, detection times and the spacing of packets (checklist D11-D14)."""

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bfd.timing import Pace, detection_time_us, transmit_interval_us

intervals = st.integers(1_000, 4_294_967_000)


def test_D13_the_slower_of_the_two_sides_sets_the_interval() -> None:
    assert transmit_interval_us(100_000, 300_000) == 300_000
    assert transmit_interval_us(300_000, 100_000) == 300_000


def test_D11_detection_time_is_multiplier_times_the_slower_side() -> None:
    assert detection_time_us(3, 100_000, 50_000) == 300_000
    assert detection_time_us(5, 50_000, 100_000) == 500_000


def spacings(interval_us: int, mult: int, late_us: int = 0, count: int = 4000) -> list[int]:
    """Distances of packets that leave at most `late_us` after the time they should."""
    rng = random.Random(7)
    pace = Pace(interval_us, mult)
    sent = planned = 10**9
    gaps = []
    for _ in range(count):
        planned = pace.next_planned_us(planned, sent, rng.random())
        now = pace.leaves_us(planned, sent) + rng.randint(0, late_us)
        gaps.append(now - sent)
        sent = now
    return gaps


@pytest.mark.parametrize("interval_ms", [3, 10, 20, 50, 100, 300, 1000])
def test_D13_spacing_is_75_to_100_percent_and_random(interval_ms: int) -> None:
    interval = interval_ms * 1000
    late = min(1000, interval // 10)
    gaps = spacings(interval, 3, late)
    assert min(gaps) >= interval * 0.75
    assert max(gaps) <= interval
    assert statistics.mean(gaps) == pytest.approx(interval * 0.875, rel=0.03)
    assert statistics.stdev(gaps) > interval * 0.045


@pytest.mark.parametrize("mult", [1, 3])
def test_D13_there_is_always_more_than_one_distance_to_choose_from(mult: int) -> None:
    for interval in range(10_000, 400_000, 1_700):
        gaps = spacings(interval, mult, count=200)
        assert statistics.stdev(gaps) > interval * 0.01, interval


def test_D14_multiplier_one_keeps_ten_percent_distance_from_the_detection_time() -> None:
    gaps = spacings(100_000, 1, 1000)
    assert min(gaps) >= 75_000
    assert max(gaps) <= 90_000


def test_D13_lateness_does_not_add_up() -> None:
    # Each packet 3 ms late: planned times go on as if it had not been, so the mean stays.
    gaps = spacings(100_000, 3, 3000)
    assert statistics.mean(gaps) == pytest.approx(87_500, rel=0.03)
    assert min(gaps) >= 75_000


def test_D13_after_a_stall_the_next_packet_keeps_its_distance() -> None:
    pace = Pace(100_000, 3)
    planned = pace.next_planned_us(1_000_000, 9_000_000, 0.0)
    assert 9_075_000 <= pace.leaves_us(planned, 9_000_000) <= 9_100_000


@given(intervals, st.integers(1, 255), st.floats(0, 1, exclude_max=True), st.integers(-2000, 10**7))
def test_D13_no_plan_ever_leaves_the_legal_window(
    interval: int, mult: int, draw: float, late: int
) -> None:
    pace = Pace(interval, mult)
    planned = 10**12
    sent = planned + late
    following = pace.next_planned_us(planned, sent, draw)
    leaves = pace.leaves_us(following, sent)
    for moment in (following, leaves):
        assert sent + pace.shortest_us <= moment <= sent + pace.longest_us


def test_sessions_of_one_interval_leave_on_common_ticks() -> None:
    rng = random.Random(3)
    pace = Pace(100_000, 3)
    leaves = {
        pace.leaves_us(pace.next_planned_us(10**9, 10**9, rng.random()), 10**9) for _ in range(500)
    }
    assert len(leaves) <= 3
