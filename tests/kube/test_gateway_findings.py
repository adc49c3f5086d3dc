"""Each thing that can be wrong with a gateway is told of the object that it is about."""

from typing import Any

import pytest

from kube.finding import Severity, is_bad
from kube.gateway_findings import gateway_findings
from kube.scene import Scene
from kube.schema import Vpc, parse
from tests.support import scenes
from tests.support.scenes import condition, deployment, gateway, report, workload_pod


def _texts(scene: Scene, key: str = "ns/gw") -> list[str]:
    return [
        f"{each.severity} {each.about}: {each.problem} -> {each.remedy}"
        for each in gateway_findings(scene, key)
    ]


def _one(scene: Scene, key: str = "ns/gw") -> str:
    (text,) = _texts(scene, key)
    return text


def test_of_a_gateway_that_is_well_nothing_is_told() -> None:
    assert _texts(scenes.scene()) == []
    reported = gateway(bfd={"enabled": True}, status={"gateways": [report()], "ready": True})
    assert _texts(scenes.scene([reported])) == []


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            {"externalSubnet": "nowhere"},
            "BROKEN VpcEgressGateway ns/gw: spec.externalSubnet: 'nowhere' is no Subnet -> create",
        ),
        ({"vpc": "none"}, "BROKEN VpcEgressGateway ns/gw: spec.vpc: 'none' is no Vpc -> create"),
        ({"replicas": 0}, "BROKEN VpcEgressGateway ns/gw: spec.replicas is 0: nothing is forw"),
    ],
)
def test_what_the_resource_lacks(spec: dict[str, Any], told: str) -> None:
    scene = scenes.scene([gateway(**spec)], [], [deployment(replicas=spec.get("replicas", 1))])
    assert _one(scene).startswith(told)


def test_an_attachment_that_is_missing_is_named() -> None:
    world = scenes.world()
    without = type(world)(world.vpcs, world.subnets, world.ip_pools, ())
    told = _one(scenes.scene(pods=[], deployments=[], world=without))
    assert (
        "there is no such attachment -> create the NetworkAttachmentDefinition default/eth1" in told
    )


def test_a_bfd_port_that_was_asked_for_and_is_not_there_is_told_of_the_vpc() -> None:
    spec = {"bfdPort": {"enabled": True, "ip": "10.255.255.255"}}
    vpc = parse(Vpc, {"metadata": {"name": "vpc1"}, "spec": spec, "status": {"router": "vpc1"}})
    world = scenes.world(vpc1=vpc)
    told = _one(scenes.scene([gateway(bfd={"enabled": True})], [], [], world=world))
    assert told.startswith("BROKEN Vpc vpc1: asks for a BFD port (spec.bfdPort), and none has been")
    vpc = parse(Vpc, {"metadata": {"name": "vpc1"}, "status": {"router": "vpc1"}})
    told = _one(
        scenes.scene([gateway(bfd={"enabled": True})], [], [], world=scenes.world(vpc1=vpc))
    )
    assert "set spec.bfdPort.enabled and spec.bfdPort.ip of the Vpc" in told


def test_a_bfd_port_on_no_node() -> None:
    port = {"name": "bfd@vpc1", "ip": "10.255.255.255", "nodes": []}
    status = {"router": "vpc1", "bfdPort": port}
    vpc = parse(Vpc, {"metadata": {"name": "vpc1"}, "status": status})
    scene = scenes.scene([gateway(bfd={"enabled": True})], world=scenes.world(vpc1=vpc))
    assert _one(scene).startswith("BROKEN Vpc vpc1: its BFD port is on no node")


def test_nobody_sees_to_it() -> None:
    told = _texts(scenes.scene([gateway(status={})], [], []))
    assert told[0].startswith("BROKEN VpcEgressGateway ns/gw: no controller has said anything")
    assert told[1].startswith("BROKEN Deployment ns/gw: is not there")
    late = gateway()
    late["metadata"]["generation"] = 2
    assert "generation 2 has not been seen by the controller yet (it has seen 1)" in _one(
        scenes.scene([late])
    )
    leaving = gateway()
    leaving["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["f/x"]}
    assert "is being deleted and waits for f/x" in _one(scenes.scene([leaving]))


def test_a_deployment_of_somebody_else_or_that_cannot_make_pods() -> None:
    foreign = deployment()
    foreign["metadata"]["ownerReferences"] = []
    assert "Deployment ns/gw: belongs to somebody else" in _one(scenes.scene(deployments=[foreign]))
    failing = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: pods=2"}
    quota = deployment(status={"conditions": [failing]})
    assert "cannot make its pods: exceeded quota: pods=2" in _one(scenes.scene(deployments=[quota]))
    assert "has 3 replicas and not 1" in _one(scenes.scene(deployments=[deployment(replicas=3)]))


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules.", "podAntiAff"),
        ("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.", "label"),
        ("0/1 nodes are available: 1 node(s) had untolerated taint {a: b}.", "spec.tolerations"),
        ("0/1 nodes are available: 1 Insufficient cpu.", "spec.resources"),
    ],
)
def test_a_pod_that_cannot_be_scheduled_and_what_helps(message: str, remedy: str) -> None:
    unscheduled = {"type": "PodScheduled", "status": "False", "message": message}
    pod = workload_pod(phase="Pending", conditions=[unscheduled], podIPs=[], spec={"nodeName": ""})
    told = _one(scenes.scene(pods=[pod]))
    assert told.startswith(f"BROKEN Pod ns/gw-0: cannot be scheduled: {message}")
    assert remedy in told


