"""The metrics of ``kube-ovn-bfdd-supervisor`` under their documented names.

Those who have Kube-OVN's PodMonitor, dashboards and alerts keep them. `vegd.compat.supervisor` says
what the phases mean here. Recoveries are never attempted, so that counter has a name and no sample,
as it has in Kube-OVN before the first attempt.
"""

from collections.abc import Iterator

from vegd.compat.supervisor import Status
from vegd.exposition import Counter, Family, Gauge

_PAIR = ("local", "remote")


def families(status: Status) -> Iterator[Family]:
    """The metrics, for `vegd.exposition.page`."""
    sessions = status.sessions
    yield _gauge("expected_sessions", "BFD sessions that are wanted.", len(sessions))
    yield _gauge("up_sessions", "Wanted BFD sessions that are Up.", status.up)
    yield Counter(
        "kube_ovn_bfdd_recovery_attempts",
        "Recoveries that were attempted.",
        labels=("action", "result"),
    )
    phase = Gauge(
        "kube_ovn_bfdd_recovery_phase",
        "Phase of a BFD session, by the time that it has not been Up.",
        labels=(*_PAIR, "phase"),
    )
    circuit = Gauge(
        "kube_ovn_bfdd_circuit_open",
        "Whether a BFD session has not been Up for more than 37 minutes.",
        labels=_PAIR,
    )
    for each in sessions:
        pair = each.key[:2]
        phase.add((*pair, each.phase), 1)
        circuit.add(pair, each.phase == "CircuitOpen")
    yield phase
    yield circuit
    yield _gauge(
        "session_zero_seconds",
        "Seconds for which no wanted BFD session has been Up.",
        0 if status.up else min((each.down_s for each in sessions), default=0),
    )
    yield Counter(
        "kube_ovn_bfdd_child_restarts", "Restarts of the BFD engine.", value=status.restarts
    )
    yield _gauge(
        "child_circuit_open", "Whether the BFD engine is not restarted any more: never.", 0
    )


def _gauge(name: str, text: str, value: float) -> Gauge:
    return Gauge(f"kube_ovn_bfdd_{name}", text, value=value)
