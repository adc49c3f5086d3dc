"""Scenes for what is told of gateways: a Vpc with a Subnet inside and a network outside, gateways
and pods in any state, as the API server would give them."""

import json
from dataclasses import replace
from typing import Any

from kube.identity import KUBE_OVN
from kube.pods import Pod
from kube.resolve import World
from kube.scene import Scene
from kube.schema import Vpc, parse
from kube.takes import Client
from tests.support import recorded

Json = dict[str, Any]


def gateway(name: str = "gw", status: Json | None = None, **spec: Any) -> Json:
    """A VpcEgressGateway of vpc1; without `status` a controller has found it ready."""
    base: Json = {
        "vpc": "vpc1",
        "internalSubnet": "subnet1",
        "externalSubnet": "macvlan1",
        "policies": [{"snat": True, "ipBlocks": ["192.168.0.0/24"]}],
    }
    ready = {"conditions": [condition("Ready", "True", "ReconcileSuccess")], "ready": True}
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}", "generation": 1},
        "spec": base | spec,
        "status": ready if status is None else status,
    }


def condition(kind: str, status: str, reason: str = "", message: str = "") -> Json:
    """A condition of generation 1."""
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": 1,
    }


def deployment(name: str = "gw", replicas: int = 1, **changes: Any) -> Json:
    """The Deployment of a gateway."""
    metadata = {
        "name": name,
        "namespace": "ns",
        "labels": KUBE_OVN.labels(name),
        "ownerReferences": [{"uid": f"uid-{name}"}],
    }
    return {"metadata": metadata, "spec": {"replicas": replicas}, "status": {}} | changes


def workload_pod(
    name: str = "gw-0",
    of: str = "gw",
    *,
    ip: str = "192.168.0.2",
    ready: bool = True,
    **changes: Any,
) -> Json:
    """A pod of a gateway that runs on node1."""
    number = ip.rpartition(".")[2]
    networks = [{"name": "default/eth1", "ips": [f"172.17.0.{number}"]}]
    annotations = {
        "k8s.v1.cni.cncf.io/networks": "default/eth1",
        "k8s.v1.cni.cncf.io/network-status": json.dumps(networks),
        "ovn.kubernetes.io/allocated": "true",
    }
    status: Json = {
        "phase": "Running",
        "podIPs": [{"ip": ip}],
        "conditions": [{"type": "Ready", "status": str(ready)}],
        "containerStatuses": [{"name": "gateway", "ready": ready}],
    }
    return {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "labels": KUBE_OVN.labels(of),
            "annotations": annotations | changes.pop("annotations", {}),
            **changes.pop("metadata", {}),
        },
        "spec": {"nodeName": "node1", **changes.pop("spec", {})},
        "status": status | changes,
    }


def report(pod: str = "gw-0", **fields: Any) -> Json:
    """An entry of status.gateways[] of a pod that is well."""
    well: Json = {
        "pod": pod,
        "revision": 1,
        "state": "ready",
        "bfd": [{"local": "192.168.0.2", "peer": "10.255.255.255", "state": "Up"}],
    }
    return well | fields


def world(**vpcs: Vpc) -> World:
    """The recorded one, with BFD ports that are on a node."""
    known = recorded.world()
    placed = {name: _vpc(name, each.status.bfd_port.ip) for name, each in known.vpcs.items()}
    return replace(known, vpcs=placed | vpcs)


def _vpc(name: str, ip: str) -> Vpc:
    port = {"name": f"bfd@{name}", "ip": ip, "nodes": ["node1"]}
    status: Json = {"router": name, "bfdPort": port}
    return parse(Vpc, {"metadata": {"name": name}, "status": status})


def scene(
    gateways: list[Json] | None = None,
    pods: list[Json] | None = None,
    deployments: list[Json] | None = None,
    **more: Any,
) -> Scene:
    """One gateway with one pod, both well, unless said otherwise."""
    objects = {
        "gateways": [gateway()] if gateways is None else gateways,
        "workload_pods": [workload_pod()] if pods is None else pods,
        "deployments": [deployment()] if deployments is None else deployments,
    }
    keyed = {
        kind: {
            f"{each['metadata']['namespace']}/{each['metadata']['name']}": each for each in found
        }
        for kind, found in objects.items()
    }
    return Scene(KUBE_OVN, **{"world": world(), **keyed, **more})


def client(
    ip: str = "192.168.0.77", *, router: str = "vpc1", labels: Json | None = None, **spec: Any
) -> Client:
    """A pod that runs on node1, not a gateway's."""
    annotations = {
        "ovn.kubernetes.io/allocated": "true",
        "ovn.kubernetes.io/logical_router": router,
    }
    document = {
        "metadata": {
            "name": "web",
            "namespace": "apps",
            "labels": labels or {},
            "annotations": annotations if router else {},
        },
        "spec": {"nodeName": "node1", **spec},
        "status": {"phase": "Running", "podIPs": [{"ip": each} for each in ip.split(",")]},
    }
    return Client(parse(Pod, document), {"team": "a"})
