"""Which address a pod gets, by Kube-OVN's rules: Subnets, lists of fixed addresses, IPPools. Pure.

Free addresses are given in turn, so that one that has just been given back is not taken at once by
somebody else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Any

from kube.schema import split
from vegd.lab.errors import LabError

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network


class NoAddress(LabError):
    """None is free, or what was asked for is not to be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses from one to another, both included."""

    first: Address
    last: Address

    @classmethod
    def parse(cls, text: str) -> Range:
        """An address, ``FIRST..LAST``, or a network. Raises ValueError."""
        first, dots, last = text.strip().partition("..")
        if dots:
            return cls(ip_address(first), ip_address(last))
        network = ip_network(first, strict=False)
        return cls(network[0], network[-1])

    def __contains__(self, address: Address) -> bool:
        return (address.version == self.first.version and int(self.first) <= int(address)) and int(
            address
        ) <= int(self.last)


@dataclass(frozen=True, slots=True)
class Subnet:
    """What there is to give in a Subnet."""

    name: str
    vpc: str
    provider: str
    networks: tuple[Network, ...]
    """One for each family."""
    gateways: tuple[str, ...]
    excluded: tuple[Range, ...] = ()

    @classmethod
    def parse(cls, document: Mapping[str, Any], default_vpc: str) -> Subnet:
        """Of the object; what it leaves out is as Kube-OVN fills it in. Raises ValueError."""
        spec = document.get("spec") or {}
        networks = tuple(ip_network(each) for each in split(spec.get("cidrBlock") or ""))
        provider = spec.get("provider") or "ovn"
        given = split(spec.get("gateway") or "")
        return cls(
            document["metadata"]["name"],
            (spec.get("vpc") or default_vpc) if provider == "ovn" else "",
            provider,
            networks,
            given or tuple(str(each[1]) for each in networks),
            tuple(Range.parse(each) for each in spec.get("excludeIps") or ()),
        )

    def network_of(self, address: Address) -> Network | None:
        """The network that an address is of."""
        return next((each for each in self.networks if address in each), None)

    def gives(self, address: Address) -> bool:
        """Whether a pod may have it unless it asks for it by name."""
        network = self.network_of(address)
        if network is None or str(address) in self.gateways:
            return False
        if address == network[0] and network.num_addresses > 2:
            return False
        is_broadcast = network.version == 4 and network.num_addresses > 2 and address == network[-1]
        return not is_broadcast and not any(address in each for each in self.excluded)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a pod asks for; with nothing it gets whatever is free."""

    choices: tuple[tuple[str, ...], ...] = ()
    """One of these, each with one address per family."""
    pool: tuple[Range, ...] = ()
    """Out of these."""
    pool_name: str = ""


def wish(text: str, pools: Mapping[str, Sequence[str]]) -> Wish:
    """Of the annotation ``ip_pool``: addresses with ``;`` between them, or the name of an IPPool.

    Raises NoAddress if there is no such pool.
    """
    text = text.strip()
    if not text:
        return Wish()
    entries = tuple(split(each) for each in text.split(";") if each.strip())
    try:
        for entry in entries:
            for each in entry:
                ip_address(each)
    except ValueError:
        if text not in pools:
            raise NoAddress(f"there is no IPPool {text!r}") from None
        return Wish(pool=tuple(map(Range.parse, pools[text])), pool_name=text)
    return Wish(entries)


def allocate(
    subnet: Subnet, used: Collection[str], asked: Wish, newest: Mapping[int, Address] | None = None
) -> tuple[Interface, ...]:
    """Addresses for a pod, one for each family of the Subnet.

    `newest` is what was given last, by family: the search goes on behind it.

    Raises:
        NoAddress: none is free.
    """
    if asked.choices:
        return _chosen(subnet, used, asked.choices)
    found = []
    for network in subnet.networks:
        behind = (newest or {}).get(network.version)
        free = (
            each
            for each in _in_turn(network, asked.pool, behind)
            if str(each) not in used and (asked.pool or subnet.gives(each))
        )
        address = next(free, None)
        if address is None:
            place = f"IPPool {asked.pool_name}" if asked.pool else f"Subnet {subnet.name}"
            raise NoAddress(f"{place}: every IPv{network.version} address is in use")
        found.append(ip_interface(f"{address}/{network.prefixlen}"))
    return tuple(found)


def _chosen(
    subnet: Subnet, used: Collection[str], choices: Sequence[tuple[str, ...]]
) -> tuple[Interface, ...]:
    for choice in choices:
        if any(each in used for each in choice):
            continue
        found = []
        for text in choice:
            network = subnet.network_of(ip_address(text))
            if network is None:
                raise NoAddress(f"{text} is not in Subnet {subnet.name}")
            found.append(ip_interface(f"{text}/{network.prefixlen}"))
        return tuple(found)
    raise NoAddress(f"Subnet {subnet.name}: all {len(choices)} addresses asked for are in use")


def _in_turn(network: Network, pool: Sequence[Range], behind: Address | None) -> Iterator[Address]:
    """Every address, beginning behind one."""
    inside = [each for each in pool if each.first in network and each.last in network]
    ranges = [(int(each.first), int(each.last)) for each in inside]
    if not pool:
        ranges = [(int(network[0]), int(network[-1]))]
    kind = type(network[0])
    start = -1 if behind is None else int(behind)
    for first, last in ranges:
        yield from map(kind, range(max(first, start + 1), last + 1))
    for first, last in ranges:
        yield from map(kind, range(first, min(last, start) + 1))


def mac(*parts: str) -> str:
    """A hardware address of one's own, always the same for the same parts."""
    digest = hashlib.sha256("/".join(parts).encode()).digest()
    return ":".join(f"{each:02x}" for each in (0x02, *digest[:5]))
