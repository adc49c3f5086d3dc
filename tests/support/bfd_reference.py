"""RFC 5880 once more, in the order of its own sentences, to compare `bfd.session` with.

Slow, literal, and written from the text of §6.8.6, §6.8.4, §6.8.16 and §6.8.18, not from the
implementation. It has no Poll Sequences of its own: whoever drives it keeps the configuration.
"""

from bfd.fsm import State
from bfd.packet import ControlPacket


class ReferenceSession:
    """The variables of §6.8.1, by the RFC's names."""

    def __init__(self, desired_us: int, required_us: int) -> None:
        self.DesiredMinTxInterval = desired_us
        self.RequiredMinRxInterval = required_us
        self.SessionState = State.DOWN
        self.RemoteSessionState = State.DOWN
        self.RemoteDiscr = 0
        self.LocalDiag = 0
        self.RemoteMinRxInterval = 1
        self.RemoteDemandMode = False
        self.remote_desired_us = 0
        self.remote_mult = 0
        self.last_valid_us: int | None = None

    def detection_time_us(self) -> int:
        """§6.8.4, asynchronous mode; a peer is held to the second of §6.8.3 until we are Up."""
        desired_us = self.remote_desired_us
        if self.SessionState != State.UP and desired_us < 1_000_000:
            desired_us = 1_000_000
        if self.RequiredMinRxInterval > desired_us:
            return self.remote_mult * self.RequiredMinRxInterval
        return self.remote_mult * desired_us

    def receive(self, packet: ControlPacket, now_us: int) -> bool:
        """§6.8.6; whether an answer with Final is due."""
        if packet.auth:
            return False
        self.RemoteDiscr = packet.my_discr
        self.RemoteSessionState = packet.state
        self.RemoteDemandMode = packet.demand
        self.RemoteMinRxInterval = packet.required_min_rx_us
        self.remote_desired_us = packet.desired_min_tx_us
        self.remote_mult = packet.detect_mult
        self.last_valid_us = now_us
        if self.SessionState == State.ADMIN_DOWN:
            return False
        if packet.state == State.ADMIN_DOWN:
            if self.SessionState != State.DOWN:
                self.LocalDiag = 3
                self.SessionState = State.DOWN
        elif self.SessionState == State.DOWN:
            if packet.state == State.DOWN:
                self.SessionState = State.INIT
            elif packet.state == State.INIT:
                self.SessionState = State.UP
        elif self.SessionState == State.INIT:
            if packet.state in (State.INIT, State.UP):
                self.SessionState = State.UP
        elif packet.state == State.DOWN:
            self.LocalDiag = 3
            self.SessionState = State.DOWN
        return packet.poll

    def look_at_the_clock(self, now_us: int) -> None:
        """§6.8.4 and §6.8.18: what silence does."""
        if self.RemoteDiscr == 0 or self.last_valid_us is None:
            return
        if now_us >= self.last_valid_us + self.detection_time_us():
            if self.SessionState in (State.INIT, State.UP):
                self.LocalDiag = 1
                self.SessionState = State.DOWN
            self.RemoteDiscr = 0
            self.RemoteMinRxInterval = 1
            self.RemoteDemandMode = False

    def disable(self, diag: int) -> None:
        """§6.8.16."""
        self.SessionState = State.ADMIN_DOWN
        self.LocalDiag = diag

    def enable(self) -> None:
        """§6.8.16."""
        if self.SessionState == State.ADMIN_DOWN:
            self.SessionState = State.DOWN
