"""A lab as a whole: built, taken up by another process, removed."""

import os
import sys
from pathlib import Path

import yaml

from vegd.lab import events, faults, linux_router, namespaces, ovn_router
from vegd.lab.errors import LabError
from vegd.lab.ovn_programs import INSTALLED
from vegd.lab.state import LabState, poll_until
from vegd.lab.topology import (
    Family,
    Gateway,
    LabOptions,
    RouterKind,
    Topology,
    belongs,
    check_prefix,
    families_of,
    of_family,
)

_UP_S = 30.0
METRICS_PORT = 10669
PROBE_TIMES = {"interval": 250, "timeout": 500, "failures": 3, "successes": 3, "holdDown": 2}
"""Of the gateways' probes: far shorter than in the field, long enough for a busy machine."""
PATH_DOWN_MS = 3 * 500 + 3 * 250 + 500
"""How long a gateway takes to give up its path, at most: until the next probe, three probes, the
time before it asks its siblings, and their answer."""


class Lab:
    """One lab. `create` builds it, `find` takes up one that is there."""

    def __init__(self, options: LabOptions) -> None:
        self.options = options
        self.topology = Topology(options)
        self.state = LabState(options.prefix)

    @classmethod
    def find(cls, prefix: str) -> "Lab":
        """The running lab of a prefix. Raises LabError if there is none."""
        check_prefix(prefix)
        return cls(LabState(prefix).options())

    def create(self, *, with_daemons: bool = True) -> None:
        """Build everything and start every process. Raises LabError; nothing is left then.

        `with_daemons` False: what runs on the gateways, and their addresses, are up to the caller.
        """
        require_root()
        if self.options.router is RouterKind.OVN:
            INSTALLED.require()
        self.state.create(self.options)
        try:
            self._build()
            if with_daemons:
                self._start_gateways()
        except BaseException:
            remove(self.options.prefix)
            raise

    def _build(self) -> None:
        stale = [each for each in namespaces.names() if belongs(each, self.options.prefix)]
        if stale:
            raise LabError(
                f"the network namespace {stale[0]} is there already; "
                f"'vegd lab down --prefix {self.options.prefix}' removes what is left of a lab"
            )
        for node in self.topology.nodes:
            namespaces.add(self.topology.namespace(node))
        self._build_outside()
        self._build_router()
        for client in self.topology.clients:
            namespaces.ip(
                client.namespace,
                [
                    *namespaces.address_lines("eth0", client.addresses),
                    *(
                        f"route add default via {of_family(self.topology.subnet2, family).ip}"
                        for family in families_of(self.topology.subnet2)
                    ),
                ],
            )

    def _start_gateways(self) -> None:
        for gateway in self.topology.gateways:
            self._write_config(gateway)
            faults.start(gateway, self.state)

    def _build_router(self) -> None:
        if self.options.router is RouterKind.LINUX:
            linux_router.build(self.topology, self.state)
        else:
            ovn_router.build(self.topology, self.state)

    def _build_outside(self) -> None:
        outside = self.topology.namespace("outside")
        bridge = ["link add underlay type bridge mcast_snooping 0", "link set underlay up"]
        bridge += namespaces.address_lines("underlay", self.topology.outside)
        namespaces.ip(outside, bridge)
        for gateway in self.topology.gateways:
            namespaces.veth(gateway.namespace, "ext0", None, outside, gateway.name)
            namespaces.ip(outside, [f"link set {gateway.name} master underlay"])
        self.state.start("outside", outside, [sys.executable, "-m", "vegd.lab.outside"])

    def _write_config(self, gateway: Gateway) -> None:
        document = gateway_config(self.topology, gateway)
        text = yaml.safe_dump(document, sort_keys=False)
        (self.state.directory / f"{gateway.name}.yaml").write_text(text)

    def wait_up(self, gateways: tuple[Gateway, ...] | None = None, within_s: float = _UP_S) -> None:
        """Wait until the router's sessions with these gateways, or all, are Up."""
        wanted = [p for p in self.topology.peers() if gateways is None or p[0] in gateways]
        for _ in poll_until(within_s, step_s=0.05):
            if events.up(self.state.directory, wanted):
                return
            if self.options.router is RouterKind.OVN:
                ovn_router.nudge(self.state)
        raise LabError(
            f"the sessions were not all Up within {within_s:g} s: {self._missing(wanted)}"
        )

    def _missing(self, peers: list[tuple[Gateway, Family]]) -> str:
        states = events.newest(self.state.directory)
        lines = []
        for gateway, family in peers:
            event = states.get((gateway.name, family.value))
            if event is None or not event.is_up:
                state = event.state if event else "never seen"
                lines.append(f"{gateway.name} {family.value} {state}")
        return ", ".join(lines) or "none is missing"

    @property
    def event_directory(self) -> Path:
        """Where the router's events are."""
        return self.state.directory


def gateway_config(topology: Topology, gateway: Gateway) -> dict[str, object]:
    """The configuration of a gateway, as the daemon reads it."""
    options = topology.options
    subnets = [str(each.network) for each in (*topology.subnet1, *topology.subnet2)]
    return {
        "name": gateway.name,
        "internal": {
            "interface": "eth0",
            "addresses": [str(each) for each in gateway.internal],
            "gateways": [str(each.ip) for each in topology.subnet1],
        },
        "external": {
            "interface": "net1",
            "macvlan": {"parent": "ext0", "mode": "bridge"},
            "addresses": [str(each) for each in gateway.external],
            "gateways": [str(each.ip) for each in topology.outside],
        },
        "policies": [{"name": "vpc", "snat": True, "ipBlocks": subnets}],
        "bfd": {
            "minTX": options.interval_ms,
            "minRX": options.interval_ms,
            "multiplier": options.multiplier,
            # OVN's packets cross its router, so they arrive with 254.
            "minTTL": 254,
            "peers": [{"address": str(each.ip)} for each in topology.bfd_port],
        },
        "metrics": {"listen": f":{METRICS_PORT}"},
        "probes": {
            **PROBE_TIMES,
            "targets": [{"kind": "icmp", "address": str(each.ip)} for each in topology.outside],
            "siblings": [
                f"{other.internal_address(Family.IPV4)}:{METRICS_PORT}"
                for other in topology.gateways
                if other != gateway
            ],
        },
    }


def remove(prefix: str) -> bool:
    """Remove a lab or what is left of it; False if there was nothing. Idempotent."""
    require_root()
    check_prefix(prefix)
    state = LabState(prefix)
    found = state.exists
    state.kill_all()
    for name in namespaces.names():
        if belongs(name, prefix):
            found = True
            namespaces.kill_inside(name)
            namespaces.delete(name)
    state.remove()
    return found


def require_root() -> None:
    """Raises LabError unless network namespaces can be made."""
    if os.geteuid() != 0:
        raise LabError("a lab needs root, for its network namespaces; try again with sudo")
