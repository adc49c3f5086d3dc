"""Metrics of the gateway's two interfaces."""

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, Metric

from dataplane.statistics import InterfaceStatistics

_LABELS = ("interface", "direction")


def interface_metrics(interfaces: Iterable[InterfaceStatistics]) -> Iterator[Metric]:
    """What the kernel counts for each, by direction."""
    octets = CounterMetricFamily("vegd_interface_bytes", "Bytes of all frames.", labels=_LABELS)
    packets = CounterMetricFamily("vegd_interface_packets", "Frames.", labels=_LABELS)
    errors = CounterMetricFamily("vegd_interface_errors", "Frames with errors.", labels=_LABELS)
    drops = CounterMetricFamily("vegd_interface_drops", "Frames dropped.", labels=_LABELS)
    families = (octets, packets, errors, drops)
    for each in interfaces:
        for direction, traffic in (("receive", each.receive), ("transmit", each.transmit)):
            for family, value in zip(families, traffic, strict=True):
                family.add_metric([each.name, direction], value)
    yield from families
