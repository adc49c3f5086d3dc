"""Kernel parameters of this network namespace, below /proc/sys."""

import contextlib
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


def serve_at_once(interface: str) -> None:
    """Let a new interface, not up yet, have its link-local address without duplicate detection.

    The kernel asks for the next hop of what it forwards from that address, and while detection
    holds it back, for a second or several, such packets end as unreachable (RFC 4861 §7.2.2).
    """
    # Where parameters may not be set, the address takes its time.
    with contextlib.suppress(OSError):
        write(Sysctl(f"net/ipv6/conf/{interface}/accept_dad", "0"), "")
