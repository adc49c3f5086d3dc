"""How much the kernel tracks, and for how long: what is wished, and what it lets us have.

The limits of the table belong to the initial network namespace; in another one they can be read
and not set. What cannot be set is told, and stands in nobody's way. Parameters:
Documentation/networking/nf_conntrack-sysctl.rst of the kernel.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dataplane.model import Sysctl

_DIRECTORY = "net/netfilter"
_SYSCTLS = Path("/proc/sys")
_BYTES_PER_ENTRY = 16_384
"""One tracked connection (320 bytes and its share of the hash) for so much memory, as the kernel
itself reckons up to 4 GiB; there it stops at 262,144."""
_MOST_ENTRIES = 4_194_304
_BUCKET_STEP = 512
"""The kernel rounds the size of the hash up to whole pages of pointers."""
_NAMES = {
    "maximum": "nf_conntrack_max",
    "buckets": "nf_conntrack_buckets",
    "accounting": "nf_conntrack_acct",
    "tcp_established_s": "nf_conntrack_tcp_timeout_established",
    "udp_s": "nf_conntrack_udp_timeout",
    "udp_stream_s": "nf_conntrack_udp_timeout_stream",
}
_GLOBAL = {"maximum", "buckets"}


@dataclass(frozen=True, slots=True)
class Tracking:
    """What is wished; None leaves the kernel's own value. Times in seconds."""

    maximum: int | None = None
    """The most connections; None sizes the table by the memory, and never makes it smaller."""
    accounting: bool = True
    """Count packets and bytes of each connection."""
    tcp_established_s: int | None = None
    udp_s: int | None = None
    udp_stream_s: int | None = None


@dataclass(frozen=True, slots=True)
class TrackingFacts:
    """The parameters as they are, which of them can be set, and the memory of the machine."""

    values: Mapping[str, int]
    writable: frozenset[str]
    memory_bytes: int


NO_TRACKING = TrackingFacts({}, frozenset(), 0)
"""Of a kernel that cannot track: nothing is set."""


def facts(sysctls: Path = _SYSCTLS, meminfo: Path = Path("/proc/meminfo")) -> TrackingFacts:
    """Look at the network namespace of the calling thread."""
    values, writable = {}, set()
    for name in _NAMES.values():
        path = sysctls / _DIRECTORY / name
        try:
            values[name] = int(path.read_text("ascii"))
        except FileNotFoundError:
            continue
        # Not by access(2): root may write to a file without the permission, and yet not to this.
        if path.stat().st_mode & 0o200 and os.access(path, os.W_OK):
            writable.add(name)
    kib = next(
        (line.split()[1] for line in meminfo.read_text("ascii").splitlines() if "MemTotal" in line),
        "0",
    )
    return TrackingFacts(values, frozenset(writable), int(kib) * 1024)


def parameters(wish: Tracking, there: TrackingFacts) -> tuple[frozenset[Sysctl], tuple[str, ...]]:
    """The parameters to set, and in words what cannot be had."""
    wanted = {
        "accounting": int(wish.accounting),
        "tcp_established_s": wish.tcp_established_s,
        "udp_s": wish.udp_s,
        "udp_stream_s": wish.udp_stream_s,
        **_sizes(wish, there),
    }
    found, notes = set(), []
    for key, value in wanted.items():
        name = _NAMES[key]
        is_there = there.values.get(name)
        if value is None or is_there is None or (is_there == value and name not in there.writable):
            continue
        if name in there.writable:
            found.add(Sysctl(f"{_DIRECTORY}/{name}", str(value)))
        elif key != "buckets" and (key != "maximum" or wish.maximum is not None):
            where = (
                "on the host, outside of this network namespace"
                if key in _GLOBAL
                else "in this network namespace, or make /proc/sys writable"
            )
            notes.append(
                f"net.netfilter.{name} stays {is_there} instead of {value}, because it cannot be "
                f"set; set it {where}"
            )
    return frozenset(found), tuple(notes)


def _sizes(wish: Tracking, there: TrackingFacts) -> dict[str, int | None]:
    now = there.values.get(_NAMES["maximum"])
    maximum = wish.maximum
    if maximum is None:
        by_memory = min(there.memory_bytes // _BYTES_PER_ENTRY, _MOST_ENTRIES)
        by_memory -= by_memory % _BUCKET_STEP
        if now is None or by_memory <= now:
            return {}
        maximum = by_memory
    buckets = -(-maximum // _BUCKET_STEP) * _BUCKET_STEP
    if there.values.get(_NAMES["buckets"], buckets) > buckets:
        # A larger hash is no harm, and making it smaller moves every entry.
        return {"maximum": maximum}
    return {"maximum": maximum, "buckets": buckets}
