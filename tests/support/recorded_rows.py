"""What Kube-OVN's controllers made of their gateways, as our values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from kube.owners import KUBE_OVN, GatewayOwner
from kube.routes import BfdSettings, Gateway, Replica, SelectedPod
from kube.rows import (
    AddressSet,
    Bfd,
    Found,
    HaGroup,
    Policy,
    PortGroup,
    RouterPort,
    Row,
    as_map,
)

FIXTURES = Path(__file__).parents[1] / "fixtures" / "kube_ovn"
NODES = {
    f"kube-ovn-{role}": f"c0000000-0000-4000-8000-00000000000{n}"
    for n, role in enumerate(("control-plane", "worker", "worker2"))
}
"""The chassis of each node."""


@dataclass(frozen=True, slots=True)
class Step:
    """One state of one gateway: the input, and the rows that were there."""

    name: str
    owner: GatewayOwner
    gateway: Gateway | None
    rows: tuple[Row, ...]


def found(rows: tuple[Row, ...]) -> tuple[Found, ...]:
    """Rows as a database has them."""
    return tuple(Found(uuid5(NAMESPACE_OID, str(n)), row) for n, row in enumerate(rows))


def steps() -> list[Step]:
    """All that were recorded."""
    return [_step(each) for each in json.loads((FIXTURES / "northbound.json").read_text())]


def _step(document: dict[str, Any]) -> Step:
    namespace, name = document["owner"].split("/")
    owner = GatewayOwner(KUBE_OVN, namespace, name)
    rows = tuple(_row(each, owner) for each in document["rows"])
    given = document["gateway"]
    return Step(document["step"], owner, given and _gateway(given, namespace, name), rows)


def _gateway(given: dict[str, Any], namespace: str, name: str) -> Gateway:
    bfd = given["bfd"]
    return Gateway(
        namespace=namespace,
        name=name,
        router=given["router"],
        router_port=f"{given['router']}-subnet",
        size=len(given["replicas"]),
        replicas=tuple(
            Replica(f"{name}-{n}", node, ready, tuple(internal), tuple(external))
            for n, (node, ready, internal, external) in enumerate(given["replicas"])
        ),
        cidrs=frozenset(given["cidrs"]),
        has_selectors=given["selectors"],
        pods=tuple(SelectedPod(port) for port in given["ports"]),
        is_local=given["local"],
        node_groups={node: f"node.{node.replace('-', '.')}" for node in NODES},
        bfd=bfd
        and BfdSettings(
            f"bfd@{given['router']}",
            tuple(bfd["addresses"]),
            min_tx_ms=bfd["minTX"],
            min_rx_ms=bfd["minRX"],
            multiplier=bfd["multiplier"],
        ),
    )


def _row(given: dict[str, Any], owner: GatewayOwner) -> Row:
    ids = owner.ids(int(given["af"]))
    match given["table"]:
        case "Port_Group":
            ports = frozenset(given.get("ports", ()))
            return PortGroup(name=given["name"], ports=ports, external_ids=ids)
        case "Address_Set":
            addresses = frozenset(given.get("addresses", ()))
            return AddressSet(name=given["name"], addresses=addresses, external_ids=ids)
        case "BFD":
            columns = {name: given[name] for name in ("min_tx", "min_rx", "detect_mult")}
            key = {name: given[name] for name in ("logical_port", "dst_ip")}
            return Bfd(**key, **columns, external_ids=ids)
        case table:
            assert table == "Logical_Router_Policy"
            port = f"bfd@{given['router']}"
            return Policy(
                router=given["router"],
                priority=given["priority"],
                match=given["match"],
                action=given["action"],
                nexthops=frozenset(given.get("nexthops", ())),
                bfd_sessions=frozenset((port, each) for each in given.get("bfd_sessions", ())),
                external_ids=ids,
            )


@dataclass(frozen=True, slots=True)
class Port:
    """A VPC's BFD port as it was recorded, and the nodes that its VPC selects."""

    name: str
    vpc: str
    addresses: tuple[str, ...]
    nodes: Mapping[str, str]
    rows: tuple[Row, ...]


def ports() -> list[Port]:
    """All that differ."""
    return [_port(each) for each in json.loads((FIXTURES / "bfd-ports.json").read_text())]


def _port(document: dict[str, Any]) -> Port:
    port, group = document["port"], document["group"]
    vpc = port["external_ids"]["lr"]
    nodes = {"kube-ovn-worker2": NODES["kube-ovn-worker2"]} if vpc == "vpc5" else NODES
    router_port = RouterPort(
        router=vpc,
        name=port["name"],
        mac="02:00:00:00:00:01",
        networks=frozenset(port["networks"]),
        ha_chassis_group=port["ha_chassis_group"],
        options=as_map(port["options"]),
        external_ids=as_map(port["external_ids"]),
    )
    ha_group = HaGroup(
        name=group["name"],
        ha_chassis=frozenset((name, priority) for name, priority in group["ha_chassis"]),
        external_ids=as_map(group["external_ids"]),
    )
    rows = (router_port, ha_group)
    return Port(document["step"], vpc, tuple(port["networks"]), nodes, rows)
