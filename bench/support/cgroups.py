"""A control group with a CPU quota and a weight, by whichever hierarchy the machine has."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000


class NoGroups(Exception):
    """The machine grants no CPU control group; the message says why."""


@contextlib.contextmanager
def cpu_group(quota: float, shares: int) -> Iterator[Path]:
    """A group with a share `quota` of one CPU and a weight in `shares`, of which 1024 is normal.

    Yields the file that a process number is written to. Raises NoGroups.
    """
    group = None
    try:
        v1 = next((p for p in (_ROOT / "cpu", _ROOT / "cpu,cpuacct") if p.is_dir()), None)
        group = (v1 or _ROOT) / f"vegd-bench-{os.getpid()}"
        if v1 is not None:
            group.mkdir()
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(int(quota * _PERIOD_US)))
            (group / "cpu.shares").write_text(str(shares))
        else:
            (_ROOT / "cgroup.subtree_control").write_text("+cpu")
            group.mkdir()
            (group / "cpu.max").write_text(f"{int(quota * _PERIOD_US)} {_PERIOD_US}")
            # As Kubernetes converts one scale to the other.
            (group / "cpu.weight").write_text(str(1 + (shares - 2) * 9999 // 262142))
    except OSError as exc:
        if group is not None and group.is_dir():
            group.rmdir()
        raise NoGroups(f"no CPU control group can be made here: {exc}") from exc
    try:
        yield group / "cgroup.procs"
    finally:
        group.rmdir()
