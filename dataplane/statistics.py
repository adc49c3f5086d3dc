"""What the kernel counts for each network interface (/proc/net/dev, proc(5)).

`/sys/class/net` says the same, but of the namespace that it was mounted in, which need not be ours.
"""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

_PATH = Path("/proc/thread-self/net/dev")
_TRANSMIT = 8
"""Where the columns of the other direction begin."""


class Traffic(NamedTuple):
    """Of one interface in one direction, since it was made."""

    octets: int
    packets: int
    errors: int
    drops: int


class InterfaceStatistics(NamedTuple):
    """Of one interface."""

    name: str
    receive: Traffic
    transmit: Traffic


def read(names: Collection[str]) -> tuple[InterfaceStatistics, ...]:
    """The counters of those interfaces that are there. Raises OSError."""
    found = []
    for line in _PATH.read_text().splitlines():
        name, colon, rest = line.strip().partition(":")
        if colon and name in names:
            columns = [int(each) for each in rest.split()]
            found.append(
                InterfaceStatistics(
                    name, Traffic(*columns[:4]), Traffic(*columns[_TRANSMIT : _TRANSMIT + 4])
                )
            )
    return tuple(found)
