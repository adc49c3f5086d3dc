"""What is in a lab's cluster from the beginning: definitions, and the networks of the document."""

import json
from typing import Any

from kube.definitions import (
    ATTACHMENTS,
    GROUP,
    SUBNETS,
    VPCS,
    gateway_definition,
    kube_ovn_definitions,
)
from kube.objects import Resource
from vegd.lab.cluster.cni import DEFAULT_SUBNET, DEFAULT_VPC

Json = dict[str, Any]

DEFINITIONS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False
)
OUTSIDE = "172.17.0.1/16"
"""The outside host, gateway of the Subnet outside."""
_ATTACHMENT, _NAMESPACE = "eth1", "default"
_PROVIDER = f"{_ATTACHMENT}.{_NAMESPACE}"


def definitions(group: str = GROUP) -> list[Json]:
    """The CustomResourceDefinitions; the gateway's in an API group."""
    return [gateway_definition(group), *kube_ovn_definitions()]


def networks() -> list[tuple[Resource, Json]]:
    """The default VPC with its subnet, and the network outside."""
    cni = {
        "cniVersion": "0.3.0",
        "type": "macvlan",
        "master": _ATTACHMENT,
        "mode": "bridge",
        "ipam": {
            "type": "kube-ovn",
            "server_socket": "/run/openvswitch/kube-ovn-daemon.sock",
            "provider": _PROVIDER,
        },
    }
    inside = {
        "vpc": DEFAULT_VPC,
        "provider": "ovn",
        "protocol": "IPv4",
        "default": True,
        "cidrBlock": "10.16.0.0/16",
        "gateway": "10.16.0.1",
        "excludeIps": ["10.16.0.1"],
    }
    outside = {
        "protocol": "IPv4",
        "provider": _PROVIDER,
        "cidrBlock": "172.17.0.0/16",
        "gateway": OUTSIDE.partition("/")[0],
        "excludeIps": ["172.17.0.0..172.17.0.10"],
    }
    return [
        (VPCS, _object(DEFAULT_VPC, {})),
        (SUBNETS, _object(DEFAULT_SUBNET, inside)),
        (
            ATTACHMENTS,
            {
                "metadata": {"name": _ATTACHMENT, "namespace": _NAMESPACE},
                "spec": {"config": json.dumps(cni, indent=2)},
            },
        ),
        (SUBNETS, _object("macvlan1", outside)),
    ]


def _object(name: str, spec: Json) -> Json:
    return {"metadata": {"name": name}, "spec": spec}
