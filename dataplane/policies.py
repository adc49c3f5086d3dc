"""The nftables table of a gateway. Pure; the shapes are those of libnftables-json(5).

A packet from the VPC is looked up by its source, an answer by its destination, from the longest
prefix in use to the shortest (`dataplane.sources`). What is found is a number for the policies of
that prefix; their chains decide in turn. A policy counts and accepts, or returns if the other end
is not one of its destinations, and then the next policy or prefix is asked. What no policy covers
is dropped.

The verdict travels in the packet mark to postrouting: whether to translate, and to what. Behind
SNAT stands a guard: what would leave with a source address of the VPC although its policy says
SNAT, because it was tracked before the rules stood or cannot be tracked at all, is dropped. From
the forward hook on, packets between the two interfaces have no other mark, and none after it.
"""

from ipaddress import collapse_addresses
from typing import Any

from dataplane.expressions import (
    BFD_PORTS,
    BITS,
    CLAMP,
    NFPROTOS,
    Expression,
    address,
    counted,
    jump,
    match,
    meta,
    netmask,
    ports,
    rule,
    set_meta,
    verdicts,
)
from dataplane.model import (
    GatewayIntent,
    NftChain,
    NftHook,
    NftRule,
    NftSet,
    NftTable,
    Policy,
    Translation,
)
from dataplane.ownership import map_name
from dataplane.protection import DROPPED_INPUT, input_chain
from dataplane.sources import IPNetwork, Sources
from dataplane.translation import translation_chain, translation_chains

RAW = -300
MANGLE = -150
SRCNAT = 100
BEHIND_SRCNAT = SRCNAT + 10

DROPPED_UNCOVERED = "drop-uncovered"
DROPPED_ELSEWHERE = "drop-elsewhere"
DROPPED_UNINVITED = "drop-uninvited"
DROPPED_UNTRANSLATED = "drop-untranslated"

PRIORITY = "8600:1"
"""`ownership.SHAPED`, as nft(8) writes a priority."""

_DIRECT = 1
"""The mark of what leaves as it is; every translation has a number from here on."""

_DROP: Expression = {"drop": None}
_ACCEPT: Expression = {"accept": None}
_RETURN: Expression = {"return": None}


def render_table(
    intent: GatewayIntent, families: list[int], sources: Sources | None = None
) -> NftTable:
    """The table for these families; the other family's packets are forwarded under no policy.
    `sources` are those of the intent, if they are known already."""
    known = (intent.sources() if sources is None else sources).only(families)
    translations = _translations(intent)
    counters = {DROPPED_UNCOVERED, DROPPED_ELSEWHERE, DROPPED_UNINVITED, DROPPED_UNTRANSLATED}
    sets: list[NftSet] = []
    chains = _base_chains(intent, families, [*translations.values()])
    if intent.input_protection is not None:
        counters.add(DROPPED_INPUT)
        chains.append(input_chain(intent, intent.input_protection))
    for version in families:
        combinations = known.combinations(version)
        named = {name for names in combinations.values() for name in names}
        for policy in intent.policies:
            if policy.name in named:
                counters |= {f"{way}{version}-{policy.name}" for way in ("out", "in")}
                sets += _destination_sets(policy, version)
                chains.append(_policy_chain(intent, translations, policy, version))
        chains += _lookup_chains(combinations, known.lengths(version), version)
        for translation, mark in translations.items():
            chains += translation_chains(translation, mark, version)
    return NftTable(frozenset(counters), known, frozenset(sets), frozenset(chains))


def _translations(intent: GatewayIntent) -> dict[Translation, int]:
    """The mark of each translation that a policy asks for."""
    found = (each.translation or intent.translation for each in intent.policies if each.snat)
    return {each: mark for mark, each in enumerate(dict.fromkeys(found), _DIRECT + 1)}


def _policy_chain(
    intent: GatewayIntent, translations: dict[Translation, int], policy: Policy, version: int
) -> NftChain:
    inside = meta("iifname", intent.internal.interface)
    outside = meta("iifname", intent.external.interface)
    if policy.destinations and not _of(version, policy.destinations):
        return NftChain(_chain_of(policy.name, version), None, (rule(_RETURN),))
    rules: list[NftRule] = []
    for name, operator, networks in (
        ("to", "!=", policy.destinations),
        ("except", "==", policy.excluded_destinations),
    ):
        if _of(version, networks):
            # The other end is the destination of what goes out, and the source of what comes back.
            listed = f"@{name}{version}-{policy.name}"
            rules += [
                rule(way, match(operator, address(version, field), listed), _RETURN)
                for way, field in ((inside, "daddr"), (outside, "saddr"))
            ]
    mark = translations[policy.translation or intent.translation] if policy.snat else _DIRECT
    rules.append(
        rule(inside, counted(f"out{version}-{policy.name}"), set_meta("mark", mark), _ACCEPT)
    )
    answer = (counted(f"in{version}-{policy.name}"), set_meta("mark", 0), _ACCEPT)
    if policy.snat:
        # Nobody outside may begin a connection, except to sources that show their own address.
        established = match("in", {"ct": {"key": "state"}}, ["established", "related"])
        rules += [rule(established, *answer), rule(counted(DROPPED_UNINVITED), _DROP)]
    else:
        rules.append(rule(*answer))
    return NftChain(_chain_of(policy.name, version), None, tuple(rules))


