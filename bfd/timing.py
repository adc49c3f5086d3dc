"""The arithmetic of RFC 5880 §6.8.2-6.8.4 and §6.8.7 on integer microseconds, and nothing else.

No state and no clock: whoever needs an interval, a detection time or the moment of the next packet
passes the numbers in. Randomness comes as a number from 0 to 1, so that a test can choose it.
"""

NEVER_US = 1 << 62
"""A deadline that does not come."""

SLOW_TX_US = 1_000_000
"""The fastest Desired Min TX that a session may have while it is not Up (§6.8.3)."""

_WAKE_EARLY_US = 1_000
_LONGEST_TICK_US = 4_096


def transmit_interval_us(desired_min_tx_us: int, remote_min_rx_us: int) -> int:
    """The interval between periodic packets before jitter (§6.8.2)."""
    return max(desired_min_tx_us, remote_min_rx_us)


def detection_time_us(detect_mult: int, required_min_rx_us: int, desired_min_tx_us: int) -> int:
    """The detection time of the side that has `required_min_rx_us` (§6.8.4, asynchronous mode).

    Multiplier and Desired Min TX are those of the *sending* side.
    """
    return detect_mult * max(required_min_rx_us, desired_min_tx_us)


def shortest_gap_us(interval_us: int) -> int:
    """The least distance of two periodic packets: three quarters of the interval (§6.8.7)."""
    return -(-interval_us * 3 // 4)


def longest_gap_us(interval_us: int, detect_mult: int) -> int:
    """The greatest distance of two periodic packets: the interval, or 90 % of it (§6.8.7).

    With a multiplier of one, a full interval would already be the peer's detection time.
    """
    return interval_us * 9 // 10 if detect_mult == 1 else interval_us


def gap_us(interval_us: int, detect_mult: int, draw: float) -> int:
    """A distance for the next packet; `draw` is a fresh random number, 0 <= draw < 1."""
    low = shortest_gap_us(interval_us)
    high = longest_gap_us(interval_us, detect_mult)
    return low + int((high - low) * draw)


def next_planned_us(
    planned_us: int, sent_us: int, interval_us: int, detect_mult: int, draw: float
) -> int:
    """When the packet after this one is planned.

    Counted from the time this one was *planned*, so that lateness does not add up, but never
    nearer to the time it was sent than jitter allows, nor farther.
    """
    planned = planned_us + gap_us(interval_us, detect_mult, draw)
    low = sent_us + shortest_gap_us(interval_us)
    high = sent_us + longest_gap_us(interval_us, detect_mult)
    return min(max(planned, low), high)


def tick_us(interval_us: int) -> int:
    """The tick on which packets of this interval leave: a power of two, 4 % of it or less.

    Waking up costs more than sending. Sessions that wait for the next tick of the same clock share
    a wake-up, and the ticks of faster sessions fall together with those of slower ones.
    """
    return 1 << (min(interval_us // 24, _LONGEST_TICK_US).bit_length() - 1) if interval_us else 1


def leaves_us(planned_us: int, sent_us: int, interval_us: int, detect_mult: int) -> int:
    """When a packet planned for `planned_us` leaves: on a tick before that, if jitter allows.

    The event loop wakes up to a millisecond late; leaving that much before the planned time keeps
    the distance within 100 %. Never nearer to the last packet than 75 %.
    """
    early_us = min(_WAKE_EARLY_US, interval_us // 10)
    tick = tick_us(interval_us)
    leaves = (planned_us - early_us) // tick * tick
    low = sent_us + shortest_gap_us(interval_us)
    if leaves < low:
        leaves = -(-low // tick) * tick
        if leaves > sent_us + longest_gap_us(interval_us, detect_mult) - early_us:
            return low
    return leaves
