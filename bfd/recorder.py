"""Writes the history: for each transition, how the engine was in the time that led to it.

The kernel's counters say nothing about *when*. So they are sampled, four times a second at most and
only when the engine is awake anyway, and a transition is given the difference between now and the
last sample before the time that matters. All clocks and readings are handed in.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from bfd.actions import StateChanged
from bfd.engine import Engine
from bfd.evidence import ProcessFacts
from bfd.history import History, Transition
from bfd.session import Session
from bfd.vitals import Vitals

_SAMPLE_EVERY_US = 250_000
_FRESH_US = 1_000
_SAMPLES = 128


class _Sample(NamedTuple):
    at_us: int
    stalls: int
    overflows: int
    vitals: Vitals


class Recorder:
    """See the module. `wall` is the clock of the wall in seconds since 1970."""

    def __init__(
        self,
        engine: Engine,
        wall: Callable[[], float],
        read_vitals: Callable[[], Vitals] = Vitals,
        count_overflows: Callable[[], int] = lambda: 0,
    ) -> None:
        self.history = History()
        self._engine = engine
        self._wall = wall
        self._read_vitals = read_vitals
        self._count_overflows = count_overflows
        self._samples: deque[_Sample] = deque(maxlen=_SAMPLES)
        self._next_us = 0

    def awake(self, now_us: int) -> None:
        """The engine is awake: a chance to sample."""
        if now_us >= self._next_us:
            self._sample(now_us)

    def changed(self, session: Session, change: StateChanged, now_us: int) -> Transition:
        """Record a transition."""
        facts = change.facts
        window_us = max(facts.silent_us or 0, facts.detection_time_us, facts.peer_detection_time_us)
        transition = Transition(
            seq=self.history.seq + 1,
            key=session.key,
            at=round(self._wall() - (now_us - change.at_us) / 1_000_000, 6),
            old=change.old,
            new=change.new,
            diag=change.diag,
            reason=change.reason,
            session=facts,
            process=self._since(now_us - window_us, now_us),
        )
        self.history.add(transition)
        return transition

    def _since(self, from_us: int, now_us: int) -> ProcessFacts:
        now = self._samples[-1] if self._samples else None
        if now is None or now_us - now.at_us >= _FRESH_US:
            now = self._sample(now_us)
        then = next(
            (sample for sample in reversed(self._samples) if sample.at_us <= from_us),
            self._samples[0],
        )
        return ProcessFacts(
            window_us=now_us - then.at_us,
            late_us=self._engine.worst.since(then.at_us),
            stalls=max(0, now.stalls - then.stalls),
            throttled_periods=_more(now.vitals.throttled_periods, then.vitals.throttled_periods),
            throttled_us=_more(now.vitals.throttled_us, then.vitals.throttled_us),
            waited_us=_more(now.vitals.waited_us, then.vitals.waited_us),
            overflows=max(0, now.overflows - then.overflows),
        )

    def _sample(self, now_us: int) -> _Sample:
        self._next_us = now_us + _SAMPLE_EVERY_US
        sample = _Sample(
            now_us, self._engine.stalls.count, self._count_overflows(), self._read_vitals()
        )
        self._samples.append(sample)
        return sample


def _more(now: int | None, then: int | None) -> int | None:
    return None if now is None or then is None else max(0, now - then)
