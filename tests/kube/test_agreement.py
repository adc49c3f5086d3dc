"""What pods report decides whether a change has arrived, and whether both ends of BFD agree."""

import re
from typing import Any

import pytest

from kube.agreement import PATIENCE_S, applied, disagreements, interest, lasting
from kube.pod_reports import PodReport, Session, pod_reports
from kube.pods import GatewayPod, gates

_PODS = (
    GatewayPod("g-1", "n1", ("192.168.0.2", "fd00::2"), ("172.17.0.2", "fd17::2"), True, ""),
    GatewayPod("g-2", "n2", ("192.168.0.3",), ("172.17.0.3",), True, ""),
)


def _entry(pod: str, revision: int = 0, **more: Any) -> dict[str, Any]:
    return {"pod": pod, "revision": revision, **more}


@pytest.mark.parametrize(
    ("entries", "status", "message"),
    [
        ([_entry("g-1", 4), _entry("g-2", 4)], "True", "2 of 2 pods have revision 4"),
        ([_entry("g-1", 4), _entry("g-2", 3)], "False", "1 of 2 .*; g-2 has 3"),
        ([_entry("g-2", 3)], "False", "g-2 has 3"),
        ([_entry("g-1", 4)], "Unknown", "not reported by g-2"),
        ([_entry("g-1", 4), {"pod": "g-2"}], "Unknown", "not reported by g-2"),
        ([_entry("g-1", 4), _entry("g-2", 4), _entry("gone", 1)], "True", ""),
        ("nonsense", "Unknown", "not reported by g-1, g-2"),
    ],
)
def test_a_change_is_applied_when_every_pod_in_use_reports_it(
    entries: Any, status: str, message: str
) -> None:
    found = applied(_PODS, pod_reports({"gateways": entries}), 4)
    assert found.status == status
    assert re.search(message, found.message)


def test_a_pod_that_is_not_in_use_is_not_waited_for() -> None:
    waiting = _PODS[1]._replace(problem="pod g-2 is not ready")
    assert (
        applied((_PODS[0], waiting), {"g-1": PodReport(pod="g-1", revision=4)}, 4).status == "True"
    )
    assert applied((waiting,), {}, 4).reason == "NoPods"
    assert applied(_PODS, {}, 0).reason == "NotWritten"


def _told(state: str) -> dict[str, PodReport]:
    return {"g-1": PodReport(pod="g-1", revision=1, bfd=(Session(local="fd00:0::2", state=state),))}


@pytest.mark.parametrize(
    ("ovn", "state", "said"),
    [
        ("up", "Up", None),
        ("down", "Down", None),
        ("down", "AdminDown", None),
        ("up", "Down", "fd00::2 is up in OVN and Down in its pod g-1: .*restart ovn-controller"),
        ("down", "Up", "fd00::2 is down in OVN and Up in its pod g-1: .*ovn-northd runs"),
    ],
)
def test_ends_that_differ_are_named_with_both_words_and_a_remedy(
    ovn: str, state: str, said: str | None
) -> None:
    found = [*disagreements(_PODS, _told(state), {"fd00::2": ovn, "192.168.0.3": "up"})]
    assert len(found) == (said is not None)
    assert all(re.match(said or "", str(each)) for each in found)


def test_ends_may_differ_for_a_moment() -> None:
    now = [*disagreements(_PODS, _told("Down"), {"fd00::2": "up"})]
    last, since = lasting(now, {}, 100.0)
    assert (last, since) == ((), {"fd00::2": 100.0})
    last, since = lasting(now, since, 100.0 + PATIENCE_S)
    assert last == tuple(now)
    assert lasting((), since, 200.0) == ((), {})


def test_counts_that_change_are_of_no_interest_and_a_session_is() -> None:
    quiet = _entry(
        "g-1", 1, bfd=[{"local": "192.168.0.2", "state": "Up"}], conntrack={"entries": 1}
    )
    more = quiet | {"conntrack": {"entries": 9}, "ports": [], "state": "ready"}
    down = quiet | {"bfd": [{"local": "192.168.0.2", "state": "Down"}]}
    assert interest({"gateways": [quiet]}) == interest({"gateways": [more]})
    assert interest({"gateways": [quiet]}) != interest({"gateways": [down]})


def test_a_gate_opens_when_all_sessions_of_the_pod_are_up() -> None:
    pods = tuple(each._replace(gate=False) for each in _PODS)
    up = {"192.168.0.2": "up", "fd00::2": "up", "192.168.0.3": "up"}
    assert gates(pods, (4, 6), up) == {"g-1": True, "g-2": True}
    assert gates(pods, (4, 6), up | {"fd00::2": "init"}) == {"g-2": True}
    assert gates(pods, (4,), up | {"fd00::2": "init"}) == {"g-1": True, "g-2": True}
    assert gates(pods, (), {}) == {"g-1": True, "g-2": True}, "without BFD"
    opened = tuple(each._replace(gate=True) for each in _PODS)
    assert gates(opened, (4,), up) == {}
    assert gates(opened, (4,), {}) == {"g-1": False, "g-2": False}
    assert gates(_PODS, (4,), up) == {}, "pods of an earlier version have none"
    drained = opened[0]._replace(drains=True)
    assert gates((drained, opened[1]), (4, 6), up) == {"g-1": False}
    assert gates((drained,), (), {}) == {"g-1": False}, "without BFD"
    nowhere = pods[1]._replace(external=())
    assert gates((nowhere,), (4,), up) == {}
