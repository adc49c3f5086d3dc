"""``python -m bench.bfd``: run the benchmark. ``make bench-bfd`` prepares what it needs."""

import argparse
import os
import resource
import signal
import sys
import time
from pathlib import Path

from bench.bfd import plan
from bench.bfd.daemons import DAEMONS, ROOT
from bench.bfd.measures import Trial
from bench.bfd.meeting import NotUp
from bench.bfd.report import Results, write
from bench.support.namespaces import sweep

_RESULTS = ROOT / "bench/results"
_ASIDE = ROOT / ".cache/bench"
"""For what the README is not to quote."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.bfd", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="3 minutes instead of 25")
    size.add_argument("--smoke", action="store_true", help="does it run at all")
    parser.add_argument(
        "--only",
        action="append",
        choices=["start", "cpu", "detection", "spacing", "pressure"],
        help="only this group of measures; may be repeated",
    )
    parser.add_argument("--daemon", action="append", choices=list(DAEMONS), help="only this one")
    parser.add_argument(
        "--results",
        type=Path,
        help="directory for bfd.md, bfd.json, bfd.svg (default: bench/results for a full run, "
        ".cache/bench for a part); what is in bench/results is quoted by the README",
    )
    return parser.parse_args()


def _stop(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run; the exit status."""
    options = _options()
    if os.geteuid() != 0:
        sys.stderr.write("bench.bfd: network namespaces need root\n")
        return 2
    signal.signal(signal.SIGTERM, _stop)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sweep()
    results = Results()
    daemons = []
    for name in options.daemon or DAEMONS:
        reason = DAEMONS[name].why_not()
        if reason is None:
            daemons.append(name)
        else:
            results.remarks.append(f"{name} is missing: {reason}")
            print(results.remarks[-1])
    size = plan.QUICK if options.quick else plan.SMOKE if options.smoke else plan.FULL
    trials = [t for t in plan.trials(size, daemons) if not options.only or t.group in options.only]
    whole = size is plan.FULL and not options.only and not options.daemon
    status = 0
    try:
        _run(trials, results)
    except KeyboardInterrupt:
        print("interrupted: everything is torn down; what was measured so far is reported")
        whole, status = False, 130
    directory = options.results or (_RESULTS if whole else _ASIDE)
    if status:
        directory = _ASIDE
    versions = [DAEMONS[name].version() for name in daemons]
    note = "" if whole else ". A part of the benchmark with few samples, not the full run"
    publish = directory.resolve() == _RESULTS
    print(f"\n{write(results, directory, versions, note, publish=publish).read_text()}")
    return status


def _run(trials: list[Trial], results: Results) -> None:
    begin = time.monotonic()
    for number, trial in enumerate(trials):
        left_s = sum(t.seconds + plan.OVERHEAD_S for t in trials[number:])
        print(f"[{number + 1}/{len(trials)}, {left_s / 60:.0f} min left] {trial.label}", end="")
        sys.stdout.flush()
        try:
            samples, remark = trial.run(trial)
        except (NotUp, RuntimeError) as exc:
            samples, remark = {}, " ".join(str(exc).split())
        results.add(trial, samples, remark)
        shown = [
            f"{name} {min(v):.3g}" if len(v) == 1 else f"{name} {len(v)} samples"
            for name, v in samples.items()
        ]
        print(": " + ", ".join([*shown, *([remark] if remark else [])]))
    print(f"took {(time.monotonic() - begin) / 60:.1f} min")


if __name__ == "__main__":
    sys.exit(main())
