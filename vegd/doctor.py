"""What on this machine stands in the way of the gateway: findings, each with a remedy.

The checks of one function each take what was read of the machine and judge it; `vegd.cli.doctor`
reads. Nothing here changes anything.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dataplane import ownership
from dataplane.model import GatewayIntent, Interface, IPAddress, Side, Sysctl

PROBLEM, WARNING, FINE = "problem", "warning", "fine"

_ENGINE_CAPABILITIES = {
    14: ("CAP_IPC_LOCK", "its memory can be swapped out"),
    23: ("CAP_SYS_NICE", "it runs with normal priority and may be late on a busy machine"),
}
_LEAST_MTU_IPV6 = 1280
_UNREACHABLE = {"FAILED", "INCOMPLETE", "NONE", None}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. A problem keeps the gateway from working, a warning may."""

    level: str
    about: str
    text: str
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        """As `vegd doctor --json` prints it."""
        return {
            "level": self.level,
            "about": self.about,
            "text": self.text,
            "remedy": self.remedy,
        }

    def __str__(self) -> str:
        remedy = f"\n    -> {self.remedy}" if self.remedy else ""
        return f"{self.level}: {self.about}: {self.text}{remedy}"


def capabilities(effective: int, engine: int | None) -> Iterator[Finding]:
    """Of the BFD engine, by its process and the bits of capabilities(7).

    Without an engine (None) those of the calling process stand for what one started here would get.
    """
    for bit, (name, effect) in _ENGINE_CAPABILITIES.items():
        if not effective >> bit & 1:
            who = f"BFD engine (process {engine})" if engine else "BFD engine that is started here"
            yield Finding(
                WARNING,
                "capabilities",
                f"the {who} has no {name}: {effect}",
                f"give the container or unit of the engine {name}",
            )


def parameters(
    wished: Iterable[Sysctl], values: Mapping[str, str | None], writable: Iterable[str]
) -> Iterator[Finding]:
    """Kernel parameters by path below /proc/sys; None is "not there"."""
    may = frozenset(writable)
    for wish in sorted(wished, key=lambda each: each.path):
        now = values.get(wish.path)
        name = wish.path.replace("/", ".") if "." not in wish.path else wish.path
        if now is not None and now != wish.value and wish.path not in may:
            yield Finding(
                PROBLEM,
                "sysctl",
                f"{name} is {now}, has to be {wish.value}, and cannot be written from here",
                f"set {name}={wish.value} outside, or mount /proc/sys writable",
            )


def mtus(intent: GatewayIntent, interfaces: Mapping[str, Interface]) -> Iterator[Finding]:
    """The MTU of both sides, as wished or as it is."""
    found: dict[str, int] = {}
    for side in (intent.internal, intent.external):
        parent = side.macvlan and interfaces.get(side.macvlan.parent)
        there = interfaces.get(side.interface) or parent
        mtu = side.mtu or (there.mtu if there else 0)
        if mtu:
            found[side.interface] = mtu
        if mtu and mtu < _LEAST_MTU_IPV6 and side.gateway(6):
            yield Finding(
                PROBLEM,
                "MTU",
                f"{side.interface} has {mtu}, and IPv6 needs {_LEAST_MTU_IPV6} (RFC 8200 §5)",
                "raise it, or leave the IPv6 gateways out",
            )
    inside, outside = found.get(intent.internal.interface), found.get(intent.external.interface)
    if inside and outside and inside > outside and not intent.clamp_mss:
        yield Finding(
            WARNING,
            "MTU",
            f"{intent.internal.interface} has {inside}, {intent.external.interface} only {outside},"
            " and mssClamp is off: TCP hangs where 'packet too big' is filtered",
            "set mssClamp to true, or give both the same MTU",
        )


def neighbour(side: Side, gateway: IPAddress, state: str | None) -> Finding:
    """A next hop, by the state of its neighbour entry (ip-neighbour(8)) after it was asked for."""
    if state in _UNREACHABLE:
        return Finding(
            PROBLEM,
            "neighbour",
            f"the gateway {gateway} does not answer on {side.interface}"
            f" ({(state or 'no entry').lower()})",
            "see that the address is right, the link up, and the VLAN or macvlan parent the right "
            "one; security of the cloud's or switch's port may drop frames of another MAC address",
        )
    return Finding(FINE, "neighbour", f"the gateway {gateway} answers on {side.interface}")


def clashes(ruleset: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """Base chains of other tables that could get in the way (`nft -j list ruleset`)."""
    objects = [(kind, body) for entry in ruleset for kind, body in entry.items()]
    chains = {
        (body["family"], body["table"], body["name"]): body
        for kind, body in objects
        if kind == "chain" and "hook" in body and not _is_ours(body)
    }
    for (family, table, name), body in sorted(chains.items()):
        place = f"chain {name} of table {family} {table}"
        hook, policy = body["hook"], body.get("policy")
        if hook in ("forward", "prerouting", "postrouting") and policy == "drop":
            yield Finding(
                PROBLEM,
                "nftables",
                f"{place} drops by policy at {hook}: a packet passes only if every table lets it",
                "accept there what is forwarded between the gateway's interfaces, or give the "
                "gateway a network namespace of its own",
            )
    for (family, table, name), verb in sorted(_translations(objects).items()):
        at = chains.get((family, table, name))
        if at is not None and at["hook"] == "postrouting":
            yield Finding(
                WARNING,
                "nftables",
                f"chain {name} of table {family} {table} translates sources too ({verb}); "
                "which table does it first is a matter of their priorities",
                "limit its rules to other interfaces",
            )


def _is_ours(body: Mapping[str, Any]) -> bool:
    return (body["family"], body["table"]) == (ownership.NFT_FAMILY, ownership.NFT_TABLE)


def _translations(
    objects: Iterable[tuple[str, Mapping[str, Any]]],
) -> dict[tuple[str, str, str], str]:
    return {
        (body["family"], body["table"], body["chain"]): verb
        for kind, body in objects
        if kind == "rule"
        for statement in body["expr"]
        for verb in ("masquerade", "snat")
        if verb in statement
    }


def rules(listed: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """Routing policy rules of others that come before ours (`ip -json rule`)."""
    for each in listed:
        is_ours = str(each.get("protocol")) == str(ownership.PROTOCOL)
        before = 0 < each["priority"] <= ownership.RULE_OWN_EXTERNAL
        if before and not is_ours:
            yield Finding(
                WARNING,
                "rules",
                f"rule {each['priority']} (lookup {each.get('table', '?')}) is somebody else's and "
                "comes before or among ours: packets that it catches take another way",
                f"give it a priority above {ownership.RULE_OWN_EXTERNAL}",
            )
