"""The tracked connections that the gateway forwards, as rows: whose they are, and shown as what."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dataplane.model import Connection, Flow, IPAddress
from dataplane.sources import IPNetwork
from dataplane.stale import Judge

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "icmpv6": 58, "sctp": 132, "udplite": 136}
_NAMES = {number: name for name, number in PROTOCOLS.items()}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which connections are asked for; None is any."""

    source: IPNetwork | None = None
    destination: IPNetwork | None = None
    external: IPAddress | None = None
    external_port: int | None = None
    protocol: int | None = None

    def __call__(self, each: Connection) -> bool:
        """Whether it is one of them."""
        if not each.translated and (self.external or self.external_port):
            return False
        return (
            (self.source is None or each.source in self.source)
            and (self.destination is None or each.destination in self.destination)
            and self.external in (None, each.shown)
            and self.external_port in (None, each.shown_port)
            and self.protocol in (None, each.protocol)
        )


def rows(judge: Judge, found: Iterable[Flow]) -> list[Row]:
    """Those that a policy covers, or that are translated; not the gateway's own."""
    made = []
    for each in found:
        ours = each.connection
        policy = judge.policy(ours.source, ours.destination)
        # Somebody outside may begin one, to a source without SNAT.
        policy = policy or judge.policy(ours.destination, ours.source)
        if policy is None and not ours.translated:
            continue
        made.append(
            {
                "protocol": _NAMES.get(ours.protocol, str(ours.protocol)),
                "source": str(ours.source),
                "source_port": ours.source_port,
                "external": str(ours.shown) if ours.translated else None,
                "external_port": ours.shown_port if ours.translated else None,
                "destination": str(ours.destination),
                "destination_port": ours.destination_port,
                "policy": None if policy is None else policy.name,
                "connections": 1,
                "bytes_out": each.bytes_out,
                "bytes_in": each.bytes_in,
                "packets_out": each.packets_out,
                "packets_in": each.packets_in,
            }
        )
    return made


_SUMS = ("connections", "bytes_out", "bytes_in", "packets_out", "packets_in")


def summed(found: Iterable[Row]) -> list[Row]:
    """The sums of each source, external address and protocol."""
    sums: dict[tuple[object, ...], Row] = {}
    for each in found:
        same = ("source", "external", "protocol", "policy")
        into = sums.setdefault(
            tuple(each[name] for name in same),
            {**{name: each[name] for name in same}, **dict.fromkeys(_SUMS, 0)},
        )
        for name in _SUMS:
            into[name] += each[name]
    return list(sums.values())
