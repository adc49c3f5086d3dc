"""Sessions that peers begin without being configured (RFC 9468)."""

import random
from collections.abc import Iterable
from dataclasses import replace

import pytest

from bfd.actions import Actions, Ended
from bfd.config import SessionKey
from bfd.discriminators import Discriminators
from bfd.engine import Effect, Engine
from bfd.fsm import Diagnostic, State
from bfd.override import Override
from bfd.packet import ControlPacket, Discard, RxMeta, encode
from bfd.session import Session
from bfd.timing import NEVER_US
from bfd.unsolicited import Invitation
from tests.support.bfd import FAST, KEY, PEER_DISCR, packets

START = 10**9
NAMES = {2: "eth0", 3: "eth1"}
INVITATION = Invitation("eth0", ("192.0.2.0/24", "2001:db8::/64"), 2, 100_000, 100_000, 3)
GUEST = KEY._replace(interface="eth0")


class Host:
    """An engine with invitations, and a clock."""

    def __init__(self, *invitations: Invitation) -> None:
        self.now_us = START
        self.engine = Engine(Discriminators(bytes(32)), random.Random(1).random, NAMES.__getitem__)
        self.engine.invite(invitations, self.now_us)

    def hear(
        self,
        state: State = State.DOWN,
        key: SessionKey = KEY,
        *,
        ttl: int = 255,
        ifindex: int = 2,
        yours: int = 0,
    ) -> Actions:
        wire = encode(ControlPacket(state, PEER_DISCR, yours, 100_000, 100_000))
        meta = RxMeta(key.local, key.peer, ttl, ifindex, self.now_us, key.multihop)
        effect = self.engine.receive(wire, meta, self.now_us)
        return effect.actions if effect else ()

    def wait(self, us: int) -> Actions:
        """Let time pass in silence."""
        end_us, actions = self.now_us + us, ()
        while (due_us := self.engine.next_due_us()) <= end_us:
            self.now_us = max(self.now_us, due_us)
            actions += done(self.engine.expire(self.now_us, self.now_us))
        self.now_us = end_us
        return actions

    def bring_up(self, key: SessionKey = KEY) -> Session:
        self.hear(key=key)
        session = next(s for s in self.engine.sessions() if s.key.peer == key.peer)
        for state in (State.INIT, State.UP):
            self.hear(state, key, yours=session.local_discr)
        assert session.state is State.UP
        return session

    @property
    def keys(self) -> list[SessionKey]:
        return [session.key for session in self.engine.sessions()]


def done(effects: Iterable[Effect]) -> Actions:
    return tuple(action for effect in effects for action in effect.actions)


def peer(n: int) -> SessionKey:
    return KEY._replace(peer=f"192.0.2.{n}")


def test_J1_nobody_begins_a_session_unless_invited() -> None:
    host = Host()
    assert host.hear() == ()
    assert host.keys == []
    assert host.engine.discards[Discard.UNKNOWN_PEER] == 1


def test_J2_we_are_passive_with_a_discriminator_of_our_own() -> None:
    host = Host(INVITATION)
    assert host.wait(60_000_000) == ()
    (said,) = packets(host.hear())
    assert (said.state, said.your_discr) == (State.INIT, PEER_DISCR)
    assert said.my_discr not in (0, PEER_DISCR)
    session = host.bring_up()
    assert session.key == GUEST
    assert session.config.passive
    assert session.config.unsolicited
    assert packets(host.wait(100_000))[-1].desired_min_tx_us == 100_000


def test_J3_sending_ends_with_a_session_that_fails_and_then_it_is_forgotten() -> None:
    host = Host(INVITATION)
    session = host.bring_up()
    host.wait(session.detection_time_us)
    assert session.state is State.DOWN
    assert session.local_diag is Diagnostic.CONTROL_DETECTION_TIME_EXPIRED
    assert packets(host.wait(9_900_000)) == []
    assert host.keys == [GUEST]
    assert host.wait(200_000) == (Ended(),)
    assert host.keys == []
    assert host.engine.next_due_us() == NEVER_US


def test_J3_sending_ends_with_a_session_that_is_not_established() -> None:
    host = Host(INVITATION)
    host.hear()
    session = host.engine.sessions()[0]
    assert session.state is State.INIT
    assert packets(host.wait(2_000_000)) != []
    host.wait(session.detection_time_us)
    assert session.state is State.DOWN
    assert packets(host.wait(9_000_000)) == []
    host.wait(2_000_000)
    assert host.keys == []


def test_J3_no_word_is_said_when_the_peer_takes_the_session_down() -> None:
    host = Host(INVITATION)
    session = host.bring_up()
    assert packets(host.hear(State.ADMIN_DOWN, yours=session.local_discr)) == []
    assert session.state is State.DOWN
    assert packets(host.wait(20_000_000)) == []
    assert host.keys == []


def test_J3_a_peer_that_returns_in_time_finds_its_session() -> None:
    host = Host(INVITATION)
    session = host.bring_up()
    host.wait(session.detection_time_us + 5_000_000)
    assert host.bring_up() is session
    for _ in range(200):
        host.wait(90_000)
        host.hear(State.UP, yours=session.local_discr)
    assert session.state is State.UP
    assert host.keys == [GUEST]


