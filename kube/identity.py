"""Under which names a controller works: whose resources, and whose marks.

Two controllers can serve one cluster, Kube-OVN's and ours. Each handles the gateways of its own API
group, and finds what it has made by its own labels. In Kube-OVN's group ours takes Kube-OVN's place
and uses its names; beside it, in a group of its own, every name is another one, so that neither
takes the other's pods or Deployments for its own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kube.workload import Workload

_LABEL_LENGTH = 63
"""Of the value of a label, in characters (Kubernetes)."""
_DIGEST_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Identity:
    """The names of one controller."""

    group: str
    app: str
    """Value of the label ``app``."""
    gateway_label: str
    """Name of the label that holds the gateway's name."""
    infix: str = ""
    """Between a gateway's prefix and its name, in the names of what is made for it."""

    @property
    def api_version(self) -> str:
        """Of the resources."""
        return f"{self.group}/v1"

    @property
    def finalizer(self) -> str:
        """What a resource carries while something of it stands in OVN."""
        return f"{self.group}/vegd-controller"

    def labels(self, gateway: str) -> dict[str, str]:
        """Of everything that is made for a gateway; those of its Deployment's selector."""
        return {"app": self.app, self.gateway_label: label_value(gateway)}

    def workload_name(self, workload: Workload) -> str:
        """Of the Deployment."""
        return f"{workload.prefix}{self.infix}{workload.name}"

    def config_name(self, workload: Workload) -> str:
        """Of the ConfigMap."""
        return f"{self.workload_name(workload)}-vegd"


KUBE_OVN = Identity("kubeovn.io", "vpc-egress-gateway", "ovn.kubernetes.io/vpc-egress-gateway")


def identity_of(group: str) -> Identity:
    """For ``--api-group``."""
    if group == KUBE_OVN.group:
        return KUBE_OVN
    return Identity(group, "vegd-egress-gateway", f"{group}/vpc-egress-gateway", "vegd-")


def label_value(name: str) -> str:
    """A name as the value of a label, as Kube-OVN shortens it: 54 characters and a digest."""
    if len(name) <= _LABEL_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_LENGTH]
    return f"{name[: _LABEL_LENGTH - _DIGEST_LENGTH - 1]}-{digest}"
