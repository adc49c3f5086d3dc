"""A lab with a cluster as a whole: built, taken up by another process, removed."""

import json
import os
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from kube.definitions import VPCS
from vegd.lab import namespaces
from vegd.lab.cluster import assets, launch, manifests
from vegd.lab.cluster.control_plane import ApiServer, ControlPlane, Refused, free_ports
from vegd.lab.cluster.kubelet import STOPPED
from vegd.lab.cluster.logical import DEFAULT_VPC
from vegd.lab.cluster.network import Network
from vegd.lab.errors import BadRequest, LabError
from vegd.lab.lab import remove, require_root
from vegd.lab.ovn_programs import INSTALLED, OvnPrograms
from vegd.lab.state import LabState, Recorded, poll_until
from vegd.lab.topology import DEFAULT_PREFIX, belongs, check_prefix

KIND = "cluster"
"""In the options of such a lab."""
MOST_NODES = 8
_READY_S = 180.0
_PROGRAMS = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    *("kubectl", "kubelet-streams"),
)


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What can be chosen about a cluster. Raises BadRequest naming field, value and remedy."""

    prefix: str = DEFAULT_PREFIX
    nodes: int = 2
    api_group: str = "kubeovn.io"
    """Of the gateways."""
    ovn: OvnPrograms = INSTALLED

    def __post_init__(self) -> None:
        check_prefix(self.prefix)
        if not 1 <= self.nodes <= MOST_NODES:
            raise BadRequest(f"nodes: {self.nodes} is not from 1 to {MOST_NODES}")

    @property
    def node_names(self) -> tuple[str, ...]:
        """Of all nodes."""
        return tuple(f"node{number}" for number in range(1, self.nodes + 1))

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        ovn = (self.ovn.name, str(self.ovn.bin or ""), str(self.ovn.share))
        return {"kind": KIND, **asdict(self), "ovn": ovn}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "ClusterOptions":
        """Read back what `to_json` made; KeyError, TypeError or ValueError on anything else."""
        if document["kind"] != KIND:
            raise ValueError(document["kind"])
        name, binaries, share = document["ovn"]
        ovn = OvnPrograms(name, Path(binaries) if binaries else None, Path(share))
        rest = {key: value for key, value in document.items() if key not in ("kind", "ovn")}
        return cls(**rest, ovn=ovn)


class ClusterLab:
    """One cluster. `create` builds it, `find` takes up one that is there."""

    def __init__(self, options: ClusterOptions) -> None:
        self.options = options
        self.state = LabState(options.prefix)
        self.network = Network(options.prefix, self.state.directory / "network", options.ovn)
        self._directory = self.state.directory

    @classmethod
    def find(cls, prefix: str) -> "ClusterLab":
        """The running cluster of a prefix. Raises LabError if there is none."""
        check_prefix(prefix)
        try:
            text = (LabState(prefix).directory / "options.json").read_text()
            return cls(ClusterOptions.from_json(json.loads(text)))
        except (OSError, ValueError, KeyError, TypeError):
            raise LabError(
                f"there is no cluster with the prefix {prefix!r}; 'vegd lab up --cluster' makes one"
            ) from None

    @property
    def ovn_version(self) -> str:
        """Of the routers."""
        return self.options.ovn.version()

    @property
    def kubeconfig(self) -> Path:
        """For kubectl, as administrator."""
        return self._directory / "control-plane" / "kubeconfig"

    @property
    def api(self) -> ApiServer:
        """The API server, as administrator."""
        plane = self._directory / "control-plane"
        (cluster,) = yaml.safe_load(self.kubeconfig.read_text())["clusters"]
        return ApiServer(cluster["cluster"]["server"], plane / "certs" / "apiserver.crt")

    @property
    def streams(self) -> Path:
        """Where it is said how to get into the containers."""
        return self._directory / "kubelet" / "streams"

    def create(self, tell: Callable[[str], None] = lambda _: None) -> None:
        """Build everything and start every process. Raises LabError; nothing is left then.

        `tell` is told what happens, for people.
        """
        require_root()
        for name in _PROGRAMS:
            assets.find(name)
        self.options.ovn.require()
        self.state.create(self.options)
        try:
            self._build(tell)
        except BaseException:
            remove(self.options.prefix)
            raise

    def _build(self, tell: Callable[[str], None]) -> None:
        stale = [each for each in namespaces.names() if belongs(each, self.options.prefix)]
        if stale:
            raise LabError(
                f"the network namespace {stale[0]} is there already; "
                f"'vegd lab down --prefix {self.options.prefix}' removes what is left of a lab"
            )
        tell(f"OVN and {self.options.nodes} nodes")
        self.network.create(self.options.node_names)
        tell("the control plane")
        plane = ControlPlane(self._directory / "control-plane", outlives=self.state.adopt)
        self._forward(plane)
        self._install(plane)
        tell("kubelet and controller")
        self.start_streams()
        self.start_kubelet()
        self.start_controller()
        self._until(lambda: self._is_ready(plane), "nodes, subnets and controller are not ready")

    # Processes.

    def start_kubelet(self) -> None:
        """Start the stand-in for the nodes' kubelets."""
        port = (self._directory / "streams.port").read_text()
        words = [f"--node={name}={port}" for name in self.options.node_names]
        words += ["--ovn", *self.options.to_json()["ovn"]]
        self.state.start(
            "kubelet",
            None,
            [
                *(sys.executable, "-m", "vegd.lab.cluster.kubelet"),
                *("--prefix", self.options.prefix, "--directory", str(self._directory)),
                *("--kubeconfig", str(self.kubeconfig), *words),
            ],
        )

    def start_streams(self) -> None:
        """Start what serves exec and logs, for all nodes."""
        self.streams.mkdir(parents=True, exist_ok=True)
        (port,) = free_ports(1)
        (self._directory / "streams.port").write_text(str(port))
        program = str(assets.find("kubelet-streams"))
        self.state.start(
            "streams", None, [program, f"--directory={self.streams}", f"--port={port}"]
        )

    def start_controller(self) -> None:
        """Start vegd's controller."""
        (port,) = free_ports(1)
        (self._directory / "controller.port").write_text(str(port))
        self.state.start(
            "controller",
            None,
            [
                *(sys.executable, "-m", "vegd", "controller", "--image=vegd"),
                f"--ovn-nb={self.network.northbound}",
                f"--kubeconfig={self.kubeconfig}",
                f"--listen=127.0.0.1:{port}",
                f"--api-group={self.options.api_group}",
            ],
        )

    def _forward(self, plane: ControlPlane) -> None:
        address, port = launch.SERVICE
        outside = self.network.outside
        namespaces.ip(outside, [f"address replace {address}/32 dev lo"])
        target = plane.url.rpartition(":")[2]
        self.state.start(
            "forwarder",
            None,
            [
                *(sys.executable, "-m", "vegd.lab.cluster.forwarder"),
                *(outside, address, str(port), target),
            ],
        )

    def process(self, role: str) -> Recorded:
        """The newest process of a role. Raises LabError if it does not run."""
        found = self.state.process(role)
        if found is None:
            raise LabError(f"{role} does not run; see {self._directory / f'{role}.log'}")
        return found

    # Nodes.

    def stop_node(self, node: str) -> None:
        """Take the power from a node: its switch dies, and its pods with all that is in them."""
        self._known(node)
        stopped = self._directory / "kubelet" / STOPPED
        stopped.mkdir(parents=True, exist_ok=True)
        (stopped / node).touch()
        self.network.stop_node(node)

    def start_node(self, node: str) -> None:
        """Give it back; pods that are still bound to it begin anew."""
        self._known(node)
        self.network.start_node(node)
        (self._directory / "kubelet" / STOPPED / node).unlink(missing_ok=True)

    def _known(self, node: str) -> None:
        if node not in self.options.node_names:
            there = ", ".join(self.options.node_names)
            raise BadRequest(f"node: there is no node {node!r}; the nodes are {there}")

    # Objects.

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Run kubectl as administrator; returns what it printed. Raises LabError."""
        command = [str(assets.find("kubectl")), f"--kubeconfig={self.kubeconfig}", *arguments]
        return namespaces.run(command, stdin=stdin, timeout_s=120)

    def vegd(self, *arguments: str) -> str:
        """Run `kubectl vegd` likewise. Raises LabError."""
        plugin = Path(sys.executable).with_name("kubectl-vegd")
        kubectl = f"PATH={assets.find('kubectl').parent}:{os.environ['PATH']}"
        options = (f"--kubeconfig={self.kubeconfig}",)
        command = ["env", kubectl, str(plugin), *arguments, *options]
        return namespaces.run(command, timeout_s=120)

    def _install(self, plane: ControlPlane) -> None:
        """Definitions, and the networks of the document."""
        for definition in manifests.definitions(self.options.api_group):
            self._apply(plane, manifests.DEFINITIONS, definition)
        names = [each["metadata"]["name"] for each in manifests.definitions(self.options.api_group)]
        self._until(
            lambda: all(_is_established(plane, name) for name in names),
            "the definitions are not established",
        )
        for resource, value in manifests.networks():
            self._until(
                lambda resource=resource, value=value: self._apply(plane, resource, value),  # type: ignore[misc]
                f"{resource.kind} {value['metadata']['name']} is refused",
            )

    def _apply(self, plane: ControlPlane, resource: Any, value: dict[str, Any]) -> bool:
        metadata = value["metadata"]
        path = resource.path(metadata.get("namespace", ""), metadata["name"])
        named = {"apiVersion": resource.api_version, "kind": resource.kind, **value}
        query = "?fieldManager=vegd-lab&force=true"
        plane.request("PATCH", path + query, named, content_type="application/apply-patch+yaml")
        return True

    def _is_ready(self, plane: ControlPlane) -> bool:
        self.process("kubelet")
        self.process("controller")
        listed = plane.request("GET", "/api/v1/nodes")["items"]
        ready = [each for each in listed if _is_node_ready(each)]
        vpc = plane.request("GET", VPCS.path(name=DEFAULT_VPC))
        has_router = bool((vpc.get("status") or {}).get("router"))
        return len(ready) == self.options.nodes and has_router and self._controller_is_ready()

    def _controller_is_ready(self) -> bool:
        port = (self._directory / "controller.port").read_text()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return bool(answer.status == 200)

    def _until(self, holds: Callable[[], bool], otherwise: str) -> None:
        problem = ""
        for _ in poll_until(_READY_S, step_s=0.1):
            try:
                if holds():
                    return
            except (OSError, Refused) as exc:
                problem = f": {exc}"
        raise LabError(f"{otherwise} after {_READY_S:g} s{problem}; see {self._directory}")


def _is_established(plane: ControlPlane, name: str) -> bool:
    definition = plane.request("GET", manifests.DEFINITIONS.path(name=name))
    conditions = definition.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def _is_node_ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions") or ()
    tainted = any(each["key"] == "node.kubernetes.io/not-ready" for each in _taints(node))
    return not tainted and any(
        each["type"] == "Ready" and each["status"] == "True" for each in conditions
    )


def _taints(node: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = node["spec"].get("taints") or []
    return found
