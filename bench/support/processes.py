"""What a process costs, from /proc, and how it ends."""

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path


def cpu_ns(pid: int) -> int:
    """User and system time of all threads so far, in nanoseconds, as the scheduler counts it."""
    total = 0
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        total += int(file.read_text().split()[0])
    return total


def rss_mb(pid: int) -> float:
    """Resident memory in units of 1,000,000 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def end(process: "subprocess.Popen[str]") -> None:
    """Kill a process that we started, and wait for it."""
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that never sleep."""
    loops = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(count)]
    try:
        yield
    finally:
        for each in loops:
            each.kill()
            each.wait()


def in_group(files: Sequence[Path], command: Sequence[str]) -> list[str]:
    """The argument list that enters control groups and then becomes a command."""
    script = "".join(f"echo $$ > {file} && " for file in files) + 'exec "$@"'
    return ["sh", "-c", script, "sh", *command] if files else list(command)
