"""``kubectl vegd support-bundle``: what somebody far away needs to help with a cluster."""

import argparse
import contextlib
import io
import subprocess
import sys
import time
from pathlib import Path

import typer
import yaml

from kube import definitions
from kube.client import Client
from kube.errors import KubeError, NotFound
from kube.events import EVENTS
from kube.gateway_findings import gateway_findings
from kube.identity import label_value
from kube.objects import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    NODES,
    PODS,
    REPLICA_SETS,
    Object,
    Query,
)
from kube.overview import overview
from vegd import __version__
from vegd.cli.kubectl.asking import ask, execute, gateway_container, identity, kubectl
from vegd.cli.kubectl.looking import everything
from vegd.cli.kubectl.status import print_detail
from vegd.cli.kubectl.why import print_findings
from vegd.cli.support_bundle import opened
from vegd.errors import Unreachable, UsageError
from vegd.support import archive, safe_object

_CONTROLLER = "app=vegd-controller"
_LINES = 5000
"""Of a container's log, the newest."""
_LONGEST_S = 60
_IN_POD = """
f="${VEGD_RUNTIME_DIR:-/run/vegd}/bundle-$$.tar.gz"
vegd support-bundle -o "$f" >&2 && cat "$f"; s=$?; rm -f "$f"; exit $s
"""


class _Bundle:
    """The files that there are, and what could not be had."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.missing: list[str] = []

    def lacks(self, name: str, why: object) -> None:
        """Note what cannot be had."""
        self.missing.append(f"{name}: {' '.join(str(why).split())}")


def run(options: argparse.Namespace) -> int:
    """Write it. Exit status: 0 written, 1 it could not be."""
    name = f"kubectl-vegd-{time.strftime('%Y%m%dT%H%M%S')}"
    path = options.output or Path(f"{name}.tar.gz")
    with opened(path) as file:
        bundle = _Bundle()
        ours, controllers = ask(options, lambda client: _resources(options, client, bundle))
        for pod in (*ours, *controllers):
            _logs(options, pod, bundle)
        for pod in ours:
            _agent(options, pod, bundle)
        bundle.files["versions.txt"] = _versions(options)
        bundle.files["missing.txt"] = "\n".join([*bundle.missing, ""]).encode()
        file.write(archive(name, dict(sorted(bundle.files.items())), frozenset()))
    typer.echo(f"{path}: {len(bundle.files)} files; read them before you hand them on")
    if bundle.missing:
        typer.echo(f"what could not be had is in missing.txt of it ({len(bundle.missing)} lines)")
    return 0


async def _resources(
    options: argparse.Namespace, client: Client, bundle: _Bundle
) -> tuple[list[Object], list[Object]]:
    """Pack the objects, and what status and why say; the pods of gateways and of controllers."""
    namespace = "" if options.everywhere else options.namespace or client.namespace
    names = identity(options)
    ours = f"app={names.app}"
    if options.gateway:
        key = f"{options.namespace or client.namespace}/{options.gateway}"
        namespace = key.partition("/")[0]
        ours += f",{names.gateway_label}={label_value(options.gateway)}"
        try:
            await client.get(definitions.gateways(names.group), options.gateway, namespace)
        except NotFound as exc:
            remedy = "give its namespace by -n, or leave the name out for all"
            raise UsageError(f"there is no gateway {key}; {remedy}") from exc
    listed = {
        "gateways": Query(definitions.gateways(names.group), namespace),
        "vpcs": Query(definitions.VPCS),
        "subnets": Query(definitions.SUBNETS),
        "ippools": Query(definitions.IP_POOLS),
        "attachments": Query(definitions.ATTACHMENTS),
        "nodes": Query(NODES),
        "deployments": Query(DEPLOYMENTS, namespace, labels=ours),
        "replicasets": Query(REPLICA_SETS, namespace, labels=ours),
        "pods": Query(PODS, namespace, labels=ours),
        "configmaps": Query(CONFIG_MAPS, namespace, labels=ours),
        "events": Query(EVENTS, namespace),
        "controllers": Query(PODS, labels=_CONTROLLER),
    }
    found = {}
    for name, query in listed.items():
        _tell(name)
        found[name] = await _listed(client, name, query, bundle)
    await _judged(options, client, bundle, found["gateways"])
    return found["pods"], found["controllers"]


async def _listed(client: Client, name: str, query: Query, bundle: _Bundle) -> list[Object]:
    try:
        listing = await client.list(query, Object)
    except KubeError as exc:
        bundle.lacks(f"{name}.yaml", exc)
        return []
    objects = [item.value for item in listing.items]
    safe = [safe_object(each) for each in objects]
    bundle.files[f"{name}.yaml"] = yaml.safe_dump_all(safe, sort_keys=False).encode()
    return objects


async def _judged(
    options: argparse.Namespace, client: Client, bundle: _Bundle, gateways: list[Object]
) -> None:
    """What `kubectl vegd status` and `why` say of each gateway."""
    _tell("status and findings")
    try:
        scene = await everything(client, identity(options))
    except KubeError as exc:
        bundle.lacks("findings", exc)
        return
    for gateway in gateways:
        metadata = gateway["metadata"]
        if options.gateway in ("", metadata["name"]):
            key = f"{metadata['namespace']}/{metadata['name']}"
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                if (view := scene.views.get(key)) is not None:
                    print_detail(overview(view))
                    typer.echo()
                print_findings(f"VpcEgressGateway {key}", gateway_findings(scene, key))
            bundle.files[f"gateways/{key}.txt"] = said.getvalue().encode()


def _logs(options: argparse.Namespace, pod: Object, bundle: _Bundle) -> None:
    """Of every container of a pod, and of the one before it if it was started again."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    _tell(f"logs of {namespace}/{name}")
    status = pod.get("status") or {}
    known = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    restarted = {each["name"] for each in known if each.get("restartCount")}
    spec = pod["spec"]
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        for kind, more in (("", ()), ("-previous", ("--previous",))):
            if kind and container["name"] not in restarted:
                continue
            place = ("--namespace", namespace, name, "--container", container["name"])
            command = ("logs", f"--tail={_LINES}", *more, *place)
            file = f"logs/{namespace}/{name}/{container['name']}{kind}.txt"
            _packed(bundle, file, kubectl(options, *command))


