"""``kubectl vegd drain``: take a gateway pod out of use, and wait until nothing passes it.

First the controller is asked, by an annotation of the pod: it lends the pod's slot to another one,
so that connections of other pods stay where they are. Only then the pod says AdminDown, by which
OVN alone would spread all of them anew.
"""

import argparse
import asyncio
import json
import time
from typing import Any, NamedTuple

import typer

from kube.client import Client
from kube.errors import Forbidden, NotFound
from kube.layout import DRAIN
from kube.objects import PODS, Object
from kube.pods import Pod
from kube.scene import GatewayView
from kube.schema import parse
from vegd.cli.kubectl.asking import ask, execute, gateway_container, identity
from vegd.cli.kubectl.looking import gateways_alone
from vegd.errors import Unreachable, UsageError, VegdError

_LOOK_S, _TELL_S = 1.0, 2.0
_MANAGER = "kubectl-vegd"
_ANSWER_S, _ASK_S = 10.0, 0.2
"""How long the controller is waited for, and how often it is looked."""
_HEEDED_S = 2.0
"""By then OVN does what the controller has told it, as for a pod that is deleted
(`drain.announceAfter`)."""
_Place = tuple[str, str, str]
"""Namespace, pod and container."""


class _Found(NamedTuple):
    """The pod that was asked for."""

    pod: Object
    alone: str
    """Why its traffic stays or nobody is told; empty if another pod takes over."""
    has_bfd: bool


def run(options: argparse.Namespace) -> int:
    """Drain it, or end the drain. Exit status: 0 done, 1 there was traffic to the end."""
    pod, alone, has_bfd = ask(options, lambda client: _find(options, client))
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    containers = [each["name"] for each in pod["spec"]["containers"]]
    place = (namespace, name, gateway_container(containers))
    if options.undo:
        _say(options, place, "undrain")
        ask(options, lambda client: _take_back(client, pod))
        back = "its sessions come up again" if has_bfd else "packets are sent to it again"
        typer.echo(f"{namespace}/{name} is not draining any more; {back}")
        return 0
    note = alone or ask(options, lambda client: _take_out(client, pod))
    if note:
        typer.echo(f"note: {note}", err=True)
    try:
        _say(options, place, "drain")
    except VegdError:
        if not parse(Pod, pod).drains:
            ask(options, lambda client: _take_back(client, pod))
        raise
    away = "its sessions are AdminDown" if has_bfd else "nothing new is sent to it"
    typer.echo(f"{namespace}/{name} drains: {away}, forwarding goes on")
    return _wait(options, place)


async def _take_out(client: Client, pod: Object) -> str:
    """Have the controller lead new packets to others; what has to be said if it does not."""
    if parse(Pod, pod).gate is None:
        return ""  # Kube-OVN's controller, which knows no slots
    cut = "connections of other pods may be cut"
    try:
        await _annotate(client, pod, {DRAIN: "true"})
    except Forbidden as exc:
        return f"{exc}: the controller cannot be told, and {cut}"
    deadline = time.monotonic() + _ANSWER_S
    while time.monotonic() < deadline:
        if (await _now(client, pod)).gate is False:
            await asyncio.sleep(_HEEDED_S)
            return ""
        await asyncio.sleep(_ASK_S)
    return f"the controller has not answered for {_ANSWER_S:g} s: {cut}"


async def _take_back(client: Client, pod: Object) -> None:
    """Have the controller lead packets to it again, if it is told not to."""
    if not (await _now(client, pod)).drains:
        return
    # What is ours goes when it is left out; it may have been somebody else's until then.
    await _annotate(client, pod, {DRAIN: "false"})
    await _annotate(client, pod, {})


async def _now(client: Client, pod: Object) -> Pod:
    metadata = pod["metadata"]
    return parse(Pod, await client.get(PODS, metadata["name"], metadata["namespace"]))


async def _annotate(client: Client, pod: Object, annotations: dict[str, str]) -> None:
    identified = {name: pod["metadata"][name] for name in ("namespace", "name", "uid")}
    body = {"metadata": identified | {"annotations": annotations}}
    await client.apply(PODS, body, manager=_MANAGER)


async def _find(options: argparse.Namespace, client: Client) -> _Found:
    """The pod, and whether its traffic has somewhere else to go."""
    namespace = options.namespace or client.namespace
    try:
        pod = await client.get(PODS, options.pod, namespace)
    except NotFound as exc:
        remedy = "give its namespace by -n"
        raise UsageError(f"there is no Pod {namespace}/{options.pod}; {remedy}") from exc
    scene = await gateways_alone(client, identity(options), namespace)
    for view in scene.views.values():
        if any(each["metadata"]["name"] == options.pod for each in view.workload_pods):
            others = [
                each.name
                for each in view.pods
                if each.name != options.pod and not each.problem and not _drains(view, each.name)
            ]
            has_bfd = view.gateway.spec.bfd.enabled
            if not has_bfd and parse(Pod, pod).gate is None:
                alone = f"{view.key} has no BFD: OVN is not told, and goes on sending packets"
                return _Found(pod, alone, has_bfd)
            nobody = f"no other pod of {view.key} is in use: its traffic stays on this one"
            return _Found(pod, "" if others else nobody, has_bfd)
    remedy = "kubectl vegd status GATEWAY lists those of a gateway"
    raise UsageError(f"{namespace}/{options.pod} is no pod of a gateway; {remedy}")


def _drains(view: GatewayView, pod: str) -> bool:
    report = view.reports.get(pod)
    return report is not None and report.draining


def _say(options: argparse.Namespace, place: _Place, command: str) -> None:
    """Run a command of vegd's in the pod. Raises Unreachable with what it said if it failed."""
    done = execute(options, place, ["vegd", command])
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise Unreachable(f"{place[0]}/{place[1]}: {said[0] if said else 'vegd failed'}")


def _wait(options: argparse.Namespace, place: _Place) -> int:
    """Until nothing has been forwarded for a while, with a line whenever that tells more."""
    begun, told = time.monotonic(), -1.0
    while True:
        drain = _status(options, place).get("drain")
        if drain is None:
            raise VegdError(
                f"{place[0]}/{place[1]} does not drain any more: somebody has undone it"
            )
        quiet_s, lasts_s = float(drain["quietS"]), float(drain["lastsS"])
        if quiet_s >= options.quiet_for:
            typer.echo(f"drained: nothing was forwarded for {quiet_s:.1f} s")
            return 0
        waited = time.monotonic() - begun
        if told < 0 or waited - told >= _TELL_S:
            told = waited
            typer.echo(f"  for {lasts_s:.0f} s; the last packet was forwarded {quiet_s:.1f} s ago")
        if waited > options.timeout:
            typer.echo(
                f"after {options.timeout:g} s there is still traffic; it drains on", err=True
            )
            typer.echo("  -> wait on with the same command, or end it by --undo", err=True)
            return 1
        time.sleep(_LOOK_S)


def _status(options: argparse.Namespace, place: _Place) -> dict[str, Any]:
    """What the daemon in the pod says. Raises Unreachable."""
    done = execute(options, place, ["vegd", "status", "--json"])
    try:
        status: dict[str, Any] = json.loads(done.stdout)
    except ValueError as exc:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise Unreachable(f"{place[0]}/{place[1]}: {said[0] if said else 'no status'}") from exc
    return status
