"""How the engine of this process is shown to clients of the control socket."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from bfd.engine import Engine
from bfd.logs import QueueingHandler
from bfd.realtime import Scheduling
from bfd.session import Session
from bfd.snapshot import EngineSnapshot, Histogram, SessionSnapshot, describe, label_discards
from bfd.vitals import VitalsReader

_IDLE_SHOWN = 16


class Socket(Protocol):
    """A receiving socket, as far as it is shown."""

    @property
    def label(self) -> str:
        """Its name in counters."""

    @property
    def overflows(self) -> int:
        """Packets that found no room in it."""


class Shown(Protocol):
    """What is shown: `bfd.driver.Driver`, which documents it."""

    @property
    def engine(self) -> Engine:
        """The engine that it drives."""

    @property
    def receivers(self) -> Sequence[Socket]:
        """The receiving sockets."""

    @property
    def key_faults(self) -> tuple[str, ...]:
        """Which key files cannot be used."""


class ProcessViews:
    """Snapshots of the engine. `clock` is its clock in microseconds."""

    def __init__(
        self,
        shown: Shown,
        clock: Callable[[], int],
        scheduling: Scheduling,
        vitals: VitalsReader,
    ) -> None:
        self._shown = shown
        self._clock = clock
        self._scheduling = scheduling
        self._vitals = vitals
        self._started_at = time.time()
        self.memory = "not locked"
        """What `realtime.lock_memory` said."""

    def head(self) -> EngineSnapshot:
        """The engine without its sessions."""
        engine = self._shown.engine
        in_set = {config.key for config in engine.committed()} | set(engine.guests.present())
        return EngineSnapshot(
            generation=engine.generation,
            pid=os.getpid(),
            started_at=self._started_at,
            sessions=(),
            discards=label_discards(engine.discards),
            transmit_lateness=Histogram.of(engine.transmit_lateness),
            detection_lateness=Histogram.of(engine.detection_lateness),
            stalls=engine.stalls.count,
            longest_stall_us=engine.stalls.longest_us,
            stalled_us=engine.stalls.total_us,
            overflows=_overflows(self._shown.receivers),
            vitals=self._vitals.read(),
            cpu_limit=self._vitals.cpu_limit(),
            memory=self.memory,
            log_lines_lost=_log_lines_lost(),
            key_faults=self._shown.key_faults,
            idle_overrides=tuple(sorted(engine.overrides.keys() - in_set)[:_IDLE_SHOWN]),
            scheduling=str(self._scheduling),
            draining=engine.draining,
        )

    def session(self, session: Session, /) -> SessionSnapshot:
        """One session."""
        override = self._shown.engine.overrides.get(session.key)
        return describe(session, self._clock(), time.time(), override)


def _overflows(receivers: Sequence[Socket]) -> dict[str, int]:
    """By label; two sockets may share one."""
    overflows = dict.fromkeys((each.label for each in receivers), 0)
    for each in receivers:
        overflows[each.label] += each.overflows
    return overflows


def _log_lines_lost() -> int:
    handlers = logging.getLogger().handlers
    return sum(each.dropped for each in handlers if isinstance(each, QueueingHandler))
