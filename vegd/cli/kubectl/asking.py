"""How the plugin reaches the cluster: questions to the API server, and kubectl where it is needed.

An error of the API server becomes one line with a remedy. Exit status 3 says that the cluster could
not be asked, 2 that something was asked for that is not there.
"""

import argparse
import asyncio
import contextlib
import re
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

from kube.client import Client
from kube.errors import Forbidden, KubeError, NotFound, Unconfigured
from kube.identity import Identity, identity_of
from kube.ovsdb import DatabaseError
from vegd.errors import Unreachable, UsageError, VegdError

T = TypeVar("T")

_REQUEST = re.compile(r'(Post|Get) "\S+": ')
_GATEWAY_CONTAINERS = ("gateway", "bfdd")
"""What vegd runs in: its own pods, and those of Kube-OVN's controller with BFD."""


def ask(options: argparse.Namespace, question: Callable[[Client], Awaitable[T]]) -> T:
    """The answer to a question to the cluster. Raises VegdError."""

    async def asking() -> T:
        async with await Client.connect(
            options.kubeconfig, context=options.context, agent="kubectl-vegd"
        ) as client:
            return await question(client)

    with complaints(options):
        return asyncio.run(asking())


@contextlib.contextmanager
def complaints(options: argparse.Namespace) -> Iterator[None]:
    """Errors of the API server and of OVN as the user's."""
    try:
        yield
    except Unconfigured as exc:
        raise UsageError(f"{exc}; give --kubeconfig and --context") from exc
    except Forbidden as exc:
        raise Unreachable(f"{exc}; ask for that right") from exc
    except NotFound as exc:
        raise UsageError(f"{exc}; is --api-group {options.api_group} right?") from exc
    except KubeError as exc:
        remedy = "is the API server there, and --context the cluster's?"
        raise Unreachable(f"{exc}; {remedy}") from exc
    except DatabaseError as exc:
        raise Unreachable(f"{exc}; is --ovn-nb the cluster's?") from exc


def identity(options: argparse.Namespace) -> Identity:
    """Whose names the gateways' objects bear."""
    return identity_of(options.api_group)


def kubectl(options: argparse.Namespace, *arguments: str) -> list[str]:
    """A command line of kubectl for the same cluster. Raises VegdError where there is none."""
    program = shutil.which("kubectl")
    if program is None:
        raise VegdError("there is no kubectl on PATH, which is needed to run commands in pods")
    chosen = [f"--context={options.context}"] if options.context else []
    if options.kubeconfig is not None:
        chosen.append(f"--kubeconfig={options.kubeconfig}")
    return [program, *chosen, *arguments]


def execute(
    options: argparse.Namespace,
    place: tuple[str, str, str],
    command: Sequence[str],
    timeout_s: float = 60.0,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a container: namespace, pod and container, the first one where it is empty.
    Its exit status and output.

    Raises Unreachable if the command was not run at all.
    """
    namespace, pod, container = place
    chosen = [f"--container={container}"] if container else []
    line = kubectl(options, "exec", f"--namespace={namespace}", pod, *chosen)
    try:
        done = subprocess.run(
            [*line, "--", *command], capture_output=True, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired as exc:
        raise Unreachable(f"{namespace}/{pod}: no answer within {timeout_s:g} s") from exc
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode and "command terminated with exit code" not in said:
        raise Unreachable(f"{namespace}/{pod}: kubectl exec failed: {_last_line(said)}")
    return done


def _last_line(text: str) -> str:
    """The complaint, without the address that the API server has asked, which holds the command."""
    return _REQUEST.sub("", text.splitlines()[-1]) if text else "it said nothing"


def gateway_container(names: Sequence[str]) -> str:
    """The container of a gateway pod in which vegd runs."""
    return next((each for each in _GATEWAY_CONTAINERS if each in names), names[0])
