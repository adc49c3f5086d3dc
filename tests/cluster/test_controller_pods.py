"""What a gateway's pods are given, and what they and the controller tell of each other."""

import time
from typing import Any

import pytest

from tests.support.cluster import Cluster, until
from tests.support.controller import ControllerProcess, Northd, Router, find
from tests.support.ovsdb import OvsdbServer

pytestmark = pytest.mark.timeout(300)

_GATE = "vegd.io/bfd"


def _configuration(cluster: Cluster) -> str:
    path = f"/api/v1/namespaces/{cluster.namespace}/configmaps/gw-vegd"
    text: str = cluster.plane.request("GET", path)["data"]["gateway.yaml"]
    return text


def _said(pod: dict[str, Any], kind: str) -> str:
    return next(
        (each["status"] for each in pod["status"]["conditions"] if each["type"] == kind), ""
    )


def _address(pod: dict[str, Any]) -> str:
    return str(pod["status"]["podIP"])


def test_the_configuration_has_a_revision_that_grows_when_it_changes(
    cluster: Cluster, router: Router
) -> None:
    cluster.gateway("gw")
    cluster.until_ready("gw")
    assert _configuration(cluster).startswith("revision: 1\n")
    cluster.change("gw", policies=[{"snat": False, "ipBlocks": ["192.168.0.128/25"]}])
    until(lambda: "192.168.0.128/25" in _configuration(cluster))
    assert _configuration(cluster).startswith("revision: 2\n")
    cluster.change("gw", replicas=2)
    cluster.until_ready("gw")
    assert _configuration(cluster).startswith("revision: 2\n"), "it says the same"


def test_a_pods_account_may_do_what_its_watcher_does_and_nothing_else(
    cluster: Cluster, router: Router
) -> None:
    cluster.gateway("gw")
    cluster.gateway("other")
    cluster.until_ready("gw")
    cluster.until_ready("other")
    pod = next(each for each in cluster.pods() if each["metadata"]["name"].startswith("gw-"))
    assert pod["spec"]["serviceAccountName"] == "gw-vegd"
    who = f"system:serviceaccount:{cluster.namespace}:gw-vegd"
    gateways = "vpc-egress-gateways.kubeovn.io"
    allowed = {
        (verb, what, name): cluster.plane.kubectl(
            "auth", "can-i", verb, f"{what}/{name}", f"--as={who}", f"-n{cluster.namespace}", *more
        ).stdout.strip()
        for verb, what, name, *more in (
            *((verb, "configmaps", "gw-vegd") for verb in ("get", "list", "watch", "patch")),
            ("get", "configmaps", "other-vegd"),
            ("get", gateways, "gw"),
            ("get", gateways, "other"),
            ("patch", gateways, "gw"),
            ("get", "secrets", "any"),
            ("patch", gateways, "gw/status", "--subresource=status"),
        )
    }
    assert {each for each, answer in allowed.items() if answer == "yes"} >= {
        *((verb, "configmaps", "gw-vegd") for verb in ("get", "list", "watch")),
        ("get", gateways, "gw"),
    }
    refused = {each for each, answer in allowed.items() if answer == "no"}
    assert refused >= {
        ("patch", "configmaps", "gw-vegd"),
        ("get", "configmaps", "other-vegd"),
        ("get", gateways, "other"),
        ("patch", gateways, "gw"),
        ("get", "secrets", "any"),
    }


def test_a_role_that_is_widened_by_hand_is_as_before_soon(cluster: Cluster, router: Router) -> None:
    cluster.gateway("gw")
    cluster.until_ready("gw")
    group = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{cluster.namespace}"
    path = f"{group}/roles/gw-vegd"
    rules = cluster.plane.request("GET", path)["rules"]
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    cluster.patch(path, {"rules": [everything]})
    until(lambda: cluster.plane.request("GET", path)["rules"] == rules)
    cluster.plane.request("DELETE", f"{group}/rolebindings/gw-vegd")
    until(lambda: not cluster.is_gone(f"{group}/rolebindings/gw-vegd"))


def test_a_watcher_that_is_switched_off_leaves_no_rights_once_its_last_pod_has_gone(
    cluster: Cluster, router: Router
) -> None:
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{cluster.namespace}"
    core = f"/api/v1/namespaces/{cluster.namespace}"
    paths = [f"{roles}/rolebindings/gw-vegd", f"{roles}/roles/gw-vegd"]
    paths.append(f"{core}/serviceaccounts/gw-vegd")
    cluster.gateway("gw")
    cluster.gateway("other")
    cluster.until_ready("gw")
    cluster.until_ready("other")
    with_watcher = cluster.pods()[0]["metadata"]["name"]
    # Its pod is long about its end.
    held = f"{core}/pods/{with_watcher}"
    cluster.patch(held, {"metadata": {"finalizers": ["example.org/held"]}})
    try:
        cluster.change("gw", agent={"watch": {"enabled": False}})
        until(lambda: _accounts(cluster, "gw") == ["gw-vegd", "default"])
        cluster.until_ready("gw")
        time.sleep(3)  # enough for many rounds
        assert not any(map(cluster.is_gone, paths))
        # What somebody else has made is nobody's to remove.
        cluster.patch(paths[1], {"metadata": {"ownerReferences": None}})
    finally:
        cluster.patch(held, {"metadata": {"finalizers": None}})
    until(lambda: cluster.is_gone(paths[0]) and cluster.is_gone(paths[2]))
    until(lambda: _accounts(cluster, "gw") == ["default"])
    assert not cluster.is_gone(paths[1])
    assert not cluster.is_gone(f"{core}/serviceaccounts/other-vegd")
    cluster.plane.request("DELETE", paths[1])
    cluster.change("gw", agent=None)
    until(lambda: _accounts(cluster, "gw") == ["gw-vegd"])
    cluster.until_ready("gw")
    assert not any(map(cluster.is_gone, paths))


