"""``vegd controller``: gateways of a cluster as their resources say. Its command line is read by
argparse, as that of the other processes is."""

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Coroutine, Sequence
from pathlib import Path

from bfd import logs
from kube.client import Client
from kube.errors import KubeError
from kube.identity import KUBE_OVN, identity_of
from kube.leases import Candidate, Seat
from kube.owners import KUBE_OVN as KUBE_OVN_MARK
from kube.owners import VEGD as OUR_MARK
from kube.routes import Way
from kube.workload import Watch
from vegd import __version__
from vegd.cli.complaints import complaining
from vegd.cluster.controller import Controller
from vegd.cluster.gateways import Options
from vegd.cluster.leadership import LASTS_S, Leadership
from vegd.cluster.ovn import Ovn
from vegd.cluster.pages import Pages, serve
from vegd.document import Refusal
from vegd.errors import UsageError, VegdError
from vegd.texts import Listen, read_listen

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_AUTO = "auto"
_WAYS = (_AUTO, Way.POLICIES.value, Way.STATIC_ROUTES.value)
_MOST_WORKERS = 64
_COLLECT_AFTER = 10_000
"""New objects until the garbage collector looks. The copies of what there is are many and stay: at
the interpreter's 700 it looks through all of them again and again in vain."""

_ABOUT = """Make the gateways of a cluster as their VpcEgressGateway resources say, and keep them
so: Deployments, routes and BFD sessions in OVN, status.

Runs until SIGTERM. A leader that is asked to end gives its Lease up, so that the next one begins at
once; nothing that stands is touched by that."""


def main(arguments: Sequence[str]) -> None:
    """Run the controller until a signal. Raises SystemExit with a complaint on standard error."""
    options = _parser().parse_args(arguments)
    with complaining():
        try:
            logs.configure(options.log_level, options.log_format)
        except ValueError as exc:
            raise UsageError(str(exc)) from exc
        gc.set_threshold(_COLLECT_AFTER)
        asyncio.run(_run(options, _listen(options.listen)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vegd controller",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--ovn-nb",
        metavar="REMOTE",
        type=_remote,
        default=os.environ.get("OVN_NB_DB"),
        required="OVN_NB_DB" not in os.environ,
        help="OVN's northbound database: unix:FILE, tcp:HOST:PORT or ssl:HOST:PORT, several with "
        "commas (default: $OVN_NB_DB)",
    )
    add(
        "--image",
        default=os.environ.get("VEGD_IMAGE", f"vegd:{__version__}"),
        help="of the pods of gateways that name none (default: $VEGD_IMAGE, else vegd:VERSION)",
    )
    add(
        "--api-group",
        default=KUBE_OVN.group,
        help="of the gateways that are served: Kube-OVN's own where its controller does not see to "
        "gateways, another one beside it (default: %(default)s)",
    )
    add(
        "--bfd-ports",
        action=argparse.BooleanOptionalAction,
        help="see to the VPCs' BFD ports (default: in Kube-OVN's group only)",
    )
    add(
        "--bfd-binding",
        choices=_WAYS,
        default=_AUTO,
        help="how next hops are tied to BFD sessions; auto finds out what OVN heeds",
    )
    add(
        "--watch",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run a watcher in the gateway pods, which takes changes to them at once and reports "
        "from them (default: yes)",
    )
    add(
        "--api-server",
        metavar="HOST:PORT",
        type=_api_server,
        default="",
        help="of the API server for the watchers, where pods of a custom VPC do not reach the "
        "service address",
    )
    add(
        "--kubeconfig",
        metavar="FILE",
        type=Path,
        help="default: the pod's service account, else $KUBECONFIG, else ~/.kube/config",
    )
    add(
        "--leader-elect",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="act only while holding the Lease vegd-controller (default: yes)",
    )
    add(
        "--lease-namespace",
        metavar="NAMESPACE",
        default=os.environ.get("POD_NAMESPACE"),
        help="of the Lease (default: $POD_NAMESPACE, else the pod's, else default)",
    )
    add(
        "--listen",
        metavar="HOST:PORT",
        default=":10660",
        help="of /metrics, /livez and /readyz (default: %(default)s)",
    )
    add(
        "--workers",
        type=_workers,
        default=8,
        help=f"gateways that are worked on at a time, 1 to {_MOST_WORKERS} (default: %(default)s)",
    )
    add("--log-level", default="info", help="debug, info, warning or error (default: info)")
    add("--log-format", default=_AUTO, help="auto, text or json (default: auto)")
    return parser


def _remote(text: str) -> str:
    for remote in text.split(","):
        kind, _, rest = remote.partition(":")
        if kind not in ("unix", "tcp", "ssl") or not rest:
            remedy = "give unix:FILE, tcp:HOST:PORT or ssl:HOST:PORT, several with commas"
            raise argparse.ArgumentTypeError(f"{remote!r} names no database; {remedy}")
    return text


def _api_server(text: str) -> str:
    """An address that pods can reach; empty is the default."""
    address = read_listen(text) if text else None
    if isinstance(address, Refusal) or (address is not None and not address.host):
        remedy = "give HOST:PORT, for example 192.0.2.10:6443 or [2001:db8::10]:6443"
        raise argparse.ArgumentTypeError(f"{text!r} is no address; {remedy}")
    return text


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _MOST_WORKERS):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of workers; give 1 to 64")
    return int(text)


def _listen(text: str) -> Listen:
    address = read_listen(text)
    if isinstance(address, Refusal):
        raise UsageError(f"--listen: {text!r} {address.problem}; {address.remedy}")
    return address


async def _run(options: argparse.Namespace, listen: Listen) -> None:
    instance = f"{socket.gethostname()}-{os.getpid()}"
    ordered = None if options.bfd_binding == _AUTO else Way(options.bfd_binding)
    try:
        client = await Client.connect(options.kubeconfig, agent="vegd-controller")
    except KubeError as exc:
        raise VegdError(str(exc)) from exc
    async with client:
        ovn = Ovn(options.ovn_nb, ordered)
        controller = _controller(options, client, ovn, instance)
        leadership = _leadership(options, client, instance)
        try:
            async with serve(Pages(controller, client, leadership), listen):
                await _until_asked_to_end(controller.run(leadership))
        except OSError as exc:
            raise VegdError(f"--listen: {listen}: {exc.strerror}; name another address") from exc
        finally:
            await ovn.close()


def _controller(options: argparse.Namespace, client: Client, ovn: Ovn, instance: str) -> Controller:
    identity = identity_of(options.api_group)
    alone = identity is KUBE_OVN
    return Controller(
        client,
        ovn,
        Options(
            identity,
            KUBE_OVN_MARK if alone else OUR_MARK,
            options.image,
            Watch(options.api_server) if options.watch else None,
        ),
        instance,
        manages_bfd_ports=alone if options.bfd_ports is None else options.bfd_ports,
        workers=options.workers,
    )


def _leadership(options: argparse.Namespace, client: Client, instance: str) -> Leadership | None:
    if not options.leader_elect:
        return None
    seat = Seat(options.lease_namespace or _own_namespace(), "vegd-controller", LASTS_S)
    return Leadership(Candidate(client, seat, instance))


async def _until_asked_to_end(work: Coroutine[None, None, None]) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _own_namespace() -> str:
    try:
        return _NAMESPACE_FILE.read_text().strip()
    except OSError:
        return "default"
