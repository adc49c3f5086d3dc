"""What is in a lab's cluster from the beginning: definitions, and the network outside. The default
VPC and its subnet are Kube-OVN's to make."""

import json
from typing import Any

from kube.definitions import (
    ATTACHMENTS,
    GROUP,
    SUBNETS,
    gateway_definition,
    kube_ovn_definitions,
)
from kube.objects import Resource

Json = dict[str, Any]

DEFINITIONS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False
)
_ATTACHMENT, _NAMESPACE = "eth1", "default"
_PROVIDER = f"{_ATTACHMENT}.{_NAMESPACE}"


def definitions(group: str = GROUP) -> list[Json]:
    """The CustomResourceDefinitions; the gateway's in an API group."""
    return [gateway_definition(group), *kube_ovn_definitions()]


def networks() -> list[tuple[Resource, Json]]:
    """The network outside: an attachment and its Subnet."""
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
    outside = {
        "protocol": "IPv4",
        "provider": _PROVIDER,
        "cidrBlock": "172.17.0.0/16",
        "gateway": "172.17.0.1",
        "excludeIps": ["172.17.0.0..172.17.0.10"],
    }
    return [
        (
            ATTACHMENTS,
            {
                "metadata": {"name": _ATTACHMENT, "namespace": _NAMESPACE},
                "spec": {"config": json.dumps(cni, indent=2)},
            },
        ),
        (SUBNETS, {"metadata": {"name": "macvlan1"}, "spec": outside}),
    ]
