"""One BFD session: what moves the variables of RFC 5880 §6.8.1 (`bfd.variables`).

Sans-IO. Four things can happen to a session: a packet (`receive`), time (`expire`), configuration
(`configure`, `disable`) and the end (`retire`); after a restart of the engine it goes on by
`resume`. Each returns the actions to take, most often none; the session is told the time and never
asks. Everything that can change is brought into line in one place, `_settle`: advertised and used
intervals, Poll Sequence, packet contents, deadlines. What we *say*
(`negotiation.desired_min_tx_us`) and what we *do* (`tx_interval_us`) are different fields, because
§6.8.3 lets them differ until the peer has confirmed.

Times are integer microseconds on one monotonic clock.
"""

from collections.abc import Callable

from bfd import timing
from bfd.actions import NOTHING, Actions, Ended, StateChanged, Transmit
from bfd.auth import Authentication
from bfd.config import SessionConfig, SessionKey
from bfd.dampening import Dampening
from bfd.fsm import Diagnostic, Event, State, step
from bfd.memory import Memory
from bfd.negotiation import Negotiation, Poll
from bfd.packet import FINAL, POLL, ControlPacket, Discard
from bfd.timing import NEVER_US
from bfd.variables import REMEMBERED, Variables

__all__ = ["Session", "SessionConfig", "SessionKey"]

_HEARD = (Event.HEARD_ADMIN_DOWN, Event.HEARD_DOWN, Event.HEARD_INIT, Event.HEARD_UP)
_REASON = (
    "the peer says AdminDown",
    "the peer says Down",
    "the peer says Init",
    "the peer says Up",
)
_FORGET_US = 10_000_000
"""How long an unsolicited session stays after it went down (RFC 9468 §2): its peer may return."""


