"""Two engines joined by a network that loses, delays, doubles and reorders, in virtual time.

Every packet is checked by the link itself (`tests.support.bfd.Link`); here are the promises about
whole histories. Seeds make each failure repeatable.
"""

from dataclasses import replace
from itertools import pairwise

import pytest

from bfd.auth import AuthType, Transition
from bfd.config import SessionConfig
from bfd.fsm import Diagnostic, State
from bfd.packet import Discard
from bfd.session import SessionKey
from tests.support.bfd import FAST, KEY, Link, Node, Weather
from tests.support.bfd_auth import METICULOUS, a_key, authenticated

SECOND = 1_000_000


def downs(node: Node) -> list[int]:
    return [at for at, change in node.changed if change.old is State.UP]


@pytest.mark.parametrize("seed", range(10))
def test_E2_two_active_sides_are_up_within_milliseconds(seed: int) -> None:
    link = Link(seed)
    link.run(5_000)
    assert link.states == (State.UP, State.UP)


@pytest.mark.parametrize("seed", range(5))
def test_E1_a_passive_and_an_active_side_come_up(seed: int) -> None:
    passive = replace(FAST, key=SessionKey(KEY.peer, KEY.local), passive=True)
    link = Link(seed, FAST, passive)
    link.run(SECOND)
    assert link.states == (State.UP, State.UP)


def test_E1_two_passive_sides_stay_silent() -> None:
    link = Link(1, replace(FAST, passive=True))
    link.run(10 * SECOND)
    assert (link.a.sent, link.b.sent) == ([], [])


@pytest.mark.parametrize("seed", range(10))
def test_no_false_down_while_delay_varies_by_less_than_an_interval(seed: int) -> None:
    link = Link(seed)
    # A Down of the handshake that arrives after its Up would rightly take the session down.
    link.run(SECOND)
    link.weather["A"] = link.weather["B"] = Weather(doubling=0.2, delay_us=(100, 90_000))
    link.run(60 * SECOND)
    assert link.states == (State.UP, State.UP)
    assert downs(link.a) == downs(link.b) == []


@pytest.mark.parametrize("seed", range(10))
def test_no_false_down_while_fewer_than_multiplier_minus_one_packets_in_a_row_are_lost(
    seed: int,
) -> None:
    link = Link(seed, replace(FAST, detect_mult=4))
    link.run(SECOND)
    for _ in range(40):
        # Two packets in a row are lost: at most one interval apart each, less than three in all.
        link.weather["A"] = link.weather["B"] = Weather(loss=1.0)
        link.run(2 * 75_000)
        link.weather["A"] = link.weather["B"] = Weather()
        link.run(link.rng.randint(200_000, 400_000))
    assert downs(link.a) == downs(link.b) == []


@pytest.mark.parametrize("seed", range(10))
def test_D12_detection_is_neither_early_nor_late(seed: int) -> None:
    link = Link(seed)
    link.run(SECOND + link.rng.randint(0, 100_000))
    link.weather["A"] = link.weather["B"] = Weather(loss=1.0)
    link.run(SECOND)
    for node in (link.a, link.b):
        session = link.session(node)
        (at,) = downs(node)
        assert session.heard_us is not None
        assert at == session.heard_us + 300_000
        assert session.local_diag is Diagnostic.CONTROL_DETECTION_TIME_EXPIRED
        assert session.remote_discr == 0


@pytest.mark.parametrize("seed", range(10))
def test_B17_one_direction_cut_takes_both_sides_down(seed: int) -> None:
    link = Link(seed)
    link.run(SECOND)
    link.weather["A"] = Weather(loss=1.0)
    link.run(SECOND)
    assert link.session(link.b).state is State.DOWN
    assert link.session(link.b).local_diag is Diagnostic.CONTROL_DETECTION_TIME_EXPIRED
    (at_b,), (at_a,) = downs(link.b), downs(link.a)
    assert 0 <= at_a - at_b <= 200, "the change is told at once"
    link.weather["A"] = Weather()
    link.run(3 * SECOND)
    assert link.states == (State.UP, State.UP)


