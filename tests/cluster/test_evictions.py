"""A node that is drained takes one pod of a gateway at a time, unless somebody else has said what
evictions may take."""

import pytest

from tests.support.cluster import Cluster, Json, until
from tests.support.controller import ControllerProcess, Northd, Router
from vegd.lab.cluster.control_plane import Refused

pytestmark = pytest.mark.timeout(300)

_TOO_MANY_REQUESTS = 429


def _evict(cluster: Cluster, pod: Json) -> int:
    """As ``kubectl drain`` asks for it; the answer's code."""
    name = pod["metadata"]["name"]
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": cluster.namespace},
    }
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{name}/eviction"
    try:
        cluster.plane.request("POST", path, body)
    except Refused as exc:
        return exc.code
    return 201


def _until_evicted(cluster: Cluster, pod: Json) -> None:
    until(lambda: _evict(cluster, pod) == 201)


def test_a_pod_is_evicted_only_when_the_one_before_it_has_been_replaced(
    cluster: Cluster, router: Router, northd: Northd
) -> None:
    cluster.gateway("gw", replicas=2, bfd={"enabled": True})
    cluster.until_ready("gw")
    first, second = cluster.pods()
    # The sessions of pods that come now stay down.
    northd.wishes = dict.fromkeys((f"192.168.0.{number}" for number in range(4, 9)), "down")
    try:
        _until_evicted(cluster, first)
        until(lambda: "waits until" in cluster.condition("gw", "Ready")[2])
        assert _evict(cluster, second) == _TOO_MANY_REQUESTS
    finally:
        northd.wishes.clear()
    _until_evicted(cluster, second)
    until(lambda: second["metadata"]["name"] not in {p["metadata"]["name"] for p in cluster.pods()})
    cluster.until_ready("gw")


def test_a_pod_that_is_not_ready_may_always_be_evicted(
    cluster: Cluster, router: Router, northd: Northd
) -> None:
    northd.wishes = dict.fromkeys((f"192.168.0.{number}" for number in range(2, 9)), "down")
    try:
        cluster.gateway("gw", replicas=2, bfd={"enabled": True})
        until(lambda: len(cluster.pods()) == 2)
        until(lambda: all(pod["status"]["phase"] == "Running" for pod in cluster.pods()))
        until(lambda: not cluster.is_gone(f"{cluster.budgets_path}/gw"))
        for pod in cluster.pods():
            _until_evicted(cluster, pod)
    finally:
        northd.wishes.clear()


def test_a_budget_that_is_changed_or_deleted_is_as_before_soon(
    cluster: Cluster, router: Router, controller: ControllerProcess
) -> None:
    cluster.gateway("gw")
    cluster.until_ready("gw")
    controller.until_idle()
    path = f"{cluster.budgets_path}/gw"
    cluster.patch(path, {"spec": {"maxUnavailable": 0}})
    until(lambda: cluster.plane.request("GET", path)["spec"]["maxUnavailable"] == 1)
    controller.until_idle()
    cluster.plane.request("DELETE", path)
    until(lambda: not cluster.is_gone(path))


def test_where_somebody_elses_budget_has_the_pods_there_is_none_of_ours(
    cluster: Cluster, router: Router, controller: ControllerProcess
) -> None:
    cluster.gateway("gw", replicas=2)
    cluster.gateway("other")
    cluster.until_ready("gw")
    cluster.until_ready("other")
    path = f"{cluster.budgets_path}/gw"
    label = "ovn.kubernetes.io/vpc-egress-gateway"
    of_gw = {"matchExpressions": [{"key": label, "operator": "In", "values": ["gw"]}]}
    controller.until_idle()
    cluster.budget("theirs", of_gw)
    until(lambda: cluster.is_gone(path))
    assert not cluster.is_gone(f"{cluster.budgets_path}/other")
    # A pod with two budgets is refused with 500.
    _until_evicted(cluster, cluster.pods(f"{label}=gw")[0])
    cluster.until_ready("gw")
    controller.until_idle()
    cluster.plane.request("DELETE", f"{cluster.budgets_path}/theirs")
    until(lambda: not cluster.is_gone(path))


def test_a_budget_of_our_name_that_is_somebody_elses_is_left_alone_and_told(
    cluster: Cluster, router: Router
) -> None:
    cluster.budget("gw", {"matchLabels": {"app": "another"}})
    cluster.gateway("gw")
    until(lambda: "PodDisruptionBudget gw belongs to" in cluster.condition("gw", "Conflict")[2])
    spec = cluster.plane.request("GET", f"{cluster.budgets_path}/gw")["spec"]
    assert spec["selector"] == {"matchLabels": {"app": "another"}}
    cluster.plane.request("DELETE", f"{cluster.budgets_path}/gw")
    until(lambda: cluster.condition("gw", "Conflict")[0] == "False")
    assert not cluster.is_gone(f"{cluster.budgets_path}/gw")
