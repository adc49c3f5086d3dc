"""Demultiplexing, the set of sessions, and what the engine counts."""

import gc
import random
from dataclasses import replace

import pytest

from bfd.actions import Ended
from bfd.auth import AuthConfig, AuthKey, AuthType, Transition
from bfd.config import SessionConfig, SessionKey
from bfd.discriminators import Discriminators
from bfd.engine import Effect, Engine
from bfd.fsm import State
from bfd.lateness import BOUNDS_US
from bfd.packet import ControlPacket, Discard, RxMeta, encode
from bfd.timing import NEVER_US
from tests.support.bfd import FAST, KEY, packets

START = 10**9
NAMES = {2: "eth0", 3: "eth1"}


def name_of(index: int) -> str:
    if index not in NAMES:
        raise OSError(6, "no such device")
    return NAMES[index]


def engine_with(*configs: SessionConfig) -> Engine:
    engine = Engine(Discriminators(bytes(32)), random.Random(1).random, name_of)
    for config in configs:
        engine.put(config, START)
    return engine


def first(engine: Engine) -> int:
    return engine.sessions()[0].local_discr


def meta(key: SessionKey = KEY, ttl: int = 255, ifindex: int = 2, at_us: int = START) -> RxMeta:
    return RxMeta(key.local, key.peer, ttl, ifindex, at_us, key.multihop)


def hello(state: State = State.DOWN, yours: int = 0) -> bytes:
    return encode(ControlPacket(state, 77, yours, 100_000, 100_000))


def up(engine: Engine) -> None:
    for session in engine.sessions():
        for state in (State.DOWN, State.INIT, State.UP):
            engine.receive(hello(state, session.local_discr), meta(session.key), START)
        assert session.state is State.UP


def expire(engine: Engine, now_us: int, heard_until_us: int | None = None) -> list[Effect]:
    return list(engine.expire(now_us, now_us if heard_until_us is None else heard_until_us))


def test_B7_your_discriminator_selects_the_session_whatever_the_addresses() -> None:
    engine = engine_with(FAST)
    other = SessionKey("192.0.2.1", "203.0.113.9")
    assert engine.receive(hello(yours=first(engine)), meta(other), START) is not None
    assert engine.sessions()[0].state is State.INIT


def test_B7_an_unknown_discriminator_never_falls_back_to_the_addresses() -> None:
    engine = engine_with(FAST)
    assert engine.receive(hello(yours=first(engine) ^ 1), meta(), START) is None
    assert engine.discards[Discard.UNKNOWN_DISCRIMINATOR] == 1
    assert engine.sessions()[0].remote_discr == 0


def test_B9_without_your_discriminator_the_address_pair_selects() -> None:
    engine = engine_with(FAST)
    effect = engine.receive(hello(), meta(), START)
    assert effect is not None
    assert effect.session.state is State.INIT


def test_B9_B18_a_down_without_a_discriminator_ends_up_only_if_it_can_be_of_the_peer() -> None:
    engine = engine_with(FAST)
    up(engine)
    (session,) = engine.sessions()
    stranger = SessionKey("192.0.2.1", "203.0.113.9")
    for spoofed in (meta(ttl=254), meta(stranger), meta(KEY._replace(multihop=True))):
        engine.receive(hello(), spoofed, START)
        assert session.state is State.UP
    # A peer that was restarted says just this, and is to be believed (RFC 5880 §6.8.6).
    engine.receive(hello(), meta(), START)
    assert session.state is State.DOWN


@pytest.mark.parametrize(
    "key", [SessionKey("192.0.2.1", "192.0.2.3"), SessionKey("192.0.2.3", "192.0.2.2")]
)
def test_B9_an_unknown_pair_is_discarded(key: SessionKey) -> None:
    engine = engine_with(FAST)
    assert engine.receive(hello(), meta(key), START) is None
    assert engine.discards[Discard.UNKNOWN_PEER] == 1


def test_H6_a_session_of_a_named_interface_hears_only_that_one() -> None:
    named = replace(FAST, key=KEY._replace(interface="eth1"))
    engine = engine_with(named)
    assert engine.receive(hello(), meta(ifindex=2), START) is None
    assert engine.receive(hello(), meta(ifindex=99), START) is None
    assert engine.discards[Discard.UNKNOWN_PEER] == 2
    assert engine.receive(hello(), meta(ifindex=3), START) is not None


def test_H6_the_named_interface_goes_before_any_interface() -> None:
    named = replace(FAST, key=KEY._replace(interface="eth1"))
    for configs in ((FAST, named), (named, FAST)):
        engine = engine_with(*configs)
        on_eth1 = engine.receive(hello(), meta(ifindex=3), START)
        on_eth0 = engine.receive(hello(), meta(ifindex=2), START)
        assert on_eth1 is not None
        assert on_eth0 is not None
        assert on_eth1.session.key.interface == "eth1"
        assert on_eth0.session.key.interface == ""


