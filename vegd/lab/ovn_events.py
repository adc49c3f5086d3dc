"""The process that follows OVN's BFD rows and writes their changes as router events.

``python -m vegd.lab.ovn_events DIR OPTIONS``. It reads ``ovsdb-client monitor``, so a change is
seen when the database tells it, not at the next look.
"""

import json
import subprocess
import sys
from pathlib import Path

from vegd.lab import events
from vegd.lab.topology import Family, LabOptions, Topology

_STATES = {"up": "Up", "init": "Init", "down": "Down", "admin_down": "AdminDown"}


def follow(topology: Topology, directory: Path) -> None:
    """Write events until the database goes away."""
    command = ["ovsdb-client", "--format=json", "monitor", f"unix:{directory}/ovn/ovn.sock"]
    monitor = subprocess.Popen(
        [*command, "OVN_Northbound", "BFD", "dst_ip,status"], stdout=subprocess.PIPE, text=True
    )
    assert monitor.stdout is not None  # noqa: S101 - asked for above
    states: dict[str, str] = {}
    for line in monitor.stdout:
        for _, action, peer, status in json.loads(line)["data"]:
            gateway = topology.owner(peer) if isinstance(peer, str) else None
            # A row without a status yet has an empty set in its place.
            state = _STATES.get(status) if isinstance(status, str) else None
            if action != "old" and gateway and state and states.get(peer) != state:
                states[peer] = state
                events.add(directory, gateway, Family.of(peer), state)


def main() -> None:
    """Read the arguments and follow."""
    follow(Topology(LabOptions.from_json(json.loads(sys.argv[2]))), Path(sys.argv[1]))


if __name__ == "__main__":
    main()
