"""Random histories: the session against the RFC read aloud, and the short way against the long."""

import random
from dataclasses import replace

import pytest

from bfd.actions import StateChanged
from bfd.config import SessionConfig
from bfd.dampening import Dampening
from bfd.fsm import Diagnostic, State
from bfd.packet import ControlPacket, Discard
from bfd.session import Session
from bfd.timing import slowed_us
from bfd.variables import Variables
from tests.support.bfd import FAST, WithoutShortcut, packets
from tests.support.bfd_reference import ReferenceSession


def random_packet(rng: random.Random, last: ControlPacket) -> ControlPacket:
    """Mostly the same packet again, sometimes another."""
    if rng.random() < 0.5:
        return last._replace(poll=False, final=False, auth=b"")
    return ControlPacket(
        state=rng.choice([State.UP] * 4 + [State.DOWN, State.INIT, State.INIT, State.ADMIN_DOWN]),
        my_discr=rng.choice([7, 7, 7, 8]),
        your_discr=42,
        desired_min_tx_us=rng.choice([10_000, 100_000, 1_000_000]),
        required_min_rx_us=rng.choice([0, 10_000, 100_000, 300_000]),
        detect_mult=rng.choice([1, 3, 3, 50]),
        diagnostic=rng.randrange(32),
        poll=rng.random() < 0.1,
        final=rng.random() < 0.2,
        demand=rng.random() < 0.1,
        auth=b"\x01\x04\x01x" if rng.random() < 0.05 else b"",
    )


@pytest.mark.parametrize("seed", range(40))
def test_B12_random_histories_agree_with_the_prose(seed: int) -> None:
    rng = random.Random(seed)
    now = 10**9
    session = Session(FAST, 42, rng.random, now)
    reference = ReferenceSession(FAST.desired_min_tx_us, FAST.required_min_rx_us)
    packet = ControlPacket(State.DOWN, 7, 42)
    for _ in range(400):
        answer = False
        match rng.random():
            case x if x < 0.7:
                packet = random_packet(rng, packet)
                actions = session.receive(packet, now, now)
                answer = reference.receive(packet, now)
                assert [p.final for p in packets(actions)].count(True) == answer
            case x if x < 0.9:
                now += rng.choice([1, 50_000, 100_000, 300_000, 2_000_000])
                while session.due_us <= now:
                    assert [p for p in packets(session.expire(now, now)) if p.final] == []
                reference.look_at_the_clock(now)
            case x if x < 0.95:
                diag = rng.choice([Diagnostic.PATH_DOWN, Diagnostic.ADMINISTRATIVELY_DOWN])
                session.configure(replace(FAST, enabled=False, disabled_diag=diag), now)
                reference.disable(diag)
            case _:
                session.configure(FAST, now)
                reference.enable()
        assert session.state is reference.SessionState
        assert session.local_diag == reference.LocalDiag
        assert session.remote_state is reference.RemoteSessionState
        assert session.remote_discr == reference.RemoteDiscr
        assert session.remote_min_rx_us == reference.RemoteMinRxInterval
        assert session.remote_demand == reference.RemoteDemandMode
        assert session.detection_time_us == reference.detection_time_us()
        assert session.tx_interval_us >= reference.RemoteMinRxInterval
        if session.state is not State.UP:
            assert session.tx_interval_us >= 1_000_000


def outcome(session: Session) -> list[object]:
    """All that a session knows, but for its counters of the two ways."""
    opaque = {"steady", "_draw", "_pace", "negotiation", "losses", "damper", "back_off"}
    slots = [s for s in Variables.__slots__ if s not in opaque]
    negotiation = [getattr(session.negotiation, s) for s in session.negotiation.__slots__]
    refused = session.losses.refused(session.heard_us)
    damper = (session.damper.held_until_us, session.damper.holds, session.back_off.factor)
    return [getattr(session, s) for s in slots] + [*negotiation, refused, damper]


def random_config(rng: random.Random) -> SessionConfig:
    return replace(
        FAST,
        desired_min_tx_us=rng.choice([10_000, 100_000, 900_000, 3_000_000]),
        required_min_rx_us=rng.choice([0, 10_000, 100_000, 900_000]),
        detect_mult=rng.choice([1, 3, 9]),
        passive=rng.random() < 0.2,
        back_off=rng.choice([1, 4]),
        dampening=rng.choice([None, Dampening(2, 60_000_000, 1_000_000, 9_000_000)]),
        enabled=rng.random() < 0.8,
    )


@pytest.mark.parametrize("seed", range(40))
def test_the_short_way_does_what_the_long_way_does(seed: int) -> None:
    rng = random.Random(1000 + seed)
    now = 10**9
    short = Session(FAST, 42, random.Random(seed).random, now)
    long = WithoutShortcut(FAST, 42, random.Random(seed).random, now)
    packet = ControlPacket(State.DOWN, 7, 42)
    for _ in range(400):
        match rng.random():
            case x if x < 0.7:
                packet = random_packet(rng, packet)
                at = now - rng.choice([0, 0, 20_000])
                assert short.receive(packet, at, now) == long.receive(packet, at, now)
            case x if x < 0.95:
                now += rng.choice([1, 10_000, 75_000, 100_000])
                until = now - rng.choice([0, 0, 50_000])
                assert short.expire(now, until) == long.expire(now, until)
            case _:
                config = random_config(rng)
                assert short.configure(config, now) == long.configure(config, now)
        # The due time of the short way may be too early, never too late.
        assert short.due_us <= long.due_us
        short._set_due()
        long._set_due()
        assert outcome(short) == outcome(long)


@pytest.mark.parametrize("seed", range(20))
def test_D8_no_history_makes_an_illegal_packet(seed: int) -> None:
    rng = random.Random(2000 + seed)
    now = 10**9
    session = Session(FAST, 42, rng.random, now)
    packet = ControlPacket(State.DOWN, 7, 42)
    for _ in range(500):
        match rng.random():
            case x if x < 0.6:
                packet = random_packet(rng, packet)
                actions = session.receive(packet, now, now)
            case x if x < 0.95:
                now += rng.choice([1, 10_000, 75_000, 1_000_000])
                actions = session.expire(now, now)
            case _:
                actions = session.configure(random_config(rng), now)
        for sent in packets(actions):
            assert not (sent.poll and sent.final)
            assert sent.state is session.state
            assert sent.your_discr == session.remote_discr
            assert sent.state not in {State.INIT, State.UP} or sent.your_discr
            assert sent.state is State.UP or sent.desired_min_tx_us >= 1_000_000
            configured_us = session.config.required_min_rx_us
            assert sent.required_min_rx_us in {
                configured_us,
                slowed_us(configured_us, session.back_off.factor),
            }
            assert not sent.demand
        for change in actions:
            if isinstance(change, StateChanged):
                assert change.old is not change.new
    assert session.discards[Discard.TTL] == 0
