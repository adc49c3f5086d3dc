"""Whether a packet matches a policy of OVN, as far as such matches are written for gateways. Pure.

OVN's language has much more than is understood here (``ovn-fields(7)``, "Matching Expressions" of
``ovn-sb(5)``). What is not understood is told as such, and never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

_COMPARISON = re.compile(r"^([\w.]+)\s*(==|!=)\s*(.+)$")
_MEMBER = re.compile(r'"[^"]*"|[^\s,{}]+')


@dataclass(frozen=True, slots=True)
class Packet:
    """What a match may ask about."""

    source: str
    destination: str
    outport: str = ""
    """The router port by which it would leave; empty if that is not known."""

    @property
    def version(self) -> int:
        """4 or 6."""
        return ip_address(self.source).version


def matches(text: str, packet: Packet, sets: Mapping[str, frozenset[str]]) -> bool | None:
    """Whether a packet matches; None where that cannot be said. `sets` are the members of address
    sets and, with ``_ip4`` or ``_ip6``, of port groups; one that is not there has none."""
    if "(" in text or "||" in text:
        return _any(text, packet, sets)
    outcomes = [_term(term.strip(), packet, sets) for term in text.split("&&")]
    if False in outcomes:
        return False
    return None if None in outcomes else True


def _any(text: str, packet: Packet, sets: Mapping[str, frozenset[str]]) -> bool | None:
    """Alternatives without brackets; brackets are not understood."""
    if "(" in text:
        return None
    outcomes = [matches(part.strip(), packet, sets) for part in text.split("||")]
    if True in outcomes:
        return True
    return None if None in outcomes else False


def _term(term: str, packet: Packet, sets: Mapping[str, frozenset[str]]) -> bool | None:
    if term in ("1", "0"):
        return term == "1"
    if term in ("ip4", "ip6"):
        return packet.version == int(term[2])
    found = _COMPARISON.match(term)
    if found is None:
        return None
    name, operator, wanted = found.groups()
    holds = _equals(name, wanted, packet, sets)
    return holds if holds is None or operator == "==" else not holds


def _equals(
    name: str, wanted: str, packet: Packet, sets: Mapping[str, frozenset[str]]
) -> bool | None:
    if name in ("ip4.src", "ip4.dst", "ip6.src", "ip6.dst"):
        if packet.version != int(name[2]):
            return False
        address = packet.source if name.endswith("src") else packet.destination
        return _is_one_of(address, wanted, sets)
    if name == "outport" and packet.outport:
        return wanted.strip('"') == packet.outport
    return None


def _is_one_of(address: str, wanted: str, sets: Mapping[str, frozenset[str]]) -> bool | None:
    members: set[str] = set()
    for part in _MEMBER.findall(wanted):
        if part.startswith("@"):
            return None
        members |= sets.get(part[1:], frozenset()) if part.startswith("$") else {part}
    try:
        return any(ip_address(address) in ip_network(each, strict=False) for each in members)
    except ValueError:
        return None
