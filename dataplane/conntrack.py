"""How full the connection table is.

The kernel keeps the sizes per network namespace under /proc/sys/net/netfilter; a namespace in
which nothing ever asked for connection tracking has no such files, which counts as an empty table.
What went wrong it counts per processor (CTA_STATS of nfnetlink_conntrack.h).
"""

from pathlib import Path

from dataplane.kernel import ConntrackUsage
from dataplane.nfnetlink import NFNL_SUBSYS_CTNETLINK, Channel
from dataplane.wire import NLM_F_DUMP, attributes

_DIRECTORY = Path("/proc/sys/net/netfilter")
_GET_STATS_CPU = NFNL_SUBSYS_CTNETLINK << 8 | 4
_INSERT_FAILED, _DROP, _EARLY_DROP = 9, 10, 11


def usage(channel: Channel, directory: Path = _DIRECTORY) -> ConntrackUsage:
    """Read the figures for the network namespace of the calling thread."""
    try:
        entries = int((directory / "nf_conntrack_count").read_text("ascii"))
        maximum = int((directory / "nf_conntrack_max").read_text("ascii"))
    except FileNotFoundError:
        return ConntrackUsage(0, 0)
    sums = dict.fromkeys((_INSERT_FAILED, _DROP, _EARLY_DROP), 0)
    for message in channel.ask(_GET_STATS_CPU, 0, flags=NLM_F_DUMP):
        found = attributes(message)
        for each in sums:
            sums[each] += int.from_bytes(found.get(each, b""), "big")
    return ConntrackUsage(entries, maximum, *sums.values())
