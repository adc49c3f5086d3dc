"""BFD without sockets: sessions driven by hand, and engines joined by a simulated link.

Time is a plain integer of microseconds. `Bench` holds one session and speaks for its peer; `Link`
joins engines by a network that loses, delays, doubles and reorders, and checks every packet that
is sent against what must always hold.
"""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from bfd.actions import Actions, Ended, StateChanged, Transmit
from bfd.config import SessionConfig, SessionKey
from bfd.discriminators import Discriminators
from bfd.engine import Effect, Engine
from bfd.fsm import State
from bfd.packet import ControlPacket, RxMeta, decode
from bfd.session import Session
from bfd.timing import NEVER_US

KEY = SessionKey("192.0.2.1", "192.0.2.2")
FAST = SessionConfig(KEY, 100_000, 100_000, 3)
PEER_DISCR = 77


def packets(actions: Actions) -> list[ControlPacket]:
    """The packets among actions, decoded."""
    sent = []
    for action in actions:
        if isinstance(action, Transmit):
            packet = decode(action.wire)
            assert isinstance(packet, ControlPacket)
            sent.append(packet)
    return sent


def changes(actions: Actions) -> list[tuple[State, State]]:
    """The state changes among actions."""
    return [(a.old, a.new) for a in actions if isinstance(a, StateChanged)]


class Bench:
    """One session and a clock; what the peer says is written by the test."""

    def __init__(
        self,
        config: SessionConfig = FAST,
        make: Callable[..., Session] = Session,
        draw: float = 0.5,
        **peer: Any,
    ) -> None:
        self.now_us = 10**9
        self.session = make(config, 42, lambda: draw, self.now_us)
        self.peer = ControlPacket(State.DOWN, PEER_DISCR, 42, 100_000, 100_000)._replace(**peer)

    def hear(self, state: State, **fields: Any) -> Actions:
        """The peer sends; what it said once it goes on saying, but for Poll and Final."""
        momentary = {k: fields.pop(k) for k in ("poll", "final", "auth") if k in fields}
        self.peer = self.peer._replace(state=state, **fields)
        return self.session.receive(self.peer._replace(**momentary), self.now_us, self.now_us)

    def wait(self, us: int, *, heard_until_us: int | None = None) -> Actions:
        """Let time pass, doing what is due on the way."""
        end = self.now_us + us
        actions: Actions = ()
        while self.session.due_us <= end:
            self.now_us = max(self.now_us, self.session.due_us)
            until = self.now_us if heard_until_us is None else heard_until_us
            before = self.session.due_us
            actions += self.session.expire(self.now_us, until)
            if self.session.due_us == before or Ended() in actions:
                break
        self.now_us = end
        return actions

    def bring_up(self) -> "Bench":
        """Three-way handshake, then the poll that announces the fast interval, answered."""
        self.wait(0)
        self.hear(State.DOWN)
        assert self.session.state is State.INIT
        self.hear(State.INIT)
        assert self.session.state is State.UP
        self.wait(100_000)
        self.hear(State.UP, final=True)
        self.hear(State.UP)
        assert self.session.state is State.UP
        return self


class WithoutShortcut(Session):
    """A session that takes the long way for every packet."""

    __slots__ = ()

    def _remember_steady(self, packet: ControlPacket) -> None:
        pass


@dataclass
class Weather:
    """What the network does to packets, one direction."""

    loss: float = 0.0
    doubling: float = 0.0
    delay_us: tuple[int, int] = (100, 200)

    def loses(self, rng: random.Random) -> bool:
        """Whether the next packet is lost."""
        return rng.random() < self.loss


@dataclass
class Node:
    """An engine on the link, and what it has done."""

    name: str
    engine: Engine
    sent: list[tuple[int, ControlPacket]] = field(default_factory=list)
    changed: list[tuple[int, StateChanged]] = field(default_factory=list)
    ended: int = 0
    held_back: list[Callable[[], None]] | None = None
    """Deliveries that wait, as in a socket that nobody reads."""


