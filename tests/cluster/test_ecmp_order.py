"""What ovn-northd makes of the order of static routes that share packets.

With the machine's OVN only: 25.03.0 heeds no UUIDs (see `kube.ecmp`).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from kube.northbound import Northbound
from kube.owners import VEGD, GatewayOwner
from kube.rows import StaticRoute
from vegd.lab.cluster.central import Central
from vegd.lab.cluster.logical import Logical
from vegd.lab.namespaces import delete, kill_inside
from vegd.lab.ovn_programs import INSTALLED

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

HOPS = ("192.168.0.7", "192.168.0.3", "192.168.0.5")
_SELECT = re.compile(r"ip4\.src == (?P<prefix>\S+)")
_GROUP = re.compile(r"reg8\[0\.\.15\] = (\d+); reg8\[16\.\.31\] = select")
_MEMBER = re.compile(r"reg8\[0\.\.15\] == (\d+) && reg8\[16\.\.31\] == (\d+)")
_HOP = re.compile(r"reg0 = ([\d.]+);")


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Central]:
    made = Central(f"eo{uuid4().hex[:6]}", tmp_path / "ovn", INSTALLED)
    made.directory.parent.mkdir()
    try:
        made.create()
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
    centre: Central,
) -> None:
    logical = Logical(centre)
    logical.ensure_vpc("vpc1")
    logical.ensure_subnet("vpc1", "subnet1", ["192.168.0.0/24"], ["192.168.0.1"])
    owners = [GatewayOwner(VEGD, "default", name) for name in ("gateway1", "gateway2")]

    def routes(owner: GatewayOwner, count: int) -> list[StaticRoute]:
        second = 10 if owner is owners[0] else 11
        prefixes = [f"{second}.{number}.0.0/16" for number in range(count)]
        return [
            StaticRoute(router="vpc1", ip_prefix=prefix, nexthop=hop, external_ids=owner.ids(4))
            for prefix in prefixes
            for hop in HOPS
        ]

    async with await Northbound.connect(centre.remote("nb"), timeout_s=20) as northbound:
        for ours, others in ((1, 0), (2, 0), (2, 9), (5, 40), (30, 40), (1, 90), (4, 0)):
            await northbound.converge(owners[0], routes(owners[0], ours))
            await northbound.converge(owners[1], routes(owners[1], others))
            found = groups(centre)
            assert len(found) == ours + others
            assert set(found.values()) == {HOPS}, (ours, others)
