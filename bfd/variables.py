"""The variables of one BFD session (RFC 5880 §6.8.1), and what can be read from them.

`bfd.session` moves them. Here is how they begin, what they take over from a packet that is
believed, what they say to the peer, and what an engine has to remember of them across a restart.

Times are integer microseconds on one monotonic clock.
"""

from collections.abc import Callable

from bfd import timing
from bfd.actions import StateChanged, Transmit
from bfd.auth import Authentication
from bfd.config import SessionConfig
from bfd.congestion import BackOff
from bfd.dampening import Damper
from bfd.evidence import SessionFacts
from bfd.fsm import Diagnostic, State
from bfd.losses import Losses
from bfd.memory import Memory
from bfd.negotiation import Negotiation
from bfd.packet import ControlPacket, Discard, encode
from bfd.timing import NEVER_US

_DIAGNOSTICS = tuple(Diagnostic)
REMEMBERED = (
    *("state", "local_diag", "remote_state", "remote_diag", "remote_discr", "remote_min_rx_us"),
    *("remote_desired_min_tx_us", "remote_detect_mult", "remote_demand", "remote_sees_us"),
    *(
        "heard_us",
        "patience_us",
        "created_us",
        "admin_down_until_us",
        "rx_packets",
        "tx_packets",
        "transitions",
        "last_change",
    ),
)
"""What a memory takes as it is."""


