"""The process of the embedded router: the next hops are the gateways whose session is Up.

Runs in the router's namespace beside its BFD engine: ``python -m vegd.lab.router DIR OPTIONS``.
Each family has one default route, replaced in one step as sessions move; without any gateway there
is none, so that nothing leaves another way. Beside it each gateway has a table of its own for the
TCP connections that have begun through it (see `vegd.lab.linux_router`). When a gateway dies its
route there goes at once; when it says AdminDown it forwards on, and the route stays for as long as
a gateway may take to drain.
"""

import asyncio
import contextlib
import json
import socket
import sys
from pathlib import Path
from typing import Any

from pyroute2 import AsyncIPRoute  # type: ignore[import-untyped]
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]

from bfd.client import Client
from bfd.config import SessionConfig, SessionKey
from bfd.fsm import Diagnostic, State
from bfd.snapshot import SessionSnapshot
from vegd.lab import events
from vegd.lab.linux_router import gateway_table
from vegd.lab.topology import Family, LabOptions, Topology
from vegd.words import state_name

_FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_DEFAULTS = {Family.IPV4: "0.0.0.0/0", Family.IPV6: "::/0"}
_PROTOCOL_STATIC = 4
_LINGER_S = 30.0
"""After AdminDown; the gateways' `drain.grace` is 25 s."""


class Router:
    """Follows the engine and keeps the default routes."""

    def __init__(self, topology: Topology, directory: Path) -> None:
        self._topology = topology
        self._directory = directory
        self._up: dict[Family, set[str]] = {family: set() for family in Family}
        self._states: dict[str, State] = {}
        self._lingering: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Configure the engine's sessions, then follow them, for ever."""
        path = self._directory / "router" / "bfd.sock"
        async with AsyncIPRoute() as routes:
            (bridge,) = await routes.link_lookup(ifname="subnet1")
            while True:
                with contextlib.suppress(OSError):
                    async with Client(path) as client:
                        await client.configure(self._sessions(), generation=1)
                        async for session in client.watch():
                            await self._take(routes, bridge, session)
                await asyncio.sleep(0.05)

    def _sessions(self) -> list[SessionConfig]:
        options = self._topology.options
        local = {Family.of(str(each.ip)): str(each.ip) for each in self._topology.bfd_port}
        return [
            SessionConfig(
                SessionKey(local[family], gateway.internal_address(family)),
                desired_min_tx_us=options.interval_ms * 1000,
                required_min_rx_us=options.interval_ms * 1000,
                detect_mult=options.multiplier,
            )
            for gateway, family in self._topology.peers()
        ]

    async def _take(self, routes: Any, bridge: int, session: SessionSnapshot) -> None:
        peer, state = session.key.peer, session.state
        gateway = self._topology.owner(peer)
        if gateway is None or self._states.get(peer) is state:
            return
        self._states[peer] = state
        family = Family.of(peer)
        before = set(self._up[family])
        (self._up[family].add if state is State.UP else self._up[family].discard)(peer)
        if self._up[family] != before:
            await self._keep(routes, bridge, gateway, session)
            await self._route(routes, bridge, family)
        events.add(self._directory, gateway, family, state_name(state))

    async def _keep(self, routes: Any, bridge: int, gateway: str, session: SessionSnapshot) -> None:
        """The route of the connections that keep to one gateway."""
        peer = session.key.peer
        numbers = {each.name: n for n, each in enumerate(self._topology.gateways, 1)}
        route = {**_default(Family.of(peer)), "table": gateway_table(numbers[gateway])}
        if peer in self._lingering:
            self._lingering.pop(peer).cancel()
        if session.state is State.UP:
            await routes.route("replace", **route, gateway=peer, oif=bridge)
        elif _drains(session):
            self._lingering[peer] = asyncio.create_task(_remove_later(routes, route))
        else:
            await routes.route("del", **route)

    async def _route(self, routes: Any, bridge: int, family: Family) -> None:
        base = _default(family)
        hops = [{"gateway": peer, "oif": bridge} for peer in sorted(self._up[family])]
        if len(hops) > 1:
            await routes.route("replace", **base, multipath=hops)
        elif hops:
            await routes.route("replace", **base, **hops[0])
        else:
            with contextlib.suppress(NetlinkError):
                await routes.route("del", **base)


def _default(family: Family) -> dict[str, Any]:
    return {"family": _FAMILIES[family], "dst": _DEFAULTS[family], "proto": _PROTOCOL_STATIC}


def _drains(session: SessionSnapshot) -> bool:
    """Whether the peer has said AdminDown and goes on forwarding what it knows."""
    is_told = session.remote_state is State.ADMIN_DOWN
    return is_told and session.remote_diag is not Diagnostic.PATH_DOWN


async def _remove_later(routes: Any, route: dict[str, Any]) -> None:
    await asyncio.sleep(_LINGER_S)
    await routes.route("del", **route)


def main() -> None:
    """Read the arguments and run."""
    directory, options = Path(sys.argv[1]), LabOptions.from_json(json.loads(sys.argv[2]))
    asyncio.run(Router(Topology(options), directory).run())


if __name__ == "__main__":
    main()
