"""A pod's status, from what its containers do."""

from typing import Any

import pytest

from vegd.lab.cluster.pod_status import (
    ContainerView,
    PodView,
    Runs,
    State,
    Terminated,
    Waiting,
    phase,
    status,
)
from vegd.lab.cluster.template import Container, PodSpec, ReadinessGate

_RUNS = Runs("2026-01-01T00:00:00Z", "vegd://1")
_DONE, _FAILED = (
    Terminated(code, "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", "vegd://1") for code in (0, 3)
)
_WAITS = Waiting("PodInitializing")


def pod(
    init: State | None, main: State, *, sidecar: bool = False, policy: str = "Always", **more: Any
) -> PodView:
    """One container, after an init container if `init` is its state."""
    kind = "Always" if sidecar else None
    spec = PodSpec(
        containers=(Container(name="main"),),
        init_containers=() if init is None else (Container(name="init", restart_policy=kind),),
        restart_policy=policy,
        readiness_gates=(ReadinessGate(condition_type="g"),) if "gates" in more else (),
    )
    inits = [] if init is None else [view("init", init)]
    return PodView(spec, "then", "127.0.0.1", ("10.0.0.2",), inits, [view("main", main)], **more)


def view(name: str, state: State) -> ContainerView:
    """A container that is ready if it runs."""
    runs = isinstance(state, Runs)
    return ContainerView(name, "image", state, started=runs, ready=runs)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (pod(_WAITS, _WAITS), "Pending"),
        (pod(_RUNS, _WAITS), "Pending"),
        (pod(_FAILED, _WAITS), "Pending"),
        (pod(_FAILED, _WAITS, policy="Never"), "Failed"),
        (pod(_DONE, _RUNS), "Running"),
        (pod(_RUNS, _WAITS, sidecar=True), "Pending"),
        (pod(_RUNS, _RUNS, sidecar=True), "Running"),
        (pod(Waiting("CrashLoopBackOff"), _RUNS, sidecar=True), "Running"),
        (pod(None, _DONE, policy="Never"), "Succeeded"),
        (pod(None, _FAILED, policy="Never"), "Failed"),
        (pod(None, _WAITS, failure=("Unsupported", "no")), "Failed"),
    ],
)
def test_phase(given: PodView, expected: str) -> None:
    assert phase(given) == expected


def test_what_crashes_and_waits_is_running_all_the_same() -> None:
    given = pod(None, Waiting("CrashLoopBackOff"))
    given.main[0].last = _FAILED
    assert phase(given) == "Running"
    (told,) = status(given, (), "now")["containerStatuses"]
    assert told["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert told["lastState"]["terminated"]["exitCode"] == 3


def conditions(given: PodView, before: Any = ()) -> dict[str, Any]:
    """By their types."""
    return {each["type"]: each for each in status(given, before, "now")["conditions"]}


def test_a_readiness_gate_holds_back_the_condition_ready_alone() -> None:
    closed = conditions(pod(None, _RUNS, gates={"g": False}))
    assert closed["ContainersReady"]["status"] == "True"
    assert closed["Ready"]["status"] == "False"
    assert closed["Ready"]["reason"] == "ReadinessGatesNotReady"
    assert conditions(pod(None, _RUNS, gates={"g": True}))["Ready"]["status"] == "True"


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    first = [{"type": "Ready", "status": "True", "lastTransitionTime": "then"}]
    assert conditions(pod(None, _RUNS), first)["Ready"]["lastTransitionTime"] == "then"
    assert conditions(pod(None, _DONE), first)["Ready"]["lastTransitionTime"] == "now"


def test_a_pod_that_has_not_begun_is_not_ready() -> None:
    told = conditions(PodView(PodSpec(containers=()), "then", "127.0.0.1"))
    assert {each["status"] for each in told.values()} <= {"True", "False"}
    assert told["Ready"]["status"] == "False"
    assert told["PodReadyToStartContainers"]["status"] == "False"
