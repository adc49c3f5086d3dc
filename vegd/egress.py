"""What a gateway does with a packet of a source to a destination, by its configuration. Pure.

The kernel's own order, see `dataplane.policies`: from the longest source prefix to the shortest,
and of the policies of one prefix those without SNAT first, then as they are listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from dataplane.model import IPAddress
from dataplane.portuse import PORTS_WITHOUT_RANGE
from vegd.spec import GatewaySpec, Policy


@dataclass(frozen=True, slots=True)
class Egress:
    """How a packet leaves."""

    policy: str
    """Empty if no policy holds: the packet is dropped."""
    snat: bool = False
    pool: tuple[str, ...] = ()
    """The addresses that SNAT shows; empty for that of the external interface."""
    ports: tuple[int, int] | None = None
    """The first and last port that SNAT shows; None for any."""

    @property
    def ports_text(self) -> str:
        """The ports in words."""
        if self.ports is None:
            first, last = PORTS_WITHOUT_RANGE
            return f"ports {first} to {last} (drawn at random)"
        first, last = self.ports
        return f"port {first}" if first == last else f"ports {first} to {last}"


def egress(spec: GatewaySpec, source: str, destination: str) -> Egress:
    """What becomes of a packet in any pod of the gateway."""
    here, there = ip_address(source), ip_address(destination)
    found = [
        (-network.prefixlen, policy.snat, place, policy)
        for place, policy in enumerate(spec.policies)
        for network in policy.ip_blocks
        if network.version == here.version and here in network
    ]
    for _, _, _, policy in sorted(found, key=lambda each: each[:3]):
        if _holds(policy, there):
            return _leaves(spec, policy, here.version)
    return Egress("")


def _holds(policy: Policy, destination: IPAddress) -> bool:
    wanted, spared = policy.destinations or (), policy.excluded_destinations or ()
    if wanted and not any(destination in each for each in wanted):
        return False
    return not any(destination in each for each in spared)


def _leaves(spec: GatewaySpec, policy: Policy, version: int) -> Egress:
    if not policy.snat:
        return Egress(policy.name)
    shown = spec.external.snat if policy.snat_to is None else policy.snat_to
    pool = tuple(str(each) for each in shown.addresses if each.first.version == version)
    return Egress(policy.name, snat=True, pool=pool, ports=shown.ports)
