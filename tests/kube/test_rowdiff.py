"""From rows that are there and rows that are wanted to a plan."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from uuid import UUID, uuid4

import pytest

from kube.owners import KUBE_OVN, VEGD, GatewayOwner, Mark
from kube.routes import routes
from kube.rowdiff import Conflict, Create, Delete, Missing, Outcome, Plan, Update, diff
from kube.rows import (
    AddressSet,
    Bfd,
    Found,
    Map,
    Observation,
    Policy,
    PortGroup,
    Ref,
    Row,
    StaticRoute,
    as_map,
)
from tests.support.recorded_rows import Step, found, steps

OWNER = GatewayOwner(KUBE_OVN, "default", "gateway1")
SOMEBODY = as_map({"owner": "somebody"})
SET = AddressSet(name="VEG.x.ipv4", addresses=frozenset({"10.0.0.0/8"}), external_ids=OWNER.ids(4))
SESSION = Bfd(
    logical_port="bfd@vpc1",
    dst_ip="192.168.0.2",
    min_tx=1000,
    min_rx=1000,
    detect_mult=3,
    external_ids=OWNER.ids(4),
)
POLICY = Policy(
    router="vpc1",
    priority=29100,
    match="ip4.src == $VEG.x.ipv4",
    action="reroute",
    nexthops=frozenset({"192.168.0.2"}),
    bfd_sessions=frozenset({SESSION.key}),
    external_ids=OWNER.ids(4),
)
ROUTE = StaticRoute(
    router="vpc1",
    ip_prefix="10.0.0.0/8",
    nexthop="192.168.0.2",
    bfd=SESSION.key,
    external_ids=OWNER.ids(4),
)
ROUTER = Ref("Logical_Router", ("vpc1",))
PORT = Ref("Logical_Router_Port", ("bfd@vpc1",))


def there(*rows: Row, present: Iterable[Ref] = (ROUTER, PORT)) -> Observation:
    return Observation(tuple(Found(uuid4(), row) for row in rows), frozenset(present))


def compare(observed: Observation, *desired: Row, owner: GatewayOwner = OWNER) -> Outcome:
    return diff(observed, desired, owner)


def applied(rows: Iterable[Found], plan: Plan) -> dict[UUID, Row]:
    """A model of the database: what the rows are after a plan."""
    state = {each.uuid: each.row for each in rows}
    for op in plan.ops:
        match op:
            case Create(row):
                state[uuid4()] = row
            case Update(old, changes):
                values = {change.column: change.new for change in changes}
                state[old.uuid] = replace(state[old.uuid], **values)  # type: ignore[arg-type]
            case Delete(old):
                del state[old.uuid]
    return state


def wanted(step: Step) -> tuple[Row, ...]:
    return routes(step.gateway, KUBE_OVN).rows if step.gateway else ()


def needs(rows: Iterable[Row]) -> frozenset[Ref]:
    return frozenset(ref for row in rows for ref in (*row.refers(), *row.needs()))


def test_rows_as_wanted_need_nothing() -> None:
    outcome = compare(there(SET, SESSION, POLICY, ROUTE), SET, SESSION, POLICY, ROUTE)
    assert not outcome.plan
    assert str(outcome.plan) == "nothing to change"


@pytest.mark.parametrize("step", steps(), ids=lambda step: step.name)
def test_a_plan_makes_the_rows_the_wanted_ones_and_a_second_is_empty(step: Step) -> None:
    rows = wanted(step)
    present = needs(rows)
    plan = diff(Observation(found(step.rows), present), rows, step.owner).plan
    after = applied(found(step.rows), plan)
    assert Counter(after.values()) == Counter(rows)
    again = Observation(tuple(Found(uuid, row) for uuid, row in after.items()), present)
    assert not diff(again, rows, step.owner).plan


def test_from_any_recorded_state_of_a_gateway_to_any_other() -> None:
    cases: dict[tuple[str, str], list[Step]] = {}
    for step in steps():
        cases.setdefault((step.name.split("/")[0], step.owner.key), []).append(step)
    pairs = [pair for each in cases.values() for pair in pairwise(each)]
    assert len(pairs) > 30
    for before, after in pairs:
        rows = wanted(after)
        observed = Observation(found(before.rows), needs(rows))
        state = applied(observed.found, diff(observed, rows, after.owner).plan)
        assert Counter(state.values()) == Counter(rows), after.name


def test_rows_of_others_are_left_alone() -> None:
    foreign = [
        replace(SET, name="other", external_ids=SOMEBODY),
        replace(POLICY, match="1", external_ids=frozenset()),
        replace(
            SESSION, dst_ip="192.168.0.9", external_ids=GatewayOwner(KUBE_OVN, "a", "b").ids(4)
        ),
    ]
    assert not compare(there(*foreign)).plan


@pytest.mark.parametrize(("ours", "theirs"), [(KUBE_OVN, VEGD), (VEGD, KUBE_OVN)])
def test_the_two_modes_do_not_see_each_others_rows(ours: Mark, theirs: Mark) -> None:
    other = GatewayOwner(theirs, "default", "gateway1")
    rows = [replace(row, external_ids=other.ids(4)) for row in (SET, SESSION, POLICY, ROUTE)]
    mine = GatewayOwner(ours, "default", "gateway1")
    assert not compare(there(*rows), owner=mine).plan
    assert len(compare(there(*rows), owner=other).plan.ops) == 4


def test_a_row_of_ours_that_is_not_wanted_goes_wherever_it_is() -> None:
    moved = replace(POLICY, router="vpc2")
    present = (ROUTER, PORT, Ref("Logical_Router", ("vpc2",)))
    plan = compare(there(POLICY, SET, SESSION, present=present), SET, SESSION, moved).plan
    assert {type(op) for op in plan.ops} == {Delete, Create}


def test_a_taken_name_is_a_conflict_and_nothing_of_ours_names_it() -> None:
    theirs = replace(SET, addresses=frozenset({"0.0.0.0/0"}), external_ids=SOMEBODY)
    outcome = compare(there(theirs), SET, SESSION, POLICY)
    assert outcome.conflicts == (Conflict(SET.ref, SOMEBODY),)
    assert "owner=somebody" in str(outcome.conflicts[0])
    assert [op.row for op in outcome.plan.ops if isinstance(op, Create)] == [SESSION]


def test_a_taken_port_group_holds_back_what_matches_its_address_set() -> None:
    group = PortGroup(name="VEG.x", ports=frozenset(), external_ids=OWNER.ids(6))
    policy = replace(POLICY, match="ip4.src == $VEG.x_ip4")
    theirs = replace(group, external_ids=frozenset())
    outcome = compare(there(theirs), group, SET, policy)
    assert len(outcome.conflicts) == 1
    assert "nobody's mark" in str(outcome.conflicts[0])
    assert [op.row for op in outcome.plan.ops if isinstance(op, Create)] == [SET]


def test_defect_1_a_session_of_somebody_else_is_named_but_not_adopted() -> None:
    theirs = replace(SESSION, min_tx=10_000, external_ids=SOMEBODY)
    outcome = compare(there(theirs, SET), SET, SESSION, POLICY)
    assert outcome.conflicts == (Conflict(SESSION.ref, SOMEBODY),)
    (create,) = outcome.plan.ops
    assert isinstance(create, Create)
    assert create.row == POLICY, "their session watches the gateway as well as ours would"
    assert not compare(there(theirs)).plan, "and it is not swept"


def test_a_route_of_somebody_else_that_would_share_the_packets_is_told() -> None:
    theirs = replace(ROUTE, nexthop="192.168.0.1", bfd=None, external_ids=SOMEBODY)
    outcome = compare(there(theirs, SESSION), SESSION, ROUTE)
    assert outcome.conflicts == (Conflict(ROUTE.ref, SOMEBODY),)
    assert [op.row for op in outcome.plan.ops if isinstance(op, Create)] == [ROUTE]


def test_a_slot_that_another_gateway_gets_keeps_its_row() -> None:
    """OVN loses packets where a route comes or goes, but not where its next hop changes."""
    observed = there(SESSION, ROUTE)
    other = replace(SESSION, dst_ip="192.168.0.3")
    moved = replace(ROUTE, nexthop=other.dst_ip, bfd=other.key)
    plan = compare(observed, SESSION, other, moved).plan
    (update,) = [op for op in plan.ops if not isinstance(op, Create)]
    assert isinstance(update, Update)
    assert update.found.uuid == observed.found[1].uuid
    assert {each.column for each in update.changes} == {"nexthop", "bfd"}


def test_defect_1_new_timers_change_the_row_that_is_there() -> None:
    observed = there(SESSION)
    (update,) = compare(observed, replace(SESSION, min_tx=300, detect_mult=5)).plan.ops
    assert isinstance(update, Update)
    assert update.found.uuid == observed.found[0].uuid
    assert str(update) == "~ BFD bfd@vpc1 192.168.0.2  min_tx: 1000 -> 300; detect_mult: 3 -> 5"


def test_a_reference_that_was_lost_is_put_back() -> None:
    lost = replace(POLICY, bfd_sessions=frozenset())
    (update,) = compare(there(SET, SESSION, lost), SET, SESSION, POLICY).plan.ops
    assert str(update).endswith("bfd_sessions: +bfd@vpc1=192.168.0.2")


def test_a_row_of_ours_that_is_there_twice_goes_once() -> None:
    (delete,) = compare(there(SET, SESSION, POLICY, POLICY), SET, SESSION, POLICY).plan.ops
    assert isinstance(delete, Delete)


def test_ports_that_are_not_there_yet_are_waited_for() -> None:
    group = PortGroup(name="VEG.x", ports=frozenset({"web.a", "web.b"}), external_ids=OWNER.ids(6))
    one = Ref("Logical_Switch_Port", ("web.a",))
    outcome = compare(there(present=(one,)), group)
    (create,) = outcome.plan.ops
    assert isinstance(create, Create)
    assert isinstance(create.row, PortGroup)
    assert create.row.ports == {"web.a"}
    (missing,) = outcome.missing
    assert missing == Missing(Ref("Logical_Switch_Port", ("web.b",)), group.ref)
    assert "waits for Logical_Switch_Port web.b" in str(missing)


def test_without_the_router_nothing_of_it_is_written_and_it_is_told() -> None:
    outcome = compare(there(present=(PORT,)), SET, SESSION, POLICY)
    assert [op.row for op in outcome.plan.ops if isinstance(op, Create)] == [SET, SESSION]
    assert outcome.missing == (Missing(ROUTER, POLICY.ref),)


def test_sessions_go_with_their_port_and_what_they_watched_stays() -> None:
    """ovn-northd 25.03.0 dies of a session without a port."""
    rows = (SET, SESSION, POLICY, ROUTE)
    outcome = compare(there(*rows, present=(ROUTER,)), *rows)
    assert [op.found.row for op in outcome.plan.ops if isinstance(op, Delete)] == [SESSION]
    told = {op.found.row.TABLE: op.changes for op in outcome.plan.ops if isinstance(op, Update)}
    assert {change.column for each in told.values() for change in each} == {"bfd", "bfd_sessions"}
    assert outcome.missing == (Missing(PORT, SESSION.ref),)


def test_a_plan_can_be_read() -> None:
    old = replace(SET, addresses=frozenset({"10.0.0.0/8", "10.1.0.0/16"}))
    text = str(
        compare(there(old, ROUTE), replace(SET, addresses=frozenset({"fd00::/8"})), POLICY).plan
    )
    ids = "{af=4, vendor=kube-ovn, vpc-egress-gateway=default/gateway1}"
    assert text.splitlines() == [
        "- Logical_Router_Static_Route vpc1 src-ip 10.0.0.0/8 0",
        "~ Address_Set VEG.x.ipv4  addresses: -10.0.0.0/8 -10.1.0.0/16 +fd00::/8",
        (
            f"+ Logical_Router_Policy vpc1 29100 ip4.src == $VEG.x.ipv4  external_ids={ids}, "
            "action=reroute, nexthops={192.168.0.2}"
        ),
    ]


def test_what_others_have_added_to_our_marks_is_taken_away() -> None:
    ids: Map = OWNER.ids(4) | as_map({"note": "x"})
    (update,) = compare(there(replace(SET, external_ids=ids)), SET).plan.ops
    assert str(update).endswith("external_ids: -note=x")
