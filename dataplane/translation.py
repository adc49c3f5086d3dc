"""SNAT: the chains that show a connection to the outside as `Translation` says. Pure.

The kernel takes one range of addresses. Of several, the hash of the source chooses one, each by its
number of addresses, and inside a range the kernel chooses by the source alone ("persistent"), so
that a source keeps its external address as long as the pool stays the same. Ports are drawn at
random ("fully-random"): a counter would be predictable, and slow to find a free one.
"""

from dataplane.expressions import (
    PROTOCOLS,
    Expression,
    address,
    meta,
    rule,
)
from dataplane.model import AddressRange, NftChain, NftRule, Translation

_WITH_PORTS = ("tcp", "udp", "udplite", "sctp", "dccp")
_SEED = 86
"""Of the hash that spreads sources over the ranges of a pool; any number, but always the same."""


def translation_chain(mark: int, version: int) -> str:
    """The name of the chain that translates packets with this mark."""
    return f"snat{version}-{mark}"


def translation_chains(translation: Translation, mark: int, version: int) -> list[NftChain]:
    """The chains for one family."""
    name = translation_chain(mark, version)
    ranges = translation.ranges(version)
    if not ranges:
        masquerade: Expression = {"flags": "fully-random"}
        return [NftChain(name, None, _rules("masquerade", masquerade, translation.ports))]
    if len(ranges) == 1:
        return [NftChain(name, None, _snat(ranges[0], translation.ports))]
    parts = [
        NftChain(f"{name}-{place}", None, _snat(each, translation.ports))
        for place, each in enumerate(ranges)
    ]
    slots, first = [], 0
    for each, part in zip(ranges, parts, strict=True):
        last = first + len(each) - 1
        slot: object = first if first == last else {"range": [first, last]}
        slots.append([slot, {"goto": {"target": part.name}}])
        first = last + 1
    spread = {"jhash": {"mod": first, "seed": _SEED, "expr": address(version, "saddr")}}
    choose: Expression = {"vmap": {"key": spread, "data": {"set": slots}}}
    return [NftChain(name, None, (rule(choose),)), *parts]


def _snat(addresses: AddressRange, ports: tuple[int, int] | None) -> tuple[NftRule, ...]:
    first, last = str(addresses.first), str(addresses.last)
    body: Expression = {
        "family": PROTOCOLS[addresses.first.version],
        "addr": first if first == last else {"range": [first, last]},
        "flags": ["fully-random", "persistent"],
    }
    return _rules("snat", body, ports)


def _rules(verb: str, body: Expression, ports: tuple[int, int] | None) -> tuple[NftRule, ...]:
    plain = rule({verb: body})
    if ports is None:
        return (plain,)
    first, last = ports
    limited = {**body, "port": first if first == last else {"range": [first, last]}}
    # Ports mean something after a transport protocol only; ICMP and others have none to limit.
    return (rule(meta("l4proto", {"set": [*_WITH_PORTS]}), {verb: limited}), plain)
