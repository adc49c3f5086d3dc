"""From evidence to words: each verdict of ``vegd why``."""

import json
from dataclasses import replace
from typing import Any

import pytest

from bfd.config import SessionKey
from bfd.evidence import ProcessFacts, SessionFacts
from bfd.fsm import Diagnostic, State
from bfd.history import Transition
from bfd.override import Override
from bfd.packet import Discard
from bfd.snapshot import SessionSnapshot, StateChange, describe
from tests.support.bfd import FAST, KEY, Bench
from vegd.why import Cause, explain, judge_down, judge_now

CALM = ProcessFacts(
    window_us=400_000,
    late_us=0,
    stalls=0,
    throttled_periods=0,
    throttled_us=0,
    waited_us=0,
    overflows=0,
)
QUIET = SessionFacts(
    silent_us=300_000,
    detection_time_us=300_000,
    peer_interval_us=100_000,
    peer_detection_time_us=300_000,
    remote_state=State.UP,
    remote_diag=Diagnostic.NO_DIAGNOSTIC,
    refused={},
    refused_ttl=None,
    min_ttl=255,
    unsent={},
)
EXPIRED = Diagnostic.CONTROL_DETECTION_TIME_EXPIRED
SIGNALED = Diagnostic.NEIGHBOR_SIGNALED_SESSION_DOWN


def down(
    diag: Diagnostic = EXPIRED,
    new: State = State.DOWN,
    reason: str = "nothing heard for 300 ms",
    process: ProcessFacts = CALM,
    **session: Any,
) -> Transition:
    facts = QUIET._replace(**session)
    return Transition(7, KEY, 1_700_000_000.25, State.UP, new, diag, reason, facts, process)


def peer_said(state: State, diag: Diagnostic, **rest: Any) -> Transition:
    return down(SIGNALED, silent_us=0, remote_state=state, remote_diag=diag, **rest)


NOT_HEARD = (State.DOWN, EXPIRED)


