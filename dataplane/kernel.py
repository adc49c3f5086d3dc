"""What the rest of the program needs of a kernel; `dataplane.linux` is the real one."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dataplane.model import Connection, DataplaneState, Flow, Interface, IPAddress, NftTable
from dataplane.plan import ApplyReport, Plan
from dataplane.portuse import Census
from dataplane.tracking import TrackingFacts


@dataclass(frozen=True, slots=True)
class PolicyCounter:
    """What was forwarded under a policy: `direction` "out" is from the VPC, "in" the answers."""

    policy: str
    direction: str
    family: int
    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ConntrackUsage:
    """Connections tracked in the network namespace, and the most the kernel allows."""

    entries: int
    maximum: int
    insert_failures: int = 0
    """Connections that found no place: no port was free, or two packets began the same one."""
    drops: int = 0
    """Packets dropped because the table was full."""
    early_drops: int = 0
    """Connections given up before their time to make room."""


class Kernel(Protocol):
    """Observes and applies. One attempt each; whether to try again is the caller's to decide.

    Every method raises DataplaneError where the kernel cannot be asked.
    """

    async def interfaces(self) -> Mapping[str, Interface]:
        """All interfaces by name, as they are."""
        ...

    async def default_gateways(self) -> tuple[IPAddress, ...]:
        """The next hops of the default routes of the main table, the preferred first."""
        ...

    async def observe(self, desired: DataplaneState) -> DataplaneState:
        """What is ours, and what `desired` names whoever it belongs to."""
        ...

    async def apply(self, plan: Plan) -> ApplyReport:
        """Carry out a plan in its order. A failed operation does not stop the independent ones,
        but after it nothing is removed and forwarding is not switched on. After a refused nftables
        transaction nothing is done at all: a route without the table would leak."""
        ...

    async def rehearse(self, table: NftTable) -> None:
        """Have the kernel judge a table of ours, and change nothing. Raises DataplaneError with
        what it refuses."""
        ...

    def changes(self) -> AsyncIterator[None]:
        """Yields when something in the kernel has changed, perhaps by ourselves; coalesced."""
        ...

    async def counters(self) -> tuple[PolicyCounter, ...]:
        """The counters of all policies."""
        ...

    async def conntrack(self) -> ConntrackUsage:
        """How full the connection table is."""
        ...

    async def tracking(self) -> TrackingFacts:
        """The parameters of connection tracking as they are."""
        ...

    async def forget(self, is_stale: Callable[[Connection], bool]) -> int:
        """Remove the tracked connections of which that is said; returns their number."""
        ...

    async def neighbour_answers(self, interface: str, address: IPAddress, timeout_s: float) -> bool:
        """Whether a host on the link answers ARP or ND in time; OSError where none can be asked."""
        ...

    async def flows(self, is_wanted: Callable[[Connection], bool]) -> list[Flow]:
        """The tracked connections of which that is said; takes time for each connection."""
        ...

    async def census(self) -> Census:
        """Count the tracked connections and the ports in use; takes time for each connection."""
        ...

    async def announce(self, interface: str, addresses: Sequence[IPAddress]) -> None:
        """Tell the neighbours on the link once that the interface has these addresses."""
        ...

    async def aclose(self) -> None:
        """Close sockets; the kernel is left as it is."""
        ...
