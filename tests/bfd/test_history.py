"""What is kept of each transition: the evidence, the rings, the numbers."""

import gc
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bfd.actions import StateChanged
from bfd.config import SessionKey
from bfd.discriminators import Discriminators
from bfd.engine import Engine
from bfd.evidence import ProcessFacts, SessionFacts
from bfd.fsm import Diagnostic, State
from bfd.history import History, Transition
from bfd.lateness import Stalls, Worst
from bfd.packet import ControlPacket, Discard, RxMeta, encode
from bfd.recorder import Recorder
from bfd.vitals import Vitals
from tests.support.bfd import FAST, KEY, Bench

NOW = 10**9


def facts_of(actions: tuple[object, ...]) -> SessionFacts:
    """The facts with the last change among actions."""
    return [a for a in actions if isinstance(a, StateChanged)][-1].facts


def test_an_expiry_knows_the_silence_and_what_was_missed() -> None:
    bench = Bench().bring_up()
    heard_us = bench.now_us
    actions = bench.wait(300_000)
    facts = facts_of(actions)
    assert (bench.session.state, bench.session.heard_us) == (State.DOWN, heard_us)
    assert (facts.silent_us, facts.detection_time_us) == (300_000, 300_000)
    assert (facts.peer_interval_us, facts.missed) == (100_000, 3)
    assert facts.peer_detection_time_us == 300_000
    assert facts.remote_state is State.UP


def test_what_the_peer_said_is_kept_with_its_diagnostic() -> None:
    bench = Bench().bring_up()
    facts = facts_of(bench.hear(State.ADMIN_DOWN, diagnostic=7))
    assert (facts.remote_state, facts.remote_diag) == (State.ADMIN_DOWN, 7)
    assert facts.silent_us == 0


def test_refused_packets_count_from_the_last_accepted_one() -> None:
    bench = Bench().bring_up()
    bench.session.refuse(Discard.TTL)
    bench.wait(10_000)
    bench.hear(State.UP)
    bench.session.losses.ttl = 253
    for _ in range(3):
        bench.session.refuse(Discard.TTL)
    facts = facts_of(bench.wait(300_000))
    assert (facts.refused, facts.refused_ttl, facts.min_ttl) == ({"ttl": 3}, 253, 255)
    assert bench.session.discards[Discard.TTL] == 4


def test_packets_that_could_not_be_sent_count_within_the_peers_detection_time() -> None:
    bench = Bench().bring_up()
    bench.session.not_sent("ENETDOWN", bench.now_us)
    for _ in range(4):
        bench.wait(90_000)
        bench.hear(State.UP)
        bench.session.not_sent("ENETUNREACH", bench.now_us)
    assert facts_of(bench.hear(State.DOWN, diagnostic=1)).unsent == {"ENETUNREACH": 4}
    assert bench.session.send_errors == {"ENETDOWN": 1, "ENETUNREACH": 4}


def engine_up() -> tuple[Engine, RxMeta]:
    engine = Engine(Discriminators(bytes(32)), random.Random(1).random, lambda _index: "eth0")
    engine.put(FAST, NOW)
    meta = RxMeta(KEY.local, KEY.peer, 255, 2, NOW)
    for state in (State.DOWN, State.INIT, State.UP):
        discr = engine.sessions()[0].local_discr
        engine.receive(encode(ControlPacket(state, 77, discr, 100_000, 100_000)), meta, NOW)
    return engine, meta


def test_a_wrong_discriminator_from_the_peers_address_is_evidence_for_its_session() -> None:
    engine, meta = engine_up()
    (session,) = engine.sessions()
    stale = encode(ControlPacket(State.UP, 77, 1234))
    engine.receive(stale, meta, NOW)
    engine.receive(stale, meta._replace(peer="192.0.2.99"), NOW)
    engine.receive(b"junk", meta, NOW)
    assert session.losses.refused(session.heard_us) == {"unknown_discriminator": 1, "truncated": 1}
    assert engine.discards[Discard.UNKNOWN_DISCRIMINATOR] == 2
    assert sum(session.discards) == 0, "it was not the session that refused"


def test_worst_is_the_worst_since_a_moment() -> None:
    worst = Worst()
    assert worst.since(0) == 0
    for at_us, late_us in ((10, 9_000), (20, 30_000), (30, 5_000), (40, 500), (50, 7_000)):
        worst.note(at_us, late_us)
    assert [worst.since(at_us) for at_us in (0, 20, 21, 31, 51)] == [
        30_000,
        30_000,
        7_000,
        7_000,
        0,
    ]


def test_worst_agrees_with_a_plain_maximum_over_what_it_was_told() -> None:
    rng = random.Random(5)
    worst = Worst()
    told = []
    for at_us in range(500):
        late_us = rng.randrange(1_001, 100_000)
        told.append((at_us, late_us))
        worst.note(at_us, late_us)
    for from_us in range(400, 500):
        assert worst.since(from_us) == max(late for at, late in told if at >= from_us)


def test_one_late_wake_up_is_one_stall_as_long_as_its_worst() -> None:
    stalls = Stalls()
    for now_us, late_us in ((100, 40), (100, 70), (100, 50), (300, 60)):
        stalls.note(now_us, late_us)
    assert (stalls.count, stalls.longest_us, stalls.total_us) == (2, 70, 130)