class Session(Variables):
    """See the module; `draw` as for `Variables`."""

    __slots__ = ()

    def __init__(
        self, config: SessionConfig, local_discr: int, draw: Callable[[], float], now_us: int
    ) -> None:
        super().__init__(config, local_discr, draw, now_us)
        self._settle(now_us)

    # What can happen ------------------------------------------------------------------------

    def receive(
        self, packet: ControlPacket, at_us: int, now_us: int, *, held: bool = False
    ) -> Actions:
        """Take a packet that arrived at `at_us` and was demultiplexed to this session (§6.8.6).

        A session that is `held` stays Down whatever the peer says (§6.8.18).
        """
        if self.authentication is not None:
            why = self._authenticate(self.authentication, packet, at_us)
            if why is not None:
                self.refuse(why)
                return NOTHING
            packet = packet._replace(auth=b"")
        if packet == self.steady:
            self.hear_again(at_us)
            return NOTHING
        if packet.auth:
            self.refuse(Discard.AUTH_UNEXPECTED)
            return NOTHING
        # From here on the packet is believed.
        self._learn(packet, at_us)
        self.patience_us = self._end_poll() if packet.final else 0
        if self.state is State.ADMIN_DOWN:
            self.discards[Discard.ADMIN_DOWN] += 1
            return self._settle(now_us)
        self.rx_packets += 1
        changed: tuple[StateChanged, ...] = ()
        if not held or self.state is not State.DOWN:
            changed = self._step(_HEARD[packet.state], now_us, _REASON[packet.state])
        if not packet.poll:
            actions = changed + self._settle(now_us)
        else:
            # §6.8.6: answered at once. The answer carries whatever has changed, so no other
            # packet is due for that, and the periodic ones keep their times.
            self._settle(now_us, answering=True)
            actions = (*changed, self._transmit(self._with_flags(FINAL)))
        self._remember_steady(packet)
        return actions

    def hear_again(self, at_us: int) -> None:
        """Take the `steady` packet once more: only the silence ends."""
        self.rx_packets += 1
        due_us = at_us + self.detection_time_us
        if due_us > self._detection_due_us:
            self.heard_us = at_us
            self._detection_due_us = due_us

    def expire(self, now_us: int, heard_until_us: int) -> Actions:
        """Do what is due at `now_us`.

        Silence is judged only up to `heard_until_us`: until then every packet that has arrived was
        received. A detection time that ended later has to wait for the sockets to be read.
        """
        if self.retire_us <= now_us:
            return (Ended(),)
        if self._detection_due_us <= heard_until_us:
            return self._expire_detection(now_us)
        if self._transmit_due_us <= now_us:
            return self._transmit_periodic(now_us)
        self._set_due()
        return NOTHING

    def configure(self, config: SessionConfig, now_us: int, by: str = "configuration") -> Actions:
        """Follow a new configuration of the same key (§6.8.3, §6.8.16); `by` says whose will."""
        if config.dampening != self.config.dampening:
            self.damper.release(now_us)
        self.config = config
        self.back_off.limit(config.back_off)
        self._follow_authentication()
        self.retire_us = NEVER_US
        if not config.enabled:
            return self.disable(config.disabled_diag, now_us, f"disabled by {by}")
        changed = self._step(Event.ENABLED, now_us, f"enabled by {by}")
        return changed + self._settle(now_us)

    def disable(self, diag: Diagnostic, now_us: int, reason: str) -> Actions:
        """Go to AdminDown, saying why; it is repeated to the peer until `configure` (§6.8.16)."""
        if self.state is not State.ADMIN_DOWN:
            self.admin_down_until_us = now_us + self.peer_detection_time_us()
        self.local_diag = diag
        changed = self._step(Event.DISABLED, now_us, reason)
        return changed + self._settle(now_us)

    def retire(self, now_us: int, reason: str) -> Actions:
        """Disable for good. From `retire_us` on nobody needs the session any more.

        §6.8.16: AdminDown is repeated for at least the peer's detection time, counted from the
        moment the session went AdminDown.
        """
        actions = self.disable(Diagnostic.ADMINISTRATIVELY_DOWN, now_us, reason)
        self.retire_us = max(now_us, self.admin_down_until_us)
        self._set_due()
        return actions

    # Across a restart ------------------------------------------------------------------------

    def resume(self, memory: Memory, now_us: int, heard_until_us: int) -> Actions:
        """Go on where the session was, which must be fresh and of the same configuration.

        Nothing is sent before the next periodic packet is due. If the detection time has ended
        meanwhile, as far as that can be judged (see `expire`), the session is Down.
        """
        for name in REMEMBERED:
            setattr(self, name, getattr(memory, name))
        self.negotiation = Negotiation(memory.desired_min_tx_us, memory.required_min_rx_us)
        self.negotiation.desired_in_use_us = memory.desired_in_use_us
        self.negotiation.required_in_use_us = memory.required_in_use_us
        self.negotiation.poll = memory.poll
        if self.authentication is not None and memory.auth is not None:
            self.authentication.resume(memory.auth)
        self.damper.resume(memory.damper)
        self.back_off.factor = memory.back_off
        self.back_off.limit(self.config.back_off)
        self._sent_us = memory.sent_us
        self._planned_us = NEVER_US
        self._settle(now_us, answering=True)
        if self.detection_is_due(heard_until_us):
            return self._expire_detection(now_us, "the engine was away longer than ")
        return NOTHING

    # Rules ----------------------------------------------------------------------------------

    def _authenticate(
        self, authentication: Authentication, packet: ControlPacket, at_us: int
    ) -> Discard | None:
        in_use = authentication.in_use
        why = authentication.receive(packet, at_us)
        if authentication.in_use is not in_use:
            # The peer has switched, and so do we: with a packet that goes the long way, at once.
            self.steady = None
        return why

    def _end_poll(self) -> int:
        """Take a Final; how long the silence after it may last, if that is longer than usual.

        A peer that may now send faster need not have planned its next packet anew: OVN keeps the
        time that it had, up to a whole old interval away. So the new detection time (§6.8.3)
        begins with that packet.
        """
        before_us = self.negotiation.required_in_use_us
        self.negotiation.heard_final()
        return self.detection_time_us if self.negotiation.required_in_use_us < before_us else 0

    def _step(self, event: Event, now_us: int, reason: str) -> tuple[StateChanged, ...]:
        old = self.state
        new, diag = step(old, event)
        if diag is not None:
            self.local_diag = diag
        if new is old:
            return ()
        if old is State.DOWN and event is not Event.DISABLED and self.damper.holds_at(now_us):
            reason += "; the hold ends early, as no other session is Up"
            self.damper.release(now_us)
        elif old is State.UP and new is State.DOWN and self.config.dampening is not None:
            reason += self._dampen(self.config.dampening, now_us)
        facts = self._facts(now_us)
        self.state = new
        self.transitions += 1
        self.last_change = StateChanged(now_us, old, new, self.local_diag, reason, facts)
        return (self.last_change,)

    def _dampen(self, policy: Dampening, now_us: int) -> str:
        if not self.damper.note_down(policy, now_us):
            return ""
        hold_s = (self.damper.held_until_us - now_us) / 1_000_000
        return f"; held down for {hold_s:g} s"

    def _expire_detection(self, now_us: int, what: str = "nothing heard for ") -> Actions:
        silence_ms = max(self.detection_time_us, self.patience_us) / 1000
        self.patience_us = 0
        changed = self._step(Event.EXPIRED, now_us, f"{what}{silence_ms:g} ms")
        if changed:
            self.back_off.slow_down()
        if self.authentication is not None and self.heard_us is not None:
            self.authentication.silence(self.heard_us, self.detection_time_us)
        # §6.8.1 and §6.8.18: in every state, and not earlier than after a detection time.
        self.remote_discr = 0
        self.remote_min_rx_us = 1
        self.remote_demand = False
        return changed + self._settle(now_us)

    def _sees_congestion_change(self) -> bool:
        """Whether the packets of late call for slower or faster intervals (§7)."""
        said = self.negotiation
        if self.state is not State.UP or self.heard_us is None or said.required_min_rx_us == 0:
            return False
        slowest_us = max(
            self.remote_desired_min_tx_us, said.required_min_rx_us, said.required_in_use_us
        )
        return self.back_off.observe(self.heard_us, self.rx_packets, slowest_us)

    def _transmit_periodic(self, now_us: int) -> Actions:
        if self.config.back_off > 1 and self._sees_congestion_change():
            return self._settle(now_us)
        actions: Actions = self._periodic
        if self.authentication is not None:
            actions = (self._transmit(self._periodic[0].wire),)
        if self.negotiation.poll is Poll.PAUSE:
            self.negotiation.sent_without_poll()
            self._prepare_periodic()
            self._note_news()
        pace = self._pace
        self._planned_us = pace.next_planned_us(self._planned_us, now_us, self._draw())
        self._sent_us = now_us
        self._body_sent = self._body
        self._transmit_due_us = pace.leaves_us(self._planned_us, now_us)
        self._set_due()
        return actions

    def _settle(self, now_us: int, *, answering: bool = False) -> Actions:
        """Bring everything that follows from the variables into line with them.

        Returns the packet that says so at once, if its contents are news to the peer; none when
        an answer to a Poll is on its way and will say it.
        """
        self.steady = None
        self._advertise()
        self._use()
        self._body = self._contents()
        news = self._body != self._body_sent
        if news and self._demand_is_active() and self.negotiation.poll is Poll.IDLE:
            # §6.6: a peer in Demand mode has to be asked to be sure that it was told.
            self.negotiation.ask_again()
        self._prepare_periodic()
        actions = NOTHING
        if answering or (news and self._may_send()):
            if not answering:
                actions = (self._transmit(self._body),)
                self._sent_us = now_us
                self._planned_us = NEVER_US
            self._body_sent = self._body
        self._schedule(now_us)
        self._note_news()
        return actions

    def _note_news(self) -> None:
        use = self.negotiation
        kept = (
            self._body,
            self.remote_state,
            self.remote_diag,
            self.remote_min_rx_us,
            self.remote_desired_min_tx_us,
            self.remote_detect_mult,
            self.remote_demand,
            use.desired_in_use_us,
            use.required_in_use_us,
            use.poll,
        )
        if kept != self._kept:
            self._kept = kept
            self.is_news = True

    def _advertise(self) -> None:
        # §6.8.3: while not Up, at least a second. Required Min RX stays as configured in every
        # state: OVN would time out if it were larger while Down.
        desired_us = self.config.desired_min_tx_us
        required_us = self.config.required_min_rx_us
        up = self.state is State.UP
        if not up:
            desired_us = max(desired_us, timing.SLOW_TX_US)
        else:
            desired_us = timing.slowed_us(desired_us, self.back_off.factor)
            required_us = timing.slowed_us(required_us, self.back_off.factor)
        self.negotiation.announce(desired_us, required_us, up=up)

    def _use(self) -> None:
        use = self.negotiation
        interval_us = timing.transmit_interval_us(use.desired_in_use_us, self.remote_min_rx_us)
        if interval_us != self.tx_interval_us:
            self.tx_interval_us = interval_us
            # Planned anew, counted from the last packet: a shorter interval is kept at once.
            self._planned_us = NEVER_US
        self._pace = timing.Pace(interval_us, self.config.detect_mult)
        peer_tx_us = self.remote_desired_min_tx_us
        if self.state is not State.UP:
            # §6.8.3 has every system send slowly until it is Up. OVN announces its fast interval
            # all the same, and yet sends only when something wakes it, such as a packet of ours,
            # one a second. Taken at its word, Init would end before that, again and again.
            peer_tx_us = max(peer_tx_us, timing.SLOW_TX_US)
        self.detection_time_us = timing.detection_time_us(
            self.remote_detect_mult, use.required_in_use_us, peer_tx_us
        )

    def _transmit(self, wire: bytes) -> Transmit:
        return Transmit(self.authentication.sign(wire) if self.authentication else wire)

    def _with_flags(self, flags: int) -> bytes:
        body = bytearray(self._body)
        body[1] |= flags
        return bytes(body)

    def _prepare_periodic(self) -> None:
        asking = self.negotiation.is_asking
        self._periodic = (Transmit(self._with_flags(POLL) if asking else self._body),)

    def _may_send(self) -> bool:
        if self.config.unsolicited and self.state is State.DOWN:
            # RFC 9468 §2: whoever was not asked for is told nothing once it is down.
            return False
        # §6.8.7: the passive side waits until it is spoken to.
        return not (self.config.passive and self.remote_discr == 0)

    def _may_send_periodically(self) -> bool:
        if not self._may_send() or self.remote_min_rx_us == 0:
            return False
        # §6.8.7: a peer in Demand mode hears from us only when it is to be asked something.
        return not self._demand_is_active() or self.negotiation.poll is not Poll.IDLE

    def _demand_is_active(self) -> bool:
        return self.remote_demand and self.state is State.UP and self.remote_state is State.UP

    def _schedule(self, now_us: int) -> None:
        if not self._may_send_periodically():
            self._planned_us = self._transmit_due_us = NEVER_US
        else:
            if self._planned_us == NEVER_US:
                gap_us = self._pace.gap_us(self._draw())
                self._planned_us = max(now_us, self._sent_us + gap_us)
            self._transmit_due_us = self._pace.leaves_us(self._planned_us, self._sent_us)
        self._detection_due_us = NEVER_US
        if self.heard_us is not None and self.remote_discr != 0:
            self._detection_due_us = self.heard_us + max(self.detection_time_us, self.patience_us)
        if self.config.unsolicited and self.state is not State.ADMIN_DOWN:
            down = self.state is State.DOWN
            self.retire_us = min(self.retire_us, now_us + _FORGET_US) if down else NEVER_US
        self._set_due()

    def _set_due(self) -> None:
        self.due_us = min(self._transmit_due_us, self._detection_due_us, self.retire_us)

    def _remember_steady(self, packet: ControlPacket) -> None:
        """Let the same packet take the short way next time, if it can change nothing then."""
        both_up = self.state is State.UP and packet.state is State.UP
        if both_up and not (packet.poll or packet.final):
            self.steady = packet
