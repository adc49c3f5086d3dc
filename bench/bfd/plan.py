"""What is measured in which order.

Rounds are outside and daemons inside, so that all see the same machine.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.bfd.measures import Trial, can, cost, detection, pressure, spacing, start

OVERHEAD_S = 4.0
"""Namespaces, start, handshake and end of a trial, for the estimate."""

WITHOUT_NICE = "vegd without CAP_SYS_NICE"


class Size(NamedTuple):
    """How long and how often."""

    cpu_s: float
    cpu_rounds: int
    detection_s: float
    detection_rounds: int
    starts: int
    spacing_s: float
    pressure_s: float
    sessions_100ms: Sequence[int]
    sessions_10ms: Sequence[int]
    against_bird: bool


FULL = Size(6, 2, 14, 3, 15, 12, 60, (1, 64, 512, 1000), (16, 64), against_bird=True)
QUICK = Size(3, 1, 5, 1, 4, 5, 10, (1, 64, 512), (16,), against_bird=False)
SMOKE = Size(1, 1, 1, 1, 1, 1, 2, (1,), (), against_bird=False)


def trials(size: Size, daemons: Sequence[str]) -> Iterator[Trial]:
    """All of them, in order."""
    for _ in range(size.starts):
        yield from _each(daemons, 0, Trial("start", "", 1, 0.0, start, 300))
    for turn in range(size.cpu_rounds):
        yield from _cpu(size, daemons, turn)
    for turn in range(size.detection_rounds):
        trial = Trial("detection", "", 8, size.detection_s, detection, 50)
        yield from _each(daemons, turn, trial)
        if turn == 0 and size.against_bird:
            steady = [d for d in daemons if d != "aiobfd"]
            yield from _each(steady, turn, trial._replace(sessions=4, peer="BIRD"))
    for turn in range(size.cpu_rounds):
        yield from _each(daemons, turn, Trial("spacing", "", 8, size.spacing_s, spacing, 50))
    yield from _each(daemons, 0, Trial("pressure", "", 64, size.pressure_s, pressure))
    if "vegd" in daemons:
        yield Trial("pressure", WITHOUT_NICE, 64, size.pressure_s, pressure)


def _cpu(size: Size, daemons: Sequence[str], turn: int) -> Iterator[Trial]:
    trial = Trial("cpu", "", 1, size.cpu_s, cost)
    for n in size.sessions_100ms:
        yield from _each(daemons, turn, trial._replace(sessions=n))
    for n in size.sessions_10ms:
        yield from _each(daemons, turn, trial._replace(sessions=n, interval_ms=10))
    if size.against_bird:
        fastest = [d for d in daemons if d in {"vegd", "BIRD"}]
        for n in (64, 512):
            yield from _each(fastest, turn, trial._replace(sessions=n, peer="one address"))
        steady = [d for d in daemons if d != "aiobfd"]
        yield from _each(steady, turn, trial._replace(sessions=64, peer="BIRD"))


def _each(daemons: Sequence[str], turn: int, trial: Trial) -> Iterator[Trial]:
    # Nobody is always the first.
    shift = turn % max(len(daemons), 1)
    for daemon in [*daemons[shift:], *daemons[:shift]]:
        if can(daemon, trial.sessions, trial.interval_ms):
            yield trial._replace(daemon=daemon)
