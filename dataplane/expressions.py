"""Small words of the nftables language as libnftables-json(5) writes them. Pure."""

import hashlib
import json
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from dataplane.model import NftRule

Expression = dict[str, Any]

PROTOCOLS = {4: "ip", 6: "ip6"}
"""What nftables calls the IP versions."""
NFPROTOS = {4: "ipv4", 6: "ipv6"}
BITS = {4: 32, 6: 128}
BFD_PORTS = (3784, 4784)
"""RFC 5881 §4, RFC 5883 §5."""


def rule(*expressions: Expression) -> NftRule:
    """A rule of these expressions."""
    text = json.dumps(expressions, sort_keys=True)
    return NftRule(hashlib.sha256(text.encode()).hexdigest()[:16], text)


def counted(name: str) -> Expression:
    """Count the packet in a named counter."""
    return {"counter": name}


def match(operator: str, left: Expression, right: object) -> Expression:
    """A comparison that ends the rule if it fails."""
    return {"match": {"op": operator, "left": left, "right": right}}


def meta(key: str, value: object) -> Expression:
    """A comparison of meta data. Interfaces by name, not index: rules may stand before them."""
    return match("==", {"meta": {"key": key}}, value)


def set_meta(key: str, value: object) -> Expression:
    """Set meta data of the packet."""
    return {"mangle": {"key": {"meta": {"key": key}}, "value": value}}


def jump(chain: str) -> Expression:
    """Go on in a chain and come back."""
    return {"jump": {"target": chain}}


def address(version: int, field: str) -> Expression:
    """The source or destination address (saddr, daddr)."""
    return {"payload": {"protocol": PROTOCOLS[version], "field": field}}


def ports(protocol: str, *numbers: int) -> Expression:
    """A comparison of the destination port."""
    field = {"payload": {"protocol": protocol, "field": "dport"}}
    return match("==", field, {"set": [*numbers]})


def verdicts(key: Expression, by_value: Mapping[int, str], verb: str = "jump") -> Expression:
    """Go on in the chain of the value; the rule ends for a value without one."""
    pairs = [[value, {verb: {"target": chain}}] for value, chain in sorted(by_value.items())]
    return {"vmap": {"key": key, "data": {"set": pairs}}}


def netmask(version: int, length: int) -> str:
    """The mask of a prefix length, as an address."""
    return str((IPv4Network if version == 4 else IPv6Network)((0, length)).netmask)


CLAMP: tuple[Expression, ...] = (
    match(
        "==",
        {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, {"|": ["syn", "rst"]}]},
        "syn",
    ),
    {
        "mangle": {
            "key": {"tcp option": {"name": "maxseg", "field": "size"}},
            "value": {"rt": {"key": "mtu"}},
        }
    },
)
"""A SYN announces at most the segment size that fits the path MTU (nft(8), "tcp option")."""