def _accounts(cluster: Cluster, gateway: str) -> list[str]:
    """Of a gateway's pods, those that are about to end included."""
    label = "ovn.kubernetes.io/vpc-egress-gateway"
    listed = cluster.plane.request("GET", f"/api/v1/namespaces/{cluster.namespace}/pods")
    return sorted(
        (
            each["spec"].get("serviceAccountName", "default")
            for each in listed["items"]
            if each["metadata"]["labels"][label] == gateway
        ),
        reverse=True,
    )


def test_a_pod_is_ready_when_ovn_sees_its_session_up_and_has_its_row_before(
    cluster: Cluster, router: Router, northd: Northd, lasting_northbound: OvsdbServer
) -> None:
    northd.wishes = dict.fromkeys((f"192.168.0.{number}" for number in range(2, 6)), "down")
    try:
        cluster.gateway("gw", replicas=2, bfd={"enabled": True})
        port = f"logical_port=bfd@{cluster.vpc}"
        until(lambda: len(find(lasting_northbound, "BFD", port)) == 2)
        first, second = cluster.pods()
        until(lambda: any(_address(first) in each for each in router.policies()))
        until(lambda: "waits until" in cluster.condition("gw", "Ready")[2])
        assert cluster.condition("gw", "BFDHealthy")[1] == "SessionDown"
        northd.wishes.pop(_address(first))
        until(lambda: _said(cluster.pods()[0], "Ready") == "True")
        assert _said(cluster.pods()[1], "Ready") == "False"
        assert not cluster.is_ready("gw")
        northd.wishes.pop(_address(second))
        cluster.until_ready("gw")
        northd.wishes[_address(first)] = "down"
        until(lambda: _said(cluster.pods()[0], _GATE) == "False")
        until(lambda: not cluster.is_ready("gw"))
        hops = [_address(first), _address(second)]
        assert any(all(hop in each for hop in hops) for each in router.policies())
    finally:
        northd.wishes.clear()


def test_a_rolling_update_waits_for_bfd(cluster: Cluster, router: Router, northd: Northd) -> None:
    cluster.gateway("gw", replicas=2, bfd={"enabled": True})
    cluster.until_ready("gw")
    old = {pod["metadata"]["name"] for pod in cluster.pods()}
    # The sessions of pods that come now stay down.
    northd.wishes = dict.fromkeys((f"192.168.0.{number}" for number in range(4, 9)), "down")
    try:
        cluster.change("gw", image="another:1")
        until(lambda: "waits until" in cluster.condition("gw", "Ready")[2])
        names = {pod["metadata"]["name"] for pod in cluster.pods()}
        assert len(names) == 2
        assert len(names & old) == 1, "the other old pod stays"
    finally:
        northd.wishes.clear()
    until(lambda: not old & {pod["metadata"]["name"] for pod in cluster.pods()})
    cluster.until_ready("gw")


def _drain(cluster: Cluster, pod: dict[str, Any], word: str | None) -> None:
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod['metadata']['name']}"
    cluster.patch(path, {"metadata": {"annotations": {"vegd.io/drain": word}}})


@pytest.mark.parametrize("has_bfd", [True, False])
def test_a_pod_that_is_drained_is_no_next_hop_while_another_one_is(
    cluster: Cluster, router: Router, has_bfd: bool
) -> None:
    cluster.gateway("gw", replicas=2, bfd={"enabled": has_bfd})
    cluster.until_ready("gw")
    first, second = cluster.pods()

    def leads_to(*pods: dict[str, Any]) -> bool:
        lines = [each for each in router.policies() if " reroute " in each]
        return bool(lines) and all(
            (_address(each) in line) is (each in pods) for line in lines for each in (first, second)
        )

    until(lambda: leads_to(first, second))
    _drain(cluster, first, "true")
    until(lambda: leads_to(second))
    until(lambda: _said(cluster.pods()[0], _GATE) == "False")
    until(lambda: "drains; kubectl vegd drain" in cluster.condition("gw", "Ready")[2])
    _drain(cluster, second, "true")
    until(lambda: leads_to(first, second))
    _drain(cluster, first, None)
    until(lambda: leads_to(first))
    _drain(cluster, second, None)
    until(lambda: leads_to(first, second))
    cluster.until_ready("gw")