@pytest.mark.parametrize(
    ("transition", "cause", "verdict"),
    [
        (down(), Cause.PEER_SILENT, "the peer fell silent: nothing arrived from it for 300 ms"),
        (
            down(refused={"ttl": 4}, refused_ttl=253, min_ttl=254),
            Cause.REFUSED,
            "its packets were refused: TTL 253, minimum 254 (4 packets)",
        ),
        (
            down(refused={"auth_digest": 1}),
            Cause.REFUSED,
            "its packets were refused: a wrong digest or password: the keys differ (1 packet)",
        ),
        (
            down(refused={"unknown_discriminator": 3}),
            Cause.REFUSED,
            (
                "its packets were refused: they name a discriminator that is not ours, "
                "as after a restart of ours (3 packets)"
            ),
        ),
        (
            down(process=CALM._replace(overflows=12)),
            Cause.OVERFLOW,
            "we were flooded: 12 packets found no room in our receive buffers",
        ),
        (
            down(process=CALM._replace(late_us=100_000, stalls=1)),
            Cause.PEER_SILENT,
            "the peer fell silent: nothing arrived from it for 300 ms",
        ),
        (
            down(process=CALM._replace(late_us=412_000, stalls=1)),
            Cause.STARVED,
            "we were starved: the engine was up to 412 ms late, where the peer waits 300 ms for us",
        ),
        (
            peer_said(State.ADMIN_DOWN, Diagnostic.ADMINISTRATIVELY_DOWN),
            Cause.PEER_ADMIN_DOWN,
            (
                "the peer said AdminDown (diagnostic 7, administratively down): "
                "it was taken down on purpose over there"
            ),
        ),
        (
            peer_said(State.DOWN, Diagnostic.PATH_DOWN),
            Cause.PEER_DOWN,
            "the peer said Down (diagnostic 5, path down)",
        ),
        (
            peer_said(*NOT_HEARD),
            Cause.NOT_HEARD,
            (
                "the peer no longer heard us and said Down (diagnostic 1, control detection time "
                "expired), though we were on time: our packets were lost on the way, or refused or "
                "read too late over there"
            ),
        ),
        (
            peer_said(*NOT_HEARD, unsent={"ENETUNREACH": 3}),
            Cause.NOT_SENT,
            (
                "our packets could not be sent: ENETUNREACH, no route to the peer (3 packets); "
                "so the peer said Down (diagnostic 1, control detection time expired)"
            ),
        ),
        (
            peer_said(
                *NOT_HEARD,
                process=CALM._replace(
                    late_us=260_000, throttled_periods=3, throttled_us=250_000, waited_us=255_000
                ),
            ),
            Cause.STARVED,
            (
                "we were starved: the engine was up to 260 ms late, where the peer waits 300 ms "
                "for us, its CPU quota was used up 3 times (throttled for 250 ms)"
            ),
        ),
        (
            peer_said(*NOT_HEARD, process=CALM._replace(late_us=260_000, waited_us=255_000)),
            Cause.STARVED,
            (
                "we were starved: the engine was up to 260 ms late, where the peer waits 300 ms "
                "for us, it waited 255 ms for a processor"
            ),
        ),
        (
            down(Diagnostic.PATH_DOWN, State.ADMIN_DOWN, "disabled by configuration"),
            Cause.OURS,
            "we took it down, because this gateway could not forward (Path Down)",
        ),
        (
            down(Diagnostic.ADMINISTRATIVELY_DOWN, State.ADMIN_DOWN, "disabled by the operator"),
            Cause.OURS,
            "we took it down: disabled by the operator",
        ),
        (
            down(Diagnostic.ADMINISTRATIVELY_DOWN, State.ADMIN_DOWN, "the engine is draining"),
            Cause.OURS,
            "we took it down: the engine is draining",
        ),
    ],
)
def test_the_verdict_on_a_down(transition: Transition, cause: Cause, verdict: str) -> None:
    judgement = judge_down(transition)
    assert (judgement.cause, judgement.verdict) == (cause, verdict)


def test_the_facts_of_a_down_are_all_told() -> None:
    process = ProcessFacts(412_000, 90_000, 2, 3, 250_000, 40_000, 5)
    told = "\n".join(
        judge_down(
            down(
                refused={"ttl": 4, "version": 9},
                refused_ttl=253,
                unsent={"ENETDOWN": 1},
                silent_us=350_000,
                process=process,
            )
        ).facts
    )
    for text in (
        "Up to Down at",
        "the last packet had arrived 350 ms before",
        "the peer had last said Up, diagnostic 0, no diagnostic",
        "3 packets missed (one at least every 100 ms, detection time 300 ms)",
        "refused since then: version (9 packets); TTL 253, minimum 255 (4 packets)",
        "not sent: ENETDOWN, the interface is down (1 packet)",
        "we in the last 412 ms: up to 90 ms late, 2 stalls",
        "quota was used up in 3 periods, throttled for 250 ms over all processors",
        "the engine waited 40 ms for a processor",
        "5 packets found no room in our receive buffers",
    ):
        assert text in told


def test_a_quota_that_cannot_be_seen_is_not_claimed_to_be_kept() -> None:
    facts = judge_down(down(process=CALM._replace(throttled_periods=None))).facts
    assert "the cgroup's CPU quota: not visible from here" in facts
    assert not any("quota" in text for text in judge_down(down()).facts)


def session(bench: Bench | None = None, **changes: Any) -> SessionSnapshot:
    bench = bench or Bench()
    return replace(describe(bench.session, bench.now_us, 1_700_000_000.0), **changes)


def heard(state: State, *, sees_us: bool, **fields: Any) -> SessionSnapshot:
    bench = Bench(your_discr=42 if sees_us else 0)
    bench.wait(0)
    bench.hear(state, **fields)
    bench.wait(5_000)
    return session(bench)


