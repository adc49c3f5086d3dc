"""Overrides: an operator's word stands above the committed set, and no change of it is a flap."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from bfd.config import SessionKey
from bfd.discriminators import Discriminators
from bfd.engine import Engine
from bfd.fsm import Diagnostic, State
from bfd.override import Override
from bfd.session import Session
from tests.support.bfd import FAST, KEY, Link, packets

NOW = 10**9


def new_engine() -> Engine:
    return Engine(Discriminators(bytes(32)), random.Random(1).random, lambda _index: "eth0")


def only(engine: Engine) -> Session:
    (session,) = engine.sessions()
    return session


def test_an_override_wins_and_its_end_brings_the_configuration_back() -> None:
    engine = new_engine()
    engine.put(FAST, NOW)
    engine.override(KEY, Override(detect_mult=9, min_ttl=250), NOW)
    assert only(engine).config == replace(FAST, detect_mult=9, min_ttl=250)
    assert engine.committed() == (FAST,)
    engine.override(KEY, Override(), NOW)
    assert only(engine).config == FAST
    assert engine.overrides == {}


def test_an_override_survives_another_commit_and_an_absence_from_the_set() -> None:
    engine = new_engine()
    engine.put(FAST, NOW)
    engine.override(KEY, Override(min_ttl=250), NOW)
    engine.put(replace(FAST, detect_mult=7), NOW)
    assert only(engine).config == replace(FAST, detect_mult=7, min_ttl=250)
    engine.remove(KEY, NOW, "removed")
    for effect in engine.expire(NOW + 1, NOW + 1):
        assert effect
    engine.put(FAST, NOW + 2)
    assert only(engine).config.min_ttl == 250


def test_a_set_under_an_override_is_not_committed_again_and_again() -> None:
    engine = new_engine()
    engine.put(FAST, NOW)
    engine.override(KEY, Override(min_ttl=250), NOW)
    assert engine.changes([FAST]) == ((), ())
    assert engine.changes([replace(FAST, detect_mult=4)]).put == (replace(FAST, detect_mult=4),)


def test_E4_admin_down_by_the_operator_has_diagnostic_7_and_says_who_it_was() -> None:
    link = Link(1)
    link.run(5_000_000)
    assert link.states == (State.UP, State.UP)
    effect = link.a.engine.override(KEY, Override(admin_down=True), link.now_us)
    assert effect is not None
    session, actions = effect
    assert [(p.state, p.diagnostic) for p in packets(actions)] == [(State.ADMIN_DOWN, 7)]
    assert session.last_change is not None
    assert session.last_change.reason == "disabled by the operator"
    link.a.engine.override(KEY, Override(), link.now_us)
    assert session.last_change.reason == "enabled by the operator"
    link.run(10_000_000)
    assert link.states == (State.UP, State.UP)


def test_E4_the_operator_cannot_enable_what_the_configuration_holds_down() -> None:
    engine = new_engine()
    engine.put(replace(FAST, enabled=False, disabled_diag=Diagnostic.PATH_DOWN), NOW)
    engine.override(KEY, Override(admin_down=True), NOW)
    engine.override(KEY, Override(), NOW)
    assert (only(engine).state, only(engine).local_diag) == (State.ADMIN_DOWN, 5)


def test_D2_a_changed_timer_is_polled_for_and_takes_nobody_down() -> None:
    link = Link(2)
    link.run(5_000_000)
    before = (len(link.a.changed), len(link.b.changed))
    for override in (
        Override(desired_min_tx_us=300_000, required_min_rx_us=20_000, detect_mult=5),
        Override(desired_min_tx_us=20_000, required_min_rx_us=900_000),
        Override(),
    ):
        link.a.sent.clear()
        effect = link.a.engine.override(KEY, override, link.now_us)
        assert effect is not None
        link._perform(link.a, effect)
        link.run(5_000_000)
        assert any(packet.poll for _, packet in link.a.sent)
        assert link.states == (State.UP, State.UP)
        in_force = override.apply(FAST)
        assert link.session(link.a).tx_interval_us == max(in_force.desired_min_tx_us, 100_000)
        assert link.session(link.b).detection_time_us == in_force.detect_mult * max(
            in_force.desired_min_tx_us, 100_000
        )
    assert (len(link.a.changed), len(link.b.changed)) == before


def test_an_override_for_no_session_is_refused() -> None:
    with pytest.raises(KeyError):
        new_engine().override(SessionKey("192.0.2.1", "192.0.2.9"), Override(min_ttl=1), NOW)


def test_the_override_of_a_session_that_has_gone_can_be_ended() -> None:
    engine = new_engine()
    engine.put(FAST, NOW)
    engine.override(KEY, Override(min_ttl=250), NOW)
    engine.remove(KEY, NOW, "removed")
    assert engine.override(KEY, Override(), NOW) is None
    assert engine.overrides == {}


@pytest.mark.parametrize(
    "override",
    [
        Override(),
        Override(admin_down=True),
        Override(required_min_rx_us=0),
        Override(20_000, 30_000, 4, 254, admin_down=True),
    ],
)
def test_an_override_survives_json(override: Override) -> None:
    assert Override.from_json(json.loads(json.dumps(override.to_json()))) == override


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"desired_min_tx_us": 0}, "desired_min_tx_us: 0"),
        ({"required_min_rx_us": 1500}, "required_min_rx_us: 1500"),
        ({"detect_mult": 256}, "detect_mult: 256"),
        ({"min_ttl": "254"}, "min_ttl: '254'"),
        ({"admin_down": 1}, "admin_down: 1"),
        ({"colour": "red"}, "unknown field: colour"),
    ],
)
def test_a_bad_override_is_named(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Override.from_json(document)
