"""Why a BFD session is not Up, or was not: the evidence of the engine judged, in plain words. Pure.

A judgement is a verdict in one sentence, what to do about it where that is known, and the facts
that it rests on. The verdict names the *nearest* cause that the evidence proves; what it cannot
tell it does not claim.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from bfd.evidence import ProcessFacts, SessionFacts
from bfd.fsm import Diagnostic, State
from bfd.history import Transition
from bfd.snapshot import SessionSnapshot
from vegd import words
from vegd.words import count, duration, state_name

_FRESH_US = 3_500_000
"""A peer that is not Up sends at least once a second (RFC 5880 §6.8.3): three times nothing."""


class Cause(StrEnum):
    """What kind of a reason it is."""

    PEER_SILENT = "peer silent"
    PEER_DOWN = "peer down"
    PEER_ADMIN_DOWN = "peer admin down"
    NOT_HEARD = "peer does not hear us"
    STARVED = "we were starved"
    OVERFLOW = "receive buffer overflow"
    REFUSED = "packets refused"
    NOT_SENT = "packets not sent"
    OURS = "taken down by us"
    NOTHING_HEARD = "nothing heard"
    COMING_UP = "coming up"


@dataclass(frozen=True, slots=True)
class Judgement:
    """See the module."""

    cause: Cause
    verdict: str
    advice: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "cause": self.cause.value,
            "verdict": self.verdict,
            "advice": list(self.advice),
            "facts": list(self.facts),
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """One session explained."""

    session: SessionSnapshot
    down: Transition | None
    """How it was last Up; None when that has not happened, as far as is known."""
    last_down: Judgement | None
    """Why it went down then."""
    now: Judgement | None
    """What keeps it from being Up now; None while it is."""

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            **self.session.key._asdict(),
            "state": state_name(self.session.state),
            "last_down": self.last_down and self.last_down.to_json(),
            "now": self.now and self.now.to_json(),
            "transition": self.down and self.down.to_json(),
        }


def explain(session: SessionSnapshot, history: Iterable[Transition]) -> Explanation:
    """Explain a session by the transitions that are kept of it (of others, too: they are left out).

    `history` is in the order of time.
    """
    downs = [each for each in history if each.key == session.key and each.ended_up]
    down = downs[-1] if downs else None
    last_down = None if down is None else judge_down(down)
    now = None if session.state is State.UP else judge_now(session)
    return Explanation(session, down, _named(last_down, session), _named(now, session))


def _named(judgement: Judgement | None, session: SessionSnapshot) -> Judgement | None:
    """With the peer's address in the commands of the advice."""
    if judgement is None:
        return None
    advice = tuple(text.replace("PEER", session.key.peer) for text in judgement.advice)
    return replace(judgement, advice=advice)


# The last Down --------------------------------------------------------------------------------


def judge_down(down: Transition) -> Judgement:
    """Why a session that was Up went down."""
    return replace(_cause_of(down), facts=(*_session_facts(down), *_process_facts(down.process)))


def _cause_of(down: Transition) -> Judgement:
    if down.new is State.ADMIN_DOWN:
        return _by_us(down.reason, down.diag)
    if down.diag is Diagnostic.NEIGHBOR_SIGNALED_SESSION_DOWN:
        return _by_peer(down)
    return _by_silence(down)


def _by_us(reason: str, diag: Diagnostic) -> Judgement:
    if diag is Diagnostic.PATH_DOWN:
        return Judgement(
            Cause.OURS,
            "we took it down, because this gateway could not forward (Path Down)",
            ("'vegd status' says what the dataplane is missing",),
        )
    if "operator" in reason:
        return Judgement(
            Cause.OURS,
            "we took it down: disabled by the operator",
            ("'vegd sessions admin-up PEER' ends that",),
        )
    return Judgement(Cause.OURS, f"we took it down: {reason}")


