"""Whether a neighbour answers ARP or neighbour discovery, asked through the kernel's own table.

An entry that is known is put into the state PROBE, in which the kernel asks the neighbour at once;
one that is not known is resolved ("use", NTF_USE). The answer is the state REACHABLE. States:
linux/neighbour.h; what leads from one to another: RFC 4861 7.3.2, which the kernel follows for ARP
as well.
"""

import asyncio
import socket

from dataplane.model import IPAddress
from dataplane.rtnetlink import FAMILIES, NDA_DST, NEIGHBOUR, RTM_NEWNEIGH, Routing
from dataplane.wire import NLM_F_CREATE, NLM_F_REPLACE, attribute

_NTF_USE = 1
_NUD_NONE, _NUD_REACHABLE, _NUD_PROBE = 0, 0x02, 0x10
_LOOK_S = 0.02


class Neighbours:
    """A netlink socket for such questions."""

    def __init__(self) -> None:
        """Open the socket."""
        self._routing = Routing()

    def close(self) -> None:
        """Close it."""
        self._routing.close()

    async def answers(self, interface: str, address: IPAddress, timeout_s: float) -> bool:
        """Whether the neighbour answers within the time; OSError where it cannot be asked."""
        index = socket.if_nametoindex(interface)
        try:
            self._ask(index, address, _NUD_PROBE, 0, NLM_F_REPLACE)
        except OSError:
            # Not known, or never resolved: there is no address to probe.
            self._ask(index, address, _NUD_NONE, _NTF_USE, NLM_F_CREATE | NLM_F_REPLACE)
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not self._reachable(index, address):
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    def _ask(self, index: int, address: IPAddress, state: int, flags: int, how: int) -> None:
        header = NEIGHBOUR.pack(FAMILIES[address.version], index, state, flags, 0)
        self._routing.request(RTM_NEWNEIGH, header + attribute(NDA_DST, address.packed), how)

    def _reachable(self, index: int, address: IPAddress) -> bool:
        return any(
            found_index == index and state == _NUD_REACHABLE
            for (_, found_index, state, _, _), found in self._routing.neighbours(
                address.version, index
            )
            if found.get(NDA_DST) == address.packed
        )
