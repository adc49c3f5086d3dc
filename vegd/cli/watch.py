"""``vegd watch``: between a gateway pod and the cluster. Its command line is read by argparse, as
that of the other processes is."""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bfd import logs
from vegd.cli.complaints import complaining
from vegd.errors import UsageError, VegdError
from vegd.settings import RUNTIME_DIR_VARIABLE, default_runtime_dir

if TYPE_CHECKING:
    from vegd.watching.watcher import Watcher

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_FAREWELL_S = 3.0
_NICE = 10

_ABOUT = """Bring the configuration of this gateway pod from its ConfigMap, and report its status
to its VpcEgressGateway.

What is brought is left in the runtime directory for "vegd run --followed"; the status comes from
there, too. Runs until SIGTERM, and then takes the report back."""


def main(arguments: Sequence[str]) -> None:
    """Watch until a signal. Raises SystemExit with a complaint on standard error."""
    options = _parser().parse_args(arguments)
    with complaining():
        try:
            logs.configure(options.log_level, options.log_format)
        except ValueError as exc:
            raise UsageError(str(exc)) from exc
        if find_spec("kubernetes_asyncio") is None:
            raise VegdError(
                "what speaks to a cluster is not installed (kubernetes_asyncio); "
                "use the image, or install vegd[watch]"
            )
        try:
            # The agent may come later.
            options.runtime_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as exc:
            raise UsageError(
                f"--runtime-dir: {options.runtime_dir} cannot be made ({exc.strerror}); "
                "name the directory that the agent is started with"
            ) from exc
        if options.parent:
            # Beside the engine, which must never wait for this one.
            os.nice(_NICE)
        asyncio.run(_run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vegd watch",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    environ = os.environ

    def add(option: str, variable: str, meaning: str, default: str | None = None) -> None:
        value = environ.get(variable) or default
        fallback = f", else {default}" if default else ""
        parser.add_argument(
            option,
            metavar=option.removeprefix("--").replace("-", "_").upper(),
            default=value,
            required=value is None,
            help=f"{meaning} (default: ${variable}{fallback})",
        )

    add("--config-map", "VEGD_CONFIG_MAP", "the ConfigMap with the key gateway.yaml to follow")
    add("--gateway", "VEGD_GATEWAY", "the VpcEgressGateway to report to")
    add("--namespace", "POD_NAMESPACE", "of both", _own_namespace())
    add("--api-group", "VEGD_API_GROUP", "of the VpcEgressGateway", "kubeovn.io")
    add("--pod", "POD_NAME", "the pod that is reported", socket.gethostname())
    parser.add_argument(
        "--node",
        metavar="NODE",
        default=environ.get("NODE_NAME", ""),
        help="the node that is reported (default: $NODE_NAME)",
    )
    parser.add_argument(
        "--kubeconfig",
        metavar="FILE",
        type=Path,
        help="default: the pod's service account, else $KUBECONFIG, else ~/.kube/config",
    )
    parser.add_argument(
        "--runtime-dir",
        metavar="DIR",
        type=Path,
        default=default_runtime_dir(),
        help=f"directory of the agent's socket (default: ${RUNTIME_DIR_VARIABLE} or /run/vegd)",
    )
    parser.add_argument("--parent", metavar="PID", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--log-level", default="info", help="debug, info, warning or error")
    parser.add_argument("--log-format", default="auto", help="auto, text or json")
    return parser


def _own_namespace() -> str | None:
    try:
        return _NAMESPACE_FILE.read_text().strip()
    except OSError:
        return None


async def _run(options: argparse.Namespace) -> None:
    # Not before the complaints: it takes most of the time and the memory of the process.
    from kube.client import Client  # noqa: PLC0415
    from kube.errors import KubeError  # noqa: PLC0415
    from vegd.watching.report import Place  # noqa: PLC0415
    from vegd.watching.watcher import Order, Watcher  # noqa: PLC0415

    order = Order(
        namespace=options.namespace,
        config_map=options.config_map,
        gateway=options.gateway,
        group=options.api_group,
        place=Place(options.pod, options.node),
        runtime_dir=options.runtime_dir,
        parent=options.parent,
    )
    try:
        client = await Client.connect(options.kubeconfig, agent="vegd-watch")
    except KubeError as exc:
        raise VegdError(str(exc)) from exc
    async with client:
        watcher = Watcher(client, order)
        if await _is_asked_to_end(watcher):
            with contextlib.suppress(KubeError, TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    await watcher.leave()


async def _is_asked_to_end(watcher: "Watcher") -> bool:
    """Watch; False when the watcher has ended by itself."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(watcher.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False
