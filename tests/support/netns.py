"""Throw-away network namespaces for tests, by iproute2.

Every namespace is named ``vt<pid>-<n>-<role>``, so that leftovers of a killed test run can be told
apart from anybody else's. Closing the factory kills what still runs inside, then removes them.
"""

import itertools
import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vegd.lab import namespaces

_numbers = itertools.count(1)


def why_no_namespaces() -> str | None:
    """The reason why no network namespace can be made here, or None."""
    name = f"vt{os.getpid()}-probe"
    try:
        made = subprocess.run(
            ["ip", "netns", "add", name], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return "the program 'ip' (package iproute2) is missing"
    if made.returncode:
        return f"'ip netns add' says: {made.stderr.strip()} (root and CAP_SYS_ADMIN are needed)"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return None


def ip(*args: str, ns: str | None = None) -> None:
    """Run ``ip`` in a namespace; a failure carries what it printed."""
    command = ["ip", *(["-n", ns] if ns else []), *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


def ip_batch(lines: Iterable[str], ns: str) -> None:
    """Run many ``ip`` commands in a namespace, in one process."""
    command = ["ip", "-n", ns, "-batch", "-"]
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


def ip_json(*args: str, ns: str) -> list[dict[str, Any]]:
    """What ``ip -json`` prints in a namespace."""
    out = subprocess.run(
        ["ip", "-n", ns, "-json", *args], capture_output=True, text=True, check=True
    ).stdout
    return list(json.loads(out or "[]"))


def inside(ns: str, *command: str) -> list[str]:
    """The argument list that runs a command in a namespace."""
    return ["ip", "netns", "exec", ns, *command]


def run(ns: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command in a namespace and wait for it."""
    done = subprocess.run(
        inside(ns, *command), capture_output=True, text=True, check=False, timeout=30
    )
    if check and done.returncode:
        raise RuntimeError(
            f"{' '.join(command)} in {ns}: {done.stderr.strip() or done.stdout.strip()}"
        )
    return done


def veth(
    ns_a: str,
    name_a: str,
    ns_b: str,
    name_b: str,
    addresses_a: Sequence[str] = (),
    addresses_b: Sequence[str] = (),
) -> None:
    """A veth pair between two namespaces, up, with addresses (IPv6 without duplicate detection).

    Nor is there any for the link-local addresses: until these are usable, two seconds after the
    link is up or more, the kernel solicits no neighbour for what it forwards.
    """
    ip("link", "add", name_a, "netns", ns_a, "type", "veth", "peer", "name", name_b, "netns", ns_b)
    for ns, name, addresses in ((ns_a, name_a, addresses_a), (ns_b, name_b, addresses_b)):
        for address in addresses:
            ip(
                "address",
                "add",
                address,
                "dev",
                name,
                *(["nodad"] if ":" in address else []),
                ns=ns,
            )
        namespaces.sysctl(ns, {f"net/ipv6/conf/{name}/accept_dad": 0})
        ip("link", "set", name, "up", ns=ns)
        ip("link", "set", "lo", "up", ns=ns)


class NamespaceFactory:
    """Makes namespaces on call; ``close`` kills what runs in them and removes them."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def __call__(self, role: str) -> str:
        name = f"vt{os.getpid()}-{next(_numbers)}-{role}"
        ip("netns", "add", name)
        self._names.append(name)
        ip("link", "set", "lo", "up", ns=name)
        return name

    def close(self) -> None:
        there = namespaces.names()
        for name in reversed(self._names):
            if name in there:  # a test may have removed it
                namespaces.kill_inside(name)
                namespaces.delete(name)
        self._names.clear()


def fd_path(ns: str) -> Path:
    """The file that stands for a named namespace, for setns(2)."""
    return Path("/run/netns") / ns
