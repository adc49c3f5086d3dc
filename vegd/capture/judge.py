"""What is wrong with a packet, by itself and after those before it.

`Judge` is shown every packet in order and keeps the last of each direction. The distance between
two periodic packets is judged (RFC 5880 §6.8.7: 75 to 100 % of the interval, 75 to 90 % with
multiplier 1) where it can be known: the sender repeats what it said, nobody polls, and the timers
of the other side have been seen and have not changed on the way.
"""

from dataclasses import dataclass

from bfd.fsm import State
from bfd.packet import ControlPacket, Discard
from vegd.capture.packets import SINGLE_HOP_PORT, Seen

FULL_TTL = 255
_FIRST_SOURCE_PORT = 49152
_MOST_FLOWS = 65_536


@dataclass(slots=True)
class _Flow:
    """The last packet of one direction."""

    at: float
    packet: ControlPacket
    periodic_at: float | None
    """When the last packet other than an answer was seen."""
    required_since: float
    """Since when its Required Min RX is what it is."""


class Judge:
    """See the module. `min_ttl` is the least TTL of single-hop packets (RFC 5881 §5)."""

    def __init__(self, min_ttl: int = FULL_TTL) -> None:
        self._min_ttl = min_ttl
        self._flows: dict[tuple[str, str, int, str], _Flow] = {}

    def judge(self, seen: Seen) -> tuple[str, ...]:
        """What is wrong, in words; remembers the packet."""
        packet = seen.packet
        wrong = []
        if seen.port == SINGLE_HOP_PORT and seen.ttl < self._min_ttl:
            wrong.append(f"TTL {seen.ttl} is below {self._min_ttl}")
        if seen.source_port < _FIRST_SOURCE_PORT:
            wrong.append(f"source port {seen.source_port} is below {_FIRST_SOURCE_PORT}")
        if isinstance(packet, Discard):
            return (*wrong, f"discarded: {packet.label}")
        if packet.poll and packet.final:
            wrong.append("Poll and Final together")
        spacing = self._follow(seen, packet)
        return (*wrong, spacing) if spacing else tuple(wrong)

    def _follow(self, seen: Seen, packet: ControlPacket) -> str | None:
        # The same packet is seen on several interfaces, such as a macvlan and its parent.
        here = (seen.source, seen.destination, seen.port, seen.interface)
        there = (seen.destination, seen.source, seen.port, seen.interface)
        last, peer = self._flows.get(here), self._flows.get(there)
        spacing = None
        if last is not None and not packet.final:
            spacing = _spacing(seen.at, packet, last, peer)
        since = seen.at
        if last is not None and last.packet.required_min_rx_us == packet.required_min_rx_us:
            since = last.required_since
        # §6.8.7: an answer to a Poll does not move the periodic packets.
        periodic_at: float | None = seen.at
        if packet.final:
            periodic_at = last.periodic_at if last is not None else None
        if len(self._flows) >= _MOST_FLOWS:
            self._flows.clear()
        self._flows[here] = _Flow(seen.at, packet, periodic_at, since)
        return spacing


def _spacing(at: float, packet: ControlPacket, last: _Flow, peer: _Flow | None) -> str | None:
    before = last.packet
    if last.periodic_at is None or packet.poll or before.poll:
        return None
    if before._replace(final=False, auth=b"") != packet._replace(auth=b""):
        return None
    gap_us = (at - last.periodic_at) * 1_000_000
    interval_us = packet.desired_min_tx_us
    full = False
    if peer is not None and packet.your_discr:
        theirs = peer.packet
        demand = theirs.demand and theirs.state is State.UP and packet.state is State.UP
        if theirs.poll or demand or peer.required_since >= last.periodic_at:
            return None
        if theirs.required_min_rx_us == 0:
            return None
        interval_us = max(interval_us, theirs.required_min_rx_us)
        # A peer that was silent for a detection time is taken to receive at any rate (§6.8.18).
        their_interval_us = max(theirs.desired_min_tx_us, packet.required_min_rx_us)
        full = (at - peer.at) * 1_000_000 < theirs.detect_mult * their_interval_us
        if not full:
            interval_us = packet.desired_min_tx_us
    percent = 100 * gap_us / interval_us if interval_us else 100.0
    most = 90 if packet.detect_mult == 1 else 100
    # Without the other side's timers the interval may be longer, but never shorter.
    if percent < 75 or (full and percent > most):
        return f"spacing {percent:.1f} % of {interval_us / 1000:g} ms"
    return None