def test_a_gateway_without_bfd_waits_for_no_session(cluster: Cluster, router: Router) -> None:
    cluster.gateway("gw")
    cluster.until_ready("gw")
    assert _said(cluster.pods()[0], _GATE) == "True"


def _report(cluster: Cluster, pod: str, revision: int, state: str = "Up", **more: Any) -> None:
    """What a pod's watcher writes."""
    address = next(_address(each) for each in cluster.pods() if each["metadata"]["name"] == pod)
    session = {"local": address, "peer": "10.255.255.255", "state": state}
    entry = {"pod": pod, "revision": revision, "bfd": [session], **more}
    body = {
        "apiVersion": f"{cluster.group}/v1",
        "kind": "VpcEgressGateway",
        "metadata": {"name": "gw", "namespace": cluster.namespace},
        "status": {"gateways": [entry]},
    }
    path = f"{cluster.gateways_path}/gw/status?fieldManager=vegd-watch/{pod}&force=true"
    cluster.plane.request("PATCH", path, body, content_type="application/apply-patch+yaml")


def _names(cluster: Cluster) -> list[str]:
    return [str(pod["metadata"]["name"]) for pod in cluster.pods()]


def _until_condition(cluster: Cluster, kind: str, status: str, reason: str) -> str:
    def found() -> str | None:
        said = cluster.condition("gw", kind)
        return (said[2] or "-") if said[:2] == (status, reason) else None

    return str(until(found))


def test_a_change_is_applied_when_every_pod_has_reported_it(
    cluster: Cluster, router: Router
) -> None:
    cluster.gateway("gw", replicas=2)
    cluster.until_ready("gw")
    first, second = _names(cluster)
    _until_condition(cluster, "Applied", "Unknown", "NotReported")
    _report(cluster, first, 1)
    assert second in _until_condition(cluster, "Applied", "Unknown", "NotReported")
    _report(cluster, second, 1)
    _until_condition(cluster, "Applied", "True", "AllPods")
    cluster.change("gw", policies=[{"snat": False, "ipBlocks": ["192.168.0.128/25"]}])
    _until_condition(cluster, "Applied", "False", "Behind")
    _report(cluster, first, 2)

    def is_behind_alone() -> bool:
        said = cluster.condition("gw", "Applied")[2]
        return f"{second} has 1" in said and first not in said

    until(is_behind_alone)
    _report(cluster, second, 2)
    waited = cluster.plane.kubectl(
        "wait", f"-n{cluster.namespace}", "veg/gw", "--for=condition=Applied", "--timeout=60s"
    )
    assert waited.returncode == 0, waited.stderr
    cluster.change("gw", externalSubnet="nowhere")
    _until_condition(cluster, "Applied", "False", "NotValidated")


def test_the_report_of_a_pod_that_is_gone_goes_and_no_other(
    cluster: Cluster, router: Router
) -> None:
    cluster.gateway("gw", replicas=2)
    cluster.until_ready("gw")
    first, second = _names(cluster)
    _report(cluster, first, 1)
    _report(cluster, second, 1)
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{first}"
    cluster.plane.request("DELETE", path, {"gracePeriodSeconds": 0})
    until(lambda: [each["pod"] for each in cluster.read("gw")["status"]["gateways"]] == [second])


def test_ends_of_bfd_that_disagree_are_told(
    cluster: Cluster, router: Router, northd: Northd
) -> None:
    cluster.gateway("gw", bfd={"enabled": True})
    cluster.until_ready("gw")
    (pod,) = _names(cluster)
    _report(cluster, pod, 1, "Down")
    message = _until_condition(cluster, "BFDHealthy", "False", "Disagreement")
    assert f"up in OVN and Down in its pod {pod}" in message
    _report(cluster, pod, 1, "Up")
    _until_condition(cluster, "BFDHealthy", "True", "AllUp")
    address = _address(cluster.pods()[0])
    northd.wishes[address] = "down"
    try:
        message = _until_condition(cluster, "BFDHealthy", "False", "Disagreement")
        assert f"{address} is down in OVN and Up in its pod" in message
    finally:
        northd.wishes.clear()
    _until_condition(cluster, "BFDHealthy", "True", "AllUp")


def test_counts_in_reports_cost_no_round(
    cluster: Cluster, router: Router, controller: ControllerProcess
) -> None:
    cluster.gateway("gw")
    cluster.until_ready("gw")
    (pod,) = _names(cluster)
    _report(cluster, pod, 1)
    _until_condition(cluster, "Applied", "True", "AllPods")
    controller.until_idle()
    rounds = 'vegd_controller_rounds_total{queue="gateways"}'
    before = controller.metric(rounds)
    for entries in range(5):
        _report(cluster, pod, 1, conntrack={"entries": entries, "maximum": 65536})
    controller.until_idle()
    assert controller.metric(rounds) == before
    version = cluster.read("gw")["metadata"]["resourceVersion"]
    _report(cluster, pod, 2)
    until(lambda: controller.metric(rounds) > before)
    controller.until_idle()
    assert cluster.read("gw")["metadata"]["resourceVersion"] != version
