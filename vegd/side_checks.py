"""What must hold between the fields of the two sides: addresses, gateways, interfaces, MTU.

Part of `vegd.spec_checks`. A check that looks for a match needs only the values it compares; a
check that looks for the absence of one is made only when the whole list is sound.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from vegd.faults import Path, path_text
from vegd.texts import Address, InterfaceAddress, Network

if TYPE_CHECKING:
    from vegd.document import Draft
    from vegd.spec import GatewaySpec, Side

SideName = Literal["internal", "external"]
SIDES: tuple[SideName, SideName] = ("internal", "external")

_LEAST_IPV6_MTU = 1280
"""RFC 8200 §5; the kernel turns IPv6 off on an interface below it."""


def check_sides(draft: "Draft[GatewaySpec]") -> None:
    """All checks that concern the sides only."""
    _check_interfaces(draft)
    _check_addresses(draft)
    _check_overlap(draft)
    for name in SIDES:
        _check_gateways(draft, name)
        _check_mtu(draft, name)


def side_of(draft: "Draft[GatewaySpec]", name: SideName) -> "Side":
    """The side with this name."""
    return draft.value.internal if name == "internal" else draft.value.external


def family(version: int) -> str:
    """The name of an address family."""
    return f"IPv{version}"


def is_link_local(address: Address) -> bool:
    """Whether it is an IPv6 address that each link has on its own."""
    return address.version == 6 and address.is_link_local


def subnets(addresses: Iterable[InterfaceAddress]) -> list[Network]:
    """The subnets of the addresses, each once, in their order."""
    return list(dict.fromkeys(address.network for address in addresses))


def sound_subnets(draft: "Draft[GatewaySpec]", name: SideName) -> list[Network]:
    """The subnets of a side's addresses with which nothing is wrong."""
    entries = draft.entries((name, "addresses"), side_of(draft, name).addresses or ())
    return subnets(interface for path, interface in entries if draft.is_sound(*path))


def own_addresses(spec: "GatewaySpec") -> list[Address]:
    """Every address that the configuration gives to the gateway."""
    sides = (spec.internal.addresses, spec.external.addresses)
    return [interface.ip for addresses in sides for interface in addresses or ()]


def not_a_host(address: Address) -> str | None:
    """Why the address cannot be that of one other host, on any network."""
    if address.is_unspecified:
        return "is the unspecified address"
    if address.is_loopback:
        return "is a loopback address"
    if address.is_multicast:
        return "is a multicast address"
    return "is the broadcast address" if str(address) == "255.255.255.255" else None


def names_its_subnet(address: Address, network: Network) -> str | None:
    """Why the address cannot be that of a host of this subnet, if so."""
    if address not in network:
        return None
    if network.version == 6:
        # RFC 4291 §2.6.1; RFC 6164 §5 for the lengths that have no such address.
        is_anycast = network.prefixlen < 127 and address == network.network_address
        return f"is the subnet-router anycast address of {network}" if is_anycast else None
    # RFC 3021: both addresses of a /31 are hosts.
    if network.prefixlen > 30:
        return None
    if address == network.network_address:
        return f"is the network address of {network}"
    return f"is the broadcast address of {network}" if address == network[-1] else None


def _check_interfaces(draft: "Draft[GatewaySpec]") -> None:
    internal, external = draft.value.internal, draft.value.external
    path: Path = ("external", "interface")
    are_known = draft.is_sound("internal", "interface") and draft.is_sound(*path)
    if are_known and internal.interface == external.interface:
        problem = "is the internal interface too"
        draft.object_to(path, external.interface, problem, "name two different interfaces")
    macvlan = external.macvlan
    if macvlan is None or not draft.is_sound("external", "macvlan"):
        return
    path = ("external", "macvlan", "parent")
    are_known = draft.is_sound(*path) and draft.is_sound("external", "interface")
    if are_known and macvlan.parent == external.interface:
        remedy = "name the interface below it, which exists already"
        draft.object_to(path, macvlan.parent, "is the external interface itself", remedy)
    if external.addresses is None and draft.is_sound("external", "addresses"):
        remedy = "list its addresses, for nobody else gives any to an interface that vegd creates"
        draft.complain_of_field(("external", "addresses"), "is missing beside macvlan", remedy)


