"""The metrics of ``kube-ovn-bfdd-supervisor`` under their documented names.

Those who have Kube-OVN's PodMonitor, dashboards and alerts keep them. `vegd.compat.supervisor` says
what the phases mean here. Recoveries are never attempted, so that counter has a name and no sample,
as it has in Kube-OVN before the first attempt.
"""

from collections.abc import Iterator

from vegd.compat.supervisor import SessionStatus, Status


def exposition(status: Status) -> str:
    """The metrics in the text format of Prometheus (0.0.4)."""
    return "".join(f"{line}\n" for line in _lines(status))


def _lines(status: Status) -> Iterator[str]:
    sessions = status.sessions
    yield from _family("expected_sessions", "gauge", "BFD sessions that are wanted.")
    yield f"kube_ovn_bfdd_expected_sessions {len(sessions)}"
    yield from _family("up_sessions", "gauge", "Wanted BFD sessions that are Up.")
    yield f"kube_ovn_bfdd_up_sessions {status.up}"
    yield from _family("recovery_attempts_total", "counter", "Recoveries that were attempted.")
    yield from _family(
        "recovery_phase", "gauge", "Phase of a BFD session, by the time that it has not been Up."
    )
    for each in sessions:
        labels = f'{_labels(each)},phase="{each.phase}"'
        yield f"kube_ovn_bfdd_recovery_phase{{{labels}}} 1"
    yield from _family(
        "session_zero_seconds", "gauge", "Seconds for which no wanted BFD session has been Up."
    )
    zero_s = 0.0 if status.up else min((each.down_s for each in sessions), default=0.0)
    yield f"kube_ovn_bfdd_session_zero_seconds {zero_s:.3f}"
    yield from _family("child_restarts_total", "counter", "Restarts of the BFD engine.")
    yield f"kube_ovn_bfdd_child_restarts_total {status.restarts}"
    yield from _family(
        "child_circuit_open", "gauge", "Whether the BFD engine is not restarted any more: never."
    )
    yield "kube_ovn_bfdd_child_circuit_open 0"
    yield from _family(
        "circuit_open", "gauge", "Whether a BFD session has not been Up for more than 37 minutes."
    )
    for each in sessions:
        value = int(each.phase == "CircuitOpen")
        yield f"kube_ovn_bfdd_circuit_open{{{_labels(each)}}} {value}"


def _family(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP kube_ovn_bfdd_{name} {text}"
    yield f"# TYPE kube_ovn_bfdd_{name} {kind}"


def _labels(each: SessionStatus) -> str:
    return f'local="{each.key.local}",remote="{each.key.peer}"'
