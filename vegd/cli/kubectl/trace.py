"""``kubectl vegd trace``: which way the packets of a pod take to a destination."""

import argparse
import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer

from kube.client import Client
from kube.configuration import configuration
from kube.errors import NotFound
from kube.finding import Finding, is_bad
from kube.northbound import Northbound
from kube.rowtrace import RowTrace, row_trace, verify
from kube.scene import Scene
from kube.trace import Trace, Verdict, trace
from vegd.cli.kubectl.asking import ask, complaints, identity
from vegd.cli.kubectl.looking import everything, pod_client
from vegd.cli.kubectl.probing import Probe, probe
from vegd.egress import Egress, egress
from vegd.errors import UsageError
from vegd.spec import GatewaySpec, SpecError

_GOOD = (Verdict.FORWARDED, Verdict.INSIDE)


@dataclass(frozen=True, slots=True)
class _Way:
    """All that is known of the packet."""

    trace: Trace
    leaves: Egress | None
    """How it leaves the gateway; None if it does not get there."""
    port: str
    rows: RowTrace | None = None
    findings: tuple[Finding, ...] = ()
    probe: Probe | None = None

    @property
    def is_well(self) -> bool:
        """Whether the packet gets out, or stays inside, as the resources say."""
        led = self.trace.verdict in _GOOD and (self.leaves is None or bool(self.leaves.policy))
        return led and not is_bad(self.findings) and (self.probe is None or self.probe.is_well)

    @property
    def shown(self) -> tuple[str, ...]:
        """The addresses that the destination may see."""
        if self.leaves is None or not self.leaves.snat:
            return (self.trace.source,)
        told = {each.address: each.is_used for each in self.rows.hops} if self.rows else {}
        likely = [each for each in self.trace.hops if told.get(each.internal, True)]
        likely += [each for each in self.trace.aside if told.get(each.internal)]
        used = [each.external for each in likely if each.is_used is not False]
        return self.leaves.pool or tuple(used)


def run(options: argparse.Namespace) -> int:
    """Print it. Exit status: 0 the packet gets there, 1 it does not, or not as it should."""
    way = ask(options, lambda client: _look(options, client))
    if options.ovn_nb:
        with complaints(options):
            way = asyncio.run(_verified(options.ovn_nb, way))
    if options.probe:
        way = _probed(options, way)
    if options.as_json:
        typer.echo(json.dumps(_as_json(way), indent=2))
    else:
        typer.echo("\n".join(_lines(way)))
    return 0 if way.is_well else 1


async def _look(options: argparse.Namespace, client: Client) -> _Way:
    namespace = options.namespace or client.namespace
    try:
        pod = await pod_client(client, namespace, options.pod)
    except NotFound as exc:
        remedy = "give its namespace by -n"
        raise UsageError(f"there is no Pod {namespace}/{options.pod}; {remedy}") from exc
    scene = await everything(client, identity(options))
    found = trace(scene, pod, options.destination)
    return _Way(found, _leaves(scene, found), pod.port)


def _leaves(scene: Scene, found: Trace) -> Egress | None:
    """What the configuration of the gateway's pods does with the packet."""
    workload = scene.views[found.gateway].resolution.workload if found.gateway else None
    if workload is None or found.verdict is not Verdict.FORWARDED:
        return None
    try:
        spec = GatewaySpec.parse(configuration(workload))
    except SpecError:
        return None  # the controller tells of it, by the condition Validated
    return egress(spec, found.source, found.destination)


async def _verified(remote: str, way: _Way) -> _Way:
    """With what OVN's rows do."""
    found = way.trace
    if not found.router or not found.source:
        return way
    async with await Northbound.connect(remote) as northbound:
        known = await northbound.router(found.router, way.port, found.source)
    rows = row_trace(known, found.source, found.destination)
    findings = tuple(verify(found, known, rows))
    return _Way(found, way.leaves, way.port, rows if known.is_there else None, findings)


def _probed(options: argparse.Namespace, way: _Way) -> _Way:
    namespace, _, name = way.trace.pod.partition("/")
    shown = way.shown if way.trace.verdict is Verdict.FORWARDED else ()
    answer = probe(options, namespace, name, shown)
    return _Way(way.trace, way.leaves, way.port, way.rows, way.findings, answer)


