"""``vegd init``: make the gateway once, as the init container of a Kube-OVN gateway pod."""

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vegd.cli.looking import open_kernel
from vegd.cli.options import AsJson
from vegd.errors import VegdError

if TYPE_CHECKING:
    from dataplane.kernel import Kernel
    from dataplane.model import DataplaneState
    from dataplane.plan import Plan
    from vegd.compile import Intent
    from vegd.facts import NodeFacts


def init(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done; do nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the gateway that Kube-OVN's environment describes, print what was done, and end.

    Nothing has to run afterwards. A second run finds nothing to do.

    Exit status: 0 done; 1 something stands in the way or, with --dry-run, something is to be done;
    2 the environment cannot be used; 3 the kernel could not be looked at.
    """
    import msgspec  # noqa: PLC0415 - --help stays quick

    from vegd import lock  # noqa: PLC0415

    remedy = "it keeps the gateway as its configuration says"
    with contextlib.closing(lock.hold(remedy=remedy)):
        notes, plan = asyncio.run(_init(dry_run=dry_run))
    if as_json:
        document: dict[str, Any] = {"notes": notes, "operations": plan.to_json()}
        typer.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
    else:
        lines = [f"note: {note}" for note in notes]
        typer.echo("\n".join([*lines, *(plan.lines() or ["nothing to change"])]))
    raise typer.Exit(1 if dry_run and plan else 0)


async def _init(*, dry_run: bool) -> "tuple[tuple[str, ...], Plan]":
    from dataplane.render import render, render_routing  # noqa: PLC0415 - --help stays quick
    from vegd.compile import Waiting, compile  # noqa: A004, PLC0415
    from vegd.facts import NodeFacts  # noqa: PLC0415
    from vegd.sources import environ  # noqa: PLC0415

    async with open_kernel() as kernel:
        facts = NodeFacts(
            await kernel.interfaces(), await kernel.tracking(), await kernel.default_gateways()
        )
        wish = environ.read(os.environ, facts)
        if isinstance(wish, environ.Routing):
            desired = render_routing(wish.interface, wish.versions)
            return (), await _converge(kernel, desired, dry_run=dry_run)
        compiled = compile(wish, facts)
        if isinstance(compiled, Waiting):
            # The CNI has come before: nothing is to be waited for.
            raise VegdError("\n".join(compiled.reasons))
        desired = render(compiled.dataplane)
        plan = await _converge(kernel, desired, dry_run=dry_run)
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
