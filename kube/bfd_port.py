"""The BFD port of a VPC: the router port whose sessions watch the gateways. Pure.

One chassis at a time holds the port, the first in a group of chassis that is alive. When it moves,
every session of the VPC begins anew, so a group changes as little as it can: who is in it and may
stay keeps its place.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from kube.owners import Mark, PortOwner
from kube.rows import HaGroup, RouterPort, Row, Switch, SwitchPort, as_map

MOST_CHASSIS = 3
"""When the VPC does not select nodes."""
_FIRST_PRIORITY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class BfdPort:
    """What decides the rows of a VPC's BFD port."""

    vpc: str
    """Its logical router is called the same."""
    addresses: tuple[str, ...]
    chassis: tuple[str, ...]
    """By priority, the first one highest."""
    has_stub: bool
    """Whether it gets a switch, which stock OVN wants (see `kube.binding`)."""


def chassis(nodes: Mapping[str, str], *, selects: bool, current: Iterable[str]) -> tuple[str, ...]:
    """The chassis of a group, by priority.

    `nodes` are the eligible nodes and their chassis; `current` is who is in the group, by priority.
    Without a node selector three are enough.
    """
    eligible = [nodes[node] for node in sorted(nodes)]
    kept = [each for each in current if each in set(eligible)]
    ordered = list(dict.fromkeys([*kept, *eligible]))
    return tuple(ordered if selects else ordered[:MOST_CHASSIS])


def by_priority(group: HaGroup) -> tuple[str, ...]:
    """The chassis of a group that is there, as `chassis` wants them."""
    return tuple(name for name, _ in sorted(group.ha_chassis, key=lambda m: (-m[1], m[0])))


def rows(port: BfdPort, mark: Mark) -> tuple[Row, ...]:
    """The rows that the port wants."""
    owner = PortOwner(mark, port.vpc)
    group = HaGroup(
        name=owner.port,
        ha_chassis=frozenset((name, _FIRST_PRIORITY - n) for n, name in enumerate(port.chassis)),
        external_ids=owner.ids({"lrp": owner.port}),
    )
    router_port = RouterPort(
        router=port.vpc,
        name=owner.port,
        mac=mac(owner.port),
        networks=frozenset(port.addresses),
        ha_chassis_group=owner.port,
        # Kube-OVN's OVN has this option; stock OVN passes over it.
        options=as_map({"bfd-only": "true"}),
        external_ids=owner.ids({"lr": port.vpc}),
    )
    return (group, router_port, *(_stub(owner) if port.has_stub else ()))


def _stub(owner: PortOwner) -> Iterator[Row]:
    """Stock OVN passes over a router port that leads to no switch."""
    ids = owner.ids({"lrp": owner.port})
    yield Switch(name=owner.stub, external_ids=ids)
    yield SwitchPort(switch=owner.stub, name=owner.stub, router_port=owner.port, external_ids=ids)


def mac(name: str) -> str:
    """An Ethernet address of a router port: locally administered, always the same for a name."""
    digest = sha256(name.encode()).digest()
    return ":".join(f"{each:02x}" for each in (0x02, *digest[:5]))
