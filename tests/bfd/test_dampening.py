"""Flap dampening (N4, RFC 5882 §3.1): who is held down, for how long, and who never is."""

import random
from dataclasses import replace
from typing import Any

import pytest

from bfd.config import SessionConfig, SessionKey
from bfd.dampening import Dampening, Damper
from bfd.discriminators import Discriminators
from bfd.engine import Effect, Engine
from bfd.fsm import State
from bfd.packet import ControlPacket, RxMeta, encode
from bfd.session import Session
from tests.support.bfd import FAST, packets

SECOND = 1_000_000
POLICY = Dampening(flaps=2, within_us=60 * SECOND, hold_us=10 * SECOND, longest_hold_us=35 * SECOND)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flaps": 0}, "dampening.flaps: 0 is not from 1"),
        ({"within_us": 1.5}, "dampening.within_us: 1.5"),
        ({"hold_us": 36 * SECOND}, "longest_hold_us: 35000000 is less than hold_us"),
    ],
)
def test_N4_a_bad_policy_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(POLICY, **change)


def test_N4_a_hold_doubles_up_to_the_limit_and_begins_anew_after_good_behaviour() -> None:
    damper, now_us, holds = Damper(), 10**9, []
    for _ in range(6):
        begun = damper.note_down(POLICY, now_us)
        holds.append((damper.held_until_us - now_us) // SECOND if begun else 0)
        now_us = max(now_us, damper.held_until_us) + SECOND
    assert holds == [0, 10, 20, 35, 35, 35]
    now_us += 60 * SECOND
    assert not damper.note_down(POLICY, now_us), "one loss within the time is none too many"
    assert damper.note_down(POLICY, now_us + SECOND)
    assert damper.held_until_us == now_us + 11 * SECOND
    assert damper.holds == 6


class Net:
    """An engine with sessions to several peers, which the test speaks for."""

    def __init__(self, *peers: str, dampening: Dampening | None = POLICY) -> None:
        self.now_us = 10**9
        self.engine = Engine(Discriminators(bytes(32)), random.Random(1).random, lambda _i: "eth0")
        self.by_peer: dict[str, Session] = {}
        for peer in peers:
            local = "fd00::1" if ":" in peer else "192.0.2.1"
            config = replace(FAST, key=SessionKey(local, peer), dampening=dampening)
            self.by_peer[peer] = self.engine.put(config, self.now_us).session

    def hear(self, peer: str, state: State) -> Effect | None:
        session = self.by_peer[peer]
        packet = ControlPacket(state, 77, session.local_discr, 100_000, 100_000)
        meta = RxMeta(session.key.local, peer, 255, 2, self.now_us)
        return self.engine.receive(encode(packet), meta, self.now_us)

    def shake_hands(self, peer: str) -> State:
        """The peer does all that it can to come Up; the state that results."""
        for state in (State.DOWN, State.INIT, State.UP):
            self.hear(peer, state)
        return self.by_peer[peer].state

    def flap(self, peer: str, times: int = 1) -> None:
        for _ in range(times):
            assert self.shake_hands(peer) is State.UP
            self.hear(peer, State.DOWN)
            assert self.by_peer[peer].state is State.DOWN


A, B, C6 = "192.0.2.2", "192.0.2.3", "fd00::2"


def test_N4_E9_a_flapping_session_is_held_down_while_another_is_up() -> None:
    net = Net(A, B)
    net.shake_hands(B)
    net.flap(A, 2)
    assert net.shake_hands(A) is State.DOWN
    # It goes on to speak and to listen, so that the peer's state is known when the hold ends.
    session = net.by_peer[A]
    assert session.remote_state is State.UP
    assert session.last_change is not None
    assert session.last_change.reason == "the peer says Down; held down for 10 s"
    net.now_us += SECOND
    net.hear(B, State.UP)
    effects = [e for e in net.engine.expire(net.now_us, net.now_us) if e.session is session]
    assert {p.state for e in effects for p in packets(e.actions)} == {State.DOWN}
    net.now_us += 9 * SECOND - 1
    assert net.shake_hands(A) is State.DOWN
    net.now_us += 1
    assert net.shake_hands(A) is State.UP


def test_N4_without_a_policy_nobody_is_held() -> None:
    net = Net(A, B, dampening=None)
    net.shake_hands(B)
    net.flap(A, 20)


def test_N4_the_only_session_is_never_held() -> None:
    net = Net(A)
    net.flap(A, 20)


def test_N4_the_last_healthy_session_of_a_family_is_never_held() -> None:
    net = Net(A, B, C6)
    net.shake_hands(C6)
    net.flap(A, 2)
    # IPv6 goes another way, but IPv4 has none.
    assert net.shake_hands(A) is State.UP
    assert net.by_peer[A].last_change is not None


def test_N4_a_hold_ends_early_when_the_last_other_session_goes() -> None:
    net = Net(A, B)
    net.shake_hands(B)
    net.flap(A, 2)
    assert net.shake_hands(A) is State.DOWN
    net.hear(B, State.DOWN)
    net.hear(A, State.DOWN)
    session = net.by_peer[A]
    assert session.state is State.INIT
    assert session.last_change is not None
    assert "the hold ends early, as no other session is Up" in session.last_change.reason
    assert net.shake_hands(A) is State.UP


def test_N4_of_two_held_sessions_one_is_let_in() -> None:
    net = Net(A, B)
    net.shake_hands(B)
    net.flap(A, 2)
    net.hear(B, State.DOWN)
    net.flap(B)
    assert net.by_peer[B].damper.held_until_us > net.now_us
    assert (net.shake_hands(A), net.shake_hands(B)) == (State.UP, State.DOWN)


def test_N4_a_session_that_is_up_is_left_alone() -> None:
    net = Net(A, B)
    net.flap(A, 2)
    assert net.shake_hands(A) is State.UP
    net.shake_hands(B)
    net.hear(A, State.UP)
    assert net.by_peer[A].state is State.UP


@pytest.mark.parametrize("dampening", [None, replace(POLICY, flaps=9)])
def test_N4_another_policy_ends_the_hold(dampening: Dampening | None) -> None:
    net = Net(A, B)
    net.shake_hands(B)
    net.flap(A, 2)
    config: SessionConfig = net.by_peer[A].config
    net.engine.put(replace(config, detect_mult=5), net.now_us)
    assert net.shake_hands(A) is State.DOWN
    net.engine.put(replace(config, dampening=dampening), net.now_us)
    assert net.shake_hands(A) is State.UP


def test_N4_leaving_up_by_configuration_is_no_flap() -> None:
    net = Net(A, B)
    net.shake_hands(B)
    for _ in range(5):
        assert net.shake_hands(A) is State.UP
        config = net.by_peer[A].config
        net.engine.put(replace(config, enabled=False), net.now_us)
        net.engine.put(config, net.now_us)
    assert net.by_peer[A].damper.holds == 0
