"""A lab's cluster for tests: its objects, and what runs in its pods."""

import contextlib
import json
import os
import subprocess
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.cluster import until
from vegd.lab import namespaces
from vegd.lab.cluster.cluster import ClusterLab, ClusterOptions
from vegd.lab.cluster.control_plane import Refused
from vegd.lab.lab import remove
from vegd.lab.ovn_programs import INSTALLED, OvnPrograms

Json = dict[str, Any]

WAIT_S = 120.0
_PATHS = {
    "node": "/api/v1/nodes",
    "pod": "/api/v1/namespaces/default/pods",
    "veg": "/apis/kubeovn.io/v1/namespaces/default/vpc-egress-gateways",
}


def eventually(what: Callable[[], Any], *, within_s: float = WAIT_S) -> Any:
    """As `until`, with the patience that pods need."""
    return until(what, within_s=within_s)


class World:
    """What a test does with the cluster."""

    def __init__(self, lab: ClusterLab) -> None:
        self.lab = lab
        self._api = lab.api

    def apply(self, *values: Json) -> None:
        """Make objects, or change them."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(values)}
        self.lab.kubectl("apply", "-f", "-", stdin=json.dumps(listed))

    def get(self, kind: str, name: str) -> Json:
        """An object; empty if there is none."""
        try:
            found: Json = self._api.request("GET", f"{_PATHS[kind]}/{name}")
        except Refused as exc:
            if exc.code != 404:
                raise
            return {}
        return found

    def pods(self, labels: str) -> list[Json]:
        """Pods with labels."""
        query = urllib.parse.quote(labels)
        found: list[Json] = self._api.request("GET", f"{_PATHS['pod']}?labelSelector={query}")[
            "items"
        ]
        return found

    def delete(self, kind: str, name: str) -> None:
        """Delete an object, and wait until it is gone."""
        self.lab.kubectl("delete", kind, name, "--wait=false", "--ignore-not-found")
        eventually(lambda: not self.get(kind, name))

    def until_ready(self, pod: str) -> Json:
        """Wait for a pod's condition Ready; the pod."""
        eventually(lambda: condition(self.get("pod", pod), "Ready") == "True")
        return self.get("pod", pod)

    def inside(self, pod: str, *command: str, container: str = "main") -> str:
        """What a command prints in a container, empty if it fails: by what `kubectl exec` uses."""
        told = json.loads((self.lab.streams / "default" / pod / f"{container}.json").read_text())
        done = subprocess.run(
            [*told["enter"], *command],
            capture_output=True,
            text=True,
            check=False,
            env=told["env"],
            timeout=60,
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    def reasons(self, pod: str) -> set[str]:
        """Reasons of the Events about a pod."""
        listed = self._api.request("GET", "/api/v1/namespaces/default/events")["items"]
        return {each["reason"] for each in listed if each["involvedObject"]["name"] == pod}

    def netns(self, pod: Json) -> str:
        """The network namespace of a pod."""
        return f"{self.lab.options.prefix}-pod-{pod['metadata']['uid'].partition('-')[0]}"


def client(name: str, *, annotations: dict[str, str] | None = None, **spec: Any) -> Json:
    """A pod with one container `main`, which sleeps unless `spec` says more."""
    container = {"name": "main", "image": "lab", **spec.pop("main", {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"app": name},
            "annotations": annotations or {},
        },
        "spec": {"terminationGracePeriodSeconds": 2, **spec, "containers": [container]},
    }


def egress_gateway(name: str, **spec: Any) -> Json:
    """A gateway of the default VPC; nothing is on its way when one of its pods goes."""
    base = {"vpc": "ovn-cluster", "externalSubnet": "macvlan1"}
    agent = {"drain": {"announceAfter": 0, "forwardFor": 1, "grace": 2}}
    return {
        "apiVersion": "kubeovn.io/v1",
        "kind": "VpcEgressGateway",
        "metadata": {"name": name, "namespace": "default"},
        "spec": base | {"agent": agent} | spec,
    }


def kube_ovn(kind: str, name: str, **spec: Any) -> Json:
    """A Vpc or a Subnet."""
    return {
        "apiVersion": "kubeovn.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def outside(name: str, networks: str, gateways: str) -> tuple[Json, Json]:
    """A network outside: its attachment and its Subnet. The outside host has the gateways'
    addresses."""
    provider = f"{name}.default"
    attachment = {"cniVersion": "0.3.0", "type": "macvlan", "master": "eth1", "mode": "bridge"}
    attachment |= {"ipam": {"type": "kube-ovn", "provider": provider}}  # type: ignore[dict-item]
    return (
        {
            "apiVersion": "k8s.cni.cncf.io/v1",
            "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"config": json.dumps(attachment)},
        },
        kube_ovn("Subnet", name, cidrBlock=networks, gateway=gateways, provider=provider),
    )


def condition(pod: Json, kind: str) -> str:
    """The status of a condition; empty if there is none."""
    for each in pod.get("status", {}).get("conditions", ()):
        if each["type"] == kind:
            return str(each["status"])
    return ""


def container(pod: Json, name: str = "main") -> Json:
    """The status of a container; empty if there is none yet."""
    status = pod.get("status", {})
    listed = [*status.get("containerStatuses", ()), *status.get("initContainerStatuses", ())]
    return next((each for each in listed if each["name"] == name), {})


def left_of(prefix: str) -> list[str]:
    """What is there of a lab: namespaces, processes, its folder."""
    found = [each for each in namespaces.names() if each.startswith(f"{prefix}-")]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").replace("\0", " ")
            if f"vegd-lab/{prefix}/" in words:
                found.append(words)
    folder = Path("/run/vegd-lab", prefix)
    return [*found, *([str(folder)] if folder.exists() else [])]


@contextlib.contextmanager
def cluster(ovn: OvnPrograms = INSTALLED) -> Iterator[World]:
    """A cluster of two nodes; nothing is left of it."""
    prefix = f"tc{os.getpid()}"
    lab = ClusterLab(ClusterOptions(prefix, ovn=ovn))
    lab.create()
    try:
        yield World(lab)
    finally:
        remove(prefix)
        left = left_of(prefix)
        assert not left, left
