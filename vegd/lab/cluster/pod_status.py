"""``status`` of a pod, from what its containers do. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vegd.lab.cluster.template import PodSpec

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not running, and why."""

    reason: str
    message: str = ""

    def to_json(self) -> Json:
        """As in ``state`` of a container."""
        return {"waiting": {"reason": self.reason, "message": self.message}}


@dataclass(frozen=True, slots=True)
class Runs:
    """Since a time (RFC 3339)."""

    since: str
    container_id: str

    def to_json(self) -> Json:
        """As in ``state`` of a container."""
        return {"running": {"startedAt": self.since}}


@dataclass(frozen=True, slots=True)
class Terminated:
    """How a process ended."""

    exit_code: int
    """128 and the signal's number if it was killed."""
    since: str
    until: str
    container_id: str
    message: str = ""

    def to_json(self) -> Json:
        """As in ``state`` of a container."""
        told: Json = {
            "exitCode": self.exit_code,
            "reason": "Completed" if self.exit_code == 0 else "Error",
            "startedAt": self.since,
            "finishedAt": self.until,
            "containerID": self.container_id,
        }
        if self.message:
            told["message"] = self.message
        return {"terminated": told}


State = Waiting | Runs | Terminated


@dataclass(slots=True)
class ContainerView:
    """What is known of a container."""

    name: str
    image: str
    state: State
    last: Terminated | None = None
    """How the process before ended."""
    restarts: int = 0
    started: bool = False
    ready: bool = False

    @property
    def runs(self) -> bool:
        """Whether there is a process."""
        return isinstance(self.state, Runs)

    @property
    def succeeded(self) -> bool:
        """Whether it has ended well."""
        return isinstance(self.state, Terminated) and self.state.exit_code == 0

    def to_json(self) -> Json:
        """An entry of ``containerStatuses``."""
        newest = self.last if isinstance(self.state, Waiting) else self.state
        return {
            "name": self.name,
            "image": self.image,
            "imageID": "",
            "containerID": newest.container_id if newest is not None else "",
            "state": self.state.to_json(),
            "lastState": self.last.to_json() if self.last is not None else {},
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
        }


@dataclass(slots=True)
class PodView:
    """What is known of a pod."""

    spec: PodSpec
    started_at: str
    host_ip: str
    ips: tuple[str, ...] = ()
    init: list[ContainerView] = field(default_factory=list)
    main: list[ContainerView] = field(default_factory=list)
    gates: Mapping[str, bool] = field(default_factory=dict)
    """The conditions that others set and that the readiness gates name."""
    failure: tuple[str, str] | None = None
    """Reason and message, if it cannot be run at all."""

    @property
    def is_initialised(self) -> bool:
        """Whether every init container is through, and each sidecar has started."""
        pairs = zip(self.spec.init_containers, self.init, strict=True)
        return all(
            (view.started if spec.is_sidecar else view.succeeded) or self._is_past(spec.is_sidecar)
            for spec, view in pairs
        )

    def _is_past(self, is_sidecar: bool) -> bool:
        """A sidecar that is started anew does not bring the pod back to its beginning."""
        return is_sidecar and any(not isinstance(each.state, Waiting) for each in self.main)

    @property
    def are_ready(self) -> bool:
        """Whether every container that goes on is."""
        pairs = zip(self.spec.init_containers, self.init, strict=True)
        sidecars = [view for spec, view in pairs if spec.is_sidecar]
        if not self.main:
            return False
        return self.is_initialised and all(each.ready for each in (*self.main, *sidecars))


def phase(view: PodView) -> str:
    """``phase``."""
    if view.failure is not None:
        return "Failed"
    policy = view.spec.restart_policy
    broken = [
        each
        for each in view.init
        if isinstance(each.state, Terminated) and not each.succeeded and policy == "Never"
    ]
    if broken:
        return "Failed"
    if not view.is_initialised:
        return "Pending"
    if view.main and all(isinstance(each.state, Terminated) for each in view.main):
        return "Succeeded" if all(each.succeeded for each in view.main) else "Failed"
    has_begun = any(not isinstance(each.state, Waiting) or each.last for each in view.main)
    return "Running" if has_begun else "Pending"


def status(view: PodView, before: Sequence[Mapping[str, Any]], now: str) -> Json:
    """The whole of it, but for conditions that others set.

    `before` are the conditions as they were told last, `now` a time (RFC 3339).
    """
    told: Json = {
        "phase": phase(view),
        "hostIP": view.host_ip,
        "hostIPs": [{"ip": view.host_ip}],
        "startTime": view.started_at,
        "conditions": _conditions(view, before, now),
        "initContainerStatuses": [each.to_json() for each in view.init],
        "containerStatuses": [each.to_json() for each in view.main],
    }
    if view.ips:
        told |= {"podIP": view.ips[0], "podIPs": [{"ip": each} for each in view.ips]}
    if view.failure is not None:
        told |= dict(zip(("reason", "message"), view.failure, strict=True))
    return told


def _conditions(view: PodView, before: Iterable[Mapping[str, Any]], now: str) -> list[Json]:
    over = phase(view) in ("Succeeded", "Failed")
    unready = [each.name for each in view.main if not each.ready]
    closed = [name for name, is_set in view.gates.items() if not is_set]
    ready = view.are_ready and not over
    found = [
        _condition("PodReadyToStartContainers", bool(view.ips)),
        _condition(
            "Initialized",
            view.is_initialised,
            "ContainersNotInitialized",
            _named("containers with incomplete status", _incomplete(view)),
        ),
        _condition(
            "ContainersReady",
            ready,
            "PodCompleted" if over else "ContainersNotReady",
            _named("containers with unready status", unready),
        ),
        _condition(
            "Ready",
            ready and not closed,
            "ReadinessGatesNotReady" if ready else "ContainersNotReady",
            _named("conditions that are not True", closed)
            if ready
            else _named("containers with unready status", unready),
        ),
    ]
    since = {each["type"]: each for each in before}
    for each in found:
        old = since.get(each["type"], {})
        is_same = old.get("status") == each["status"]
        each["lastTransitionTime"] = old["lastTransitionTime"] if is_same else now
    return found


def _incomplete(view: PodView) -> list[str]:
    pairs = zip(view.spec.init_containers, view.init, strict=True)
    return [
        each.name
        for spec, each in pairs
        if not (each.started if spec.is_sidecar else each.succeeded)
    ]


def _condition(kind: str, holds: bool, reason: str = "", message: str = "") -> Json:
    if holds:
        return {"type": kind, "status": "True"}
    return {"type": kind, "status": "False", "reason": reason, "message": message}


def _named(what: str, names: Iterable[str]) -> str:
    return f"{what}: [{' '.join(names)}]"
