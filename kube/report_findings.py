"""What the gateway pods' own reports say that is not as it should be. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kube import conditions
from kube.finding import Finding, Severity
from kube.pod_reports import PodReport
from kube.scene import GatewayView

_MOST_PORTS, _MOST_CONNECTIONS = 0.8, 0.9
"""The share in use from which it is worth a word."""
_READY, _DRAINING = "ready", "draining"


def report_findings(view: GatewayView) -> Iterator[Finding]:
    """Of pods that are in use and say something else, say nothing, or lag behind."""
    running = {pod.name for pod in view.pods if not pod.problem}
    is_expected = _has_watchers(view)
    newest = max(
        (each for each in (view.revision, *_revisions(view)) if each is not None), default=None
    )
    for pod in view.pods:
        report = view.reports.get(pod.name)
        name = f"Pod {view.gateway.metadata.namespace}/{pod.name}"
        if report is not None:
            yield from _report(view, name, report, newest)
        elif is_expected and pod.name in running:
            problem = "does not report: what it has applied, and its sessions, are not known"
            remedy = f"kubectl logs {_ref(view, pod.name)} -c watch"
            yield Finding(Severity.DEGRADED, name, problem, remedy)


def _has_watchers(view: GatewayView) -> bool:
    watch = view.gateway.spec.agent.get("watch")
    if isinstance(watch, Mapping) and watch.get("enabled") is False:
        return False
    found = conditions.parse(view.gateway.status)
    return bool(view.reports) or any(each.type == "Applied" for each in found)


def _revisions(view: GatewayView) -> Iterator[int | None]:
    for each in view.reports.values():
        yield each.revision


def _report(
    view: GatewayView, name: str, report: PodReport, newest: int | None
) -> Iterator[Finding]:
    if report.draining or report.state == _DRAINING:
        problem = "is draining: it forwards, and announces that nothing new is to be sent to it"
        remedy = f"kubectl vegd drain {_ref(view, report.pod)} --undo, if that is not meant"
        yield Finding(Severity.NOTE, name, problem, remedy)
    elif report.state and report.state != _READY:
        why = f": {'; '.join(report.reasons)}" if report.reasons else ""
        remedy = f"kubectl exec {_ref(view, report.pod)} -c gateway -- vegd doctor"
        severity = Severity.DEGRADED if report.state == "degraded" else Severity.BROKEN
        yield Finding(severity, name, f"says that it is {report.state}{why}", remedy)
    if report.revision is not None and newest is not None and report.revision < newest:
        problem = f"works by revision {report.revision} of its configuration; the newest is"
        remedy = "wait a minute for the kubelet; then see what its log refuses: kubectl logs "
        remedy += f"{_ref(view, report.pod)} -c gateway"
        yield Finding(Severity.DEGRADED, name, f"{problem} {newest}", remedy)
    yield from _sessions(view, name, report)
    yield from _paths(name, report)
    yield from _shares(name, report)


def _sessions(view: GatewayView, name: str, report: PodReport) -> Iterator[Finding]:
    if report.draining:
        return
    for each in report.bfd:
        if not each.is_up:
            why = f": {each.reason}" if each.reason else ""
            problem = f"its BFD session with {each.peer} is {each.state or 'not known'}{why}"
            remedy = f"kubectl exec {_ref(view, report.pod)} -c gateway -- vegd why {each.peer}"
            yield Finding(Severity.DEGRADED, name, problem, remedy)


def _paths(name: str, report: PodReport) -> Iterator[Finding]:
    for each in report.paths:
        if each.state and each.state != "up":
            why = f": {'; '.join(each.reasons)}" if each.reasons else ""
            problem = f"its {each.family} path to the outside is {each.state}{why}"
            remedy = "look at the external network of its node, and at the probes' targets"
            yield Finding(Severity.DEGRADED, name, problem, remedy)


def _shares(name: str, report: PodReport) -> Iterator[Finding]:
    for each in report.ports:
        if each.available and each.used / each.available >= _MOST_PORTS:
            problem = f"{each.used} of the {each.available} ports of {each.address} are in use"
            remedy = "give the gateway more replicas, or addresses in spec.agent.snat"
            yield Finding(Severity.DEGRADED, name, problem, remedy)
    table = report.conntrack
    if table and table.maximum and table.entries / table.maximum >= _MOST_CONNECTIONS:
        problem = f"its table of connections is nearly full: {table.entries} of {table.maximum}"
        remedy = "raise spec.agent.conntrack.max, or give the gateway more replicas"
        yield Finding(Severity.DEGRADED, name, problem, remedy)


def _ref(view: GatewayView, pod: str) -> str:
    return f"-n {view.gateway.metadata.namespace} {pod}"
