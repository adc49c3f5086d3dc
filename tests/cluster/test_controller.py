"""The controller against a real API server and a real northbound database."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, until
from tests.support.controller import ControllerProcess, Router, find
from tests.support.ovsdb import OvsdbServer

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def northbound(lasting_northbound: OvsdbServer) -> OvsdbServer:
    return lasting_northbound


def _bfd(server: OvsdbServer, cluster: Cluster) -> list[dict[str, str]]:
    return find(server, "BFD", f"logical_port=bfd@{cluster.vpc}")


def test_a_gateway_becomes_pods_routes_sessions_and_a_status(
    cluster: Cluster, router: Router, northbound: OvsdbServer
) -> None:
    cluster.gateway("gw", replicas=2, bfd={"enabled": True, "minTX": 100, "minRX": 200})
    cluster.until_ready("gw")
    status = cluster.read("gw")["status"]
    assert status["phase"] == "Completed"
    assert status["replicas"] == 2
    hops = status["internalIPs"]
    assert len(status["externalIPs"]) == len(hops) == 2
    assert sorted(status["workload"]["nodes"]) == sorted(
        f"{cluster.namespace}-n{number}" for number in (1, 2)
    )
    policies = until(lambda: [each for each in router.policies() if hops[0] in each])
    assert all(hop in policies[0] for hop in hops)
    rows = _bfd(northbound, cluster)
    assert {row["dst_ip"] for row in rows} == set(hops)
    assert {(row["min_tx"], row["min_rx"], row["detect_mult"]) for row in rows} == {
        ("200", "100", "3")
    }
    assert ("Normal", "ReconcileSuccess") in cluster.events("gw")


def test_sessions_go_with_a_router_that_somebody_deletes_and_come_with_the_next(
    cluster: Cluster, router: Router, northbound: OvsdbServer
) -> None:
    """ovn-northd 25.03.0 dies of a session without a port."""
    cluster.gateway("gw", bfd={"enabled": True})
    cluster.until_ready("gw")
    until(lambda: _bfd(northbound, cluster))
    router.close()
    until(lambda: not _bfd(northbound, cluster))
    again = Router(northbound, cluster.vpc, cluster.inside)
    until(lambda: _bfd(northbound, cluster))
    until(lambda: any(each.startswith("29100") for each in again.policies()))
    cluster.until_ready("gw")


def test_timers_that_change_reach_ovn_without_a_new_pod(
    cluster: Cluster, router: Router, northbound: OvsdbServer
) -> None:
    """Kube-OVN never updates a BFD row, and replaces every pod instead (its defect 1)."""
    cluster.gateway("gw", bfd={"enabled": True})
    cluster.until_ready("gw")
    before = [pod["metadata"]["uid"] for pod in cluster.pods()]
    cluster.change("gw", bfd={"minTX": 50, "multiplier": 5})
    until(
        lambda: (
            [(row["min_rx"], row["detect_mult"]) for row in _bfd(northbound, cluster)]
            == [("50", "5")]
        )
    )
    cluster.until_ready("gw")
    assert [pod["metadata"]["uid"] for pod in cluster.pods()] == before


def test_a_policy_that_changes_reaches_ovn_and_the_running_pods_configuration(
    cluster: Cluster, router: Router, northbound: OvsdbServer
) -> None:
    cluster.gateway("gw")
    cluster.until_ready("gw")
    before = [pod["metadata"]["uid"] for pod in cluster.pods()]
    cluster.change("gw", policies=[{"snat": False, "ipBlocks": ["192.168.0.128/25"]}])
    path = f"/api/v1/namespaces/{cluster.namespace}/configmaps/gw-vegd"
    until(lambda: "192.168.0.128/25" in cluster.plane.request("GET", path)["data"]["gateway.yaml"])
    until(
        lambda: any(
            "192.168.0.128/25" in row["addresses"] for row in find(northbound, "Address_Set")
        )
    )
    assert [pod["metadata"]["uid"] for pod in cluster.pods()] == before


def test_scaling_by_the_subresource_follows_in_pods_and_routes(
    cluster: Cluster, router: Router
) -> None:
    cluster.gateway("gw", replicas=1)
    cluster.until_ready("gw")
    assert (
        cluster.plane.kubectl(
            "scale", f"--namespace={cluster.namespace}", "veg/gw", "--replicas=2"
        ).returncode
        == 0
    )
    until(lambda: len(cluster.read("gw")["status"].get("internalIPs", ())) == 2)
    hops = cluster.read("gw")["status"]["internalIPs"]
    until(lambda: any(all(hop in each for hop in hops) for each in router.policies()))


def test_a_pod_that_is_deleted_is_no_next_hop_any_more(cluster: Cluster, router: Router) -> None:
    cluster.gateway("gw", replicas=2)
    cluster.until_ready("gw")
    gone = cluster.pods()[0]
    address = gone["status"]["podIP"]
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{gone['metadata']['name']}"
    cluster.plane.request("DELETE", path, {"gracePeriodSeconds": 30})
    until(
        lambda: (
            not any(address in each.split() or f"{address}," in each for each in router.policies())
        )
    )
    cluster.until_ready("gw")


def test_selected_pods_come_and_go_by_their_labels(
    cluster: Cluster, router: Router, northbound: OvsdbServer
) -> None:
    """Kube-OVN does not follow a label that stops matching (its defect 11)."""
    cluster.gateway("gw", policies=[], selectors=[{"podSelector": {"matchLabels": {"app": "web"}}}])
    cluster.until_ready("gw")
    port = f"web.{cluster.namespace}"
    northbound.nbctl("ls-add", cluster.inside, "--", "lsp-add", cluster.inside, port)
    try:
        cluster.client_pod("web", "192.168.0.200", app="web")
        until(lambda: _ports_in_groups(northbound, port))
        path = f"/api/v1/namespaces/{cluster.namespace}/pods/web"
        cluster.patch(path, {"metadata": {"labels": {"app": "other"}}})
        until(lambda: not _ports_in_groups(northbound, port))
    finally:
        northbound.nbctl("ls-del", cluster.inside)


def _ports_in_groups(server: OvsdbServer, port: str) -> bool:
    uuid = find(server, "Logical_Switch_Port", f"name={port}")[0]["_uuid"]
    return any(uuid in group["ports"] for group in find(server, "Port_Group"))


def test_what_is_edited_by_hand_is_as_before_soon(
    cluster: Cluster, router: Router, northbound: OvsdbServer
) -> None:
    """Kube-OVN leaves all of this (its defects 3, 11 and 13)."""
    cluster.gateway("gw", bfd={"enabled": True})
    cluster.until_ready("gw")
    router.add_foreign_policy()
    before = router.policies()
    deployment = f"/apis/apps/v1/namespaces/{cluster.namespace}/deployments/gw"
    cluster.patch(
        deployment, {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}
    )
    until(
        lambda: (
            cluster.deployment("gw")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
            == 30
        )
    )
    uid = cluster.deployment("gw")["metadata"]["uid"]
    cluster.plane.request("DELETE", deployment)
    until(
        lambda: (
            not cluster.is_gone(deployment) and cluster.deployment("gw")["metadata"]["uid"] != uid
        )
    )
    cluster.until_ready("gw")
    northbound.nbctl("lr-policy-del", cluster.vpc, "29100")
    northbound.nbctl("set", "BFD", _bfd(northbound, cluster)[0]["_uuid"], "min_tx=7777")
    until(lambda: [row["min_tx"] for row in _bfd(northbound, cluster)] == ["1000"])
    until(lambda: len(router.policies()) == len(before))
    assert any("31000" in each for each in router.policies())


def test_a_gateway_that_is_deleted_leaves_nothing_in_ovn(
    cluster: Cluster, router: Router, northbound: OvsdbServer
) -> None:
    cluster.gateway("gw", bfd={"enabled": True})
    cluster.until_ready("gw")
    router.add_foreign_policy()
    cluster.plane.request("DELETE", f"{cluster.gateways_path}/gw")
    until(lambda: cluster.is_gone(f"{cluster.gateways_path}/gw"))
    assert len(router.policies()) == 1
    assert _bfd(northbound, cluster) == []
    key = f'external_ids:vpc-egress-gateway="{cluster.namespace}/gw"'
    assert find(northbound, "Address_Set", key) == []


def test_the_bfd_port_of_a_vpc_follows_its_nodes(
    cluster: Cluster, router: Router, northbound: OvsdbServer
) -> None:
    path = f"/apis/kubeovn.io/v1/vpcs/{cluster.vpc}"
    until(lambda: cluster.plane.request("GET", path)["status"].get("bfdPort", {}).get("nodes"))
    label = {"zone": "edge"}
    cluster.patch(path, {"spec": {"bfdPort": {"nodeSelector": {"matchLabels": label}}}})
    until(lambda: not cluster.plane.request("GET", path)["status"]["bfdPort"].get("nodes"))
    node = f"{cluster.namespace}-n2"
    cluster.patch(f"/api/v1/nodes/{node}", {"metadata": {"labels": label}})
    until(lambda: cluster.plane.request("GET", path)["status"]["bfdPort"].get("nodes") == [node])
    group = find(northbound, "HA_Chassis_Group", f"name=bfd@{cluster.vpc}")
    assert len(group) == 1
    cluster.patch(path, {"spec": {"bfdPort": {"enabled": False}}})
    until(lambda: not find(northbound, "HA_Chassis_Group", f"name=bfd@{cluster.vpc}"))


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        ({"externalSubnet": "nowhere"}, "SubnetNotFound", "'nowhere' is no Subnet"),
        ({"vpc": "nowhere"}, "VpcNotFound", "'nowhere' is no Vpc"),
        ({"policies": [{"subnets": ["nowhere"]}]}, "SubnetNotFound", "'nowhere' is no Subnet"),
        ({"agent": {"snat": {"addresses": ["10.9.9.9-10.9.9.1"]}}}, "InvalidSpec", "external.snat"),
    ],
)
def test_what_is_missing_is_a_condition_and_heals_by_itself(
    cluster: Cluster, router: Router, spec: dict[str, Any], reason: str, message: str
) -> None:
    cluster.gateway("gw", **spec)
    found = until(lambda: _validated(cluster, "False"))
    assert found[1] == reason
    assert message in found[2]
    assert ("Warning", reason) in until(lambda: cluster.events("gw"))
    if "agent" in spec:
        cluster.change("gw", agent=None)
    elif "externalSubnet" in spec or "policies" in spec:
        cluster.subnet("nowhere", "172.17.0.0/16", "172.17.0.1", f"eth1.{cluster.namespace}")
    else:
        cluster.plane.request("DELETE", f"{cluster.gateways_path}/gw")
        return
    cluster.until_ready("gw")
    assert _validated(cluster, "True")


def _validated(cluster: Cluster, status: str) -> tuple[str, str, str] | None:
    found = cluster.condition("gw", "Validated")
    return found if found[0] == status else None


def test_two_gateways_of_one_source_are_told_of_each_other(
    cluster: Cluster, router: Router
) -> None:
    cluster.gateway("one")
    cluster.gateway("two", policies=[{"snat": True, "ipBlocks": ["192.168.0.64/26"]}])
    for name, other in (("one", "two"), ("two", "one")):
        found = until(lambda name=name: _conflict(cluster, name, "True"))
        assert f"{cluster.namespace}/{other}" in found[2]
    cluster.plane.request("DELETE", f"{cluster.gateways_path}/two")
    until(lambda: _conflict(cluster, "one", "False"))


def _conflict(cluster: Cluster, name: str, status: str) -> tuple[str, str, str] | None:
    found = cluster.condition(name, "Conflict")
    return found if found[0] == status else None


def test_a_deployment_of_somebody_else_is_left_alone(cluster: Cluster, router: Router) -> None:
    labels = {"app": "mine"}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "gw"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": "none"}]},
            },
        },
    }
    path = f"/apis/apps/v1/namespaces/{cluster.namespace}/deployments"
    made = cluster.plane.request("POST", path, body)
    cluster.gateway("gw")
    found = until(lambda: _conflict(cluster, "gw", "True"))
    assert "the Deployment gw belongs to somebody else" in found[2]
    after = cluster.deployment("gw")
    assert after["metadata"]["generation"] == made["metadata"]["generation"]
    assert after["spec"]["replicas"] == 0


def test_when_nothing_changes_nothing_is_written(
    cluster: Cluster, router: Router, northbound: OvsdbServer, controller: ControllerProcess
) -> None:
    cluster.gateway("gw", bfd={"enabled": True})
    cluster.until_ready("gw")
    # The gateways of tests before this one may still be on their way out.
    own = f"vpc-egress-gateway={cluster.namespace}/gw"
    listed = ("--bare", "--columns=external_ids", "list", "address_set")
    until(lambda: {own in each for each in northbound.nbctl(*listed).split("\n") if each} == {True})
    controller.until_idle()
    rounds = 'vegd_controller_rounds_total{queue="gateways"}'
    before = cluster.read("gw")["metadata"]["resourceVersion"]
    commits, worked = northbound.commits(), controller.metric(rounds)
    # A change that has every gateway looked at again, and changes none.
    cluster.subnet(f"other-{cluster.namespace}", "10.99.0.0/24", "10.99.0.1")
    until(lambda: controller.metric(rounds) > worked)
    controller.until_idle()
    assert cluster.read("gw")["metadata"]["resourceVersion"] == before
    assert northbound.commits() == commits


def test_gateways_that_claim_the_same_are_told_and_there_is_rest(
    cluster: Cluster, router: Router, controller: ControllerProcess
) -> None:
    for name in ("gw", "other"):
        cluster.gateway(name)
    for name, rival in (("gw", "other"), ("other", "gw")):
        cluster.until_ready(name)
        assert f"claimed by {cluster.namespace}/{rival}" in _until_conflict(cluster, name, "True")
    controller.until_idle()
    cluster.change("other", policies=[{"snat": True, "ipBlocks": ["192.168.1.0/24"]}])
    for name in ("gw", "other"):
        _until_conflict(cluster, name, "False")
    controller.until_idle()


def _until_conflict(cluster: Cluster, gateway: str, status: str) -> str:
    until(lambda: cluster.condition(gateway, "Conflict")[0] == status)
    return cluster.condition(gateway, "Conflict")[2]


def test_every_metric_is_in_the_documentation(controller: ControllerProcess) -> None:
    page = controller.page("/metrics")[1]
    names = set(re.findall(r"^# TYPE (vegd_\S+)", page, re.MULTILINE))
    text = (Path(__file__).parents[2] / "docs" / "controller.md").read_text()
    assert names == set(re.findall(r"`(vegd_controller_\w+)`", text))
