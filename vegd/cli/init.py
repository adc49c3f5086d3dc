"""``vegd init``: make the gateway once, as the init container of a Kube-OVN gateway pod."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vegd.cli.looking import open_kernel
from vegd.cli.options import AsJson
from vegd.errors import UsageError, VegdError

if TYPE_CHECKING:
    from dataplane.kernel import Kernel
    from dataplane.model import DataplaneState
    from dataplane.plan import Plan
    from vegd.compile import Intent
    from vegd.facts import NodeFacts
    from vegd.sources.environ import Routing
    from vegd.spec import GatewaySpec


def init(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help="A configuration of vegd, instead of Kube-OVN's environment.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done; do nothing.")
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="FILE",
            help="Leave the gateway there as a configuration, for the main container to keep.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the gateway that Kube-OVN's environment or a file describes, print what was done, end.

    Nothing has to run afterwards. A second run finds nothing to do.

    Exit status: 0 done; 1 something stands in the way or, with --dry-run, something is to be done;
    2 the environment or the file cannot be used; 3 the kernel could not be looked at.
    """
    import msgspec  # noqa: PLC0415 - --help stays quick

    from vegd import lock  # noqa: PLC0415

    if config is not None and save is not None:
        raise UsageError("--save: a file is there already, that of --config; leave one of both out")
    remedy = "it keeps the gateway as its configuration says"
    with contextlib.closing(lock.hold(remedy=remedy)):
        notes, plan = asyncio.run(_init(config, dry_run=dry_run, save=save))
    if as_json:
        document: dict[str, Any] = {"notes": notes, "operations": plan.to_json()}
        typer.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
    else:
        lines = [f"note: {note}" for note in notes]
        typer.echo("\n".join([*lines, *(plan.lines() or ["nothing to change"])]))
    raise typer.Exit(1 if dry_run and plan else 0)


async def _init(
    config: Path | None, *, dry_run: bool, save: Path | None
) -> "tuple[tuple[str, ...], Plan]":
    from vegd.facts import NodeFacts  # noqa: PLC0415 - --help stays quick
    from vegd.sources import environ, saved  # noqa: PLC0415
    from vegd.spec import load  # noqa: PLC0415

    spec = None if config is None else load(config)
    async with open_kernel() as kernel:
        facts = NodeFacts(
            await kernel.interfaces(), await kernel.tracking(), await kernel.default_gateways()
        )
        if spec is not None:
            return await _make(kernel, spec, facts, dry_run=dry_run)
        wish = environ.read(os.environ, facts)
        if isinstance(wish, environ.Routing):
            done = await _route(kernel, wish, dry_run=dry_run)
        else:
            done = await _make(kernel, wish.spec, facts, dry_run=dry_run)
        if save is not None and not dry_run:
            saved.save(save, wish)
        return done


async def _route(
    kernel: "Kernel", wish: "Routing", *, dry_run: bool
) -> "tuple[tuple[str, ...], Plan]":
    from dataplane.render import render_routing  # noqa: PLC0415 - --help stays quick

    desired = render_routing(wish.interface, wish.versions)
    return (), await _converge(kernel, desired, dry_run=dry_run)


async def _make(
    kernel: "Kernel", spec: "GatewaySpec", facts: "NodeFacts", *, dry_run: bool
) -> "tuple[tuple[str, ...], Plan]":
    from dataplane.render import render  # noqa: PLC0415 - --help stays quick
    from vegd.compile import Waiting, compile  # noqa: A004, PLC0415

    compiled = compile(spec, facts)
    if isinstance(compiled, Waiting):
        # The CNI has come before: nothing is to be waited for.
        raise VegdError("\n".join(compiled.reasons))
    plan = await _converge(kernel, render(compiled.dataplane), dry_run=dry_run)
    if not dry_run:
        await _forget(kernel, compiled, facts)
    return compiled.notes, plan


async def _converge(kernel: "Kernel", desired: "DataplaneState", *, dry_run: bool) -> "Plan":
    """One round. Raises VegdError with everything that could not be done."""
    from dataplane.diff import diff  # noqa: PLC0415 - --help stays quick

    plan = diff(await kernel.observe(desired), desired)
    if dry_run or not plan:
        return plan
    report = await kernel.apply(plan)
    if not report.ok:
        raise VegdError("\n".join(f"not done: {error}" for _, error in report.failed))
    left = diff(await kernel.observe(desired), desired)
    if left:
        raise VegdError("\n".join(f"undone by somebody else: {line}" for line in left.lines()))
    return plan


async def _forget(kernel: "Kernel", intent: "Intent", facts: "NodeFacts") -> None:
    """Connections that were tracked before there was SNAT would go on without it."""
    from dataplane.stale import Judge, local_addresses  # noqa: PLC0415 - --help stays quick

    wish = intent.dataplane
    await kernel.forget(Judge(wish, wish.sources(), local_addresses(wish, facts.interfaces)))
