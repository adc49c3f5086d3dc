"""The objects of the nodes: that they are there, Ready, and alive. Pure but for the writing."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from typing import Any

from kube.client import Client
from kube.objects import LEASES, NODES

Json = dict[str, Any]

ADDRESS = "127.0.0.1"
"""Of every node: what listens for it does so on the loopback."""
LEASE_NAMESPACE = "kube-node-lease"
MANAGER = "kubelet"
_LEASE_S = 40
_ROOM = {"cpu": "64", "memory": "64Gi", "pods": "250", "ephemeral-storage": "500Gi"}
_UNSCHEDULED = {"MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False"}


def node(name: str) -> Json:
    """The node, as it registers."""
    return {
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": _architecture(),
            },
            "annotations": {
                # The system-id of its chassis.
                "ovn.kubernetes.io/chassis": name,
                "ovn.kubernetes.io/port_name": f"node-{name}",
            },
        }
    }


def node_status(name: str, port: int, version: str, now: datetime) -> Json:
    """What a node that is well says of itself; `port` is that of exec and logs, 0 if there is
    none."""
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [
        {"type": kind, "status": status, "reason": "Lab", "lastHeartbeatTime": stamp}
        for kind, status in {**_UNSCHEDULED, "Ready": "True"}.items()
    ]
    unknown = dict.fromkeys(("machineID", "systemUUID", "bootID", "kubeProxyVersion"), "")
    return {
        "metadata": {"name": name},
        "status": {
            # A host name would be looked up by the API server.
            "addresses": [{"type": "InternalIP", "address": ADDRESS}],
            "capacity": _ROOM,
            "allocatable": _ROOM,
            "conditions": conditions,
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "nodeInfo": unknown
            | {
                "kernelVersion": platform.release(),
                "osImage": "vegd lab",
                "containerRuntimeVersion": "vegd://lab",
                "kubeletVersion": version,
                "operatingSystem": "linux",
                "architecture": _architecture(),
            },
        },
    }


async def register(client: Client, name: str) -> None:
    """Make the node. Raises KubeError."""
    await client.apply(NODES, node(name), manager=MANAGER)


async def renew(client: Client, name: str, port: int, version: str) -> None:
    """Say that it is alive. Raises KubeError."""
    now = datetime.now(UTC)
    lease = {
        "metadata": {"name": name, "namespace": LEASE_NAMESPACE},
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": _LEASE_S,
            "renewTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        },
    }
    await client.apply(LEASES, lease, manager=MANAGER)
    status = node_status(name, port, version, now)
    await client.apply(NODES, status, manager=MANAGER, subresource="status")


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
