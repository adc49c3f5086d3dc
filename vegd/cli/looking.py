"""A look into the kernel by a command itself: no daemon has to run for it."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from vegd.errors import Unreachable, VegdError

if TYPE_CHECKING:
    from dataplane.kernel import Kernel
    from dataplane.model import GatewayIntent


@contextlib.asynccontextmanager
async def open_kernel() -> "AsyncIterator[Kernel]":
    """The kernel of this network namespace. Raises Unreachable if it cannot be asked."""
    from dataplane.errors import DataplaneError  # noqa: PLC0415 - --help stays quick
    from dataplane.linux import LinuxKernel  # noqa: PLC0415

    try:
        kernel = await LinuxKernel.open()
        try:
            yield kernel
        finally:
            await kernel.aclose()
    except DataplaneError as exc:
        raise Unreachable(str(exc)) from exc


@contextlib.asynccontextmanager
async def open_gateway(config: Path) -> "AsyncIterator[tuple[Kernel, GatewayIntent]]":
    """The kernel, and what a configuration means in it. Raises VegdError if something is missing
    without which it means nothing yet."""
    from vegd.compile import Waiting, compile  # noqa: A004, PLC0415 - --help stays quick
    from vegd.facts import NodeFacts  # noqa: PLC0415
    from vegd.spec import load  # noqa: PLC0415

    spec = load(config)
    async with open_kernel() as kernel:
        compiled = compile(spec, NodeFacts(await kernel.interfaces(), await kernel.tracking()))
        if isinstance(compiled, Waiting):
            raise VegdError("\n".join(f"waiting: {reason}" for reason in compiled.reasons))
        yield kernel, compiled.dataplane
