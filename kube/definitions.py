"""The CustomResourceDefinitions that are shipped, ready to apply.

The gateway's may be moved to an API group of one's own: beside a Kube-OVN whose controller handles
gateways of its group, ours are then another resource. What belongs to Kube-OVN stays in its group.
"""

from importlib import resources
from typing import Any

import yaml

from kube.objects import Resource

GROUP = "kubeovn.io"
"""Kube-OVN's API group."""
VERSION = "v1"


VPCS = Resource(GROUP, VERSION, "vpcs", "Vpc", namespaced=False)
SUBNETS = Resource(GROUP, VERSION, "subnets", "Subnet", namespaced=False)
IP_POOLS = Resource(GROUP, VERSION, "ippools", "IPPool", namespaced=False)
ATTACHMENTS = Resource(
    "k8s.cni.cncf.io", VERSION, "network-attachment-definitions", "NetworkAttachmentDefinition"
)


def gateways(group: str = GROUP) -> Resource:
    """The VpcEgressGateway in an API group."""
    return Resource(group, VERSION, "vpc-egress-gateways", "VpcEgressGateway")


def gateway_definition(group: str = GROUP) -> dict[str, Any]:
    """The CustomResourceDefinition of the gateway, in an API group.

    In a group of our own it has other short names, so that ``kubectl get veg`` keeps its meaning.
    """
    definition = _read("vpc-egress-gateways.yaml")
    if group != GROUP:
        names = definition["spec"]["names"]
        definition["metadata"]["name"] = f"{names['plural']}.{group}"
        definition["spec"]["group"] = group
        names["shortNames"] = ["vegd"]
    return definition


def kube_ovn_definitions() -> list[dict[str, Any]]:
    """What else is read; a cluster that Kube-OVN and Multus are installed in has all of it."""
    names = ("vpcs", "subnets", "ippools", "network-attachment-definitions")
    return [_read(f"{name}.yaml") for name in names]


def _read(name: str) -> dict[str, Any]:
    text = resources.files("kube").joinpath("crds", name).read_text()
    definition: dict[str, Any] = yaml.safe_load(text)
    return definition
