"""Metrics of the gateway's two interfaces."""

from collections.abc import Iterable, Iterator

from dataplane.statistics import InterfaceStatistics
from vegd.exposition import Counter, Family

_LABELS = ("interface", "direction")


def interface_metrics(interfaces: Iterable[InterfaceStatistics]) -> Iterator[Family]:
    """What the kernel counts for each, by direction."""
    octets = Counter("vegd_interface_bytes", "Bytes of all frames.", labels=_LABELS)
    packets = Counter("vegd_interface_packets", "Frames.", labels=_LABELS)
    errors = Counter("vegd_interface_errors", "Frames with errors.", labels=_LABELS)
    drops = Counter("vegd_interface_drops", "Frames dropped.", labels=_LABELS)
    families = (octets, packets, errors, drops)
    for each in interfaces:
        for direction, traffic in (("receive", each.receive), ("transmit", each.transmit)):
            for family, value in zip(families, traffic, strict=True):
                family.add([each.name, direction], value)
    yield from families
