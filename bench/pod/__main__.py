"""``python -m bench.pod``: run it. ``make bench-pod`` prepares what it needs."""

import argparse
import os
import signal
import sys
from pathlib import Path

from bench.pod import measures
from bench.pod.measures import Limits, Load
from bench.pod.report import Results, write
from bench.support.namespaces import sweep

_ROOT = Path(__file__).parents[2]
_MASTER = Limits("300m, 64 MiB", 0.3, 64)
_OTHERS = (Limits("200m, 50 MiB", 0.2, 50), Limits("50m, 50 MiB", 0.05, 50))
"""Of Kube-OVN 1.16.2 and 1.16.0, where nothing else is asked for."""
_FULL = Load(changes=10_000, scrapes=5_000, requests=1_000, probes=100, flaps=50, rest_s=20)
_QUICK = Load(changes=1_000, scrapes=200, requests=200, probes=10, flaps=3, rest_s=5)


def _stop(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run; the exit status."""
    parser = argparse.ArgumentParser(prog="bench.pod", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 minutes instead of 10")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.stderr.write("bench.pod: network namespaces and control groups need root\n")
        return 2
    signal.signal(signal.SIGTERM, _stop)
    sweep()
    load, rounds = (_QUICK, 1) if options.quick else (_FULL, 3)
    results = Results()
    for limits in (_MASTER, *_OTHERS):
        for _ in range(rounds):
            results.add(limits.name, measures.start(limits))
            print(f"start with {limits.name}: done", flush=True)
    results.add(_MASTER.name, measures.hour(load, _MASTER))
    directory = _ROOT / (".cache/bench" if options.quick else "bench/results")
    directory.mkdir(parents=True, exist_ok=True)
    print(write(results, load, directory, quick=options.quick))
    return 0


raise SystemExit(main())
