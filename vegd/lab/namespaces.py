"""Network namespaces, links and addresses, by iproute2.

Thin: each function runs one program and turns its complaint into a LabError. Links are created
straight into their namespaces, so nothing ever shows up in the namespace of the host, and labs
that are built at the same moment cannot collide there.
"""

import contextlib
import fcntl
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from pyroute2 import netns  # type: ignore[import-untyped]

from vegd.lab.errors import LabError
from vegd.lab.topology import Interface

T = TypeVar("T")

_DYING_S = 10.0
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17


def run(command: Sequence[str], *, stdin: str = "", timeout_s: float = 30.0) -> str:
    """Run a program to its end and return what it printed; LabError with its complaint."""
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except FileNotFoundError:
        raise LabError(f"the program {command[0]!r} is missing") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(command)}: no end after {timeout_s:g} s") from None
    if done.returncode:
        complaint = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise LabError(f"{' '.join(command)}: {complaint}")
    return done.stdout


def inside(namespace: str, *command: str) -> list[str]:
    """The argument list that runs a command in a namespace."""
    return ["ip", "netns", "exec", namespace, *command]


def names() -> list[str]:
    """The named namespaces of this machine."""
    listed = run(["ip", "netns", "list"])
    return [line.split()[0] for line in listed.splitlines() if line.strip()]


def pids(namespace: str) -> list[int]:
    """The processes whose network is this namespace."""
    return [int(pid) for pid in run(["ip", "netns", "pids", namespace]).split()]


def kill_inside(namespace: str) -> None:
    """Kill every process whose network is this namespace, those included that they start
    meanwhile. Raises LabError if some do not die."""
    deadline = time.monotonic() + _DYING_S
    while found := pids(namespace):
        if time.monotonic() > deadline:
            raise LabError(f"{namespace}: processes {found} do not die")
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def add(name: str) -> None:
    """Make a namespace with its loopback up, where IPv6 addresses serve at once.

    Neighbour discovery for a forwarded packet speaks from the link-local address. While duplicate
    detection holds that back, about a second after a link comes up, such packets wait and are
    dropped. A lab has no duplicates, so it does not wait for them to be ruled out.
    """
    run(["ip", "netns", "add", name])
    ip(name, ["link set lo up"])
    sysctl(name, {"net/ipv6/conf/all/accept_dad": 0, "net/ipv6/conf/default/accept_dad": 0})


def delete(name: str) -> None:
    """Remove a namespace and, with it, the links in it."""
    run(["ip", "netns", "del", name])


def ip(namespace: str, lines: Iterable[str]) -> None:
    """Run `ip` commands in a namespace, in one process; the first that fails ends it."""
    run(["ip", "-n", namespace, "-batch", "-"], stdin="\n".join(lines) + "\n")


def veth(
    namespace: str, interface: str, mac: str | None, far_namespace: str, far_interface: str
) -> None:
    """A pair of links between two namespaces, both up."""
    own = f"{interface} address {mac}" if mac else interface
    pair = f"link add {own} type veth peer name {far_interface} netns {far_namespace}"
    ip(namespace, [pair, f"link set {interface} up"])
    ip(far_namespace, [f"link set {far_interface} up"])


def address_lines(interface: str, addresses: Iterable[Interface]) -> list[str]:
    """The `ip` commands that give an interface its addresses, usable at once."""
    return [
        f"address add {address} dev {interface}{' nodad' if address.version == 6 else ''}"
        for address in addresses
    ]


def sysctl(namespace: str, settings: Mapping[str, int]) -> None:
    """Write kernel settings, by their path below /proc/sys."""
    script = "\n".join(f"echo {value} > /proc/sys/{path}" for path, value in settings.items())
    run(inside(namespace, "sh", "-e", "-c", script))


def checksums_in_software(namespace: str, interface: str) -> None:
    """Make the kernel fill in checksums itself before a packet leaves by this interface.

    A veth leaves them to the receiver. A userspace switch hands such packets on as they are, and
    they arrive broken (ethtool's `tx off`).
    """

    def switch_off() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            value = array("I", [_ETHTOOL_STXCSUM, 0])
            request = struct.pack("16sP", interface.encode(), value.buffer_info()[0])
            fcntl.ioctl(any_socket, _SIOCETHTOOL, request.ljust(40, b"\0"))

    try:
        _visit(namespace, switch_off)
    except OSError as problem:
        raise LabError(f"{interface} in {namespace}: checksums: {problem}") from problem


def socket_in(namespace: str, family: int, kind: int) -> socket.socket:
    """A socket that lives in a namespace, for this process to use. Raises OSError."""
    return _visit(namespace, lambda: socket.socket(family, kind))


def _visit(namespace: str, action: Callable[[], T]) -> T:
    """Do something in a namespace, by a thread that moves there and ends."""
    made: list[T] = []
    failures: list[OSError] = []

    def visit() -> None:
        try:
            netns.setns(namespace)
            made.append(action())
        except OSError as problem:
            failures.append(problem)

    thread = threading.Thread(target=visit)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return made[0]
