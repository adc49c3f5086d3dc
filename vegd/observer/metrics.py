"""The metrics of Kube-OVN's observer under their names, so that dashboards and alerts stay."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from vegd.exposition import Counter, Family, Gauge, page
from vegd.observer.book import FlowBook
from vegd.observer.interfaces import Interface
from vegd.observer.records import Identity

PREFIX = "kube_ovn_vpc_egress_gateway_"
_KIND = ("address_family", "protocol", "nat_type")
_TRAILING_ZERO = re.compile(rb"\.0$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Reading:
    """The observer as it is now."""

    identity: Identity
    collectors: Mapping[str, bool]
    """Whether each works."""
    errors: Mapping[tuple[str, str], int]
    """By collector and operation."""
    reloads: Mapping[str, int]
    events: Mapping[str, int]
    written: Mapping[str, int]
    drops: Mapping[str, int]
    book: FlowBook
    counts_bytes: bool
    """Whether the kernel does."""
    shows_flows: bool
    interfaces: tuple[Interface, ...] = field(default=())


class _Labelled:
    """Makes families whose samples all bear the gateway's identity."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def __call__(
        self,
        kind: type[Family],
        name: str,
        text: str,
        labels: Iterable[str] = (),
        samples: Iterable[tuple[Iterable[str], float]] = (),
    ) -> Family:
        family = kind(PREFIX + name, text, labels=(*Identity._fields, *labels))
        for values, value in samples:
            family.add((*self._identity, *values), value)
        return family


def exposition(reading: Reading) -> bytes:
    """The page. Whole numbers are written as Go writes them: Kube-OVN's tests compare the text."""
    return _TRAILING_ZERO.sub(b"", page(families(reading)))


def families(reading: Reading) -> Iterator[Family]:
    """The metrics; those of what is switched off are left out."""
    make = _Labelled(reading.identity)
    yield from _observer(make, reading)
    if reading.interfaces:
        yield from _interfaces(make, reading.interfaces)
    if reading.shows_flows:
        yield from _flows(make, reading.book)


def _observer(make: _Labelled, reading: Reading) -> Iterator[Family]:
    def counter(name: str, text: str, label: str, values: Mapping[str, int]) -> Family:
        samples = [((key,), value) for key, value in values.items()]
        return make(Counter, f"observability_{name}", text, (label,), samples)

    def single(kind: type[Family], name: str, text: str, value: float) -> Family:
        return make(kind, f"observability_conntrack_{name}", text, (), [((), value)])

    yield make(
        Gauge,
        "observability_collector_up",
        "Whether a collector is switched on and works.",
        ("collector",),
        [((name,), is_up) for name, is_up in reading.collectors.items()],
    )
    yield make(
        Counter,
        "observability_errors",
        "Errors of a collector.",
        ("collector", "operation"),
        reading.errors.items(),
    )
    yield counter("config_reload", "Configurations read.", "result", reading.reloads)
    yield counter("conntrack_events", "Events of the kernel.", "event", reading.events)
    yield counter("log_records", "Flow records written.", "event", reading.written)
    yield counter("log_drops", "Flow records not written.", "reason", reading.drops)
    book = reading.book
    yield single(Gauge, "cache_entries", "Connections remembered.", len(book))
    yield single(Gauge, "cache_capacity", "Connections that can be.", book.capacity)
    yield single(
        Counter, "cache_evictions", "Connections forgotten for want of room.", book.evictions
    )
    yield single(
        Gauge,
        "accounting_available",
        "Whether the kernel counts packets and bytes of connections.",
        reading.counts_bytes,
    )


def _interfaces(make: _Labelled, interfaces: Iterable[Interface]) -> Iterator[Family]:
    rows = [
        ((each.counts.name, each.side), way, traffic)
        for each in interfaces
        for way, traffic in (("rx", each.counts.receive), ("tx", each.counts.transmit))
    ]
    labels = ("interface", "type")
    for way, verb in (("rx", "received"), ("tx", "sent")):
        mine = [(who, traffic) for who, direction, traffic in rows if direction == way]
        octets = [(who, each.octets) for who, each in mine]
        packets = [(who, each.packets) for who, each in mine]
        yield make(Counter, f"interface_{way}_bytes", f"Bytes {verb}.", labels, octets)
        yield make(Counter, f"interface_{way}_packets", f"Packets {verb}.", labels, packets)
    both = (*labels, "direction")
    drops = [((*who, way), traffic.drops) for who, way, traffic in rows]
    errors = [((*who, way), traffic.errors) for who, way, traffic in rows]
    yield make(Counter, "interface_drops", "Packets dropped.", both, drops)
    yield make(Counter, "interface_errors", "Packets with errors.", both, errors)


def _flows(make: _Labelled, book: FlowBook) -> Iterator[Family]:
    for kind, name, text, sums in (
        (Gauge, "active", "Connections with NAT that there are.", book.active),
        (Counter, "started", "Connections with NAT that have begun.", book.started),
        (Counter, "ended", "Connections with NAT that have ended.", book.ended),
    ):
        yield make(kind, f"conntrack_nat_flows_{name}", text, _KIND, sums.items())
    for name, text, counts in (
        ("packets", "Packets of connections with NAT.", book.packets),
        ("bytes", "Bytes of connections with NAT.", book.octets),
    ):
        samples = [((*which, way), value) for (which, way), value in counts.items()]
        yield make(Counter, f"conntrack_nat_{name}", text, (*_KIND, "direction"), samples)
