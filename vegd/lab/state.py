"""What is remembered about a running lab, so that another process can go on with it or remove it.

A lab has a directory, /run/vegd-lab/PREFIX, with its options and a line for every process that it
started: the process id alone could by now be somebody else's, so its start time is kept too.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from vegd.lab.errors import LabError
from vegd.lab.namespaces import inside
from vegd.lab.topology import LabOptions

_ROOT = Path("/run/vegd-lab")
_DYING_S = 5.0


@dataclass(frozen=True, slots=True)
class Recorded:
    """A process of the lab."""

    role: str
    """For example ``gw1`` or ``router``; the newest process of a role counts."""
    pid: int
    started: int
    """Start time in clock ticks since boot (proc(5), field 22)."""

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return _started(self.pid) == self.started


def _started(pid: int) -> int | None:
    """The start time of a running process; None if it is gone or waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


class Options(Protocol):
    """What there is to choose about a kind of lab."""

    @property
    def prefix(self) -> str:
        """The lab's name."""

    def to_json(self) -> dict[str, Any]:
        """What is remembered; a lab that is not of `LabOptions` has its ``kind`` in it."""


class Processes:
    """The processes that are started for what is kept in a directory, with their logs beside."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def start(self, role: str, namespace: str | None, command: Sequence[str]) -> Recorded:
        """Start a process, in a namespace or in none; what it prints goes to ROLE.log."""
        with (self.directory / f"{role}.log").open("ab") as log:
            process = subprocess.Popen(
                command if namespace is None else inside(namespace, *command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.adopt(role, process)

    def adopt(self, role: str, process: subprocess.Popen[bytes]) -> Recorded:
        """Remember a process that has been started. Raises LabError if it has ended already."""
        _children[process.pid] = process
        started = _started(process.pid)
        if started is None:
            raise LabError(f"{role} ended at once; see {self.directory / role}.log")
        recorded = Recorded(role, process.pid, started)
        with (self.directory / "processes").open("a") as file:
            file.write(json.dumps(asdict(recorded)) + "\n")
        return recorded

    def processes(self) -> list[Recorded]:
        """Every process that was started, oldest first."""
        try:
            lines = (self.directory / "processes").read_text().splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            # The last line may be torn when the lab was killed while writing it.
            with contextlib.suppress(ValueError, TypeError):
                found.append(Recorded(**json.loads(line)))
        return found

    def process(self, role: str) -> Recorded | None:
        """The newest process of a role, if it runs."""
        reap()
        mine = [each for each in self.processes() if each.role == role]
        return mine[-1] if mine and mine[-1].alive else None

    def kill_all(self) -> None:
        """Kill what still runs of the lab, newest first."""
        running = [each for each in self.processes() if each.alive]
        for each in reversed(running):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGKILL)
        deadline = time.monotonic() + _DYING_S
        while any(each.alive for each in running) and time.monotonic() < deadline:
            reap()
            time.sleep(0.01)


class LabState(Processes):
    """The directory of one lab."""

    def __init__(self, prefix: str) -> None:
        super().__init__(_ROOT / prefix)

    @property
    def exists(self) -> bool:
        """Whether there is such a lab, or a part of it."""
        return self.directory.is_dir()

    def create(self, options: Options) -> None:
        """Begin a lab. Raises LabError if one of that prefix is there."""
        try:
            self.directory.mkdir(parents=True)
        except FileExistsError:
            raise LabError(
                f"a lab with the prefix {options.prefix!r} is there already; remove it with "
                f"'vegd lab down --prefix {options.prefix}', or choose another prefix"
            ) from None
        (self.directory / "options.json").write_text(json.dumps(options.to_json()))

    @property
    def kind(self) -> str:
        """What kind of lab it is; empty for one of `LabOptions`, or none."""
        try:
            document = json.loads((self.directory / "options.json").read_text())
        except (OSError, ValueError):
            return ""
        return str(document.get("kind", ""))

    def options(self) -> LabOptions:
        """The options of the lab. Raises LabError if there is none."""
        name = self.directory.name
        if self.kind:
            raise LabError(
                f"the lab {name!r} is a {self.kind}: use kubectl, as "
                f"'vegd lab kubeconfig --prefix {name}' says"
            )
        try:
            return LabOptions.from_json(json.loads((self.directory / "options.json").read_text()))
        except (OSError, ValueError, TypeError, KeyError):
            raise LabError(
                f"there is no lab with the prefix {name!r}; 'vegd lab up' makes one"
            ) from None

    def runtime_dir(self, node: str) -> Path:
        """The runtime directory of the daemon on a node."""
        return self.directory / node

    def remove(self) -> None:
        """Forget the lab."""
        shutil.rmtree(self.directory, ignore_errors=True)
        with contextlib.suppress(OSError):
            _ROOT.rmdir()


_children: dict[int, subprocess.Popen[bytes]] = {}


def reap() -> None:
    """Collect the children of this process that have ended."""
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            del _children[pid]


def poll_until(deadline_s: float, step_s: float = 0.02) -> Iterator[None]:
    """Yields until the time is up; whoever iterates leaves the loop when he has what he wants."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        yield
        time.sleep(step_s)
