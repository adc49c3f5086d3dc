"""Control groups with limits, by whichever hierarchies the machine has (v1, v2, or both)."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_ROOT = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000


class NoGroups(Exception):
    """The machine grants no such control group; the message says why."""


class Memory(NamedTuple):
    """What a group is charged for, in bytes."""

    current: int
    """Everything, as the limit counts it."""
    file: int
    """Of this the pages of files, which the kernel takes back before the limit hurts."""

    @property
    def held(self) -> int:
        """What cannot be taken back: the processes' own memory, shared memory, the kernel's."""
        return self.current - self.file


class Group:
    """One group, in one hierarchy or, with v1, in one for each controller."""

    def __init__(self, directories: list[Path]) -> None:
        self.directories = directories

    @property
    def procs(self) -> list[Path]:
        """The files that a process number is written to."""
        return [each / "cgroup.procs" for each in self.directories]

    def memory(self) -> Memory:
        """Of a group with a memory limit."""
        current = self._number("memory.current", "memory.usage_in_bytes")
        stat = dict(line.split() for line in self._text("memory.stat").splitlines())
        if "total_cache" in stat:
            # v1 calls shared memory cache, too; it cannot be taken back.
            return Memory(current, int(stat["total_cache"]) - int(stat["total_shmem"]))
        return Memory(current, int(stat["file"]) - int(stat["shmem"]))

    def peak(self) -> int:
        """The most that `Memory.current` has been, in bytes."""
        return self._number("memory.peak", "memory.max_usage_in_bytes")

    def kills(self) -> int:
        """How many processes the kernel has killed for want of memory."""
        for name in ("memory.events", "memory.oom_control"):
            for line in self._text(name).splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        return 0

    def throttled_us(self) -> int:
        """How long a quota has denied processors, added up over them, in microseconds."""
        stat = dict(line.split() for line in self._text("cpu.stat").splitlines())
        if "throttled_time" in stat:
            return int(stat["throttled_time"]) // 1000
        return int(stat["throttled_usec"])

    def _number(self, *names: str) -> int:
        return int(next(text for name in names if (text := self._text(name))))

    def _text(self, name: str) -> str:
        for directory in self.directories:
            with contextlib.suppress(FileNotFoundError):
                return (directory / name).read_text()
        return ""


@contextlib.contextmanager
def group(
    quota: float, shares: int | None = None, memory_bytes: int | None = None
) -> Iterator[Group]:
    """A group with a share `quota` of one CPU, a weight in `shares`, of which 1024 is normal, and a
    limit of its memory. Raises NoGroups."""
    made = Group([])
    try:
        _make(made, quota, shares, memory_bytes)
    except OSError as exc:
        _remove(made)
        raise NoGroups(f"no control group can be made here: {exc}") from exc
    try:
        yield made
    finally:
        _remove(made)


@contextlib.contextmanager
def cpu_group(quota: float, shares: int) -> Iterator[Path]:
    """A group for CPU only; yields the file that a process number is written to."""
    with group(quota, shares) as made:
        yield made.procs[0]


def _make(made: Group, quota: float, shares: int | None, memory_bytes: int | None) -> None:
    name = f"vegd-bench-{os.getpid()}"
    cpu = next((p for p in (_ROOT / "cpu", _ROOT / "cpu,cpuacct") if p.is_dir()), None)
    if cpu is None:
        wanted = "+cpu +memory" if memory_bytes else "+cpu"
        (_ROOT / "cgroup.subtree_control").write_text(wanted)
        here = _directory(made, _ROOT / name)
        (here / "cpu.max").write_text(f"{int(quota * _PERIOD_US)} {_PERIOD_US}")
        if shares is not None:
            # As Kubernetes converts one scale to the other.
            (here / "cpu.weight").write_text(str(1 + (shares - 2) * 9999 // 262142))
        if memory_bytes is not None:
            (here / "memory.max").write_text(str(memory_bytes))
        return
    here = _directory(made, cpu / name)
    (here / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
    (here / "cpu.cfs_quota_us").write_text(str(int(quota * _PERIOD_US)))
    if shares is not None:
        (here / "cpu.shares").write_text(str(shares))
    if memory_bytes is not None:
        (_directory(made, _ROOT / "memory" / name) / "memory.limit_in_bytes").write_text(
            str(memory_bytes)
        )


def _directory(made: Group, path: Path) -> Path:
    path.mkdir()
    made.directories.append(path)
    return path


def _remove(made: Group) -> None:
    for directory in made.directories:
        directory.rmdir()
