"""What breaks around a controller ends in a condition, and heals when the cause goes."""

import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, until
from tests.support.controller import ControllerProcess, find, running, standing
from tests.support.ovsdb import OvsdbServer
from tests.support.throttle import reject_everything_of_nobody
from vegd.lab.cluster.control_plane import NOBODY, ControlPlane, free_ports

pytestmark = pytest.mark.timeout(300)

_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_SEES_EVERYTHING = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}
_WRITES_GATEWAYS = {
    "apiGroups": ["kubeovn.io"],
    "resources": ["vpc-egress-gateways", "vpc-egress-gateways/status", "vpcs/status"],
    "verbs": ["patch", "update"],
}
_WRITES_WORKLOADS = {
    "apiGroups": ["", "apps", "policy", "rbac.authorization.k8s.io"],
    "resources": [
        *("configmaps", "deployments", "events", "pods/status"),
        *("poddisruptionbudgets", "serviceaccounts", "roles", "rolebindings"),
    ],
    "verbs": ["create", "patch", "update"],
}


@pytest.fixture
def world(
    control_plane: ControlPlane, definitions: None, namespace: str, northbound: OvsdbServer
) -> Iterator[Cluster]:
    """A cluster with two nodes, a VPC and its router; no controller yet."""
    with standing(Cluster(control_plane, namespace), northbound) as made:
        yield made


def _start(
    directory: Path, cluster: Cluster, northbound: OvsdbServer, *options: str, name: str = "a"
) -> ControllerProcess:
    return ControllerProcess(
        directory,
        cluster.plane,
        northbound.remote,
        free_ports(1)[0],
        "--bfd-binding=policies",
        f"--lease-namespace={cluster.namespace}",
        *options,
        name=name,
    )


@pytest.fixture
def controller(
    tmp_path: Path, world: Cluster, northbound: OvsdbServer
) -> Iterator[ControllerProcess]:
    with running(_start(tmp_path, world, northbound)) as process:
        yield process


def _leads(controller: ControllerProcess) -> bool:
    return controller.metric("vegd_controller_leader") == 1


def _policies(server: OvsdbServer, cluster: Cluster) -> list[str]:
    listed = server.nbctl("lr-policy-list", cluster.vpc).splitlines()
    return [" ".join(line.split()) for line in listed[1:]]


def _not_ready(cluster: Cluster, reason: str) -> Any:
    found = cluster.condition("gw", "Ready")
    return found if found[:2] == ("False", reason) else None


def test_a_database_that_is_away_is_told_and_missed_nothing(
    world: Cluster, northbound: OvsdbServer, controller: ControllerProcess
) -> None:
    until(lambda: controller.metric("vegd_controller_ovn_connected") == 1)
    northbound.stop()
    until(lambda: controller.metric("vegd_controller_ovn_connected") == 0)
    world.gateway("gw")
    found = until(lambda: _not_ready(world, "ReconcileOVNRoutesFailed"))
    assert northbound.remote in found[2]
    assert world.pods(), "what needs no OVN is done meanwhile"
    trouble = f'trouble{{condition="Ready",gateway="{world.namespace}/gw"}}'
    until(lambda: trouble in controller.page("/metrics")[1])
    northbound.start()
    world.until_ready("gw")
    until(lambda: trouble not in controller.page("/metrics")[1])
    assert controller.metric("vegd_controller_ovn_connected") == 1
    assert any("29100" in each for each in _policies(northbound, world))


def test_a_gateway_does_not_wait_for_its_next_try_when_the_database_is_back(
    world: Cluster, northbound: OvsdbServer, controller: ControllerProcess
) -> None:
    until(lambda: controller.metric("vegd_controller_ovn_connected") == 1)
    northbound.stop()
    world.gateway("gw")

    def next_try_s() -> float:
        told = re.findall(r"again in ([\d.]+) s", controller.log.read_text())
        return float(told[-1]) if told else 0.0

    until(lambda: next_try_s() > 45, within_s=150)
    northbound.start()
    until(lambda: world.is_ready("gw"), within_s=30)


