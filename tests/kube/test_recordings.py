"""The rows of recorded gateways, field by field: what differs is listed with its reason."""

import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from kube import bfd_port
from kube.owners import KUBE_OVN, Owner, PortOwner
from kube.routes import routes
from kube.rowdiff import Plan, diff
from kube.rows import Found, HaGroup, Observation, Row
from tests.support.recorded_rows import NODES, found, ports, steps

LISTED = Path(__file__).parents[2] / "docs" / "northbound-differences.toml"


def plan(rows: tuple[Found, ...], wanted: tuple[Row, ...], owner: Owner) -> Plan:
    """What would turn recorded rows into ours; what these refer to is there."""
    there = {ref for row in wanted for ref in (*row.refers(), *row.needs())}
    outcome = diff(Observation(rows, frozenset(there)), wanted, owner)
    assert not outcome.conflicts
    assert not outcome.missing
    return outcome.plan


def changes() -> Iterator[tuple[str, str]]:
    """Each step with each line of its plan."""
    for step in steps():
        wanted = routes(step.gateway, KUBE_OVN).rows if step.gateway else ()
        for op in plan(found(step.rows), wanted, step.owner).ops:
            yield step.name, str(op)
    for port in ports():
        owner = PortOwner(KUBE_OVN, port.vpc)
        selected = bfd_port.chassis(port.nodes, selects=len(port.nodes) == 1, current=())
        wanted = bfd_port.rows(
            bfd_port.BfdPort(
                vpc=port.vpc, addresses=port.addresses, chassis=selected, has_stub=False
            ),
            KUBE_OVN,
        )
        for op in plan(found(port.rows), wanted, owner).ops:
            yield port.name, str(op)


def test_every_difference_to_the_recorded_rows_is_listed_and_every_listed_one_occurs() -> None:
    differences = tomllib.loads(LISTED.read_text())["difference"]
    listed = {
        (number, step, change): 0
        for number, each in enumerate(differences)
        for step in each["steps"]
        for change in each["changes"]
    }
    unlisted = []
    for step, change in changes():
        matching = [
            key
            for key in listed
            if fnmatchcase(step, key[1]) and fnmatchcase(change.replace("  ", " "), key[2])
        ]
        unlisted += [] if matching else [f"{step}: {change}"]
        for key in matching:
            listed[key] += 1
    assert not unlisted, "\n".join(unlisted)
    for number, each in enumerate(differences):
        assert each["reason"].strip()
        for change in each["changes"]:
            met = sum(listed[number, step, change] for step in each["steps"])
            assert met, f"no step has this difference any more: {change}"
        for step in each["steps"]:
            met = sum(listed[number, step, change] for change in each["changes"])
            assert met, f"this step has no such difference any more: {step}"


def test_all_the_cases_were_looked_at() -> None:
    names = [step.name for step in steps()]
    assert {name.split("/")[0] for name in names} == {"v1.14.0", "v1.15.24", "v1.16.2", "master"}
    assert len(names) == len(set(names)) == 99
    assert sum(len(step.rows) for step in steps()) > 800


def test_a_recorded_gateway_that_is_as_ours_needs_nothing() -> None:
    clean = [step for step in steps() if step.name.startswith("master/traffic-policy-local/")]
    assert len(clean) == 2
    for step in clean:
        assert step.gateway is not None
        wanted = routes(step.gateway, KUBE_OVN).rows
        assert not plan(found(step.rows), wanted, step.owner)
        assert {row.ref for row in wanted} == {row.ref for row in step.rows}


def test_the_chassis_of_a_port_are_those_of_the_selected_node() -> None:
    there = [port for port in ports() if port.vpc == "vpc5"]
    assert there
    for port in there:
        chosen = bfd_port.chassis(port.nodes, selects=True, current=())
        assert chosen == (NODES["kube-ovn-worker2"],)
        (group,) = [row for row in port.rows if isinstance(row, HaGroup)]
        assert bfd_port.by_priority(group) == chosen