@pytest.mark.parametrize("seed", range(15))
def test_any_weather_ends_up_when_it_clears(seed: int) -> None:
    link = Link(seed)
    for _ in range(10):
        for name in ("A", "B"):
            link.weather[name] = Weather(
                loss=link.rng.choice([0, 0.3, 0.9, 1.0]),
                doubling=link.rng.choice([0, 0.5]),
                delay_us=(100, link.rng.choice([200, 50_000, 2_000_000])),
            )
        link.run(link.rng.randint(100_000, 5 * SECOND))
    link.weather["A"] = link.weather["B"] = Weather()
    # The slowest of the old packets arrive, then a detection time and two slow intervals.
    link.run(6 * SECOND)
    assert link.states == (State.UP, State.UP)
    for node in (link.a, link.b):
        assert not link.session(node).negotiation.is_asking
        assert link.session(node).tx_interval_us == 100_000


@pytest.mark.parametrize("seed", range(10))
def test_D2_timers_change_while_up_without_a_flap(seed: int) -> None:
    link = Link(seed)
    link.run(SECOND)
    for desired, required in [(50, 50), (900, 20), (10, 900), (300, 300), (20, 20)]:
        for node in (link.a, link.b):
            config = link.session(node).config
            link.put(
                node,
                replace(
                    config, desired_min_tx_us=desired * 1000, required_min_rx_us=required * 1000
                ),
            )
            link.run(link.rng.choice([1_000, 40_000, 3 * SECOND]))
    link.run(10 * SECOND)
    assert downs(link.a) == downs(link.b) == []
    assert link.session(link.a).tx_interval_us == 20_000
    assert link.session(link.b).detection_time_us == 60_000