def test_a_database_that_refuses_to_be_written_is_told(
    world: Cluster, northbound: OvsdbServer, controller: ControllerProcess
) -> None:
    northbound.ctl("ovsdb-server/set-active-ovsdb-server", "tcp:127.0.0.1:1")
    northbound.ctl("ovsdb-server/connect-active-ovsdb-server")
    world.gateway("gw")
    found = until(lambda: _not_ready(world, "ReconcileOVNRoutesFailed"))
    assert "read only" in found[2]
    northbound.ctl("ovsdb-server/disconnect-active-ovsdb-server")
    world.until_ready("gw")


def test_an_api_server_that_is_restarted_is_followed_on(
    world: Cluster, northbound: OvsdbServer, controller: ControllerProcess
) -> None:
    world.gateway("gw")
    world.until_ready("gw")
    before = _policies(northbound, world)
    world.plane.stop_api_server()
    until(lambda: controller.metric("vegd_controller_followed_behind") > 0)
    assert _policies(northbound, world) == before
    world.plane.start_api_server()
    world.change("gw", replicas=2)
    until(lambda: len(world.read("gw")["status"].get("internalIPs", ())) == 2)
    assert controller.process.poll() is None


def test_an_api_server_that_answers_nothing_for_a_while_costs_nothing(
    world: Cluster, northbound: OvsdbServer, controller: ControllerProcess
) -> None:
    world.gateway("gw")
    world.until_ready("gw")
    before = _policies(northbound, world)
    with world.plane.frozen_api_server():
        time.sleep(20)  # longer than the Lease lasts
        assert _policies(northbound, world) == before
    world.change("gw", replicas=2)
    until(lambda: len(world.read("gw")["status"].get("internalIPs", ())) == 2, within_s=150)


def test_what_the_api_server_forbids_is_told_and_heals_when_it_is_allowed(
    tmp_path: Path, world: Cluster, northbound: OvsdbServer
) -> None:
    name = f"c-{world.namespace}"
    lease = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]}
    with ExitStack() as stack:
        _allow(stack, world.plane, name, [_SEES_EVERYTHING, _WRITES_GATEWAYS, lease])
        kubeconfig = world.plane.write_kubeconfig(tmp_path / "nobody", NOBODY)
        controller = _start(tmp_path, world, northbound, f"--kubeconfig={kubeconfig}")
        stack.enter_context(running(controller))
        world.gateway("gw")
        found = until(lambda: _not_ready(world, "ReconcileWorkloadFailed"))
        assert "forbidden" in found[2]
        assert "configmaps" in found[2]
        _allow(stack, world.plane, f"{name}-more", [_WRITES_WORKLOADS])
        world.until_ready("gw")


