"""The status of a gateway says what is observed, and why it is not as it should be."""

import json
from dataclasses import replace
from typing import Any

from kube.conditions import Wanted
from kube.identity import KUBE_OVN
from kube.pods import GatewayPod, Pod, external_addresses, gateway_pods, selected
from kube.resolve import Resolution, resolve
from kube.schema import EgressGateway, parse
from kube.status import Failure, Observed, conditions, status
from tests.support import recorded

_FIRST = GatewayPod("g-1", "node1", ("192.168.0.2",), ("172.17.0.2",), True, "")
_SECOND = GatewayPod("g-2", "node2", ("192.168.0.3",), ("172.17.0.3",), True, "")


def _gateway(**spec: Any) -> EgressGateway:
    base: dict[str, Any] = {
        "vpc": "vpc1",
        "replicas": 2,
        "internalSubnet": "subnet1",
        "externalSubnet": "macvlan1",
        "bfd": {"enabled": True},
        "policies": [{"snat": True, "ipBlocks": ["192.168.0.0/24"]}],
    }
    document = {"metadata": {"name": "g", "namespace": "default"}, "spec": base | spec}
    return parse(EgressGateway, document)


def _resolution(gateway: EgressGateway) -> Resolution:
    return resolve(gateway, recorded.world(), "vegd:1")


def _observed(**changes: Any) -> Observed:
    up = {"192.168.0.2": "up", "192.168.0.3": "up"}
    return replace(Observed(pods=(_FIRST, _SECOND), workload="g", sessions=up), **changes)


def _conditions(observed: Observed, **spec: Any) -> dict[str, Wanted]:
    gateway = _gateway(**spec)
    return conditions(gateway, _resolution(gateway), observed)


def test_the_fields_are_those_of_kube_ovn_for_what_was_observed() -> None:
    gateway = _gateway()
    assert status(gateway, _resolution(gateway), _observed(), KUBE_OVN) == {
        "replicas": 2,
        "labelSelector": "app=vpc-egress-gateway,ovn.kubernetes.io/vpc-egress-gateway=g",
        "ready": True,
        "phase": "Completed",
        "internalIPs": ["192.168.0.2", "192.168.0.3"],
        "externalIPs": ["172.17.0.2", "172.17.0.3"],
        "workload": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": "g",
            "nodes": ["node1", "node2"],
        },
    }


def test_all_is_well_when_all_pods_forward_and_ovn_sees_them() -> None:
    found = _conditions(_observed())
    assert {name: each.status for name, each in found.items()} == {
        "Validated": "True",
        "Ready": "True",
        "Degraded": "False",
        "Conflict": "False",
        "BFDHealthy": "True",
    }


def test_a_pod_that_is_missing_degrades_the_gateway_and_is_named() -> None:
    broken = _SECOND._replace(problem="pod g-2 is not ready")
    found = _conditions(_observed(pods=(_FIRST, broken)))
    assert found["Ready"] == (
        "False",
        "WorkloadNetworkNotReady",
        "1 of 2 pods are in use; pod g-2 is not ready",
    )
    assert found["Degraded"].status == "True"


def test_a_session_that_ovn_sees_down_makes_bfd_unhealthy_and_is_named() -> None:
    found = _conditions(_observed(sessions={"192.168.0.2": "up", "192.168.0.3": "down"}))
    message = "1 of 2 sessions are up in OVN; 192.168.0.3 is down"
    assert found["BFDHealthy"] == ("False", "SessionDown", message)
    assert found["Degraded"].status == "True"
    assert found["Ready"].status == "True"


def test_before_ovn_has_a_session_its_health_is_unknown() -> None:
    assert _conditions(_observed(sessions={}))["BFDHealthy"].status == "Unknown"


def test_without_bfd_there_is_no_condition_of_it() -> None:
    assert "BFDHealthy" not in _conditions(_observed(), bfd={"enabled": False})


def test_a_gateway_of_no_replicas_is_not_ready() -> None:
    found = _conditions(Observed(), replicas=0)
    assert found["Ready"][:2] == ("False", "NoReplicas")


def test_faults_are_told_and_keep_the_gateway_from_being_ready() -> None:
    found = _conditions(_observed(), externalSubnet="nowhere")
    message = "spec.externalSubnet: 'nowhere' is no Subnet; create it or name another"
    assert found["Validated"] == ("False", "SubnetNotFound", message)
    assert found["Ready"].reason == "NotValidated"


