"""Which gateways take a pod's packets, and what others say why they do not."""

import pytest

from kube.client_findings import client_report, own_gateway, replica_findings
from kube.finding import Severity, is_bad
from tests.support import scenes
from tests.support.scenes import client, deployment, gateway, workload_pod


def _notes(scene: scenes.Scene, pod: scenes.Client) -> list[str]:
    findings = client_report(scene, pod).findings
    return [f"{each.about}: {each.problem}" for each in findings if each.severity == "NOTE"]


def test_a_pod_is_taken_by_its_address_a_subnet_or_its_labels() -> None:
    subnet = [{"subnets": ["subnet1"]}]
    labels = [{"podSelector": {"matchLabels": {"app": "web"}}}]
    for spec, by in (
        ({}, "spec.policies[0].ipBlocks[0] 192.168.0.0/24"),
        ({"policies": subnet}, "spec.policies[0].subnets[0] subnet1 192.168.0.0/24"),
        ({"policies": [], "selectors": labels}, "spec.selectors[0]"),
    ):
        scene = scenes.scene([gateway(**spec)])
        found = client_report(scene, client(labels={"app": "web"}))
        assert [(each.gateway, each.by) for each in found.takes] == [("ns/gw", by)]
        assert not is_bad(found.findings)


def test_labels_that_do_not_match_are_compared() -> None:
    selector = {
        "namespaceSelector": {"matchLabels": {"team": "b"}},
        "podSelector": {
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["x", "y"]}],
        },
    }
    scene = scenes.scene([gateway(policies=[], selectors=[selector])])
    (note,) = _notes(scene, client(labels={"app": "db"}))
    assert note == (
        "VpcEgressGateway ns/gw: does not take it: spec.selectors[0]: the namespace has team=a, "
        "and team=b is wanted; the pod has app=db, and app=web is wanted; the pod has no label "
        "tier, and tier In (x, y) is wanted"
    )


def test_an_address_outside_all_networks() -> None:
    report = client_report(scenes.scene(), client("192.168.9.9"))
    worst = report.findings[0]
    assert worst.severity is Severity.BROKEN
    assert "no gateway of the Vpc vpc1 takes its IPv4 address 192.168.9.9" in worst.problem
    assert "does not take it: 192.168.9.9 is in none of its networks (192.168.0.0/24)" in (
        report.findings[1].problem
    )


def test_a_family_that_is_not_covered_is_a_note_where_the_other_is() -> None:
    report = client_report(scenes.scene(), client("192.168.0.7,fd00::7"))
    assert not is_bad(report.findings)
    assert "IPv6 address fd00::7" in report.findings[0].problem


def test_gateways_of_other_vpcs_are_not_mentioned() -> None:
    report = client_report(scenes.scene(), client(router="vpc2"))
    (only,) = report.findings
    assert "no gateway of the Vpc vpc2" in only.problem


@pytest.mark.parametrize(
    ("pod", "told"),
    [
        (client(hostNetwork=True), "uses the network of its node"),
        (client(router=""), "has no port of Kube-OVN's"),
        (client(""), "has no address yet"),
    ],
)
def test_what_ovn_does_not_see_at_all(pod: scenes.Client, told: str) -> None:
    (only,) = client_report(scenes.scene(), pod).findings
    assert only.severity is Severity.BROKEN
    assert told in only.problem


def test_two_gateways_that_take_a_pod_and_what_is_wrong_with_them() -> None:
    scene = scenes.scene(
        [gateway(), gateway("other", policies=[{"ipBlocks": ["192.168.0.77"]}])],
        [workload_pod(), workload_pod("other-0", "other", ip="192.168.0.3", ready=False)],
        [deployment(), deployment("other")],
    )
    problems = [each.problem for each in client_report(scene, client()).findings]
    assert "ns/gw and ns/other take 192.168.0.77: which of them is undefined" in problems
    assert any("is not Ready" in each for each in problems)


def test_a_gateway_that_cannot_be_carried_out_takes_nothing_unless_its_pods_run() -> None:
    broken = gateway(externalSubnet="nowhere")
    report = client_report(scenes.scene([broken], [], []), client())
    assert report.takes == ()
    assert any("its resource cannot be carried out" in each.problem for each in report.findings)
    running = client_report(scenes.scene([broken]), client())
    assert [each.gateway for each in running.takes] == ["ns/gw"]


def test_many_that_do_not_take_it_are_counted() -> None:
    gateways = [gateway(f"g{n}", policies=[{"ipBlocks": [f"10.0.{n}.0/24"]}]) for n in range(14)]
    notes = _notes(scenes.scene(gateways, [], []), client())
    assert len(notes) == 11
    assert "Pod apps/web: 4 more gateways of its Vpc do not take it" in notes


def test_a_pod_of_a_gateway_is_known_as_one() -> None:
    scene = scenes.scene(pods=[workload_pod(ready=False)])
    assert own_gateway(scene, "ns/gw-0") == "ns/gw"
    assert own_gateway(scene, "apps/web") is None
    (only,) = replica_findings(scene, "ns/gw", "ns/gw-0")
    assert "is not Ready" in only.problem
