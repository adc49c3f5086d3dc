"""What ``kubectl vegd`` does inside pods: a drain, a probe, a bundle of the agents' own.

Behind the pods of the API server stands a lab: what is run in a container is run in the namespace
of a real gateway with a real daemon, or of a client that it forwards."""

import json
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, until
from tests.support.controller import ControllerProcess, standing
from tests.support.kubectl_vegd import Said, kubectl_vegd
from tests.support.ovsdb import OvsdbServer
from vegd.lab.cluster import assets
from vegd.lab.cluster.control_plane import ControlPlane, free_ports
from vegd.lab.lab import Lab, remove
from vegd.lab.topology import LabOptions, Network

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(300)]

_NETWORK = Network(
    subnet1=("192.168.0.1/24",),
    subnet2=("192.168.1.1/24",),
    bfd_port=("10.255.255.255/32",),
    outside=("172.17.0.1/16",),
    # Those that the stand-in for a kubelet gives its pods.
    gateways=tuple(((f"192.168.0.{n}/24",), (f"172.17.0.{n}/16",)) for n in (2, 3)),
    clients=(("192.168.1.10/24",),),
)

Plugin = Callable[..., Said]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab(LabOptions(prefix="kubectl", gateways=2, clients=1, network=_NETWORK))
    remove("kubectl")
    made.create()
    try:
        made.wait_up()
        yield made
    finally:
        remove("kubectl")


class Streams:
    """``kubectl exec`` into the lab's namespaces, for pods of a cluster."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self._cluster, self._directory = cluster, directory
        (port,) = free_ports(1)
        command = [
            str(assets.find("kubelet-streams")),
            f"--directory={directory}",
            f"--port={port}",
        ]
        self._process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command])
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }
        for number in (1, 2):
            path = f"/api/v1/nodes/{cluster.namespace}-n{number}/status"
            cluster.patch(path, {"status": status})

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def serve(self, pod: str, container: str, netns: str, runtime_dir: Path) -> None:
        """Describe a container whose processes are in a namespace."""
        place = self._directory / self._cluster.namespace / pod
        place.mkdir(parents=True)
        log = self._directory / f"{pod}.log"
        log.write_text("it has begun\n")
        path = f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        described = {
            "pid": self._process.pid,
            "enter": ["nsenter", f"--net=/run/netns/{netns}"],
            "env": {"PATH": path, "VEGD_RUNTIME_DIR": str(runtime_dir)},
            "log": str(log),
        }
        (place / f"{container}.json").write_text(json.dumps(described))


@pytest.fixture(scope="module")
def cluster(
    control_plane: ControlPlane,
    controller: ControllerProcess,
    lasting_northbound: OvsdbServer,
    lab: Lab,
) -> Iterator[Cluster]:
    with control_plane.namespace() as namespace:
        made = Cluster(control_plane, namespace)
        with standing(made, lasting_northbound):
            networks = [{"snat": True, "ipBlocks": ["192.168.1.0/24"]}]
            made.gateway("gw", replicas=2, bfd={"enabled": True}, policies=networks)
            made.client_pod("web", "192.168.1.10")
            made.until_ready("gw")
            yield made
            made.close(has_controller=True)


@pytest.fixture(scope="module")
def streams(
    cluster: Cluster, lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Streams]:
    made = Streams(cluster, tmp_path_factory.mktemp("streams"))
    try:
        of_address = {str(each.internal[0].ip): each for each in lab.topology.gateways}
        for pod in cluster.pods("app=vpc-egress-gateway"):
            gateway = of_address[pod["status"]["podIP"]]
            directory = lab.state.runtime_dir(gateway.name)
            made.serve(pod["metadata"]["name"], "gateway", gateway.namespace, directory)
        made.serve("web", "main", lab.topology.clients[0].namespace, Path("/nonexistent"))
        yield made
    finally:
        made.close()


@pytest.fixture
def plugin(cluster: Cluster, streams: Streams) -> Plugin:
    """Runs a command in the cluster's namespace."""
    return lambda *arguments: kubectl_vegd(
        cluster.plane.kubeconfig, *arguments, f"--namespace={cluster.namespace}"
    )


def test_a_probe_is_answered_and_the_far_side_saw_what_was_computed(plugin: Plugin) -> None:
    said = plugin("trace", "web", "172.17.0.1", "--probe")
    assert said.status == 0, said
    seen = said.out.splitlines()[-1]
    assert seen.startswith("probe (curl): answered; the far side saw 172.17.0.")
    assert seen.endswith(", as expected")
    told = json.loads(plugin("trace", "web", "172.17.0.1", "--probe", "--json").out)
    assert told["probe"]["answered"] is True
    # In the order of the pods' names.
    assert sorted(told["leaves"]["shownAs"]) == ["172.17.0.2", "172.17.0.3"]
    assert told["probe"]["seen"] in told["leaves"]["shownAs"]


def test_a_probe_that_nobody_answers(plugin: Plugin) -> None:
    said = plugin("trace", "web", "172.17.0.99", "--probe", "--port=81")
    assert said.status == 1
    assert said.out.splitlines()[-1].startswith("probe (curl): no answer: ")