def _packed(bundle: _Bundle, file: str, command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_LONGEST_S)
    except subprocess.TimeoutExpired:
        bundle.lacks(file, f"no answer within {_LONGEST_S} s")
        return
    if done.returncode:
        bundle.lacks(file, done.stderr.decode(errors="replace"))
    else:
        bundle.files[file] = done.stdout


def _agent(options: argparse.Namespace, pod: Object, bundle: _Bundle) -> None:
    """What `vegd support-bundle` in a pod packs."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    _tell(f"vegd support-bundle in {namespace}/{name}")
    file = f"agents/{namespace}/{name}.tar.gz"
    container = gateway_container([each["name"] for each in pod["spec"]["containers"]])
    command = ["sh", "-c", _IN_POD]
    try:
        done = execute(options, (namespace, name, container), command, 2 * _LONGEST_S)
    except Unreachable as exc:
        bundle.lacks(file, exc)
        return
    if done.returncode:
        bundle.lacks(file, done.stderr.decode(errors="replace"))
    else:
        bundle.files[file] = done.stdout


def _versions(options: argparse.Namespace) -> bytes:
    command = kubectl(options, "version")
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_LONGEST_S)
        said = done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        said = b"kubectl version: no answer\n"
    return f"vegd {__version__}\npython {sys.version}\n".encode() + said


def _tell(what: str) -> None:
    """Progress, for a person."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{what}\r")
        sys.stderr.flush()
