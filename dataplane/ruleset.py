"""Our nftables table as libnftables speaks of it, in both directions. Pure.

`parse` reads what ``list table`` prints, `transaction` writes the commands from one version to the
next: only what differs is touched, so counters go on counting and unchanged sets stay as they are.
The kernel takes a transaction whole or not at all. Shapes: libnftables-json(5).
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv6Address, ip_network
from typing import Any

from dataplane.expressions import BITS
from dataplane.kernel import PolicyCounter
from dataplane.model import NftChain, NftHook, NftRule, NftSet, NftTable
from dataplane.ownership import NFT_FAMILY, NFT_TABLE, map_name
from dataplane.sources import Length, Sources

Json = dict[str, Any]

_TABLE: Json = {"family": NFT_FAMILY, "table": NFT_TABLE}
_TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
_VERSIONS = {name: version for version, name in _TYPES.items()}
_MAP_NAME = re.compile(r"sources([46])-(\d+)")


def transaction(before: NftTable | None, after: NftTable | None) -> list[Json]:
    """The commands that make `after` of `before`; None is "no table"."""
    table: Json = {"family": NFT_FAMILY, "name": NFT_TABLE}
    if after is None:
        return [{"delete": {"table": table}}] if before is not None else []
    if before is None:
        return [{"add": {"table": table}}, *_changes(NftTable(), after)]
    return _changes(before, after)


def _changes(before: NftTable, after: NftTable) -> list[Json]:
    old_sets, new_sets = _by_name(before.sets), _by_name(after.sets)
    old_chains, new_chains = _by_name(before.chains), _by_name(after.chains)
    old_maps, new_maps = _lengths(before.sources), _lengths(after.sources)
    # A chain of another kind under a name of ours has to go before ours can come.
    replaced = {
        name
        for name in old_chains.keys() & new_chains.keys()
        if old_chains[name].hook != new_chains[name].hook
    }
    changed = {
        name: chain
        for name, chain in new_chains.items()
        if name in replaced or old_chains.get(name) != chain
    }
    stale = (old_chains.keys() - new_chains.keys()) | replaced
    commands = [_add("counter", name) for name in sorted(after.counters - before.counters)]
    # Rules go first, so that nothing refers to what is taken away below.
    rewritten = (changed.keys() & old_chains.keys()) | stale
    commands += [{"flush": {"chain": _named(name)}} for name in sorted(rewritten)]
    commands += [{"delete": {"chain": _named(name)}} for name in sorted(replaced)]
    commands += [{"delete": {kind: _named(name)}} for kind, name in sorted(before.strangers)]
    commands += [_add_chain(chain) for _, chain in sorted(changed.items())]
    commands += [_add_map(each) for each in sorted(new_maps - old_maps)]
    commands += [_add_set(new_sets[name]) for name in sorted(new_sets.keys() - old_sets.keys())]
    for name, wish in sorted(new_sets.items()):
        commands += _intervals(old_sets.get(name), wish)
    commands += _elements(before.sources, after.sources, new_maps)
    commands += [
        _add_rule(name, each) for name, chain in sorted(changed.items()) for each in chain.rules
    ]
    gone = [("set", name) for name in sorted(old_sets.keys() - new_sets.keys())]
    gone += [("map", map_name(*each)) for each in sorted(old_maps - new_maps)]
    gone += [("chain", name) for name in sorted(stale - replaced)]
    gone += [("counter", name) for name in sorted(before.counters - after.counters)]
    return commands + [{"delete": {kind: _named(name)}} for kind, name in gone]


def _by_name(objects: Iterable[Any]) -> dict[str, Any]:
    return {each.name: each for each in objects}


def _lengths(sources: Sources) -> set[Length]:
    return {(version, length) for version in _TYPES for length in sources.lengths(version)}


def _named(name: str) -> Json:
    return {**_TABLE, "name": name}


def _add(kind: str, name: str) -> Json:
    return {"add": {kind: _named(name)}}


def _add_chain(chain: NftChain) -> Json:
    body = _named(chain.name)
    if chain.hook is not None:
        hook = chain.hook
        body |= {"type": hook.kind, "hook": hook.hook, "prio": hook.priority, "policy": "accept"}
    return {"add": {"chain": body}}


def _add_rule(chain: str, rule: NftRule) -> Json:
    body = {**_TABLE, "chain": chain, "comment": rule.digest, "expr": json.loads(rule.text)}
    return {"add": {"rule": body}}


def _add_set(each: NftSet) -> Json:
    body = {**_named(each.name), "type": _TYPES[each.version], "flags": ["interval"]}
    return {"add": {"set": body}}


def _add_map(length: Length) -> Json:
    body = {**_named(map_name(*length)), "type": _TYPES[length[0]], "map": "mark"}
    return {"add": {"map": body}}


def _elements(before: Sources, after: Sources, there: set[Length]) -> Iterator[Json]:
    for (version, length), removed, added in before.difference(after):
        name, shift = map_name(version, length), BITS[version] - length
        if removed and (version, length) in there:
            keys = [_text(version, key << shift) for key, _ in sorted(removed)]
            yield {"delete": {"element": {**_named(name), "elem": keys}}}
        if added:
            pairs = [(_text(version, key << shift), number) for key, number in sorted(added)]
            yield {"add": {"element": {**_named(name), "elem": pairs}}}


def _intervals(before: NftSet | None, wish: NftSet) -> Iterator[Json]:
    """Intervals to delete, then those to add: one may take the place of another."""
    old = before.elements if before else frozenset[tuple[int, int]]()
    gone, new = old - wish.elements, wish.elements - old
    if any(last == 2 ** BITS[wish.version] - 1 for _, last in gone):
        # libnftables 1.0 does not find the interval that ends with the last address of all.
        yield {"flush": {"set": _named(wish.name)}}
        gone, new = frozenset(), wish.elements
    for verb, elements in (("delete", gone), ("add", new)):
        if elements:
            listed = [_interval(each, wish.version) for each in sorted(elements)]
            yield {verb: {"element": {**_named(wish.name), "elem": listed}}}


def _interval(each: tuple[int, int], version: int) -> object:
    first, last = (_text(version, one) for one in each)
    return first if first == last else {"range": [first, last]}


def parse(listing: Json) -> NftTable | None:
    """The table in the output of ``list table``; None if it is not there."""
    objects: dict[str, list[Json]] = {}
    for entry in listing.get("nftables", []):
        for kind, body in entry.items():
            objects.setdefault(kind, []).append(body)
    if "table" not in objects:
        return None
    rules: dict[str, list[NftRule]] = {}
    for body in objects.get("rule", []):
        rules.setdefault(body["chain"], []).append(_listed_rule(body))
    sets = [each for each in objects.get("set", []) if _is_set(each)]
    maps = [each for each in objects.get("map", []) if _is_map(each)]
    known = {each["name"] for each in (*sets, *maps)}
    every = {(kind, each["name"]) for kind in ("set", "map") for each in objects.get(kind, [])}
    return NftTable(
        counters=frozenset(body["name"] for body in objects.get("counter", [])),
        sources=Sources.listed(element for body in maps for element in _listed_elements(body)),
        sets=frozenset(
            NftSet(
                body["name"],
                _VERSIONS[body["type"]],
                frozenset(_listed_interval(each) for each in body.get("elem", [])),
            )
            for body in sets
        ),
        chains=frozenset(
            NftChain(body["name"], _hook(body), tuple(rules.get(body["name"], ())))
            for body in objects.get("chain", [])
        ),
        strangers=frozenset(each for each in every if each[1] not in known),
    )


def _listed_rule(body: Json) -> NftRule:
    text = json.dumps(body["expr"], sort_keys=True)
    return NftRule(body.get("comment") or text, text)


def _hook(body: Json) -> NftHook | None:
    if "hook" not in body:
        return None
    # A chain that drops by policy is not ours as it should be: the kind says so.
    kind = body["type"] if body.get("policy", "accept") == "accept" else "drop " + body["type"]
    return NftHook(kind, body["hook"], body["prio"])


def _is_set(body: Json) -> bool:
    return body["type"] in (*_VERSIONS,) and body.get("flags") == ["interval"]


def _is_map(body: Json) -> bool:
    named = _MAP_NAME.fullmatch(body["name"])
    return (
        named is not None
        and body["type"] == _TYPES[int(named[1])]
        and body["map"] == "mark"
        and "flags" not in body
    )


def _listed_elements(body: Json) -> Iterator[tuple[Length, int, int]]:
    version, length = (int(text) for text in _MAP_NAME.fullmatch(body["name"]).groups())  # type: ignore[union-attr]
    shift = BITS[version] - length
    for key, number in body.get("elem", []):
        plain = key["elem"]["val"] if isinstance(key, dict) else key
        yield (version, length), _number(plain) >> shift, number


def _listed_interval(element: Any) -> tuple[int, int]:
    if isinstance(element, dict) and "elem" in element:
        element = element["elem"]["val"]
    match element:
        case {"range": [first, last]}:
            return _number(first), _number(last)
        case {"prefix": {"addr": address, "len": length}}:
            network = ip_network(f"{address}/{length}")
            return int(network[0]), int(network[-1])
        case _:
            return _number(element), _number(element)


# Plain arithmetic: of 100,000 IPv4 addresses, ipaddress takes a third of a second.


def _number(address: str) -> int:
    if ":" in address:
        return int(IPv6Address(address))
    a, b, c, d = map(int, address.split("."))
    return a << 24 | b << 16 | c << 8 | d


def _text(version: int, number: int) -> str:
    if version == 6:
        return str(IPv6Address(number))
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def policy_counters(figures: Mapping[str, tuple[int, int]]) -> tuple[PolicyCounter, ...]:
    """The counters of policies among named counters with their packets and bytes."""
    found = []
    for name, (packets, octets) in figures.items():
        head, _, policy = name.partition("-")
        if head in ("out4", "out6", "in4", "in6"):
            found.append(PolicyCounter(policy, head[:-1], int(head[-1]), packets, octets))
    return tuple(found)
