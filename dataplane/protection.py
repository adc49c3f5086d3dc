"""Protection of the gateway itself: what may come in through its two interfaces. Pure.

Off unless asked for, because a host may serve other things there. Other interfaces are not
concerned.
"""

from collections.abc import Iterator

from dataplane.expressions import (
    BFD_PORTS,
    Expression,
    address,
    counted,
    match,
    meta,
    ports,
    rule,
)
from dataplane.model import GatewayIntent, InputProtection, NftChain, NftHook, NftRule

DROPPED_INPUT = "drop-input"

_ACCEPT: Expression = {"accept": None}


def input_chain(intent: GatewayIntent, protection: InputProtection) -> NftChain:
    """The chain that takes in what is named, and drops the rest."""
    return NftChain("input", NftHook("filter", "input", 0), tuple(_rules(intent, protection)))


def _rules(intent: GatewayIntent, protection: InputProtection) -> Iterator[NftRule]:
    ours = {"set": sorted((intent.internal.interface, intent.external.interface))}
    yield rule(match("!=", {"meta": {"key": "iifname"}}, ours), _ACCEPT)
    for version in (4, 6):
        peers = sorted(str(each) for each in intent.bfd_peers if each.version == version)
        if peers:
            from_peer = match("==", address(version, "saddr"), {"set": peers})
            yield rule(from_peer, ports("udp", *BFD_PORTS), _ACCEPT)
    established = match("in", {"ct": {"key": "state"}}, ["established", "related"])
    yield rule(established, _ACCEPT)
    # Neighbour discovery is ICMPv6 (RFC 4861); without it nothing else would work.
    yield rule(meta("l4proto", {"set": ["icmp", "ipv6-icmp"]}), _ACCEPT)
    for protocol, numbers in (("tcp", protection.tcp_ports), ("udp", protection.udp_ports)):
        if numbers:
            yield rule(ports(protocol, *sorted(numbers)), _ACCEPT)
    yield rule(counted(DROPPED_INPUT), {"drop": None})
