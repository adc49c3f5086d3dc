"""The status of ``kube-ovn-bfdd-supervisor``, made from looks at our engine.

Kube-OVN's supervisor heals OpenBFDD: where a session stays down it replays the configuration, then
resets the session, then restarts the daemon, and after a while gives up for an hour. Our engine
needs no such help, it goes on trying by itself; so `Attempts` stays 0 and `LastAction` None. The
phases pass by time alone, at the moments at which Kube-OVN's supervisor would have come to them
(`phase_of`), so that whoever is alarmed by them is alarmed as before.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bfd.config import SessionConfig, SessionKey
from bfd.fsm import State
from bfd.snapshot import EngineSnapshot
from vegd.compat.openbfdd import STATES

Json = dict[str, Any]

_LIVE_WITHOUT_ANSWER_S = 15.0
"""An engine that is exchanged or started again keeps its sessions; nobody must kill us for it."""
_GRACE_S = 60.0
_GRACE_DETECTION_TIMES = 10
_BACKOFFS_S = 60.0 + 300.0 + 1_800.0
_NEVER = "0001-01-01T00:00:00Z"
"""How Go writes that there is no time."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The engine as it was looked at so far. Times are seconds of the monotonic clock."""

    at: float = 0.0
    engine: EngineSnapshot | None = None
    """At the last look; None when it did not answer."""
    failures: int = 0
    """Looks without an answer since the last answer."""
    answered_at: float | None = None
    down_since: Mapping[SessionKey, float] = field(default_factory=dict)
    """Of the sessions that are not Up, since the first look at which they were not."""

    def look(
        self, engine: EngineSnapshot | None, wanted: tuple[SessionConfig, ...], at: float
    ) -> "Seen":
        """What is known after another look."""
        keys = {config.key for config in wanted}
        if engine is None:
            since = {key: self.down_since.get(key, at) for key in keys & self.down_since.keys()}
            return Seen(at, None, self.failures + 1, self.answered_at, since)
        up = {each.key for each in engine.sessions if each.state is State.UP}
        since = {key: self.down_since.get(key, at) for key in keys - up}
        return Seen(at, engine, 0, at, since)

    def state_of(self, key: SessionKey) -> State | None:
        """The state of a session; None when it is unknown."""
        for each in self.engine.sessions if self.engine else ():
            if each.key == key:
                return each.state
        return None

    @property
    def is_live(self) -> bool:
        """Whether the engine answers, or did a moment ago."""
        return self.answered_at is not None and self.at - self.answered_at < _LIVE_WITHOUT_ANSWER_S


class SessionStatus(NamedTuple):
    """One session that is wanted."""

    key: SessionKey
    state: str
    """In OpenBFDD's words; empty when it is unknown."""
    phase: str
    down_s: float
    """For how long it has not been Up."""


@dataclass(frozen=True, slots=True)
class Status:
    """What the supervisor answers."""

    live: bool
    sessions: tuple[SessionStatus, ...]
    control_failures: int
    restarts: int

    @property
    def up(self) -> int:
        """How many sessions are Up."""
        return sum(each.state == STATES[State.UP] for each in self.sessions)

    @property
    def ready(self) -> bool:
        """Whether there are sessions and all are Up."""
        return 0 < len(self.sessions) == self.up

    def to_json(self) -> Json:
        """With the names of Kube-OVN's supervisor."""
        return {
            "Live": self.live,
            "Ready": self.ready,
            "Sessions": [
                {
                    "Pair": {"Local": each.key.local, "Remote": each.key.peer},
                    "State": each.state,
                    "Phase": each.phase,
                    "Attempts": 0,
                    "LastAction": "None",
                    "LastResult": "",
                    "NextRetry": _NEVER,
                }
                for each in self.sessions
            ],
            "ControlFailures": self.control_failures,
            "LastControlError": "the BFD engine does not answer" if self.control_failures else "",
            "ChildRestarts": self.restarts,
            "ChildRecoveryAttempts": 0,
            "ChildNextRetry": _NEVER,
            "ChildCircuitOpen": False,
        }


def status_of(seen: Seen, wanted: tuple[SessionConfig, ...], restarts: int) -> Status:
    """The status after the last look; `restarts` counts those of the engine."""
    sessions = []
    for config in sorted(wanted, key=lambda config: config.key):
        state = seen.state_of(config.key)
        down_s = seen.at - seen.down_since.get(config.key, seen.at)
        phase = "Up" if state is State.UP else phase_of(config, down_s)
        word = "" if state is None else STATES[state]
        sessions.append(SessionStatus(config.key, word, phase, down_s))
    return Status(seen.is_live, tuple(sessions), seen.failures, restarts)


def phase_of(config: SessionConfig, down_s: float) -> str:
    """How Kube-OVN's supervisor calls it that a session has not been Up for so long."""
    slowest_us = max(config.desired_min_tx_us, config.required_min_rx_us)
    detection_s = config.detect_mult * slowest_us / 1_000_000
    grace_s = max(_GRACE_S, _GRACE_DETECTION_TIMES * detection_s)
    if down_s < grace_s:
        return "Grace"
    return "Backoff" if down_s < grace_s + _BACKOFFS_S else "CircuitOpen"


def answer(request: str, status: Status) -> bytes:
    """The line that answers a line."""
    document: Json = {"status": status.to_json()}
    match request.strip():
        case "live":
            error = "" if status.live else "BFD supervisor is not live"
        case "ready":
            error = "" if status.ready else "expected BFD sessions are not ready"
        case "status":
            error = ""
        case other:
            error = f"unknown supervisor request {json.dumps(other)}"
    if error:
        document["error"] = error
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"
