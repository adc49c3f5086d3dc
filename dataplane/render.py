"""From what a gateway is meant to do to what the kernel should look like. Pure.

Routing: what comes in on the VPC side is looked up in a table that leads outside, what comes in
from outside in one that leads to the VPC's router, and the gateway's own packets follow their
source address. Each family is planned for itself: one without a next hop on both sides is not
routed, and not forwarded either.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_interface

from dataplane import ownership
from dataplane.model import (
    Address,
    DataplaneState,
    GatewayIntent,
    IPAddress,
    IPInterface,
    Link,
    Route,
    Rule,
    Shaper,
    Side,
    Sysctl,
)
from dataplane.policies import render_table
from dataplane.sources import IPNetwork, Sources

_DEFAULTS: dict[int, IPNetwork] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}
FORWARDING = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
"""The switches of forwarding (ip-sysctl in the kernel's documentation)."""


def render(intent: GatewayIntent, sources: Sources | None = None) -> DataplaneState:
    """The wished state. `sources` are those of the intent, if they are known already: finding
    them takes time for each source, and everything else does not."""
    sides = (intent.internal, intent.external)
    families = [
        version
        for version in (4, 6)
        if intent.internal.gateway(version) and intent.external.gateway(version)
    ]
    return DataplaneState(
        links=frozenset(
            Link(side.interface, side.macvlan, side.mtu, mac=side.mac) for side in sides
        ),
        addresses=frozenset(
            Address(side.interface, address) for side in sides for address in side.addresses
        )
        | {
            Address(intent.external.interface, address, deprecated=True)
            for address in shown_addresses(intent)
        },
        routes=frozenset(route for version in families for route in _routes(intent, version)),
        rules=frozenset(rule for version in families for rule in _rules(intent, version)),
        sysctls=frozenset(_sysctls(intent, families)) | intent.parameters,
        shapers=frozenset(_shapers(intent)),
        nft=render_table(intent, families, sources),
    )


def render_routing(interface: str, families: Iterable[int]) -> DataplaneState:
    """The wished state of a host that forwards by its own routes what comes in there, as it is."""
    return DataplaneState(
        sysctls=frozenset(
            {
                Sysctl(f"net/ipv4/conf/{interface}/rp_filter", "2"),
                *(Sysctl(FORWARDING[version], "1") for version in families),
            }
        )
    )


def shown_addresses(intent: GatewayIntent) -> tuple[IPInterface, ...]:
    """The addresses besides those of the external interface that it has to answer for: what SNAT
    shows and neighbours look for on the link. What is on no link there, the outside has to route
    here."""
    own = {each.ip for version in (4, 6) for each in intent.external.own(version)}
    translations = {each.translation or intent.translation for each in intent.policies if each.snat}
    shown = {
        ip_interface(address)
        for translation in translations
        for each in translation.addresses
        for address in each
        if address not in own
        and any(address in subnet for subnet in intent.external.subnets(address.version))
    }
    return tuple(sorted(shown, key=str))


def external_addresses(intent: GatewayIntent) -> tuple[IPAddress, ...]:
    """All addresses that the external interface answers for, besides link-local ones."""
    own = (each.ip for version in (4, 6) for each in intent.external.own(version))
    shown = (each.ip for each in shown_addresses(intent))
    return tuple(address for address in (*own, *shown) if not address.is_link_local)


def _routes(intent: GatewayIntent, version: int) -> Iterator[Route]:
    """Two tables with the subnets of both sides, and a default route each."""
    for table, leads_to in (
        (ownership.TABLE_TO_VPC, intent.internal),
        (ownership.TABLE_TO_OUTSIDE, intent.external),
    ):
        for side in (intent.internal, intent.external):
            for subnet in side.subnets(version):
                yield Route(subnet, None, side.interface, table)
        yield Route(_DEFAULTS[version], leads_to.gateway(version), leads_to.interface, table)


def _rules(intent: GatewayIntent, version: int) -> Iterator[Rule]:
    to_outside, to_vpc = ownership.TABLE_TO_OUTSIDE, ownership.TABLE_TO_VPC
    yield Rule(version, ownership.RULE_FROM_VPC, intent.internal.interface, to_outside)
    yield Rule(version, ownership.RULE_FROM_OUTSIDE, intent.external.interface, to_vpc)
    for side, priority, table in (
        (intent.internal, ownership.RULE_OWN_INTERNAL, to_vpc),
        (intent.external, ownership.RULE_OWN_EXTERNAL, to_outside),
    ):
        for address in side.own(version):
            # Packets of the gateway itself come in on lo (ip-rule(8)).
            yield Rule(version, priority, "lo", table, address.ip)


def _shapers(intent: GatewayIntent) -> Iterator[Shaper]:
    """Each direction where it leaves: what comes in can be dropped, but not be made to wait."""
    if intent.bandwidth.to_vpc:
        yield Shaper(intent.internal.interface, intent.bandwidth.to_vpc)
    if intent.bandwidth.to_outside:
        yield Shaper(intent.external.interface, intent.bandwidth.to_outside)


def _sysctls(intent: GatewayIntent, families: list[int]) -> Iterator[Sysctl]:
    for side in (intent.internal, intent.external):
        yield from _interface_sysctls(side)
    # "Packet too big" carries the address of the interface it is about, so that it follows the rule
    # for that address back to the VPC; otherwise a source behind the router would never hear of it.
    yield Sysctl("net/ipv4/icmp_errors_use_inbound_ifaddr", "1")
    for version in families:
        yield Sysctl(FORWARDING[version], "1")


def _interface_sysctls(side: Side) -> Iterator[Sysctl]:
    # The kernel uses the larger of all/rp_filter and the interface's: 2, loose, is the one value
    # that no other can make strict.
    yield Sysctl(f"net/ipv4/conf/{side.interface}/rp_filter", "2")
    # When the first address of a subnet goes, the others stay.
    yield Sysctl(f"net/ipv4/conf/{side.interface}/promote_secondaries", "1")
    if side.macvlan is not None:
        # The parent would answer ARP for the macvlan's address, too, with its own MAC.
        yield Sysctl(f"net/ipv4/conf/{side.macvlan.parent}/arp_ignore", "1")
    if any(address.version == 6 for address in side.addresses):
        # An interface whose addresses are managed takes none from router advertisements.
        yield Sysctl(f"net/ipv6/conf/{side.interface}/accept_ra", "0")
