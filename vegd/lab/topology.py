"""Names and addresses of a lab, decided before anything exists.

A lab has a VPC (`vpc1`) with two subnets. Subnet 1 holds the gateways' `eth0`, subnet 2 the
clients; the VPC router has an address in each and the BFD addresses of the VPC. The outside network
holds the gateways' `net1` and one host, which has no route back to the VPC. There are both families
and addresses made for reading, unless a `Network` says otherwise.
`Topology` is the only place that knows numbers; it is pure and follows from `LabOptions` alone,
so that the options are all that has to be remembered about a running lab.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Any

from vegd.lab.errors import BadRequest

Interface = IPv4Interface | IPv6Interface

DEFAULT_PREFIX = "vegd"
MOST_GATEWAYS = 16
MOST_CLIENTS = 8
ECHO_PORT = 7007
"""UDP port of the outside host that answers with the caller's address."""
HTTP_PORT = 80

_PREFIX = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST_PREFIX = 24


class Family(StrEnum):
    """An IP family, by the name it has in reports."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"

    @classmethod
    def of(cls, address: str) -> "Family":
        """The family of an address text."""
        return cls.IPV6 if ":" in address else cls.IPV4


FAMILIES = (Family.IPV4, Family.IPV6)


class RouterKind(StrEnum):
    """What the VPC router is made of."""

    LINUX = "linux"
    OVN = "ovn"


Addresses = tuple[str, ...]
"""With prefix lengths, IPv4 before IPv6; a family may be missing."""


@dataclass(frozen=True, slots=True)
class Network:
    """The addresses of a lab that is to be like another network."""

    subnet1: Addresses
    """The router's addresses in the gateways' subnet."""
    subnet2: Addresses
    """The router's addresses among the clients, of as many networks as they are of."""
    bfd_port: Addresses
    """A family without an address here has no BFD: the router always uses every gateway."""
    outside: Addresses
    gateways: tuple[tuple[Addresses, Addresses], ...]
    """The internal and the external addresses of each gateway."""
    clients: tuple[Addresses, ...]

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Network":
        """Read back what `dataclasses.asdict` and JSON have made of it."""
        return cls(**{name: _frozen(value) for name, value in document.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class LabOptions:
    """What can be chosen about a lab. Raises BadRequest naming field, value and remedy."""

    prefix: str = DEFAULT_PREFIX
    router: RouterKind = RouterKind.LINUX
    gateways: int = 2
    clients: int = 2
    interval_ms: int = 100
    """BFD's transmit interval and required receive interval, on both ends."""
    multiplier: int = 3
    network: Network | None = None
    """Instead of the usual addresses; as many gateways and clients as it has addresses for."""

    def __post_init__(self) -> None:
        check_prefix(self.prefix)
        for name, least, most in (
            ("gateways", 1, MOST_GATEWAYS),
            ("clients", 1, MOST_CLIENTS),
            ("interval_ms", 1, 60_000),
            ("multiplier", 1, 255),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise BadRequest(f"{name.replace('_', '-')}: {value} is not from {least} to {most}")

    @property
    def detection_time_ms(self) -> int:
        """How long a silent peer is believed: multiplier times interval (RFC 5880 §6.8.4)."""
        return self.interval_ms * self.multiplier

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "LabOptions":
        """Read back what `to_json` made; TypeError, ValueError or BadRequest on anything else."""
        network = document.get("network")
        typed = {
            "router": RouterKind(document["router"]),
            "network": None if network is None else Network.from_json(network),
        }
        return cls(**(document | typed))


def check_prefix(prefix: str) -> None:
    """Raises BadRequest unless namespaces and directories may be named by it."""
    if not _PREFIX.fullmatch(prefix) or len(prefix) > _LONGEST_PREFIX:
        raise BadRequest(
            f"prefix: {prefix!r} cannot name a lab; use small letters, digits and single hyphens, "
            f"a letter first, {_LONGEST_PREFIX} characters at most"
        )


def belongs(namespace: str, prefix: str) -> bool:
    """Whether a namespace is one of the lab `prefix`, and not of a lab `prefix-something`."""
    own = r"-(router|sw|outside|gw[0-9]+|client[0-9]+|central|fabric|node[0-9]+|pod-[0-9a-f]+)"
    return bool(re.fullmatch(re.escape(prefix) + own, namespace))


@dataclass(frozen=True, slots=True)
class Gateway:
    """One gateway: where it lives and its addresses, IPv4 first."""

    name: str
    namespace: str
    mac: str
    """Of its `eth0`; the logical switch port of OVN must know it."""
    internal: tuple[Interface, ...]
    external: tuple[Interface, ...]

    def internal_address(self, family: Family) -> str:
        """The address of `eth0` in a family, without its prefix length."""
        return str(of_family(self.internal, family).ip)

    def external_address(self, family: Family) -> str:
        """The address of `net1` in a family, without its prefix length."""
        return str(of_family(self.external, family).ip)


@dataclass(frozen=True, slots=True)
class Client:
    """One client. It has several addresses per family, because ECMP hashes the source address."""

    name: str
    namespace: str
    mac: str
    addresses: tuple[Interface, ...]

    def sources(self, family: Family) -> list[str]:
        """The addresses of a family, without their prefix length."""
        return [str(a.ip) for a in self.addresses if Family.of(str(a)) is family]


def of_family(addresses: Iterable[Interface], family: Family) -> Interface:
    """The first address of a family; StopIteration if there is none."""
    return next(each for each in addresses if Family.of(str(each)) is family)


def families_of(addresses: Iterable[Interface]) -> list[Family]:
    """The families that have an address, IPv4 first."""
    there = {Family.of(str(each)) for each in addresses}
    return [family for family in FAMILIES if family in there]


def _pair(*addresses: str) -> tuple[Interface, ...]:
    return tuple(map(ip_interface, addresses))


class Topology:
    """All names and addresses of the lab that the options describe."""

    subnet1 = _pair("192.168.0.1/24", "fd00::1/64")
    """The router's addresses in the gateways' subnet; with them, the subnet."""
    subnet2 = _pair("192.168.1.1/24", "fd01::1/64")
    """The router's addresses in the clients' subnet."""
    bfd_port = _pair("10.255.255.255/32", "fdff::1/128")
    """The router's end of every BFD session."""
    outside = _pair("172.17.0.1/16", "fd17::1/64")
    """The outside host, which the gateways also have as their gateway."""

    def __init__(self, options: LabOptions) -> None:
        self.options = options
        if (network := options.network) is not None:
            self.subnet1 = _pair(*network.subnet1)
            self.subnet2 = _pair(*network.subnet2)
            self.bfd_port = _pair(*network.bfd_port)
            self.outside = _pair(*network.outside)

    def namespace(self, node: str) -> str:
        """The network namespace of a node."""
        return f"{self.options.prefix}-{node}"

    @cached_property
    def gateways(self) -> tuple[Gateway, ...]:
        """`gw1`, `gw2`, …"""
        return tuple(
            Gateway(
                name=f"gw{n}",
                namespace=self.namespace(f"gw{n}"),
                mac=f"02:00:00:00:01:{n:02x}",
                internal=_pair(*internal),
                external=_pair(*external),
            )
            for n, (internal, external) in enumerate(self._gateway_addresses(), 1)
        )

    def _gateway_addresses(self) -> Iterable[tuple[Addresses, Addresses]]:
        if (network := self.options.network) is not None:
            return network.gateways
        return (
            (
                (f"192.168.0.{1 + n}/24", f"fd00::{1 + n}/64"),
                (f"172.17.0.{10 + n}/16", f"fd17::{10 + n}/64"),
            )
            for n in range(1, self.options.gateways + 1)
        )

    @cached_property
    def clients(self) -> tuple[Client, ...]:
        """`client1`, `client2`, …"""
        return tuple(
            Client(
                name=f"client{n}",
                namespace=self.namespace(f"client{n}"),
                mac=f"02:00:00:00:02:{n:02x}",
                addresses=_pair(*addresses),
            )
            for n, addresses in enumerate(self._client_addresses(), 1)
        )

    def _client_addresses(self) -> Iterable[Addresses]:
        if (network := self.options.network) is not None:
            return network.clients
        # Four addresses per gateway make it very unlikely that a gateway gets none of them.
        each = min(max(8, 4 * self.options.gateways), 240 // self.options.clients)
        return (
            tuple(
                address
                for host in range(10 + (n - 1) * each, 10 + n * each)
                for address in (f"192.168.1.{host}/24", f"fd01::{host}/64")
            )
            for n in range(1, self.options.clients + 1)
        )

    @property
    def router_node(self) -> str:
        """The node that routes: a namespace of its own, or the switch that runs OVN."""
        return "router" if self.options.router is RouterKind.LINUX else "sw"

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """Every node; each is a namespace."""
        return (
            self.router_node,
            "outside",
            *(g.name for g in self.gateways),
            *(c.name for c in self.clients),
        )

    def gateway(self, name: str) -> Gateway:
        """A gateway by name; BadRequest if there is none."""
        for gateway in self.gateways:
            if gateway.name == name:
                return gateway
        known = ", ".join(g.name for g in self.gateways)
        raise BadRequest(f"{name!r} is not a gateway of this lab; it has {known}")

    def peers(self) -> Iterator[tuple[Gateway, Family]]:
        """Every BFD session of the router: one per gateway and family."""
        for gateway in self.gateways:
            for family in families_of(self.bfd_port):
                yield gateway, family

    def owner(self, address: str) -> str | None:
        """The gateway that an internal or external address belongs to."""
        return self.owners.get(address)

    @cached_property
    def owners(self) -> dict[str, str]:
        """The gateway of each internal and external address."""
        return {
            str(interface.ip): gateway.name
            for gateway in self.gateways
            for interface in gateway.internal + gateway.external
        }
