"""What SNAT has in use of its ports, and how many there are. Pure; `dataplane.census` counts."""

from dataclasses import dataclass

from dataplane.model import GatewayIntent, IPAddress

PORTS_WITHOUT_RANGE = (1024, 65_535)
"""What the kernel chooses from where no range is given, for connections that began with a port in
it (nf_nat_l4proto_unique_tuple in net/netfilter/nf_nat_core.c)."""

WITH_PORTS = {6: "tcp", 17: "udp", 33: "dccp", 132: "sctp", 136: "udplite"}
"""The protocols of which SNAT chooses the port, by number."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A place outside, and how many translated connections lead there from one address."""

    address: IPAddress
    port: int
    connections: int


@dataclass(frozen=True, slots=True)
class PortUse:
    """What SNAT has in use of one external address, for one protocol."""

    address: IPAddress
    protocol: str
    connections: int
    ports: int
    """Different ones; never more than the connections."""
    busiest: tuple[Destination, ...]
    """The destinations with the most connections, the busiest first."""


@dataclass(frozen=True, slots=True)
class Census:
    """What one pass has found."""

    connections: int
    translated: int
    """Those whose source is translated, of any protocol."""
    uses: tuple[PortUse, ...]
    """The one with the most connections first."""


def ports_available(intent: GatewayIntent, address: IPAddress) -> int:
    """How many ports SNAT may show with an external address; 0 if it shows another one now."""
    version = address.version
    is_own = any(address == each.ip for each in intent.external.own(version))
    usable: set[tuple[int, int]] = set()
    for translation in {each.translation or intent.translation for each in intent.policies}:
        ranges = translation.ranges(version)
        if any(address in each for each in ranges) if ranges else is_own:
            usable.add(translation.ports or PORTS_WITHOUT_RANGE)
    count, counted_to = 0, -1
    for first, last in sorted(usable):
        count += max(0, last - max(first - 1, counted_to))
        counted_to = max(counted_to, last)
    return count
