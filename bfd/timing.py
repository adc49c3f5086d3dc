"""The arithmetic of RFC 5880 §6.8.2-6.8.4 and §6.8.7 on integer microseconds, and nothing else.

No clock and nothing that changes: whoever needs an interval, a detection time or the moment of the
next packet passes the numbers in. Randomness comes as a number from 0 to 1, so that a test can
choose it.
"""

NEVER_US = 1 << 62
"""A deadline that does not come."""

SLOW_TX_US = 1_000_000
"""The fastest Desired Min TX that a session may have while it is not Up (§6.8.3)."""

_WAKE_EARLY_US = 1_200
_LONGEST_TICK_US = 16_384


def transmit_interval_us(desired_min_tx_us: int, remote_min_rx_us: int) -> int:
    """The interval between periodic packets before jitter (§6.8.2)."""
    return max(desired_min_tx_us, remote_min_rx_us)


def slowed_us(interval_us: int, factor: int) -> int:
    """The interval, that many times as long, but a second if that is less: this slow is every
    session while it is not Up."""
    return max(interval_us, min(interval_us * factor, SLOW_TX_US))


def detection_time_us(detect_mult: int, required_min_rx_us: int, desired_min_tx_us: int) -> int:
    """The detection time of the side that has `required_min_rx_us` (§6.8.4, asynchronous mode).

    Multiplier and Desired Min TX are those of the *sending* side.
    """
    return detect_mult * max(required_min_rx_us, desired_min_tx_us)


class Pace:
    """How periodic packets of one interval are spaced (§6.8.7): 75 to 100 % of it apart.

    With a multiplier of one, a full interval would already be the peer's detection time, so the
    most is 90 %.
    """

    __slots__ = ("_early_us", "_tick_us", "_width_us", "longest_us", "shortest_us")

    def __init__(self, interval_us: int, detect_mult: int) -> None:
        self.shortest_us = -(-interval_us * 3 // 4)
        self.longest_us = interval_us * 9 // 10 if detect_mult == 1 else interval_us
        self._width_us = self.longest_us - self.shortest_us
        self._early_us = min(_WAKE_EARLY_US, interval_us // 10)
        self._tick_us = _tick_us(
            self.shortest_us + self._early_us // 4, self.longest_us - self._early_us
        )

    def gap_us(self, draw: float) -> int:
        """A distance between two packets; `draw` is a fresh random number, 0 <= draw < 1."""
        return self.shortest_us + int(self._width_us * draw)

    def next_planned_us(self, planned_us: int, sent_us: int, draw: float) -> int:
        """When the packet after this one is planned.

        Counted from the time this one was *planned*, so that lateness does not add up, but never
        nearer to the time it was sent than jitter allows, nor farther.
        """
        next_us = planned_us + self.shortest_us + int(self._width_us * draw)
        if next_us < sent_us + self.shortest_us:
            return sent_us + self.shortest_us
        if next_us > sent_us + self.longest_us:
            return sent_us + self.longest_us
        return next_us

    def leaves_us(self, planned_us: int, sent_us: int) -> int:
        """When a packet planned for `planned_us` leaves: on a tick before that, if jitter allows.

        The event loop may wake up a millisecond late; aiming that much before the planned time
        keeps the distance within 100 %. Never nearer to the last packet than 75 %.
        """
        tick_us = self._tick_us
        leaves_us = (planned_us - self._early_us) // tick_us * tick_us
        low_us = sent_us + self.shortest_us
        if leaves_us >= low_us:
            return leaves_us
        leaves_us = -(-low_us // tick_us) * tick_us
        return low_us if leaves_us > sent_us + self.longest_us - self._early_us else leaves_us


def _tick_us(shortest_us: int, longest_us: int) -> int:
    """On which multiples packets leave that are to be so far apart.

    Waking up costs more than sending; sessions that wait for the same tick share a wake-up. So the
    tick is the longest of which at least two are in the room for jitter, for chance to choose from;
    and a power of two, so that the ticks of slow sessions fall together with those of faster ones.
    """
    tick_us = _LONGEST_TICK_US
    while tick_us > 1 and longest_us // tick_us <= -(-shortest_us // tick_us):
        tick_us //= 2
    return tick_us
