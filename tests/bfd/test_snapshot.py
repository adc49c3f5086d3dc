"""Snapshots are plain values that survive the trip through JSON."""

import json
from dataclasses import replace

import pytest

from bfd.config import SessionConfig
from bfd.dampening import Dampening
from bfd.fsm import Diagnostic, State
from bfd.lateness import Lateness
from bfd.packet import Discard
from bfd.snapshot import (
    EngineSnapshot,
    Histogram,
    SessionSnapshot,
    config_from_json,
    config_to_json,
    describe,
)
from bfd.vitals import Vitals
from tests.support.bfd import FAST, KEY, Bench


def through_json(document: object) -> dict[str, object]:
    return dict(json.loads(json.dumps(document)))


def a_session() -> SessionSnapshot:
    bench = Bench().bring_up()
    bench.session.discards[Discard.TTL] = 4
    bench.session.send_errors["ENETUNREACH"] = 2
    bench.wait(10_000)
    return describe(bench.session, bench.now_us, 1_700_000_000.0)


def test_a_session_snapshot_survives_json_in_less_than_4_kb() -> None:
    snapshot = a_session()
    assert SessionSnapshot.from_json(through_json(snapshot.to_json())) == snapshot
    assert len(json.dumps(snapshot.to_json())) < 4096


def test_a_session_snapshot_tells_what_is_in_use() -> None:
    snapshot = a_session()
    assert (snapshot.key, snapshot.state, snapshot.remote_state) == (KEY, State.UP, State.UP)
    assert (snapshot.tx_interval_us, snapshot.detection_time_us) == (100_000, 300_000)
    assert snapshot.discards == {"ttl": 4}
    assert snapshot.heard_us_ago == 10_000
    assert not snapshot.polling
    assert snapshot.last_change is not None
    assert snapshot.last_change.new is State.UP
    assert snapshot.last_change.at == pytest.approx(1_700_000_000, abs=1)


def test_a_fresh_session_has_not_heard_and_not_changed() -> None:
    bench = Bench()
    snapshot = describe(bench.session, bench.now_us, 0.0)
    assert snapshot.heard_us_ago is None
    assert snapshot.last_change is None
    assert SessionSnapshot.from_json(through_json(snapshot.to_json())) == snapshot


def test_an_engine_snapshot_survives_json() -> None:
    lateness = Lateness()
    for late_us in (-5, 0, 100, 101, 250, 251, 2_000_000):
        lateness.record(late_us)
    histogram = Histogram.of(lateness)
    assert histogram.counts == (3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
    assert histogram.sum_us == 100 + 101 + 250 + 251 + 2_000_000
    assert len(histogram.counts) == len(histogram.bounds_us) + 1
    snapshot = EngineSnapshot(
        generation=3,
        pid=1,
        started_at=5.0,
        sessions=(a_session(),),
        discards={"version": 1},
        transmit_lateness=histogram,
        detection_lateness=histogram,
        stalls=2,
        longest_stall_us=400_000,
        stalled_us=500_000,
        overflows={"ipv4": 3},
        vitals=Vitals(3, 4, None),
        cpu_limit=0.3,
        memory="locked",
        log_lines_lost=0,
        key_faults=("session a -> b: auth.keys[0].file: ...",),
        idle_overrides=(KEY,),
        scheduling="nice -20",
        draining=False,
    )
    assert EngineSnapshot.from_json(through_json(snapshot.to_json())) == snapshot


@pytest.mark.parametrize(
    "config",
    [
        FAST,
        replace(FAST, passive=True, enabled=False, disabled_diag=Diagnostic.PATH_DOWN, min_ttl=254),
        replace(FAST, key=KEY._replace(multihop=True), back_off=8),
        replace(FAST, dampening=Dampening(3, 60_000_000, 10_000_000, 300_000_000)),
        replace(FAST, key=KEY._replace(interface="eth0")),
    ],
)
def test_a_configuration_survives_json(config: SessionConfig) -> None:
    assert config_from_json(through_json(config_to_json(config))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peer": None}, "peer: None"),
        ({"detect_mult": "3"}, "detect_mult: '3'"),
        ({"disabled_diag": 40}, "disabled_diag: 40"),
        ({"colour": "red"}, "colour"),
        ({"dampening": {"colour": 1}}, "dampening: unknown field or type: colour"),
        ({"dampening": [1]}, "dampening"),
        ({"min_ttl": [1]}, "min_ttl"),
    ],
)
def test_a_bad_configuration_from_json_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_from_json(config_to_json(FAST) | change)


def test_a_configuration_without_addresses_is_named() -> None:
    with pytest.raises(ValueError, match="local: missing"):
        config_from_json({})
