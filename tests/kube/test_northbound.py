"""Rows in a real northbound database: one transaction a gateway, and nothing of anybody else's."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kube import bfd_port
from kube.mirror import COLUMNS, View, make_indexes
from kube.northbound import Changed, Northbound
from kube.ovsdb import Database, ReadOnly, Unreachable, Violated
from kube.owners import KUBE_OVN, VEGD, GatewayOwner, Mark, PortOwner
from kube.routes import BfdSettings, Gateway, Replica, SelectedPod, Way, routes
from kube.rowdiff import Outcome, diff
from kube.rows import AddressSet, Bfd, Policy, Ref, Row
from kube.slots import Slot
from tests.support.ovsdb import OvsdbCluster, OvsdbServer

pytestmark = pytest.mark.timeout(180)

OWNER = GatewayOwner(KUBE_OVN, "default", "gateway1")
BFD_PORT = ("lrp-add", "vpc1", "bfd@vpc1", "02:00:00:00:01:ff", "10.255.255.255/32")
GATEWAY = Gateway(
    namespace="default",
    name="gateway1",
    router="vpc1",
    router_port="vpc1-subnet1",
    size=2,
    replicas=(
        Replica("a", "node1", True, ("192.168.0.2",), ("172.17.0.2",)),
        Replica("b", "node2", True, ("192.168.0.3",), ("172.17.0.3",)),
    ),
    cidrs=frozenset({"192.168.1.0/24", "fd01::/64"}),
    bfd=BfdSettings("bfd@vpc1", ("10.255.255.255",)),
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OvsdbServer]:
    made = OvsdbServer(tmp_path)
    made.nbctl("lr-add", "vpc1", "--", "lr-add", "vpc2", "--", "ls-add", "subnet1")
    made.nbctl(*BFD_PORT)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
async def nb(server: OvsdbServer) -> AsyncIterator[Northbound]:
    async with await Northbound.connect(server.remote, timeout_s=20) as opened:
        yield opened


def rows(gateway: Gateway = GATEWAY, mark: Mark = KUBE_OVN) -> tuple[Row, ...]:
    return routes(gateway, mark).rows


def contents(server: OvsdbServer) -> dict[str, list[Any]]:
    """All rows of the tables that gateways have rows in."""
    tables = (
        *("Port_Group", "Address_Set", "BFD", "Logical_Router_Policy", "Logical_Router"),
        "Logical_Router_Static_Route",
    )
    operations = [{"op": "select", "table": table, "where": []} for table in tables]
    answers = server.transact(*operations)
    for answer in answers:
        for row in answer["rows"]:
            del row["_version"]
    return {
        table: sorted(answer["rows"], key=lambda row: str(row["_uuid"]))
        for table, answer in zip(tables, answers, strict=True)
    }


async def seen(nb: Northbound, condition: Callable[[Outcome], bool]) -> Outcome:
    """What is to be done, once the mirror has heard of what makes it so."""
    deadline = time.monotonic() + 40
    while not condition(outcome := await nb.plan(OWNER, rows())):
        assert time.monotonic() < deadline, str(outcome.plan)
        await asyncio.sleep(0.02)
    return outcome


async def test_a_gateway_is_one_transaction_and_then_none(
    server: OvsdbServer, nb: Northbound
) -> None:
    before = server.commits()
    done = await nb.converge(OWNER, rows())
    assert len(done.plan.ops) == len(rows()) == 12
    assert server.commits() == before + 1
    state = contents(server)
    for _ in range(3):
        assert not (await nb.converge(OWNER, rows())).plan
    assert server.commits() == before + 1, "nothing is written when nothing has changed"
    assert contents(server) == state


async def test_ovns_own_tools_read_what_was_written(server: OvsdbServer, nb: Northbound) -> None:
    await nb.converge(OWNER, rows())
    policies = server.nbctl("lr-policy-list", "vpc1")
    name = OWNER.group
    for line in (f"29100 ip4.src == ${name}.ipv4 reroute 192.168.0.2, 192.168.0.3", "29090"):
        assert line in " ".join(policies.split())
    session = server.nbctl("--bare", "find", "bfd", 'dst_ip="192.168.0.2"').split("\n")
    assert {"bfd@vpc1", "1000", "3"} <= set(session)


async def test_static_routes_are_as_the_tool_makes_them(
    server: OvsdbServer, nb: Northbound
) -> None:
    gateway = replace(GATEWAY, way=Way.STATIC_ROUTES)
    await nb.converge(OWNER, rows(gateway))
    listed = " ".join(server.nbctl("lr-route-list", "vpc1").split())
    for hop in ("192.168.0.2", "192.168.0.3"):
        assert f"192.168.1.0/24 {hop} src-ip ecmp bfd" in listed
    assert not (await nb.converge(OWNER, rows(gateway))).plan
    assert (await nb.converge(OWNER, rows())).plan, "and back"
    assert not server.nbctl("lr-route-list", "vpc1").strip()


async def test_slots_are_read_from_the_routes_and_keep_their_rows(
    server: OvsdbServer, nb: Northbound
) -> None:
    gateway = replace(GATEWAY, way=Way.STATIC_ROUTES)
    await nb.converge(OWNER, rows(gateway))
    slots = await nb.slots(OWNER)
    assert slots == {(4, 0): Slot("192.168.0.2"), (4, 1): Slot("192.168.0.3")}
    before = {row["_uuid"][1] for row in contents(server)["Logical_Router_Static_Route"]}
    first, second = GATEWAY.replicas
    moved = replace(
        gateway,
        replicas=(replace(first, leaving=True), second),
        slots=slots,
        up=frozenset(slot.hop for slot in slots.values()),
    )
    await nb.converge(OWNER, rows(moved))
    routes_there = contents(server)["Logical_Router_Static_Route"]
    assert {row["_uuid"][1] for row in routes_there} == before
    assert {row["nexthop"] for row in routes_there} == {"192.168.0.3"}
    lent = await nb.slots(OWNER)
    assert lent == {(4, 0): Slot("192.168.0.3", lent=True), (4, 1): Slot("192.168.0.3")}
    third = replace(second, name="c", internal=("192.168.0.4",))
    await nb.converge(OWNER, rows(replace(moved, replicas=(second, third), slots=lent)))
    assert await nb.slots(OWNER) == lent, "its session is not up yet"
    up = frozenset({"192.168.0.3", "192.168.0.4"})
    await nb.converge(OWNER, rows(replace(moved, replicas=(second, third), slots=lent, up=up)))
    assert await nb.slots(OWNER) == {(4, 0): Slot("192.168.0.4"), (4, 1): Slot("192.168.0.3")}
    other = GatewayOwner(KUBE_OVN, "default", "another")
    assert await nb.slots(other) == {}


async def test_routes_that_were_not_made_for_slots_are_made_anew(
    server: OvsdbServer, nb: Northbound
) -> None:
    gateway = replace(GATEWAY, way=Way.STATIC_ROUTES)
    for hop in ("192.168.0.2", "192.168.0.9"):
        ids = [f'external_ids:"{name}"="{value}"' for name, value in OWNER.ids(4)]
        server.nbctl(
            *("--id=@route", "create", "logical_router_static_route", "policy=src-ip"),
            *('ip_prefix="192.168.1.0/24"', f'nexthop="{hop}"', *ids),
            *("--", "add", "logical_router", "vpc1", "static_routes", "@route"),
        )
    assert await nb.slots(OWNER) == {}
    await nb.converge(OWNER, rows(gateway))
    assert await nb.slots(OWNER) == {(4, 0): Slot("192.168.0.2"), (4, 1): Slot("192.168.0.3")}
    assert len(contents(server)["Logical_Router_Static_Route"]) == 2


async def test_defect_1_timers_are_changed_in_the_row_that_is_there(
    server: OvsdbServer, nb: Northbound
) -> None:
    await nb.converge(OWNER, rows())
    before = contents(server)
    faster = BfdSettings("bfd@vpc1", ("10.255.255.255",), 100, 200, 5)
    await nb.converge(OWNER, rows(replace(GATEWAY, bfd=faster)))
    after = contents(server)
    assert [row["_uuid"] for row in after["BFD"]] == [row["_uuid"] for row in before["BFD"]]
    for row in after["BFD"]:
        assert (row["min_tx"], row["min_rx"], row["detect_mult"]) == (200, 100, 5)
    assert after["Logical_Router_Policy"] == before["Logical_Router_Policy"], "they still name it"


async def test_defects_3_and_13_what_is_changed_by_hand_is_told_and_repaired(
    server: OvsdbServer, nb: Northbound
) -> None:
    port = Ref("Logical_Router_Port", ("bfd@vpc1",))
    await nb.converge(OWNER, rows())
    await collect(nb, lambda heard: ("kube-ovn", OWNER.key) in heard.gateways)
    told = asyncio.create_task(collect(nb, lambda heard: ("kube-ovn", OWNER.key) in heard.gateways))
    server.nbctl("lr-policy-del", "vpc1", "29100")
    await asyncio.wait_for(told, 40)
    uuids = server.nbctl("--bare", "--columns=_uuid", "list", "bfd").split()
    server.nbctl("set", "bfd", uuids[0], "min_tx=7777", "--", "destroy", "bfd", uuids[1])
    name = f"{OWNER.group}.ipv4"
    server.nbctl("set", "address_set", name, "addresses=0.0.0.0/0", "external_ids:note=x")
    server.nbctl("set", "address_set", name, "external_ids:af=5")
    told = asyncio.create_task(collect(nb, lambda heard: port in heard.names))
    await asyncio.wait_for(told, 40)
    await seen(nb, lambda outcome: len(outcome.plan.ops) == 5 and "-af=5" in str(outcome.plan))
    await nb.converge(OWNER, rows())
    assert not (await nb.plan(OWNER, rows())).plan
    assert server.nbctl("lr-policy-list", "vpc1").count("29100") == 2
    for row in contents(server)["Logical_Router_Policy"]:
        named = row["bfd_sessions"]
        assert row["priority"] != 29100 or len(named[1]) == 2, "the new session is named"


async def collect(nb: Northbound, condition: Callable[[Changed], bool]) -> Changed:
    async for heard in nb.changes():
        if condition(heard):
            return heard
    raise AssertionError


async def test_it_is_told_once_that_a_database_is_back_also_if_nothing_has_changed(
    server: OvsdbServer, nb: Northbound
) -> None:
    async with asyncio.timeout(60):
        await collect(nb, lambda heard: heard.is_connection_new)
        server.stop()
        while nb.is_connected:
            await asyncio.sleep(0.05)
        server.start()
        await collect(nb, lambda heard: heard.is_connection_new)
        assert nb.is_connected
        server.nbctl("lr-add", "news")
        router = Ref("Logical_Router", ("news",))
        assert not (await collect(nb, lambda heard: router in heard.names)).is_connection_new


async def test_defect_12_another_vpc_takes_the_rows_along_and_deletion_leaves_none(
    server: OvsdbServer, nb: Northbound
) -> None:
    clean = contents(server)
    await nb.converge(OWNER, rows())
    await nb.converge(OWNER, rows(replace(GATEWAY, router="vpc2")))
    assert not server.nbctl("lr-policy-list", "vpc1").strip()
    assert server.nbctl("lr-policy-list", "vpc2").count("29100") == 2
    await nb.converge(OWNER, ())
    assert contents(server) == clean


async def test_defect_14_a_port_group_is_not_written_again_and_again(
    server: OvsdbServer, nb: Northbound
) -> None:
    server.nbctl("lsp-add", "subnet1", "web.a")
    pods = (SelectedPod("web.a"),)
    gateway = replace(GATEWAY, has_selectors=True, pods=pods)
    await until_ports(nb, gateway)
    commits = server.commits()
    for _ in range(3):
        await nb.converge(OWNER, rows(gateway))
    assert server.commits() == commits


async def until_ports(nb: Northbound, gateway: Gateway) -> None:
    deadline = time.monotonic() + 40
    while (await nb.converge(OWNER, rows(gateway))).missing:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_a_port_that_comes_later_is_told_and_added(
    server: OvsdbServer, nb: Northbound
) -> None:
    gateway = replace(GATEWAY, has_selectors=True, pods=(SelectedPod("web.a"),))
    done = await nb.converge(OWNER, rows(gateway))
    port = Ref("Logical_Switch_Port", ("web.a",))
    assert [each.wanted for each in done.missing] == [port]
    told = asyncio.create_task(collect(nb, lambda heard: port in heard.names))
    server.nbctl("lsp-add", "subnet1", "web.a")
    await asyncio.wait_for(told, 40)
    done = await nb.converge(OWNER, rows(gateway))
    assert str(done.plan) == f"~ Port_Group {OWNER.group}  ports: +web.a"


async def test_a_port_that_somebody_adds_to_the_group_meanwhile_does_not_undo_ours(
    server: OvsdbServer, nb: Northbound
) -> None:
    for port in ("web.a", "web.b", "web.c"):
        server.nbctl("lsp-add", "subnet1", port)
    gateway = replace(GATEWAY, has_selectors=True, pods=(SelectedPod("web.a"),))
    await until_ports(nb, gateway)
    uuid = server.nbctl("--bare", "--columns=_uuid", "find", "logical_switch_port", "name=web.c")
    server.nbctl("add", "port_group", OWNER.group, "ports", uuid.strip())
    more = replace(gateway, pods=(SelectedPod("web.a"), SelectedPod("web.b")))
    await until_ports(nb, more)
    deadline = time.monotonic() + 40
    while (await nb.converge(OWNER, rows(more))).plan:
        assert time.monotonic() < deadline
    ports = " ".join(server.nbctl("--bare", "--columns=ports", "list", "port_group").split())
    assert len(ports.split()) == 2
    assert uuid.strip() not in ports


async def test_beside_kube_ovn_neither_touches_the_others_rows(
    server: OvsdbServer, nb: Northbound
) -> None:
    ours = GatewayOwner(VEGD, "default", "gateway1")
    pods = tuple(
        replace(each, internal=(f"192.168.0.{n}",)) for n, each in enumerate(GATEWAY.replicas, 7)
    )
    await nb.converge(OWNER, rows())
    theirs = contents(server)
    await nb.converge(ours, rows(replace(GATEWAY, replicas=pods), VEGD))
    assert not (await nb.plan(OWNER, rows())).plan
    await nb.converge(OWNER, ())
    assert len(contents(server)["BFD"]) == 2
    assert not (await nb.plan(ours, rows(replace(GATEWAY, replicas=pods), VEGD))).plan
    await nb.converge(OWNER, rows())
    await nb.converge(ours, ())
    assert {t: len(each) for t, each in contents(server).items()} == {
        t: len(each) for t, each in theirs.items()
    }


async def test_a_row_of_somebody_else_in_our_place_stays_as_it_is(
    server: OvsdbServer, nb: Northbound
) -> None:
    server.nbctl("create", "address_set", f"name={OWNER.group}.ipv4", "addresses=10.9.0.0/16")
    server.nbctl(
        *("create", "bfd", "logical_port=bfd@vpc1", 'dst_ip="192.168.0.2"', "min_tx=9"),
        "external_ids:owner=somebody",
    )
    await seen(nb, lambda outcome: len(outcome.conflicts) == 2)
    done = await nb.converge(OWNER, rows())
    assert len(done.conflicts) == 2
    assert "10.9.0.0/16" in server.nbctl("list", "address_set", f"{OWNER.group}.ipv4")
    assert (
        server.nbctl(
            "--bare", "--columns=min_tx", "find", "bfd", "external_ids:owner=somebody"
        ).strip()
        == "9"
    )
    text = server.nbctl("lr-policy-list", "vpc1")
    assert f"${OWNER.group}.ipv4" not in text, "it would lead somebody else's networks"
    assert f"${OWNER.group}_ip4" in text
    await nb.converge(OWNER, ())
    assert len(contents(server)["Address_Set"]) == len(contents(server)["BFD"]) == 1


SESSION = Bfd(
    logical_port="bfd@vpc1",
    dst_ip="192.168.0.2",
    min_tx=1000,
    min_rx=1000,
    detect_mult=3,
    external_ids=OWNER.ids(4),
)
POLICY = Policy(
    router="vpc1", priority=29090, match="ip4", action="drop", external_ids=OWNER.ids(4)
)
FOUND = ("find", "bfd", "logical_port=bfd@vpc1")


@pytest.mark.parametrize(
    ("wanted", "edit", "afterwards"),
    [
        pytest.param(
            [replace(SESSION, min_tx=300)],
            ("set", "bfd", "SESSION", "external_ids={owner=somebody}"),
            "no plan, 1 conflicts, 0 missing",
            id="a row that changes hands is not changed",
        ),
        pytest.param(
            [replace(SESSION, min_tx=300)],
            ("set", "bfd", "SESSION", "min_tx=300"),
            "no plan, 0 conflicts, 0 missing",
            id="a column that has just become as wanted is left",
        ),
        pytest.param(
            [],
            ("set", "bfd", "SESSION", "external_ids={owner=somebody}"),
            "no plan, 0 conflicts, 0 missing",
            id="a row that changes hands is not removed",
        ),
        pytest.param(
            [SESSION, replace(POLICY, router="vpc2")],
            ("lr-del", "vpc2"),
            "no plan, 0 conflicts, 1 missing",
            id="a router that goes takes nothing along unseen",
        ),
    ],
)
async def test_an_edit_between_look_and_commit_is_not_lost(
    server: OvsdbServer, wanted: list[Row], edit: tuple[str, ...], afterwards: str
) -> None:
    """The commit finds that what it relied on has moved, and everything begins with a new look."""
    views: list[View] = []

    def prepare(idl: Any) -> None:
        make_indexes(idl)
        views.append(View(idl))

    database = await Database.open(
        server.remote, "OVN_Northbound", COLUMNS, prepare=prepare, timeout_s=20
    )
    plans: list[str] = []

    def do(_: Any, txn: Any, rows: list[Row], between: tuple[str, ...] = ()) -> Outcome:
        outcome = diff(views[0].observe(OWNER, rows), rows, OWNER)
        plans.append(str(outcome.plan))
        if between and len(plans) == 1:
            server.nbctl(*between)
        views[0].write(txn, outcome.plan)
        return outcome

    try:
        await database.commit(lambda idl, txn: do(idl, txn, [SESSION]))
        plans.clear()
        uuid = server.nbctl("--bare", "--columns=_uuid", *FOUND).strip()
        between = tuple(uuid if each == "SESSION" else each for each in edit)
        done = await database.commit(lambda idl, txn: do(idl, txn, wanted, between))
        assert len(plans) == 2
        counts = f"{len(done.conflicts)} conflicts, {len(done.missing)} missing"
        assert f"{'a' if done.plan else 'no'} plan, {counts}" == afterwards
        assert uuid in server.nbctl("--bare", "--columns=_uuid", *FOUND)
    finally:
        await database.close()


async def test_a_bfd_port_has_its_group_its_stub_and_keeps_its_address(
    server: OvsdbServer, nb: Northbound
) -> None:
    server.nbctl("lrp-del", "bfd@vpc1")
    server.nbctl("lrp-add", "vpc1", "vpc1-subnet1", "02:00:00:00:00:01", "192.168.0.1/24")
    server.nbctl(
        "set", "logical_router_port", "vpc1-subnet1", "external_ids={lr=vpc1,vendor=kube-ovn}"
    )
    owner = PortOwner(KUBE_OVN, "vpc1")
    port = bfd_port.BfdPort(
        vpc="vpc1", addresses=("10.255.255.255", "fdff::1"), chassis=("one", "two"), has_stub=True
    )
    await nb.converge(owner, bfd_port.rows(port, KUBE_OVN))
    assert not (await nb.converge(owner, bfd_port.rows(port, KUBE_OVN))).plan
    listed = server.nbctl("ha-chassis-group-list")
    assert "(one)" in listed
    server.nbctl("lsp-del", "stub-bfd@vpc1")
    heard = Ref("Logical_Switch_Port", ("stub-bfd@vpc1",))
    await asyncio.wait_for(collect(nb, lambda each: heard in each.names), 40)
    while not (await nb.converge(owner, bfd_port.rows(port, KUBE_OVN))).plan:
        await asyncio.sleep(0.02)
    assert "bfd@vpc1" in server.nbctl("lsp-list", "stub-bfd@vpc1")
    options = server.nbctl("lsp-get-options", "stub-bfd@vpc1")
    assert options.strip() == "router-port=bfd@vpc1"
    assert server.nbctl("lsp-get-type", "stub-bfd@vpc1").strip() == "router"
    server.nbctl("set", "logical_router_port", "bfd@vpc1", 'mac="02:00:00:00:00:77"')
    other = replace(port, chassis=("two", "three"), has_stub=False)
    heard = Ref("Logical_Router_Port", ("bfd@vpc1",))
    await asyncio.wait_for(collect(nb, lambda each: heard in each.names), 40)
    done = await nb.converge(owner, bfd_port.rows(other, KUBE_OVN))
    assert "ha_chassis: -one=100 -two=99 +three=99 +two=100" in str(done.plan)
    assert "02:00:00:00:00:77" in server.nbctl("list", "logical_router_port", "bfd@vpc1")
    assert "(one)" not in server.nbctl("ha-chassis-group-list")
    await nb.converge(owner, ())
    assert server.nbctl("lrp-list", "vpc1").split()[1:] == ["(vpc1-subnet1)"]
    assert server.nbctl("ls-list").split()[1:] == ["(subnet1)"]
    assert not server.nbctl("ha-chassis-group-list").strip()


async def test_sessions_never_outlive_their_port(server: OvsdbServer, nb: Northbound) -> None:
    """ovn-northd 25.03.0 dies of a session without a port."""
    await nb.converge(OWNER, rows())
    before = contents(server)
    await nb.tidy(OWNER)
    assert contents(server) == before
    server.nbctl("lrp-del", "bfd@vpc1")
    heard = Ref("Logical_Router_Port", ("bfd@vpc1",))
    await asyncio.wait_for(collect(nb, lambda each: heard in each.names), 40)
    assert not await nb.has_port("bfd@vpc1")
    await nb.tidy(OWNER)
    after = contents(server)
    assert before["BFD"]
    assert not after["BFD"]
    assert len(after["Logical_Router_Policy"]) == len(before["Logical_Router_Policy"])
    assert after["Address_Set"] == before["Address_Set"]
    outcome = await nb.converge(OWNER, rows())
    assert not outcome.plan
    assert any("waits for Logical_Router_Port bfd@vpc1" in str(each) for each in outcome.missing)
    server.nbctl(*BFD_PORT)
    while not (await nb.converge(OWNER, rows())).plan:
        await asyncio.sleep(0.02)
    assert len(contents(server)["BFD"]) == len(before["BFD"])


async def test_an_ovn_before_24_03_says_that_policies_cannot_name_sessions(tmp_path: Path) -> None:
    server = OvsdbServer(tmp_path, policies_name_bfd=False)
    try:
        server.nbctl("lr-add", "vpc1", "--", *BFD_PORT)
        async with await Northbound.connect(server.remote, timeout_s=20) as nb:
            assert not nb.policies_can_name_bfd
            with pytest.raises(ValueError, match=r"no Logical_Router_Policy\.bfd_sessions"):
                await nb.converge(OWNER, rows())
            assert not (await nb.plan(OWNER, ())).plan, "nothing was written"
            await nb.converge(OWNER, rows(replace(GATEWAY, way=Way.STATIC_ROUTES)))
            looks = await nb.looks("bfd@vpc1")
            assert {(look.by_policy, look.by_route) for look in looks} == {(False, True)}
            await nb.converge(OWNER, ())
            assert not any(contents(server)[name] for name in ("BFD", "Address_Set"))
    finally:
        server.stop()


async def test_a_value_that_the_database_cannot_hold_changes_nothing(
    server: OvsdbServer, nb: Northbound
) -> None:
    clean = contents(server)
    never = BfdSettings("bfd@vpc1", ("10.255.255.255",), min_rx_ms=0)
    with pytest.raises(ValueError, match=r"BFD\.min_tx cannot be 0"):
        await nb.converge(OWNER, rows(replace(GATEWAY, bfd=never)))
    assert contents(server) == clean


async def test_a_rule_of_the_schema_that_is_broken_is_told_as_such(server: OvsdbServer) -> None:
    server.nbctl("create", "address_set", "name=taken")
    database = await Database.open(
        server.remote, "OVN_Northbound", {"Address_Set": ("name",)}, timeout_s=20
    )

    def do(idl: Any, txn: Any) -> None:
        txn.insert(idl.tables["Address_Set"]).name = "taken"

    try:
        with pytest.raises(Violated, match="taken") as failure:
            await database.commit(do)
        assert failure.value.remote == server.remote
    finally:
        await database.close()


async def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="is the server there"):
        await Northbound.connect(f"unix:{tmp_path}/none.sock", timeout_s=5)


async def test_a_server_that_goes_is_told_and_one_that_comes_back_is_used(
    server: OvsdbServer,
) -> None:
    async with await Northbound.connect(server.remote, timeout_s=3) as nb:
        await nb.converge(OWNER, rows())
        server.stop()
        with pytest.raises(Unreachable):
            await nb.converge(OWNER, ())
        await lost(nb)
        server.start()
        deadline = time.monotonic() + 40
        while True:
            with suppress(Unreachable):
                assert not (await nb.converge(OWNER, rows())).plan
                break
            assert time.monotonic() < deadline, "no new connection"


async def lost(nb: Northbound) -> None:
    deadline = time.monotonic() + 40
    while True:
        try:
            await nb.plan(OWNER, rows())
        except Unreachable:
            return
        assert time.monotonic() < deadline, "an old mirror is not to be believed"


async def test_a_database_that_may_only_be_read_is_told(
    server: OvsdbServer, nb: Northbound
) -> None:
    server.ctl("ovsdb-server/set-active-ovsdb-server", "tcp:127.0.0.1:1")
    server.ctl("ovsdb-server/connect-active-ovsdb-server")
    with pytest.raises(ReadOnly, match="read only"):
        await nb.converge(OWNER, rows())
    server.ctl("ovsdb-server/disconnect-active-ovsdb-server")
    assert (await nb.converge(OWNER, rows())).plan


async def test_a_server_that_hangs_holds_up_nobody_else(server: OvsdbServer) -> None:
    async with await Northbound.connect(server.remote, timeout_s=3, probe_s=1) as nb:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            waiting = asyncio.create_task(nb.converge(OWNER, rows()))
            turns = 0
            while not waiting.done():
                await asyncio.sleep(0.01)
                turns += 1
            with pytest.raises(Unreachable):
                waiting.result()
            assert turns > 20, "the loop has gone on meanwhile"
        finally:
            os.kill(server.pid, signal.SIGCONT)
        deadline = time.monotonic() + 40
        while True:
            with suppress(Unreachable):
                await nb.converge(OWNER, rows())
                break
            assert time.monotonic() < deadline, "no new connection"
        assert server.nbctl("lr-policy-list", "vpc1").count("29100") == 2


async def test_what_was_given_up_is_not_done_later(server: OvsdbServer) -> None:
    """The first change is on its way when the server hangs, the second waits behind it."""
    async with await Northbound.connect(server.remote, timeout_s=2, probe_s=60) as nb:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unreachable):
                await nb.converge(OWNER, rows())
            with pytest.raises(Unreachable):
                await nb.converge(
                    GatewayOwner(KUBE_OVN, "default", "other"), rows(replace(GATEWAY, name="other"))
                )
        finally:
            os.kill(server.pid, signal.SIGCONT)
        third = GatewayOwner(KUBE_OVN, "default", "third")
        deadline = time.monotonic() + 40
        while True:
            with suppress(Unreachable):
                await nb.converge(third, rows(replace(GATEWAY, name="third", bfd=None)))
                break
            assert time.monotonic() < deadline
        found = contents(server)["Address_Set"]
        owners = {dict(row["external_ids"][1])["vpc-egress-gateway"] for row in found}
        assert owners == {OWNER.key, third.key}


async def test_all_gateways_are_looked_at_again_after_a_new_connection(
    server: OvsdbServer, nb: Northbound
) -> None:
    await nb.converge(OWNER, rows())
    await collect(nb, lambda heard: ("kube-ovn", OWNER.key) in heard.gateways)
    server.stop()
    server.start()
    server.nbctl("lr-policy-del", "vpc1", "29100")
    await asyncio.wait_for(collect(nb, lambda heard: ("kube-ovn", OWNER.key) in heard.gateways), 40)
    await seen(nb, lambda outcome: len(outcome.plan.ops) == 2)


async def test_a_cluster_that_loses_its_leader_is_written_to_by_the_next_one(
    tmp_path: Path,
) -> None:
    cluster = OvsdbCluster(tmp_path)
    try:
        async with await Northbound.connect(cluster.remote, timeout_s=20, probe_s=1) as nb:
            sets = [row for row in rows() if isinstance(row, AddressSet)]
            await nb.converge(OWNER, sets)
            cluster.kill(cluster.leader())
            more = [replace(row, addresses=row.addresses | {"10.0.0.0/8"}) for row in sets]
            done = await again(nb, more)
            assert len(done.plan.ops) in {0, 4}, "0: done before, though the answer was lost"
            assert not (await again(nb, more)).plan
    finally:
        cluster.stop()


async def again(nb: Northbound, wanted: list[AddressSet]) -> Outcome:
    """An attempt after another, as the program makes them, until one gets through."""
    deadline = time.monotonic() + 50
    while True:
        with suppress(Unreachable):
            return await nb.converge(OWNER, wanted)
        assert time.monotonic() < deadline, "no leader was found"
        await asyncio.sleep(0.1)
