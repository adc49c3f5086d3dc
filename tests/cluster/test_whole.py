"""The whole controller with a real OVN of both versions: from a resource to packets that arrive."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Kubelet, until
from tests.support.controller import ControllerProcess, running
from tests.support.lab_cluster import LabCluster
from tests.support.ovn_lab import bare_lab, texts
from tests.support.ovn_versions import trixie
from vegd.lab import faults, ovn_router
from vegd.lab.cluster.control_plane import ControlPlane, free_ports
from vegd.lab.flows import FlowRecord, Probes, probed
from vegd.lab.ovn_programs import INSTALLED, OvnPrograms
from vegd.lab.topology import Gateway

# The root of the other version takes a minute and a half of it where it is not there yet.
pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

_WITHIN_S = 240.0


@pytest.fixture(params=["installed", "25.03"])
def ovn(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> OvnPrograms:
    if request.param == "installed":
        return INSTALLED
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        return trixie()


@pytest.fixture
def cluster(
    tmp_path: Path, control_plane: ControlPlane, definitions: None, namespace: str, ovn: OvnPrograms
) -> Iterator[LabCluster]:
    with bare_lab(ovn, with_daemons=False) as lab:
        made = LabCluster(control_plane, namespace, lab)
        process = ControllerProcess(
            tmp_path,
            control_plane,
            lab.northbound,
            free_ports(1)[0],
            f"--lease-namespace={namespace}",
        )
        with running(process):
            kubelet = Kubelet(made)
            try:
                made.build_lab()
                yield made
            finally:
                made.close(has_controller=True)
                kubelet.close()


def _eventually(cluster: LabCluster, what: Callable[[], Any]) -> Any:
    """Wait; a new BFD row does so, too, until something else wakes ovn-controller."""

    def looked() -> Any:
        ovn_router.nudge(cluster.lab.state)
        return what()

    return until(looked, within_s=_WITHIN_S)


def _until_answered_by(cluster: LabCluster, probes: Probes, *gateways: Gateway) -> None:
    """Wait until all answers of late came through these, and through each of them."""
    wanted = {each for gateway in gateways for each in texts(gateway.external)}
    _eventually(cluster, lambda: set(probes.now()) == wanted)


def _until_condition(cluster: LabCluster, kind: str, status: str) -> None:
    _eventually(cluster, lambda: cluster.condition("gw", kind)[0] == status)


def _is_answered(flow: FlowRecord) -> bool:
    """At its end."""
    return any(each is not None for each in flow.answered[-20:])


def test_from_a_resource_to_packets_and_back_to_nothing(cluster: LabCluster) -> None:
    lab = cluster.lab
    first, second = lab.topology.gateways
    cluster.gateway(
        "gw",
        replicas=2,
        bfd={"enabled": True, "minTX": 100, "minRX": 100},
        policies=[{"snat": True, "subnets": ["subnet2"]}],
    )
    _until_condition(cluster, "Ready", "True")
    assert cluster.condition("gw", "BFDHealthy")[1] == "AllUp"
    pods = {pod["metadata"]["uid"] for pod in cluster.pods()}
    probes = Probes(lab.state, probed(lab), interval_ms=100)
    probes.start()
    _until_answered_by(cluster, probes, first, second)

    faults.cut(first)
    _until_answered_by(cluster, probes, second)
    _until_condition(cluster, "BFDHealthy", "False")
    _until_condition(cluster, "Ready", "False")
    faults.heal(first, lab.topology)
    _until_answered_by(cluster, probes, first, second)
    _until_condition(cluster, "Ready", "True")

    # The BFD port stays while sessions begin there.
    vpc = f"/apis/kubeovn.io/v1/vpcs/{cluster.vpc}"
    cluster.patch(vpc, {"spec": {"bfdPort": {"enabled": False}}})
    _change_the_policy(cluster)
    _until_only_the_first_client_is_answered(cluster, probes)
    assert {pod["metadata"]["uid"] for pod in cluster.pods()} == pods
    probes.stop()

    cluster.plane.request("DELETE", f"{cluster.gateways_path}/gw")
    _eventually(cluster, lambda: cluster.is_gone(f"{cluster.gateways_path}/gw"))
    for table in ("bfd", "logical_router_static_route", "logical_router_policy", "address_set"):
        assert lab.nbctl("--bare", "--columns=_uuid", "list", table) == "", table
    _eventually(cluster, lambda: "bfd@" not in lab.nbctl("show"))
    assert lab.nbctl("--wait=sb", "--timeout=20", "sync") == "", "ovn-northd lives"
    assert lab.nbctl("--bare", "--columns=_uuid", "list", "ha_chassis_group") == ""


def _change_the_policy(cluster: LabCluster) -> None:
    """From both clients and families to the IPv4 addresses of one client."""
    cluster.change("gw", policies=[{"snat": True, "ipBlocks": ["192.168.1.0/28"]}])
    path = f"/api/v1/namespaces/{cluster.namespace}/configmaps/gw-vegd"
    until(lambda: "192.168.1.0/28" in cluster.plane.request("GET", path)["data"]["gateway.yaml"])
    cluster.deliver()


def _until_only_the_first_client_is_answered(cluster: LabCluster, probes: Probes) -> None:
    _eventually(cluster, lambda: all("." in each for each in probes.now()) and probes.now())
    first = cluster.lab.topology.clients[0]

    def answered() -> bool:
        flows = probes.stop()
        probes.start()
        wanted = {flow.source for flow in flows if flow.client == first.name and "." in flow.source}
        return {flow.source for flow in flows if _is_answered(flow)} == wanted

    _eventually(cluster, answered)
