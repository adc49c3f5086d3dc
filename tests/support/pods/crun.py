"""Containers by crun: each a process of ours that ends with the container and has its exit status.

crun runs in a mount namespace of its own. In it are the layer to which the container writes, which
is gone with it, and a view of the cgroups that crun can use: it refuses a machine that has some
controllers in version 1 and some in version 2, so there it does not see the latter.
"""

import asyncio
import contextlib
import itertools
import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_VIEW = """
if [ -e /sys/fs/cgroup/unified/cgroup.controllers ]; then umount /sys/fs/cgroup/unified; fi
"""
_LAYER = """
image=$1 bundle=$2; shift 2
mount -t tmpfs -o mode=0755 tmpfs "$bundle/layer"
mkdir -m 0755 "$bundle/layer/upper" "$bundle/layer/work"
options=lowerdir=$image,upperdir=$bundle/layer/upper,workdir=$bundle/layer/work
mount -t overlay -o "$options" overlay "$bundle/rootfs"
"""
_STARTS_S = 60.0
_numbers = itertools.count(1)


class RuntimeFailed(Exception):
    """crun could not do it; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Executed:
    """A command that was run in a container."""

    status: int | None
    """None: it was killed because its time was over."""
    output: str
    took_s: float

    @property
    def succeeded(self) -> bool:
        """Exit status 0."""
        return self.status == 0


class Crun:
    """The runtime of one pod's containers; `directory` is its own."""

    def __init__(self, directory: Path) -> None:
        self._state = directory / "crun"
        self._state.mkdir()

    async def run(
        self, name: str, image: Path, bundle: Path, configuration: Any, log: Path
    ) -> asyncio.subprocess.Process:
        """Start a container; returns when it has started. Raises RuntimeFailed."""
        for each in ("rootfs", "layer"):
            (bundle / each).mkdir(parents=True, exist_ok=True)
        (bundle / "config.json").write_text(json.dumps(configuration))
        pid_file = bundle / "pid"
        pid_file.unlink(missing_ok=True)
        words = ["run", "--bundle", str(bundle), "--pid-file", str(pid_file), name]
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *self._command(_VIEW + _LAYER, (str(image), str(bundle)), words),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            async with asyncio.timeout(_STARTS_S):
                while not pid_file.exists() and process.returncode is None:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            process.kill()
        if not pid_file.exists():
            await process.wait()
            raise RuntimeFailed(f"{name} has not started: {log.read_text()[-1000:]}")
        return process

    async def execute(self, name: str, process: Any, timeout_s: float, *, bundle: Path) -> Executed:
        """Run a command in a running container, for so long at most."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        place = bundle / f"exec-{next(_numbers)}"
        place.with_suffix(".json").write_text(json.dumps(process))
        files = ["--process", f"{place}.json", "--pid-file", f"{place}.pid"]
        child = await asyncio.create_subprocess_exec(
            *self._command(_VIEW, (), ["exec", *files, name]),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        status, output = None, b""
        try:
            async with asyncio.timeout(timeout_s):
                output, _ = await child.communicate()
            status = child.returncode
        except TimeoutError:
            pass
        finally:
            if child.returncode is None:
                await _end(child, Path(f"{place}.pid"))
            for suffix in (".json", ".pid"):
                place.with_suffix(suffix).unlink(missing_ok=True)
        return Executed(status, output.decode(errors="replace"), clock() - begun)

    async def kill(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the container's first process, if it is there."""
        child = await asyncio.create_subprocess_exec(
            *self._command(_VIEW, (), ["kill", name, str(int(number))]),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await child.wait()

    def _command(self, script: str, arguments: Sequence[str], words: Sequence[str]) -> list[str]:
        crun = ["crun", "--root", str(self._state), "--cgroup-manager=cgroupfs", *words]
        return [
            *("unshare", "--mount", "--propagation", "private"),
            *("sh", "-ec", script + 'exec "$@"', "sh", *arguments, *crun),
        ]


async def _end(child: asyncio.subprocess.Process, pid_file: Path) -> None:
    """Kill what was executed, and who waits for it."""
    with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
    child.kill()
    await child.wait()
