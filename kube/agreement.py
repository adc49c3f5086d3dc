"""Whether all pods of a gateway have its configuration, and whether both ends of BFD agree. Pure.

It goes by what the pods report of themselves. A report stays when its pod's watcher dies: what it
says may be old.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any, NamedTuple

from kube.conditions import FALSE, TRUE, UNKNOWN, Wanted
from kube.pod_reports import PodReport, pod_reports
from kube.pods import GatewayPod

_MOST = 10
"""Of the pods that a message names."""
PATIENCE_S = 10.0
"""How long OVN and a pod may differ: each learns of a change in its own time."""


def newest(told: Mapping[str, PodReport]) -> int:
    """The highest revision that a pod has."""
    return max((each.revision or 0 for each in told.values()), default=0)


def applied(pods: Iterable[GatewayPod], told: Mapping[str, PodReport], revision: int) -> Wanted:
    """Whether every pod that is in use has the newest configuration; `revision` is 0 if that is not
    known."""
    names = [pod.name for pod in pods if not pod.problem]
    if not revision:
        return Wanted(UNKNOWN, "NotWritten", "the configuration could not be written")
    if not names:
        return Wanted(UNKNOWN, "NoPods", "no pod is in use")
    has = {name: its for name in names if name in told and (its := told[name].revision)}
    behind = [f"{name} has {each}" for name, each in has.items() if each < revision]
    silent = [name for name in names if name not in has]
    done = len(names) - len(behind) - len(silent)
    text = f"{done} of {len(names)} pods have revision {revision}"
    if behind:
        return Wanted(FALSE, "Behind", "; ".join([text, *_some(behind)]))
    if silent:
        remedy = "look at the log of the container watch"
        told_nothing = f"not reported by {', '.join(_some(silent))}: {remedy}"
        return Wanted(UNKNOWN, "NotReported", f"{text}; {told_nothing}")
    return Wanted(TRUE, "AllPods", text)


class Disagreement(NamedTuple):
    """A session that is up at one end only."""

    hop: str
    pod: str
    ovn: str
    """OVN's word."""
    said: str
    """The pod's word."""

    def __str__(self) -> str:
        remedy = (
            "OVN sends packets there that may be lost; restart ovn-controller on the node of the "
            "VPC's BFD port"
            if self.ovn == "up"
            else "OVN sends no packets there; look whether ovn-northd runs, and ovn-controller on "
            "the node of the VPC's BFD port"
        )
        return f"{self.hop} is {self.ovn} in OVN and {self.said} in its pod {self.pod}: {remedy}"


def disagreements(
    pods: Iterable[GatewayPod], told: Mapping[str, PodReport], sessions: Mapping[str, str]
) -> Iterator[Disagreement]:
    """Where OVN's view of a next hop and that of its pod differ now."""
    for pod in pods:
        report = told.get(pod.name)
        ours = {_usual(each.local): each for each in report.bfd} if report else {}
        for address in pod.internal:
            hop = _usual(address)
            if hop not in ours or hop not in sessions:
                continue
            if ours[hop].is_up is not (sessions[hop] == "up"):
                yield Disagreement(hop, pod.name, sessions[hop], ours[hop].state or "unknown")


def lasting(
    now: Iterable[Disagreement], since_s: Mapping[str, float], now_s: float
) -> tuple[tuple[Disagreement, ...], dict[str, float]]:
    """Those that have been there for `PATIENCE_S`, and since when each has been, by its hop."""
    found = tuple(now)
    begun = {each.hop: since_s.get(each.hop, now_s) for each in found}
    return tuple(each for each in found if now_s - begun[each.hop] >= PATIENCE_S), begun


def interest(status: Mapping[str, Any]) -> frozenset[tuple[Any, ...]]:
    """What of all reports is decided by: the rest may change as it likes."""
    return frozenset(
        (each.pod, each.revision, frozenset((one.local, one.state) for one in each.bfd))
        for each in pod_reports(status).values()
    )


def _usual(text: str) -> str:
    """An address in its usual spelling; what is none as it is."""
    try:
        return str(ip_address(text))
    except ValueError:
        return text


def _some(items: list[str]) -> list[str]:
    more = len(items) - _MOST
    return [*items[:_MOST], *([f"{more} more"] if more > 0 else [])]
