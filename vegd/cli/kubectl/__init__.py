"""``kubectl vegd``: the gateways of a cluster from where an operator sits.

``kubectl`` runs the program ``kubectl-vegd`` that is on PATH. It reads with the caller's own rights
and kubeconfig; what goes into a pod goes by ``kubectl exec``. Nothing is installed in the cluster
for it.
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from vegd.cli.complaints import complaining


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command of the plugin; an expected error is one line on standard error."""
    from vegd.cli.kubectl.arguments import parse  # noqa: PLC0415 - only now

    with complaining():
        options = parse(sys.argv[1:] if arguments is None else arguments)
        from vegd.cli.processes import require_cluster_libraries  # noqa: PLC0415 - after --help

        require_cluster_libraries()
        run: Callable[[Any], int] = import_module(f"vegd.cli.kubectl.{options.module}").run
        status = run(options)
    raise SystemExit(status)
