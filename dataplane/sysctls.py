"""Kernel parameters of this network namespace, below /proc/sys."""

import os
from pathlib import Path

from dataplane.model import Sysctl

_SYSCTLS = Path("/proc/sys")
_SYSCTL_BYTES = 4096


def read_sysctls(wished: frozenset[Sysctl]) -> frozenset[Sysctl]:
    """The parameters that are wished, as they are."""
    return frozenset(
        Sysctl(each.path, value) for each in wished if (value := read_sysctl(each.path)) is not None
    )


def read_sysctl(path: str) -> str | None:
    """The value of a kernel parameter in this network namespace; None if there is none."""
    try:
        # Without a file object: parameters are read all the time.
        descriptor = os.open(f"{_SYSCTLS}/{path}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, _SYSCTL_BYTES).decode("ascii").strip()
        finally:
            os.close(descriptor)
    except OSError:
        return None


def write(sysctl: Sysctl, _: str) -> None:
    """Give a parameter its value; there is no other action. Raises OSError."""
    (_SYSCTLS / sysctl.path).write_text(sysctl.value, "ascii")
