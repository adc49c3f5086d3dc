"""``kubectl vegd status``: gateways at a glance, or one in detail."""

import argparse
import json

import typer
from rich.table import Table

from kube.client import Client
from kube.overview import NOT_TOLD, Overview, overview
from vegd.cli.kubectl.asking import ask, identity
from vegd.cli.kubectl.looking import gateways_alone
from vegd.cli.options import show, table
from vegd.errors import UsageError


def run(options: argparse.Namespace) -> int:
    """Print it. Exit status: 0 all are well, 1 one is not."""
    found, malformed = ask(options, lambda client: _look(options, client))
    if options.as_json:
        what = [each.as_json() for each in found]
        typer.echo(json.dumps(what[0] if options.gateway and what else what, indent=2))
    elif options.gateway and found:
        print_detail(found[0])
    elif found:
        _list(found)
    elif not malformed:
        typer.echo("there are no gateways; with -A those of all namespaces are looked at")
    for key, why in malformed.items():
        typer.echo(f"{key} cannot be read: {why}")
    return 0 if all(each.is_well for each in found) and not malformed else 1


async def _look(
    options: argparse.Namespace, client: Client
) -> tuple[list[Overview], dict[str, str]]:
    namespace = options.namespace or client.namespace
    scene = await gateways_alone(client, identity(options), "" if options.everywhere else namespace)
    views, malformed = dict(sorted(scene.views.items())), dict(scene.malformed)
    if options.gateway:
        key = f"{namespace}/{options.gateway}"
        if key not in scene.gateways:
            remedy = "give its namespace by -n, or leave the name out for a list"
            raise UsageError(
                f"there is no gateway {key} in the group {options.api_group}; {remedy}"
            )
        views = {key: views[key]} if key in views else {}
        malformed = {key: malformed[key]} if key in malformed else {}
    return [overview(view) for view in views.values()], malformed


def _list(found: list[Overview]) -> None:
    columns = ("NAMESPACE", "NAME", "VPC", "REPLICAS", "READY", "OVN", "AGENTS", "APPLIED")
    rows = table(*columns, "CONFLICT")
    for each in found:
        ready = "yes" if each.is_ready else "no"
        in_use = f"{each.in_use}/{each.wanted}"
        told = (each.ovn, each.agents, each.applied, each.conflict)
        rows.add_row(each.namespace, each.name, each.vpc, in_use, ready, *told)
    show(rows)


def print_detail(gateway: Overview) -> None:
    """One gateway, with its pods and what these report."""
    revision = "" if gateway.revision is None else f", revision {gateway.revision}"
    in_use = f"{gateway.in_use} of {gateway.wanted} replicas in use"
    typer.echo(f"{gateway.namespace}/{gateway.name}: Vpc {gateway.vpc}, {in_use}{revision}")
    if gateway.conditions:
        rows = _wrapped("CONDITION", "STATUS", "REASON", "MESSAGE")
        for each in gateway.conditions:
            rows.add_row(each.type, each.status, each.reason, each.message)
        typer.echo()
        show(rows)
    if gateway.replicas:
        typer.echo()
        _pods(gateway)
    _reported(gateway)


def _pods(gateway: Overview) -> None:
    rows = _wrapped("POD", "NODE", "INTERNAL", "EXTERNAL", "REVISION", "STATE", "WHY")
    for each in gateway.replicas:
        pod, report = each.pod, each.report
        revision, state, reasons = NOT_TOLD, NOT_TOLD, [pod.problem] if pod.problem else []
        if report is not None:
            revision = NOT_TOLD if report.revision is None else str(report.revision)
            state = "draining" if report.draining else report.state or NOT_TOLD
            reasons += report.reasons
        addresses = (",".join(pod.internal) or NOT_TOLD, ",".join(pod.external) or NOT_TOLD)
        node = pod.node or NOT_TOLD
        rows.add_row(pod.name, node, *addresses, revision, state, "; ".join(reasons))
    show(rows)


def _reported(gateway: Overview) -> None:
    sessions = _wrapped("POD", "LOCAL", "PEER", "STATE", "WHY")
    paths = _wrapped("POD", "PATH", "STATE", "WHY")
    ports = table("POD", "EXTERNAL", "PORTS USED", "AVAILABLE")
    for each in gateway.replicas:
        name, report = each.pod.name, each.report
        if report is None:
            continue
        for session in report.bfd:
            why = session.reason or ""
            sessions.add_row(name, session.local, session.peer, session.state, why)
        for path in report.paths:
            paths.add_row(name, path.family, path.state, "; ".join(path.reasons))
        for port in report.ports:
            ports.add_row(name, port.address, str(port.used), str(port.available))
    for rows in (sessions, paths, ports):
        if rows.row_count:
            typer.echo()
            show(rows)


def _wrapped(*columns: str) -> Table:
    """A table whose last column is a sentence, which a narrow terminal shows in several lines."""
    made = table(*columns)
    made.columns[-1].no_wrap = False
    return made