def test_a_pod_is_drained_and_taken_back(
    plugin: Plugin, cluster: Cluster, streams: Streams, lab: Lab
) -> None:
    pod = cluster.pods("app=vpc-egress-gateway")[0]["metadata"]["name"]
    said = plugin("drain", pod, "--quiet-for=1")
    assert said.status == 0, said
    lines = said.out.splitlines()
    begun = f"{cluster.namespace}/{pod} drains: its sessions are AdminDown, forwarding goes on"
    assert lines[0] == begun
    assert lines[-1].startswith("drained: nothing was forwarded for ")
    assert said.err == "", "another pod is in use, and the controller has answered"
    assert _is_drained(cluster, pod)
    undone = plugin("drain", pod, "--undo")
    assert undone.status == 0, undone
    assert undone.out.startswith(f"{cluster.namespace}/{pod} is not draining any more")
    assert not _is_drained(cluster, pod)
    until(lambda: _is_up(lab))
    cluster.until_ready("gw")


def _is_drained(cluster: Cluster, pod: str) -> bool:
    """As the controller is told."""
    found = next(each for each in cluster.pods() if each["metadata"]["name"] == pod)
    return bool(found["metadata"]["annotations"].get("vegd.io/drain") == "true")


def _is_up(lab: Lab) -> bool:
    lab.wait_up()
    return True


def test_a_drain_that_is_not_over_in_time_goes_on(plugin: Plugin, cluster: Cluster) -> None:
    pod = cluster.pods("app=vpc-egress-gateway")[1]["metadata"]["name"]
    said = plugin("drain", pod, "--quiet-for=3600", "--timeout=1")
    assert said.status == 1
    assert "the last packet was forwarded" in said.out
    assert "after 1 s there is still traffic; it drains on" in said.err
    assert plugin("drain", pod, "--undo").status == 0
    cluster.until_ready("gw")


def test_who_may_not_annotate_the_pod_drains_it_all_the_same(
    plugin: Plugin, cluster: Cluster, tmp_path: Path
) -> None:
    pod = cluster.pods("app=vpc-egress-gateway")[0]["metadata"]["name"]
    token = _account(cluster.plane, cluster.namespace)
    kubeconfig = cluster.plane.write_kubeconfig(tmp_path / "account", token)
    where = f"--namespace={cluster.namespace}"
    said = kubectl_vegd(kubeconfig, "drain", pod, "--quiet-for=1", where)
    assert said.status == 0, said
    assert said.err.startswith("note: ")
    assert said.err.endswith(
        "the controller cannot be told, and connections of other pods may be cut\n"
    )
    undone = kubectl_vegd(kubeconfig, "drain", pod, "--undo", where)
    assert undone.status == 0, undone
    cluster.until_ready("gw")


def _account(plane: ControlPlane, namespace: str) -> str:
    """The token of an account that may read everything and run commands in pods."""
    where = f"--namespace={namespace}"
    reads = ("--verb=get,list", "--resource=*.*")
    for words in (
        ("create", "serviceaccount", "reader", where),
        ("create", "clusterrole", namespace, *reads),
        ("create", "clusterrolebinding", namespace, f"--clusterrole={namespace}"),
        ("create", "role", "runs", "--verb=create,get", "--resource=pods/exec", where),
        ("create", "rolebinding", "runs", "--role=runs", where),
    ):
        subject = f"--serviceaccount={namespace}:reader"
        binds = (subject,) if "binding" in words[1] else ()
        done = plane.kubectl(*words, *binds)
        assert done.returncode == 0, done.stderr
    token = plane.kubectl("create", "token", "reader", where)
    assert token.returncode == 0, token.stderr
    return token.stdout.strip()


def test_a_controller_that_does_not_answer_is_told_and_not_waited_for(
    plugin: Plugin, cluster: Cluster, controller: ControllerProcess
) -> None:
    pod = cluster.pods("app=vpc-egress-gateway")[0]["metadata"]["name"]
    controller.process.send_signal(signal.SIGSTOP)
    try:
        said = plugin("drain", pod, "--quiet-for=1")
    finally:
        controller.process.send_signal(signal.SIGCONT)
    assert said.status == 0, said
    note = "note: the controller has not answered for 10 s: connections of other pods may be cut\n"
    assert said.err == note
    assert plugin("drain", pod, "--undo").status == 0
    cluster.until_ready("gw")


def test_a_pod_without_a_daemon_is_exit_status_3(
    plugin: Plugin, cluster: Cluster, streams: Streams, lab: Lab
) -> None:
    pod = cluster.pods("app=vpc-egress-gateway")[1]["metadata"]["name"]
    gateway = lab.topology.gateways[0].namespace
    place = next(streams._directory.glob(f"*/{pod}"))
    kept = (place / "gateway.json").read_text()
    (place / "gateway.json").unlink()
    place.rmdir()
    streams.serve(pod, "gateway", gateway, Path("/nonexistent"))
    try:
        said = plugin("drain", pod)
        assert not _is_drained(cluster, pod), "what cannot be done whole is not done"
    finally:
        (place / "gateway.json").write_text(kept)
    assert said.status == 3
    assert "no daemon answers at /nonexistent/agent.sock" in said.err


def test_the_bundle_has_logs_and_the_agents_own_bundles(
    plugin: Plugin, cluster: Cluster, tmp_path: Path
) -> None:
    path = tmp_path / "bundle.tar.gz"
    said = plugin("support-bundle", "gw", "-o", str(path))
    assert said.status == 0, said
    with tarfile.open(path) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
        pods = [pod["metadata"]["name"] for pod in cluster.pods("app=vpc-egress-gateway")]
        for pod in pods:
            assert f"logs/{cluster.namespace}/{pod}/gateway.txt" in names
            inner = next(name for name in tar.getnames() if name.endswith(f"{pod}.tar.gz"))
            with tarfile.open(fileobj=tar.extractfile(inner)) as agent:
                assert any(name.endswith("/status.json") for name in agent.getnames())
