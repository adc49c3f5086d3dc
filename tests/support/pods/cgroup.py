"""The cgroup of a container: what it may use, what it has used.

Version 2, or 1 where the machine has its controllers there.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60
_PODS = "vegd-pods"


def unified() -> bool:
    """Whether the controllers are those of version 2."""
    return "memory" in _words(_ROOT / "cgroup.controllers")


@dataclass(frozen=True, slots=True)
class Figures:
    """What a container has used of what it may, so far. Memory is bytes."""

    memory_peak: int = 0
    """With the pages of files that it was the first to read."""
    memory_limit: int | None = None
    oom_kills: int = 0
    throttled: int = 0
    """Periods in which it has used up its quota of processor time."""


class Cgroup:
    """Of one container of a pod."""

    def __init__(self, pod: str, container: str) -> None:
        self.path = f"/{_PODS}/{pod}/{container}"
        self._last = Figures()

    def figures(self) -> Figures:
        """As they are now, or were when last asked while it was there."""
        with contextlib.suppress(FileNotFoundError):
            self._last = self._read()
        return self._last

    def _read(self) -> Figures:
        if unified():
            place = _ROOT / self.path[1:]
            limit = place.joinpath("memory.max").read_text().strip()
            return Figures(
                int(place.joinpath("memory.peak").read_text()),
                None if limit == "max" else int(limit),
                _keyed(place / "memory.events")["oom_kill"],
                _keyed(place / "cpu.stat").get("nr_throttled", 0),
            )
        memory, cpu = (_ROOT / controller / self.path[1:] for controller in ("memory", "cpu"))
        allowed = int(memory.joinpath("memory.limit_in_bytes").read_text())
        return Figures(
            int(memory.joinpath("memory.max_usage_in_bytes").read_text()),
            allowed if allowed < _UNLIMITED else None,
            _keyed(memory / "memory.oom_control")["oom_kill"],
            _keyed(cpu / "cpu.stat")["nr_throttled"],
        )


def remove(pod: str) -> None:
    """Remove what the runtime has left of a pod's cgroups."""
    hierarchies = [_ROOT] if unified() else [each for each in _ROOT.iterdir() if each.is_dir()]
    for top in hierarchies:
        place = top / _PODS / pod
        children = place.iterdir() if place.is_dir() else ()
        for each in (*(child for child in children if child.is_dir()), place, place.parent):
            # Another pod's are there still, or there was none of this controller.
            with contextlib.suppress(OSError):
                each.rmdir()


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except FileNotFoundError:
        return []


def _keyed(path: Path) -> dict[str, int]:
    lines = (line.split() for line in path.read_text().splitlines())
    return {key: int(value) for key, value in lines}
