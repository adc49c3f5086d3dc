"""Which gateways take a pod's packets, and why others do not. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kube.finding import Finding, Severity, is_bad, ordered
from kube.gateway_findings import gateway_findings
from kube.scene import Scene
from kube.schema import family
from kube.takes import Client, Take, refusals, subnet_of, takes, vpc_of
from kube.workload_findings import pod_findings

_MOST = 10
"""Of the gateways that do not take a pod."""


@dataclass(frozen=True, slots=True)
class ClientReport:
    """What there is to say of a pod that is no gateway's."""

    takes: tuple[Take, ...]
    findings: tuple[Finding, ...]


def own_gateway(scene: Scene, pod: str) -> str | None:
    """The gateway that a pod is one of, if it is."""
    for key, view in scene.views.items():
        metadata = [each["metadata"] for each in view.workload_pods]
        if any(f"{each.get('namespace', '')}/{each['name']}" == pod for each in metadata):
            return key
    return None


def replica_findings(scene: Scene, gateway: str, pod: str) -> tuple[Finding, ...]:
    """Of a pod that is a gateway's: what is said of it, else what is said of the gateway."""
    about = f"Pod {pod}"
    found = [each for each in gateway_findings(scene, gateway) if each.about == about]
    view = scene.views[gateway]
    for each in view.workload_pods:
        if f"{each['metadata'].get('namespace', '')}/{each['metadata']['name']}" == pod:
            found += pod_findings(view, each)
    return ordered(found)


def client_report(scene: Scene, client: Client) -> ClientReport:
    """Of any other pod."""
    about = f"Pod {client.key}"
    if client.obstacle is not None:
        problem, remedy = client.obstacle
        return ClientReport((), (Finding(Severity.BROKEN, about, problem, remedy),))
    views = [view for view in scene.views.values() if view.resolution.router == client.router]
    taken = tuple(each for view in views for each in takes(view, client))
    findings = [*_uncovered(scene, client, taken, about)]
    others = [view for view in views if not any(each.gateway == view.key for each in taken)]
    for view in others[:_MOST]:
        problem = "; ".join(refusals(view, client)) or "it names no source"
        gateway = f"VpcEgressGateway {view.key}"
        findings.append(Finding(Severity.NOTE, gateway, f"does not take it: {problem}"))
    if len(others) > _MOST:
        problem = f"{len(others) - _MOST} more gateways of its Vpc do not take it"
        findings.append(Finding(Severity.NOTE, about, problem))
    findings += _shared(client, taken, about)
    for key in dict.fromkeys(each.gateway for each in taken):
        findings += (each for each in gateway_findings(scene, key) if is_bad([each]))
    return ClientReport(taken, ordered(findings))


def _uncovered(
    scene: Scene, client: Client, taken: tuple[Take, ...], about: str
) -> Iterator[Finding]:
    subnet = subnet_of(client, scene)
    place = f"of the Subnet {subnet.metadata.name}" if subnet else "whose Subnet is not known"
    for address in client.pod.addresses:
        if not any(each.address == address for each in taken):
            problem = (
                f"no gateway of the Vpc {vpc_of(client, scene)} takes its IPv{family(address)} "
                f"address {address}, {place}: it leaves as the Vpc has it, or not at all"
            )
            remedy = "name its Subnet in policies[].subnets of a gateway of that Vpc, or its "
            remedy += "labels in selectors"
            severity = Severity.NOTE if taken else Severity.BROKEN
            yield Finding(severity, about, problem, remedy)


def _shared(client: Client, taken: tuple[Take, ...], about: str) -> Iterator[Finding]:
    for address in client.pod.addresses:
        gateways = sorted({each.gateway for each in taken if each.address == address})
        if len(gateways) > 1:
            problem = f"{' and '.join(gateways)} take {address}: which of them is undefined"
            remedy = "leave the pod to one gateway: take it out of the policies of the others"
            yield Finding(Severity.BROKEN, about, problem, remedy)