def _waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"name": "gateway", "image": "vegd:9", "ready": False, "state": state, **more}


@pytest.mark.parametrize(
    ("container", "told"),
    [
        (
            _waiting("ImagePullBackOff", "not found"),
            "container gateway: the image vegd:9 cannot be had (ImagePullBackOff: not found)",
        ),
        (
            _waiting(
                "CrashLoopBackOff",
                restartCount=4,
                lastState={"terminated": {"exitCode": 2, "reason": "Error", "message": "no\nway"}},
            ),
            (
                "has ended 4 times, the last time with status 2 (Error): no way "
                "-> kubectl logs --previous -n ns gw-0 -c gateway"
            ),
        ),
        (
            _waiting("CreateContainerConfigError", "configmap gw-vegd not found"),
            "container gateway waits: CreateContainerConfigError: configmap gw-vegd not found",
        ),
    ],
)
def test_a_container_that_does_not_run(container: dict[str, Any], told: str) -> None:
    pod = workload_pod(ready=False, containerStatuses=[container])
    assert told in _one(scenes.scene(pods=[pod]))


def test_a_pod_that_does_not_start_is_explained_by_its_event_or_by_what_it_lacks() -> None:
    pod = workload_pod(phase="Pending", podIPs=[], conditions=[], containerStatuses=[])
    involved = {"kind": "Pod", "namespace": "ns", "name": "gw-0"}
    event = {"type": "Warning", "reason": "FailedCreatePodSandBox", "involvedObject": involved}
    event["message"] = "no address\nleft"
    told = _one(scenes.scene(pods=[pod], events=(event,)))
    assert "does not start: FailedCreatePodSandBox: no address left" in told
    pod["metadata"]["annotations"] = {}
    told = _one(scenes.scene(pods=[pod]))
    assert "Kube-OVN has given it no address" in told
    assert "the Subnets subnet1 and macvlan1 have addresses left" in told


def test_a_pod_without_the_network_outside() -> None:
    pod = workload_pod(annotations={"k8s.v1.cni.cncf.io/network-status": "[]"})
    told = _one(scenes.scene(pods=[pod]))
    assert told.startswith(
        "BROKEN Pod ns/gw-0: has no address in the network outside (default/eth1)"
    )


def test_a_pod_that_is_not_ready_and_the_readiness_gate() -> None:
    told = _one(scenes.scene(pods=[workload_pod(ready=False)]))
    assert "runs and is not Ready (container gateway)" in told
    pod = workload_pod(
        ready=False,
        spec={"readinessGates": [{"conditionType": "vegd.io/bfd"}]},
        containerStatuses=[{"name": "gateway", "ready": True}],
        conditions=[
            {"type": "Ready", "status": "False"},
            {"type": "ContainersReady", "status": "True"},
            {"type": "vegd.io/bfd", "status": "False", "message": "192.168.0.2 is down"},
        ],
    )
    told = _one(scenes.scene(pods=[pod]))
    assert "OVN does not see all of its BFD sessions up: 192.168.0.2 is down" in told


@pytest.mark.parametrize(
    ("fields", "severity", "told"),
    [
        ({"state": "degraded", "reasons": ["no route"]}, "DEGRADED", "is degraded: no route"),
        ({"state": "waiting"}, "BROKEN", "says that it is waiting"),
        ({"draining": True, "state": "draining"}, "NOTE", "kubectl vegd drain -n ns gw-0 --undo"),
        (
            {"bfd": [{"local": "a", "peer": "10.0.0.1", "state": "Down", "reason": "silence"}]},
            "DEGRADED",
            (
                "its BFD session with 10.0.0.1 is Down: silence "
                "-> kubectl exec -n ns gw-0 -c gateway -- vegd why 10.0.0.1"
            ),
        ),
        (
            {"paths": [{"family": "IPv4", "state": "down", "reasons": ["icmp 1.1.1.1"]}]},
            "DEGRADED",
            "its IPv4 path to the outside is down: icmp 1.1.1.1",
        ),
        (
            {"ports": [{"address": "172.17.0.2", "used": 900, "available": 1000}]},
            "DEGRADED",
            "900 of the 1000 ports of 172.17.0.2 are in use",
        ),
        ({"conntrack": {"entries": 95, "maximum": 100}}, "DEGRADED", "nearly full: 95 of 100"),
    ],
)
def test_what_a_pod_reports(fields: dict[str, Any], severity: str, told: str) -> None:
    text = _one(scenes.scene([gateway(status={"gateways": [report(**fields)], "ready": True})]))
    assert text.startswith(f"{severity} Pod ns/gw-0: ")
    assert told in text