def test_H3_a_low_ttl_is_discarded_before_anything_is_learnt() -> None:
    engine = engine_with(FAST)
    assert engine.receive(hello(yours=first(engine)), meta(ttl=254), START) is None
    session = engine.sessions()[0]
    assert session.discards[Discard.TTL] == 1
    assert session.remote_discr == 0


def test_H3_the_minimum_ttl_is_the_sessions_own() -> None:
    engine = engine_with(replace(FAST, min_ttl=254))
    assert engine.receive(hello(), meta(ttl=253), START) is None
    assert engine.receive(hello(), meta(ttl=254), START) is not None


MULTIHOP = replace(FAST, key=KEY._replace(multihop=True), min_ttl=250)


def test_I2_single_hop_and_multihop_to_one_peer_are_two_sessions() -> None:
    engine = engine_with(FAST, MULTIHOP)
    for config in (FAST, MULTIHOP):
        effect = engine.receive(hello(), meta(config.key), START)
        assert effect is not None
        assert effect.session.key == config.key
    up(engine)
    engine.remove(KEY, START, "test")
    assert [s.key for s in engine.sessions()] == [MULTIHOP.key]


@pytest.mark.parametrize(("ours", "other"), [(FAST, MULTIHOP), (MULTIHOP, FAST)])
def test_I1_a_packet_on_the_other_kinds_port_is_nobodys(
    ours: SessionConfig, other: SessionConfig
) -> None:
    engine = engine_with(ours)
    assert engine.receive(hello(), meta(other.key), START) is None
    assert engine.discards[Discard.UNKNOWN_PEER] == 1
    assert engine.receive(hello(yours=first(engine)), meta(other.key), START) is None
    assert engine.discards[Discard.UNKNOWN_DISCRIMINATOR] == 1
    assert engine.sessions()[0].remote_discr == 0


def test_I4_a_multihop_session_has_its_own_minimum_ttl() -> None:
    engine = engine_with(MULTIHOP)
    assert engine.receive(hello(), meta(MULTIHOP.key, ttl=249), START) is None
    assert engine.sessions()[0].discards[Discard.TTL] == 1
    assert engine.receive(hello(), meta(MULTIHOP.key, ttl=250), START) is not None


def test_I2_a_change_of_kind_is_a_new_session() -> None:
    engine = engine_with(FAST)
    assert engine.changes([MULTIHOP]) == ((FAST.key,), (MULTIHOP,))


def test_B1_bad_packets_are_counted_by_reason() -> None:
    engine = engine_with()
    for data, why in [
        (b"", Discard.TRUNCATED),
        (b"\x40" + hello()[1:], Discard.VERSION),
        (hello(State.UP), Discard.NO_YOUR_DISCRIMINATOR),
    ]:
        assert engine.receive(data, meta(), START) is None
        assert engine.discards[why] == 1


def test_changes_leave_alone_what_is_in_force() -> None:
    other = replace(FAST, key=SessionKey("192.0.2.1", "192.0.2.3"))
    third = replace(FAST, key=SessionKey("192.0.2.1", "192.0.2.4"))
    engine = engine_with(FAST, other)
    assert engine.changes([FAST, other]) == ((), ())
    changed = replace(other, detect_mult=9)
    assert engine.changes([changed, third]) == ((FAST.key,), (changed, third))


def test_E5_a_removed_session_lingers_for_the_peers_detection_time_and_is_forgotten() -> None:
    engine = engine_with(FAST)
    up(engine)
    discr = first(engine)
    effect = engine.remove(KEY, START, "test")
    assert effect is not None
    assert packets(effect.actions)[0].state is State.ADMIN_DOWN
    assert engine.sessions() == ()
    assert not engine.is_empty
    assert engine.changes([FAST]).put == (FAST,), "a lingering session is not in force"
    assert engine.receive(hello(State.UP, discr), meta(), START) is None
    assert engine.discards[Discard.UNKNOWN_DISCRIMINATOR] == 0
    ends = effect.session.retire_us
    assert ends == START + 300_000
    assert not any(Ended() in e.actions for e in expire(engine, ends - 1))
    assert [e.actions for e in expire(engine, ends)] == [(Ended(),)]
    assert engine.is_empty
    engine.receive(hello(State.UP, discr), meta(), ends)
    assert engine.discards[Discard.UNKNOWN_DISCRIMINATOR] == 1
    assert engine.next_due_us() == NEVER_US


def test_E5_a_session_that_is_put_back_while_it_lingers_goes_on() -> None:
    engine = engine_with(FAST)
    up(engine)
    engine.remove(KEY, START, "test")
    session = engine.put(FAST, START + 1000).session
    assert engine.sessions() == (session,)
    assert session.state is State.DOWN
    expire(engine, START + 10_000_000)
    assert engine.sessions() == (session,)


