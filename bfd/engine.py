"""All sessions of one engine: who a packet belongs to, and whose deadline comes next.

Sans-IO like the session. The engine decodes and demultiplexes (RFC 5880 §6.8.6, RFC 5881 §6),
keeps the deadline queue and the counters that belong to no single session, and hands back, with the
session concerned, the actions that its caller (`bfd.driver`) must carry out. Sessions that left the
set linger in AdminDown for the peer's detection time; then they are gone.
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

from bfd.actions import NOTHING, Actions
from bfd.config import SessionConfig, SessionKey
from bfd.deadlines import DeadlineQueue
from bfd.discriminators import Discriminators
from bfd.fsm import State
from bfd.lateness import Lateness, Stalls, Worst
from bfd.memory import Memory
from bfd.override import Override
from bfd.packet import ControlPacket, Discard, RxMeta, decode
from bfd.registry import Registry
from bfd.session import Session
from bfd.unsolicited import Guests, Invitation

_NO_OVERRIDE = Override()


class Effect(NamedTuple):
    """Actions to carry out, and the session that they belong to."""

    session: Session
    actions: Actions


class Change(NamedTuple):
    """What turns the set of sessions in force into a wanted one, in the order of carrying out."""

    remove: tuple[SessionKey, ...]
    put: tuple[SessionConfig, ...]


class Remembered(NamedTuple):
    """A session of the set as it has to come back after a restart."""

    config: SessionConfig
    """As committed, without an override."""
    discr: int
    memory: Memory


class Engine(Registry):
    """See the module.

    `draw` returns random numbers (0 <= x < 1) for the jitter; `interface_name` turns an interface
    index into a name, and raises OSError when there is none.
    """

    def __init__(
        self,
        discriminators: Discriminators,
        draw: Callable[[], float],
        interface_name: Callable[[int], str],
    ) -> None:
        super().__init__(discriminators, draw, interface_name)
        self._by_steady_wire: dict[bytes, Session] = {}
        self._lingering: set[SessionKey] = set()
        self._committed: dict[SessionKey, SessionConfig] = {}
        self.guests = Guests()
        self.overrides: dict[SessionKey, Override] = {}
        """What operators have laid over the configuration, also of sessions that are not in the
        set at the moment. Change it by `override`."""
        self._queue: DeadlineQueue[Session] = DeadlineQueue()
        self.generation = 0
        self.news: dict[Session, None] = {}
        """Sessions of which something has changed that a successor of the engine must know; who
        has taken note of it takes them out."""
        self.draining = False
        self.must_read = False
        """A detection time has ended, but not everything that arrived before was received."""
        self.worst = Worst()
        self._clear_own_counters()

    # The set --------------------------------------------------------------------------------

    def sessions(self) -> tuple[Session, ...]:
        """The sessions of the set in force; while draining, those that still linger."""
        if self.draining:
            return tuple(self._by_key.values())
        return tuple(s for k, s in self._by_key.items() if k not in self._lingering)

    def committed(self) -> tuple[SessionConfig, ...]:
        """The set as it was committed, without overrides."""
        return tuple(self._committed.values())

    @property
    def is_empty(self) -> bool:
        """Whether no session is left, not even a lingering one."""
        return not self._by_key

    @property
    def lingers(self) -> bool:
        """Whether a session that left the set still tells its peer."""
        return bool(self._lingering)

    def changes(self, wanted: Iterable[SessionConfig]) -> Change:
        """How to get to a set of sessions. What is in force already is not mentioned."""
        by_key = {config.key: config for config in wanted}
        # A peer that is configured now is no guest any more, on whichever interface it was.
        pairs = {key[:2] for key in by_key if not key.multihop}
        return Change(
            remove=tuple(
                s.key
                for s in self.sessions()
                if s.key not in by_key and (s.key not in self.guests or s.key[:2] in pairs)
            ),
            put=tuple(
                config
                for key, config in sorted(by_key.items())
                if key in self._lingering or self._committed.get(key) != config
            ),
        )

    def put(self, config: SessionConfig, now_us: int) -> Effect:
        """Create the session, or let it follow its new configuration, under its override."""
        self._committed[config.key] = config
        self.guests.forget(config.key)
        in_force = self._in_force(config)
        session = self._by_key.get(config.key)
        if session is None:
            session = self._create(in_force, now_us)
            actions: Actions = NOTHING
        else:
            self._lingering.discard(config.key)
            held = self.overrides.get(config.key, _NO_OVERRIDE).admin_down
            by = "the operator" if held else "configuration"
            actions = session.configure(in_force, now_us, by)
        # What was committed belongs to what a successor must know, even if the session obeys an
        # override and does not change.
        session.is_news = True
        self._take_note(session)
        return Effect(session, actions)

    def invite(self, invitations: tuple[Invitation, ...], now_us: int) -> list[Effect]:
        """Let peers begin sessions by these invitations, and by no others, from now on."""
        self.guests.invitations = invitations
        effects: list[Effect | None] = []
        for key in self.guests.present():
            config = self.guests.renew(key)
            if config is None:
                effects.append(self.remove(key, now_us, "the invitation has ended"))
                continue
            session, in_force = self._by_key[key], self._in_force(config)
            if in_force != session.config:
                effects.append(Effect(session, session.configure(in_force, now_us)))
                self._take_note(session)
        return [effect for effect in effects if effect is not None]

    def _in_force(self, config: SessionConfig) -> SessionConfig:
        return self.overrides.get(config.key, _NO_OVERRIDE).apply(config)

    def _described(self, key: SessionKey) -> SessionConfig | None:
        """How a session is described, be it configured or unsolicited; without an override."""
        return self._committed.get(key) or self.guests.config(key)

    def override(self, key: SessionKey, override: Override, now_us: int) -> Effect | None:
        """Lay `override` over a session from now on, instead of any before; an empty one ends it.

        Raises KeyError when there is no such session, nor an override for one.
        """
        config = self._described(key)
        if config is None and key not in self.overrides:
            raise KeyError(key)
        if override.is_empty:
            self.overrides.pop(key, None)
        else:
            self.overrides[key] = override
        session = self._by_key.get(key)
        if config is None or session is None:
            return None
        actions = session.configure(override.apply(config), now_us, "the operator")
        self._take_note(session)
        return Effect(session, actions)

    def remove(self, key: SessionKey, now_us: int, reason: str) -> Effect | None:
        """Let a session say AdminDown for the peer's detection time, and then go."""
        session = self._by_key.get(key)
        if session is None:
            return None
        self._lingering.add(key)
        self._committed.pop(key, None)
        self.guests.forget(key)
        actions = session.retire(now_us, reason)
        self._take_note(session)
        return Effect(session, actions)

    def drain(self, now_us: int) -> list[Effect]:
        """Remove every session, for good: there is no way back to work."""
        self.draining = True
        keys = [key for key in self._by_key if key not in self._lingering]
        effects = [self.remove(key, now_us, "the engine is draining") for key in keys]
        return [effect for effect in effects if effect is not None]

    def clear_counters(self, peer: str | None = None) -> int:
        """Count from zero again: the sessions with a peer, or all and the engine itself.

        Returns how many sessions that were.
        """
        cleared = [s for s in self._by_key.values() if peer is None or s.key.peer == peer]
        for session in cleared:
            session.clear_counters()
        if peer is None:
            self._clear_own_counters()
        return len(cleared)

    def _clear_own_counters(self) -> None:
        self.discards = [0] * len(Discard)
        self.stalls = Stalls()
        self.transmit_lateness = Lateness()
        self.detection_lateness = Lateness()

    # Across a restart ------------------------------------------------------------------------

    def remembered(self, key: SessionKey) -> Remembered | None:
        """What a successor must know about a session; None when it left the set."""
        session, config = self._by_key.get(key), self._described(key)
        if session is None or config is None:
            return None
        return Remembered(config, session.local_discr, session.memory())

    def restore(self, remembered: Remembered, now_us: int, heard_until_us: int) -> Effect:
        """Let a session go on that an earlier engine had. Its override must be there already.

        Silence is judged as in `expire`. Raises ValueError when there cannot be such a session.
        """
        config, discr, memory = remembered
        if config.key in self._by_key:
            raise ValueError(f"session {config.key} is in the set twice")
        self._discriminators.claim(discr)
        if config.unsolicited:
            self.guests.return_of(config)
        else:
            self._committed[config.key] = config
        session = self._enter(Session(self._in_force(config), discr, self._draw, now_us))
        actions = session.resume(memory, now_us, heard_until_us)
        self.marks.values[session.mark] = session.heard_us or 0
        self._take_note(session)
        return Effect(session, actions)

    # Packets --------------------------------------------------------------------------------

    def repeats(self, data: bytes, ttl: int, at_us: int, multihop: bool, /) -> bool:
        """Take a datagram if it is, byte by byte, the steady one of its session.

        That is nearly every datagram there is. Any other one is left to `receive`.
        """
        session = self._by_steady_wire.get(data)
        if (
            session is None
            or session.steady is None
            or session.steady_wire != data
            or session.authentication is not None
            or ttl < session.config.min_ttl
            or session.key.multihop is not multihop
        ):
            return False
        session.hear_again(at_us)
        self.marks.values[session.mark] = session.heard_us or 0
        return True

    def receive(self, data: bytes, meta: RxMeta, now_us: int) -> Effect | None:
        """Take a datagram; None when there is nothing to do, as nearly always."""
        packet = decode(data)
        if isinstance(packet, Discard):
            self._refuse_stranger(packet, meta)
            return None
        session = self._find(packet, meta)
        if session is None:
            return None
        # RFC 5881 §5 asks for 255; a peer behind a router has a lower minimum configured.
        if meta.ttl < session.config.min_ttl:
            session.losses.ttl = meta.ttl
            session.refuse(Discard.TTL)
            return None
        held = session.damper.holds_at(now_us) and self._another_is_up(session)
        actions = session.receive(packet, meta.at_us, now_us, held=held)
        if session.heard_us is not None:
            self.marks.values[session.mark] = session.heard_us
        if session.steady is packet:
            self._by_steady_wire.pop(session.steady_wire, None)
            session.steady_wire = data
            self._by_steady_wire[data] = session
        if session.due_us < session.queued_us or session.is_news or session.authentication:
            self._take_note(session)
        return Effect(session, actions) if actions else None

    def _another_is_up(self, session: Session) -> bool:
        """Whether traffic of the session's family has another way, so that it can be held down."""
        is_ipv6 = ":" in session.key.local
        return any(
            other.state is State.UP and other is not session and (":" in other.key.local) is is_ipv6
            for other in self._by_key.values()
        )

    def _find(self, packet: ControlPacket, meta: RxMeta) -> Session | None:
        if packet.your_discr:
            # §6.8.6: a discriminator that is not ours never falls back to the addresses.
            session = self._by_discr.get(packet.your_discr)
            if session is None or session.key.multihop is not meta.multihop:
                self._refuse_stranger(Discard.UNKNOWN_DISCRIMINATOR, meta)
                return None
            return session
        return self._by_address(meta) or self._admit(packet, meta)

    def _admit(self, packet: ControlPacket, meta: RxMeta) -> Session | None:
        """A new session for a peer that nobody has configured, if it is invited (RFC 9468 §2)."""
        answer: SessionConfig | Discard = Discard.UNKNOWN_PEER
        if self.guests.invitations and packet.state is State.DOWN and not self.draining:
            with contextlib.suppress(OSError):
                interface = self._interface_name(meta.ifindex)
                key = SessionKey(meta.local, meta.peer, interface, meta.multihop)
                answer = self.guests.admit(key, meta.ttl)
        if isinstance(answer, Discard):
            self.discards[answer] += 1
            return None
        return self._create(self._in_force(answer), meta.at_us)

    def _refuse_stranger(self, why: Discard, meta: RxMeta) -> None:
        """A packet that belongs to no session; its source may still explain why one is Down."""
        self.discards[why] += 1
        session = self._by_address(meta)
        if session is not None:
            session.losses.refuse(why, session.heard_us)

    # Time -----------------------------------------------------------------------------------

    def next_due_us(self) -> int:
        """When `expire` must be called next; timing.NEVER_US without sessions."""
        return self._queue.next_due_us()

    def expire(self, now_us: int, heard_until_us: int) -> list[Effect]:
        """Do everything that is due at `now_us`.

        Silence is judged up to `heard_until_us` only (see `Session.expire`). What could not be
        judged yet stays due, and `must_read` says so.
        """
        self.must_read = False
        self.marks.awake(now_us)
        effects = []
        due = self._queue.pop_due(now_us)
        if due:
            self.worst.note(now_us, now_us - due[0].due_us)
        for session in due:
            if session.detection_is_due(now_us) and self._can_judge(session, heard_until_us):
                self.detection_lateness.record(session.detection_lateness_us(now_us))
            elif session.transmit_is_due(now_us):
                late_us = session.transmit_lateness_us(now_us)
                self.transmit_lateness.record(late_us)
                if late_us > session.tx_interval_us // 2:
                    self.stalls.note(now_us, late_us)
            actions = session.expire(now_us, heard_until_us)
            if session.retire_us <= now_us:
                self._forget(session)
            else:
                self._take_note(session)
            if actions:
                effects.append(Effect(session, actions))
        return effects

    def _can_judge(self, session: Session, heard_until_us: int) -> bool:
        """Whether the end of a detection time can be judged yet; if not, there must be reading."""
        possible = session.detection_is_due(heard_until_us)
        self.must_read = self.must_read or not possible
        return possible

    # After each -------------------------------------------------------------------------------

    def _take_note(self, session: Session) -> None:
        self._queue.update(session)
        if session.authentication is not None:
            self.marks.values[session.mark + 1] = session.authentication.xmit_auth_seq
            self.marks.values[session.mark + 2] = session.authentication.rcv_auth_seq
        if session.is_news:
            session.is_news = False
            self.news[session] = None

    def _forget(self, session: Session) -> None:
        key = session.key
        if key in self.guests:
            self.guests.forget(key)
            self.news[session] = None
        self._lingering.discard(key)
        self._by_steady_wire.pop(session.steady_wire, None)
        self._leave(session)
