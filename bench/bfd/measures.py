"""The measurements: each brings up one daemon, looks at it for a while, and returns samples.

A measurement returns samples by the name of a measure; the report pools those of several rounds.
What a daemon cannot do (its sessions do not come up) is a remark, not a figure.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.bfd.capture import Wanted, detections_ms, gaps_ms
from bench.bfd.daemons import DAEMONS
from bench.bfd.meeting import Meeting, ladder, meeting, star
from bench.support.cgroups import NoGroups, cpu_group
from bench.support.processes import cpu_ns, end, rss_mb

_SETTLE_S = 1.0
_SUFFIXES = {"loop": "", "one address": "_one_address", "BIRD": "_against_bird"}
_LOOPS = 4
_CORES = 2
QUOTA, SHARES = 0.3, 204

Samples = dict[str, list[float]]


class Trial(NamedTuple):
    """One measurement of one daemon."""

    group: str
    """What `--only` selects."""
    daemon: str
    sessions: int
    seconds: float
    run: Callable[["Trial"], "Outcome"]
    interval_ms: int = 100
    peer: str = "loop"

    @property
    def label(self) -> str:
        """For the progress line."""
        against = {"loop": "", "one address": " from one address", "BIRD": " against BIRD"}[
            self.peer
        ]
        return f"{self.group} {self.sessions} x {self.interval_ms} ms{against}: {self.daemon}"


class Outcome(NamedTuple):
    """Samples by measure, and what a reader should know."""

    samples: Samples
    remark: str = ""


def _pairs(trial: Trial) -> Sequence[tuple[str, str]]:
    return star(trial.sessions) if trial.peer == "one address" else ladder(trial.sessions)


def cost(trial: Trial) -> Outcome:
    """CPU time per second of wall clock once everything has settled, and memory at the end."""
    with meeting(trial.daemon, _pairs(trial), trial.interval_ms, peer=trial.peer) as met:
        met.wait_until_up()
        time.sleep(_SETTLE_S)
        pid = met.daemon.process.pid
        flaps = _flaps(met)
        cpu, wall = cpu_ns(pid), time.monotonic_ns()
        time.sleep(trial.seconds)
        cpu, wall = cpu_ns(pid) - cpu, time.monotonic_ns() - wall
        flaps = _flaps(met) - flaps
        suffix = f"_{trial.interval_ms}ms" + _SUFFIXES[trial.peer]
        samples = {f"cpu{suffix}": [cpu / wall * 1000]}
        if trial.peer == "loop" and trial.interval_ms == 100:
            samples["rss"] = [rss_mb(pid)]
        return Outcome(samples, f"{flaps} flaps meanwhile" if flaps else "")


def _flaps(met: Meeting) -> int:
    """Sessions that either end has lost so far."""
    if not hasattr(met.peer, "status"):
        return 0
    status = met.peer.status()
    return status["told_down"] + status["expired"]


def detection(trial: Trial) -> Outcome:
    """The peer falls silent again and again; how late the Down packet leaves.

    The loop peer silences one session at a time at random; BIRD is stopped as a whole.
    """
    with meeting(
        trial.daemon,
        _pairs(trial),
        trial.interval_ms,
        peer=trial.peer,
        capture=True,
        mute_s=(0.15, 0.3),
    ) as met:
        assert met.capture is not None
        deadline = time.monotonic() + trial.seconds
        if trial.peer == "BIRD":
            while time.monotonic() < deadline:
                met.wait_until_up()
                time.sleep(0.3)
                met.peer.process.send_signal(signal.SIGSTOP)
                time.sleep(0.001 * trial.interval_ms * 5)
                met.peer.process.send_signal(signal.SIGCONT)
        else:
            time.sleep(trial.seconds)
        suffix = _SUFFIXES[trial.peer]
        return Outcome({f"detection{suffix}": detections_ms(met.capture.read())})


def start(trial: Trial) -> Outcome:
    """From the start of the program to its first packet, and to Up with a prompt peer."""
    with meeting(trial.daemon, _pairs(trial), trial.interval_ms, capture=True) as met:
        assert met.capture is not None
        began = met.daemon.started_ns
        first = met.capture.wait_for(Wanted(sent=True), 5)
        up = met.capture.wait_for(Wanted(sent=True, state=3), 10)
        samples = {}
        if first is not None:
            samples["first_packet"] = [(first.at_ns - began) / 1e6]
        if up is not None:
            samples["up"] = [(up.at_ns - began) / 1e6]
        return Outcome(samples, "" if up else "not up within 10 s")


def spacing(trial: Trial) -> Outcome:
    """The distances between periodic packets, in percent of the interval."""
    with meeting(trial.daemon, _pairs(trial), trial.interval_ms, capture=True) as met:
        assert met.capture is not None
        met.wait_until_up()
        time.sleep(_SETTLE_S)
        for _ in met.capture.read():
            pass
        time.sleep(trial.seconds)
        gaps = gaps_ms(met.capture.read())
        return Outcome({"spacing": [gap / trial.interval_ms * 100 for gap in gaps]})


@contextlib.contextmanager
def _busy(count: int, cores: set[int]) -> Iterator[None]:
    loops = []
    try:
        for _ in range(count):
            loops.append(subprocess.Popen([sys.executable, "-Ic", "while True: pass"], text=True))
            os.sched_setaffinity(loops[-1].pid, cores)
        yield
    finally:
        for loop in loops:
            end(loop)


def pressure(trial: Trial) -> Outcome:
    """Flaps on both ends, while quota, weight and busy loops starve the daemon."""
    cores = set(sorted(os.sched_getaffinity(0))[:_CORES])
    try:
        with (
            cpu_group(QUOTA, SHARES) as group,
            meeting(
                trial.daemon.removesuffix(" without CAP_SYS_NICE"),
                _pairs(trial),
                trial.interval_ms,
                groups=[group],
                without_nice=trial.daemon.endswith("CAP_SYS_NICE"),
            ) as met,
        ):
            for thread in Path(f"/proc/{met.daemon.process.pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), cores)
            met.wait_until_up()
            time.sleep(_SETTLE_S)
            with _busy(_LOOPS, cores):
                time.sleep(_SETTLE_S)
                flaps = _flaps(met)
                time.sleep(trial.seconds)
                flaps = _flaps(met) - flaps
            return Outcome({"flaps": [float(flaps)]}, met.daemon.remark())
    except NoGroups as exc:
        return Outcome({}, str(exc))


def can(daemon: str, sessions: int, interval_ms: int) -> bool:
    """Whether a daemon is asked for so much."""
    return sessions <= DAEMONS[daemon].most.get(interval_ms, 1)
