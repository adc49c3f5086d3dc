"""The limits of this process' cgroup: how much CPU and memory there is, and how often the CPU quota
was used up.

Works with cgroup v1, v2 and both at once; a process can be throttled by the quota of every group
that it is in, so the own group and all that are visible above it are read. Where no cgroup file
system is mounted (inside ``ip netns exec``, which hides it, or in a bare container) there is
nothing to read, and that is said with None.
"""

import contextlib
import os
import re
from pathlib import Path
from typing import NamedTuple

_NO_LIMIT = 1 << 62
_OCTAL = re.compile(r"\\([0-7]{3})")


class Throttled(NamedTuple):
    """Since the groups were made, all of them together."""

    periods: int
    """Scheduling periods in which a quota was used up."""
    us: int
    """Microseconds that a processor was denied, added up over the processors."""


class Memory(NamedTuple):
    """In bytes, each of the group that has the least."""

    limit: int
    left: int
    """What may still be asked for; pages of files count as free, as the kernel takes them back."""


def memory(proc: Path = Path("/proc/self")) -> Memory | None:
    """What the limits of the groups that a process is in leave it; None where there is no limit, or
    the kernel does not tell."""
    found = [each for group in _groups(proc, "memory") if (each := _memory(group)) is not None]
    if not found:
        return None
    return Memory(min(each.limit for each in found), min(each.left for each in found))


def _memory(group: Path) -> Memory | None:
    names = ("max", "current", "file", "shmem")
    if not (group / "memory.max").exists():
        names = ("limit_in_bytes", "usage_in_bytes", "total_cache", "total_shmem")
    try:
        limit, used = (int((group / f"memory.{name}").read_text()) for name in names[:2])
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        files = int(stat[names[2]]) - int(stat[names[3]])
    except (OSError, ValueError, KeyError):  # "max" is no number
        return None
    # cgroup v1 has a number for "none", too: the largest multiple of a page.
    return Memory(limit, limit - used + files) if limit < _NO_LIMIT else None


class Throttling:
    """Reads the counters of the groups that `/proc/self` is in at this moment; cheap to repeat."""

    def __init__(self, proc: Path = Path("/proc/self")) -> None:
        self._files: list[int] = []
        self._groups = _groups(proc, "cpu")
        for group in self._groups:
            with contextlib.suppress(OSError):
                self._files.append(os.open(group / "cpu.stat", os.O_RDONLY | os.O_CLOEXEC))

    def close(self) -> None:
        """Close the files."""
        while self._files:
            os.close(self._files.pop())

    def read(self) -> Throttled | None:
        """The counters now; None when the kernel does not tell."""
        periods = us = 0
        told = False
        for file in self._files:
            try:
                text = os.pread(file, 4096, 0)
            except OSError:  # the group has been removed
                continue
            for line in text.splitlines():
                name, _, value = line.partition(b" ")
                if name == b"nr_throttled":
                    told = True
                    periods += int(value)
                elif name == b"throttled_usec":  # v2
                    us += int(value)
                elif name == b"throttled_time":  # v1, nanoseconds
                    us += int(value) // 1000
        return Throttled(periods, us) if told else None

    def limit(self) -> float | None:
        """The tightest quota, in processors; None when there is none."""
        limits = [limit for group in self._groups if (limit := _limit(group)) is not None]
        return min(limits, default=None)


def _groups(proc: Path, controller: str) -> list[Path]:
    """The directories of the group that has the controller, and of those above it."""
    try:
        memberships = (proc / "cgroup").read_text().splitlines()
        mounts = (proc / "mountinfo").read_text().splitlines()
    except OSError:
        return []
    v2 = None
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return _directories(path, mounts, controller)
        if not controllers:
            v2 = path
    return [] if v2 is None else _directories(v2, mounts)


def _directories(path: str, mounts: list[str], controller: str = "") -> list[Path]:
    """Of cgroup v2 without a controller."""
    kind = "cgroup" if controller else "cgroup2"
    for line in mounts:
        before, _, after = line.partition(" - ")
        fields = before.split()
        file_system, _, options = after.split(" ", 2)
        if file_system != kind or (controller and controller not in options.split(",")):
            continue
        root, mount_point = (_plain(text) for text in fields[3:5])
        try:
            below = Path(path).relative_to(root)
        except ValueError:  # what is mounted there does not contain our group
            continue
        if ".." in below.parts:  # our group is outside of the cgroup namespace
            continue
        own = Path(mount_point) / below
        return [own, *(own.parents[n] for n in range(len(below.parts)))]
    return []


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def _limit(group: Path) -> float | None:
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
    except (OSError, ValueError):
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)
