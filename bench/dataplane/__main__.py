"""``python -m bench.dataplane``: run it. ``make bench-dataplane`` prepares what it needs."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.dataplane import measures
from bench.dataplane.report import Results, write
from bench.dataplane.site import KUBE_OVN, NO_SNAT, PLAIN, VEGD
from bench.support.namespaces import sweep

_ROOT = Path(__file__).parents[2]


class Size(NamedTuple):
    """How long and how often."""

    rounds: int
    traffic_s: float
    rest_s: float
    scrape_s: float


FULL = Size(5, 5, 20, 30)
QUICK = Size(2, 2, 5, 12)


class Trial(NamedTuple):
    """One measurement of one system."""

    system: str
    n: int
    run: Callable[[], measures.Samples]


def trials(size: Size) -> Iterator[Trial]:
    """All of them; rounds are outside, and nobody is always the first."""
    systems = [PLAIN, KUBE_OVN, VEGD, NO_SNAT]
    for turn in range(size.rounds):
        for n in (1, 1000, 100_000):
            yield Trial(VEGD, n, partial(measures.sources, n))
        shift = turn % len(systems)
        for system in [*systems[shift:], *systems[:shift]]:
            yield Trial(system, 1, partial(measures.traffic, system, size.traffic_s))
        for n in (1, 2, 4, 8):
            yield Trial(VEGD, n, partial(measures.external_addresses, n, size.traffic_s))
        yield Trial(VEGD, 10, partial(measures.at_rest, size.rest_s))
        for n in (0, 100_000):
            yield Trial(VEGD, n, partial(measures.scrapes, n, size.scrape_s))


def _stop(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run; the exit status."""
    parser = argparse.ArgumentParser(prog="bench.dataplane", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 minutes instead of 10")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.stderr.write("bench.dataplane: network namespaces need root\n")
        return 2
    signal.signal(signal.SIGTERM, _stop)
    sweep()
    results, status, failed = Results(), 0, False
    planned = list(trials(QUICK if options.quick else FULL))
    begin = time.monotonic()
    try:
        for number, trial in enumerate(planned):
            name = trial.run.func.__name__  # type: ignore[attr-defined]
            print(f"[{number + 1}/{len(planned)}] {name} {trial.n}: {trial.system}", end=": ")
            sys.stdout.flush()
            try:
                samples = trial.run()
            except RuntimeError as exc:
                failed = True
                results.remarks.append(f"{name} {trial.n}: {trial.system}: {exc}")
                print(exc)
                continue
            results.add(trial.system, trial.n, samples)
            print(", ".join(f"{what} {values[0]:.4g}" for what, values in samples.items()))
    except KeyboardInterrupt:
        print("interrupted: everything is torn down; what was measured so far is reported")
        status = 130
    print(f"took {(time.monotonic() - begin) / 60:.1f} min\n")
    whole = not options.quick and not status
    directory = _ROOT / ("bench/results" if whole else ".cache/bench")
    print(write(results, directory, whole=whole).read_text())
    return status or int(failed)


if __name__ == "__main__":
    sys.exit(main())