@pytest.mark.parametrize("seed", range(5))
def test_D13_spacing_as_the_peer_sees_it(seed: int) -> None:
    link = Link(seed)
    link.run(SECOND)
    first = len(link.a.sent)
    link.run(60 * SECOND)
    times = [at for at, packet in link.a.sent[first:] if not packet.final]
    gaps = [b - a for a, b in pairwise(times)]
    assert min(gaps) >= 75_000
    assert max(gaps) <= 100_000
    assert 85_000 <= sum(gaps) / len(gaps) <= 90_000
    assert len({gap // 1000 for gap in gaps}) >= 2


@pytest.mark.parametrize("seed", range(5))
def test_N3_drain_is_seen_as_admin_down_and_never_as_a_timeout(seed: int) -> None:
    link = Link(seed)
    link.run(SECOND)
    start = link.now_us
    for effect in link.a.engine.drain(link.now_us):
        link._perform(link.a, effect)
    link.run(299_999)
    assert link.a.ended == 0
    (at,) = downs(link.b)
    assert at - start <= 200
    assert link.session(link.b).local_diag is Diagnostic.NEIGHBOR_SIGNALED_SESSION_DOWN
    assert link.session(link.b).remote_diag is Diagnostic.ADMINISTRATIVELY_DOWN
    link.run(1)
    assert link.a.ended == 1
    assert link.a.engine.is_empty


@pytest.mark.parametrize("seed", range(5))
def test_a_restarted_peer_with_the_same_discriminator_comes_back(seed: int) -> None:
    link = Link(seed)
    link.run(SECOND)
    fresh = Link(seed + 100)
    # The successor has the same key, hence the same discriminator, and knows nothing.
    assert link.session(link.b).local_discr == fresh.session(fresh.b).local_discr
    config = link.session(link.b).config
    link.b.engine = link._engine(b"b" * 32)
    link.put(link.b, config)
    link.run(2 * SECOND)
    assert link.states == (State.UP, State.UP)


def discards(node: Node) -> dict[Discard, int]:
    (session,) = node.engine.sessions()
    return {why: session.discards[why] for why in Discard if session.discards[why]}


@pytest.mark.parametrize("kind", AuthType)
@pytest.mark.parametrize("seed", range(3))
def test_G2_authenticated_sessions_come_up_and_survive_loss_and_doubling(
    kind: AuthType, seed: int
) -> None:
    link = Link(seed, authenticated(a_key(1, kind), config=replace(FAST, detect_mult=4)))
    link.run(SECOND)
    assert link.states == (State.UP, State.UP)
    link.weather["A"] = link.weather["B"] = Weather(doubling=0.3)
    for _ in range(20):
        link.weather["A"].loss = link.weather["B"].loss = 1.0
        link.run(2 * 75_000)
        link.weather["A"].loss = link.weather["B"].loss = 0.0
        link.run(link.rng.randint(200_000, 400_000))
    assert downs(link.a) == downs(link.b) == []
    # The second copy of a packet is a replay where each number counts once.
    expected = {Discard.AUTH_SEQUENCE} if kind in METICULOUS else set()
    assert set(discards(link.a)) == set(discards(link.b)) == expected


@pytest.mark.parametrize("seed", range(5))
def test_G2_ends_with_different_keys_stay_down(seed: int) -> None:
    link = Link(seed, authenticated(a_key(secret=b"one")), theirs(authenticated(a_key())))
    link.run(10 * SECOND)
    assert link.states == (State.DOWN, State.DOWN)
    assert set(discards(link.a)) == set(discards(link.b)) == {Discard.AUTH_DIGEST}


def theirs(config: SessionConfig) -> SessionConfig:
    return replace(config, key=SessionKey(KEY.peer, KEY.local))


@pytest.mark.parametrize("old", AuthType)
@pytest.mark.parametrize("new", AuthType)
def test_G7_keys_and_types_roll_over_without_a_flap(old: AuthType, new: AuthType) -> None:
    one, two = a_key(1, old, b"old"), a_key(2, new, b"new")
    link = Link(1, authenticated(one))
    link.run(SECOND)
    for keys, send in [((one, two), 1), ((one, two), 2), ((two,), 2)]:
        config = authenticated(*keys, send=send)
        link.put(link.a, config)
        link.run(link.rng.randint(0, 5 * SECOND))
        link.put(link.b, theirs(config))
        link.run(link.rng.randint(0, 5 * SECOND))
    link.run(SECOND)
    assert downs(link.a) == downs(link.b) == []
    assert discards(link.a) == discards(link.b) == {}
    assert {packet.auth[2] for _, packet in link.a.sent[-5:]} == {2}


@pytest.mark.parametrize("seed", range(5))
def test_G7_authentication_is_switched_on_and_off_without_a_flap(seed: int) -> None:
    link = Link(seed)
    link.run(SECOND)
    required = authenticated(a_key())
    enabling = authenticated(a_key(), transition=Transition.ENABLING)
    disabling = authenticated(a_key(), transition=Transition.DISABLING)
    for a, b in [(enabling, FAST), (enabling, required), (required, required)]:
        link.put(link.a, a)
        link.put(link.b, theirs(b))
        link.run(link.rng.randint(SECOND, 5 * SECOND))
    assert all(packet.auth for node in (link.a, link.b) for _, packet in node.sent[-5:])
    for a, b in [(disabling, required), (disabling, FAST), (FAST, FAST)]:
        link.put(link.a, a)
        link.put(link.b, theirs(b))
        link.run(link.rng.randint(SECOND, 5 * SECOND))
    assert not any(packet.auth for node in (link.a, link.b) for _, packet in node.sent[-5:])
    assert downs(link.a) == downs(link.b) == []


@pytest.mark.parametrize("seed", range(5))
def test_C6_an_authenticated_peer_that_restarts_comes_back(seed: int) -> None:
    link = Link(seed, authenticated(a_key()))
    link.run(SECOND)
    config = link.session(link.b).config
    link.b.engine = link._engine(b"b" * 32)
    link.put(link.b, config)
    link.run(3 * SECOND)
    assert link.states == (State.UP, State.UP)
