"""The metrics of SNAT's ports, from the newest census of the tracked connections.

How many series there are is bounded: an address of a pool that is hardly used, and a destination
that few connections lead to, is no danger and is left out.
"""

import time
from collections.abc import Iterator

from dataplane.model import GatewayIntent
from dataplane.portuse import ports_available
from vegd.census import Taken
from vegd.exposition import Family, Gauge

_MOST_ADDRESSES = 64
_MOST_DESTINATIONS = 10
_LABELS = ["address", "protocol"]


def port_metrics(taken: Taken | None, intent: GatewayIntent | None) -> Iterator[Family]:
    """The metrics; without a census their names alone."""
    connections = Gauge(
        "vegd_snat_connections", "Tracked connections that SNAT shows so.", labels=_LABELS
    )
    in_use = Gauge("vegd_snat_ports_in_use", "Different ports that SNAT shows.", labels=_LABELS)
    available = Gauge("vegd_snat_ports_available", "Ports that SNAT may show.", labels=_LABELS)
    share = Gauge(
        "vegd_snat_ports_used_ratio",
        "Share of the ports in use towards the busiest destination; at 1 it gets no more.",
        labels=_LABELS,
    )
    busiest = Gauge(
        "vegd_snat_destination_connections",
        "Connections to the busiest destinations.",
        labels=[*_LABELS, "destination", "port"],
    )
    age = Gauge("vegd_snat_census_age_seconds", "Age of these figures.")
    took = Gauge("vegd_snat_census_seconds", "How long it took to count them.")
    if taken is not None:
        age.add([], time.monotonic() - taken.at)
        took.add([], taken.took_s)
        uses = taken.census.uses[:_MOST_ADDRESSES]
        for use in uses:
            labels = [str(use.address), use.protocol]
            connections.add(labels, use.connections)
            in_use.add(labels, use.ports)
            usable = 0 if intent is None else ports_available(intent, use.address)
            if usable:
                available.add(labels, usable)
                share.add(labels, use.busiest[0].connections / usable)
        places = [(each, use) for use in uses for each in use.busiest]
        places.sort(key=lambda pair: -pair[0].connections)
        for each, use in places[:_MOST_DESTINATIONS]:
            labels = [str(use.address), use.protocol, str(each.address), str(each.port)]
            busiest.add(labels, each.connections)
    yield from (connections, in_use, available, share, busiest, age, took)
