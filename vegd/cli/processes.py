"""The processes as they show in the overview; they are dispatched in `vegd.cli`, and read their own
arguments."""

from importlib.util import find_spec

import typer

from vegd.errors import VegdError

PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True}


def run(context: typer.Context) -> None:
    """Run the gateway: the agent, and the BFD engine as its child."""
    from vegd.cli.daemon import main  # noqa: PLC0415 - --help stays quick

    main("run", context.args)


def agent(context: typer.Context) -> None:
    """Run the agent only; the BFD engine runs on its own (vegd bfd)."""
    from vegd.cli.daemon import main  # noqa: PLC0415 - --help stays quick

    main("agent", context.args)


def bfd(context: typer.Context) -> None:
    """Run the BFD engine alone: standard library only, a process of its own."""
    from bfd.service import main  # noqa: PLC0415 - --help stays quick

    raise typer.Exit(main(context.args))


def observe(context: typer.Context) -> None:
    """Tell of the connections of a Kube-OVN gateway pod: flow logs and metrics."""
    from vegd.observer.client import main  # noqa: PLC0415 - --help stays quick

    main(context.args)


def watch(context: typer.Context) -> None:
    """Bring the configuration of a gateway pod from the cluster, and report its status there."""
    from vegd.cli.watch import main  # noqa: PLC0415 - --help stays quick

    main(context.args)


def controller(context: typer.Context) -> None:
    """Make the gateways of a cluster as their VpcEgressGateway resources say."""
    require_cluster_libraries()
    from vegd.cli.controller import main  # noqa: PLC0415 - --help stays quick

    main(context.args)


def require_cluster_libraries() -> None:
    """Raises VegdError where the extra ``kube`` is not installed, as in the gateways' image."""
    missing = [name for name in ("kubernetes_asyncio", "ovsdbapp") if find_spec(name) is None]
    if missing:
        raise VegdError(
            f"what the cluster's side needs is not installed ({', '.join(missing)}); "
            "use the controller's image, or install vegd[kube]"
        )