def steps(*values: Vitals) -> Iterator[Vitals]:
    yield from values
    while True:
        yield values[-1]


def test_a_transition_has_the_difference_since_before_its_window() -> None:
    engine, _ = engine_up()
    (session,) = engine.sessions()
    readings = steps(
        Vitals(1, 1_000, 10), Vitals(2, 9_000, 20), Vitals(5, 90_000, 40), Vitals(9, 200_000, None)
    )
    overflows = [0]
    recorder = Recorder(
        engine, lambda: 1_700_000_000.0, lambda: next(readings), lambda: overflows[0]
    )
    recorder.awake(NOW - 350_000)
    recorder.awake(NOW - 349_000)
    recorder.awake(NOW - 40_000)
    overflows[0] = 3
    recorder.awake(NOW + 215_000)
    engine.worst.note(NOW + 120_000, 50_000)
    engine.stalls.note(NOW + 120_000, 60_000)
    session.expire(NOW + 300_000, NOW + 300_000)
    assert session.last_change is not None
    made = recorder.changed(session, session.last_change, NOW + 310_000)
    assert made.process == ProcessFacts(
        window_us=350_000,
        late_us=50_000,
        stalls=1,
        throttled_periods=7,
        throttled_us=191_000,
        waited_us=None,
        overflows=3,
    )
    assert (made.seq, made.key, made.at) == (1, KEY, 1_699_999_999.99)
    assert (made.old, made.new, made.diag) == (State.UP, State.DOWN, 1)
    assert made.heard_at == pytest.approx(made.at - 0.3)


def a_transition(seq: int = 1, key: SessionKey = KEY, **session: Any) -> Transition:
    facts = SessionFacts(
        silent_us=300_000,
        detection_time_us=300_000,
        peer_interval_us=100_000,
        peer_detection_time_us=300_000,
        remote_state=State.UP,
        remote_diag=Diagnostic.NO_DIAGNOSTIC,
        refused={},
        refused_ttl=None,
        min_ttl=255,
        unsent={},
    )._replace(**session)
    process = ProcessFacts(300_000, 0, 0, None, None, None, 0)
    return Transition(
        seq, key, 1_700_000_000.5, State.UP, State.DOWN, Diagnostic(1), "silence", facts, process
    )


def test_a_transition_survives_json_in_less_than_4_kb() -> None:
    every = {why.label: 1 << 60 for why in Discard}
    errors = {f"EADDRNOTAVAIL{n}": 1 << 60 for n in range(10)}
    longest = a_transition(
        1 << 60,
        SessionKey("fe80:1111:2222:3333:4444:5555:6666:7777", "fd00::1", "a" * 15),
        refused=every,
        unsent=errors,
    )
    for transition in (a_transition(), a_transition(silent_us=None), longest):
        text = json.dumps(transition.to_json())
        assert Transition.from_json(json.loads(text)) == transition
        assert len(text) < 4096


def test_a_flapping_neighbour_does_not_push_out_a_sessions_last_down() -> None:
    history = History()
    quiet = SessionKey("192.0.2.1", "192.0.2.9")
    history.add(a_transition(1, quiet))
    for seq in range(2, 5_000):
        history.add(a_transition(seq))
    assert [t.seq for t in history.of("192.0.2.9")] == [1]
    assert [t.seq for t in history.of(KEY.peer)] == list(range(5_000 - 64, 5_000))
    assert [t.seq for t in history.of()] == [1, *range(5_000 - 64, 5_000)]


def test_vain_attempts_do_not_push_out_how_the_session_was_last_up() -> None:
    history = History()
    history.add(a_transition(1))
    history.add(a_transition(2))
    for seq in range(3, 500):
        history.add(replace(a_transition(seq), old=State.INIT))
    assert [t.seq for t in history.of()] == [2, *range(500 - 63, 500)]


def test_many_sessions_share_a_bounded_history() -> None:
    history = History()
    seq = 0
    for _ in range(20):
        for n in range(1_000):
            seq += 1
            history.add(a_transition(seq, SessionKey("192.0.2.1", f"10.0.{n >> 8}.{n & 255}")))
    assert len(history.of()) <= 8 * 1_000 + 64


def test_followers_are_told_what_they_have_missed() -> None:
    history = History()
    assert history.after(0) == (0, ())
    for seq in range(1, 2_001):
        history.add(a_transition(seq))
    lost, kept = history.after(1_998)
    assert (lost, [t.seq for t in kept]) == (0, [1_999, 2_000])
    lost, kept = history.after(0)
    assert (lost, len(kept), kept[0].seq) == (976, 1_024, 977)


def test_recording_leaves_no_garbage_for_the_collector() -> None:
    engine, _ = engine_up()
    (session,) = engine.sessions()
    recorder = Recorder(engine, lambda: 0.0)
    session.configure(replace(FAST, enabled=False), NOW)
    assert session.last_change is not None
    gc.collect()
    gc.disable()
    try:
        for n in range(1_000):
            recorder.changed(session, session.last_change, NOW + n)
        assert gc.collect() == 0
    finally:
        gc.enable()
