"""Throw-away network namespaces, and programs that run in them.

A namespace has a thread of its own that lives in it: sockets are opened and programs started there,
so that no helper program stands between the start of a measurement and the daemon. Names carry the
process number of the benchmark; what a killed benchmark left behind is removed by the next one.
"""

import contextlib
import ctypes
import itertools
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

_CLONE_NEWNET = 0x40000000
_PREFIX = "vb"
_numbers = itertools.count(1)

T = TypeVar("T")


class Namespace:
    """One namespace, with its loopback up."""

    def __init__(self, role: str) -> None:
        self.name = f"{_PREFIX}{os.getpid()}-{next(_numbers)}-{role}"
        _run(["ip", "netns", "add", self.name])
        self.ip(["link set lo up"])
        self._thread = ThreadPoolExecutor(1, initializer=self._enter)

    def _enter(self) -> None:
        with Path("/run/netns", self.name).open("rb") as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"entering {self.name}")

    def call(self, function: Callable[..., T], *args: Any, **keywords: Any) -> T:
        """Call a function inside."""
        return self._thread.submit(function, *args, **keywords).result()

    def popen(self, command: Sequence[str], **keywords: Any) -> "subprocess.Popen[str]":
        """Start a program inside."""
        return self.call(subprocess.Popen, list(command), text=True, **keywords)

    def run(self, command: Sequence[str], stdin: str = "", timeout_s: float = 60.0) -> str:
        """Run a program inside to its end; what it printed."""
        return self.call(_run, command, stdin, timeout_s)

    def ip(self, lines: Iterable[str]) -> None:
        """Run `ip` commands inside, in one process."""
        _run(["ip", "-n", self.name, "-batch", "-"], "\n".join(lines) + "\n")

    def sysctl(self, **values: object) -> None:
        """Write kernel settings, by their name with double underscores for dots."""

        def write() -> None:
            for name, value in values.items():
                Path("/proc/sys", name.replace("__", "/")).write_text(str(value))

        self.call(write)

    def close(self) -> None:
        """Kill what runs inside and remove it."""
        self._thread.shutdown()
        _remove(self.name)


def veth(first: Namespace, first_name: str, second: Namespace, second_name: str) -> None:
    """A pair of links between two namespaces, both up, without addresses of their own."""
    pair = f"link add {first_name} type veth peer name {second_name} netns {second.name}"
    first.ip([pair, f"link set {first_name} addrgenmode none up"])
    second.ip([f"link set {second_name} addrgenmode none up"])


def hardware_address(namespace: Namespace, name: str) -> str:
    """The address of a link; permanent neighbours are made of it."""
    return namespace.run(["ip", "-br", "link", "show", name]).split()[2]


@contextlib.contextmanager
def namespaces(*roles: str) -> Iterator[list[Namespace]]:
    """Some namespaces, removed in the end whatever happens."""
    with contextlib.ExitStack() as stack:
        made = []
        for role in roles:
            made.append(Namespace(role))
            stack.callback(made[-1].close)
        yield made


def sweep() -> None:
    """Remove the namespaces of benchmarks that are gone."""
    for line in _run(["ip", "netns", "list"]).splitlines():
        name = line.split()[0] if line.strip() else ""
        ours = re.fullmatch(rf"{_PREFIX}(\d+)-\d+-\w+", name)
        if ours and not Path("/proc", ours[1]).exists():
            _remove(name)


def _remove(name: str) -> None:
    pids = subprocess.run(
        ["ip", "netns", "pids", name], capture_output=True, text=True, check=False
    ).stdout
    for pid in pids.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _run(command: Sequence[str], stdin: str = "", timeout_s: float = 60.0) -> str:
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, timeout=timeout_s
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