class Variables:
    """See the module. `draw` returns a fresh random number, 0 <= x < 1, per call."""

    __slots__ = (
        "_body",
        "_body_sent",
        "_detection_due_us",
        "_draw",
        "_kept",
        "_pace",
        "_periodic",
        "_planned_us",
        "_sent_us",
        "_transmit_due_us",
        "admin_down_until_us",
        "authentication",
        "back_off",
        "config",
        "created_us",
        "damper",
        "detection_time_us",
        "discards",
        "due_us",
        "heard_us",
        "is_news",
        "key",
        "last_change",
        "local_diag",
        "local_discr",
        "losses",
        "mark",
        "negotiation",
        "patience_us",
        "queued_us",
        "remote_demand",
        "remote_desired_min_tx_us",
        "remote_detect_mult",
        "remote_diag",
        "remote_discr",
        "remote_min_rx_us",
        "remote_sees_us",
        "remote_state",
        "retire_us",
        "rx_packets",
        "send_errors",
        "state",
        "steady",
        "steady_wire",
        "transitions",
        "tx_interval_us",
        "tx_packets",
    )

    def __init__(
        self, config: SessionConfig, local_discr: int, draw: Callable[[], float], now_us: int
    ) -> None:
        self.key = config.key
        self.config = config
        self.local_discr = local_discr
        self._draw = draw
        self.back_off = BackOff(config.back_off)
        self._init_variables(config)
        self.created_us = now_us
        self.losses = Losses()
        self.damper = Damper()
        self.clear_counters()
        self.last_change: StateChanged | None = None
        self.queued_us = NEVER_US
        self.mark = 0
        """Where the engine notes when this session was heard."""
        self._kept: tuple[object, ...] = ()
        self.is_news = True
        """Whether what `memory` returns has changed, times and counters aside; the engine clears
        it when it has taken note."""
        self.retire_us = NEVER_US
        self.admin_down_until_us = now_us
        self.due_us = now_us
        self._sent_us = -NEVER_US
        self._planned_us = now_us
        self._transmit_due_us = NEVER_US
        self._detection_due_us = NEVER_US

    def _init_variables(self, config: SessionConfig) -> None:
        """Start values of §6.8.1."""
        self.state = State.DOWN
        self.local_diag = Diagnostic.NO_DIAGNOSTIC
        if not config.enabled:
            self.state = State.ADMIN_DOWN
            self.local_diag = config.disabled_diag
        self.remote_state = State.DOWN
        self.remote_discr = 0
        self.remote_diag = Diagnostic.NO_DIAGNOSTIC
        self.remote_min_rx_us = 1
        self.remote_desired_min_tx_us = 0
        self.remote_detect_mult = 0
        self.remote_demand = False
        self.remote_sees_us = False
        self.negotiation = Negotiation(
            max(config.desired_min_tx_us, timing.SLOW_TX_US), config.required_min_rx_us
        )
        self.tx_interval_us = 0
        self._pace = timing.Pace(0, config.detect_mult)
        self.detection_time_us = 0
        self.patience_us = 0
        """How long the present silence may last, where that is more than the detection time."""
        self.authentication: Authentication | None = None
        self._follow_authentication()
        # The first packet of all is a periodic one, sent when it is due; until then it is no news.
        self._body = self._body_sent = self._contents()
        self._periodic: tuple[Transmit] = (Transmit(b""),)
        self.steady: ControlPacket | None = None
        """What the peer says all the time, if hearing it again ends the silence and no more."""
        self.steady_wire = b""
        """Where the engine notes the datagram that it came in."""
        self.heard_us: int | None = None

    def clear_counters(self) -> None:
        """Count from zero again."""
        self.rx_packets = 0
        self.tx_packets = 0
        self.transitions = 0
        self.discards = [0] * len(Discard)
        self.send_errors: dict[str, int] = {}

    # What is counted ------------------------------------------------------------------------

    def refuse(self, why: Discard) -> None:
        """Count a packet of the peer that is not accepted."""
        self.discards[why] += 1
        self.losses.refuse(why, self.heard_us)

    def not_sent(self, error: str, now_us: int) -> None:
        """Count a packet that the kernel refused to send, by the name of the error."""
        self.send_errors[error] = self.send_errors.get(error, 0) + 1
        self.losses.not_sent(error, now_us)

    # What others ask ------------------------------------------------------------------------

    def peer_detection_time_us(self) -> int:
        """How long the peer would wait for our next packet; 0 when no peer listens."""
        if self.remote_discr == 0 or self.remote_state is State.ADMIN_DOWN:
            return 0
        return timing.detection_time_us(
            self.config.detect_mult, self.remote_min_rx_us, self.negotiation.desired_in_use_us
        )

    def transmit_lateness_us(self, now_us: int) -> int:
        """How far the next periodic packet is behind its planned time; negative when early."""
        return now_us - self._planned_us

    def detection_lateness_us(self, now_us: int) -> int:
        """How far `now_us` is behind the end of the detection time."""
        return now_us - self._detection_due_us

    def transmit_is_due(self, now_us: int) -> bool:
        """Whether a periodic packet may leave at `now_us`."""
        return self._transmit_due_us <= now_us

    def detection_is_due(self, now_us: int) -> bool:
        """Whether the detection time has ended by `now_us`."""
        return self._detection_due_us <= now_us

    def memory(self) -> Memory:
        """What `resume` needs to go on."""
        use = self.negotiation
        return Memory(
            desired_min_tx_us=use.desired_min_tx_us,
            required_min_rx_us=use.required_min_rx_us,
            desired_in_use_us=use.desired_in_use_us,
            required_in_use_us=use.required_in_use_us,
            poll=use.poll,
            sent_us=self._sent_us,
            auth=self.authentication.memory() if self.authentication else None,
            damper=self.damper.memory(),
            back_off=self.back_off.factor,
            **{name: getattr(self, name) for name in REMEMBERED},
        )

    # What follows from the configuration, from the peer, and for the peer ------------------

    def _follow_authentication(self) -> None:
        config = self.config.auth
        if config is None:
            self.authentication = None
        elif self.authentication is None:
            # §6.8.1: XmitAuthSeq begins with a random number.
            self.authentication = Authentication(config, int(self._draw() * 2**32))
        elif self.authentication.config != config:
            self.authentication.configure(config)

    def _learn(self, packet: ControlPacket, at_us: int) -> None:
        self.remote_discr = packet.my_discr
        self.remote_sees_us = packet.your_discr != 0
        self.remote_state = packet.state
        # §4.1 reserves 9 to 31: accepted, and ignored.
        self.remote_diag = (
            _DIAGNOSTICS[packet.diagnostic]
            if packet.diagnostic < len(_DIAGNOSTICS)
            else Diagnostic.NO_DIAGNOSTIC
        )
        self.remote_demand = packet.demand
        self.remote_min_rx_us = packet.required_min_rx_us
        self.remote_desired_min_tx_us = packet.desired_min_tx_us
        self.remote_detect_mult = packet.detect_mult
        # Arrival times can step back with the wall clock; what was heard once stays heard.
        self.heard_us = at_us if self.heard_us is None else max(at_us, self.heard_us)

    def _contents(self) -> bytes:
        # §6.8.7. The C bit is honest: sessions outlive the program that configures them.
        return encode(
            ControlPacket(
                state=self.state,
                my_discr=self.local_discr,
                your_discr=self.remote_discr,
                desired_min_tx_us=self.negotiation.desired_min_tx_us,
                required_min_rx_us=self.negotiation.required_min_rx_us,
                detect_mult=self.config.detect_mult,
                diagnostic=self.local_diag,
                control_plane_independent=True,
                auth=self.authentication.section if self.authentication else b"",
            )
        )

    def _facts(self, now_us: int) -> SessionFacts:
        peer_waits_us = self.peer_detection_time_us()
        return SessionFacts(
            silent_us=None if self.heard_us is None else now_us - self.heard_us,
            detection_time_us=self.detection_time_us,
            peer_interval_us=self.detection_time_us // (self.remote_detect_mult or 1),
            peer_detection_time_us=peer_waits_us,
            remote_state=self.remote_state,
            remote_diag=self.remote_diag,
            refused=self.losses.refused(self.heard_us),
            refused_ttl=self.losses.ttl,
            min_ttl=self.config.min_ttl,
            unsent=self.losses.unsent(now_us - peer_waits_us),
        )
