"""A gateway in one line, and in detail: what ``status`` shows. Pure.

It has to serve for resources of Kube-OVN's own definition, whose status says less: what is not told
is shown as ``-``, and never taken for trouble.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kube import conditions
from kube.conditions import FALSE, TRUE, Condition
from kube.pod_reports import PodReport
from kube.pods import GatewayPod
from kube.scene import GatewayView

NOT_TOLD = "-"


@dataclass(frozen=True, slots=True)
class Replica:
    """A pod of a gateway, from both sides: as the cluster sees it, and as it says itself."""

    pod: GatewayPod
    report: PodReport | None


@dataclass(frozen=True, slots=True)
class Overview:
    """One gateway."""

    namespace: str
    name: str
    vpc: str
    wanted: int
    in_use: int
    is_ready: bool
    ovn: str
    """What OVN sees of the sessions: ``up``, the reason of the condition, or not told."""
    agents: str
    """What the pods see of them: how many of how many are Up."""
    applied: str
    """Whether the newest configuration has reached every pod."""
    conflict: str
    is_well: bool
    revision: int | None
    conditions: tuple[Condition, ...]
    replicas: tuple[Replica, ...]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "namespace": self.namespace,
            "name": self.name,
            "vpc": self.vpc,
            "replicas": {"wanted": self.wanted, "inUse": self.in_use},
            "ready": self.is_ready,
            "ovn": self.ovn,
            "agents": self.agents,
            "applied": self.applied,
            "conflict": self.conflict,
            "well": self.is_well,
            "revision": self.revision,
            "conditions": conditions.to_json(self.conditions),
            "pods": [_replica(each) for each in self.replicas],
        }


def overview(view: GatewayView) -> Overview:
    """One gateway, as it is."""
    gateway = view.gateway
    found = conditions.parse(gateway.status)
    by_type = {each.type: each for each in found}
    replicas = tuple(Replica(pod, view.reports.get(pod.name)) for pod in view.pods)
    is_ready = _is_ready(by_type, gateway.status)
    wrong = any(
        name in by_type and by_type[name].status == bad
        for name, bad in (("BFDHealthy", FALSE), ("Applied", FALSE), ("Conflict", TRUE))
    )
    sessions = [each for replica in replicas if replica.report for each in replica.report.bfd]
    up = sum(each.is_up for each in sessions)
    return Overview(
        namespace=gateway.metadata.namespace,
        name=gateway.metadata.name,
        vpc=view.vpc,
        wanted=gateway.spec.replicas,
        in_use=sum(not each.pod.problem for each in replicas),
        is_ready=is_ready,
        ovn=_word(by_type.get("BFDHealthy"), TRUE, "up") if gateway.spec.bfd.enabled else NOT_TOLD,
        agents=f"{up}/{len(sessions)} Up" if sessions else NOT_TOLD,
        applied=_word(by_type.get("Applied"), TRUE, "yes"),
        conflict=_word(by_type.get("Conflict"), FALSE, "no"),
        is_well=is_ready and not wrong and up == len(sessions),
        revision=view.revision,
        conditions=found,
        replicas=replicas,
    )


def _is_ready(by_type: Mapping[str, Condition], status: Mapping[str, Any]) -> bool:
    ready = by_type.get("Ready")
    return bool(status.get("ready")) if ready is None else ready.status == TRUE


def _word(condition: Condition | None, good: str, word: str) -> str:
    if condition is None:
        return NOT_TOLD
    return word if condition.status == good else condition.reason or condition.status


def _replica(replica: Replica) -> dict[str, Any]:
    pod, report = replica.pod, replica.report
    found: dict[str, Any] = {
        "pod": pod.name,
        "node": pod.node,
        "internalIPs": list(pod.internal),
        "externalIPs": list(pod.external),
        "problem": pod.problem,
        "report": None,
    }
    if report is not None:
        found["report"] = {
            "revision": report.revision,
            "state": report.state,
            "reasons": list(report.reasons),
            "draining": report.draining,
            "bfd": [
                {"local": each.local, "peer": each.peer, "state": each.state, "reason": each.reason}
                for each in report.bfd
            ],
            "paths": [
                {"family": each.family, "state": each.state, "reasons": list(each.reasons)}
                for each in report.paths
            ],
            "ports": [
                {"address": each.address, "used": each.used, "available": each.available}
                for each in report.ports
            ],
        }
    return found
