"""NodeFacts: what is known of the machine when a specification is compiled.

Taken from the kernel just before each attempt and never kept: the next attempt looks again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dataplane.model import Interface, IPAddress
from dataplane.tracking import NO_TRACKING, TrackingFacts


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """The interfaces of the network namespace by name, its connection tracking, and the next hops
    of its own default routes, the preferred first, for a source that does not name them."""

    interfaces: Mapping[str, Interface]
    tracking: TrackingFacts = NO_TRACKING
    default_gateways: tuple[IPAddress, ...] = ()
