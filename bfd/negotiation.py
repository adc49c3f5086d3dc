"""What a session says about its two timers, and from when on it acts on it (RFC 5880 §6.5, §6.8.3).

Changing Desired Min TX or Required Min RX starts a Poll Sequence: packets carry the Poll bit until
one with Final answers. Some changes may be acted on at once, others only after the Final, so each
timer exists twice, as announced and as used. `Negotiation` keeps the four numbers and the state of
the poll; who sends when is the session's business.
"""

from enum import Enum, auto


class Poll(Enum):
    """Where a Poll Sequence stands."""

    IDLE = auto()
    ASKING = auto()
    ASKING_OUTDATED = auto()
    """Asking, but what is asked about has changed since: the Final ends nothing yet."""
    PAUSE = auto()
    """One packet without Poll must separate two sequences."""


class Negotiation:
    """See the module; microseconds."""

    __slots__ = (
        "desired_in_use_us",
        "desired_min_tx_us",
        "poll",
        "required_in_use_us",
        "required_min_rx_us",
    )

    def __init__(self, desired_min_tx_us: int, required_min_rx_us: int) -> None:
        self.desired_min_tx_us = self.desired_in_use_us = desired_min_tx_us
        self.required_min_rx_us = self.required_in_use_us = required_min_rx_us
        self.poll = Poll.IDLE

    @property
    def is_asking(self) -> bool:
        """Whether periodic packets carry the Poll bit."""
        return self.poll in {Poll.ASKING, Poll.ASKING_OUTDATED}

    def announce(self, desired_min_tx_us: int, required_min_rx_us: int, *, up: bool) -> None:
        """Say these values from now on, and use them as far as that is allowed already.

        While Up, sending slower and expecting faster both wait for the Final, or one side would
        time out before the other has heard of the change.
        """
        new = (desired_min_tx_us, required_min_rx_us)
        if new != (self.desired_min_tx_us, self.required_min_rx_us):
            self.desired_min_tx_us, self.required_min_rx_us = new
            self.ask_again()
        if not up or desired_min_tx_us < self.desired_in_use_us:
            self.desired_in_use_us = desired_min_tx_us
        if not up or required_min_rx_us > self.required_in_use_us:
            self.required_in_use_us = required_min_rx_us

    def ask_again(self) -> None:
        """Start a Poll Sequence about what is announced now."""
        if self.poll is Poll.IDLE:
            self.poll = Poll.ASKING
        elif self.poll is Poll.ASKING:
            self.poll = Poll.ASKING_OUTDATED

    def heard_final(self) -> None:
        """The peer answered. A Final that nobody asked for means nothing."""
        if self.poll is Poll.ASKING:
            self.poll = Poll.IDLE
            self.desired_in_use_us = self.desired_min_tx_us
            self.required_in_use_us = self.required_min_rx_us
        elif self.poll is Poll.ASKING_OUTDATED:
            self.poll = Poll.PAUSE

    def sent_without_poll(self) -> None:
        """A packet without the Poll bit has left: the pause, if it was one, is over."""
        if self.poll is Poll.PAUSE:
            self.poll = Poll.ASKING
