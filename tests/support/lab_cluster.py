"""A cluster whose gateway pods are the gateways of a lab: what the controller makes of a resource
leads real packets through a real OVN.

The objects have the names of the lab's VPC. A pod that the scheduler binds takes the place of a
gateway of the lab; its daemon gets the configuration that the controller has written, completed by
what a CNI would have done, and anew whenever it changes, as by a kubelet.
"""

import json
from typing import Any

import yaml

from tests.support.cluster import Cluster, Json
from tests.support.ovn_lab import BareLab, texts
from vegd.lab import faults, ovn_router
from vegd.lab.cluster.control_plane import ControlPlane
from vegd.lab.topology import Gateway, Interface

_KUBE_OVN = "/apis/kubeovn.io/v1"


class LabCluster(Cluster):
    """The objects of one lab."""

    def __init__(self, plane: ControlPlane, namespace: str, lab: BareLab) -> None:
        super().__init__(plane, namespace)
        self.lab = lab
        self.vpc, self.inside, self.outside = "vpc1", "subnet1", "macvlan1"
        self._places: dict[str, Gateway] = {}

    def build_lab(self) -> None:
        """Two nodes, of which one holds the BFD port, and the VPC with its subnets."""
        topology = self.lab.topology
        self.node(f"{self.namespace}-n1", ovn_router.CHASSIS, edge="yes")
        self.node(f"{self.namespace}-n2", "chassis2")
        port = {
            "enabled": True,
            "ip": ",".join(texts(topology.bfd_port)),
            "nodeSelector": {"matchLabels": {"edge": "yes"}},
        }
        self.create(f"{_KUBE_OVN}/vpcs", "Vpc", self.vpc, {"bfdPort": port})
        self.patch(f"{_KUBE_OVN}/vpcs/{self.vpc}/status", {"status": {"router": self.vpc}})
        for name, interfaces, provider, vpc in (
            (self.inside, topology.subnet1, "ovn", self.vpc),
            ("subnet2", topology.subnet2, "ovn", self.vpc),
            (self.outside, topology.outside, f"eth1.{self.namespace}", ""),
        ):
            self.subnet(name, _networks(interfaces), ",".join(texts(interfaces)), provider, vpc)
        path = f"/apis/k8s.cni.cncf.io/v1/namespaces/{self.namespace}"
        self.create(f"{path}/network-attachment-definitions", "", "eth1", {"config": "{}"})

    def place(self, pod: str) -> Gateway:
        """The lab's gateway that a pod is."""
        return self._places[pod]

    def realise(self, pod: Json, *, ready: bool = True) -> None:
        """A gateway of the lab becomes the pod."""
        name = pod["metadata"]["name"]
        free = [each for each in self.lab.topology.gateways if each not in self._places.values()]
        gateway = self._places.setdefault(name, free[0])
        self.deliver()
        faults.start(gateway, self.lab.state)
        path = f"/api/v1/namespaces/{self.namespace}/pods/{name}"
        network = pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"]
        networks = [{"name": network, "interface": "net1", "ips": texts(gateway.external)}]
        annotations = {"k8s.v1.cni.cncf.io/network-status": json.dumps(networks)}
        self.patch(path, {"metadata": {"annotations": annotations}})
        addresses = [{"ip": each} for each in texts(gateway.internal)]
        self.say(name, {"phase": "Running", "podIP": addresses[0]["ip"], "podIPs": addresses})
        self.set_ready(name, ready=ready)

    def deliver(self) -> None:
        """Give the daemons the configuration as it is now."""
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/gw-vegd"
        text = self.plane.request("GET", path)["data"]["gateway.yaml"]
        for gateway in self._places.values():
            document: dict[str, Any] = yaml.safe_load(text)
            document["internal"]["addresses"] = [*map(str, gateway.internal)]
            document["external"] |= {
                "macvlan": {"parent": "ext0", "mode": "bridge"},
                "addresses": [*map(str, gateway.external)],
            }
            file = self.lab.state.directory / f"{gateway.name}.yaml"
            new = file.with_suffix(".new")
            new.write_text(yaml.safe_dump(document | {"name": gateway.name}))
            new.rename(file)


def _networks(interfaces: tuple[Interface, ...]) -> str:
    return ",".join(str(each.network) for each in interfaces)
