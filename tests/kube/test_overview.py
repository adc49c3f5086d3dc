"""A gateway in one line: what is told, and what is not told is no trouble."""

from typing import Any

from kube.overview import Overview, overview
from tests.support import scenes
from tests.support.scenes import condition, gateway, report, workload_pod


def _overview(status: dict[str, Any] | None = None, **spec: Any) -> Overview:
    return overview(scenes.scene([gateway(status=status, **spec)]).views["ns/gw"])


def _status(*conditions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"conditions": [condition("Ready", "True"), *conditions], **more}


def test_a_resource_of_kube_ovns_own_definition_is_shown_without_what_it_lacks() -> None:
    found = _overview({"ready": True}, bfd={"enabled": True})
    assert (found.is_ready, found.is_well, found.in_use, found.wanted) == (True, True, 1, 1)
    assert (found.ovn, found.agents, found.applied, found.conflict) == ("-", "-", "-", "-")
    assert not _overview({}).is_ready


def test_both_ends_of_the_sessions_are_shown() -> None:
    healthy = condition("BFDHealthy", "True", "AllUp")
    found = _overview(_status(healthy, gateways=[report()]), bfd={"enabled": True})
    assert (found.ovn, found.agents, found.is_well) == ("up", "1/1 Up", True)
    down = {"local": "192.168.0.2", "peer": "10.255.255.255", "state": "Down"}
    found = _overview(_status(healthy, gateways=[report(bfd=[down])]), bfd={"enabled": True})
    assert (found.ovn, found.agents, found.is_well) == ("up", "0/1 Up", False)
    disagree = condition("BFDHealthy", "False", "Disagreement")
    found = _overview(_status(disagree, gateways=[report()]), bfd={"enabled": True})
    assert (found.ovn, found.is_well) == ("Disagreement", False)


def test_what_lags_or_conflicts_is_not_well() -> None:
    for each, shown in (
        (condition("Applied", "True", "Applied"), ("yes", "-", True)),
        (condition("Applied", "False", "Lagging"), ("Lagging", "-", False)),
        (condition("Applied", "Unknown", "NotReported"), ("NotReported", "-", True)),
        (condition("Conflict", "False", "None"), ("-", "no", True)),
        (condition("Conflict", "True", "Overlap"), ("-", "Overlap", False)),
    ):
        found = _overview(_status(each))
        assert (found.applied, found.conflict, found.is_well) == shown


def test_replicas_that_are_not_in_use_and_those_that_leave() -> None:
    leaving = workload_pod("gw-2", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    pods = [workload_pod(), workload_pod("gw-1", ip="192.168.0.3", ready=False), leaving]
    found = overview(scenes.scene([gateway(replicas=2)], pods).views["ns/gw"])
    assert (found.in_use, found.wanted) == (1, 2)
    assert [each.pod.problem for each in found.replicas] == ["", "pod gw-1 is not ready"]


def test_json_has_all_that_is_shown() -> None:
    found = _overview(_status(gateways=[report(ports=[{"address": "172.17.0.2", "used": 3}])]))
    told = found.as_json()
    assert told["conditions"][0]["type"] == "Ready"
    (pod,) = told["pods"]
    assert pod["report"]["revision"] == 1
    assert pod["report"]["bfd"][0]["state"] == "Up"
    assert pod["report"]["ports"] == [{"address": "172.17.0.2", "used": 3, "available": 0}]
