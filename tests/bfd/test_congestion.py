"""Congestion control (I5, RFC 5880 §7): slower where packets are lost, without a flap."""

from dataclasses import replace
from itertools import pairwise

import pytest

from bfd import timing
from bfd.config import SessionConfig
from bfd.congestion import BackOff
from bfd.fsm import State
from bfd.session import SessionKey
from tests.support.bfd import FAST, KEY, Bench, Link, Weather

SECOND = 1_000_000
MULTIHOP = replace(FAST, key=KEY._replace(multihop=True), detect_mult=9, back_off=8)


def link(seed: int, a: SessionConfig = MULTIHOP, b: SessionConfig | None = None) -> Link:
    back = SessionKey(KEY.peer, KEY.local, multihop=True)
    joined = Link(seed, a, b or replace(a, key=back))
    joined.run(SECOND)
    assert joined.states == (State.UP, State.UP)
    return joined


def flaps(joined: Link) -> int:
    return sum(c.old is State.UP for n in (joined.a, joined.b) for _, c in n.changed)


@pytest.mark.parametrize("seed", range(5))
def test_I5_loss_slows_both_directions_down_and_its_end_speeds_them_up(seed: int) -> None:
    joined = link(seed)
    joined.weather["A"] = Weather(loss=0.4)
    joined.run(60 * SECOND)
    session = joined.session(joined.b)
    assert session.back_off.factor == 8
    for node in (joined.a, joined.b):
        assert joined.session(node).tx_interval_us == 800_000
    joined.weather["A"] = Weather()
    joined.run(400 * SECOND)
    for node in (joined.a, joined.b):
        assert joined.session(node).back_off.factor == 1
        assert joined.session(node).tx_interval_us == 100_000
        assert not joined.session(node).negotiation.is_asking
    assert flaps(joined) == 0


@pytest.mark.parametrize("seed", range(5))
def test_I5_a_good_path_is_never_slowed_whatever_jitter_and_pauses_do(seed: int) -> None:
    # An interval that stays above delay and multiplier times the jitter.
    joined = link(seed)
    joined.weather["A"] = joined.weather["B"] = Weather(doubling=0.1, delay_us=(100, 40_000))
    for _ in range(60):
        joined.run(SECOND)
        assert joined.session(joined.a).back_off.factor == 1
        assert joined.session(joined.b).back_off.factor == 1
    assert flaps(joined) == 0


def test_I5_a_peer_that_sends_as_slowly_as_it_may_is_not_taken_for_loss() -> None:
    bench = Bench(replace(FAST, back_off=8, detect_mult=3)).bring_up()
    for _ in range(300):
        bench.wait(100_000)
        bench.hear(State.UP)
    assert bench.session.back_off.factor == 1


def test_I5_our_own_pause_is_no_loss() -> None:
    bench = Bench(replace(FAST, back_off=8), detect_mult=200).bring_up()
    session = bench.session
    for round_ in range(10):
        # For a second nothing is read and nothing sent; then all that has arrived is read.
        arrivals = [bench.now_us + 95_000 * n for n in range(1, 11)]
        bench.now_us += SECOND
        if round_ % 2:
            bench.wait(0, heard_until_us=arrivals[0] - 95_000)
        for at_us in arrivals:
            session.receive(bench.peer, at_us, bench.now_us)
        bench.wait(0)
    assert session.back_off.factor == 1


def test_I5_without_back_off_loss_changes_nothing() -> None:
    joined = link(1, replace(MULTIHOP, back_off=1))
    joined.weather["A"] = Weather(loss=0.4)
    joined.run(60 * SECOND)
    assert joined.session(joined.b).tx_interval_us == 100_000


def test_I5_a_time_out_slows_down_when_the_session_is_up_again() -> None:
    bench = Bench(replace(FAST, back_off=8)).bring_up()
    bench.wait(400_000)
    assert bench.session.state is State.DOWN
    bench.bring_up()
    assert bench.session.negotiation.desired_min_tx_us == 200_000
    assert bench.session.negotiation.required_min_rx_us == 200_000


def test_I5_a_new_limit_holds_at_once() -> None:
    bench = Bench(replace(FAST, back_off=8)).bring_up()
    bench.session.back_off.factor = 8
    bench.session.configure(replace(FAST, back_off=3), bench.now_us)
    assert bench.session.back_off.factor == 2
    bench.session.configure(FAST, bench.now_us)
    assert bench.session.negotiation.desired_min_tx_us == 100_000


def test_I5_a_session_of_a_second_or_more_is_slow_enough() -> None:
    assert timing.slowed_us(100_000, 4) == 400_000
    assert timing.slowed_us(400_000, 8) == SECOND
    assert timing.slowed_us(3 * SECOND, 8) == 3 * SECOND
    assert timing.slowed_us(0, 8) == 0


def test_I5_a_tenth_missing_is_the_bound() -> None:
    for missing, factor in ((2, 1), (3, 2)):
        back_off = BackOff(8)
        back_off.observe(0, 100, 100_000)
        assert not back_off.observe(1_900_000, 119, 100_000), "not yet a window"
        back_off.observe(2_000_000, 120 - missing, 100_000)
        assert back_off.factor == factor


def test_I5_speed_returns_step_by_step() -> None:
    back_off = BackOff(8)
    for _ in range(4):
        back_off.slow_down()
    factors = []
    for window in range(20):
        back_off.observe(window * 2_000_000, window * 20, 100_000)
        factors.append(back_off.factor)
    assert factors[0] == 8
    assert factors[-1] == 1
    assert all(b in (a, a // 2) for a, b in pairwise(factors))
    assert factors.count(4) == 5