def _chain_of(policy: str, version: int) -> str:
    return f"policy{version}-{policy}"


def _of(version: int, networks: tuple[IPNetwork, ...]) -> list[IPNetwork]:
    return [each for each in networks if each.version == version]


def _destination_sets(policy: Policy, version: int) -> list[NftSet]:
    sets = []
    for name, networks in (
        ("to", policy.destinations),
        ("except", policy.excluded_destinations),
    ):
        of_family: list[Any] = _of(version, networks)
        joined = collapse_addresses(of_family)
        elements = frozenset((int(each[0]), int(each[-1])) for each in joined)
        if elements:
            sets.append(NftSet(f"{name}{version}-{policy.name}", version, elements))
    return sets


def _lookup_chains(
    combinations: dict[int, tuple[str, ...]], lengths: list[int], version: int
) -> list[NftChain]:
    """From an address to the chains of its policies: by prefix, then by number."""
    chains, numbers = [], {}
    for number, names in combinations.items():
        chain = _chain_of(names[0], version)
        if len(names) > 1:
            chain = f"either{version}-{number}"
            each_in_turn = tuple(rule(jump(_chain_of(name, version))) for name in names)
            chains.append(NftChain(chain, None, each_in_turn))
        numbers[number] = chain
    decide = f"decide{version}"
    chosen = (rule(verdicts({"meta": {"key": "mark"}}, numbers)),) if numbers else ()
    chains.append(NftChain(decide, None, chosen))
    for name, field in ((f"from{version}", "saddr"), (f"back{version}", "daddr")):
        rules = [
            rule(set_meta("mark", _found(version, field, length)), jump(decide))
            for length in lengths
        ]
        chains.append(NftChain(name, None, tuple(rules)))
    return chains


def _found(version: int, field: str, length: int) -> object:
    """The number of the prefix, by its map; a rule ends if the map does not have it."""
    key = address(version, field)
    if length < BITS[version]:
        key = {"&": [key, netmask(version, length)]}
    return {"map": {"key": key, "data": f"@{map_name(version, length)}"}}


def _base_chains(intent: GatewayIntent, families: list[int], marks: list[int]) -> list[NftChain]:
    internal, external = intent.internal.interface, intent.external.interface
    outward = (meta("iifname", internal), meta("oifname", external))
    inward = (meta("iifname", external), meta("oifname", internal))
    bfd = ports("udp", *BFD_PORTS)
    to_us = match("==", {"fib": {"result": "type", "flags": ["daddr"]}}, "local")
    translated = match("in", {"ct": {"key": "status"}}, "snat")
    neither = match("!=", {"meta": {"key": "oifname"}}, {"set": sorted((external, internal))})
    of_family = {version: meta("nfproto", NFPROTOS[version]) for version in families}
    forward = (
        *(rule(*outward, of_family[version], jump(f"from{version}")) for version in families),
        rule(*outward, counted(DROPPED_UNCOVERED), _DROP),
        # Without its routes, when the external link is down for instance, a packet would follow
        # the host's own and leave by a third interface, untranslated.
        rule(meta("iifname", internal), neither, counted(DROPPED_ELSEWHERE), _DROP),
        *(rule(*inward, of_family[version], jump(f"back{version}")) for version in families),
        rule(*inward, counted(DROPPED_UNINVITED), _DROP),
    )
    mark = {"meta": {"key": "mark"}}
    snat = tuple(
        rule(
            *outward,
            of_family[version],
            verdicts(mark, {each: translation_chain(each, version) for each in marks}, "goto"),
        )
        for version in families
        if marks
    )
    clear = set_meta("mark", 0)
    guard = (
        rule(*outward, meta("mark", _DIRECT), clear, _ACCEPT),
        # A packet without a connection (invalid, untracked) has no status and goes on to the drop.
        rule(*outward, translated, clear, _ACCEPT),
        rule(*outward, counted(DROPPED_UNTRANSLATED), _DROP),
    )
    chains = [
        # BFD is never tracked, so it is never translated and never waits for a full table.
        NftChain(
            "bfd-in", NftHook("filter", "prerouting", RAW), (rule(bfd, to_us, {"notrack": None}),)
        ),
        NftChain("bfd-out", NftHook("filter", "output", RAW), (rule(bfd, {"notrack": None}),)),
        NftChain("forward", NftHook("filter", "forward", 0), forward),
        NftChain("snat", NftHook("nat", "postrouting", SRCNAT), snat),
        NftChain("guard", NftHook("filter", "postrouting", BEHIND_SRCNAT), guard),
    ]
    if intent.clamp_mss:
        clamp = tuple(rule(*way, *CLAMP) for way in (outward, inward))
        chains.append(NftChain("mss", NftHook("filter", "forward", MANGLE), clamp))
    shaped = [
        rule(*way, set_meta("priority", PRIORITY))
        for way, limit in (
            (outward, intent.bandwidth.to_outside),
            (inward, intent.bandwidth.to_vpc),
        )
        if limit
    ]
    if shaped:
        chains.append(NftChain("shape", NftHook("filter", "forward", MANGLE), tuple(shaped)))
    return chains