def _check_addresses(draft: "Draft[GatewaySpec]") -> None:
    seen: dict[Address, str] = {}
    for name in SIDES:
        for path, interface in draft.entries(
            (name, "addresses"), side_of(draft, name).addresses or ()
        ):
            address = interface.ip
            if (why := not_a_host(address)) is not None:
                draft.complain(path, str(interface), why, "give the interface an address of a host")
            elif is_link_local(address):
                remedy = "remove it, the kernel sets these itself; list global or unique local ones"
                draft.complain(path, str(interface), "is a link-local address", remedy)
            elif (why := names_its_subnet(address, interface.network)) is not None:
                draft.object_to(path, str(interface), why, "use another address of that subnet")
            if address in seen:
                problem = f"is given twice, first as {seen[address]}"
                draft.object_to(path, str(interface), problem, "remove one of them")
            seen.setdefault(address, path_text(path))


def _check_overlap(draft: "Draft[GatewaySpec]") -> None:
    inside = sound_subnets(draft, "internal")
    for path, interface in draft.entries(
        ("external", "addresses"), draft.value.external.addresses or ()
    ):
        common = next((net for net in inside if net.overlaps(interface.network)), None)
        if common is not None and draft.is_sound(*path):
            problem = f"is in a subnet that overlaps the internal {common}"
            remedy = "use different subnets inside and outside, or correct the prefix lengths"
            draft.complain(path, str(interface), problem, remedy)


def _check_gateways(draft: "Draft[GatewaySpec]", name: SideName) -> None:
    side = side_of(draft, name)
    networks = subnets(side.addresses or ())
    knows_all = side.addresses is not None and draft.is_whole(name, "addresses")
    own = own_addresses(draft.value)
    families: dict[int, Address] = {}
    for path, gateway in draft.entries((name, "gateways"), side.gateways):
        first = families.setdefault(gateway.version, gateway)
        subnet_name = next(filter(None, (names_its_subnet(gateway, net) for net in networks)), None)
        is_on_link = is_link_local(gateway) or any(gateway in net for net in networks)
        if (why := not_a_host(gateway)) is not None:
            draft.complain(path, str(gateway), why, "write the address of the router")
        elif gateway in own:
            remedy = "write the address of the router"
            draft.object_to(path, str(gateway), "is an address of the gateway itself", remedy)
        elif subnet_name is not None:
            draft.object_to(path, str(gateway), subnet_name, "write the address of the router")
        elif knows_all and not is_on_link:
            remedy = "write a router in one of them, or correct the addresses"
            draft.object_to(path, str(gateway), _outside(name, networks), remedy)
        if first is not gateway:
            problem = f"is a second {family(gateway.version)} gateway beside {first}"
            draft.object_to(path, str(gateway), problem, "keep one of each family")


def _outside(name: SideName, networks: list[Network]) -> str:
    listed = ", ".join(map(str, networks[:4])) + (", …" if len(networks) > 4 else "")
    return f"is outside the {name} subnets ({listed})"


def _check_mtu(draft: "Draft[GatewaySpec]", name: SideName) -> None:
    side = side_of(draft, name)
    if side.mtu is None or not draft.is_sound(name, "mtu") or side.mtu >= _LEAST_IPV6_MTU:
        return
    if any(one.version == 6 for one in (*(side.addresses or ()), *side.gateways)):
        problem = "is too small for IPv6, which this side has"
        draft.object_to((name, "mtu"), side.mtu, problem, "give 1280 to 65535 (bytes)")
