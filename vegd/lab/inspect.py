"""How the gateways of a lab are, seen from both ends of their sessions."""

import asyncio
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bfd.client import Client, ControlError
from vegd.lab import events
from vegd.lab.lab import Lab
from vegd.lab.topology import Family
from vegd.words import state_name


@dataclass(frozen=True, slots=True)
class GatewayLine:
    """One gateway in one family."""

    gateway: str
    daemon: str
    """Process id, or ``-`` where none runs."""
    family: str
    router_says: str
    gateway_says: str
    external: str

    @property
    def is_up(self) -> bool:
        """Whether both ends say Up."""
        return self.router_says == self.gateway_says == "Up"

    def cells(self) -> tuple[str, ...]:
        """The row of a table."""
        return tuple(asdict(self).values())

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def look(lab: Lab) -> list[GatewayLine]:
    """All gateways in both families."""
    router = events.newest(lab.event_directory)
    lines = []
    for gateway in lab.topology.gateways:
        process = lab.state.process(gateway.name)
        own = asyncio.run(_states(lab.state.runtime_dir(gateway.name) / "bfd.sock"))
        for family in Family:
            event = router.get((gateway.name, family.value))
            lines.append(
                GatewayLine(
                    gateway.name,
                    str(process.pid) if process else "-",
                    family.value,
                    event.state if event else "-",
                    own.get(gateway.internal_address(family), "-"),
                    gateway.external_address(family),
                )
            )
    return lines


async def _states(path: Path) -> dict[str, str]:
    """Local address to state, of the sessions of one engine; empty if it does not answer."""
    try:
        async with Client(path) as client:
            snapshot = await client.snapshot()
    except (OSError, ControlError):
        return {}
    return {each.key.local: state_name(each.state) for each in snapshot.sessions}
