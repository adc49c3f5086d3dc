"""What a person does to a gateway of a cluster, and how it is seen that all is well again.

Everything goes by kubectl, as a person would do it; only what nobody does by kubectl, to kill a
process or cut a wire, is done to the lab itself.
"""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vegd.lab import namespaces
from vegd.lab.cluster.cluster import ClusterLab
from vegd.lab.cluster.control_plane import ApiServer, Refused
from vegd.lab.errors import LabError, SceneFailed
from vegd.lab.flows import Probed
from vegd.lab.state import poll_until
from vegd.lab.topology import Family

Json = dict[str, Any]

WITHIN_S = 240.0
_WELL = {"Ready": "True", "BFDHealthy": "True", "Applied": "True"}
"""Conditions of a gateway that is as its resource says, at both ends and in every pod."""
_PATHS = {
    "core": "/api/v1/namespaces/default",
    "apps": "/apis/apps/v1/namespaces/default",
    "gateways": "/apis/kubeovn.io/v1/namespaces/default",
}
_TABLE = "vegd_lab_fault"
_DYING_S = 10.0


class Hands:
    """Works on one gateway of the namespace ``default``, with its client pods."""

    def __init__(
        self, lab: ClusterLab, gateway: str, clients: str, outside: dict[Family, str]
    ) -> None:
        self.lab = lab
        self.gateway = gateway
        self._clients = clients
        """Name of the clients' Deployment."""
        self._outside = outside
        """The outside host's addresses."""
        self.drained: set[str] = set()
        """Addresses outside of the pods that were drained, also of those taken back."""

    # Objects.

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl; what it printed. Raises LabError."""
        return self.lab.kubectl(*arguments)

    def change(self, **spec: Any) -> None:
        """Change the gateway's spec by a merge patch."""
        patch = json.dumps({"spec": spec})
        self.kubectl("patch", "veg", self.gateway, "--type=merge", "-p", patch)

    def read(self, path: str) -> Json:
        """An object of the namespace, or a list of them; without kubectl, which is slow to start.

        Raises LabError.
        """
        api, _, name = path.partition("/")
        try:
            found: Json = self._api.request("GET", f"{_PATHS[api]}/{name}")
        except (OSError, Refused) as exc:
            raise LabError(f"{path}: {exc}") from exc
        return found

    @cached_property
    def _api(self) -> ApiServer:
        return self.lab.api

    def pods(self) -> list[Json]:
        """The gateway's pods that are not on their way out, by name."""
        label = f"ovn.kubernetes.io/vpc-egress-gateway={self.gateway}"
        return sorted(self._staying(label), key=lambda pod: str(pod["metadata"]["name"]))

    def clients(self) -> list[Probed]:
        """Where probes are sent from: every client pod."""
        return [
            Probed(
                str(pod["metadata"]["name"]),
                self.namespace_of(pod),
                {
                    each["ip"]: self._outside[Family.of(each["ip"])]
                    for each in pod["status"]["podIPs"]
                },
            )
            for pod in self._staying(f"app={self._clients}")
        ]

    def external_of(self, pod: Json) -> list[str]:
        """The addresses of a gateway pod in the network outside."""
        return [str(address) for each in _networks(pod) for address in each["ips"]]

    def empty_node(self) -> str:
        """A node on which no client is, that may go."""
        used = {pod["spec"]["nodeName"] for pod in self._staying(f"app={self._clients}")}
        return next(name for name in self.lab.options.node_names if name not in used)

    def _staying(self, label: str) -> list[Json]:
        items: list[Json] = self.read(f"core/pods?labelSelector={quote(label)}")["items"]
        return [pod for pod in items if not pod["metadata"].get("deletionTimestamp")]

    def namespace_of(self, pod: Json) -> str:
        """The network namespace of a pod."""
        uid = str(pod["metadata"]["uid"])
        return f"{self.lab.options.prefix}-pod-{uid.partition('-')[0]}"

    def drain(self, pod: Json) -> None:
        """Take a gateway pod out of use by `kubectl vegd`; it is over when nothing passes it."""
        self.drained |= {*self.external_of(pod)}
        self.lab.vegd("drain", pod["metadata"]["name"], "--quiet-for=0.5")

    def undrain(self, pod: Json) -> None:
        """Take it back."""
        self.lab.vegd("drain", pod["metadata"]["name"], "--undo")

    # All is well.

    def until_served(self) -> None:
        """Wait until the API server answers. Raises SceneFailed."""
        for _ in poll_until(WITHIN_S, step_s=0.3):
            with contextlib.suppress(LabError):
                self.kubectl("get", "--raw", "/readyz")
                return
        raise SceneFailed(f"the API server does not answer for {WITHIN_S:g} s")

    def settle(self, pods: int) -> None:
        """Wait until the gateway has as many pods, and all is well. Raises SceneFailed."""
        missing = ""
        for _ in poll_until(WITHIN_S, step_s=0.3):
            try:
                missing = self._missing(pods)
            except LabError as exc:
                missing = str(exc)
            if not missing:
                return
        raise SceneFailed(f"not well after {WITHIN_S:g} s: {missing}")

    def _missing(self, pods: int) -> str:
        gateway = self.read(f"gateways/vpc-egress-gateways/{self.gateway}")
        status = gateway.get("status", {})
        there = {each["type"]: each for each in status.get("conditions", ())}
        for kind, wanted in _WELL.items():
            found = there.get(kind, {})
            generation = gateway["metadata"]["generation"]
            if found.get("status") != wanted or found.get("observedGeneration") != generation:
                return f"{kind} is {found.get('status')}: {found.get('message')}"
        rollout = self.read(f"apps/deployments/{self.gateway}")
        state = rollout["status"]
        counts = [state.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas")]
        if state["observedGeneration"] != rollout["metadata"]["generation"]:
            return "the Deployment's controller has not seen its newest version"
        if counts != [pods] * len(counts):
            return f"pods, those of the newest version, those that are ready: {counts}"
        return ""

    def external_addresses(self) -> set[str]:
        """Those of the gateway's pods, of both families."""
        listed = self.read(f"gateways/vpc-egress-gateways/{self.gateway}")["status"]["externalIPs"]
        return {address for each in listed for address in each.split(",")}

    def sessions(self) -> dict[str, str]:
        """OVN's word for each session by its peer."""
        text = self.lab.network.nbctl("--format=json", "--columns=dst_ip,status", "list", "bfd")
        return {str(peer): str(status) for peer, status in json.loads(text)["data"]}

    # Failures.

    def processes(self, pod: Json) -> dict[str, int]:
        """The processes of a gateway pod: ``gateway`` (the agent), ``engine``, ``watch``."""
        found = {}
        for container in ("gateway", "watch"):
            place = self.lab.streams / "default" / pod["metadata"]["name"] / f"{container}.json"
            with contextlib.suppress(FileNotFoundError):
                found[container] = int(json.loads(place.read_text())["pid"])
        for pid in _descendants(found.get("gateway", 0)):
            with contextlib.suppress(OSError):  # it may end meanwhile
                if b"bfd" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    found["engine"] = pid
        return found

    def restart(self, role: str) -> None:
        """SIGKILL to a process of the lab, which is then started again by the same words."""
        pid = self.lab.process(role).pid
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        os.kill(pid, signal.SIGKILL)
        for _ in poll_until(_DYING_S):
            if self.lab.state.process(role) is None:
                break
        self.lab.state.start(role, None, [each.decode() for each in words])

    def kill_ovn_controllers(self) -> None:
        """SIGKILL to ovn-controller on each node; who watches it starts it again."""
        for node in self.lab.network.nodes.values():
            for pid in namespaces.pids(node.namespace):
                if _name(pid) == _name(_parent(pid)) == "ovn-controller":
                    os.kill(pid, signal.SIGKILL)

    def kill(self, pod: Json, process: str) -> None:
        """SIGKILL to a process of a gateway pod, until there is another one. Raises SceneFailed."""
        name = pod["metadata"]["name"]
        killed = self.processes(pod).get(process)
        if killed is None:
            raise SceneFailed(f"{name}: {process} does not run")
        os.kill(killed, signal.SIGKILL)
        for _ in poll_until(WITHIN_S, step_s=0.2):
            if self.processes(pod).get(process, killed) != killed:
                return
        raise SceneFailed(f"{name}: {process} is not back after {WITHIN_S:g} s")

    def cut_upstream(self, pod: Json) -> None:
        """The world behind a gateway dies: what the pod sends by `net1` gets no answer, and only
        neighbours are still found."""
        (mac,) = {each["mac"] for each in _networks(pod)}
        ruleset = f"""table bridge {_TABLE} {{
            chain upstream {{
                type filter hook prerouting priority -500
                ether saddr {mac} icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
                ether saddr {mac} meta protocol {{ ip, ip6 }} drop
            }}
        }}"""
        namespaces.run(namespaces.inside(self.lab.network.outside, "nft", "-f", "-"), stdin=ruleset)

    def heal_upstream(self) -> None:
        """It is back."""
        script = f"add table bridge {_TABLE}\ndelete table bridge {_TABLE}\n"
        namespaces.run(namespaces.inside(self.lab.network.outside, "nft", "-f", "-"), stdin=script)


def _networks(pod: Json) -> list[Json]:
    """What Multus has attached, as it says; nothing yet where the pod waits for a node."""
    annotations = pod["metadata"]["annotations"]
    wanted = annotations["k8s.v1.cni.cncf.io/networks"]
    told: list[Json] = json.loads(annotations.get("k8s.v1.cni.cncf.io/network-status", "[]"))
    return [each for each in told if each["name"] == wanted]


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _descendants(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from _descendants(int(child))
