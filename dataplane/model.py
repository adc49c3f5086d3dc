"""Values: what a gateway is meant to do, what is in the kernel, what a fact about it looks like.

Everything is frozen and compared by identity of the object in the kernel: two routes are equal when
the kernel would say they are the same route. `owned` says whose an observed object is and takes no
part in comparisons: a foreign object that is as wished satisfies the wish, and is never removed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
)
from typing import NamedTuple

from dataplane.sources import IPNetwork, Sources

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class Macvlan:
    """A macvlan on top of `parent`; modes as in ip-link(8)."""

    parent: str
    mode: str = "bridge"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the gateway's two interfaces: towards the VPC, or towards the outside."""

    interface: str
    addresses: tuple[IPInterface, ...]
    """Addresses to keep there, empty if somebody else does."""
    gateways: tuple[IPAddress, ...]
    """The next hop of each family."""
    mtu: int | None = None
    mac: str | None = None
    """The MAC address to keep there, if one is wished."""
    macvlan: Macvlan | None = None
    """Set if the interface is to be created."""
    found: tuple[IPInterface, ...] = ()
    """Addresses that somebody else keeps there."""

    def subnets(self, version: int) -> tuple[IPNetwork, ...]:
        """The subnets of one family that are on the link."""
        return tuple(sorted({each.network for each in self.own(version)}, key=str))

    def own(self, version: int) -> tuple[IPInterface, ...]:
        """The addresses of one family, whoever keeps them."""
        return tuple(each for each in (*self.addresses, *self.found) if each.version == version)

    def gateway(self, version: int) -> IPAddress | None:
        """The next hop of one family."""
        return next((each for each in self.gateways if each.version == version), None)


@dataclass(frozen=True, slots=True)
class AddressRange:
    """Addresses of one family from `first` to `last`, both included."""

    first: IPAddress
    last: IPAddress

    def __len__(self) -> int:
        return int(self.last) - int(self.first) + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    def overlaps(self, network: IPNetwork) -> bool:
        """Whether any of the addresses is in the network."""
        same = network.version == self.first.version
        return same and self.first <= network[-1] and network[0] <= self.last  # type: ignore[operator]

    def __iter__(self) -> Iterator[IPAddress]:
        kind = type(self.first)
        return (kind(number) for number in range(int(self.first), int(self.last) + 1))

    def __contains__(self, address: IPAddress) -> bool:
        same = address.version == self.first.version
        return same and int(self.first) <= int(address) <= int(self.last)


@dataclass(frozen=True, slots=True)
class Translation:
    """What SNAT shows to the outside. A family without addresses here is shown with the one that
    the kernel prefers on the external interface (masquerade)."""

    addresses: tuple[AddressRange, ...] = ()
    ports: tuple[int, int] | None = None
    """The first and the last port for TCP, UDP and their relatives, both included."""

    def ranges(self, version: int) -> tuple[AddressRange, ...]:
        """The addresses of one family."""
        return tuple(each for each in self.addresses if each.first.version == version)


@dataclass(frozen=True, slots=True)
class Policy:
    """Sources that are forwarded, with SNAT or as they are."""

    name: str
    snat: bool
    sources: tuple[IPNetwork, ...]
    destinations: tuple[IPNetwork, ...] = ()
    """Where it holds; without any, everywhere."""
    excluded_destinations: tuple[IPNetwork, ...] = ()
    """Where it does not hold nevertheless."""
    translation: Translation | None = None
    """What SNAT shows, if not what the gateway shows for all."""


@dataclass(frozen=True, slots=True)
class InputProtection:
    """What may reach the gateway itself through its two interfaces, besides BFD of the peers,
    neighbour discovery, ICMP and answers."""

    tcp_ports: tuple[int, ...] = ()
    udp_ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """The most that is forwarded each way, in bit/s; 0 is no limit."""

    to_vpc: int = 0
    to_outside: int = 0


@dataclass(frozen=True, slots=True)
class GatewayIntent:
    """What the gateway is meant to do with packets."""

    internal: Side
    external: Side
    policies: tuple[Policy, ...]
    bfd_peers: tuple[IPAddress, ...] = ()
    translation: Translation = Translation()
    clamp_mss: bool = True
    """Whether TCP connections are told a segment size that fits the path, both ways."""
    input_protection: InputProtection | None = None
    bandwidth: Bandwidth = Bandwidth()
    parameters: frozenset["Sysctl"] = frozenset()
    """Kernel parameters besides those that forwarding needs (`dataplane.tracking`)."""

    def sources(self) -> Sources:
        """Which policies each source falls under: no-SNAT is stronger, then what is listed first.
        Takes time for each source."""
        by_strength = sorted(self.policies, key=lambda policy: policy.snat)
        return Sources.of((policy.name, policy.sources) for policy in by_strength)


@dataclass(frozen=True, slots=True)
class Interface:
    """A fact: an interface as it is."""

    name: str
    index: int
    kind: str | None
    up: bool
    mtu: int
    addresses: tuple[IPInterface, ...]


