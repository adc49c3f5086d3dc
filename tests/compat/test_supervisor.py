"""What ``kube-ovn-bfdd-supervisor`` answers, as JSON and as metrics.

Names, types and phases are recorded from the contract of Kube-OVN's controller with the image.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bfd.fsm import State
from bfd.snapshot import EngineSnapshot
from tests.support.snapshots import engine_with, session_in
from vegd.compat.metrics import families
from vegd.compat.supervisor import Seen, Status, answer, status_of
from vegd.compat.wishes import Timers, Wishes
from vegd.exposition import page

V4, V6, PEER4, PEER6 = "10.16.0.2", "fd00::2", "10.255.255.255", "fd00::ffff"
WANTED = Wishes((V6, V4)).allow(PEER6).allow(PEER4).configs()
HOUR = 3_600.0


def engine(v4: State, v6: State) -> EngineSnapshot:
    return engine_with(session_in(v4, V4, PEER4), session_in(v6, V6, PEER6))


BOTH_UP, V6_DOWN = engine(State.UP, State.UP), engine(State.UP, State.DOWN)
BOTH_DOWN = engine(State.INIT, State.DOWN)


def seen(*looks: tuple[float, EngineSnapshot | None]) -> Status:
    """The status after looks at these moments."""
    known = Seen()
    for at, look in looks:
        known = known.look(look, WANTED, at)
    return status_of(known, WANTED, restarts=2)


def phases(status: Status) -> list[str]:
    return [each.phase for each in status.sessions]


def exposition(status: Status) -> str:
    return page(families(status)).decode()


def answered(request: str, status: Status) -> Any:
    line = answer(request, status)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json.loads(line)


def test_the_status_has_every_member_that_is_documented() -> None:
    never = "0001-01-01T00:00:00Z"
    assert answered("status\n", seen((10.0, V6_DOWN))) == {
        "status": {
            "Live": True,
            "Ready": False,
            "Sessions": [
                {
                    "Pair": {"Local": V4, "Remote": PEER4},
                    "State": "Up",
                    "Phase": "Up",
                    "Attempts": 0,
                    "LastAction": "None",
                    "LastResult": "",
                    "NextRetry": never,
                },
                {
                    "Pair": {"Local": V6, "Remote": PEER6},
                    "State": "Down",
                    "Phase": "Grace",
                    "Attempts": 0,
                    "LastAction": "None",
                    "LastResult": "",
                    "NextRetry": never,
                },
            ],
            "ControlFailures": 0,
            "LastControlError": "",
            "ChildRestarts": 2,
            "ChildRecoveryAttempts": 0,
            "ChildNextRetry": never,
            "ChildCircuitOpen": False,
        }
    }


@pytest.mark.parametrize(
    ("request_", "look", "error"),
    [
        ("live", V6_DOWN, None),
        ("live", None, "BFD supervisor is not live"),
        ("ready", BOTH_UP, None),
        ("ready", V6_DOWN, "expected BFD sessions are not ready"),
        ("status", None, None),
        ("rubbish", BOTH_UP, 'unknown supervisor request "rubbish"'),
        ("", BOTH_UP, 'unknown supervisor request ""'),
        ('a"b\x00', BOTH_UP, 'unknown supervisor request "a\\"b\\u0000"'),
    ],
)
def test_an_error_says_what_is_not_as_asked(
    request_: str, look: EngineSnapshot | None, error: str | None
) -> None:
    document = answered(request_, seen((10.0, look)))
    assert document.get("error") == error
    assert ("error" in document) is (error is not None)
    assert "status" in document


def test_an_engine_that_is_away_for_a_moment_does_not_cost_the_life() -> None:
    assert not seen().live
    away = seen((10.0, BOTH_UP), (11.0, None), (12.0, None))
    assert (away.live, away.ready, away.control_failures) == (True, False, 2)
    assert away.to_json()["LastControlError"] == "the BFD engine does not answer"
    assert [each.state for each in away.sessions] == ["", ""]
    assert not seen((10.0, BOTH_UP), (26.0, None)).live
    back = seen((10.0, BOTH_UP), (26.0, None), (27.0, BOTH_UP))
    assert (back.live, back.ready, back.control_failures) == (True, True, 0)


def test_no_session_at_all_is_not_ready() -> None:
    status = status_of(Seen().look(engine_with(), (), 1.0), (), 0)
    assert (status.live, status.ready) == (True, False)


@pytest.mark.parametrize(
    ("down_s", "phase"),
    [
        (0.0, "Grace"),
        (59.0, "Grace"),
        (61.0, "Backoff"),
        (60 + 60 + 300 + 1_799.0, "Backoff"),
        (60 + 60 + 300 + 1_801.0, "CircuitOpen"),
    ],
)
def test_the_phase_is_told_by_the_time_without_the_session(down_s: float, phase: str) -> None:
    status = seen((0.0, BOTH_UP), (10.0, V6_DOWN), (10.0 + down_s, V6_DOWN))
    assert phases(status) == ["Up", phase]


def test_the_grace_of_a_slow_session_is_ten_of_its_detection_times() -> None:
    timers = Timers(min_rx_us=5_000_000, detect_mult=4)
    wanted = Wishes((V4,), timers).allow(PEER4).configs()
    for at, phase in ((199.0, "Grace"), (201.0, "Backoff")):
        known = Seen().look(BOTH_DOWN, wanted, 0.0).look(BOTH_DOWN, wanted, at)
        assert phases(status_of(known, wanted, 0)) == [phase]


def test_init_is_not_up_and_an_up_between_begins_the_time_anew() -> None:
    assert phases(seen((0.0, BOTH_DOWN), (90.0, BOTH_DOWN))) == ["Backoff", "Backoff"]
    again = seen((0.0, BOTH_DOWN), (90.0, V6_DOWN), (91.0, BOTH_DOWN))
    assert phases(again) == ["Grace", "Backoff"]
    through = seen((0.0, BOTH_DOWN), (50.0, None), (90.0, BOTH_DOWN))
    assert phases(through) == ["Backoff", "Backoff"]


def test_metrics_have_the_documented_names_and_labels() -> None:
    text = exposition(seen((0.0, V6_DOWN), (HOUR, V6_DOWN)))
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    four, six = f'local="{V4}",remote="{PEER4}"', f'local="{V6}",remote="{PEER6}"'
    assert sorted(samples) == [
        "kube_ovn_bfdd_child_circuit_open 0.0",
        "kube_ovn_bfdd_child_restarts_total 2.0",
        f"kube_ovn_bfdd_circuit_open{{{four}}} 0.0",
        f"kube_ovn_bfdd_circuit_open{{{six}}} 1.0",
        "kube_ovn_bfdd_expected_sessions 2.0",
        f'kube_ovn_bfdd_recovery_phase{{local="{V4}",phase="Up",remote="{PEER4}"}} 1.0',
        f'kube_ovn_bfdd_recovery_phase{{local="{V6}",phase="CircuitOpen",remote="{PEER6}"}} 1.0',
        "kube_ovn_bfdd_session_zero_seconds 0.0",
        "kube_ovn_bfdd_up_sessions 1.0",
    ]


def test_zero_seconds_count_from_the_last_session_that_was_up() -> None:
    status = seen((0.0, BOTH_UP), (10.0, V6_DOWN), (30.0, BOTH_DOWN), (100.0, BOTH_DOWN))
    assert "\nkube_ovn_bfdd_session_zero_seconds 70.0\n" in exposition(status)
    assert "\nkube_ovn_bfdd_session_zero_seconds 0.0\n" in exposition(
        status_of(Seen().look(engine_with(), (), 9.0), (), 0)
    )


def test_prometheus_understands_the_metrics() -> None:
    families = {
        family.name: family.type
        for family in text_string_to_metric_families(exposition(seen((0.0, BOTH_UP))))
    }
    assert families == {
        "kube_ovn_bfdd_expected_sessions": "gauge",
        "kube_ovn_bfdd_up_sessions": "gauge",
        "kube_ovn_bfdd_recovery_attempts": "counter",
        "kube_ovn_bfdd_recovery_phase": "gauge",
        "kube_ovn_bfdd_session_zero_seconds": "gauge",
        "kube_ovn_bfdd_child_restarts": "counter",
        "kube_ovn_bfdd_child_circuit_open": "gauge",
        "kube_ovn_bfdd_circuit_open": "gauge",
    }


def test_the_document_names_every_metric() -> None:
    document = (Path(__file__).parents[2] / "docs/kube-ovn-commands.md").read_text()
    for line in exposition(seen((0.0, BOTH_UP))).splitlines():
        if line.startswith("# TYPE "):
            assert f"`{line.split()[2]}`" in document