def test_N1_a_forgotten_session_returns_with_its_discriminator() -> None:
    engine = engine_with(FAST)
    discr = first(engine)
    engine.remove(KEY, START, "test")
    expire(engine, START)
    assert engine.is_empty
    engine.put(FAST, START)
    assert first(engine) == discr


def test_N3_drain_takes_every_session_to_admin_down() -> None:
    other = replace(FAST, key=SessionKey("192.0.2.1", "192.0.2.3"))
    engine = engine_with(FAST, other)
    up(engine)
    effects = engine.drain(START)
    assert {packets(e.actions)[0].diagnostic for e in effects} == {7}
    assert len(engine.sessions()) == 2, "still shown"
    expire(engine, START + 300_000)
    assert engine.is_empty


def test_B21_unread_packets_are_asked_for_before_silence_is_judged() -> None:
    engine = engine_with(FAST)
    up(engine)
    late = START + 400_000
    expire(engine, late, START + 299_999)
    assert engine.must_read
    assert engine.sessions()[0].state is State.UP
    assert engine.next_due_us() <= late, "still due"
    engine.receive(hello(State.UP, first(engine)), meta(at_us=START + 200_000), late)
    expire(engine, late, late)
    assert not engine.must_read
    assert engine.sessions()[0].state is State.UP
    expire(engine, START + 500_000)
    assert engine.sessions()[0].state is State.DOWN


def test_lateness_and_stalls_are_counted() -> None:
    engine = engine_with(FAST)
    expire(engine, START)
    assert (engine.transmit_lateness.counts[0], engine.stalls.count) == (1, 0)
    # The second packet is due within a second; this is half a second after that at least.
    expire(engine, START + 1_600_000)
    assert engine.stalls.count == 1
    assert sum(engine.transmit_lateness.counts) == 2
    up(engine)
    expire(engine, START + 3_000_000)
    assert sum(engine.detection_lateness.counts) == 1
    assert len(engine.detection_lateness.counts) == len(BOUNDS_US) + 1


def test_ten_thousand_steady_rounds_leave_no_garbage() -> None:
    engine = engine_with(FAST)
    up(engine)
    data = hello(State.UP, first(engine))
    gc.collect()
    gc.disable()
    try:
        now = START
        for _ in range(10_000):
            now += 90_000
            engine.receive(data, meta(at_us=now), now)
            expire(engine, now)
        assert gc.collect() == 0, "the engine runs without the cycle collector"
    finally:
        gc.enable()
    assert engine.sessions()[0].state is State.UP


def repeated(engine: Engine, data: bytes, now_us: int, ttl: int = 255, **kind: bool) -> bool:
    return engine.repeats(data, ttl, now_us, kind.get("multihop", False))


def test_a_repeated_datagram_ends_the_silence_and_nothing_else_is_taken_for_one() -> None:
    engine = engine_with(FAST)
    (session,) = engine.sessions()
    up(engine)
    data = hello(State.UP, first(engine))
    later = START + 100_000
    assert not repeated(engine, data, later, ttl=254), "the minimum TTL holds"
    assert not repeated(engine, data, later, multihop=True), "the other kind's port is nobody's"
    assert not repeated(engine, data + b"\0", later)
    assert session.heard_us == START
    assert repeated(engine, data, later)
    assert (session.heard_us, engine.marks.values[session.mark]) == (later, later)
    assert session.detection_is_due(later + session.detection_time_us)
    assert not session.detection_is_due(later + session.detection_time_us - 1)
    # What the peer says has changed: the old datagram is no repetition any more.
    engine.receive(hello(State.DOWN, first(engine)), meta(), later)
    assert not repeated(engine, data, later)
    assert session.state is State.DOWN


def test_B10_a_repeated_datagram_is_judged_where_authentication_has_come() -> None:
    engine = engine_with(FAST)
    (session,) = engine.sessions()
    up(engine)
    data = hello(State.UP, first(engine))
    assert repeated(engine, data, START)
    key = AuthKey(1, AuthType.SIMPLE_PASSWORD, "/key", b"sesame")
    enabling = AuthConfig((key,), 1, Transition.ENABLING)
    engine.put(replace(FAST, auth=enabling), START)
    for _ in range(2):
        engine.receive(data, meta(), START)
    engine.put(replace(FAST, auth=replace(enabling, transition=None)), START)
    signed = encode(ControlPacket(State.UP, 77, first(engine), auth=b"\1\x09\1sesame"))
    for _ in range(2):
        engine.receive(signed, meta(), START)
    assert session.steady is not None
    assert not repeated(engine, data, START), "not without the password"
    assert not repeated(engine, signed, START), "sequence numbers have to be followed"