def _allow(stack: ExitStack, plane: ControlPlane, name: str, rules: list[dict[str, Any]]) -> None:
    """Let the user "nobody" do something."""
    plane.request("POST", f"{_RBAC}/clusterroles", {"metadata": {"name": name}, "rules": rules})
    stack.callback(plane.request, "DELETE", f"{_RBAC}/clusterroles/{name}")
    binding = {
        "metadata": {"name": name},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": name,
        },
        "subjects": [{"kind": "User", "name": "nobody", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    plane.request("POST", f"{_RBAC}/clusterrolebindings", binding)
    stack.callback(plane.request, "DELETE", f"{_RBAC}/clusterrolebindings/{name}")


def test_an_api_server_that_has_no_time_is_asked_again(
    tmp_path: Path, world: Cluster, northbound: OvsdbServer
) -> None:
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    with ExitStack() as stack:
        _allow(stack, world.plane, f"c-{world.namespace}", [everything])
        kubeconfig = world.plane.write_kubeconfig(tmp_path / "nobody", NOBODY)
        controller = _start(tmp_path, world, northbound, f"--kubeconfig={kubeconfig}")
        stack.enter_context(running(controller))
        with reject_everything_of_nobody(world.plane):
            world.gateway("gw")
            until(lambda: 'code="429"' in controller.page("/metrics")[1])
        world.until_ready("gw")


def test_a_killed_leader_is_replaced_and_what_it_had_begun_is_done(
    tmp_path: Path, world: Cluster, northbound: OvsdbServer
) -> None:
    with ExitStack() as stack:
        pair = [_start(tmp_path, world, northbound, name=name) for name in "ab"]
        for each in pair:
            stack.enter_context(running(each))
        leader = until(lambda: next((each for each in pair if _leads(each)), None))
        other = pair[1 - pair.index(leader)]
        assert not _leads(other)
        for number in range(10):
            blocks = [f"192.168.0.{number * 16}/28"]
            world.gateway(f"gw{number}", policies=[{"snat": True, "ipBlocks": blocks}], replicas=0)
        until(lambda: find(northbound, "Address_Set"))
        leader.stop(signal.SIGKILL)
        until(lambda: _leads(other))
        until(lambda: _told(world) == 10)
        sets = {row["name"] for row in find(northbound, "Address_Set")}
        assert len(sets) == 40, "two sets of each family for each gateway"


def _told(cluster: Cluster) -> int:
    """How many gateways' status says that nothing is wrong but that they have no replicas."""
    items = cluster.plane.request("GET", cluster.gateways_path)["items"]
    return sum("NoReplicas" in str(each.get("status")) for each in items)


def test_a_leader_that_is_asked_to_end_hands_over_at_once(
    tmp_path: Path, world: Cluster, northbound: OvsdbServer
) -> None:
    with ExitStack() as stack:
        pair = [_start(tmp_path, world, northbound, name=name) for name in "ab"]
        for each in pair:
            stack.enter_context(running(each))
        leader = until(lambda: next((each for each in pair if _leads(each)), None))
        other = pair[1 - pair.index(leader)]
        world.gateway("gw")
        world.until_ready("gw")
        before = _policies(northbound, world)
        assert leader.stop() == 0
        path = f"/apis/coordination.k8s.io/v1/namespaces/{world.namespace}/leases/vegd-controller"
        holder = world.plane.request("GET", path)["spec"].get("holderIdentity") or ""
        # The other one may have been waiting for just that.
        assert not holder or holder.endswith(f"-{other.process.pid}")
        until(lambda: _leads(other))
        assert _policies(northbound, world) == before


def test_what_is_deleted_while_no_controller_runs_is_removed_by_the_next(
    tmp_path: Path, world: Cluster, northbound: OvsdbServer
) -> None:
    with running(_start(tmp_path, world, northbound)) as first:
        for name, blocks in (("gw", "192.168.0.0/25"), ("other", "192.168.0.128/25")):
            world.gateway(name, policies=[{"snat": True, "ipBlocks": [blocks]}])
            world.until_ready(name)
        first.stop()
    world.plane.request("DELETE", f"{world.gateways_path}/gw")
    # Somebody loses patience and takes the finalizer off: nobody will ask for "other" again.
    world.patch(f"{world.gateways_path}/other", {"metadata": {"finalizers": None}})
    world.plane.request("DELETE", f"{world.gateways_path}/other")
    assert len(find(northbound, "Address_Set")) == 8
    with running(_start(tmp_path, world, northbound, name="b")):
        until(lambda: world.is_gone(f"{world.gateways_path}/gw"))
        until(lambda: not find(northbound, "Address_Set"))
    assert not [each for each in _policies(northbound, world) if "291" in each]


def test_a_controller_that_is_restarted_writes_nothing_when_all_is_as_it_should_be(
    tmp_path: Path, world: Cluster, northbound: OvsdbServer
) -> None:
    with running(_start(tmp_path, world, northbound)) as first:
        world.gateway("gw", replicas=2, bfd={"enabled": True})
        world.until_ready("gw")
        first.until_idle()
        first.stop()
    commits = northbound.commits()
    with running(_start(tmp_path, world, northbound, "--no-leader-elect", name="b")) as second:
        until(lambda: second.metric('vegd_controller_rounds_total{queue="gateways"}') > 0)
        second.until_idle()
        page = second.page("/metrics")[1]
        writes = [line for line in page.splitlines() if 'verb="P' in line or 'verb="D' in line]
    assert writes == []
    assert northbound.commits() == commits
