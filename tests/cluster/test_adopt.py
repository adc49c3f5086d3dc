"""Beside Kube-OVN: gateways of a group of our own, and moving one without an outage."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kube.definitions import gateway_definition
from tests.support.cluster import Cluster, until
from tests.support.controller import ControllerProcess, find, running, standing
from tests.support.definitions import install
from tests.support.ovsdb import OvsdbServer
from vegd.lab.cluster.control_plane import ControlPlane, Refused, free_ports

pytestmark = pytest.mark.timeout(300)

_GROUP = "egress.example"


@pytest.fixture
def ours(
    control_plane: ControlPlane, definitions: None, namespace: str, northbound: OvsdbServer
) -> Iterator[Cluster]:
    """A cluster with a controller of our own group."""
    install(control_plane, [gateway_definition(_GROUP)])
    with standing(Cluster(control_plane, namespace, _GROUP), northbound, bfd_port="") as made:
        yield made


@pytest.fixture
def controller(
    tmp_path: Path, ours: Cluster, northbound: OvsdbServer
) -> Iterator[ControllerProcess]:
    options = (f"--api-group={_GROUP}", f"--lease-namespace={ours.namespace}")
    process = ControllerProcess(tmp_path, ours.plane, northbound.remote, free_ports(1)[0], *options)
    with running(process):
        yield process


@pytest.fixture
def theirs(ours: Cluster) -> Iterator[Cluster]:
    """The same cluster as Kube-OVN's controller sees it; what that writes is written here."""
    seen = Cluster(ours.plane, ours.namespace)
    yield seen
    seen.close()


def _say_ready(cluster: Cluster, name: str) -> None:
    ready = {"type": "Ready", "status": "True", "reason": "ReconcileSuccess"}
    status = {"ready": True, "phase": "Completed", "conditions": [ready]}
    cluster.patch(f"{cluster.gateways_path}/{name}/status", {"status": status})


def _adopt(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vegd", "adopt", f"--api-group={_GROUP}"]
    command += [f"--kubeconfig={cluster.plane.kubeconfig}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)


class _Watch:
    """Looks for a moment at which neither gateway is ready."""

    def __init__(self, *clusters: Cluster) -> None:
        self._clusters = clusters
        self.gaps = 0
        self.looks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            # The one that is made is looked at last: it may come between two looks.
            self.gaps += not any(self._is_ready(each) for each in self._clusters)
            self.looks += 1

    @staticmethod
    def _is_ready(cluster: Cluster) -> bool:
        try:
            return bool(cluster.read("gw").get("status", {}).get("ready"))
        except Refused as exc:
            if exc.code != 404:
                raise
            return False


def test_a_gateway_moves_and_back_and_one_of_both_is_always_ready(
    ours: Cluster, theirs: Cluster, northbound: OvsdbServer, controller: ControllerProcess
) -> None:
    theirs.gateway("gw")
    _say_ready(theirs, "gw")
    watch = _Watch(theirs, ours)
    try:
        done = _adopt(ours, f"{ours.namespace}/gw")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"{ours.namespace}/gw is moved"
    finally:
        watch.close()
    assert watch.looks > 5
    assert watch.gaps == 0
    assert theirs.is_gone(f"{theirs.gateways_path}/gw")
    assert ours.read("gw")["status"]["ready"] is True
    sets = find(northbound, "Address_Set")
    assert {row["name"].partition(".")[0] for row in sets} == {"VEGD"}
    back = threading.Thread(
        target=lambda: (
            until(lambda: not theirs.is_gone(f"{theirs.gateways_path}/gw")),
            _say_ready(theirs, "gw"),
        )
    )
    back.start()
    done = _adopt(ours, f"{ours.namespace}/gw", "--back")
    back.join()
    assert done.returncode == 0, done.stderr
    assert ours.is_gone(f"{ours.gateways_path}/gw")
    until(lambda: not find(northbound, "Address_Set"))


def test_rows_and_deployments_of_kube_ovns_controller_are_left_alone(
    ours: Cluster, northbound: OvsdbServer, controller: ControllerProcess
) -> None:
    mark = ["external_ids:vendor=kube-ovn", f"external_ids:vpc-egress-gateway={ours.namespace}/gw"]
    northbound.nbctl("create", "Address_Set", "name=VEG.123456789abc.ipv4", *mark)
    ours.gateway("gw")
    ours.until_ready("gw")
    assert ours.deployment("vegd-gw")["metadata"]["labels"]["app"] == "vegd-egress-gateway"
    ours.plane.request("DELETE", f"{ours.gateways_path}/gw")
    until(lambda: ours.is_gone(f"{ours.gateways_path}/gw"))
    until(
        lambda: (
            [row["name"] for row in find(northbound, "Address_Set")] == ["VEG.123456789abc.ipv4"]
        )
    )


def test_a_gateway_that_does_not_become_ready_is_taken_back_and_the_old_one_stays(
    ours: Cluster, theirs: Cluster, controller: ControllerProcess
) -> None:
    theirs.gateway("gw", bfd={"enabled": True})  # the VPC has no BFD port
    _say_ready(theirs, "gw")
    done = _adopt(ours, f"{ours.namespace}/gw", "--timeout=5")
    assert done.returncode == 1
    assert "is not ready after 5 s" in done.stderr
    assert "the old one stays" in done.stderr
    until(lambda: ours.is_gone(f"{ours.gateways_path}/gw"))
    assert theirs.read("gw")["status"]["ready"] is True


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["gw"], "'gw' names no gateway; give NAMESPACE/NAME"),
        (["{namespace}/nothing"], "nothing was changed"),
    ],
)
def test_what_cannot_be_moved_is_one_line(
    ours: Cluster, arguments: list[str], complaint: str
) -> None:
    done = _adopt(ours, *(each.format(namespace=ours.namespace) for each in arguments))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert complaint in done.stderr


def test_fixed_addresses_have_to_suffice_for_both(ours: Cluster, theirs: Cluster) -> None:
    theirs.gateway("gw", internalIPs=["192.168.0.10"])
    done = _adopt(ours, f"{ours.namespace}/gw")
    assert done.returncode == 1
    assert "spec.internalIPs: 1 addresses are too few" in done.stderr
    assert "list 2" in done.stderr
