"""OVN 25.03, whose policies can name BFD sessions: we go by whether it shows that it heeds them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from kube.binding import PATIENCE_S, STUB_PATIENCE_S, Because, Status
from kube.northbound import Northbound
from kube.routes import Way
from tests.support.ovn_lab import (
    BareLab,
    Pilot,
    add_other_way_out,
    bare_lab,
    gateway_dies_and_gateway_drains,
    leaked,
    texts,
)
from tests.support.ovn_versions import trixie
from vegd.lab import faults
from vegd.lab.flows import Probes, probed
from vegd.lab.ovn_programs import OvnPrograms
from vegd.lab.topology import Gateway, Topology

# The root takes a minute and a half of it where it is not there yet.
pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

_WITHIN_S = 90.0
_ROUNDS = 6


@pytest.fixture(scope="module")
def ovn(pytestconfig: pytest.Config) -> OvnPrograms:
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        return trixie()


@pytest.fixture
def dedicated(ovn: OvnPrograms) -> Iterator[BareLab]:
    """The sessions begin at a port of the VPC's own, as Kube-OVN has it."""
    with bare_lab(ovn) as made:
        yield made


@pytest.fixture
def subnets(ovn: OvnPrograms) -> Iterator[BareLab]:
    """The sessions begin at the port that leads to the gateways."""
    with bare_lab(ovn, Topology.subnet1) as made:
        made.nbctl(
            "ha-chassis-group-add",
            "any",
            "--",
            "ha-chassis-group-add-chassis",
            "any",
            "chassis1",
            "1",
        )
        group = made.nbctl(
            "--bare", "--columns=_uuid", "find", "ha_chassis_group", "name=any"
        ).strip()
        made.nbctl("set", "logical_router_port", "vpc1-subnet1", f"ha_chassis_group={group}")
        yield made


@pytest.fixture
async def pilot(request: pytest.FixtureRequest) -> AsyncIterator[Pilot]:
    lab = request.getfixturevalue(request.param)
    # As Kube-OVN: a route, without which no packet reaches the policies, and peace inside the VPC.
    add_other_way_out(lab)
    for match in (
        "ip4.dst == {192.168.0.0/24, 192.168.1.0/24}",
        "ip6.dst == {fd00::/64, fd01::/64}",
    ):
        lab.nbctl("lr-policy-add", "vpc1", "31000", match, "allow")
    port = "bfd@vpc1" if request.param == "dedicated" else "vpc1-subnet1"
    async with await Northbound.connect(lab.northbound, timeout_s=30) as nb:
        yield Pilot(lab, nb, port)


@pytest.mark.parametrize("pilot", ["dedicated"], indirect=True)
async def test_policies_that_ovn_ignores_are_replaced_before_a_packet_follows_them(
    pilot: Pilot,
) -> None:
    await pilot.bfd_port()
    choice = await pilot.step()
    assert (choice.way, choice.because) == (Way.TRIAL, Because.UNKNOWN)
    await pilot.until_all(Status.ADMIN_DOWN)
    pilot.lab.nbctl("--wait=sb", "sync")
    await pilot.until_all(Status.ADMIN_DOWN)
    assert (await pilot.step()).way is Way.TRIAL, "northd gets its time"
    probes = Probes(pilot.lab.state, probed(pilot.lab), interval_ms=100)
    await asyncio.to_thread(probes.start)
    await asyncio.sleep(1)
    flows = await asyncio.to_thread(probes.stop)
    assert len(flows) == 16
    assert all(flow.lost == len(flow.sent) > 0 for flow in flows)
    assert leaked(pilot.lab) == 0
    pilot.now_s += PATIENCE_S
    choice = await pilot.step()
    assert (choice.way, choice.because) == (Way.STATIC_ROUTES, Because.IGNORED)
    await pilot.until_all(Status.DOWN)
    choice = await pilot.step()
    assert (choice.way, choice.because) == (Way.STATIC_ROUTES, Because.ROUTES)
    pilot.now_s += STUB_PATIENCE_S
    await pilot.step()
    await pilot.bfd_port()
    assert pilot.has_stub
    await pilot.until_all(Status.UP)
    await gateway_dies_and_gateway_drains(pilot)


@pytest.mark.parametrize("pilot", ["subnets"], indirect=True)
async def test_policies_that_ovn_heeds_lead_to_gateways_that_live_and_to_no_other(
    pilot: Pilot,
) -> None:
    assert (await pilot.step()).way is Way.TRIAL
    await pilot.until(lambda found: Status.DOWN in found.values())
    choice = await pilot.step()
    assert (choice.way, choice.because) == (Way.POLICIES, Because.HEEDED)
    await pilot.until_all(Status.UP)
    await gateway_dies_and_gateway_drains(pilot)


@pytest.mark.parametrize("pilot", ["subnets"], indirect=True)
async def test_policies_that_ovn_heeds_prefer_the_gateway_of_the_clients_node_while_it_lives(
    pilot: Pilot,
) -> None:
    lab, groups = pilot.lab, {"node1": "node.node1", "node2": "node.node2"}
    first, second = lab.topology.gateways
    for client, group in zip(lab.topology.clients, groups.values(), strict=True):
        lab.nbctl("pg-add", group, client.name)
    pairs = zip(pilot.gateway.replicas, groups, strict=True)
    pilot.gateway = replace(
        pilot.gateway,
        replicas=tuple(replace(each, node=node) for each, node in pairs),
        is_local=True,
        node_groups=groups,
    )
    await pilot.step()
    await pilot.until(lambda found: Status.DOWN in found.values())
    assert (await pilot.step()).way is Way.POLICIES
    await pilot.until_all(Status.UP)
    await _until_led(lab, first, second)
    await asyncio.to_thread(faults.cut, first)
    await _until_led(lab, second, second)
    await asyncio.to_thread(faults.heal, first, lab.topology)
    await _until_led(lab, first, second)
    assert leaked(lab) == 0


async def _until_led(lab: BareLab, *gateways: Gateway) -> None:
    """Wait until all addresses of each client are led to the gateway in its place, several times
    in a row."""
    wanted = [{*texts(each.external)} for each in gateways]
    deadline, rounds = time.monotonic() + _WITHIN_S, 0
    while rounds < _ROUNDS:
        found = [set((await asyncio.to_thread(each.fetch)).values()) for each in probed(lab)]
        rounds = rounds + 1 if found == wanted else 0
        assert time.monotonic() < deadline, (found, wanted)
