"""Our nftables table as libnftables speaks of it, in both directions. Pure.

`parse` reads what ``list table`` prints, `transaction` writes the commands from one version to the
next: only what differs is touched, so counters go on counting and unchanged sets stay as they are.
The kernel takes a transaction whole or not at all. Shapes: libnftables-json(5).
"""

import json
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

from dataplane.kernel import PolicyCounter
from dataplane.model import NftChain, NftElement, NftHook, NftSet, NftTable
from dataplane.ownership import NFT_FAMILY, NFT_TABLE

Json = dict[str, Any]

_TABLE: Json = {"family": NFT_FAMILY, "table": NFT_TABLE}
_TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
_VERSIONS = {name: version for version, name in _TYPES.items()}
_LAST = {4: 2**32 - 1, 6: 2**128 - 1}
_FOREIGN = -1
"""The version of a set of another type, which is none of ours and goes."""


def transaction(before: NftTable | None, after: NftTable | None) -> list[Json]:
    """The commands that make `after` of `before`; None is "no table"."""
    table: Json = {"family": NFT_FAMILY, "name": NFT_TABLE}
    if after is None:
        return [{"delete": {"table": table}}] if before is not None else []
    commands: list[Json] = []
    if before is None:
        commands.append({"add": {"table": table}})
        before = NftTable(frozenset(), frozenset(), frozenset())
    old_sets, new_sets = _by_name(before.sets), _by_name(after.sets)
    old_chains, new_chains = _by_name(before.chains), _by_name(after.chains)
    # A chain or set of another kind under a name of ours has to go before ours can come.
    replaced = {
        name
        for name in old_chains.keys() & new_chains.keys()
        if old_chains[name].hook != new_chains[name].hook
    }
    retyped = {
        name
        for name in old_sets.keys() & new_sets.keys()
        if _kind(old_sets[name]) != _kind(new_sets[name])
    }
    if retyped:
        # Rules may refer to it, so everything is laid anew; this happens after tampering only.
        return [{"delete": {"table": table}}, *transaction(None, after)]
    changed = {
        name: chain
        for name, chain in new_chains.items()
        if name in replaced or name not in old_chains or old_chains[name] != chain
    }
    stale = (old_chains.keys() - new_chains.keys()) | replaced
    commands += [_add("counter", name) for name in sorted(after.counters - before.counters)]
    # Rules go first, so that nothing refers to what is taken away below.
    rewritten = (changed.keys() & old_chains.keys()) | stale
    commands += [{"flush": {"chain": _named(name)}} for name in sorted(rewritten)]
    commands += [{"delete": {"chain": _named(name)}} for name in sorted(replaced)]
    commands += [_add_chain(chain) for name, chain in sorted(changed.items())]
    commands += [_add_set(new_sets[name]) for name in sorted(new_sets.keys() - old_sets.keys())]
    for name, wish in sorted(new_sets.items()):
        commands += _elements(old_sets.get(name), wish)
    for chain in sorted(changed.values(), key=lambda each: each.name):
        commands += [_add_rule(chain.name, text) for text in chain.rules]
    gone = sorted(old_sets.keys() - new_sets.keys())
    commands += [{"delete": {_kind(old_sets[name])[0]: _named(name)}} for name in gone]
    commands += [{"delete": {"chain": _named(name)}} for name in sorted(stale - replaced)]
    extra = sorted(before.counters - after.counters)
    commands += [{"delete": {"counter": _named(name)}} for name in extra]
    return commands


def _by_name(objects: Iterable[Any]) -> dict[str, Any]:
    return {each.name: each for each in objects}


def _named(name: str) -> Json:
    return {**_TABLE, "name": name}


def _kind(each: NftSet) -> tuple[str, int]:
    return ("map" if each.is_map else "set", each.version)


def _add(kind: str, name: str) -> Json:
    return {"add": {kind: _named(name)}}


def _add_chain(chain: NftChain) -> Json:
    body = _named(chain.name)
    if chain.hook is not None:
        hook = chain.hook
        body |= {"type": hook.kind, "hook": hook.hook, "prio": hook.priority, "policy": "accept"}
    return {"add": {"chain": body}}


def _add_rule(chain: str, text: str) -> Json:
    return {"add": {"rule": {**_TABLE, "chain": chain, "expr": json.loads(text)}}}


def _add_set(each: NftSet) -> Json:
    body = {**_named(each.name), "type": _TYPES[each.version], "flags": ["interval"]}
    if each.is_map:
        return {"add": {"map": {**body, "map": "verdict"}}}
    return {"add": {"set": body}}


