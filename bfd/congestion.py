"""Slowing down where packets are lost: the congestion control that RFC 5880 §7 asks for.

The peer's packets are counted over a window and compared with the fewest that it may send, one per
interval. When more than a tenth of those are missing, or the session has timed out, both directions
are slowed to half: we announce twice the intervals, by a Poll Sequence, and no session flaps of
that. After some windows without a loss the speed is doubled again. Arrival is judged by the
kernel's time, so that a pause of this process is not mistaken for a loss.

Loss is the one sign of congestion that an endpoint of BFD has. Microseconds on one monotonic clock.
"""

_WINDOW_PACKETS = 20
_SHORTEST_WINDOW_US = 2_000_000
_GOOD_WINDOWS = 5


class BackOff:
    """How much one session is slowed down; `factor` is 1 or a power of two up to `most`."""

    __slots__ = ("_good", "_interval_us", "_received", "_since_us", "factor", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.factor = 1
        self._good = 0
        self._interval_us = 0
        self._since_us = 0
        self._received = 0

    def limit(self, most: int) -> None:
        """Never slow down further than `most` times."""
        self.most = most
        while self.factor > most:
            self.factor //= 2

    def observe(self, heard_us: int, received: int, peer_interval_us: int) -> bool:
        """Whether `factor` has changed, now that of `received` packets in all the last arrived at
        `heard_us`; `peer_interval_us` is the longest distance that the peer may leave."""
        if peer_interval_us != self._interval_us or received < self._received:
            self._interval_us = peer_interval_us
            self._begin(heard_us, received)
            return False
        elapsed_us = heard_us - self._since_us
        if elapsed_us < max(_WINDOW_PACKETS * peer_interval_us, _SHORTEST_WINDOW_US):
            return False
        expected = elapsed_us // peer_interval_us
        is_lossy = (received - self._received) * 10 < expected * 9
        self._begin(heard_us, received)
        return self.slow_down() if is_lossy else self._speed_up()

    def slow_down(self) -> bool:
        """Loss has shown; whether `factor` has changed."""
        self._good = 0
        if self.factor * 2 > self.most:
            return False
        self.factor *= 2
        return True

    def _speed_up(self) -> bool:
        self._good += 1
        if self._good < _GOOD_WINDOWS or self.factor == 1:
            return False
        self._good = 0
        self.factor //= 2
        return True

    def _begin(self, heard_us: int, received: int) -> None:
        self._since_us = heard_us
        self._received = received
