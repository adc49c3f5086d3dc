"""``python -m bench.controller``: run it. ``make bench-controller`` prepares what it needs."""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench.controller.measures import pod_changes, restarts
from bench.controller.report import Results, write
from bench.controller.world import World

_ROOT = Path(__file__).parents[2]
_PODS = 20
"""Of each gateway."""


class Size(NamedTuple):
    """How many gateways, and how many changes are timed."""

    gateways: tuple[int, ...]
    changes: int


FULL = Size((100, 1000), 100)
QUICK = Size((20, 100), 20)


def _stop(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run; the exit status."""
    parser = argparse.ArgumentParser(prog="bench.controller", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 gateways instead of 1,000")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    size = QUICK if options.quick else FULL
    results, begin = Results(), time.monotonic()
    for gateways in size.gateways:
        print(f"{gateways:,} gateways with {_PODS} pods each")
        with tempfile.TemporaryDirectory(prefix="vegd-bench-") as directory:
            world = World(Path(directory), gateways, _PODS)
            try:
                asyncio.run(world.fill())
                for measured in (
                    restarts(world, Path(directory)),
                    pod_changes(world, Path(directory), size.changes),
                ):
                    results.add(gateways, measured)
                    shown = (f"{name} {values[0]:.4g}" for name, values in measured.items())
                    print("  " + ", ".join(shown))
            finally:
                world.close()
    print(f"took {(time.monotonic() - begin) / 60:.1f} min\n")
    whole = not options.quick
    directory = _ROOT / ("bench/results" if whole else ".cache/bench")
    print(write(results, directory, _PODS, whole=whole).read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
