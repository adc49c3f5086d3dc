"""What is wrong with a gateway, with the object that it is about and the remedy. Pure.

The order is that of causes: what keeps the pods from being made comes before what is amiss in the
pods, and that before what is said of them. A condition is told only where nothing explains it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kube import conditions
from kube.conditions import FALSE, TRUE, Condition
from kube.finding import Finding, Severity, is_bad, ordered
from kube.report_findings import report_findings
from kube.scene import GatewayView, Scene
from kube.schema import Fault
from kube.workload_findings import workload_findings

_MOST = 5
"""Of the overlaps that are told one by one."""


def gateway_findings(scene: Scene, key: str) -> tuple[Finding, ...]:
    """Of one gateway, the worst first."""
    view = scene.views.get(key)
    about = f"VpcEgressGateway {key}"
    if view is None:
        problem = f"cannot be read: {scene.malformed.get(key, 'there is none')}"
        return (Finding(Severity.BROKEN, about, problem, "correct the resource"),)
    found = [
        *_faults(view, about),
        *_bfd_port(view),
        *_progress(view, about),
        *workload_findings(view),
        *report_findings(view),
        *_overlaps(view, about),
    ]
    found += _conditions(view, about, found)
    found += _notes(view, about)
    return ordered(found)


def _faults(view: GatewayView, about: str) -> Iterator[Finding]:
    for each in view.resolution.faults:
        if each.reason == "VpcBfdPortNotEnabled" and _has_asked_for_port(view):
            continue  # told of the Vpc
        yield Finding(Severity.BROKEN, about, _problem(each), each.remedy)


def _problem(fault: Fault) -> str:
    shown = f" {fault.value!r}" if fault.value else ""
    return f"{fault.path}:{shown} {fault.problem}"


def _has_asked_for_port(view: GatewayView) -> bool:
    vpc = view.scene.world.vpcs.get(view.vpc)
    return vpc is not None and vpc.spec.bfd_port.enabled and not vpc.status.bfd_port.ip


def _bfd_port(view: GatewayView) -> Iterator[Finding]:
    vpc = view.scene.world.vpcs.get(view.vpc)
    if vpc is None or not view.gateway.spec.bfd.enabled:
        return
    about = f"Vpc {view.vpc}"
    if _has_asked_for_port(view):
        problem = "asks for a BFD port (spec.bfdPort), and none has been made"
        remedy = (
            "look whether a controller sees to BFD ports (Kube-OVN's, or vegd controller "
            "--bfd-ports), and whether spec.bfdPort.nodeSelector selects a node"
        )
        yield Finding(Severity.BROKEN, about, problem, remedy)
    elif vpc.status.bfd_port.ip and not vpc.status.bfd_port.nodes:
        problem = "its BFD port is on no node, so that no session can come up"
        remedy = "have spec.bfdPort.nodeSelector select nodes that run ovn-controller"
        yield Finding(Severity.BROKEN, about, problem, remedy)


def _progress(view: GatewayView, about: str) -> Iterator[Finding]:
    """Whether a controller sees to it at all."""
    metadata = view.gateway.metadata
    found = conditions.parse(view.gateway.status)
    seen = max((each.observed_generation for each in found), default=0)
    runs = "look whether the controller runs, leads, and serves this API group"
    if metadata.deletion_timestamp is not None:
        waits = ", ".join(metadata.finalizers) or "nothing any more"
        problem = f"is being deleted and waits for {waits}"
        yield Finding(Severity.DEGRADED, about, problem, f"{runs}: it takes the rows out of OVN")
    elif not found and not view.gateway.status:
        yield Finding(Severity.BROKEN, about, "no controller has said anything of it", runs)
    elif seen and seen < metadata.generation:
        problem = f"generation {metadata.generation} has not been seen by the controller yet"
        problem += f" (it has seen {seen})"
        yield Finding(Severity.DEGRADED, about, problem, runs)
    if not view.gateway.spec.replicas:
        problem, remedy = "spec.replicas is 0: nothing is forwarded", "raise it"
        yield Finding(Severity.BROKEN, about, problem, remedy)


def _overlaps(view: GatewayView, about: str) -> Iterator[Finding]:
    overlaps = view.scene.claims.overlaps(view.key)
    for each in overlaps[:_MOST]:
        problem = f"{each}: which of both gets its packets is undefined"
        remedy = "leave each source to one gateway: take it out of the policies of one of them"
        yield Finding(Severity.BROKEN, about, problem, remedy)
    if len(overlaps) > _MOST:
        problem = f"{len(overlaps) - _MOST} more of its sources are claimed by other gateways"
        yield Finding(Severity.BROKEN, about, problem, "see the condition Conflict")


def _conditions(view: GatewayView, about: str, told: list[Finding]) -> Iterator[Finding]:
    by_type = {each.type: each for each in conditions.parse(view.gateway.status)}
    yield from _bfd_health(by_type, about)
    conflict = by_type.get("Conflict")
    if conflict and conflict.status == TRUE and not view.scene.claims.overlaps(view.key):
        remedy = "remove what the message names, or have it marked as the controller's"
        yield Finding(Severity.DEGRADED, about, conflict.message, remedy)
    applied = by_type.get("Applied")
    lags = any("of its configuration" in each.problem for each in told)
    # A resource with faults is applied by nobody; the faults are told.
    if applied and applied.status == FALSE and not lags and not view.resolution.faults:
        remedy = "wait a minute for the kubelet; then see the log of the pod that lags"
        yield Finding(Severity.DEGRADED, about, applied.message or "a pod lags", remedy)
    if is_bad(told):
        return
    for name, bad, severity in (
        ("Validated", FALSE, Severity.BROKEN),
        ("Ready", FALSE, Severity.BROKEN),
        ("Degraded", TRUE, Severity.DEGRADED),
    ):
        found = by_type.get(name)
        if found is not None and found.status == bad:
            problem = f"its condition {name} is {bad}, {found.reason}: {found.message}"
            remedy = "the message says what is missing; the controller's log has more"
            yield Finding(severity, about, problem, remedy)
            return


def _bfd_health(by_type: Mapping[str, Condition], about: str) -> Iterator[Finding]:
    healthy = by_type.get("BFDHealthy")
    if healthy is None or healthy.status == TRUE:
        return
    severity = Severity.DEGRADED if healthy.status == FALSE else Severity.NOTE
    if healthy.reason == "Disagreement":
        remedy = "do what the message says: both ends have to see the same"
    else:
        remedy = "look at the pods' side (kubectl exec POD -c gateway -- vegd why) and whether "
        remedy += "ovn-controller runs on the nodes of the Vpc's BFD port (status.bfdPort.nodes)"
    yield Finding(severity, about, f"BFD: {healthy.message or healthy.reason}", remedy)


def _notes(view: GatewayView, about: str) -> Iterator[Finding]:
    for each in view.resolution.notes:
        yield Finding(Severity.NOTE, about, each)
    if view.gateway.spec.selectors and not view.selected:
        problem = f"its selectors select no pod of the Vpc {view.vpc}"
        remedy = "compare them with the labels (kubectl vegd why POD says what does not match)"
        yield Finding(Severity.NOTE, about, problem, remedy)