def test_a_failure_is_the_reason_why_it_is_not_ready() -> None:
    failure = Failure("ReconcileOVNRoutesFailed", "the northbound database does not answer")
    assert _conditions(_observed(failure=failure))["Ready"] == ("False", *failure)


def test_a_long_list_is_cut_with_a_word_of_it() -> None:
    sessions = {f"10.0.0.{number}": "down" for number in range(10, 40)}
    message = _conditions(_observed(sessions=sessions))["BFDHealthy"].message
    assert message.endswith("; and 21 more")


def _pod(**changes: Any) -> Pod:
    networks = [{"name": "default/eth1", "interface": "net1", "ips": ["172.17.0.2"]}]
    base: dict[str, Any] = {
        "metadata": {
            "name": "g-1",
            "annotations": {
                "k8s.v1.cni.cncf.io/networks": "default/eth1",
                "k8s.v1.cni.cncf.io/network-status": json.dumps(networks),
                "ovn.kubernetes.io/allocated": "true",
                "ovn.kubernetes.io/logical_router": "vpc1",
            },
            "labels": {"app": "web"},
        },
        "spec": {"nodeName": "node1"},
        "status": {
            "phase": "Running",
            "podIPs": [{"ip": "192.168.0.2"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    for path, value in changes.items():
        part, _, name = path.partition("__")
        base[part] = base[part] | {name: value}
    return parse(Pod, base)


def test_a_running_pod_with_both_addresses_is_a_next_hop() -> None:
    expected = GatewayPod("g-1", "node1", ("192.168.0.2",), ("172.17.0.2",), True, "")
    assert gateway_pods([_pod()]) == (expected,)


def test_why_a_pod_is_no_next_hop_is_told() -> None:
    pods = [
        _pod(metadata__name="a", status__phase="Pending"),
        _pod(metadata__name="b", status__podIPs=[]),
        _pod(metadata__name="c", metadata__annotations={"k8s.v1.cni.cncf.io/networks": "a/b"}),
        _pod(metadata__name="d", status__conditions=[]),
    ]
    problems = [each.problem for each in gateway_pods(pods)]
    assert problems == [
        "pod a is Pending",
        "pod b has no address",
        "pod c has no address in a/b",
        "pod d is not ready",
    ]


def test_a_pod_that_is_being_deleted_does_not_count() -> None:
    leaving = _pod(metadata__deletionTimestamp="2026-11-28T00:00:00Z")
    assert gateway_pods([leaving]) == ()


def test_a_pod_drains_while_another_can_take_over() -> None:
    annotations = _pod().metadata.annotations | {"vegd.io/drain": "true"}
    drained = _pod(metadata__name="a", metadata__annotations=annotations)
    there = gateway_pods([drained, _pod(metadata__name="b")])
    assert [each.drains for each in there] == [True, False]
    assert there[0].problem == "pod a drains; kubectl vegd drain a --undo takes it back"
    down = _pod(metadata__name="b", status__conditions=[])
    for alone in ([drained], [drained, down]):
        assert not gateway_pods(alone)[0].drains
        assert not gateway_pods(alone)[0].problem
    undone = _pod(metadata__annotations=annotations | {"vegd.io/drain": "false"})
    assert not gateway_pods([undone, _pod(metadata__name="b")])[0].drains


def test_pods_come_by_name_whatever_the_order_of_the_list() -> None:
    pods = [_pod(metadata__name=name) for name in ("c", "a", "b")]
    assert [each.name for each in gateway_pods(pods)] == ["a", "b", "c"]


def test_an_annotation_that_cannot_be_read_gives_no_address() -> None:
    rubbish = {"k8s.v1.cni.cncf.io/network-status": "[{"}
    assert external_addresses(rubbish, "default/eth1") == ()


def test_only_living_pods_of_the_router_are_selected() -> None:
    gateway = _gateway(selectors=[{"podSelector": {"matchLabels": {"app": "web"}}}])
    assert selected(gateway, _pod(), {}, "vpc1")
    assert not selected(gateway, _pod(), {}, "vpc2")
    assert not selected(gateway, _pod(status__phase="Succeeded"), {}, "vpc1")
    assert not selected(gateway, _pod(spec__hostNetwork=True), {}, "vpc1")
    assert not selected(gateway, _pod(metadata__labels={"app": "db"}), {}, "vpc1")
    assert not selected(gateway, _pod(metadata__annotations={}), {}, "vpc1")