class Link:
    """Two engines, A (192.0.2.1) and B (192.0.2.2), and the network between them."""

    def __init__(self, seed: int, a: SessionConfig = FAST, b: SessionConfig | None = None) -> None:
        self.rng = random.Random(seed)
        self.now_us = 10**9
        self.steps = 0
        """Arrivals and deadlines so far."""
        self.heard_us = {"A": 0, "B": 0}
        """When a packet that was not discarded last came in."""
        self.weather = {"A": Weather(), "B": Weather()}
        self.a = Node("A", self._engine(b"a" * 32))
        self.b = Node("B", self._engine(b"b" * 32))
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.put(self.a, a)
        if b is None:
            b = replace(a, key=SessionKey(KEY.peer, KEY.local))
        self.put(self.b, b)

    def _engine(self, key: bytes) -> Engine:
        return Engine(Discriminators(key), self.rng.random, lambda _index: "eth0")

    def put(self, node: Node, config: SessionConfig) -> None:
        """Configure a session."""
        self._perform(node, node.engine.put(config, self.now_us))

    def session(self, node: Node) -> Session:
        """The one session of a node."""
        (session,) = node.engine.sessions()
        return session

    @property
    def states(self) -> tuple[State, State]:
        """The state at A and at B."""
        return self.session(self.a).state, self.session(self.b).state

    def run(self, us: int) -> None:
        """Let time pass."""
        end = self.now_us + us
        while True:
            node, due = self.a, self.a.engine.next_due_us()
            if (other := self.b.engine.next_due_us()) < due:
                node, due = self.b, other
            arrival = self._events[0][0] if self._events else NEVER_US
            if min(due, arrival) > end:
                break
            self.now_us = max(self.now_us, min(due, arrival))
            self.steps += 1
            if arrival <= due:
                heapq.heappop(self._events)[2]()
            else:
                for effect in node.engine.expire(self.now_us, self.now_us):
                    self._perform(node, effect)
        self.now_us = end

    def hold_back(self, node: Node) -> list[Callable[[], None]]:
        """Let what arrives at a node wait; the list of it, which may be emptied."""
        node.held_back = []
        return node.held_back

    def let_in(self, node: Node) -> None:
        """Deliver what has waited, with the times at which it arrived."""
        waiting, node.held_back = node.held_back or [], None
        for deliver in waiting:
            deliver()

    def later(self, us: int, what: Callable[[], None]) -> None:
        """Do something after a time."""
        heapq.heappush(self._events, (self.now_us + us, next(self._numbers), what))

    def _perform(self, node: Node, effect: Effect) -> None:
        session, actions = effect
        for action in actions:
            match action:
                case Transmit(wire):
                    self._transmit(node, session, wire)
                case StateChanged():
                    node.changed.append((self.now_us, action))
                case Ended():
                    node.ended += 1

    def _transmit(self, node: Node, session: Session, wire: bytes) -> None:
        packet = decode(wire)
        assert isinstance(packet, ControlPacket), "what we send must be acceptable"
        self._check(node, session, packet)
        node.sent.append((self.now_us, packet))
        weather = self.weather[node.name]
        copies = 2 if self.rng.random() < weather.doubling else 1
        for _ in range(copies):
            if not weather.loses(self.rng):
                self.later(self.rng.randint(*weather.delay_us), self._delivery(node, session, wire))

    def _delivery(self, sender: Node, session: Session, wire: bytes) -> Callable[[], None]:
        receiver = self.b if sender is self.a else self.a
        key = session.key

        def deliver(at_us: int | None = None) -> None:
            if receiver.held_back is not None:
                receiver.held_back.append(partial(deliver, self.now_us))
                return
            meta = RxMeta(key.peer, key.local, 255, 2, at_us or self.now_us, key.multihop)
            if receiver.engine.repeats(wire, 255, meta.at_us, key.multihop):
                self.heard_us[receiver.name] = meta.at_us
                return
            refused = self._refused(receiver)
            effect = receiver.engine.receive(wire, meta, self.now_us)
            if self._refused(receiver) == refused:
                self.heard_us[receiver.name] = meta.at_us
            if effect is not None:
                self._perform(receiver, effect)

        return deliver

    def _refused(self, node: Node) -> int:
        return sum(node.engine.discards) + sum(sum(s.discards) for s in node.engine.sessions())

    def _check(self, node: Node, session: Session, packet: ControlPacket) -> None:
        """What holds for every packet: D1, D8, and no state above Down without a peer."""
        assert not (packet.poll and packet.final)
        if packet.state is not State.UP:
            assert packet.desired_min_tx_us >= 1_000_000
        if packet.state in {State.INIT, State.UP}:
            assert packet.your_discr != 0
        if session.config.back_off == 1:
            assert packet.required_min_rx_us == session.config.required_min_rx_us
        # Periodic packets, which repeat the last contents, keep their distance (D13).
        if packet.final:
            return
        if node.sent and _contents(node.sent[-1][1]) == _contents(packet):
            before = next((at for at, p in reversed(node.sent) if not p.final), -NEVER_US)
            assert self.now_us - before >= session.tx_interval_us * 3 // 4


def _contents(packet: ControlPacket) -> tuple[object, ...]:
    """All fields but Poll and Final."""
    return packet[:8] + packet[10:]
