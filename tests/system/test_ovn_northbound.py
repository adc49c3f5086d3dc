"""From gateways to packets through the installed OVN: our rows, real sessions, real traffic."""

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from bfd.client import Client
from kube.binding import STUB_PATIENCE_S, Because, Status
from kube.northbound import Northbound
from kube.routes import BfdSettings, Way
from tests.support.bfd_process import eventually
from tests.support.ovn_lab import (
    BareLab,
    Pilot,
    add_other_way_out,
    bare_lab,
    gateway_dies_and_gateway_drains,
)
from vegd.lab.errors import LabError
from vegd.lab.ovn_programs import INSTALLED

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def lab() -> Iterator[BareLab]:
    try:
        INSTALLED.require()
    except LabError as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    with bare_lab(INSTALLED) as made:
        yield made


@pytest.fixture
async def nb(lab: BareLab) -> AsyncIterator[Northbound]:
    async with await Northbound.connect(lab.northbound, timeout_s=30) as opened:
        yield opened


async def test_static_routes_lead_to_gateways_that_live_and_to_no_other(
    lab: BareLab, nb: Northbound
) -> None:
    pilot = Pilot(lab, nb, "bfd@vpc1")
    add_other_way_out(lab)
    await pilot.bfd_port()
    choice = await pilot.step()
    assert (choice.way, choice.because) == (Way.STATIC_ROUTES, Because.SCHEMA)
    await pilot.until_all(Status.DOWN)
    await pilot.step()
    await pilot.bfd_port()
    assert not pilot.has_stub, "not yet: gateways take their time"
    pilot.now_s += STUB_PATIENCE_S
    await pilot.step()
    await pilot.bfd_port()
    assert pilot.has_stub, "stock OVN sends nothing from a port that leads nowhere"
    await pilot.until_all(Status.UP)
    await new_timers_reach_the_gateways(lab, pilot)
    assert [*(await pilot.looks()).values()] == [Status.UP] * 4
    await gateway_dies_and_gateway_drains(pilot)
    await nb.converge(pilot.owner, ())
    assert "192.168.0.2" not in lab.nbctl("lr-route-list", "vpc1")


async def new_timers_reach_the_gateways(lab: BareLab, pilot: Pilot) -> None:
    """Defect 1: the rows that are there get the new values; no pod has to be replaced."""
    rows = lab.nbctl("--bare", "--columns=_uuid", "list", "bfd")
    before = pilot.gateway
    assert before.bfd is not None
    slower = BfdSettings(before.bfd.port, before.bfd.addresses, 300, 300, 3)
    for bfd, interval_us in ((slower, 300_000), (before.bfd, 100_000)):
        pilot.gateway = replace(before, bfd=bfd)
        await pilot.step()
        for gateway in lab.topology.gateways:
            async with Client(lab.state.runtime_dir(gateway.name) / "bfd.sock") as client:
                await eventually(
                    client,
                    lambda snapshot, wanted=interval_us: all(  # type: ignore[misc]
                        session.tx_interval_us == wanted for session in snapshot.sessions
                    ),
                    60,
                )
    assert lab.nbctl("--bare", "--columns=_uuid", "list", "bfd") == rows