@pytest.mark.parametrize(
    ("key", "ttl", "ifindex", "state", "why"),
    [
        (KEY._replace(peer="198.51.100.2"), 255, 2, State.DOWN, Discard.UNKNOWN_PEER),
        (KEY, 254, 2, State.DOWN, Discard.TTL),
        (KEY, 255, 3, State.DOWN, Discard.UNKNOWN_PEER),
        (KEY._replace(multihop=True), 255, 2, State.DOWN, Discard.UNKNOWN_PEER),
        (KEY, 255, 2, State.ADMIN_DOWN, Discard.UNKNOWN_PEER),
        (KEY._replace(peer=KEY.local), 255, 2, State.DOWN, Discard.UNKNOWN_PEER),
    ],
    ids=["source", "ttl", "interface", "multihop", "admin-down", "ourselves"],
)
def test_J4_only_a_neighbour_of_the_allowed_sources_begins_a_session(
    key: SessionKey, ttl: int, ifindex: int, state: State, why: Discard
) -> None:
    host = Host(INVITATION)
    host.hear(state, key, ttl=ttl, ifindex=ifindex)
    assert host.keys == []
    assert host.engine.discards[why] == 1


def test_J4_ttl_255_goes_on_to_be_asked_for() -> None:
    host = Host(INVITATION)
    session = host.bring_up()
    host.hear(State.DOWN, yours=session.local_discr, ttl=254)
    assert session.state is State.UP
    assert session.discards[Discard.TTL] == 1


def test_J5_sessions_are_limited_on_each_interface_and_places_become_free() -> None:
    host = Host(INVITATION, replace(INVITATION, interface="eth1", most_sessions=1))
    for n in (2, 3, 4, 5):
        host.hear(key=peer(n))
    assert [key.peer for key in host.keys] == ["192.0.2.2", "192.0.2.3"]
    assert host.engine.discards[Discard.UNSOLICITED_LIMIT] == 2
    host.hear(key=peer(6), ifindex=3)
    assert host.keys[-1] == peer(6)._replace(interface="eth1")
    host.wait(20_000_000)
    host.hear(key=peer(4))
    assert [key.peer for key in host.keys] == ["192.0.2.4"]


def test_J5_a_configured_set_neither_counts_nor_ends_the_guests() -> None:
    host = Host(replace(INVITATION, most_sessions=1))
    host.engine.put(replace(FAST, key=peer(9)), START)
    host.bring_up()
    assert host.engine.changes([replace(FAST, key=peer(9))]) == ((), ())
    assert len(host.keys) == 2


def test_guests_go_with_the_invitation_and_are_told() -> None:
    host = Host(INVITATION)
    session = host.bring_up()
    (said,) = packets(done(host.engine.invite((), host.now_us)))
    assert said.state is State.ADMIN_DOWN
    assert host.keys == []
    host.wait(session.peer_detection_time_us() + 1_000_000)
    assert host.engine.is_empty


def test_guests_follow_the_invitation_by_a_poll_sequence() -> None:
    host = Host(INVITATION)
    session = host.bring_up()
    host.engine.invite((replace(INVITATION, desired_min_tx_us=50_000),), host.now_us)
    assert packets(host.wait(100_000))[-1].poll
    assert session.state is State.UP
    assert session.negotiation.desired_min_tx_us == 50_000


def test_a_guest_that_is_configured_now_is_a_guest_no_more() -> None:
    host = Host(INVITATION)
    session = host.bring_up()
    same = replace(FAST, key=GUEST)
    assert host.engine.changes([same]).remove == ()
    host.engine.put(same, host.now_us)
    host.engine.invite((), host.now_us)
    assert session.state is State.UP
    assert host.engine.committed() == (same,)
    other = Host(INVITATION)
    other.bring_up()
    assert other.engine.changes([FAST]).remove == (GUEST,)


def test_an_operator_can_hold_a_guest_down_and_let_it_go() -> None:
    host = Host(INVITATION)
    session = host.bring_up()
    host.engine.override(GUEST, Override(admin_down=True), host.now_us)
    host.wait(60_000_000)
    assert session.state is State.ADMIN_DOWN
    host.engine.override(GUEST, Override(), host.now_us)
    assert host.bring_up() is session


def test_N2_guests_outlive_a_restart_of_the_engine() -> None:
    host = Host(INVITATION)
    session = host.bring_up()
    remembered = host.engine.remembered(GUEST)
    assert remembered is not None
    successor = Host()
    successor.engine.restore(remembered, host.now_us, host.now_us)
    (again,) = successor.engine.sessions()
    assert (again.state, again.local_discr) == (State.UP, session.local_discr)
    assert successor.engine.committed() == ()
    assert successor.engine.invite((INVITATION,), host.now_us) == []
    host.engine.news.clear()
    host.wait(30_000_000)
    assert session in host.engine.news
    assert host.engine.remembered(GUEST) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interface": ""}, "interface: missing"),
        ({"sources": ["192.0.2.1/24"]}, "sources: 192.0.2.1/24 has host bits set"),
        ({"most_sessions": 0}, "most_sessions: 0 is not from 1 to 1000"),
        ({"detect_mult": 0}, "detect_mult"),
        ({"desired_min_tx_us": 0}, "desired_min_tx_us"),
        ({"sources": 5}, "invitation"),
        ({"more": 1}, "more"),
    ],
)
def test_a_bad_invitation_names_what_is_wrong(change: dict[str, object], message: str) -> None:
    assert Invitation.from_json(INVITATION.to_json()) == INVITATION
    with pytest.raises(ValueError, match=message):
        Invitation.from_json(INVITATION.to_json() | change)
