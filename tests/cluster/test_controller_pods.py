"""What a gateway's pods are given, and what they and the controller tell of each other."""

from typing import Any

import pytest

from tests.support.cluster import Cluster, until
from tests.support.controller import Northd, Router, find
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


def test_a_gateway_without_bfd_waits_for_no_session(cluster: Cluster, router: Router) -> None:
    cluster.gateway("gw")
    cluster.until_ready("gw")
    assert _said(cluster.pods()[0], _GATE) == "True"
