"""The gateway of the pod: kept as the init container has made it, where that is possible."""

import contextlib
import logging
from collections.abc import AsyncIterator

from msgspec.structs import replace

from dataplane.errors import DataplaneError
from dataplane.linux import LinuxKernel
from vegd import lock
from vegd.agent import Agent
from vegd.compat.alone import Alone
from vegd.http import serve_control
from vegd.settings import Settings
from vegd.sources.file import SpecSnapshot
from vegd.sources.fixed import FixedSource
from vegd.sources.saved import NotKept, saved
from vegd.spec import Drain, GatewaySpec
from vegd.supervise import Supervisor

log = logging.getLogger(__name__)

_FORWARD_S = 6
"""OVN may act on an AdminDown up to 5 s late, and the pod's network goes when we do."""


@contextlib.asynccontextmanager
async def pod_gateway(
    settings: Settings, engine: Supervisor, grace_s: int
) -> AsyncIterator[Agent | Alone]:
    """The agent, on the gateway that was left in `settings.config`; else, with a warning that says
    why, the sessions alone. Either leaves within `grace_s`."""
    try:
        spec = saved(settings.config)
        kernel = await LinuxKernel.open()
    except (NotKept, DataplaneError) as exc:
        log.warning("nothing watches the dataplane, only the BFD sessions are kept: %s", exc)
        yield Alone(settings, engine, min(grace_s, _FORWARD_S))
        return
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(kernel.aclose)
        stack.enter_context(contextlib.closing(lock.hold()))
        first = SpecSnapshot(1, _in_a_pod(spec, grace_s), (), settings.config)
        agent = Agent(settings, kernel, FixedSource(first), first, engine)
        await stack.enter_async_context(serve_control(agent.pages, settings.agent_socket))
        yield agent


def _in_a_pod(spec: GatewaySpec, grace_s: int) -> GatewaySpec:
    """Sessions are the environment's, addresses the CNI's, and the drain ends in time."""
    drain = Drain(forward_for=min(grace_s, _FORWARD_S), grace=grace_s, keep_addresses=True)
    return replace(spec, bfd=None, drain=drain)
