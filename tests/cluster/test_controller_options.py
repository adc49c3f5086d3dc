"""What a gateway may ask for besides, through the running controller: nodes, addresses, rates."""

from typing import Any

import pytest

from tests.support.cluster import Cluster, until
from tests.support.controller import ControllerProcess, Router

pytestmark = pytest.mark.timeout(300)

_KUBE_OVN = "/apis/kubeovn.io/v1"


def _annotations(cluster: Cluster) -> dict[str, str]:
    """Of the pods that the Deployment asks for."""
    template: dict[str, Any] = cluster.deployment("gw")["spec"]["template"]
    found: dict[str, str] = template["metadata"]["annotations"]
    return found


def _condition(cluster: Cluster, kind: str, status: str, text: str) -> bool:
    found = cluster.condition("gw", kind)
    return found[0] == status and text in found[2]


def test_clients_go_to_the_gateway_of_their_own_node_first(
    cluster: Cluster, router: Router
) -> None:
    cluster.gateway("gw", replicas=2, trafficPolicy="Local")
    cluster.until_ready("gw")
    own = {pod["spec"]["nodeName"]: str(pod["status"]["podIP"]) for pod in cluster.pods()}
    assert len(own) == 2

    def is_led() -> bool:
        local = [each for each in router.policies() if each.startswith("29150")]
        return all(
            any(f"${_group(node)}_ip4" in each and each.split()[-1] == address for each in local)
            for node, address in own.items()
        )

    until(is_led)
    assert any(
        all(address in each for address in own.values())
        for each in router.policies()
        if each.startswith("29100")
    ), "and to any where theirs is gone"
    node, address = next(iter(own.items()))
    path = f"/api/v1/nodes/{node}"
    cluster.patch(path, {"metadata": {"annotations": {"ovn.kubernetes.io/port_name": None}}})
    until(lambda: not any(_group(node) in each for each in router.policies()))
    until(lambda: _condition(cluster, "Degraded", "False", f"the node {node} has no port group"))
    cluster.change("gw", trafficPolicy="Cluster")
    until(lambda: not any(each.startswith("29150") for each in router.policies()))
    assert any(address in each for each in router.policies())


def _group(node: str) -> str:
    return f"node.{node}".replace("-", ".")


def test_fixed_addresses_are_asked_of_kube_ovn_and_are_enough_for_the_replicas(
    cluster: Cluster, router: Router
) -> None:
    inside, outside = ["192.168.0.50", "192.168.0.51"], ["172.17.0.50", "172.17.0.51"]
    cluster.gateway("gw", replicas=2, internalIPs=inside, externalIPs=outside)
    cluster.until_ready("gw")
    found = _annotations(cluster)
    assert found["ovn.kubernetes.io/ip_pool"] == ";".join(inside)
    provider = f"eth1.{cluster.namespace}"
    assert found[f"{provider}.kubernetes.io/ip_pool"] == ";".join(outside)
    scaled = cluster.plane.kubectl(
        "scale", f"--namespace={cluster.namespace}", "veg/gw", "--replicas=3"
    )
    assert "list an address for each replica" in scaled.stderr
    assert len(cluster.pods()) == 2
    cluster.change(
        "gw",
        replicas=3,
        internalIPs=[*inside, "192.168.0.52"],
        externalIPs=[*outside, "172.17.0.52"],
    )
    until(lambda: _condition(cluster, "Validated", "True", ""))
    until(lambda: _annotations(cluster)["ovn.kubernetes.io/ip_pool"].endswith(";192.168.0.52"))


def test_pools_are_waited_for_and_asked_of_kube_ovn(cluster: Cluster, router: Router) -> None:
    pools = {"internalIPPool": f"in-{cluster.namespace}", "externalIPPool": "nowhere"}
    cluster.gateway("gw", **pools)
    until(lambda: _condition(cluster, "Validated", "False", f"'in-{cluster.namespace}' is no IPP"))
    assert cluster.pods() == []
    for name, subnet in (
        (pools["internalIPPool"], cluster.inside),
        (f"out-{cluster.namespace}", cluster.outside),
    ):
        cluster.create(f"{_KUBE_OVN}/ippools", "IPPool", name, {"subnet": subnet, "ips": []})
    cluster.change("gw", externalIPPool=f"in-{cluster.namespace}")
    until(lambda: _condition(cluster, "Validated", "False", f"name a pool of {cluster.outside}"))
    cluster.change("gw", externalIPPool=f"out-{cluster.namespace}")
    cluster.until_ready("gw")
    found = _annotations(cluster)
    assert found["ovn.kubernetes.io/ip_pool"] == pools["internalIPPool"]
    provider = f"eth1.{cluster.namespace}"
    assert found[f"{provider}.kubernetes.io/ip_pool"] == f"out-{cluster.namespace}"


def test_rates_are_asked_of_kube_ovn_seen_from_the_pod(cluster: Cluster, router: Router) -> None:
    cluster.gateway("gw", bandwidth={"ingress": "1.5Gi", "egress": 100})
    cluster.until_ready("gw")
    before = [pod["metadata"]["uid"] for pod in cluster.pods()]
    found = _annotations(cluster)
    assert found["ovn.kubernetes.io/egress_rate"] == "1611"
    assert found["ovn.kubernetes.io/ingress_rate"] == "100"
    cluster.change("gw", bandwidth={"ingress": 0, "egress": 200})
    until(lambda: _annotations(cluster).get("ovn.kubernetes.io/ingress_rate") == "200")
    assert "ovn.kubernetes.io/egress_rate" not in _annotations(cluster)
    # Kube-OVN looks at the rates of pods that are made.
    until(lambda: not set(before) & {pod["metadata"]["uid"] for pod in cluster.pods()})
    cluster.until_ready("gw")


def test_an_object_that_cannot_be_read_is_left_out_and_hides_no_other(
    cluster: Cluster, router: Router, controller: ControllerProcess
) -> None:
    odd = f"odd-{cluster.namespace}"
    expression = {"key": "zone", "operator": "Near", "values": ["a"]}
    port = {"enabled": False, "nodeSelector": {"matchExpressions": [expression]}}
    cluster.create(f"{_KUBE_OVN}/vpcs", "Vpc", odd, {"bfdPort": port})
    metric = 'vegd_controller_unreadable_objects{resource="vpcs"}'
    until(lambda: controller.metric(metric) == 1)
    path = f"{_KUBE_OVN}/vpcs/{odd}"
    cluster.patch(path, {"metadata": {"labels": {"looked": "again"}}})
    cluster.gateway("gw")
    cluster.until_ready("gw")
    # What comes after it in the same watch is seen.
    cluster.patch(f"{_KUBE_OVN}/vpcs/{cluster.vpc}", {"spec": {"bfdPort": {"enabled": False}}})
    cluster.change("gw", bfd={"enabled": True})
    until(lambda: _condition(cluster, "Validated", "False", "has no BFD port"))
    told = [line for line in controller.log.read_text().splitlines() if odd in line]
    assert len(told) == 1
    assert "left out" in told[0]
    assert "'Near'" in told[0]
    cluster.plane.request("DELETE", path)
    until(lambda: controller.metric(metric) == 0)
