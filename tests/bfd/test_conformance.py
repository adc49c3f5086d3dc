"""Rules of RFC 5880 and 5881 that are about what does not happen, shown over whole histories."""

import random
from dataclasses import replace

import pytest

from bfd.discriminators import Discriminators
from bfd.engine import Engine
from bfd.fsm import State
from bfd.packet import ControlPacket, RxMeta, encode
from bfd.timing import NEVER_US
from tests.support.bfd import FAST, KEY, PEER_DISCR, Bench, packets


def engine() -> Engine:
    return Engine(Discriminators(b"k" * 32), random.Random(1).random, lambda _index: "eth0")


def arrival(engine_now_us: int, **fields: object) -> RxMeta:
    return RxMeta(KEY.local, KEY.peer, 255, 2, engine_now_us)._replace(**fields)  # type: ignore[arg-type]


def test_B20_packets_that_are_discarded_do_not_keep_a_session_alive() -> None:
    node, now_us = engine(), 10**9
    session = node.put(FAST, now_us).session
    ours = session.local_discr
    for state in (State.DOWN, State.INIT, State.UP):
        packet = ControlPacket(state, PEER_DISCR, ours, 100_000, 100_000)
        node.receive(encode(packet), arrival(now_us), now_us)
    assert session.state is State.UP
    dead_us = now_us + session.detection_time_us
    good = ControlPacket(State.UP, PEER_DISCR, ours, 100_000, 100_000)
    wire = encode(good)
    for now_us in range(10**9, dead_us, 20_000):
        for data, meta in (
            (encode(good._replace(auth=b"\x01\x04\x01x")), arrival(now_us)),
            (encode(good._replace(my_discr=0)), arrival(now_us)),
            (encode(good._replace(your_discr=ours ^ 1)), arrival(now_us)),
            (encode(good._replace(detect_mult=0)), arrival(now_us)),
            (wire, arrival(now_us, ttl=254)),
            (bytes([wire[0], wire[1] | 1]) + wire[2:], arrival(now_us)),
            (wire[:-1], arrival(now_us)),
        ):
            node.receive(data, meta, now_us)
        for _ in node.expire(now_us, now_us):
            pass
        assert session.state is State.UP
    for _ in node.expire(dead_us, dead_us):
        pass
    assert session.state is State.DOWN


@pytest.mark.parametrize("required_us", [10_000, 300_000, 5_000_000])
def test_D19_the_required_min_rx_that_is_configured_is_announced_in_every_state(
    required_us: int,
) -> None:
    bench = Bench(replace(FAST, required_min_rx_us=required_us))
    said = packets(bench.wait(0))
    for state in (State.DOWN, State.INIT, State.UP, State.ADMIN_DOWN):
        said += packets(bench.hear(state)) + packets(bench.wait(1_000_000))
    assert {p.state for p in said} == {State.DOWN, State.INIT, State.UP}
    assert {p.required_min_rx_us for p in said} == {required_us}


def test_E9_a_session_that_is_held_down_keeps_what_it_knows_of_its_peer() -> None:
    bench = Bench(replace(FAST, required_min_rx_us=0)).bring_up()
    bench.session.configure(replace(FAST, enabled=False), bench.now_us)
    for _ in range(50):
        bench.wait(200_000)
        bench.hear(State.DOWN)
        assert bench.session.state is State.ADMIN_DOWN
        assert bench.session.remote_discr == PEER_DISCR
    bench.session.configure(FAST, bench.now_us)
    bench.hear(State.DOWN)
    bench.hear(State.INIT)
    assert bench.session.state is State.UP


def test_F1_demand_is_never_asked_for_whatever_the_peer_does() -> None:
    bench = Bench(demand=True)
    said = packets(bench.wait(0))
    for state in (State.DOWN, State.INIT, State.UP, State.UP, State.DOWN, State.INIT):
        said += packets(bench.hear(state, poll=True)) + packets(bench.wait(300_000))
    assert len(said) > 6
    assert not any(p.demand for p in said)


def test_H6_an_unasked_packet_belongs_to_the_session_of_its_peer_interface_and_family() -> None:
    names = {1: "eth0", 2: "eth1"}
    node = Engine(Discriminators(b"k" * 32), random.Random(1).random, names.__getitem__)
    now_us = 10**9
    any_interface = node.put(FAST, now_us).session
    on_eth1 = node.put(replace(FAST, key=KEY._replace(interface="eth1")), now_us).session
    wire = encode(ControlPacket(State.DOWN, PEER_DISCR))
    node.receive(wire, arrival(now_us, ifindex=2), now_us)
    assert (on_eth1.state, any_interface.state) == (State.INIT, State.DOWN)
    node.receive(wire, arrival(now_us, ifindex=1), now_us)
    assert any_interface.state is State.INIT
    assert node.next_due_us() < NEVER_US
