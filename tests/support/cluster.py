"""What a cluster with Kube-OVN has, on the test's control plane: nodes, VPCs, subnets, and pods
that run, as far as the API server can tell.

No process runs in the pods. Their addresses, annotations and conditions are written as Kube-OVN's
controller, Multus and a kubelet write them.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from vegd.lab.cluster.control_plane import ControlPlane, Refused

Json = dict[str, Any]

_KUBE_OVN = "/apis/kubeovn.io/v1"
_MERGE = "application/merge-patch+json"
_WAIT_S = 60.0


def until(what: Callable[[], Any], *, within_s: float = _WAIT_S) -> Any:
    """The first answer that is true; an AssertionError with the last one when none comes."""
    deadline = time.monotonic() + within_s
    while True:
        answer = what()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"still {answer!r}"
        time.sleep(0.1)


class Cluster:
    """Objects of one test. Those that are in no namespace bear the test's name."""

    def __init__(self, plane: ControlPlane, namespace: str, group: str = "kubeovn.io") -> None:
        self.plane = plane
        self.namespace = namespace
        self.gateways_path = f"/apis/{group}/v1/namespaces/{namespace}/vpc-egress-gateways"
        self.group = group
        self.vpc = f"vpc-{namespace}"
        self.inside, self.outside = f"inside-{namespace}", f"outside-{namespace}"
        self._made: list[str] = []
        self._addresses = map(str, itertools.islice(itertools.count(2), 200))

    def build(self, *, bfd_port: str = "10.255.255.255", selector: Json | None = None) -> None:
        """A VPC with a subnet inside and a network outside."""
        port: Json = {"enabled": True, "ip": bfd_port} if bfd_port else {"enabled": False}
        if selector is not None:
            port["nodeSelector"] = selector
        self.create(f"{_KUBE_OVN}/vpcs", "Vpc", self.vpc, {"bfdPort": port})
        self.patch(f"{_KUBE_OVN}/vpcs/{self.vpc}/status", {"status": {"router": self.vpc}})
        self.subnet(self.inside, "192.168.0.0/24", "192.168.0.1", vpc=self.vpc)
        self.subnet(self.outside, "172.17.0.0/16", "172.17.0.1", f"eth1.{self.namespace}")
        path = f"/apis/k8s.cni.cncf.io/v1/namespaces/{self.namespace}"
        self.create(f"{path}/network-attachment-definitions", "", "eth1", {"config": "{}"})

    def subnet(
        self, name: str, cidr: str, gateway: str, provider: str = "ovn", vpc: str = ""
    ) -> None:
        """A Subnet."""
        spec = {"cidrBlock": cidr, "gateway": gateway, "provider": provider, "vpc": vpc}
        self.create(f"{_KUBE_OVN}/subnets", "Subnet", name, spec)

    def node(self, name: str, chassis: str, **labels: str) -> None:
        """A node that is Ready and has a chassis."""
        metadata = {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, **labels},
            "annotations": {
                "ovn.kubernetes.io/chassis": chassis,
                "ovn.kubernetes.io/port_name": f"node-{name}",
            },
        }
        path = "/api/v1/nodes"
        self.plane.request("POST", path, {"metadata": metadata})
        self._made.append(f"{path}/{name}")
        room = {"cpu": "64", "memory": "64Gi", "pods": "500", "ephemeral-storage": "500Gi"}
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
        status = {"capacity": room, "allocatable": room, "conditions": [ready]}
        self.patch(f"{path}/{name}/status", {"status": status})
        # A new node is tainted until the controller that is left out here has seen it Ready.
        self.patch(f"{path}/{name}", {"spec": {"taints": None}})

    def create(self, path: str, kind: str, name: str, spec: Json) -> Json:
        """An object; it is deleted by `close`."""
        body: Json = {"metadata": {"name": name}, "spec": spec}
        if kind:
            body |= {"kind": kind}
        group, version = path.split("/")[2:4]
        body["apiVersion"] = f"{group}/{version}"
        body.setdefault("kind", "NetworkAttachmentDefinition")
        self._made.append(f"{path}/{name}")
        made: Json = self.plane.request("POST", path, body)
        return made

    def patch(self, path: str, change: Json) -> Json:
        """A merge patch."""
        patched: Json = self.plane.request("PATCH", path, change, content_type=_MERGE)
        return patched

    def close(self, *, has_controller: bool = False) -> None:
        """Delete what was made: first the gateways, so that no controller of another test sees one
        that has lost its subnets, then the rest, the newest first.

        With `has_controller` one runs that lets the gateways go; otherwise they are made to.
        """
        self._remove_gateways(has_controller)
        for path in reversed(self._made):
            try:
                self.plane.request("DELETE", path)
            except Refused as exc:
                if exc.code != 404:
                    raise

    def _remove_gateways(self, has_controller: bool) -> None:
        for gateway in self._gateways():
            path = f"{self.gateways_path}/{gateway['metadata']['name']}"
            if not has_controller:
                self.patch(path, {"metadata": {"finalizers": None}})
            self.plane.request("DELETE", path)
        until(lambda: not self._gateways())

    def _gateways(self) -> list[Json]:
        items: list[Json] = self.plane.request("GET", self.gateways_path)["items"]
        return items

    # Gateways.

    def gateway(self, name: str, **spec: Any) -> Json:
        """A VpcEgressGateway of the VPC."""
        base: Json = {
            "vpc": self.vpc,
            "internalSubnet": self.inside,
            "externalSubnet": self.outside,
            "policies": [{"snat": True, "ipBlocks": ["192.168.0.0/24"]}],
        }
        body = {
            "apiVersion": f"{self.group}/v1",
            "kind": "VpcEgressGateway",
            "metadata": {"name": name},
            "spec": base | spec,
        }
        made: Json = self.plane.request("POST", self.gateways_path, body)
        return made

    def change(self, name: str, **spec: Any) -> None:
        """Change a gateway's spec."""
        self.patch(f"{self.gateways_path}/{name}", {"spec": spec})

    def read(self, name: str) -> Json:
        """A gateway as it is."""
        found: Json = self.plane.request("GET", f"{self.gateways_path}/{name}")
        return found

    def condition(self, name: str, kind: str) -> tuple[str, str, str]:
        """Status, reason and message of a condition; empty if it is not there."""
        for each in self.read(name).get("status", {}).get("conditions", ()):
            if each["type"] == kind:
                return each["status"], each.get("reason", ""), each.get("message", "")
        return "", "", ""

    def is_ready(self, name: str) -> bool:
        """Whether a gateway is ready."""
        return self.condition(name, "Ready")[0] == "True"

    def until_ready(self, name: str) -> None:
        """Wait until a gateway is ready; an AssertionError with its conditions if it does not
        become so."""
        deadline = time.monotonic() + _WAIT_S
        while self.condition(name, "Ready")[0] != "True":
            assert time.monotonic() < deadline, json.dumps(self.read(name).get("status"), indent=1)
            time.sleep(0.1)

    def is_gone(self, path: str) -> bool:
        """Whether there is no such object."""
        try:
            self.plane.request("GET", path)
        except Refused as exc:
            return exc.code == 404
        return False

    def deployment(self, name: str) -> Json:
        """A Deployment of the namespace."""
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{name}"
        found: Json = self.plane.request("GET", path)
        return found

    def events(self, name: str) -> list[tuple[str, str]]:
        """Type and reason of a gateway's Events."""
        listed = self.plane.request("GET", f"/api/v1/namespaces/{self.namespace}/events")
        return [
            (each["type"], each["reason"])
            for each in listed["items"]
            if each["involvedObject"]["name"] == name
            and each["involvedObject"]["kind"] == "VpcEgressGateway"
        ]

    @property
    def budgets_path(self) -> str:
        """Of the PodDisruptionBudgets."""
        return f"/apis/policy/v1/namespaces/{self.namespace}/poddisruptionbudgets"

    def budget(self, name: str, selector: Json) -> None:
        """Somebody's PodDisruptionBudget."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": name},
            "spec": {"minAvailable": 1, "selector": selector},
        }
        self.plane.request("POST", self.budgets_path, body)

    # Pods.

    def pods(self, labels: str = "") -> list[Json]:
        """Pods of the namespace, by name."""
        query = f"?labelSelector={labels}" if labels else ""
        path = f"/api/v1/namespaces/{self.namespace}/pods{query}"
        items: list[Json] = self.plane.request("GET", path)["items"]
        return sorted(items, key=lambda each: str(each["metadata"]["name"]))

    def client_pod(self, name: str, address: str, **labels: str) -> None:
        """A pod of the VPC that runs, to be selected."""
        spec = {"containers": [{"name": "main", "image": "none"}]}
        body = {"metadata": {"name": name, "labels": labels}, "spec": spec}
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        self.plane.request("POST", path, body)
        annotations = {
            "ovn.kubernetes.io/allocated": "true",
            "ovn.kubernetes.io/logical_router": self.vpc,
        }
        self.patch(f"{path}/{name}", {"metadata": {"annotations": annotations}})
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        self.patch(f"{path}/{name}/status", {"status": status})

    def realise(self, pod: Json, *, ready: bool = True) -> None:
        """What Kube-OVN, Multus and the kubelet write of a gateway's pod that runs."""
        name, number = pod["metadata"]["name"], next(self._addresses)
        path = f"/api/v1/namespaces/{self.namespace}/pods/{name}"
        network = pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"]
        networks = [{"name": network, "interface": "net1", "ips": [f"172.17.0.{number}"]}]
        annotations = {"k8s.v1.cni.cncf.io/network-status": json.dumps(networks)}
        self.patch(path, {"metadata": {"annotations": annotations}})
        address = f"192.168.0.{number}"
        status: Json = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        self.say(name, status)
        self.set_ready(name, ready=ready)

    def set_ready(self, pod: str, *, ready: bool) -> None:
        """What the kubelet says after its readiness probe; a pod with gates waits for them."""
        found = self.plane.request("GET", f"/api/v1/namespaces/{self.namespace}/pods/{pod}")
        self.say(pod, {"conditions": [{"type": "ContainersReady", "status": str(ready)}]})
        self.judge(found, containers=ready)

    def judge(self, pod: Json, *, containers: bool | None = None) -> None:
        """What the kubelet makes of a pod's containers and gates."""
        said = {each["type"]: each["status"] for each in pod["status"].get("conditions", ())}
        if containers is not None:
            said["ContainersReady"] = str(containers)
        gates = (each["conditionType"] for each in pod["spec"].get("readinessGates", ()))
        ready = str(all(said.get(each) == "True" for each in ("ContainersReady", *gates)))
        if said.get("Ready") != ready:
            condition = {"type": "Ready", "status": ready}
            self.say(pod["metadata"]["name"], {"conditions": [condition]})

    def say(self, pod: str, status: Json) -> None:
        """As the kubelet writes a status: conditions of others stay."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/status"
        body = {"status": status}
        kind = "application/strategic-merge-patch+json"
        self.plane.request("PATCH", path, body, content_type=kind)


class Kubelet:
    """Realises the gateways' pods of one cluster as the scheduler binds them, and lets those go
    that are deleted."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            for pod in self._bound():
                try:
                    self._serve(pod)
                except OSError:
                    break  # the API server is away, or frozen
                except Refused as exc:
                    if exc.code not in (404, 409, 429, 500, 503):
                        raise

    def _bound(self) -> Iterator[Json]:
        try:
            pods = self._cluster.pods()
        except (OSError, Refused):
            return  # the API server is away
        for pod in pods:
            owned = "k8s.v1.cni.cncf.io/networks" in pod["metadata"].get("annotations", {})
            if owned and pod["spec"].get("nodeName"):
                yield pod

    def _serve(self, pod: Json) -> None:
        if pod["metadata"].get("deletionTimestamp"):
            name = pod["metadata"]["name"]
            path = f"/api/v1/namespaces/{self._cluster.namespace}/pods/{name}"
            self._cluster.plane.request("DELETE", path, {"gracePeriodSeconds": 0})
        elif pod["status"].get("phase") == "Pending":
            self._cluster.realise(pod)
        else:
            self._cluster.judge(pod)