def _lines(way: _Way) -> Iterator[str]:
    found = way.trace
    node = f" on {found.node}" if found.node else ""
    source = found.source or "no address of this family"
    yield f"{found.pod} ({source}{node}) -> {found.destination}"
    if found.router:
        subnet = f", Subnet {found.subnet}" if found.subnet else ""
        yield f"  Vpc {found.vpc}{subnet}, router {found.router}"
    for each in found.taken:
        yield f"  VpcEgressGateway {each.gateway} takes it by {each.by}"
    if found.priority:
        yield f"  policy {found.priority}: {found.match}"
        for hop in found.hops:
            used = {True: "", False: " (not used)", None: ""}[hop.is_used]
            yield f"    next hop {hop.internal}{used}: Pod {hop.pod} on {hop.node}, {hop.why}"
    yield from _leaving(way)
    yield from _rows(way)
    for finding in way.findings:
        yield f"  {finding.severity}: {finding.about}: {finding.problem}"
        if finding.remedy:
            yield f"    -> {finding.remedy}"
    if is_bad(way.findings):
        yield f"OVN does otherwise than the resources say ({found.verdict}: {found.why})"
    else:
        yield f"{found.verdict}: {found.why}"
    if found.remedy:
        yield f"  -> {found.remedy}"
    if way.probe is not None:
        yield from way.probe.lines()


def _leaving(way: _Way) -> Iterator[str]:
    leaves = way.leaves
    if leaves is None:
        return
    if not leaves.policy:
        yield "  in the gateway: no policy holds for this destination, so it is dropped"
        yield "    -> see destinationCIDRs and excludedDestinationCIDRs of spec.agent.policies"
    elif not leaves.snat:
        yield f"  in the gateway: policy {leaves.policy} without SNAT; it shows as {way.shown[0]}"
    else:
        shown = " or ".join(way.shown)
        yield f"  in the gateway: policy {leaves.policy} with SNAT"
        yield f"  it shows as {shown}, {leaves.ports_text}"


def _rows(way: _Way) -> Iterator[str]:
    rows = way.rows
    if rows is None:
        return
    said = f" by {rows.row}" if rows.row else ""
    yield f"  in OVN: {rows.action}{said}"
    for hop in rows.hops:
        status = f", session {hop.status}" if hop.status else ""
        yield f"    next hop {hop.address}{status}{'' if hop.is_used else ' (not used)'}"


def _as_json(way: _Way) -> dict[str, Any]:
    found, leaves, rows = way.trace, way.leaves, way.rows
    what: dict[str, Any] = {
        "pod": found.pod,
        "node": found.node,
        "source": found.source,
        "destination": found.destination,
        "vpc": found.vpc,
        "router": found.router,
        "subnet": found.subnet,
        "verdict": found.verdict.value,
        "why": found.why,
        "remedy": found.remedy,
        "takenBy": [{"gateway": each.gateway, "by": each.by} for each in found.taken],
        "gateway": found.gateway,
        "policy": {"priority": found.priority, "match": found.match} if found.priority else None,
        "nextHops": [
            {
                "pod": each.pod,
                "node": each.node,
                "internalIP": each.internal,
                "externalIP": each.external,
                "used": each.is_used,
                "why": each.why,
            }
            for each in found.hops
        ],
        "leaves": None,
        "ovn": None,
        "findings": [each.as_json() for each in way.findings],
        "probe": way.probe.as_json() if way.probe else None,
        "well": way.is_well,
    }
    if leaves is not None:
        shown = [*way.shown] if leaves.policy else []
        ports = list(leaves.ports) if leaves.ports else None
        what["leaves"] = {"policy": leaves.policy, "snat": leaves.snat, "shownAs": shown}
        what["leaves"]["ports"] = ports
    if rows is not None:
        hops = [{"address": each.address, "session": each.status} for each in rows.hops]
        what["ovn"] = {"action": rows.action, "row": rows.row, "nextHops": hops}
    return what
