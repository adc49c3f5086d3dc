"""Breaking a gateway, and mending it.

What is broken is the network or the process, never vegd's own objects: a cut is a table of the
lab's in the gateway's namespace, which vegd must leave alone.
"""

import os
import signal
import sys

from vegd.lab import namespaces
from vegd.lab.errors import LabError
from vegd.lab.state import LabState, poll_until
from vegd.lab.topology import Gateway, Topology

_TABLE = "vegd_lab_fault"
_LINKS = ("eth0", "ext0")


def cut(gateway: Gateway) -> None:
    """Drop every packet of the gateway, in and out; its links stay up."""
    places = [(hook, link) for link in _LINKS for hook in ("ingress", "egress")]
    chains = "\n".join(
        f"chain {hook}_{link} "
        f"{{ type filter hook {hook} device {link} priority -500; policy drop; }}"
        for hook, link in places
    )
    ruleset = f"table netdev {_TABLE} {{\n{chains}\n}}\n"
    namespaces.run(namespaces.inside(gateway.namespace, "nft", "-f", "-"), stdin=ruleset)


def cut_upstream(gateway: Gateway, topology: Topology) -> None:
    """The world behind the gateway dies: its link stays up, its next hop answers ARP and ND, and
    nothing that it sends gets any farther."""
    ruleset = f"""table netdev {_TABLE}_{gateway.name} {{
        chain upstream {{
            type filter hook ingress device {gateway.name} priority -500
            icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
            meta protocol {{ ip, ip6 }} drop
        }}
    }}"""
    outside = topology.namespace("outside")
    namespaces.run(namespaces.inside(outside, "nft", "-f", "-"), stdin=ruleset)


def heal(gateway: Gateway, topology: Topology) -> None:
    """End a cut of either kind; nothing happens if there is none."""
    outside = topology.namespace("outside")
    for namespace, table in (
        (gateway.namespace, _TABLE),
        (outside, f"{_TABLE}_{gateway.name}"),
    ):
        script = f"add table netdev {table}\ndelete table netdev {table}\n"
        namespaces.run(namespaces.inside(namespace, "nft", "-f", "-"), stdin=script)


def start(gateway: Gateway, state: LabState) -> None:
    """Start the daemon of a gateway."""
    if state.process(gateway.name) is not None:
        raise LabError(f"{gateway.name}: its daemon runs already")
    directory = state.runtime_dir(gateway.name)
    directory.mkdir(exist_ok=True)
    state.start(
        gateway.name,
        gateway.namespace,
        [
            *(sys.executable, "-m", "vegd", "run"),
            *("--config", str(state.directory / f"{gateway.name}.yaml")),
            *("--runtime-dir", str(directory)),
        ],
    )


def send(gateway: Gateway, state: LabState, number: signal.Signals) -> int:
    """Send a signal to the daemon of a gateway; returns its process id."""
    process = state.process(gateway.name)
    if process is None:
        raise LabError(f"{gateway.name}: its daemon does not run")
    os.kill(process.pid, number)
    return process.pid


def stop(gateway: Gateway, state: LabState, within_s: float) -> None:
    """SIGTERM to the daemon of a gateway, and wait for its end."""
    send(gateway, state, signal.SIGTERM)
    for _ in poll_until(within_s):
        if state.process(gateway.name) is None:
            return
    raise LabError(f"{gateway.name}: its daemon has not ended {within_s:g} s after SIGTERM")
