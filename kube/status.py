"""What a gateway's status says, from what was observed. Pure.

Nothing in it is what was asked for: replicas are those that exist, addresses those that the pods
have, and the health of BFD is OVN's own view of its sessions, since OVN decides by it where packets
go. Everything is sorted, so that a status that says the same is the same. Conditions come without
times; `kube.conditions` keeps those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kube.agreement import Disagreement
from kube.conditions import FALSE, TRUE, UNKNOWN, Wanted
from kube.identity import Identity
from kube.pods import GatewayPod
from kube.resolve import Resolution
from kube.schema import EgressGateway, Fault

NOT_VALIDATED = Wanted(
    FALSE, "NotValidated", "the resource cannot be carried out, see the condition Validated"
)
_MOST = 10
"""Of the items of one kind that a message names."""


class Failure(NamedTuple):
    """Something that could not be done and is tried again."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What is there of a gateway."""

    pods: tuple[GatewayPod, ...] = ()
    workload: str = ""
    """Name of the Deployment; empty while there is none."""
    sessions: Mapping[str, str] = field(default_factory=dict)
    """OVN's view of BFD, ``up``, ``down``, ``init`` or ``admin_down``, by next hop."""
    conflicts: tuple[str, ...] = ()
    """Other gateways that claim the same sources, and rows or objects of another owner."""
    notices: tuple[str, ...] = ()
    """What was chosen, or does not work as somebody may expect."""
    failure: Failure | None = None
    applied: Wanted | None = None
    """Whether its pods have the newest configuration; None if they do not report."""
    disagreements: tuple[Disagreement, ...] = ()
    """That last."""


def status(
    gateway: EgressGateway, resolution: Resolution, observed: Observed, identity: Identity
) -> dict[str, Any]:
    """Everything of ``status`` but the conditions."""
    ready = judge_ready(gateway, resolution, observed).status == TRUE
    networked = [pod for pod in observed.pods if pod.internal and pod.external]
    found: dict[str, Any] = {
        "replicas": len(observed.pods),
        "labelSelector": ",".join(
            f"{name}={value}" for name, value in identity.labels(gateway.metadata.name).items()
        ),
        "ready": ready,
        "phase": "Completed" if ready else "Processing",
        "internalIPs": [",".join(pod.internal) for pod in networked],
        "externalIPs": [",".join(pod.external) for pod in networked],
    }
    if observed.workload:
        found["workload"] = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": observed.workload,
            "nodes": sorted({pod.node for pod in networked if pod.node}),
        }
    return found


def conditions(
    gateway: EgressGateway, resolution: Resolution, observed: Observed
) -> dict[str, Wanted]:
    """All, by type. BFDHealthy is there only for a gateway with BFD, Applied only for one whose
    pods report."""
    found = {
        "Validated": _validated(resolution),
        "Ready": judge_ready(gateway, resolution, observed),
        "Degraded": _degraded(gateway, resolution, observed),
        "Conflict": _conflict(observed),
    }
    if gateway.spec.bfd.enabled:
        found["BFDHealthy"] = _bfd_healthy(observed)
    if observed.applied is not None:
        found["Applied"] = observed.applied
    return found


def judge_ready(gateway: EgressGateway, resolution: Resolution, observed: Observed) -> Wanted:
    """Whether the gateway is as its resource says, in the cluster and in OVN."""
    wanted = gateway.spec.replicas
    problems = [pod.problem for pod in observed.pods if pod.problem]
    there = len(observed.pods) - len(problems)
    if resolution.faults:
        return NOT_VALIDATED
    if observed.failure is not None:
        return Wanted(FALSE, *observed.failure)
    if not wanted:
        message = "spec.replicas is 0: nothing is forwarded"
        return Wanted(FALSE, "NoReplicas", message)
    if problems or there != wanted:
        message = _listed([f"{there} of {wanted} pods are in use", *problems])
        return Wanted(FALSE, "WorkloadNetworkNotReady", message)
    return Wanted(TRUE, "ReconcileSuccess", f"{wanted} of {wanted} pods are in use")


def invalid(faults: Sequence[Fault]) -> Wanted:
    """The condition Validated of a resource with faults."""
    return Wanted(FALSE, faults[0].reason, _listed([str(fault) for fault in faults]))


def _validated(resolution: Resolution) -> Wanted:
    return invalid(resolution.faults) if resolution.faults else Wanted(TRUE, "Valid", "")


def _bfd_healthy(observed: Observed) -> Wanted:
    """By OVN's view of its sessions with the pods that are there, and theirs where it differs."""
    down = sorted(f"{hop} is {word}" for hop, word in observed.sessions.items() if word != "up")
    total = len(observed.sessions)
    if not total:
        return Wanted(UNKNOWN, "NoSession", "OVN has no session with a pod yet")
    if observed.disagreements:
        message = _listed([*map(str, observed.disagreements), *down])
        return Wanted(FALSE, "Disagreement", message)
    if down:
        message = _listed([f"{total - len(down)} of {total} sessions are up in OVN", *down])
        return Wanted(FALSE, "SessionDown", message)
    return Wanted(TRUE, "AllUp", f"{total} of {total} sessions are up in OVN")


def _degraded(gateway: EgressGateway, resolution: Resolution, observed: Observed) -> Wanted:
    """Whether it forwards, but not all, or not as surely, as it should."""
    reasons = list(_shortcomings(gateway, observed))
    notes = [*resolution.notes, *observed.notices]
    if reasons:
        return Wanted(TRUE, "GatewaysMissing", _listed([*reasons, *notes]))
    if resolution.notes:
        return Wanted(TRUE, "FamilyNotCovered", _listed(notes))
    return Wanted(FALSE, "AsExpected", _listed(notes))


def _shortcomings(gateway: EgressGateway, observed: Observed) -> Iterator[str]:
    wanted = gateway.spec.replicas
    there = sum(not pod.problem for pod in observed.pods)
    if 0 < there < wanted:
        yield f"{there} of {wanted} pods are in use"
    up = sum(word == "up" for word in observed.sessions.values())
    if 0 < up < len(observed.sessions):
        yield f"{up} of {len(observed.sessions)} sessions are up in OVN"


def _conflict(observed: Observed) -> Wanted:
    if observed.conflicts:
        return Wanted(TRUE, "Overlap", _listed(sorted(observed.conflicts)))
    return Wanted(FALSE, "None", "")


def _listed(items: list[str]) -> str:
    more = len(items) - _MOST
    return "; ".join([*items[:_MOST], *([f"and {more} more"] if more > 0 else [])])