def _by_peer(down: Transition) -> Judgement:
    facts = down.session
    said = f"diagnostic {words.diagnostic(facts.remote_diag)}"
    if facts.remote_state is State.ADMIN_DOWN:
        return Judgement(
            Cause.PEER_ADMIN_DOWN,
            f"the peer said AdminDown ({said}): it was taken down on purpose over there",
        )
    if facts.remote_diag is not Diagnostic.CONTROL_DETECTION_TIME_EXPIRED:
        return Judgement(Cause.PEER_DOWN, f"the peer said Down ({said})")
    if facts.unsent:
        return Judgement(
            Cause.NOT_SENT,
            f"our packets could not be sent: {_errors(facts.unsent)}; "
            f"so the peer said Down ({said})",
        )
    if (starved := _starved(down, facts.peer_detection_time_us // 2)) is not None:
        return starved
    return Judgement(
        Cause.NOT_HEARD,
        f"the peer no longer heard us and said Down ({said}), though we were on time: "
        "our packets were lost on the way, or refused or read too late over there",
    )


def _by_silence(down: Transition) -> Judgement:
    facts = down.session
    if facts.refused:
        texts, advice = _refusals(facts.refused, facts.refused_ttl, facts.min_ttl)
        return Judgement(Cause.REFUSED, f"its packets were refused: {texts}", advice)
    if down.process.overflows:
        lost = count(down.process.overflows, "packet")
        return Judgement(
            Cause.OVERFLOW, f"we were flooded: {lost} found no room in our receive buffers"
        )
    # What had arrived was read before the silence was judged, so our own delay makes no silence;
    # but a peer that has not heard us for that long has given us up, and may have stopped.
    if (starved := _starved(down, facts.peer_detection_time_us)) is not None:
        return starved
    silent = duration(facts.silent_us or facts.detection_time_us)
    return Judgement(
        Cause.PEER_SILENT,
        f"the peer fell silent: nothing arrived from it for {silent}",
        ("is it running, and does the link carry its packets?",),
    )


def _starved(down: Transition, enough_us: int) -> Judgement | None:
    """The judgement that the engine got too little time, if it was late by `enough_us`."""
    late_us, waits_us = down.process.late_us, down.session.peer_detection_time_us
    if not waits_us or late_us < enough_us:
        return None
    why = ""
    advice = "give the engine more of the processor, or the sessions longer intervals"
    if down.process.throttled_periods:
        why = (
            f", its CPU quota was used up {count(down.process.throttled_periods, 'time')} "
            f"(throttled for {duration(down.process.throttled_us or 0)})"
        )
        advice = "raise or remove the CPU limit of the engine's cgroup"
    elif (down.process.waited_us or 0) * 2 > late_us:
        why = f", it waited {duration(down.process.waited_us or 0)} for a processor"
    return Judgement(
        Cause.STARVED,
        f"we were starved: the engine was up to {duration(late_us)} late, where the peer waits "
        f"{duration(waits_us)} for us{why}",
        (advice,),
    )


def _session_facts(down: Transition) -> Iterator[str]:
    facts = down.session
    heard = "nothing was ever heard"
    if facts.silent_us is not None and down.heard_at is not None:
        heard = (
            f"the last packet had arrived {duration(facts.silent_us)} before, "
            f"at {words.moment(down.heard_at, fractions=True)}"
        )
    yield (
        f"{state_name(down.old)} to {state_name(down.new)} at "
        f"{words.moment(down.at, fractions=True)}; {heard}"
    )
    yield (
        f"the peer had last said {state_name(facts.remote_state)}, "
        f"diagnostic {words.diagnostic(facts.remote_diag)}"
    )
    if facts.missed:
        yield (
            f"{count(facts.missed, 'packet')} missed (one at least every "
            f"{duration(facts.peer_interval_us)}, detection time "
            f"{duration(facts.detection_time_us)})"
        )
    yield from _losses(facts)


def _losses(facts: SessionFacts) -> Iterator[str]:
    if facts.refused:
        texts, _ = _refusals(facts.refused, facts.refused_ttl, facts.min_ttl)
        yield f"refused since then: {texts}"
    if facts.unsent:
        yield f"not sent: {_errors(facts.unsent)}"


def _process_facts(process: ProcessFacts) -> Iterator[str]:
    worst = f"up to {duration(process.late_us)} late" if process.late_us else "on time"
    stalls = f", {count(process.stalls, 'stall')}" if process.stalls else ""
    yield f"we in the last {duration(process.window_us)}: {worst}{stalls}"
    if process.throttled_periods is None:
        yield "the cgroup's CPU quota: not visible from here"
    elif process.throttled_periods:
        yield (
            f"the cgroup's CPU quota was used up in {count(process.throttled_periods, 'period')}, "
            f"throttled for {duration(process.throttled_us or 0)} over all processors"
        )
    if process.waited_us:
        yield f"the engine waited {duration(process.waited_us)} for a processor"
    if process.overflows:
        yield f"{count(process.overflows, 'packet')} found no room in our receive buffers"


# Now ------------------------------------------------------------------------------------------


def judge_now(session: SessionSnapshot) -> Judgement:
    """What keeps a session from being Up at this moment."""
    if session.state is State.ADMIN_DOWN:
        reason = "disabled by configuration"
        if session.override.admin_down:
            reason = "disabled by the operator"
        elif session.last_change is not None:
            reason = session.last_change.reason
        return _by_us(reason, session.local_diag)
    return replace(_hindrance(session), facts=tuple(_facts_now(session)))


def _hindrance(session: SessionSnapshot) -> Judgement:
    if session.refused:
        texts, advice = _refusals(session.refused, session.refused_ttl, session.config.min_ttl)
        return Judgement(Cause.REFUSED, f"its packets are refused: {texts}", advice)
    fresh_us = max(_FRESH_US, session.detection_time_us)
    if session.heard_us_ago is not None and session.heard_us_ago <= fresh_us:
        return _heard_now(session)
    if session.send_errors and session.tx_packets == 0:
        return Judgement(
            Cause.NOT_SENT, f"our packets cannot be sent: {_errors(session.send_errors)}"
        )
    if session.heard_us_ago is not None:
        silent = duration(session.heard_us_ago)
        return Judgement(
            Cause.NOTHING_HEARD,
            f"nothing has been heard from the peer for {silent}",
            ("is it running, and does the link carry its packets?",),
        )
    waits = " We are passive and wait until it speaks." if session.config.passive else ""
    return Judgement(
        Cause.NOTHING_HEARD,
        f"it never came up: nothing was heard from {session.key.peer} "
        f"in {duration(session.age_us)}.{waits}",
        (
            f"has the peer a session with {session.key.local}?",
            "do its packets reach this network namespace? ('vegd capture' shows what arrives)",
        ),
    )


def _heard_now(session: SessionSnapshot) -> Judgement:
    said = f"diagnostic {words.diagnostic(session.remote_diag)}"
    if session.remote_state is State.ADMIN_DOWN:
        return Judgement(Cause.PEER_ADMIN_DOWN, f"the peer holds the session AdminDown ({said})")
    if not session.remote_sees_us:
        unsent = f"; not sent: {_errors(session.send_errors)}" if session.send_errors else ""
        return Judgement(
            Cause.NOT_HEARD,
            f"the peer says {state_name(session.remote_state)}, but does not see us: "
            f"none of our packets has been accepted over there{unsent}",
            (
                f"does the peer expect us at {session.key.local}, and with this TTL and keys?",
                "does anything drop UDP on the way to it?",
            ),
        )
    return Judgement(
        Cause.COMING_UP,
        f"it is coming up: we say {state_name(session.state)}, "
        f"the peer says {state_name(session.remote_state)} ({said})",
    )


def _facts_now(session: SessionSnapshot) -> Iterator[str]:
    heard = "never"
    if session.heard_us_ago is not None:
        heard = f"{duration(session.heard_us_ago)} ago"
    yield (
        f"{count(session.rx_packets, 'packet')} accepted (last {heard}), "
        f"{count(session.tx_packets, 'packet')} sent"
    )
    if session.send_errors:
        yield f"not sent: {_errors(session.send_errors)}"


# Words ----------------------------------------------------------------------------------------

_KEYS = "type, key id and key must be the same on both ends"
_REFUSALS = {
    "unknown_discriminator": (
        "they name a discriminator that is not ours, as after a restart of ours",
        "the peer must give it up after its detection time; restart its session if it does not",
    ),
    "authentication": ("authenticated, and we have no key", _KEYS),
    "auth_unexpected": ("authenticated, and we have no key for this session", _KEYS),
    "auth_missing": ("not authenticated, and we ask for it", _KEYS),
    "auth_type": ("another type of authentication than ours", _KEYS),
    "auth_length": ("an authentication section of a wrong length", _KEYS),
    "auth_key_id": ("a key id that we do not have", _KEYS),
    "auth_digest": ("a wrong digest or password: the keys differ", _KEYS),
    "auth_sequence": (
        "an authentication sequence number out of order: an old packet, or the peer restarted",
        "it is accepted again after two detection times of silence",
    ),
    "no_your_discriminator": (
        "they name no discriminator, but say Init or Up",
        "the peer is faulty (RFC 5880 §6.8.6)",
    ),
}


def _refusals(
    refused: Mapping[str, int], ttl: int | None, min_ttl: int
) -> tuple[str, tuple[str, ...]]:
    """What was refused in words, the most frequent first, and what to do about it."""
    texts: list[str] = []
    advice: dict[str, None] = {}
    for label, number in sorted(refused.items(), key=lambda item: -item[1]):
        if label == "ttl":
            text = f"TTL {ttl}, minimum {min_ttl}"
            remedy = (
                f"set minTTL: {ttl} for this peer if it is {count(255 - (ttl or 0), 'router')} "
                f"away ('vegd sessions set PEER --min-ttl {ttl}' does it at once)"
            )
        else:
            text, remedy = _REFUSALS.get(label, (words.plain(label), ""))
        texts.append(f"{text} ({count(number, 'packet')})")
        if remedy:
            advice[remedy] = None
    return "; ".join(texts), tuple(advice)


_ERRORS = {
    "EADDRNOTAVAIL": "the local address is not on this machine",
    "ENETUNREACH": "no route to the peer",
    "EHOSTUNREACH": "the peer's address cannot be resolved on the link, or no route to it",
    "ENETDOWN": "the interface is down",
    "ENODEV": "the interface does not exist",
    "ENXIO": "the interface does not exist",
    "EPERM": "a firewall rule refuses them",
    "ENOBUFS": "the queue of the interface is full",
    "ECONNREFUSED": "nobody listens on the peer's BFD port",
}


def _errors(errors: Mapping[str, int]) -> str:
    return "; ".join(
        f"{name}, {_ERRORS.get(name) or os.strerror(getattr(errno, name, 0))} "
        f"({count(number, 'packet')})"
        for name, number in sorted(errors.items(), key=lambda item: -item[1])
    )
