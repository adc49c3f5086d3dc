"""What ovn-northd makes of static routes that share packets: their order, and who gets what."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from kube.northbound import Northbound
from kube.owners import VEGD, GatewayOwner
from kube.routes import BfdSettings, Gateway, Replica, Way, routes
from kube.rows import StaticRoute
from tests.support.ovn_versions import trixie
from vegd.lab.cluster.central import Central
from vegd.lab.cluster.logical import Logical
from vegd.lab.namespaces import delete, kill_inside
from vegd.lab.ovn_programs import INSTALLED, OvnPrograms

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

HOPS = ("192.168.0.7", "192.168.0.3", "192.168.0.5")
_SELECT = re.compile(r"ip4\.src == (?P<prefix>\S+)")
_GROUP = re.compile(r"reg8\[0\.\.15\] = (\d+); reg8\[16\.\.31\] = select")
_MEMBER = re.compile(r"reg8\[0\.\.15\] == (\d+) && reg8\[16\.\.31\] == (\d+)")
_HOP = re.compile(r"reg0 = ([\d.]+);")


@contextlib.contextmanager
def centre_of(programs: OvnPrograms, directory: Path) -> Iterator[Central]:
    """OVN without nodes, with `vpc1` and a subnet for gateways in it."""
    made = Central(f"eo{uuid4().hex[:6]}", directory / "ovn", programs)
    made.directory.parent.mkdir()
    try:
        made.create()
        logical = Logical(made)
        logical.ensure_vpc("vpc1")
        logical.ensure_subnet("vpc1", "subnet1", ["192.168.0.0/24"], ["192.168.0.1"])
        yield made
    finally:
        made.stop()
        for each in made.namespaces:
            kill_inside(each)
            delete(each)


def groups(centre: Central) -> dict[str, tuple[str, ...]]:
    """The next hops of each network's group, as OVN numbers them."""
    centre.nbctl("--wait=sb", "sync")
    networks: dict[str, str] = {}
    members: dict[str, dict[int, str]] = {}
    for flow in centre.rows("logical_flow", database="sb"):
        match, actions = str(flow["match"]), str(flow["actions"])
        if (number := _GROUP.search(actions)) and (found := _SELECT.search(match)):
            networks[found["prefix"]] = number[1]
        if (place := _MEMBER.search(match)) and (hop := _HOP.search(actions)):
            members.setdefault(place[1], {})[int(place[2])] = hop[1]
    return {
        network: tuple(members[group][number] for number in sorted(members[group]))
        for network, group in networks.items()
    }


async def test_members_of_a_group_keep_their_order_whatever_else_comes_and_goes(
    tmp_path: Path,
) -> None:
    """Not with 25.03.0, which heeds no UUIDs (see `kube.ecmp`)."""
    owners = [GatewayOwner(VEGD, "default", name) for name in ("gateway1", "gateway2")]

    def wanted(owner: GatewayOwner, count: int) -> list[StaticRoute]:
        second = 10 if owner is owners[0] else 11
        prefixes = [f"{second}.{number}.0.0/16" for number in range(count)]
        return [
            StaticRoute(
                router="vpc1",
                ip_prefix=prefix,
                slot=slot,
                nexthop=hop,
                external_ids=owner.ids(4),
            )
            for prefix in prefixes
            for slot, hop in enumerate(HOPS)
        ]

    with centre_of(INSTALLED, tmp_path) as centre:
        northbound = await Northbound.connect(centre.remote("nb"), timeout_s=20)
        for ours, others in ((1, 0), (2, 0), (2, 9), (5, 40), (30, 40), (1, 90), (4, 0)):
            await northbound.converge(owners[0], wanted(owners[0], ours))
            await northbound.converge(owners[1], wanted(owners[1], others))
            found = groups(centre)
            assert len(found) == ours + others
            assert set(found.values()) == {HOPS}, (ours, others)
        await northbound.close()


@pytest.mark.parametrize("version", ["installed", "25.03"])
async def test_a_connection_finds_its_gateway_by_its_ports_where_ovn_can_be_told(
    version: str, tmp_path: Path
) -> None:
    gateway = Gateway(
        namespace="default",
        name="gateway1",
        router="vpc1",
        router_port="vpc1-subnet1",
        size=3,
        replicas=tuple(Replica(hop, "node1", True, (hop,), ("172.17.0.2",)) for hop in HOPS),
        cidrs=frozenset({"10.0.0.0/16"}),
        bfd=BfdSettings("bfd@vpc1", ("10.255.255.255",)),
        way=Way.STATIC_ROUTES,
    )
    owner = GatewayOwner(VEGD, "default", "gateway1")
    rows = routes(gateway, VEGD).rows
    with centre_of(INSTALLED if version == "installed" else trixie(), tmp_path) as centre:
        northbound = await Northbound.connect(centre.remote("nb"), timeout_s=20)
        centre.nbctl("lrp-add", "vpc1", "bfd@vpc1", "02:00:00:00:01:ff", "10.255.255.255/32")
        await northbound.converge(owner, rows)
        assert not (await northbound.plan(owner, rows)).plan
        # Nobody is there who could say that the sessions are up.
        for route in centre.rows("logical_router_static_route", "bfd!=[]"):
            centre.nbctl("clear", "logical_router_static_route", route["_uuid"], "bfd")
        centre.nbctl("--wait=sb", "sync")
        chosen = [
            str(flow["actions"]).partition("select")[2]
            for flow in centre.rows("logical_flow", database="sb")
            if "tcp" in str(flow["match"]) and "select" in str(flow["actions"])
        ]
        await northbound.close()
    told = '(values=(1, 2, 3); hash_fields="ip_dst,ip_proto,ip_src,tcp_dst,tcp_src");'
    assert chosen == ([] if version == "installed" else [told])
