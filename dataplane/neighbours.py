"""Whether a neighbour answers ARP or neighbour discovery, asked through the kernel's own table.

An entry that is known is put into the state PROBE, in which the kernel asks the neighbour at once;
one that is not known is resolved ("use", NTF_USE). The answer is the state REACHABLE. States:
linux/neighbour.h; what leads from one to another: RFC 4861 7.3.2, which the kernel follows for ARP
as well.
"""

import asyncio
import socket
from typing import Self

from pyroute2 import AsyncIPRoute  # type: ignore[import-untyped]
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]

from dataplane.model import IPAddress

_NTF_USE = 1
_NUD_REACHABLE = 2
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_LOOK_S = 0.02


class Neighbours:
    """A netlink socket for such questions."""

    def __init__(self, socket: AsyncIPRoute) -> None:
        self._socket = socket
        # One conversation at a time: the answers on a socket are told apart by their order.
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls) -> Self:
        """Open the socket."""
        socket = AsyncIPRoute()
        await socket.setup_endpoint()
        return cls(socket)

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    async def answers(self, interface: str, address: IPAddress, timeout_s: float) -> bool:
        """Whether the neighbour answers within the time; OSError where it cannot be asked."""
        index = socket.if_nametoindex(interface)
        key = {"dst": str(address), "ifindex": index, "family": _FAMILIES[address.version]}
        async with self._turn:
            try:
                await self._socket.neigh("change", **key, state="probe")
            except NetlinkError:
                # Not known, or never resolved: there is no address to probe.
                try:
                    await self._socket.neigh("replace", **key, flags=_NTF_USE, state="none")
                except NetlinkError as exc:
                    raise OSError(exc.code, str(exc)) from exc
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not await self._reachable(key):
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    async def _reachable(self, key: dict[str, object]) -> bool:
        async with self._turn:
            states = [each["state"] async for each in await self._socket.get_neighbours(**key)]
        return _NUD_REACHABLE in states
