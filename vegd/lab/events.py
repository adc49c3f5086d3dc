"""What the VPC router saw: one JSON line per change of a session, whichever kind of router.

Times are CLOCK_MONOTONIC in seconds, which all processes of a machine share.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from vegd.lab.topology import Family, Gateway

FILE = "router-events"


@dataclass(frozen=True, slots=True)
class RouterEvent:
    """A session of the router has a new state: Up, Init, Down or AdminDown."""

    at: float
    gateway: str
    family: str
    state: str

    @property
    def is_up(self) -> bool:
        """Whether the router uses this gateway for the family."""
        return self.state == "Up"


def add(directory: Path, gateway: str, family: Family, state: str) -> None:
    """Append one event, now; the router's process does."""
    event = RouterEvent(time.monotonic(), gateway, family.value, state)
    with (directory / FILE).open("a") as file:
        file.write(json.dumps(asdict(event)) + "\n")


def read(directory: Path) -> list[RouterEvent]:
    """All events so far, oldest first."""
    try:
        lines = (directory / FILE).read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [RouterEvent(**json.loads(line)) for line in lines if line.endswith("\n")]


def newest(directory: Path) -> dict[tuple[str, str], RouterEvent]:
    """The newest event of each (gateway, family)."""
    return {(event.gateway, event.family): event for event in read(directory)}


def up(directory: Path, peers: Iterable[tuple[Gateway, Family]]) -> bool:
    """Whether all these sessions are Up."""
    states = newest(directory)
    return all(
        (event := states.get((gateway.name, family.value))) is not None and event.is_up
        for gateway, family in peers
    )
