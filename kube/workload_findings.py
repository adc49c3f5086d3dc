"""What keeps a gateway's pods from being made, or from running. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kube.finding import Finding, Severity
from kube.objects import Object
from kube.pods import external_addresses
from kube.scene import GatewayView, events_about

_NETWORKS = "k8s.v1.cni.cncf.io/networks"
_ALLOCATED = "ovn.kubernetes.io/allocated"
_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_AT_WORK = ("ContainerCreating", "PodInitializing")
BFD_GATE = "vegd.io/bfd"


def workload_findings(view: GatewayView) -> Iterator[Finding]:
    """Of the Deployment and of each pod."""
    if view.resolution.workload is None:
        return  # nothing is made of a resource with faults
    deployment = view.deployment
    if deployment is None:
        name = f"{view.gateway.metadata.namespace}/{view.deployment_name}"
        remedy = "look whether the controller runs and leads (its log says what it cannot do)"
        yield Finding(Severity.BROKEN, f"Deployment {name}", "is not there", remedy)
    else:
        yield from _deployment(view, deployment)
    for pod in view.workload_pods:
        yield from pod_findings(view, pod)


def _deployment(view: GatewayView, deployment: Object) -> Iterator[Finding]:
    metadata = deployment["metadata"]
    name = f"Deployment {metadata.get('namespace', '')}/{metadata['name']}"
    uid = view.gateway.metadata.uid
    owners = metadata.get("ownerReferences") or ()
    if uid and not any(each.get("uid") == uid for each in owners):
        problem = "belongs to somebody else and is left alone, so the gateway has no pods"
        remedy = "rename one of both, or give the gateway another spec.prefix"
        yield Finding(Severity.BROKEN, name, problem, remedy)
        return
    wanted = (deployment.get("spec") or {}).get("replicas")
    if wanted != view.gateway.spec.replicas:
        problem = f"has {wanted} replicas and not {view.gateway.spec.replicas}"
        remedy = "look whether the controller runs and leads"
        yield Finding(Severity.DEGRADED, name, problem, remedy)
    for each in (deployment.get("status") or {}).get("conditions") or ():
        if each.get("type") == "ReplicaFailure" and each.get("status") == "True":
            problem = f"cannot make its pods: {each.get('message', '')}"
            remedy = "allow what the message names: a quota, an admission policy or an account"
            yield Finding(Severity.BROKEN, name, problem, remedy)


def pod_findings(view: GatewayView, pod: Object) -> Iterator[Finding]:
    """Of one pod of the gateway."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    name = f"Pod {metadata.get('namespace', '')}/{metadata['name']}"
    if metadata.get("deletionTimestamp"):
        problem = "is being deleted"
        yield Finding(Severity.NOTE, name, problem, "wait; it drains for up to 30 s")
        return
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        yield _unscheduled(view, name, str(scheduled.get("message", "")))
        return
    phase = status.get("phase", "")
    if phase in ("Failed", "Succeeded"):
        problem = f"is over ({phase} {status.get('reason', '')}".rstrip() + ")"
        yield Finding(Severity.DEGRADED, name, problem, f"kubectl delete pod {_ref(metadata)}")
        return
    told = list(_containers(name, metadata, status))
    yield from told
    if not (pod.get("spec") or {}).get("nodeName"):
        problem = "waits for the scheduler"
        yield Finding(Severity.DEGRADED, name, problem, "look whether kube-scheduler runs")
    elif phase == "Running":
        yield from _running(name, pod, conditions, is_explained=bool(told))
    elif not told:
        yield _pending(view, name, metadata)


def _unscheduled(view: GatewayView, name: str, message: str) -> Finding:
    spec = view.gateway.spec
    if "anti-affinity" in message and spec.pod_anti_affinity == "Required":
        remedy = (
            f"a node takes one pod of a gateway: have {spec.replicas} nodes that suit, lower "
            "spec.replicas, or set spec.podAntiAffinity to Preferred"
        )
    elif "affinity/selector" in message:
        remedy = "label nodes as spec.nodeSelector wants, or change it"
    elif "taint" in message:
        remedy = "give spec.tolerations what the taint asks for, or take the taint off"
    elif "Insufficient" in message:
        remedy = "free some of it on a node, or ask for less in spec.resources"
    else:
        remedy = "give it a node that suits"
    return Finding(Severity.BROKEN, name, f"cannot be scheduled: {message}", remedy)