def test_nothing_heard_ever() -> None:
    judgement = judge_now(session(age_us=8_000_000))
    assert judgement.cause is Cause.NOTHING_HEARD
    assert judgement.verdict == "it never came up: nothing was heard from 192.0.2.2 in 8 s."
    passive = replace(FAST, passive=True)
    assert judge_now(session(Bench(passive))).verdict.endswith("wait until it speaks.")


def test_nothing_heard_for_long() -> None:
    bench = Bench().bring_up()
    bench.wait(20_000_000)
    judgement = judge_now(session(bench))
    assert judgement.cause is Cause.NOTHING_HEARD
    assert judgement.verdict == "nothing has been heard from the peer for 20 s"


def test_only_refused_packets_are_heard() -> None:
    bench = Bench()
    for _ in range(3):
        bench.session.losses.ttl = 253
        bench.session.refuse(Discard.TTL)
    explanation = explain(session(bench), ())
    assert explanation.now is not None
    assert explanation.now.cause is Cause.REFUSED
    assert explanation.now.verdict == "its packets are refused: TTL 253, minimum 255 (3 packets)"
    assert explanation.now.advice == (
        (
            "set minTTL: 253 for this peer if it is 2 routers away "
            "('vegd sessions set 192.0.2.2 --min-ttl 253' does it at once)"
        ),
    )


def test_the_peer_is_heard_but_does_not_see_us() -> None:
    judgement = judge_now(heard(State.DOWN, sees_us=False))
    assert judgement.cause is Cause.NOT_HEARD
    assert judgement.verdict.startswith("the peer says Down, but does not see us")


def test_the_peer_holds_it_down() -> None:
    judgement = judge_now(heard(State.ADMIN_DOWN, sees_us=True, diagnostic=7))
    assert judgement.cause is Cause.PEER_ADMIN_DOWN
    assert "diagnostic 7, administratively down" in judgement.verdict


def test_it_is_coming_up() -> None:
    judgement = judge_now(heard(State.DOWN, sees_us=True))
    assert judgement.verdict.startswith("it is coming up: we say Init, the peer says Down")


def test_our_packets_cannot_be_sent() -> None:
    bench = Bench()
    bench.session.not_sent("EADDRNOTAVAIL", bench.now_us)
    judgement = judge_now(session(bench))
    assert judgement.cause is Cause.NOT_SENT
    assert "the local address is not on this machine" in judgement.verdict


def test_held_down_by_the_operator() -> None:
    bench = Bench(replace(FAST, enabled=False))
    explanation = explain(session(bench, override=Override(admin_down=True)), ())
    assert explanation.now is not None
    assert explanation.now.verdict == "we took it down: disabled by the operator"
    assert explanation.now.advice == ("'vegd sessions admin-up 192.0.2.2' ends that",)


def test_held_down_because_the_gateway_cannot_forward() -> None:
    config = replace(FAST, enabled=False, disabled_diag=Diagnostic.PATH_DOWN)
    assert "Path Down" in judge_now(session(Bench(config))).verdict


def test_the_newest_down_of_this_session_is_explained_and_no_other() -> None:
    up = session(Bench().bring_up())
    other = replace(down(), key=SessionKey("192.0.2.1", "192.0.2.9"), seq=9)
    older = replace(down(), seq=3)
    vain = replace(down(), old=State.INIT, seq=8)
    explanation = explain(up, (older, down(), vain, other))
    assert (explanation.down, explanation.now) == (down(), None)
    assert explain(up, (vain, other)).last_down is None


def test_an_explanation_is_json() -> None:
    change = StateChange(0.0, State.UP, State.DOWN, EXPIRED, "x")
    told = explain(session(last_change=change), (down(),)).to_json()
    assert json.loads(json.dumps(told)) == told
    assert told["last_down"]["cause"] == "peer silent"
    assert (told["peer"], told["state"]) == ("192.0.2.2", "Down")
