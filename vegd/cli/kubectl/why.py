"""``kubectl vegd why``: what is wrong with a gateway or a pod, and what to do."""

import argparse
import json
from collections.abc import Sequence
from typing import NamedTuple

import typer

from kube.client import Client
from kube.client_findings import client_report, own_gateway, replica_findings
from kube.errors import NotFound
from kube.finding import Finding, is_bad
from kube.gateway_findings import gateway_findings
from kube.takes import Take
from vegd.cli.kubectl.asking import ask, identity
from vegd.cli.kubectl.looking import everything, pod_client
from vegd.errors import UsageError

_POD_PREFIXES = ("pod", "pods", "po")


class _Answer(NamedTuple):
    about: str
    findings: tuple[Finding, ...]
    taken: tuple[Take, ...] = ()


def run(options: argparse.Namespace) -> int:
    """Print it. Exit status: 0 nothing is wrong, 1 something is."""
    answer = ask(options, lambda client: _look(options, client))
    if options.as_json:
        what = {
            "object": answer.about,
            "takenBy": [
                {"gateway": each.gateway, "address": each.address, "by": each.by}
                for each in answer.taken
            ],
            "findings": [each.as_json() for each in answer.findings],
        }
        typer.echo(json.dumps(what, indent=2))
    else:
        for each in answer.taken:
            typer.echo(f"{answer.about}: {each.address} is taken by {each.gateway}: {each.by}")
        print_findings(answer.about, answer.findings)
    return 1 if is_bad(answer.findings) else 0


def print_findings(about: str, findings: Sequence[Finding]) -> None:
    """One below the other, each with its remedy."""
    if not is_bad(findings):
        typer.echo(f"{about}: nothing is wrong")
    for each in findings:
        typer.echo(f"{each.severity:<8}  {each.about}: {each.problem}")
        if each.remedy:
            typer.echo(f"          -> {each.remedy}")


async def _look(options: argparse.Namespace, client: Client) -> _Answer:
    prefix, slash, name = options.name.rpartition("/")
    namespace = options.namespace or client.namespace
    key = f"{namespace}/{name}"
    scene = await everything(client, identity(options))
    is_pod = bool(slash) and prefix in _POD_PREFIXES
    if key in scene.gateways and not is_pod:
        return _Answer(f"VpcEgressGateway {key}", gateway_findings(scene, key))
    if (gateway := own_gateway(scene, key)) is not None:
        return _Answer(f"Pod {key} of {gateway}", replica_findings(scene, gateway, key))
    try:
        pod = await pod_client(client, namespace, name)
    except NotFound as exc:
        what = "Pod" if is_pod else "gateway or Pod"
        remedy = "give the namespace by -n, and --api-group if it is not kubeovn.io"
        raise UsageError(f"there is no {what} {key}; {remedy}") from exc
    report = client_report(scene, pod)
    return _Answer(f"Pod {key}", report.findings, report.takes)