def _elements(before: NftSet | None, wish: NftSet) -> Iterator[Json]:
    """Elements to delete, then elements to add: an interval may take the place of another."""
    old = before.elements if before else frozenset[NftElement]()
    gone, new = old - wish.elements, wish.elements - old
    if any(each.last == _LAST[wish.version] for each in gone):
        # libnftables 1.0 does not find the interval that ends with the last address of all.
        yield {"flush": {_kind(wish)[0]: _named(wish.name)}}
        gone, new = frozenset(), wish.elements
    for verb, elements in (("delete", gone), ("add", new)):
        if elements:
            ordered = sorted(elements, key=lambda each: each.first)
            listed = [_element(each, wish.version) for each in ordered]
            yield {verb: {"element": {**_named(wish.name), "elem": listed}}}


def _element(each: NftElement, version: int) -> object:
    kind = IPv4Address if version == 4 else IPv6Address
    key: object = str(kind(each.first))
    if each.first != each.last:
        key = {"range": [key, str(kind(each.last))]}
    return [key, {"jump": {"target": each.chain}}] if each.chain else key


def parse(listing: Json) -> NftTable | None:
    """The table in the output of ``list table``; None if it is not there."""
    objects: dict[str, list[Json]] = {}
    for entry in listing.get("nftables", []):
        for kind, body in entry.items():
            objects.setdefault(kind, []).append(body)
    if "table" not in objects:
        return None
    rules: dict[str, list[str]] = {}
    for body in objects.get("rule", []):
        rules.setdefault(body["chain"], []).append(_rule_text(body["expr"]))
    sets = [_set(body, is_map=False) for body in objects.get("set", [])]
    sets += [_set(body, is_map=True) for body in objects.get("map", [])]
    return NftTable(
        counters=frozenset(body["name"] for body in objects.get("counter", [])),
        sets=frozenset(sets),
        chains=frozenset(
            NftChain(body["name"], _hook(body), tuple(rules.get(body["name"], ())))
            for body in objects.get("chain", [])
        ),
    )


def _hook(body: Json) -> NftHook | None:
    if "hook" not in body:
        return None
    # A chain that drops by policy is not ours as it should be: the kind says so.
    kind = body["type"] if body.get("policy", "accept") == "accept" else "drop " + body["type"]
    return NftHook(kind, body["hook"], body["prio"])


def _set(body: Json, *, is_map: bool) -> NftSet:
    version = _VERSIONS.get(body["type"], _FOREIGN) if isinstance(body["type"], str) else _FOREIGN
    if version == _FOREIGN or body.get("flags") != ["interval"]:
        return NftSet(body["name"], _FOREIGN, is_map, frozenset())
    elements = frozenset(_parse_element(each, is_map=is_map) for each in body.get("elem", []))
    return NftSet(body["name"], version, is_map, elements)


def _parse_element(element: Any, *, is_map: bool) -> NftElement:
    chain = None
    if is_map:
        element, verdict = element
        chain = verdict.get("jump", {}).get("target", json.dumps(verdict))
    if isinstance(element, dict) and "elem" in element:
        element = element["elem"]["val"]
    match element:
        case {"range": [first, last]}:
            return NftElement(_number(first), _number(last), chain)
        case {"prefix": {"addr": address, "len": length}}:
            network = ip_network(f"{address}/{length}")
            return NftElement(int(network[0]), int(network[-1]), chain)
        case _:
            return NftElement(_number(element), _number(element), chain)


def _number(address: str) -> int:
    return int(IPv6Address(address)) if ":" in address else int(IPv4Address(address))


def _rule_text(expressions: list[Json]) -> str:
    """The canonical text of a listed rule; see `dataplane.policies.rule`."""
    return json.dumps([_normalised(each) for each in expressions], sort_keys=True)


def _normalised(value: Any) -> Any:
    """Anonymous sets in order, and one flag as a text whether it was listed alone or in a list."""
    if isinstance(value, dict):
        if set(value) == {"set"} and isinstance(value["set"], list):
            return {"set": sorted(value["set"], key=str)}
        if isinstance(value.get("masquerade"), dict):
            flags = value["masquerade"].get("flags")
            if isinstance(flags, list) and len(flags) == 1:
                return {"masquerade": {**value["masquerade"], "flags": flags[0]}}
        return {key: _normalised(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_normalised(each) for each in value]
    return value


def policy_counters(listing: Json) -> tuple[PolicyCounter, ...]:
    """The counters of policies in the output of ``list counters`` or ``list table``."""
    found = []
    for entry in listing.get("nftables", []):
        body = entry.get("counter")
        if not body or (body["family"], body["table"]) != (NFT_FAMILY, NFT_TABLE):
            continue
        head, _, policy = body["name"].partition("-")
        if head in ("out4", "out6", "in4", "in6"):
            direction, family = head[:-1], int(head[-1])
            found.append(PolicyCounter(policy, direction, family, body["packets"], body["bytes"]))
    return tuple(found)