def _containers(name: str, metadata: Mapping[str, Any], status: Object) -> Iterator[Finding]:
    statuses = (
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    )
    for each in statuses:
        waiting = (each.get("state") or {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        container = each.get("name", "")
        if reason in _IMAGE:
            problem = f"container {container}: the image {each.get('image')} cannot be had"
            problem += f" ({reason}: {message})" if message else f" ({reason})"
            remedy = "correct spec.image of the gateway, or --image of the controller"
            yield Finding(Severity.BROKEN, name, problem, remedy)
        elif reason == "CrashLoopBackOff":
            problem = f"container {container} has ended {each.get('restartCount', 0)} times"
            problem += _last_end(each)
            remedy = f"kubectl logs --previous {_ref(metadata)} -c {container}"
            yield Finding(Severity.BROKEN, name, problem, remedy)
        elif reason and reason not in _AT_WORK:
            problem = f"container {container} waits: {reason}: {message}".rstrip(": ")
            yield Finding(Severity.BROKEN, name, problem, "put right what the message names")


def _last_end(container: Mapping[str, Any]) -> str:
    ended = (container.get("lastState") or {}).get("terminated") or {}
    if not ended:
        return ""
    text = f", the last time with status {ended.get('exitCode')} ({ended.get('reason', '')})"
    message = " ".join(str(ended.get("message", "")).split())
    return f"{text}: {message}" if message else text


def _pending(view: GatewayView, name: str, metadata: Mapping[str, Any]) -> Finding:
    about = ("Pod", metadata.get("namespace", ""), metadata["name"])
    event = next(events_about(view.scene.events, *about), "")
    annotations = metadata.get("annotations") or {}
    if event:
        problem, remedy = f"does not start: {event}", "put right what the event names"
    elif annotations.get(_ALLOCATED) != "true":
        problem = "does not start, and Kube-OVN has given it no address"
        remedy = (
            f"look whether kube-ovn-controller runs and the Subnets {_subnets(view)} have "
            "addresses left"
        )
    else:
        problem, remedy = "does not start", f"kubectl describe pod {_ref(metadata)}"
    return Finding(Severity.DEGRADED, name, problem, remedy)


def _subnets(view: GatewayView) -> str:
    workload = view.resolution.workload
    return "" if workload is None else f"{workload.internal.subnet} and {workload.external.subnet}"


def _running(
    name: str, pod: Object, conditions: Mapping[str, Any], *, is_explained: bool
) -> Iterator[Finding]:
    metadata, status = pod["metadata"], pod.get("status") or {}
    annotations = metadata.get("annotations") or {}
    network = annotations.get(_NETWORKS, "")
    if not status.get("podIPs"):
        remedy = "look whether kube-ovn-cni runs on its node"
        yield Finding(Severity.BROKEN, name, "has no address", remedy)
    if not external_addresses(annotations, network):
        problem = f"has no address in the network outside ({network or 'none is named'})"
        remedy = "look whether Multus runs on its node and the NetworkAttachmentDefinition fits"
        yield Finding(Severity.BROKEN, name, problem, remedy)
    ready = conditions.get("Ready", {})
    if ready.get("status") == "True" or is_explained:
        return
    gate = conditions.get(BFD_GATE)
    if _waits_for_gate(pod) and (gate is None or gate.get("status") != "True"):
        said = f": {gate['message']}" if gate and gate.get("message") else ""
        problem = f"is not Ready, because OVN does not see all of its BFD sessions up{said}"
        remedy = f"kubectl exec {_ref(metadata)} -c gateway -- vegd why"
        yield Finding(Severity.DEGRADED, name, problem, remedy)
        return
    waiting = [each["name"] for each in status.get("containerStatuses") or () if not each["ready"]]
    which = f" (container {', '.join(waiting)})" if waiting else ""
    said = f": {ready['message']}" if ready.get("message") and not which else ""
    remedy = f"kubectl exec {_ref(metadata)} -c gateway -- vegd status"
    yield Finding(Severity.DEGRADED, name, f"runs and is not Ready{which}{said}", remedy)


def _waits_for_gate(pod: Object) -> bool:
    gates: Iterable[Mapping[str, Any]] = (pod.get("spec") or {}).get("readinessGates") or ()
    containers = (pod.get("status") or {}).get("conditions") or ()
    are_ready = any(
        each["type"] == "ContainersReady" and each["status"] == "True" for each in containers
    )
    return are_ready and any(each.get("conditionType") == BFD_GATE for each in gates)


def _ref(metadata: Mapping[str, Any]) -> str:
    return f"-n {metadata.get('namespace', '')} {metadata['name']}"
