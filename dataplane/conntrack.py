"""How full the connection table is.

The kernel keeps both figures per network namespace under /proc/sys/net/netfilter; a namespace in
which nothing ever asked for connection tracking has no such files, which counts as an empty table.
"""

from pathlib import Path

from dataplane.kernel import ConntrackUsage

_DIRECTORY = Path("/proc/sys/net/netfilter")


def usage(directory: Path = _DIRECTORY) -> ConntrackUsage:
    """Read both figures for the network namespace of the calling thread."""
    try:
        entries = int((directory / "nf_conntrack_count").read_text("ascii"))
        maximum = int((directory / "nf_conntrack_max").read_text("ascii"))
    except FileNotFoundError:
        return ConntrackUsage(0, 0)
    return ConntrackUsage(entries, maximum)
