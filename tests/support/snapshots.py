"""Snapshots of engines that never ran, with the values that a test is about."""

from dataclasses import replace
from typing import Any

from bfd.config import SessionConfig, SessionKey
from bfd.fsm import State
from bfd.lateness import Lateness
from bfd.snapshot import EngineSnapshot, Histogram, SessionSnapshot, describe
from bfd.vitals import Vitals
from tests.support.bfd import Bench


def session_in(state: State, local: str, peer: str, **values: Any) -> SessionSnapshot:
    """A session in a state, 1.5 s old unless told otherwise."""
    bench = Bench()
    key = SessionKey(local, peer)
    made = describe(bench.session, bench.now_us, 0.0)
    standard: dict[str, Any] = {"config": SessionConfig(key), "age_us": 1_500_000}
    return replace(made, key=key, state=state, **standard | values)


def engine_with(*sessions: SessionSnapshot) -> EngineSnapshot:
    """An engine that is well."""
    histogram = Histogram.of(Lateness())
    return EngineSnapshot(
        generation=1,
        pid=1,
        started_at=0.0,
        sessions=sessions,
        discards={},
        transmit_lateness=histogram,
        detection_lateness=histogram,
        stalls=0,
        longest_stall_us=0,
        stalled_us=0,
        overflows={},
        vitals=Vitals(),
        cpu_limit=None,
        memory="locked",
        log_lines_lost=0,
        key_faults=(),
        idle_overrides=(),
        scheduling="fifo 10",
        draining=False,
    )