def test_a_pod_that_lags_or_does_not_report() -> None:
    pods = [workload_pod(), workload_pod("gw-1", ip="192.168.0.3")]
    config = {"data": {"gateway.yaml": "revision: 7\n"}}
    status = {"gateways": [report(revision=6)], "ready": True}
    scene = scenes.scene(
        [gateway(replicas=2, status=status)],
        pods,
        [deployment(replicas=2)],
        config_maps={"ns/gw-vegd": config},
    )
    lagging, silent = _texts(scene)
    assert "works by revision 6 of its configuration; the newest is 7" in lagging
    assert "Pod ns/gw-1: does not report" in silent


def test_a_report_of_another_shape_is_read_as_far_as_it_goes() -> None:
    odd = {"pod": "gw-0", "state": "waiting", "bfd": "yes", "ports": [3], "new": {}}
    scene = scenes.scene([gateway(status={"gateways": [odd, "x", {}], "ready": True})])
    assert "says that it is waiting" in _one(scene)


def test_gateways_that_claim_the_same_are_told_of_once_each() -> None:
    other = gateway("other", policies=[{"ipBlocks": ["192.168.0.64/26"]}])
    both = scenes.scene(
        [gateway(), other],
        [workload_pod(), workload_pod("other-0", "other", ip="192.168.0.3")],
        [deployment(), deployment("other")],
    )
    told = _one(both)
    assert "192.168.0.0/24 overlaps 192.168.0.64/26 of ns/other" in told
    assert "of ns/gw" in _one(both, "ns/other")


def test_conditions_are_told_where_nothing_explains_them() -> None:
    def told(*conditions: dict[str, Any]) -> list[str]:
        status = {"conditions": list(conditions), "ready": False}
        return _texts(scenes.scene([gateway(bfd={"enabled": True}, status=status)]))

    failed = condition("Ready", "False", "ReconcileOVNRoutesFailed", "no connection")
    (text,) = told(failed)
    assert "its condition Ready is False, ReconcileOVNRoutesFailed: no connection" in text
    down = condition("BFDHealthy", "False", "SessionDown", "192.168.0.2 is down")
    (text,) = told(failed, down)
    assert text.startswith("DEGRADED VpcEgressGateway ns/gw: BFD: 192.168.0.2 is down")
    (text,) = told(condition("Conflict", "True", "Overlap", "a row of somebody else"))
    assert "a row of somebody else" in text
    silent, lagging = told(condition("Applied", "False", "Lagging", "gw-0 has 3"))
    assert "does not report" in silent
    assert "gw-0 has 3" in lagging
    not_applied = {"conditions": [condition("Applied", "False", "NotValidated", "see Validated")]}
    faulty = gateway(status=not_applied, externalSubnet="nowhere")
    assert "'nowhere' is no Subnet" in _one(scenes.scene([faulty], []))


def test_a_pod_that_is_to_have_no_watcher_need_not_report() -> None:
    status = {"ready": True, "conditions": [condition("Applied", "Unknown", "NotReported")]}
    scene = scenes.scene([gateway(status=status)])
    assert "does not report" in _one(scene)
    unwatched = gateway(status=status, agent={"watch": {"enabled": False}})
    assert _texts(scenes.scene([unwatched])) == []


def test_the_worst_comes_first_and_notes_are_no_trouble() -> None:
    selecting = gateway(policies=[], selectors=[{"podSelector": {"matchLabels": {"a": "b"}}}])
    found = gateway_findings(scenes.scene([selecting]), "ns/gw")
    assert not is_bad(found)
    assert "its selectors select no pod of the Vpc vpc1" in found[0].problem
    broken = scenes.scene([selecting], [workload_pod(ready=False, podIPs=[])])
    found = gateway_findings(broken, "ns/gw")
    assert [each.severity for each in found] == sorted(
        (each.severity for each in found), key=list(Severity).index
    )
    assert found[0].problem == "has no address"


def test_a_resource_that_cannot_be_read() -> None:
    odd = gateway()
    odd["spec"]["replicas"] = "two"
    assert "cannot be read: EgressGateway: Expected `int`, got `str`" in _one(scenes.scene([odd]))
