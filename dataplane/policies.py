"""The nftables table of a gateway. Pure; the shapes are those of libnftables-json(5).

A packet from the VPC is looked up by its source in one map per family and jumps to the chain of its
policy, which counts and accepts; what no policy covers is dropped. SNAT happens for SNAT sources on
the external interface only. Behind SNAT stands a guard: what would leave with a source address of
the VPC, because it was tracked before the rules stood or cannot be tracked at all, is dropped.
"""

import json
from typing import Any

from dataplane.intervals import Interval, flatten
from dataplane.model import GatewayIntent, NftChain, NftElement, NftHook, NftSet, NftTable

Expression = dict[str, Any]

RAW = -300
SRCNAT = 100
BEHIND_SRCNAT = SRCNAT + 10
BFD_PORTS = (3784, 4784)
"""RFC 5881 §4, RFC 5883 §5."""

DROPPED_UNCOVERED = "drop-uncovered"
DROPPED_ELSEWHERE = "drop-elsewhere"
DROPPED_UNINVITED = "drop-uninvited"
DROPPED_UNTRANSLATED = "drop-untranslated"

_PROTOCOLS = {4: "ip", 6: "ip6"}


def render_table(intent: GatewayIntent, families: list[int]) -> NftTable:
    """The table for these families; the other family's packets are forwarded under no policy."""
    intervals = {
        version: flatten(intent.policies, version) if version in families else ()
        for version in (4, 6)
    }
    names = {
        version: [each.name for each in intent.policies if _has(intervals[version], each.name)]
        for version in (4, 6)
    }
    policy_chains = [
        f"{direction}{version}-{name}"
        for version in (4, 6)
        for name in names[version]
        for direction in ("out", "in")
    ]
    chains = [
        NftChain(name, None, (rule(counted(name), {"accept": None}),)) for name in policy_chains
    ]
    chains += _base_chains(intent.internal.interface, intent.external.interface)
    drops = {DROPPED_UNCOVERED, DROPPED_ELSEWHERE, DROPPED_UNINVITED, DROPPED_UNTRANSLATED}
    return NftTable(
        counters=frozenset({*policy_chains, *drops}),
        sets=frozenset(each for version in (4, 6) for each in _sets(version, intervals[version])),
        chains=frozenset(chains),
    )


def _has(intervals: tuple[Interval, ...], name: str) -> bool:
    return any(each.policy.name == name for each in intervals)


def _sets(version: int, intervals: tuple[Interval, ...]) -> list[NftSet]:
    def verdicts(direction: str) -> frozenset[NftElement]:
        return frozenset(
            NftElement(each.first, each.last, f"{direction}{version}-{each.policy.name}")
            for each in intervals
        )

    def plain(*, snat: bool) -> frozenset[NftElement]:
        return _merged([each for each in intervals if each.policy.snat is snat])

    return [
        NftSet(f"out{version}", version, is_map=True, elements=verdicts("out")),
        NftSet(f"in{version}", version, is_map=True, elements=verdicts("in")),
        NftSet(f"snat{version}", version, is_map=False, elements=plain(snat=True)),
        NftSet(f"direct{version}", version, is_map=False, elements=plain(snat=False)),
    ]


def _merged(intervals: list[Interval]) -> frozenset[NftElement]:
    """Neighbours become one element, as libnftables would list them anyway."""
    merged: list[NftElement] = []
    for each in intervals:
        if merged and merged[-1].last + 1 == each.first:
            merged[-1] = NftElement(merged[-1].first, each.last)
        else:
            merged.append(NftElement(each.first, each.last))
    return frozenset(merged)


def _base_chains(internal: str, external: str) -> list[NftChain]:
    outward = (_meta("iifname", internal), _meta("oifname", external))
    inward = (_meta("iifname", external), _meta("oifname", internal))
    established = _match("in", {"ct": {"key": "state"}}, ["established", "related"])
    bfd = _match("==", {"payload": {"protocol": "udp", "field": "dport"}}, {"set": [*BFD_PORTS]})
    to_us = _match("==", {"fib": {"result": "type", "flags": ["daddr"]}}, "local")
    translated = _match("in", {"ct": {"key": "status"}}, "snat")
    masquerade: Expression = {"masquerade": {"flags": "fully-random"}}
    drop: Expression = {"drop": None}
    accept: Expression = {"accept": None}
    elsewhere = {"meta": {"key": "oifname"}}, {"set": sorted((external, internal))}
    forward = (
        *(rule(*outward, _lookup(version, "saddr", f"out{version}")) for version in (4, 6)),
        rule(*outward, counted(DROPPED_UNCOVERED), drop),
        # Without its routes, when the external link is down for instance, a packet would follow
        # the host's own and leave by a third interface, untranslated.
        rule(
            _meta("iifname", internal), _match("!=", *elsewhere), counted(DROPPED_ELSEWHERE), drop
        ),
        *(
            rule(*inward, established, _lookup(version, "daddr", f"in{version}"))
            for version in (4, 6)
        ),
        # Nobody outside may begin a connection, except to sources that show their own address.
        *(
            rule(
                *inward,
                _member(version, "daddr", f"direct{version}"),
                _lookup(version, "daddr", f"in{version}"),
            )
            for version in (4, 6)
        ),
        rule(*inward, counted(DROPPED_UNINVITED), drop),
    )
    snat = tuple(
        rule(*outward, _member(version, "saddr", f"snat{version}"), masquerade)
        for version in (4, 6)
    )
    guard = (
        *(
            rule(*outward, _member(version, "saddr", f"direct{version}"), accept)
            for version in (4, 6)
        ),
        # A packet without a connection (invalid, untracked) has no status and goes on to the drop.
        rule(*outward, translated, accept),
        rule(*outward, counted(DROPPED_UNTRANSLATED), drop),
    )
    untracked: Expression = {"notrack": None}
    return [
        # BFD is never tracked, so it is never translated and never waits for a full table.
        NftChain("bfd-in", NftHook("filter", "prerouting", RAW), (rule(to_us, bfd, untracked),)),
        NftChain("bfd-out", NftHook("filter", "output", RAW), (rule(bfd, untracked),)),
        NftChain("forward", NftHook("filter", "forward", 0), forward),
        NftChain("snat", NftHook("nat", "postrouting", SRCNAT), snat),
        NftChain("guard", NftHook("filter", "postrouting", BEHIND_SRCNAT), guard),
    ]


def rule(*expressions: Expression) -> str:
    """The canonical text of a rule."""
    return json.dumps(list(expressions), sort_keys=True)


def counted(name: str) -> Expression:
    """Count the packet in a named counter."""
    return {"counter": name}


def _match(operator: str, left: Expression, right: object) -> Expression:
    return {"match": {"op": operator, "left": left, "right": right}}


def _meta(key: str, value: str) -> Expression:
    # By name, not index: the rules may stand before the interface does.
    return _match("==", {"meta": {"key": key}}, value)


def _address(version: int, field: str) -> Expression:
    return {"payload": {"protocol": _PROTOCOLS[version], "field": field}}


def _member(version: int, field: str, name: str) -> Expression:
    return _match("==", _address(version, field), f"@{name}")


def _lookup(version: int, field: str, name: str) -> Expression:
    return {"vmap": {"key": _address(version, field), "data": f"@{name}"}}
