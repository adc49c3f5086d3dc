"""The metrics of SNAT's ports, and how often they are counted."""

import asyncio
from dataclasses import replace
from ipaddress import ip_address

from dataplane.model import Translation
from dataplane.portuse import Census, Destination, PortUse
from tests.support.dataplane import EXTERNAL, gateway_intent
from tests.support.dataplane_fake import FakeKernel
from vegd.census import CensusTaker, Taken
from vegd.metrics_ports import port_metrics


def _census(addresses: int) -> Census:
    busiest = tuple(Destination(ip_address("198.51.100.1"), port, 90 - port) for port in range(10))
    first = int(ip_address(EXTERNAL[4]))
    return Census(
        1000,
        1000,
        tuple(
            PortUse(ip_address(first + number), "tcp", 100, 100, busiest)
            for number in range(addresses)
        ),
    )


def _samples(census: Census) -> dict[str, list[float]]:
    intent = replace(gateway_intent(), translation=Translation((), (1001, 1100)))
    families = port_metrics(Taken(census, 0.0, 0.1), intent)
    return {family.name: [value for _, value in family.samples] for family in families}


def test_the_share_is_that_of_the_busiest_destination() -> None:
    found = _samples(_census(1))
    assert found["vegd_snat_ports_available"] == [100]
    assert found["vegd_snat_ports_used_ratio"] == [0.9]


def test_the_number_of_series_is_bounded() -> None:
    found = _samples(_census(1000))
    assert len(found["vegd_snat_connections"]) == 64
    assert len(found["vegd_snat_destination_connections"]) == 10


async def test_a_census_is_not_taken_again_before_its_pause_is_over() -> None:
    class Counting(FakeKernel):
        taken = 0

        async def census(self) -> Census:
            self.taken += 1
            return await super().census()

    kernel = Counting()
    taker = CensusTaker(kernel)
    task = asyncio.create_task(taker.run())
    found = [await taker.newest() for _ in range(5)]
    task.cancel()
    assert kernel.taken == 1
    assert None not in found
