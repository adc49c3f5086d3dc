"""The driver on a loop and a clock that the test turns by hand."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest

from bfd.config import SessionConfig, SessionKey
from bfd.discriminators import Discriminators
from bfd.driver import Draining, Driver
from bfd.engine import Engine
from bfd.fsm import State
from bfd.packet import ControlPacket, RxMeta, decode, encode
from bfd.session import Session
from bfd.timing import NEVER_US
from bfd.transport import TransportError
from tests.support.bfd import FAST, KEY
from tests.support.bfd_fakes import START, FakeClock, FakeReceiver, FakeTransport, FakeWaiter


class Rig:
    """A driver with everything around it faked, and a peer that the test speaks for."""

    def __init__(self, batch: int = 256) -> None:
        self.clock = FakeClock()
        self.waiter = FakeWaiter(self.clock)
        self.transport = FakeTransport(self.clock, batch)
        self.engine = Engine(
            Discriminators(bytes(32)), random.Random(1).random, lambda _index: "eth0"
        )
        self.ended = 0
        self.driver: Driver[FakeReceiver] = Driver(
            self.engine, self.transport, self.waiter, self.clock, self._end
        )
        self.driver.start()

    def _end(self) -> None:
        self.ended += 1

    @property
    def session(self) -> Session:
        return self.engine.sessions()[0]

    def queue(self, state: State, at_us: int | None = None, receiver: int = 0) -> None:
        """A packet of the peer arrives and waits in a socket."""
        packet = ControlPacket(state, 77, self.session.local_discr, 100_000, 100_000)
        at_us = self.clock.now_us if at_us is None else at_us
        meta = RxMeta(KEY.local, KEY.peer, 255, 2, at_us)
        self.transport.receivers[receiver].waiting.append((encode(packet), meta))

    def read(self) -> None:
        """The loop notices what waits."""
        for receiver in self.transport.receivers:
            if receiver.waiting and receiver.fd in self.waiter.readers:
                self.waiter.readers[receiver.fd]()

    async def up(self, config: SessionConfig = FAST) -> "Rig":
        await self.driver.commit([config], 1)
        for state in (State.DOWN, State.INIT, State.UP):
            self.queue(state)
        self.read()
        assert self.session.state is State.UP
        return self

    def sent(self) -> list[ControlPacket]:
        packets = [decode(wire) for _, _, wire in self.transport.sent]
        return [p for p in packets if isinstance(p, ControlPacket)]


async def test_the_first_packet_leaves_when_the_timer_fires() -> None:
    rig = Rig()
    await rig.driver.commit([FAST], 5)
    assert rig.engine.generation == 5
    rig.waiter.run_until(START)
    assert [p.state for p in rig.sent()] == [State.DOWN]
    assert rig.session.tx_packets == 1


async def test_a_deadline_is_ahead_whatever_happens() -> None:
    rig = await Rig().up()
    for _ in range(200):
        rig.queue(State.UP)
        rig.read()
        rig.waiter.run_until(rig.clock.now_us + 20_000)
        assert rig.clock.now_us < rig.waiter.due_us <= rig.clock.now_us + 100_000
    assert rig.session.state is State.UP


async def test_steady_packets_do_not_move_the_deadline() -> None:
    rig = await Rig().up()
    before = rig.waiter.due_us
    for _ in range(50):
        rig.queue(State.UP)
        rig.read()
    assert rig.waiter.due_us == before


async def test_D13_packets_leave_within_75_and_100_percent() -> None:
    rig = await Rig().up()
    rig.transport.sent.clear()
    for _ in range(600):
        rig.clock.now_us += 10_000
        rig.queue(State.UP)
        rig.read()
        rig.waiter.run_until(rig.clock.now_us)
    times = [at for at, _, _ in rig.transport.sent]
    # Steps of 10 ms are coarser than the tick; the law has to hold all the same.
    gaps = [b - a for a, b in pairwise(times)]
    assert min(gaps) >= 75_000
    assert max(gaps) <= 110_000


async def test_D17_a_state_change_leaves_at_once_from_the_reader() -> None:
    rig = await Rig().up()
    rig.transport.sent.clear()
    rig.queue(State.DOWN)
    rig.read()
    assert [(p.state, p.diagnostic) for p in rig.sent()] == [(State.DOWN, 3)]


async def test_B21_sockets_are_read_before_silence_is_judged() -> None:
    rig = await Rig().up()
    # The process is stopped for a second; the peer goes on. The timer is called first.
    for ms in range(90, 1000, 90):
        rig.queue(State.UP, at_us=START + ms * 1000)
    rig.clock.now_us = START + 1_000_000
    while rig.waiter.fire():
        pass
    assert rig.session.state is State.UP
    assert rig.session.heard_us == START + 990_000
    assert rig.engine.stalls.count == 1


async def test_B21_silence_longer_than_the_buffered_packets_is_seen() -> None:
    rig = await Rig().up()
    rig.queue(State.UP, at_us=START + 90_000)
    rig.clock.now_us = START + 1_000_000
    while rig.waiter.fire():
        pass
    assert rig.session.state is State.DOWN


async def test_B21_a_socket_that_was_not_emptied_is_read_again_before_judging() -> None:
    rig = await Rig(batch=4).up()
    # A flood of old packets lies before the proof of life.
    stranger = RxMeta("192.0.2.1", "198.51.100.9", 255, 2, START + 1)
    for _ in range(20):
        rig.transport.receivers[0].waiting.append((b"junk", stranger))
    rig.queue(State.UP, at_us=START + 250_000)
    rig.clock.now_us = START + 350_000
    for _ in range(3):
        rig.waiter.fire()
        assert rig.session.state is State.UP
        assert rig.waiter.due_us <= rig.clock.now_us, "it will look again at once"
    for _ in range(10):
        rig.waiter.fire()
    assert rig.session.heard_us == START + 250_000
    rig.waiter.run_until(START + 549_000)
    assert rig.session.state is State.UP
    rig.waiter.run_until(START + 551_000)
    assert rig.session.state is State.DOWN


async def test_B21_every_family_is_read_before_judging() -> None:
    rig = await Rig().up()
    rig.queue(State.UP, at_us=START + 250_000, receiver=1)
    rig.clock.now_us = START + 350_000
    while rig.waiter.fire():
        pass
    assert rig.session.state is State.UP


async def test_a_flood_is_given_a_pause_and_packets_go_on_leaving() -> None:
    rig = await Rig(batch=4).up()
    stranger = RxMeta("192.0.2.1", "198.51.100.9", 255, 2, START)
    flooded = rig.transport.receivers[0]
    for _ in range(16):
        flooded.waiting.extend([(b"junk", stranger)] * 5)
        rig.clock.now_us += 100
        rig.read()
    assert flooded.fd not in rig.waiter.readers
    rig.waiter.run_until(rig.clock.now_us + 1_000)
    assert flooded.fd in rig.waiter.readers
    flooded.waiting.clear()
    rig.transport.sent.clear()
    rig.waiter.run_until(START + 101_000)
    assert rig.sent() != []


async def test_a_packet_that_cannot_be_sent_is_counted_and_survived() -> None:
    rig = Rig()
    rig.transport.error = "EADDRNOTAVAIL"
    await rig.driver.commit([FAST], 1)
    rig.waiter.run_until(START + 5_000_000)
    assert rig.session.tx_packets == 0
    assert 5 <= rig.session.send_errors["EADDRNOTAVAIL"] <= 7
    rig.transport.error = None
    rig.waiter.run_until(START + 6_000_000)
    assert rig.session.tx_packets >= 1


async def test_what_is_in_force_is_not_touched_by_a_commit() -> None:
    rig = await Rig().up()
    other = replace(FAST, key=SessionKey("192.0.2.1", "192.0.2.3"))
    rig.transport.sent.clear()
    assert await rig.driver.commit([FAST, other], 2) == (1, 0)
    assert rig.session.state is State.UP
    assert rig.sent() == []
    assert await rig.driver.commit([other], 3) == (0, 1)
    assert [p.state for p in rig.sent()] == [State.ADMIN_DOWN]


async def test_E5_sockets_of_a_removed_session_are_closed_after_its_last_word() -> None:
    rig = await Rig().up()
    discr = rig.session.local_discr
    await rig.driver.commit([], 2)
    rig.waiter.run_until(START + 299_000)
    assert rig.transport.forgotten == []
    rig.waiter.run_until(START + 301_000)
    assert rig.transport.forgotten == [discr]
    assert rig.ended == 0
    assert rig.waiter.due_us >= rig.clock.now_us + 900_000, "nothing is left to do"


async def test_N3_drain_says_admin_down_and_ends_after_the_peers_detection_time() -> None:
    rig = await Rig().up()
    rig.transport.sent.clear()
    rig.driver.drain()
    rig.driver.drain()
    assert [(p.state, p.diagnostic) for p in rig.sent()] == [(State.ADMIN_DOWN, 7)]
    rig.waiter.run_until(START + 299_000)
    assert rig.ended == 0
    rig.waiter.run_until(START + 301_000)
    assert rig.ended == 1
    with pytest.raises(Draining):
        await rig.driver.commit([FAST], 2)


async def test_N3_drain_without_sessions_ends_at_once() -> None:
    rig = Rig()
    rig.driver.drain()
    assert rig.ended == 1


async def test_watchers_hear_of_changes_until_they_stop_watching() -> None:
    rig = Rig()
    seen: list[State] = []

    def note(session: Session) -> None:
        seen.append(session.state)

    rig.driver.watch(note)
    await rig.up()
    assert seen == [State.INIT, State.UP]
    rig.driver.unwatch(note)
    rig.driver.drain()
    assert len(seen) == 2


async def test_packets_leave_before_anybody_is_told() -> None:
    rig = Rig()
    other = replace(FAST, key=SessionKey("192.0.2.1", "192.0.2.3"))
    await rig.up()
    await rig.driver.commit([FAST, other], 2)
    told: list[int] = []
    rig.driver.watch(lambda _: told.append(len(rig.transport.sent)))
    rig.queue(State.DOWN)
    rig.transport.sent.clear()
    rig.read()
    assert told == [1], "from the reader"
    rig.transport.sent.clear()
    rig.waiter.run_until(rig.clock.now_us + 310_000)
    assert [p.state for p in rig.sent()].count(State.DOWN) >= 1
    assert told[1:] == []


async def test_after_stop_nothing_wakes_the_driver() -> None:
    rig = await Rig().up()
    rig.driver.stop()
    assert rig.waiter.due_us == NEVER_US
    assert rig.waiter.readers == {}


async def test_I1_the_multihop_port_is_read_only_while_there_is_a_multihop_session() -> None:
    rig = Rig()
    multihop = replace(FAST, key=KEY._replace(multihop=True))
    await rig.driver.commit([FAST], 1)
    assert set(rig.waiter.readers) == {4, 6}
    await rig.driver.commit([FAST, multihop], 2)
    await rig.driver.commit([replace(multihop, min_ttl=250)], 3)
    assert set(rig.waiter.readers) == {4, 6, 14, 16}
    await rig.driver.commit([FAST], 4)
    assert set(rig.waiter.readers) == {4, 6}
    assert [each.fd for each in rig.transport.receivers] == [4, 6]


async def test_a_set_that_needs_a_port_of_somebody_else_changes_nothing() -> None:
    rig = Rig()
    await rig.driver.commit([FAST], 1)
    rig.transport.port_is_taken = True
    with pytest.raises(TransportError):
        await rig.driver.commit([replace(FAST, key=KEY._replace(multihop=True))], 2)
    assert rig.session.config == FAST
    assert rig.engine.generation == 1


def patient_rig(batch: int = 256) -> tuple[Rig, int, int]:
    """A rig whose first two sockets share a port: the patient and the urgent one."""
    rig = Rig(batch)
    rig.driver.stop()
    patient, urgent = FakeReceiver(24, patient=True), FakeReceiver(25)
    rig.transport.receivers = [patient, urgent]
    rig.driver.start()
    return rig, patient.fd, urgent.fd


async def patient_up(rig: Rig) -> None:
    """As the kernel would steer the packets of a handshake."""
    await rig.driver.commit([FAST], 1)
    rig.queue(State.DOWN, receiver=1)
    rig.read()
    rig.queue(State.UP, receiver=0)
    rig.read()
    assert rig.session.state is State.UP


async def test_what_can_wait_is_read_at_the_next_deadline() -> None:
    rig, patient, urgent = patient_rig()
    await patient_up(rig)
    rig.read()
    rig.queue(State.UP)
    rig.read()  # nothing more is there, and the socket is no longer watched
    assert set(rig.waiter.readers) == {urgent}
    assert patient not in rig.waiter.readers
    for _ in range(50):
        rig.queue(State.UP, at_us=rig.clock.now_us)
        rig.waiter.run_until(rig.clock.now_us + 90_000)
    assert rig.session.state is State.UP
    assert rig.session.heard_us is not None
    assert rig.clock.now_us - rig.session.heard_us <= 190_000


async def test_up_is_not_kept_waiting_while_a_session_forms() -> None:
    rig, patient, _ = patient_rig()
    await rig.driver.commit([FAST], 1)
    assert patient not in rig.waiter.readers
    rig.queue(State.DOWN, receiver=1)
    rig.read()
    assert rig.session.state is State.INIT
    assert patient in rig.waiter.readers


async def test_older_packets_that_waited_come_before_an_urgent_one() -> None:
    rig, _, _ = patient_rig()
    await patient_up(rig)
    rig.read()
    # The peer was Up, and then starts anew. Its Up must not be taken for the end of the handshake.
    rig.queue(State.UP, receiver=0)
    rig.queue(State.DOWN, receiver=1)
    rig.queue(State.DOWN, receiver=1)
    rig.read()
    rig.read()
    assert rig.session.state is State.INIT


async def test_a_flood_of_what_can_wait_is_read_as_it_comes() -> None:
    rig, patient, _ = patient_rig(batch=8)
    await patient_up(rig)
    rig.read()
    stranger = RxMeta("10.0.0.1", "10.9.9.9", 255, 2, rig.clock.now_us)
    for _ in range(20):
        rig.transport.receivers[0].waiting.append((b"junk", stranger))
    rig.waiter.run_until(rig.clock.now_us + 100_000)
    assert patient in rig.waiter.readers
    while rig.transport.receivers[0].waiting:
        rig.read()
    assert patient not in rig.waiter.readers


def test_without_a_session_strangers_are_counted_all_the_same() -> None:
    rig, _, _ = patient_rig()
    stranger = RxMeta("10.0.0.1", "10.9.9.9", 255, 2, rig.clock.now_us)
    rig.transport.receivers[0].waiting.append((b"junk", stranger))
    rig.waiter.run_until(rig.clock.now_us + 1_000_000)
    assert sum(rig.engine.discards) == 1