class Connection(NamedTuple):
    """A fact: a tracked connection, as its first packet had it, and what SNAT shows of it."""

    protocol: int
    source: IPAddress
    source_port: int
    destination: IPAddress
    destination_port: int
    shown: IPAddress
    """Where answers are sent to: the source itself, or its external address."""
    shown_port: int
    translated: bool
    """Whether its source is translated."""


class Flow(NamedTuple):
    """A tracked connection with what has passed; all 0 if the kernel does not count
    (net.netfilter.nf_conntrack_acct, when the connection began)."""

    connection: Connection
    packets_out: int
    """As the first packet went."""
    bytes_out: int
    packets_in: int
    bytes_in: int


@dataclass(frozen=True, slots=True)
class Link:
    """An interface that is up, with an MTU if one is wished, created if it is a macvlan of ours."""

    name: str
    macvlan: Macvlan | None = None
    mtu: int | None = None
    up: bool = True
    mac: str | None = None
    owned: bool = field(default=True, compare=False)

    def __str__(self) -> str:
        text = f"link {self.name}"
        if self.macvlan:
            text += f" macvlan {self.macvlan.mode} on {self.macvlan.parent}"
        if self.mtu:
            text += f" mtu {self.mtu}"
        if self.mac:
            text += f" address {self.mac}"
        return text + (" up" if self.up else " down")


@dataclass(frozen=True, slots=True)
class Address:
    """An address on an interface."""

    interface: str
    address: IPInterface
    deprecated: bool = field(default=False, compare=False)
    """Answered for, and never chosen by the kernel as a source (RFC 4862 §5.5.4)."""
    owned: bool = field(default=True, compare=False)

    def __str__(self) -> str:
        return f"address {self.address} dev {self.interface}"


@dataclass(frozen=True, slots=True)
class Route:
    """A route in a table of ours; without `gateway` the destination is on the link."""

    destination: IPNetwork
    gateway: IPAddress | None
    interface: str
    table: int
    owned: bool = field(default=True, compare=False)

    def __str__(self) -> str:
        default = self.destination.prefixlen == 0
        name = "default" if default else str(self.destination)
        via = f" via {self.gateway}" if self.gateway else ""
        family = " (IPv6)" if default and self.destination.version == 6 else ""
        return f"route {name}{family}{via} dev {self.interface} table {self.table}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A routing policy rule."""

    version: int
    priority: int
    iif: str
    table: int
    source: IPAddress | None = None
    owned: bool = field(default=True, compare=False)

    def __str__(self) -> str:
        source = f" from {self.source}" if self.source else f" (IPv{self.version})"
        return f"rule {self.priority} iif {self.iif}{source} lookup {self.table}"


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A kernel parameter below /proc/sys, with slashes: an interface's name may contain dots."""

    path: str
    value: str
    owned: bool = field(default=True, compare=False)

    def __str__(self) -> str:
        return f"sysctl {self.path} = {self.value}"


@dataclass(frozen=True, slots=True)
class Shaper:
    """What is forwarded out of an interface is held to a rate (tc-htb(8)): packets of the priority
    `SHAPED`. All others, such as BFD, pass beside it."""

    interface: str
    bits_per_second: int
    owned: bool = field(default=True, compare=False)

    def __str__(self) -> str:
        return f"shaper dev {self.interface} rate {self.bits_per_second} bit/s"


@dataclass(frozen=True, slots=True)
class NftSet:
    """An interval set of addresses of one family: first and last, both included."""

    name: str
    version: int
    elements: frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class NftHook:
    """Where a base chain hangs (nft(8), "Chains")."""

    kind: str
    hook: str
    priority: int


@dataclass(frozen=True, slots=True)
class NftRule:
    """A rule, known by the digest of its text, which it carries as a comment: how it is listed
    differs between versions of libnftables."""

    digest: str
    text: str = field(compare=False)
    """The canonical JSON text of its expressions (libnftables-json(5))."""


@dataclass(frozen=True, slots=True)
class NftChain:
    """A chain with its rules in order."""

    name: str
    hook: NftHook | None
    rules: tuple[NftRule, ...]


@dataclass(frozen=True, slots=True)
class NftTable:
    """Our nftables table, whole."""

    counters: frozenset[str] = frozenset()
    sources: Sources = field(default_factory=lambda: Sources({}))
    """One map for each prefix length in use; see `dataplane.sources`."""
    sets: frozenset[NftSet] = frozenset()
    chains: frozenset[NftChain] = frozenset()
    strangers: frozenset[tuple[str, str]] = frozenset()
    """Sets and maps that cannot be ours, each as its kind and name."""


@dataclass(frozen=True, slots=True)
class DataplaneState:
    """All that the program manages, wished or observed."""

    links: frozenset[Link] = frozenset()
    addresses: frozenset[Address] = frozenset()
    routes: frozenset[Route] = frozenset()
    rules: frozenset[Rule] = frozenset()
    sysctls: frozenset[Sysctl] = frozenset()
    shapers: frozenset[Shaper] = frozenset()
    nft: NftTable | None = None
