"""The last transitions of every session, with their evidence, and of the engine as a whole.

Each transition has a sequence number, counted up over the life of the engine, so that whoever
follows them notices a gap. A session's own ring does not lose its last Down, neither to a neighbour
that flaps nor to its own vain attempts; the engine's ring is for following.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bfd.config import SessionKey
from bfd.evidence import ProcessFacts, SessionFacts
from bfd.fsm import Diagnostic, State

_PER_SESSION = 64
_PER_SESSION_AT_LEAST = 8
_TOTAL = 8192
_FOLLOWED = 1024

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of one session's state."""

    seq: int
    """Its number in this engine, from 1."""
    key: SessionKey
    at: float
    """Seconds since 1970."""
    old: State
    new: State
    diag: Diagnostic
    """Ours, from then on."""
    reason: str
    session: SessionFacts
    process: ProcessFacts

    @property
    def heard_at(self) -> float | None:
        """When the last accepted packet before the change had arrived, in seconds since 1970."""
        silent_us = self.session.silent_us
        return None if silent_us is None else self.at - silent_us / 1_000_000

    @property
    def ended_up(self) -> bool:
        """Whether this is how a session stopped being Up."""
        return self.old is State.UP

    def to_json(self) -> Json:
        """As a JSON object of less than 4 kB; enumerations by number."""
        return {
            "seq": self.seq,
            **self.key._asdict(),
            "at": self.at,
            "old": int(self.old),
            "new": int(self.new),
            "diag": int(self.diag),
            "reason": self.reason,
            "session": self.session.to_json(),
            "process": self.process.to_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Transition":
        """Read back what `to_json` made; KeyError, TypeError or ValueError on anything else."""
        return cls(
            seq=document["seq"],
            key=SessionKey(*(document[name] for name in SessionKey._fields)),
            at=document["at"],
            old=State(document["old"]),
            new=State(document["new"]),
            diag=Diagnostic(document["diag"]),
            reason=document["reason"],
            session=SessionFacts.from_json(document["session"]),
            process=ProcessFacts.from_json(document["process"]),
        )


class History:
    """See the module."""

    def __init__(self) -> None:
        self._by_key: dict[SessionKey, deque[Transition]] = {}
        self._latest: deque[Transition] = deque(maxlen=_FOLLOWED)
        self.seq = 0
        """Number of the newest transition; 0 before the first."""

    def add(self, transition: Transition) -> None:
        """Keep a transition; its number must be the next one."""
        self.seq = transition.seq
        self._latest.append(transition)
        # The session that has just changed moves to the end; the first is the one to forget.
        ring = self._by_key.pop(transition.key, None)
        if ring is None:
            ring = deque()
        self._by_key[transition.key] = ring
        ring.append(transition)
        most = max(_PER_SESSION_AT_LEAST, min(_PER_SESSION, _TOTAL // len(self._by_key)))
        while len(ring) > most:
            _drop_oldest(ring)
        if len(self._by_key) > _TOTAL:
            del self._by_key[next(iter(self._by_key))]

    def of(self, peer: str | None = None) -> tuple[Transition, ...]:
        """What is kept of the sessions with a peer (of all: None), oldest first."""
        found = [
            transition
            for key, ring in self._by_key.items()
            if peer is None or key.peer == peer
            for transition in ring
        ]
        return tuple(sorted(found, key=lambda transition: transition.seq))

    def after(self, seq: int) -> tuple[int, tuple[Transition, ...]]:
        """How many transitions after `seq` are lost, and those that are not."""
        kept = tuple(transition for transition in self._latest if transition.seq > seq)
        return self.seq - seq - len(kept), kept


def _drop_oldest(ring: deque[Transition]) -> None:
    """Drop one; but how the session was last Up stays, however often it has tried since."""
    oldest = ring.popleft()
    if oldest.ended_up and not any(transition.ended_up for transition in ring):
        ring.popleft()
        ring.appendleft(oldest)
